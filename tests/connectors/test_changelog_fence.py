"""The fence of a changelog: what a worker writes after another took over does not count."""

from __future__ import annotations

import pytest

from connectors.changelog import Fence, encode_checkpoint
from connectors.ports import Checkpoint
from models.errors import DataFolderError


def position(term: int) -> bytes:
    return encode_checkpoint(3, term, Checkpoint((), b"shared", 7, 7))[0][1]


def test_what_comes_under_a_lower_term_is_dropped_and_counted():
    fence = Fence()
    assert [fence.admit(3, position(term)) for term in (1, 1, 2, 1, 2, 5, 4)] == [
        True,
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert (fence.term(3), fence.dropped) == (5, 2)


def test_partitions_have_terms_of_their_own():
    fence = Fence()
    assert fence.admit(3, position(9))
    assert fence.admit(4, position(1))
    assert (fence.term(4), fence.term(5)) == (1, 0)


@pytest.mark.parametrize("value", [b"", b"garbage", b"\x09" + bytes(8)])
def test_what_is_no_message_of_ours_is_refused(value):
    with pytest.raises(DataFolderError, match="topics acls"):
        Fence().admit(0, value)
