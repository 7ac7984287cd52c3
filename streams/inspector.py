"""Inspects the topics that no step reads: what does not belong there becomes a dead letter, as on a step's inbox.

In: records of models.topics.INSPECTED, from where the consumer group `foreshock-inspect` stands. Out: dead letters;
nothing else is written, and nothing is taken away. Any number of workers may inspect: the group shares the partitions.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

import structlog

from connectors.clock import PacedClock
from connectors.codec import decode_record, encode
from connectors.kafka_log import KafkaLog
from connectors.kafka_settings import KafkaSettings
from connectors.kafka_share import KafkaShare
from connectors.ports import Outbound, Record
from connectors.shared_log import INSPECT
from models.errors import BrokerError, ContractError, NewerVersionError
from models.event import Cause, Event, event_id
from models.topics import INSPECTED, partition_of
from streams.catalog import CATALOG_PARTITION
from streams.inbox_guard import check_head, is_of_upgrade
from streams.inspector_watch import InspectorWatch, Place
from streams.liveness import STALL_SECONDS, WATCH_SECONDS
from streams.refusal import letter_key, refuse
from streams.step_host import Deployment

__all__ = ["Inspector", "inspect"]

_POLL_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_REST: Final = 4
"""It rests four times as long as it has computed: at most a fifth of a core is taken from the role it lives in, also
when a group that is new reads all that is kept."""
_log = structlog.get_logger(__name__)


def inspect(record: Record, partitions: int, run: str) -> ContractError | None:
    """What is wrong with a record of one of INSPECTED, or None. `partitions`: of every topic; `run`: the deployment.

    What a newer program of this very deployment wrote is not wrong: it is only not understood here.
    """
    try:
        event = decode_record(record)
        check_head(record, event)
    except NewerVersionError as error:
        return None if is_of_upgrade(error, run) else error
    except ContractError as error:
        return error
    except Exception as error:  # noqa: BLE001 - an edge: a stranger's bytes must not end the role with every start
        _log.exception("a record could not be inspected", position=str(record.position))
        return ContractError("defect", repr(error))
    right = CATALOG_PARTITION if record.topic == "catalog" else partition_of(event.key, partitions)
    if record.partition != right:
        return ContractError("wrong_partition", f"{event.key!r:.100} belongs to partition {right}")
    return None


class Inspector:
    """A thread of the role that it lives in, with clients of its own: it neither waits for the role nor holds it back.

    Where Kafka does not let it work it tries again, for ever, and says so once. `fail` is told of a defect, or that it
    stands still without an error (StalledError), and ends the process.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        deployment: Deployment,
        fail: Callable[[BaseException], None],
        *,
        stall_seconds: float = STALL_SECONDS,
        look_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._settings, self._deployment, self._fail = settings, deployment, fail
        self._virtual = isinstance(deployment.clock, PacedClock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="inspector", daemon=True)
        self._assigned: frozenset[Place] | None = None
        self._watch = InspectorWatch(
            settings, lambda: self._assigned, fail, stall_seconds=stall_seconds, look_seconds=look_seconds
        )
        self._troubled = False
        self._pause = _FIRST_PAUSE
        self.counters: Counter[str] = Counter()
        """records, and what was refused, by reason."""

    def start(self) -> None:
        """Begin to inspect."""
        self._thread.start()
        self._watch.start()

    def stop(self) -> None:
        """End, and leave the group. What a broker that is away keeps from ending is left to itself after 5 s: where
        nothing was committed, it is inspected again.
        """
        self._watch.stop()
        self._stop.set()
        self._thread.join(_LEAVE_SECONDS)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._be_member()
                except BrokerError as error:
                    self._wait_for_better(error)
        except Exception as error:  # noqa: BLE001 - an edge: a thread's error is nobody's unless it is told
            self._fail(error)
        if self.counters:
            _log.info("inspector statistics", **self.counters)

    def _be_member(self) -> None:
        """Until `stop`. All clients are made anew after an error: none must be trusted with what it was doing."""
        self._assigned = frozenset()
        with (
            closing(KafkaShare(self._settings, INSPECT, INSPECTED, virtual=self._virtual)) as share,
            closing(KafkaLog(self._settings, INSPECT, virtual=self._virtual)) as log,
        ):
            while not self._stop.is_set():
                began = time.thread_time()
                records = share.poll(_POLL_SECONDS)
                self._assigned = share.assigned()
                if records:
                    self._take(records, log)
                    share.commit(records)
                    self._note_success()
                self._stop.wait(_REST * (time.thread_time() - began))

    def _take(self, records: Sequence[Record], log: KafkaLog) -> None:
        """When this returns, all in-sync replicas have a letter for each that is wrong."""
        partitions, run = self._deployment.partitions, self._deployment.run
        wrong = [(record, error) for record in records if (error := inspect(record, partitions, run)) is not None]
        if wrong:
            log_ids = {topic: log.log_id(topic) for topic in {record.topic for record, _ in wrong}}
            letters = [self._letter(record, error, log_ids[record.topic]) for record, error in wrong]
            log.append(letters, self._deployment.clock.now())
        self.counters["records"] += len(records)
        self.counters.update(error.reason for _, error in wrong)

    def _letter(self, record: Record, error: ContractError, log_id: str) -> Outbound:
        """Equal whenever it is written of the same record: readers know a repeated one by its id."""
        key = letter_key(record)
        event = Event(
            id=event_id(INSPECT, record.position, key, 0, log_id),
            at=record.logged_at,
            key=key,
            data=refuse(record, error.reason, error.detail),
            cause=str(Cause(INSPECT, record.position, 0, 0, log_id)),
            region=self._deployment.region,
            run=self._deployment.run,
        )
        partition = partition_of(key, self._deployment.partitions)
        return Outbound("dead-letters", key, encode(event), partition, record.logged_at)

    def _note_success(self) -> None:
        if self._troubled:
            _log.info("the topics that no step reads are inspected again")
        self._troubled, self._pause = False, _FIRST_PAUSE

    def _wait_for_better(self, error: BrokerError) -> None:
        self._assigned = None
        if not self._troubled:
            _log.warning("the topics that no step reads are not inspected for now", error=str(error))
        self._troubled = True
        self._stop.wait(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
