"""Whether a broker answers, looked at beside what needs it. In: addresses. Out: words when it no longer does, now and
then while it does not, and when it does again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from connectors.kafka_probe import check_brokers
from connectors.kafka_settings import KafkaSettings
from models.errors import BrokerError

__all__ = ["BrokerWatch"]

_LOOK_SECONDS: Final = 3.0
_REMIND_SECONDS: Final = 60.0


class BrokerWatch:
    """Looks from a thread of its own while its block lasts. `tell` hears, from that thread, what has changed; a look
    that fails is taken again before anything is said.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        tell: Callable[[str], None],
        *,
        check: Callable[[KafkaSettings], None] = check_brokers,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._settings, self._tell, self._check, self._seconds = settings, tell, check, look_seconds
        self._where = ", ".join(settings.bootstrap_servers)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="broker-watch", daemon=True)

    def __enter__(self) -> Self:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says the same, at every look
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _work(self) -> None:
        failed, since, wall, told = 0, 0.0, 0.0, 0.0
        while not self._ended.wait(self._seconds):
            begun = time.monotonic()
            try:
                self._check(self._settings)
            except BrokerError:
                failed += 1
                if failed == 1:
                    since, wall = begun, time.time()
                elif failed == 2 or begun - told >= _REMIND_SECONDS:
                    told = begun
                    clock = time.strftime("%H:%M:%S", time.localtime(wall))
                    self._tell(f"{self._where} does not answer since {clock}; the roles wait and go on once it does")
                continue
            if failed >= 2:
                self._tell(f"{self._where} answers again, after {begun - since:.0f} s")
            failed = 0
