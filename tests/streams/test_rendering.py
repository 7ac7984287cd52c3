"""What is shown: no control character gets through, secrets stay out, everything else stays as it is."""

from __future__ import annotations

import base64
import json
import unicodedata
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from streams.rendering import clean, put, put_json, put_table, redacted, seconds_text, shown, time_text

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def dangerous(text: str) -> bool:
    return any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in text)


@given(st.text())
def test_cleaned_text_holds_nothing_a_terminal_would_obey(text):
    assert not dangerous(clean(text))


def test_ordinary_text_of_any_script_stays_as_it_is():
    for text in ("connection pool exhausted", "Zeit läuft ab", "接続プール", "σ → ✓", "a\u00a0b"):
        assert clean(text) == text
    assert clean("a\tb\x1b[2J\u202e\u0085") == "a\\tb\\x1b[2J\\u202e\\x85"


@given(st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.lists(TEXT, max_size=3), max_size=4))
def test_json_is_one_harmless_line_that_reads_back_as_the_redacted_value(value):
    lines = []
    with mock.patch("sys.stdout") as stdout:
        stdout.write.side_effect = lines.append
        put_json(value)
    (line,) = lines
    assert line.endswith("\n")
    assert not dangerous(line[:-1])
    assert json.loads(line) == json.loads(json.dumps(redacted(value)))


def test_secrets_are_found_by_their_own_name_their_fields_name_and_in_every_line():
    assert shown("login password=hunter2 ok") == "login password=<redacted> ok"
    assert redacted({"db_password": "hunter2", "n": 1}) == {"db_password": "<redacted>", "n": 1}
    assert redacted({"deep": [{"api_key": "abc"}]}) == {"deep": [{"api_key": "<redacted>"}]}
    assert redacted({"messages": "a\ntoken=abc\nb"}) == {"messages": "a\ntoken=<redacted>\nb"}
    assert redacted({"input_tokens": 5, "key": "shop", "pattern_id": "x"}) == {
        "input_tokens": 5,
        "key": "shop",
        "pattern_id": "x",
    }
    raw = base64.b64encode(b"password=hunter2 \xff").decode()
    assert b"hunter2" not in base64.b64decode(redacted({"raw": raw})["raw"])
    assert redacted({"raw": "not base64!"}) == {"raw": "not base64!"}


def test_a_pipe_gets_plain_text_that_is_never_folded(capsys):
    put("x" * 500)
    put_table(["name", "value"], [["a" * 300, "\x1b[31m[bold]red[/bold]"]])
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "x" * 500
    assert out[2].split() == ["a" * 300, "\\x1b[31m[bold]red[/bold]"]


def test_times_are_utc_with_milliseconds_and_impossible_ones_stay_numbers():
    assert time_text(1_790_000_000_250) == "2026-09-21 14:13:20.250Z"
    assert time_text(10**20) == f"{10**20} ms"


def test_lengths_of_time_are_told_in_the_unit_that_fits():
    told = [seconds_text(value) for value in (0, 3.72, -4, 119.9, 720, 18_720, 27_881_280)]
    assert told == ["0.0 s", "3.7 s", "-4.0 s", "119.9 s", "12.0 min", "5.2 h", "322.7 d"]
