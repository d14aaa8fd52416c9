"""A partial list: the tuple of its entries, and a text for each entry that was left out."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import pytest
import trio

from trailing import PartialList, PositionReport, open_paper
from trailing.testing import FaultyExchange

PARTIAL = PartialList([1, 2, 3], ["order 7: no quantity"])


def test_a_partial_list_is_a_tuple_of_its_entries_and_a_slice_is_a_plain_tuple() -> None:
    assert (1, 2, 3) == PARTIAL == PartialList([1, 2, 3], [])
    assert hash(PARTIAL) == hash((1, 2, 3))
    assert isinstance(PARTIAL, tuple)
    assert PARTIAL[1] == 2
    for plain in (PARTIAL[:2], (*PARTIAL, 4), tuple(PARTIAL)):
        assert type(plain) is tuple


def test_copies_keep_what_was_left_out() -> None:
    for made in (copy.copy(PARTIAL), copy.deepcopy(PARTIAL), pickle.loads(pickle.dumps(PARTIAL))):  # noqa: S301
        assert type(made) is PartialList
        assert (made, made.left_out) == (PARTIAL, ("order 7: no quantity",))
    assert repr(PARTIAL) == "PartialList((1, 2, 3), left_out=('order 7: no quantity',))"


def test_texts_are_escaped_and_shortened_to_200_characters() -> None:
    (text,) = PartialList[int]([], ["\x1b[2J\n\u202e" + "é" * 1000]).left_out
    assert text.startswith("\\x1b[2J\\n\\u202eéé")
    assert text.isprintable()
    assert len(text) == 200


@pytest.mark.parametrize("operation", ["positions", "open_stops"])
async def test_a_faulty_exchange_returns_a_partial_list_unchanged(
    operation: str, autojump_clock: trio.testing.MockClock
) -> None:
    report = PositionReport("BTC/USDT:USDT", "long", Decimal(1), Decimal(100))
    shown = PartialList([report], ["position 2"])

    async def show() -> PartialList[PositionReport]:
        await trio.lowlevel.checkpoint()
        return shown

    async with open_paper() as inner:
        setattr(inner, operation, show)
        assert await getattr(FaultyExchange(inner, {}), operation)() is shown
