"""From what a person names to a source. In: paths, patterns, `-`, `kafka:TOPIC`, options. Out: a LineSource, or
ConfigError.

What matches a pattern is looked for at the start and, while following, again every few seconds: each file that has come
is a source of its own, and one whose file has been gone for a minute is let go.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connectors.cursor import Cursor
from connectors.feed import Feed
from connectors.files import FileTail, check_file, rotated_from, rotated_siblings, source_id_of, text_of
from connectors.globs import expand, is_pattern, matching
from connectors.inputs import Changes, InputOptions, LineSource
from connectors.stdin import STDIN, PipeTail
from models.errors import ConfigError
from models.timestamp import Zone, utc

__all__ = ["NamedInput", "matches_of", "open_all", "open_inputs", "service_of", "source_ids", "zone_of"]

_KAFKA: Final = "kafka:"
_SIMULATOR: Final = "sim:"
_FIELD = re.compile(r"\\\{service\\\}")
_ROTATED = re.compile(r"(?:[.-]\d{4}-?\d\d-?\d\d\S*|\.\d{1,4})$")
_GONE_SECONDS: Final = 60.0
"""A file may be away for a moment while it is rotated."""
_LOOK_SHARE: Final = 20
_MOST_LOOKS: Final = 30
"""A look that takes long is not taken again before 20 times as long, but within 30 times of what was asked for."""
_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class NamedInput:
    """An input as it was named. `service` names the service of every line that does not say its own; else
    `service_pattern` finds it in the path (see service_of); else it is the file's stem. `timezone` (an IANA name) is
    that of times that name none.
    """

    path: str
    service: str = ""
    service_pattern: str = ""
    timezone: str = ""


def open_inputs(
    names: Sequence[str],
    options: InputOptions,
    *,
    service: str = "",
    service_pattern: str = "",
    timezone: str = "",
    resume: Mapping[str, str] | None = None,
) -> LineSource:
    """Open inputs of which the same is said: see open_all and NamedInput."""
    return open_all([NamedInput(name, service, service_pattern, timezone) for name in names], options, resume)


def open_all(
    inputs: Sequence[NamedInput], options: InputOptions, resume: Mapping[str, str] | None = None
) -> LineSource:
    """Open every input (`-`: standard input; `kafka:TOPIC`: see kafka_source.py) where `resume` (source id to cursor:
    see sources.Source.cursors) left off. What several of them name is read once, as the first of them says; a name
    comes before a pattern.

    Raises ConfigError for a path that cannot be read, a pattern or a zone that is none; with `once`, for a pattern that
    nothing matches.
    """
    opener = _Opener(inputs, options, resume or {})
    feeds = opener.open()
    if not feeds and not opener.patterns:
        raise ConfigError("no input", advice="Name files, or - for standard input: foreshock run --input app.log")
    return LineSource(feeds, options, opener if opener.patterns and not options.once else None)


def source_ids(names: Sequence[str], options: InputOptions) -> list[str]:
    """What these inputs will be called in the log; for a pattern, what matches it now."""
    found = []
    for name in _sources([path for given in names for path in _expanded(given)]):
        if name.startswith(_KAFKA):
            from connectors.kafka_source import topic_source_ids

            found += topic_source_ids(name, options.kafka)
        else:
            found.append(STDIN if name == "-" else source_id_of(name))
    return [_named(each, options) for each in found]


def _expanded(name: str) -> list[str]:
    matches = matches_of(name)
    return [name] if matches is None else matches


def matches_of(name: str) -> list[str] | None:
    """The files that an input's name, if it is a pattern, matches now; None where it is none."""
    return expand(matching(name)) if _is_pattern(name) else None


def service_of(path: str, pattern: str = "") -> str:
    """The service a file's lines belong to. `pattern`: a path with `{service}` and `*` (`/var/log/{service}/*.log`), or
    a regular expression whose group `service`, or else the first, is the name; without one, or where it does not match,
    the file's stem.
    """
    path = text_of(path)
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


