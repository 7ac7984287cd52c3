"""What Kafka's clients log by themselves, a line of each kind now and then: while a broker is away they repeat
themselves many times a second.

In: records of Python's `logging`, from warnings on. Out: lines on stderr.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["SeldomHandler", "log_clients_seldom"]

_SECONDS: Final = 300.0
_MOST_KINDS: Final = 1_000
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")
"""What tells lines of one kind apart: ports, offsets, addresses of objects."""


def log_clients_seldom() -> None:
    """From now on in this process; a second call changes nothing."""
    root = logging.getLogger()
    if not any(isinstance(handler, SeldomHandler) for handler in root.handlers):
        root.addHandler(SeldomHandler())


@dataclass(slots=True)
class _Kind:
    shown_at: float
    hidden: int = 0


class SeldomHandler(logging.Handler):
    """Writes the first record of each kind (logger, level, text without its numbers), then one every `seconds`, with
    how many like it there were in between. A record with a traceback is always written.
    """

    def __init__(self, seconds: float = _SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._seconds, self._clock = seconds, clock
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            text = self.format(record)
            hidden = 0 if record.exc_info else self._hidden(record)
            if hidden is not None:
                more = f" ({hidden:,} more like this in the meantime)" if hidden else ""
                sys.stderr.write(f"{text}{more}\n")
                sys.stderr.flush()
        except (OSError, ValueError, TypeError):  # a closed stream, or a message that cannot be formatted
            self.handleError(record)

    def _hidden(self, record: logging.LogRecord) -> int | None:
        """How many of its kind were not written since the last one that was; None where this one is not, too."""
        key = (record.name, record.levelno, _VARYING.sub("#", record.getMessage()))
        now, known = self._clock(), self._kinds.get(key)
        if known is not None and now - known.shown_at < self._seconds:
            known.hidden += 1
            return None
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        self._kinds[key] = _Kind(now)
        return 0 if known is None else known.hidden
