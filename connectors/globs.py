"""Patterns as inputs: `/var/log/shop/*.log`. In: a name. Out: the regular files that match it now, each once."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable

__all__ = ["expand", "is_pattern", "matching"]

_MAGIC = re.compile(r"[*?\[]")


def is_pattern(path: str) -> bool:
    """True for `*`, `?`, `[...]` and `**` (any folders), unless a file has just that name."""
    return _MAGIC.search(path) is not None and not os.path.lexists(path)


def matching(pattern: str) -> list[str]:
    """The absolute paths of the regular files that match now, in order; names that begin with a dot only where the
    pattern's do. Symbolic links are followed, and keep their names.
    """
    return sorted(path for path in glob.glob(os.path.abspath(pattern), recursive=True) if os.path.isfile(path))


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
