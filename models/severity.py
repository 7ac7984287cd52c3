"""How bad a line says it is, read from its own words.

In: a template's text. Out: a Severity; UNKNOWN where the text has no word for it. A line whose level was already known
when it came in (a JSON level, a syslog priority) does not need this.
"""

from __future__ import annotations

import re
from typing import Final

from models.json_line import severity_of
from models.log import Severity

__all__ = ["own_severity"]

# A level is a word in capitals, a word after "level=", in brackets, or a lower-case one that opens a clause and is
# followed by a colon ("error: no space left"). In the middle of a sentence "error" is only a word.
_LEVEL: Final = re.compile(
    r"\b(?P<capitals>TRACE|DEBUG|VERBOSE|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|SEVERE|FATAL|CRIT(?:ICAL)?|ALERT"
    r"|EMERG(?:ENCY)?|PANIC)\b"
    r"|\b(?:level|severity|lvl|levelname)[\"']?\s*[=:]\s*[\"']?(?P<named>[A-Za-z]+)"
    r"|[\[<](?P<bracketed>[a-z]{3,9})[\]>]"
    r"|(?:^|[:;\]] ?)(?P<opening>(?i:trace|debug|info|notice|warn(?:ing)?|err(?:or)?|fatal|critical|panic))(?: error)?:"
    r"|(?P<thrown>[a-z]Exception\b|[a-z]Error\b|\bTraceback\b)",
    re.ASCII,
)

_HINT: Final = re.compile(
    "trace|debug|verbose|fine|info|notice|warn|err|severe|fatal|crit|alert|emerg|panic|level|severity|lvl|exception"
)
"""Without one of these, in any case, a text names no level: most have none, and this sees it in a fifth of the time."""


def own_severity(text: str) -> Severity:
    """The first level that the text names; ERROR where an exception's name comes first; else UNKNOWN."""
    if _HINT.search(text.lower()) is None:
        return Severity.UNKNOWN
    for match in _LEVEL.finditer(text):
        if match["thrown"]:
            return Severity.ERROR
        found = severity_of(match["capitals"] or match["named"] or match["bracketed"] or match["opening"])
        if found is not Severity.UNKNOWN:
            return found
    return Severity.UNKNOWN
