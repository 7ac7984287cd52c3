"""Kafka Streams (streams_peer/): built once by Maven into the user's cache folder, run like any contender."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.kafka.contender import Measured, said
from connectors.settings import cache_folder

__all__ = ["MODES", "build", "run"]

MODES: Final = {
    "dsl-batches": "Kafka Streams DSL",
    "dsl-lines": "Kafka Streams DSL, a record a line",
    "processor": "Kafka Streams Processor API, our canonical line in Java",
}
_SOURCES: Final = Path(__file__).parent / "streams_peer"
_BUILD_SECONDS: Final = 600


def build() -> str:
    """The class path. Raises RuntimeError where Java or Maven is missing, or the build fails."""
    if not shutil.which("java") or not (maven := shutil.which("mvn")):
        raise RuntimeError("Kafka Streams needs Java 17 and Maven: apt-get install openjdk-17-jdk-headless maven")
    target = cache_folder() / "streams-peer"
    goals = [f"-Dpeer.build={target}", "compile", "dependency:copy-dependencies", f"-DoutputDirectory={target}/jars"]
    command = [maven, "-q", "-B", "-C", "-f", str(_SOURCES / "pom.xml"), *goals]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"Maven could not build Kafka Streams' peer: {(done.stdout + done.stderr)[-1_000:]}")
    return f"{target}/classes:{target}/jars/*"


def run(mode: str, class_path: str, place: tuple[str, str, str], warm: int, total: int, log: Path) -> Measured:
    """One turn; `place`: broker, the topic to read, the topic to write."""
    broker, topic, out = place
    application = f"bench-{mode}-{log.stem}"
    with tempfile.TemporaryDirectory(prefix="foreshock-bench-") as folder:
        words = [mode, broker, topic, out, application, folder, str(warm), str(total)]
        command = ["java", "-Xmx1g", "-cp", class_path, "peer.Main", *words]
        return said(command, log)
