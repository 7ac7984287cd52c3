"""From the canonical line to the template's text: the rules.

In: a canonical line (models.canonical). Out: the template text, one line of printable characters with `<*>` for what
varies. The rules see nothing but the canonical line, so equal canonical lines mean equal templates.

The canonical line has already lost every token with a digit. The rules take what varies without one (hosts, paths,
names after `user`), and fold what varies in shape (dates, units, lists, addresses). They name forms, never one system's
messages. Each works in time linear in the line, or nearly: the input is written by strangers.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_CANONICAL", "MAX_TEXT", "PLACEHOLDER", "RULES_VERSION", "template_text"]

RULES_VERSION: Final = 1
"""Part of each template's id: a changed rule makes new templates instead of changing the meaning of old ones."""
PLACEHOLDER: Final = "<*>"
MAX_CANONICAL: Final = 2_048
"""Characters of a canonical line that the rules read; stack traces that differ only further down are one template."""
MAX_TEXT: Final = 1_000
"""Characters of a template's text; one cut here ends in "…"."""

_DAY = r"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? )?"
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)
_CLOCK = r"0(?::0)*"
_TOP_DOMAIN = (
    r"(?:com|org|net|edu|gov|mil|int|info|biz|dev|app|cloud|local|localdomain|internal|lan|arpa|ac|ae|ar|at|au|be|bg|br"
    r"|ca|ch|cl|cn|co|cz|de|dk|ee|es|eu|fi|fr|gr|hk|hr|hu|id|ie|il|in|io|ir|is|it|jp|kr|lt|lu|lv|me|mx|my|nl|no|nz|pl"
    r"|pt|ro|ru|se|sg|si|sk|th|tr|tv|tw|ua|uk|us|vn|za)"
)
_VALUE = r"[^\s,;\"'<>|()\[\]{}=]+"
_IDENTITY_KEY = (
    r"(?:r?host(?:name)?|addr(?:ess)?|ip|path|file(?:name)?|dir(?:ectory)?|ur[li]|user(?:name)?|uid|login|uuid|guid|id"
    r"|session|request_?id|trace_?id)"
)
_HEX = r"(?:0|[A-Fa-f]{1,4})"

# (what a line must contain for the rule to be worth trying, pattern, replacement), in order. The first column only
# saves time: 45 to 25 µs a line.
_RULES: Final = tuple(
    (needs, re.compile(pattern, re.ASCII), replacement)
    for needs, pattern, replacement in (
        # Dates and times in words: "Sun Jul 0 0:0:0 0".
        (" 0", rf"\b{_DAY}{_MONTH} 0(?:,? {_CLOCK})*(?: (?:[A-Z]{{3,4}} )?{_CLOCK})?\b", "0"),
        # URLs, with their query.
        ("://", r"\b[A-Za-z][A-Za-z.+-]{0,20}://[^\s,;\"'<>|()\[\]{}]+", "0"),
        # Mail addresses, user@host, object@hash.
        ("@", r"(?<![\w.+-])[\w.+-]{1,64}@[\w.-]+", "0"),
        # Host names. What begins like a reversed domain (org.apache.x) is a package, for the rule on dotted names.
        (
            ".",
            r"(?<![\w./\\@$-])(?!(?:org|com|net|edu|java|javax|io|sun)\.)(?:[A-Za-z_-]+\.)+"
            rf"{_TOP_DOMAIN}(?![\w/.\\(-])",
            "0",
        ),
        # Absolute paths (Unix, Windows, UNC), then relative ones where one of the first two parts holds a dot.
        ("/", r"(?<![\w/.*])[~.]?/[^\s,;:\"'<>|()\[\]{}=]*", "0"),
        ("\\", r"(?<![\w/.*])(?:[A-Za-z]:\\|\\\\)[^\s,;:\"'<>|()\[\]{}=]*", "0"),
        ("/", r"(?<![\w.-])(?=[\w-]*\.|[\w.-]+/[\w-]*\.)[\w.-]+/[\w./$-]+", "0"),
        # Hexadecimal without a digit: long runs; groups of MAC and IPv6 addresses beside a wildcard.
        ("", r"\b(?:[a-f]{8,}|[A-F]{8,})\b", "0"),
        (":", rf"(?<!\w)(?=[A-Fa-f:]*0){_HEX}(?:::?{_HEX}){{2,40}}(?![\w:])", "0"),
        # Dotted names of three parts or more (modules, bundles, settings), but not what tells the kind of failure
        # (…Exception, …Error), nor a constant (…SCREEN_ON).
        (
            ".",
            r"(?<![\w.$-])(?![\w.$-]*(?:Exception|Error)\b)(?![\w.$-]*\.[A-Z][A-Z_]+\b(?!\.))"
            r"(?:[A-Za-z_$][\w$-]*\.){2,}[A-Za-z_$][\w$-]*\b(?!\()",
            "0",
        ),
        # Who: "for user x", "invalid user x", "password for x".
        (" user ", r"\b((?:[Ff]or|[Bb]y|[Aa]s|[Oo]f|[Ii]nvalid) user) (?!0)[\w.$-]+", r"\1 0"),
        (" for ", r"\b((?:password|publickey|log[io]n) for) (?!0|invalid user)[\w.$-]+", r"\1 0"),
        # key=value where the key says that the value names one of many; and where the key itself varies.
        ("=", rf"(?<![A-Za-z])((?:\w+[_.-])?{_IDENTITY_KEY})={_VALUE}", r"\1=0"),
        ("0=", r"\b0=[^\s,;\"'<>|()\[\]{}]+", "0"),
        # A value and its unit: "0 KB", "<0 sec".
        (
            "0",
            r"<?\b0 ?(?:[KMGT]i?)?B\b"
            r"|<?\b0 (?:[kKMGT]?[Bb]ytes?|[mun]?s|m?secs?|seconds?|min(?:ute)?s?|hours?|days?)\b",
            "0",
        ),
        # A remark in parentheses on a value, which may be missing: "0 (0)", "0 ()".
        ("0 (", r"(?<=0) \(0?\)(?=[ ,:;]|$)", ""),
        # Addresses, clocks, ratios; then lists of any length.
        ("0:", r"\b0(?::0?)+(?!\w)", "0"),
        ("0", r"\b0(?:[ ,]+0\b)+", "0"),
    )
)
# Every blank and control character: a template is one line, and cannot steer the terminal that shows it. Single spaces
# stay as they are, unmatched: to put each back in its place took twice as long.
_CONTROLS = "\x00-\x1f\x7f-\xa0\u2028\u2029"
_BLANKS = re.compile(f"[{_CONTROLS}][ {_CONTROLS}]*| [ {_CONTROLS}]+")


def template_text(canonical: str) -> str:
    """The template text of a canonical line: at most MAX_TEXT characters."""
    text = _BLANKS.sub(" ", canonical[:MAX_CANONICAL]).strip()
    for needs, pattern, replacement in _RULES:
        if needs in text:
            text = pattern.sub(replacement, text)
    text = text.replace("0", PLACEHOLDER)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
