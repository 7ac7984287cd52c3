"""Signing keys: given ones, or one made in the data folder that nobody else can read."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from connectors.keys import KEYS_FILE, load_keys
from models.errors import ConfigError, DataFolderError, SignatureError
from models.signal import Control
from models.signing import sign, verify

ORDER = Control(kind="pause", by="me")


def _current(folder: Path) -> str:
    return load_keys(folder, {}).current


def test_a_key_is_made_once_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = load_keys(tmp_path, {})
    file = tmp_path / KEYS_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    verify(sign(ORDER, first), load_keys(tmp_path, {}))
    assert [path.name for path in tmp_path.iterdir()] == [KEYS_FILE]


def test_processes_that_make_it_at_once_agree_on_one(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(_current, [tmp_path] * 8))) == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEYS_FILE]


def test_two_folders_do_not_trust_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(SignatureError):
        verify(sign(ORDER, load_keys(tmp_path / "a", {})), load_keys(tmp_path / "b", {}))


def test_given_keys_are_used_and_nothing_is_written(tmp_path: Path) -> None:
    given = {"old": "an-old-secret-of-some-length", "new": "a-new-secret-of-some-length"}
    ring = load_keys(tmp_path, given)
    assert ring.current == "new"
    assert load_keys(tmp_path, given, "old").current == "old"
    verify(sign(ORDER, load_keys(tmp_path, given, "old")), ring)
    assert not list(tmp_path.iterdir())


def test_a_short_given_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="openssl rand"):
        load_keys(tmp_path, {"a": "short"})


def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    load_keys(tmp_path, {})
    (tmp_path / KEYS_FILE).chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_keys(tmp_path, {})


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"current": "a", "keys": {"a": 1}}', '{"keys": {}}', '{"keys": 3}']
)
def test_a_damaged_file_of_keys_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / KEYS_FILE).write_text(content)
    (tmp_path / KEYS_FILE).chmod(0o600)
    with pytest.raises(ConfigError, match=KEYS_FILE):
        load_keys(tmp_path, {})


def test_a_folder_that_is_not_there_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="FORESHOCK_SIGNING_KEYS"):
        load_keys(tmp_path / "none", {})
