"""Patterns as inputs: `/var/log/shop/*.log`. In: a name. Out: the regular files that match it now, each once."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator

__all__ = ["expand", "is_pattern", "matching"]

_MAGIC = re.compile(r"[*?\[]")


def is_pattern(path: str) -> bool:
    """True for `*`, `?`, `[...]` and `**` (any folders), unless a file has just that name."""
    return _MAGIC.search(path) is not None and not os.path.lexists(path)


def matching(pattern: str) -> list[str]:
    """The absolute paths of the regular files that match now, in order; names that begin with a dot only where the
    pattern's do. Symbolic links are followed, and keep their names; but `**` goes into no folder by a link, which may
    lead back to where it stands.
    """
    return sorted({path for path in _matches(os.path.abspath(pattern)) if os.path.isfile(path)})


def _matches(pattern: str) -> Iterator[str]:
    """What `glob` with `recursive` finds, but for links to folders: two that lead back keep it busy for ever."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index("**")
    behind = os.sep.join(parts[at + 1 :]) or "*"
    for top in glob.iglob(os.sep.join(parts[:at]) + os.sep):
        for folder, inner, _ in os.walk(top):
            inner[:] = [name for name in inner if not name.startswith(".")]
            yield from _matches(os.path.join(glob.escape(folder), behind))


def expand(paths: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Those of `paths` that are neither one of `known` nor another name (a link) of one of these or of one before."""
    seen = {_identity(path) for path in known} - {None}
    found = []
    for path in paths:
        identity = _identity(path)
        if identity not in seen:
            found.append(path)
            seen.add(identity)
    return found


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
