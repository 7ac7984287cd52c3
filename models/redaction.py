"""Secrets taken out of text before anybody sees it: templates, examples, alerts, dead letters shown to a person.

In: any text, raw or canonical. Out: the text with each secret replaced by `<redacted>`; doing it again shows no more.

One compiled expression finds values by the name in front of them (password=, Authorization:, --token), by their place
(user:password@ in a URL), and by their own form (cloud and forge keys, JSON web tokens, private keys). A secret that
has neither name nor form (a bare word) cannot be told from any other word, and stays.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["REDACTED", "redact"]

REDACTED: Final = "<redacted>"

# The expression reads UTF-8 in ASCII lower case and knows no other, and each alternative begins with a plain letter:
# then `re` skips to the next possible first letter. IGNORECASE, or a group in front, costs that: 27 and 165 k lines/s.
# Names may be the end of longer ones (db_password, X-Auth-Token): the search finds them inside.
_NAMES = (
    r"pass(?:word|wd|phrase|code|(?=[\"']?[ \t]*:?=))",  # DB_PASS=x, but "3 pass: 2 fail" is none
    r"pwd(?!=/)",  # PWD=/home/x is a working directory
    r"private[_-]?key",
    r"s(?:ecret(?:[_-]?(?:access[_-]?)?key)?|igning[_-]?key|hared[_-]?(?:access[_-]?)?key)",
    r"token",
    r"c(?:redentials?|onnection[_-]?string)",
    r"a(?:pi|ccess|ccount)[_-]?key",
    r"authorization",
    r"encryption[_-]?key",
)
# The empty group marks where the value begins. A scheme in front of a redacted value is none.
_VALUE_STARTS = r"()(?![\"']?(?:bearer|basic|digest)[ \t]+<redacted>)"
_BREAK = r"\r\n\xe2"  # \xe2 begins U+2028, and some rarer signs, where a quoted secret then ends early
_VALUE = rf"{_VALUE_STARTS}(?:\"[^\"{_BREAK}]*\"?|'[^'{_BREAK}]*'?|[^\s\"',;&|()<>\[\]{{}}]+)"
_ASSIGNED = r"[\"']?[ \t]*(?>=>|:=|=|:)[ \t]*(?:[\"']?(?:bearer|basic|digest)[ \t]+(?=\S))?" + _VALUE
_ALTERNATIVES = (
    *(name + _ASSIGNED for name in _NAMES),
    r"-(?:pass(?:word|wd)?|token|secret|api-?key)[ =]" + _VALUE,
    rf"bearer[ \t]+(?=\S{{8}}){_VALUE}",
    rf"cookie[\"']?[ \t]*[=:][ \t]*{_VALUE_STARTS}[^\s\"{_BREAK}][^\"{_BREAK}]*",
    rf"://[^\s/:@\"'<>]{{0,256}}:{_VALUE_STARTS}[^\s/@\"']{{1,256}}(?=@)",
    r"-----begin[a-z0-9 ]{0,40}private key(?: block)?-----(?:(?!-----end)[\s\S])*(?:-----end[a-z0-9 ]{0,40}-----)?",
    r"a(?<![a-z0-9]a)(?:kia|sia|bia|cca)[a-z0-9]{16}(?![a-z0-9])",
    r"a(?<![a-z0-9]a)iza[a-z0-9_-]{35}",
    r"e(?<![a-z0-9]e)yj[a-z0-9_-]{8,}\.eyj[a-z0-9_-]+(?:\.[a-z0-9_-]*)?",
    r"g(?<![a-z0-9]g)(?:h[pousr]_[a-z0-9]{20,255}|ithub_pat_[a-z0-9_]{20,255}|lpat-[a-z0-9_-]{20,64})",
    r"r(?<![a-z0-9]r)k_(?:live|test)_[a-z0-9]{10,99}",
    r"s(?<![a-z0-9]s)k(?:_(?:live|test)_[a-z0-9]{10,99}|-[a-z0-9_-]{20,200})",
    r"x(?<![a-z0-9]x)ox[abeoprs]-[a-z0-9-]{10,250}",
)
_SECRET: Final = re.compile("|".join(_ALTERNATIVES).encode())


def redact(text: str) -> str:
    """The text without its secrets."""
    raw = text.encode("utf-8", "surrogatepass")
    match = _SECRET.search(lower := raw.lower())
    if match is None:
        return text
    kept, at = [], 0
    while match is not None:
        kept += [raw[at : match.start(match.lastindex or 0)], REDACTED.encode()]
        at = match.end()
        match = _SECRET.search(lower, at)
    kept.append(raw[at:])
    return b"".join(kept).decode("utf-8", "surrogatepass")
