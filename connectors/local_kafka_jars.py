"""The broker's own artifacts, by Maven, kept in the user's cache folder.

In: infra/kafka/pom.xml, which names the version. Out: a folder of whole jars. It appears by one rename, so that an
interrupted download is never taken for whole; a lock lets two processes that want it at once download it once.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from models.errors import LocalKafkaError

__all__ = ["POM", "kafka_jars", "kafka_version", "require", "require_java"]

POM = Path(__file__).parent.parent / "infra" / "kafka" / "pom.xml"
_DOWNLOAD_SECONDS = 600
_JAVA = 17  # what Kafka 4's broker is compiled for


def require(program: str, package: str) -> str:
    """Where `program` is. Raises LocalKafkaError that names the Debian package which brings it."""
    found = shutil.which(program)
    if found is None:
        raise LocalKafkaError(
            f"a local Kafka needs {program}, which is not here. Install it: apt-get install {package}"
        )
    return found


def require_java() -> str:
    """Where java is. Raises LocalKafkaError where it is missing or too old, with what to install."""
    java = require("java", "openjdk-17-jre-headless")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None or int(version[1]) < _JAVA:
        advice = f"Install {_JAVA} or later and put it first in PATH: apt-get install openjdk-17-jre-headless"
        raise LocalKafkaError(f"{java} is not Java {_JAVA}: {said.strip()[:200]!r}. {advice}")
    return java


def kafka_version() -> str:
    """The version that the pom names. Raises LocalKafkaError where there is no pom."""
    try:
        version = ElementTree.parse(POM).findtext(".//{*}kafka.version")
    except OSError as error:
        raise LocalKafkaError(
            f"cannot read {POM}: {error}. A local Kafka needs a checkout of the repository"
        ) from error
    if not version:
        raise LocalKafkaError(f"{POM} has no property kafka.version. Write it, as in 4.1.1")
    return version


def kafka_jars(cache: Path) -> Path:
    """The folder below `cache` that holds the broker's jars; downloaded (43 MB) at first use.

    Raises LocalKafkaError: no Maven, no network, no pom.
    """
    folder = cache / f"kafka-{kafka_version()}"
    if folder.is_dir():
        return folder
    maven = require("mvn", "maven")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _download(maven, folder)
    return folder


def _download(maven: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as name:
        part = Path(name) / "jars"
        # -C refuses an artifact whose checksum does not match.
        goal = [maven, "-q", "-B", "-C", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={part}"]
        advice = f"It needs Maven Central or a mirror of it (~/.m2/settings.xml). To see all: {' '.join(goal[:-1])}"
        try:
            done = subprocess.run(goal, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise LocalKafkaError(f"Maven took more than {_DOWNLOAD_SECONDS} s to download Kafka. {advice}") from error
        if done.returncode or not list(part.glob("kafka_2.13-*.jar")):
            said = (done.stdout + done.stderr).strip()[-1000:]
            raise LocalKafkaError(f"Maven could not download Kafka (exit {done.returncode}): {said}. {advice}")
        part.rename(folder)