class _Opener:
    """Opens what is named, and later (the port `Watch`) what has come to match a pattern."""

    def __init__(self, inputs: Sequence[NamedInput], options: InputOptions, resume: Mapping[str, str]) -> None:
        self._inputs, self._options = inputs, options
        self.patterns = [item for item in inputs if _is_pattern(item.path)]
        self._cursors = {name: _cursor(name, text) for name, text in resume.items()}
        self._about = {_absolute(item.path): item for item in reversed(inputs) if item not in self.patterns}
        self._joined: dict[str, Feed] = {}
        self._missing: dict[str, float] = {}
        self._unreadable: dict[str, str] = {}
        self._due = time.monotonic() + options.look_seconds

    def open(self) -> list[Feed]:
        """Everything that is there. Raises ConfigError."""
        names = []
        for item in self._inputs:
            if item not in self.patterns:
                names.append(_absolute(item.path))
                continue
            found = self._match(item)
            if not found:
                self._miss(item.path)
            else:
                self._options.tell(f"foreshock: {item.path} matches {_counted(len(found), 'file')}")
            names += found
        literal = [_absolute(item.path) for item in self._inputs if item not in self.patterns]
        files = [name for name in names if name not in literal and _is_path(name)]
        once_each = {*literal, *expand(files, [name for name in literal if _is_path(name)])}
        feeds: list[Feed] = []
        for name, older in _sources([name for name in names if name in once_each]).items():
            feeds += self._open_named(name, older) if name in literal else self._join(name, older)
        return feeds

    def look(self, feeds: Sequence[Feed]) -> Changes:
        """What has come to match, and whose file is gone, since the last look; nothing before a look is due."""
        begun = time.monotonic()
        if begun < self._due:
            return Changes()
        found = {path: item for item in self.patterns for path in self._match(item)}
        tails = [feed.tail for feed in feeds if isinstance(feed.tail, FileTail)]
        followed = {tail.path for tail in tails}
        fresh = [path for path in found if path not in followed and rotated_from(path) not in followed]
        fresh = expand([path for path in fresh if not any(tail.reads(path) for tail in tails)], followed)
        new = [each for name, older in _sources(fresh).items() for each in self._join(name, older, tails)]
        if new:
            self._options.tell(f"foreshock: {_counted(len(new), 'new file')}: {_some([f.source_id for f in new])}")
        gone = self._gone(found, begun)
        least, now = self._options.look_seconds, time.monotonic()
        self._due = now + min(max(least, _LOOK_SHARE * (now - begun)), _MOST_LOOKS * least)
        return Changes(new, gone)

    def _match(self, item: NamedInput) -> list[str]:
        found = matching(item.path)
        for path in found:
            self._about.setdefault(path, item)
        return found

    def _miss(self, pattern: str) -> None:
        if self._options.once:
            advice = "Check the path. Without --once it is waited for."
            raise ConfigError("no file matches this pattern", file=pattern, advice=advice)
        every = f"it is looked at again every {self._options.look_seconds:g} s"
        self._options.tell(f"foreshock: {pattern} matches no file yet; {every}")

    def _gone(self, found: Mapping[str, NamedInput], now: float) -> list[Feed]:
        """Read to their ends, and not there for a minute. Where each stood is kept: the file may come back."""
        gone = []
        for path, feed in list(self._joined.items()):
            if path in found or feed.holds or not (feed.stalled or feed.ended):
                self._missing.pop(path, None)
            elif now - self._missing.setdefault(path, now) >= _GONE_SECONDS:
                self._cursors[feed.source_id] = feed.cursor
                gone.append(feed)
                del self._joined[path], self._missing[path]
        return gone

    def _join(self, name: str, older: Sequence[str], tails: Sequence[FileTail] = ()) -> list[Feed]:
        """What matches a pattern. While following, a file that cannot be read is told of once, and tried again."""
        try:
            feeds = self._open_named(name, older, tails)
        except ConfigError as error:
            if self._options.once:
                raise
            if self._unreadable.get(name) != str(error):
                self._unreadable[name] = str(error)
                self._options.tell(f"foreshock: {error}")
            return []
        self._unreadable.pop(name, None)
        self._joined[name] = feeds[0]
        return feeds

    def _open_named(self, name: str, older: Sequence[str], tails: Sequence[FileTail] = ()) -> list[Feed]:
        item, options = self._about[name], self._options
        zone = zone_of(item.timezone)
        if name.startswith(_KAFKA):
            return _open_partitions(name, options, (item.service, zone), self._cursors)
        source_id = _named(STDIN if name == "-" else source_id_of(name), options)
        known = self._known(source_id)
        if name == "-":
            # what a pipe brings after a restart is another stream: its times do not go on from the last one
            pipe = PipeTail(source_id=source_id, resume=known[-1] if known else None)
            return [Feed(pipe, item.service or STDIN, zone)]
        for path in (*older, name):
            check_file(path, followed_before=bool(known))
        if not known:
            known = [left for tail in tails if (left := tail.left_as(name)) is not None][:1]
        tail, cursor = _open_file(name, older, known, options.once)
        tail.source_id = source_id
        return [Feed(tail, item.service or service_of(name, item.service_pattern), zone, cursor)]

    def _known(self, source_id: str) -> list[Cursor]:
        """Where the log is with the source, the least far place first; empty where it is not known."""
        if source_id in self._cursors:
            return [self._cursors[source_id]]
        if self._options.given is None:
            return []
        self._options.recall(source_id)
        return self._options.given.cursors(source_id)


def _is_path(name: str) -> bool:
    return name != "-" and not name.startswith((_KAFKA, _SIMULATOR))


def _is_pattern(name: str) -> bool:
    return _is_path(name) and is_pattern(name)


def _absolute(name: str) -> str:
    return os.path.abspath(name) if _is_path(name) else name


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _sources(names: Sequence[str]) -> dict[str, list[str]]:
    """Each input once, with those of its rotated siblings that were named too, oldest first."""
    given = dict.fromkeys(_absolute(name) for name in names)
    siblings = {name: [path for path in rotated_siblings(name) if path in given] for name in given if _is_path(name)}
    inner = {path for older in siblings.values() for path in older}
    return {name: siblings.get(name, []) for name in given if name not in inner}


def _named(source_id: str, options: InputOptions) -> str:
    return f"{options.origin}:{source_id}" if options.origin else source_id


def _open_partitions(
    name: str, options: InputOptions, about: tuple[str, Zone], cursors: Mapping[str, Cursor]
) -> list[Feed]:
    from connectors.kafka_source import KafkaTopic, open_topic  # Kafka's client takes as long to import as all else

    topic = KafkaTopic(name, options.kafka, once=options.once)
    feeds = []
    for partition in topic.partitions:
        source_id = _named(f"{name}/{partition}", options)
        if options.given is not None:
            known = options.given.cursors(source_id)
        else:
            known = [cursors[source_id]] if source_id in cursors else []
        feeds.append(open_topic(topic, partition, source_id, about, known))
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
