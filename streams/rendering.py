"""What a person or a program sees: data on stdout, all else on stderr, and nothing a log line could do harm with.

In: values of the log, written by strangers. Out: text in which no terminal control character is left and no known
secret is shown. Colours follow the terminal and NO_COLOR (https://no-color.org); a pipe gets plain text of any width.
"""

from __future__ import annotations

import base64
import json
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.redaction import REDACTED, redact

__all__ = [
    "clean",
    "counted",
    "harmless_json",
    "note",
    "put",
    "put_json",
    "put_table",
    "raw_text",
    "redacted",
    "seconds_text",
    "shown",
    "time_text",
]

_NO_WRAP_WIDTH: Final = 100_000
"""Columns of a "terminal" that is none: a line in a pipe is never folded."""
_BASE64_FIELD: Final = "raw"


def clean(text: str) -> str:
    """The text with every control, format, separator or unassigned character as an escape (`\\x1b`, `\\u202e`)."""
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else _escape(char) for char in text)


def shown(text: str) -> str:
    """The text as it may be shown: without secrets, then without control characters."""
    return clean(redact(text))


def redacted(value: Any, name: str = "") -> Any:
    """A JSON value with the secrets of its strings taken out; `name` is the field it stands in (`password`: all of it).

    Joined log messages are read line by line; a dead letter's `raw` stays base64, of the redacted bytes.
    """
    if isinstance(value, str):
        return _redacted_text(value, name)
    if isinstance(value, dict):
        return {key: redacted(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, name) for item in value]
    return value


def put_json(value: Any) -> None:
    """One JSON value as one line on stdout, redacted; characters a terminal would obey are `\\u` escapes."""
    text = json.dumps(redacted(value), ensure_ascii=False, separators=(",", ":"))
    sys.stdout.write(f"{harmless_json(text)}\n")
    sys.stdout.flush()


def harmless_json(text: str) -> str:
    """The same JSON with every character that a terminal would obey as a `\\u` escape."""
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else _json_escape(char) for char in text)


def put(what: Any) -> None:
    """Something for a person on stdout: a table, a tree, or a string (which must have gone through `shown`)."""
    if isinstance(what, str):
        sys.stdout.write(f"{what}\n")
    else:
        _console(sys.stdout).print(what)
    sys.stdout.flush()


def put_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; the cells are cleaned here."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    put(table)


def counted(count: int, what: str) -> str:
    """`1 line`, `2,000 lines`, `2 watches`."""
    several = "es" if what.endswith("ch") else "s"
    return f"{count:,} {what}{'' if count == 1 else several}"


def note(text: str) -> None:
    """A word to the person on stderr."""
    _console(sys.stderr).print(Text(clean(text)), soft_wrap=True)


def raw_text(encoded: str) -> str:
    """What a dead letter's `raw` (base64) holds, as text; what is no base64 stays as it is."""
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
    except ValueError:  # binascii.Error, too
        return encoded


def time_text(at: int) -> str:
    """A time (ms since the epoch) for people, in UTC: `2026-03-01 12:00:05.250Z`; the number where it is none."""
    try:
        moment = datetime.fromtimestamp(at / 1_000, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return f"{at} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at % 1_000:03d}Z"


def seconds_text(seconds: float) -> str:
    """A length of time for people: `3.7 s`, `12.0 min`, `5.2 h`, `322.7 d`."""
    size = abs(seconds)
    for unit, length, most in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if size < most:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def _console(file: Any) -> Console:
    console = Console(file=file, markup=False, highlight=False, emoji=False)
    return console if console.is_terminal else Console(file=file, markup=False, emoji=False, width=_NO_WRAP_WIDTH)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1] if ord(char) != 0x7F else "\\u007f"


def _redacted_text(text: str, name: str) -> str:
    if name == _BASE64_FIELD:
        return _redacted_raw(text)
    if "\n" in text:
        return "\n".join(_redacted_text(line, name) for line in text.split("\n"))
    if name and redact(f"{name}={text}").startswith(f"{name}={REDACTED}"):
        return REDACTED
    return redact(text)


def _redacted_raw(text: str) -> str:
    held = raw_text(text)
    return redact(text) if held == text else base64.b64encode(redact(held).encode()).decode()
