"""The spool: messages in order, through kill -9, torn ends, a full disk."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.ports import Outbound
from connectors.spool import Spool
from models.errors import DataFolderError

SMALL = 400


def message(number: int) -> Outbound:
    return Outbound("logs", "2", b"value %d \n with a newline" % number, 2, number)


def taken(spool: Spool) -> list[int]:
    found = []
    while (spooled := spool.take()) is not None:
        found.append(spooled.out.at)
        assert spooled.out == message(spooled.out.at)
        spool.release(spooled.segment)
    return found


def test_what_goes_in_comes_out_in_order_and_the_files_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20, SMALL)
    spool.append([message(n) for n in range(30)])
    assert len(list(tmp_path.iterdir())) > 2
    assert not spool.empty
    assert taken(spool) == list(range(30))
    assert spool.empty
    assert spool.bytes == 0
    assert list(tmp_path.iterdir()) == []
    spool.append([message(7)])
    assert taken(spool) == [7]


def test_what_was_not_released_is_there_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20, SMALL)
    spool.append([message(n) for n in range(30)])
    for _ in range(12):
        spool.take()
    again = Spool(tmp_path, 1 << 20, SMALL)  # the other process was killed
    assert taken(again) == list(range(30))


def test_a_segment_stays_until_all_of_it_is_released(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.append([message(n) for n in range(3)])
    first, second = spool.take(), spool.take()
    assert first is not None
    assert second is not None
    spool.release(second.segment)
    spool.take()
    assert taken(Spool(tmp_path, 1 << 20)) == [0, 1, 2]


@pytest.mark.parametrize("lost", [1, 5, 30, 60])
def test_a_torn_end_is_cut_off_and_counted(tmp_path: Path, lost: int) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.append([message(n) for n in range(5)])
    file = next(tmp_path.iterdir())
    whole = file.stat().st_size // 5
    with file.open("r+b") as handle:
        handle.truncate(whole * 5 - lost)
    again = Spool(tmp_path, 1 << 20)
    kept = 5 - 1 - lost // whole
    assert again.cut == whole * 5 - lost - kept * whole
    again.append([message(9)])
    assert taken(again) == [*range(kept), 9]


def test_behind_a_spoilt_record_nothing_is_believed_in_later_segments_either(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20, SMALL)
    spool.append([message(n) for n in range(30)])
    second = sorted(tmp_path.iterdir())[1]
    content = bytearray(second.read_bytes())
    content[100] ^= 1
    second.write_bytes(content)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    again = Spool(tmp_path, 1 << 20, SMALL)
    assert again.cut == size - again.bytes > 400
    found = taken(again)
    assert found == list(range(len(found)))
    assert 0 < len(found) < 15


def test_a_missing_segment_ends_what_is_believed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20, SMALL)
    spool.append([message(n) for n in range(30)])
    sorted(tmp_path.iterdir())[1].unlink()
    found = taken(Spool(tmp_path, 1 << 20, SMALL))
    assert found == list(range(len(found)))
    assert len(found) < 10


def test_it_says_when_its_limit_is_reached(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 500, SMALL)
    assert not spool.full
    spool.append([message(n) for n in range(20)])
    assert spool.full
    for _ in range(20):
        spooled = spool.take()
        assert spooled is not None
        spool.release(spooled.segment)
    assert not spool.full


def test_what_need_not_be_sent_is_passed_over_and_goes(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20, SMALL)
    spool.append([message(n) for n in range(30)])
    again = Spool(tmp_path, 1 << 20, SMALL)
    assert again.leave_out(lambda out: out.at < 15 or out.at % 2 == 0) == 22
    assert len(list(tmp_path.iterdir())) < 8
    assert taken(again) == [15, 17, 19, 21, 23, 25, 27, 29]
    assert again.empty
    third = Spool(tmp_path, 1 << 20, SMALL)
    third.append([message(n) for n in range(30)])
    assert third.leave_out(lambda out: True) == 30
    assert third.empty


@contextmanager
def files_of_at_most(size: int):
    """The kernel refuses to write further, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    assert spool.append([message(0)])
    with files_of_at_most(200):
        assert not spool.append([message(n) for n in range(1, 9)])
    assert spool.refused == 8
    assert spool.append([message(1)])
    assert taken(Spool(tmp_path, 1 << 20)) == [0, 1]


def test_what_cannot_be_used_is_named_and_what_is_no_segment_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "notes.spool").write_text("mine")
    Spool(tmp_path, 1 << 20).append([message(1)])
    assert taken(Spool(tmp_path, 1 << 20)) == [1]
    assert (tmp_path / "notes.spool").read_text() == "mine"
    (tmp_path / "0000000001.spool").mkdir()
    with pytest.raises(DataFolderError, match=r"0000000001\.spool cannot be used as the spool"):
        Spool(tmp_path, 1 << 20)
    with pytest.raises(DataFolderError, match=r"notes\.spool cannot be used as the spool"):
        Spool(tmp_path / "notes.spool", 1 << 20)
