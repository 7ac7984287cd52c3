"""A file that is touched while a role gets on, for a supervisor or a container's health check to look at its age.

In: a folder and a role's name; each call of `beat`. Out: the file `FOLDER/ROLE`, empty, modified at the last beat.
"""

from __future__ import annotations

from pathlib import Path

import structlog

__all__ = ["Heartbeat"]

_log = structlog.get_logger(__name__)


class Heartbeat:
    """Beats of one role of this process. An empty `folder`: nobody looks, and `beat` does nothing."""

    def __init__(self, folder: str, role: str) -> None:
        self._file = Path(folder) / role if folder else None

    def beat(self) -> None:
        """The role got on just now. A folder that cannot be written only makes the role look dead, which is logged: it
        is no reason to stop.
        """
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.touch()
        except OSError as error:
            _log.warning("the heartbeat cannot be written", file=str(self._file), reason=error.strerror)
