"""From what a person names to a source. In: paths, `-`, `kafka:TOPIC`, options. Out: a LineSource, or ConfigError."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connectors.cursor import Cursor
from connectors.feed import Feed
from connectors.files import FileTail, check_file, rotated_siblings, source_id_of
from connectors.inputs import InputOptions, LineSource
from connectors.stdin import STDIN, PipeTail
from models.errors import ConfigError
from models.timestamp import Zone, utc

__all__ = ["open_inputs", "service_of", "source_ids", "zone_of"]

_KAFKA = "kafka:"
_FIELD = re.compile(r"\\\{service\\\}")
_ROTATED = re.compile(r"(?:[.-]\d{4}-?\d\d-?\d\d\S*|\.\d{1,4})$")


def open_inputs(
    names: Sequence[str],
    options: InputOptions,
    *,
    service: str = "",
    service_pattern: str = "",
    timezone: str = "",
    resume: Mapping[str, str] | None = None,
) -> LineSource:
    """Open every input (`-`: standard input; `kafka:TOPIC`: see kafka_source.py) where `resume` (source id to cursor:
    see sources.Source.cursors) left off.

    `service` names the service of every line that does not say its own; else `service_pattern` finds it in the path
    (see service_of); else it is the file's stem. `timezone` (an IANA name) is that of times that name none. Raises
    ConfigError for a path that cannot be read, a pattern or a zone that is none.
    """
    zone = zone_of(timezone)
    cursors = {name: _cursor(name, text) for name, text in (resume or {}).items()}
    feeds = []
    for name, older in _sources(names).items():
        if name.startswith(_KAFKA):
            feeds += _open_partitions(name, options, (service, zone), cursors)
            continue
        source_id = _named(STDIN if name == "-" else source_id_of(name), options)
        known = _known(source_id, options, cursors)
        if name == "-":
            # what a pipe brings after a restart is another stream: its times do not go on from the last one
            pipe = PipeTail(source_id=source_id, resume=known[-1] if known else None)
            feeds.append(Feed(pipe, service or STDIN, zone))
            continue
        for path in (*older, name):
            check_file(path, followed_before=bool(known))
        tail, cursor = _open_file(name, older, known, options.once)
        tail.source_id = source_id
        feeds.append(Feed(tail, service or service_of(name, service_pattern), zone, cursor))
    if not feeds:
        raise ConfigError("no input", advice="Name files, or - for standard input: foreshock run --input app.log")
    return LineSource(feeds, options)


def source_ids(names: Sequence[str], options: InputOptions) -> list[str]:
    """What these inputs will be called in the log."""
    found = []
    for name in _sources(names):
        if name.startswith(_KAFKA):
            from connectors.kafka_source import topic_source_ids

            found += topic_source_ids(name, options.kafka)
        else:
            found.append(STDIN if name == "-" else source_id_of(name))
    return [_named(each, options) for each in found]


def service_of(path: str, pattern: str = "") -> str:
    """The service a file's lines belong to. `pattern`: a path with `{service}` and `*` (`/var/log/{service}/*.log`), or
    a regular expression whose group `service`, or else the first, is the name; without one, or where it does not match,
    the file's stem.
    """
    if pattern and (match := _compile(pattern).search(os.path.abspath(path))) is not None:
        found = match["service"] if "service" in match.re.groupindex else match[1]
        if found:
            return found
    name = _ROTATED.sub("", os.path.basename(path))
    stem = name.split(".")[0] if not name.startswith(".") else name[1:].split(".")[0]
    return stem or name


def zone_of(name: str) -> Zone:
    """The zone of an IANA name ("": UTC). Where clocks are set back, the first of the two hours is meant."""
    if name in ("", "UTC"):
        return utc
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            "no such time zone", key=name, advice="Write an IANA name, for example Europe/Berlin"
        ) from error

    def offset(naive_ms: int) -> int:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=naive_ms)
        found = moment.replace(tzinfo=zone).utcoffset() or timedelta()
        return int(found.total_seconds() * 1_000)

    return offset


def _is_path(name: str) -> bool:
    return name != "-" and not name.startswith(_KAFKA)


def _sources(names: Sequence[str]) -> dict[str, list[str]]:
    """Each input once, with those of its rotated siblings that were named too, oldest first."""
    given = list(dict.fromkeys(os.path.abspath(name) if _is_path(name) else name for name in names))
    siblings = {name: [path for path in rotated_siblings(name) if path in given] for name in given if _is_path(name)}
    inner = {path for older in siblings.values() for path in older}
    return {name: siblings.get(name, []) for name in given if name not in inner}


def _named(source_id: str, options: InputOptions) -> str:
    return f"{options.origin}:{source_id}" if options.origin else source_id


def _known(source_id: str, options: InputOptions, cursors: Mapping[str, Cursor]) -> list[Cursor]:
    """Where the log is with the source, the least far place first; empty where it is not known."""
    if options.given is not None:
        return options.given.cursors(source_id)
    return [cursors[source_id]] if source_id in cursors else []


def _open_partitions(
    name: str, options: InputOptions, about: tuple[str, Zone], cursors: Mapping[str, Cursor]
) -> list[Feed]:
    from connectors.kafka_source import KafkaTopic, open_topic  # Kafka's client takes as long to import as all else

    topic = KafkaTopic(name, options.kafka, once=options.once)
    feeds = []
    for partition in topic.partitions:
        source_id = _named(f"{name}/{partition}", options)
        known = _known(source_id, options, cursors)
        feeds.append(open_topic(topic, partition, source_id, about, known[0] if known else None))
    return feeds


def _open_file(name: str, older: Sequence[str], known: Sequence[Cursor], once: bool) -> tuple[FileTail, Cursor | None]:
    """The file that the first of `known` was in, at its place; where that is gone, the next one's from its beginning:
    what the first has missed of it is not known.
    """
    for number, cursor in enumerate(known):
        tail = FileTail(name, older=older, resume=cursor, once=once)
        if not tail.lost and number:
            tail.position = 0
            return tail, None
        if not tail.lost or number == len(known) - 1:
            return tail, cursor
        tail.close()
    return FileTail(name, older=older, once=once), None


def _cursor(source_id: str, text: str) -> Cursor:
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise ConfigError(
            f"the log's cursor of {source_id} cannot be read ({error})",
            advice="This data folder was written by another version: use that one, or another --data folder",
        ) from error


def _compile(pattern: str) -> re.Pattern[str]:
    text = pattern
    if "{service}" in pattern:
        escaped = re.escape(pattern).replace(r"\*", "[^/]*")
        text = _FIELD.sub("(?P<service>[^/]+?)", escaped, count=1) + "$"
    try:
        found = re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"no regular expression ({error})", key=pattern, advice="Or write a path with {service}"
        ) from error
    if not found.groups:
        raise ConfigError("names no service", key=pattern, advice="Write {service} or (?P<service>...) in it")
    return found
