"""What former programs have kept is read: golden bytes of every kept state and of the changelog that carries it.

A golden file is written once, by the program of its version, and never again: whoever changes what is kept gives it the
next version, says how the former one becomes it, and adds a golden file of the new one.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import BaseModel
from toy_pipeline import Total

from connectors.changelog import Kept, decode_kept, encode_checkpoint, encode_crash
from connectors.ports import Checkpoint, Crash, Entry
from models.case import CaseShared, CaseState
from models.errors import DataFolderError, UpgradeError
from models.service_state import ServiceState
from models.signing import KeyRing
from models.workflow import TargetState
from streams.act import ActShared, ActStep
from streams.case import CaseStep
from streams.detect import Detect
from streams.detect_sources import DetectShared
from streams.runtime import Unit
from streams.step import ModelKeeper

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
KEYS = KeyRing({"k1": b"0123456789abcdef0123456789abcdef"}, "k1")
MODELS = {
    "act_shared": (ActStep(KEYS, "r").shared, ActShared),
    "act_target": (ActStep(KEYS, "r").state, TargetState),
    "case_shared": (CaseStep(KEYS, "r").shared, CaseShared),
    "case_application": (CaseStep(KEYS, "r").state, CaseState),
    "detect_shared": (Detect().shared, DetectShared),
}
ENTRIES = (
    Entry("checkout", 17, 1_767_600_030_000, b'[["fs-1:recall","recall_history",{"pattern":"p"}]]', b'{"n":1}'),
    Entry("größe", -1, None, b"[]", b""),
)


def version_of(raw: bytes) -> int:
    """As ModelKeeper writes it: digits before the JSON, none for 1."""
    return int(raw[: raw.index(b"{")] or 1)


@pytest.mark.parametrize("name", MODELS)
def test_every_kept_model_has_golden_bytes_of_each_version_and_the_newest_are_written_the_same(name):
    keeper, kind = MODELS[name]
    newest = version_of(keeper.dump(keeper.initial("k")))
    for version in range(1, newest + 1):
        states = (GOLDEN / f"state_{name}.v{version}.jsonl").read_bytes().splitlines()
        assert states
        for raw in states:
            assert version_of(raw) == version
            loaded = keeper.load(raw)
            assert isinstance(loaded, kind)
            assert keeper.load(keeper.dump(loaded)) == loaded
            if version == newest:
                assert keeper.dump(loaded) == raw


def test_a_service_s_state_of_each_version_is_read_and_the_newest_is_written_the_same():
    newest = ServiceState("web").dump()[4]
    for version in range(1, newest + 1):
        raw = (GOLDEN / f"service_state.v{version}.bin").read_bytes()
        assert raw[4] == version
        assert ServiceState.load(raw).service == "web"
    assert ServiceState.load(raw).dump() == raw


def test_the_changelog_s_first_format_is_read_and_written_the_same():
    golden = [
        (base64.b64decode(key), base64.b64decode(value))
        for key, value in json.loads((GOLDEN / "changelog.v1.json").read_text())
    ]
    kept = [decode_kept(key, value) for key, value in golden]
    checkpoint = Checkpoint(ENTRIES, b"\x00\x00\x00\x02{}{}", 18, 20, "1a2b3c4d")
    position = checkpoint._replace(entries=())
    crash = Crash(18, 2, "RuntimeError('a defect')")
    assert kept == [
        *(Kept(3, 7, entry=entry) for entry in ENTRIES), Kept(3, 7, position=position), Kept(3, 7, crash=crash)
    ]  # fmt: skip
    assert [*encode_checkpoint(3, 7, checkpoint), encode_crash(3, 7, crash)] == golden


class Before(BaseModel):
    total: int = 0


class Between(BaseModel):
    lines: int = 0


class After(BaseModel):
    lines: int = 0
    told: int = -1


OLD = ModelKeeper(Before)
MIDDLE = ModelKeeper(Between, version=2, upcasts={1: lambda old: {"lines": old["total"]}})
NEW = ModelKeeper(After, version=3, upcasts={1: lambda old: {"lines": old["total"]}, 2: lambda old: {**old, "told": 0}})


def test_a_model_of_any_former_version_is_brought_to_today_s():
    assert OLD.dump(Before(total=7)) == b'{"total":7}'
    assert NEW.load(OLD.dump(Before(total=7))) == NEW.load(MIDDLE.dump(Between(lines=7))) == After(lines=7, told=0)
    assert NEW.dump(After(lines=7, told=1)) == b'3{"lines":7,"told":1}'
    assert NEW.load(NEW.dump(After(lines=7, told=1))) == After(lines=7, told=1)


def test_a_keeper_without_a_way_from_a_former_version_is_refused():
    with pytest.raises(ValueError, match="upcast"):
        ModelKeeper(After, version=3, upcasts={2: dict})


def test_a_former_program_stops_at_a_state_that_a_newer_one_has_kept():
    newer = Entry("app1", 5, None, b"[]", b'2{"sum":9}')
    unit = Unit(Total(), 0, saved=Checkpoint((), None, 6, 6), entries=[newer])
    with pytest.raises(UpgradeError, match=r"reads up to 1.*Upgrade this worker"):
        list(unit.states())
    with pytest.raises(UpgradeError, match="version 4"):
        ServiceState.load(b"FSDT\x04")
    with pytest.raises(DataFolderError):
        ServiceState.load(b"FSDT\x00")
