"""Watches an inspector from a thread of its own, through clients of its own: a consumer can stop without an error.

In: the partitions it has, and how far its group has said that it is. Out: StalledError, told to `fail`, where there is
something to read and nothing moves: a durable step forward is the only sign of life that counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from connectors.kafka_groups import committed_places
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.shared_log import INSPECT
from models.errors import BrokerError, StalledError
from models.topics import INSPECTED
from streams.liveness import STALL_SECONDS, WATCH_SECONDS, ProgressWatch

__all__ = ["InspectorWatch", "Place"]

Place = tuple[str, int]
"""A topic and a partition."""
_CLIENT: Final = f"{INSPECT}-watch"
_JOINING: Final = 6
"""Times as much patience with a member that has nothing yet: all wait for one that hangs, until it is gone."""
_STARVED: Final = 36
"""It takes a fifth of a core at most: with much to read everywhere, a partition may wait a quarter of an hour."""


class InspectorWatch:
    """`assigned` gives the places that the inspector has: none while the group shares nothing out with it, which must
    not go on for ever either; None while it waits for Kafka, which may. It is called from the watch's thread, as is
    `fail`, once.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        assigned: Callable[[], frozenset[Place] | None],
        fail: Callable[[BaseException], None],
        *,
        stall_seconds: float = STALL_SECONDS,
        look_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._settings, self._assigned, self._fail = settings, assigned, fail
        self._stall, self._look = stall_seconds, look_seconds
        self._log = KafkaLog(settings, _CLIENT, connect_seconds=WATCH_SECONDS)
        self._known: Mapping[Place, int] = {}
        self._joining = False
        self._progress = self._fresh()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="inspector-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """The inspector ends."""
        self._ended.set()

    def _work(self) -> None:
        try:
            while not self._ended.wait(self._look):
                try:
                    stuck = self._find(time.monotonic())
                except BrokerError:  # nobody can read now; the inspector itself says so
                    self._progress = self._fresh()
                    continue
                if stuck:
                    return self._fail(StalledError("the inspector", stuck))
        finally:
            self._log.close()

    def _find(self, now: float) -> list[str]:
        """The places that stand still although there is something to read."""
        assigned = self._assigned()
        if assigned is None:
            self._progress = self._fresh()
            return []
        if self._joining != (not assigned):
            self._joining = not assigned
            self._progress = self._fresh()
        topics = {topic for topic, _ in assigned} or INSPECTED
        ends = {(topic, part): end for topic in topics for part, end in self._log.ends(topic).items()}
        places = assigned or ends.keys()
        if any(ends[place] > self._known.get(place, 0) for place in places):
            self._known = committed_places(self._settings, _CLIENT, INSPECT)
        positions = {place: self._known.get(place, 0) for place in places}
        stalled = self._progress.look(now, positions, ends)
        return [f"{topic}/{part}" for topic, part in stalled if self._log.read(topic, part, positions[topic, part], 1)]

    def _fresh(self) -> ProgressWatch[Place]:
        return ProgressWatch(self._stall * (_JOINING if self._joining else 1), starved=_STARVED)
