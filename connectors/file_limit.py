"""How many files this process may hold open. A followed file is an open one, and 1,024, the usual soft limit, is less
than many a folder of logs has; the hard limit is what the administrator allows.
"""

from __future__ import annotations

import resource
from contextlib import suppress

__all__ = ["open_as_many_as_allowed"]


def open_as_many_as_allowed() -> None:
    """Raise the soft limit to the hard one; where the system does not let it, it stays."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has "unlimited" as the hard limit and refuses it as a soft one
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
