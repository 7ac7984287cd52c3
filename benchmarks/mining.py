"""Mining: speed against drain3 and against a regular expression with a dict, and the quality of the templates.

All do the product's job on the same LogBatches: each line's template, counted by service, template and 10 s. A batch
has 2,000 real lines of one of Loghub's 16 systems or, for the rows "16 services a batch", a line of each in turn. All
have seen the lines before (a log repeats itself), but for the rows "never seen", where that share of the lines holds a
word that nobody has seen.

- `drain3` is the drain3 package, one miner a service, with the masking of its own example configuration, as its
  documentation advises. "drain3, bare" is the same without masking: faster and worse (GA below); for information.
- `re + dict` is what three lines of Python give: replace each token with a digit, count in a dict. It knows no rules.

Quality is measured on the 2,000 lines of each system that the rules were made on; for other systems expect less.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig

from benchmarks.grouping import Grouping, grouping
from benchmarks.loghub import System, load
from benchmarks.table import Row, median_seconds
from models.canonical import canonical_lines
from models.log import MAX_BATCH_LINES, LogBatch, SourceRange
from models.mining import Miner, template_of
from models.template import BUCKET_MS, BatchPointer

NAME: Final = "mining"

# drain3's examples/drain3.ini, section MASKING, of version 0.9.11.
_EXAMPLE_MASKS: Final = (
    (r"((?<=[^A-Za-z0-9])|^)(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))((?=[^A-Za-z0-9])|$)", "ID"),
    (r"((?<=[^A-Za-z0-9])|^)(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})((?=[^A-Za-z0-9])|$)", "IP"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9a-f]{6,} ?){3,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9A-F]{4} ?){4,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)(0x[a-f0-9A-F]+)((?=[^A-Za-z0-9])|$)", "HEX"),
    (r"((?<=[^A-Za-z0-9])|^)([\-\+]?\d+)((?=[^A-Za-z0-9])|$)", "NUM"),
    (r"(?<=executed cmd )(\".+?\")", "CMD"),
)
Turns = dict[str, Callable[[LogBatch], object]]
_WITH_DIGIT = re.compile(r"\S*\d\S*")
_POSITION: Final = BatchPointer(topic="logs", partition=0, offset=0)


def batches(systems: Sequence[System], unseen: float = 0.0, salt: str = "", mixed: bool = False) -> list[LogBatch]:
    """All lines in batches, system by system or `mixed`; a share of `unseen` gets a word made of `salt`."""
    columns = [[(line, service) for line in system.lines] for service, system in enumerate(systems)]
    lines = [*chain.from_iterable(zip(*columns, strict=True) if mixed else columns)]
    every = round(1 / unseen) if unseen else 0
    made = []
    for start in range(0, len(lines), MAX_BATCH_LINES):
        some = lines[start : start + MAX_BATCH_LINES]
        made.append(
            LogBatch(
                sources=(SourceRange(source_id="bench", cursor_from="", cursor_to="", covered_until=0),),
                services=tuple(system.name for system in systems),
                service_index=[service for _, service in some],
                timestamps=[1_700_000_000_000 + 3 * (start + i) for i in range(len(some))],
                severity=[0] * len(some),
                messages="\n".join(
                    f"{line} {_word(start + i)}{salt}" if every and (start + i) % every == 0 else line
                    for i, (line, _) in enumerate(some)
                ),
            )
        )
    return made


def _word(number: int) -> str:
    """A word of letters only, another for each number."""
    return "".join(chr(ord("g") + int(digit)) for digit in str(number))


def product() -> Callable[[LogBatch], object]:
    """Our miner on a batch: what the mine step does between decoding and emitting."""
    miner = Miner()
    return lambda batch: miner.mine(batch, _POSITION)


def drain(masks: Sequence[tuple[str, str]] = _EXAMPLE_MASKS) -> Callable[[LogBatch], object]:
    """drain3 on a batch: one miner a service, counts by service, cluster and bucket."""
    miners: dict[int, Any] = {}

    def mine(batch: LogBatch) -> Counter[tuple[int, int, int]]:
        counts: Counter[tuple[int, int, int]] = Counter()
        for service, ms, line in zip(batch.service_index, batch.timestamps, batch.messages.split("\n"), strict=True):
            if service not in miners:
                miners[service] = drain_miner(masks)
            cluster = miners[service].add_log_message(line)["cluster_id"]
            counts[service, cluster, ms // BUCKET_MS] += 1
        return counts

    return mine


def drain_miner(masks: Sequence[tuple[str, str]]) -> Any:
    """One drain3 miner, its parameters as they come."""
    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in masks]
    return TemplateMiner(config=config)


def three_lines(batch: LogBatch) -> Counter[tuple[int, str, int]]:
    """A regular expression and a dict, as short as it gets."""
    counts: Counter[tuple[int, str, int]] = Counter()
    for service, ms, line in zip(batch.service_index, batch.timestamps, batch.messages.split("\n"), strict=True):
        counts[service, _WITH_DIGIT.sub("0", line), ms // BUCKET_MS] += 1
    return counts


def speed(repeats: int = 5) -> list[Row]:
    """Lines per second of one core, and the ratios: as required, then for information."""
    systems = load()
    turns = {"product": product(), "drain3": drain(), "drain3, bare": drain(()), "re + dict": three_lines}
    alone = _per_second(batches(systems), turns, repeats)
    mixed = _per_second(batches(systems, mixed=True), turns, repeats)
    return [
        _against(alone, "mining", "drain3", 25),
        _against(alone, "mining", "re + dict", 5),
        _against(alone, "mining", "drain3, bare"),
        *(_against(mixed, "mining, 16 services a batch", peer) for peer in ("drain3", "re + dict", "drain3, bare")),
        *(_never_seen(systems, share, repeats) for share in (0.01, 0.05)),
    ]


def _per_second(work: Sequence[LogBatch], turns: Turns, repeats: int) -> dict[str, float]:
    seconds = median_seconds({name: _over(work, mine) for name, mine in turns.items()}, repeats)
    return {name: sum(batch.lines for batch in work) / spent for name, spent in seconds.items()}


def _against(per_second: dict[str, float], claim: str, peer: str, required: float | None = None) -> Row:
    own, other = per_second["product"], per_second[peer]
    return Row(claim, f"{own:,.0f} lines/s", f"{peer}: {other:,.0f}", own / other, required)


def _never_seen(systems: Sequence[System], share: float, repeats: int) -> Row:
    """What lines with a new word cost: each turn has words of its own."""
    turns = {"product": product(), "drain3": drain()}
    for mine in turns.values():
        _over(batches(systems), mine)()
    fresh = {
        name: iter([batches(systems, share, f"{chr(ord('g') + i)}x") for i in range(repeats + 1)]) for name in turns
    }

    def turn(name: str) -> Callable[[], object]:
        return lambda: _over(next(fresh[name]), turns[name])()

    seconds = median_seconds({name: turn(name) for name in turns}, repeats)
    lines = sum(len(system.lines) for system in systems)
    per_second = {name: lines / spent for name, spent in seconds.items()}
    return _against(per_second, f"mining, {share:.0%} of lines never seen", "drain3")


def _over(work: Sequence[LogBatch], mine: Callable[[LogBatch], object]) -> Callable[[], object]:
    return lambda: [mine(batch) for batch in work]


def quality() -> dict[str, Grouping]:
    """GA and FGA of our templates, by system."""
    return {system.name: grouping(_templates(system.lines), system.events) for system in load()}


def _templates(lines: Sequence[str]) -> list[str]:
    return [template_of(line).id for line in canonical_lines("\n".join(lines).encode())]


def mean(results: dict[str, Grouping]) -> tuple[float, float]:
    """Mean GA and mean FGA over the systems."""
    return (
        sum(result.ga for result in results.values()) / len(results),
        sum(result.fga for result in results.values()) / len(results),
    )


def run(repeats: int = 5) -> list[Row]:
    """Speed, then quality: the means with their floors, drain3's beside them, and each system."""
    results = quality()
    ga, fga = mean(results)
    rows = speed(repeats)
    for required, value, name in ((0.88, ga, "GA"), (0.90, fga, "FGA")):
        rows.append(Row(f"Loghub-2k mean {name}", f"{value:.4f}", f"floor {required:.2f}", value / required, 1.0))
    for label, masks in (("drain3", _EXAMPLE_MASKS), ("drain3, bare", ())):
        peer_ga, peer_fga = mean({s.name: grouping(_clusters(s.lines, masks), s.events) for s in load()})
        rows.append(Row(f"mean GA against {label}", f"{ga:.4f}", f"{peer_ga:.4f}", ga / peer_ga))
        rows.append(Row(f"mean FGA against {label}", f"{fga:.4f}", f"{peer_fga:.4f}", fga / peer_fga))
    for name, result in results.items():
        figure = f"GA {result.ga:.3f}, FGA {result.fga:.3f}"
        peer = f"{result.predicted} templates for {result.true} events"
        rows.append(Row(f"Loghub-2k {name}", figure, peer, result.predicted / result.true))
    return rows


def _clusters(lines: Sequence[str], masks: Sequence[tuple[str, str]]) -> list[int]:
    miner = drain_miner(masks)
    return [miner.add_log_message(line)["cluster_id"] for line in lines]
