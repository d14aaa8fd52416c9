"""The table of orders, and fills that are counted once."""

from __future__ import annotations

import math

import pytest
from driver import SYMBOL, D, a_stop
from msgspec.structs import replace

from trailing.core.model import Fill
from trailing.core.orders import (
    CANCELLING,
    CHANGING,
    INTENDED,
    LIVE,
    ORDER_EVENTS,
    ORDER_TABLE,
    SENT,
    Order,
    OrderState,
    unseen,
)
from trailing.errors import UsageError

ROW = Order("a", "stop", SENT, D(98), D(1))


def a_fill(quantity: str, trade: str | None = None, at: float = 1.0) -> Fill:
    return Fill(SYMBOL, "long", D(quantity), D(98), "1", "a", at, trade)


def test_the_table_names_known_states_and_events_only_and_each_event_and_state_is_in_it() -> None:
    assert {event for _, event in ORDER_TABLE} == set(ORDER_EVENTS)
    assert {state for state, _ in ORDER_TABLE} == set(OrderState)
    assert {state for state in ORDER_TABLE.values() if state is not None} == set(OrderState) - {INTENDED}


@pytest.mark.parametrize("event", ORDER_EVENTS)
@pytest.mark.parametrize("state", OrderState)
def test_every_event_in_every_state_does_what_the_table_says_or_raises(state: OrderState, event: str) -> None:
    row = replace(ROW, state=state)
    if (state, event) not in ORDER_TABLE:
        with pytest.raises(UsageError, match=f"^order a: '{event}' is impossible while it is {state}$"):
            row.after(event)
        return
    after, then = row.after(event, price=D(99)), ORDER_TABLE[state, event]
    if then is None:
        assert after is None
    else:
        assert after == replace(row, state=then, price=D(99))


def test_every_order_can_leave_the_table_and_one_that_was_sent_only_by_evidence() -> None:
    ends = {
        state: {event for (one, event), then in ORDER_TABLE.items() if one is state and then is None}
        for state in OrderState
    }
    assert ends[INTENDED] == {"dropped"}
    assert ends[SENT] == {"refused", "absent", "filled", "cancelled"}
    assert ends[LIVE] == ends[CHANGING] == ends[CANCELLING] == {"absent", "filled", "cancelled"}


@pytest.mark.parametrize(
    ("state", "stands", "is_sent"),
    [
        (INTENDED, False, False),
        (SENT, False, True),
        (LIVE, True, False),
        (CHANGING, True, True),
        (CANCELLING, True, True),
    ],
)
def test_an_order_exists_once_it_was_shown_and_is_unknown_while_a_request_of_it_is_open(
    state: OrderState, stands: bool, is_sent: bool
) -> None:
    row = replace(ROW, state=state)
    assert (row.exists, row.is_sent) == (stands, is_sent)


def test_an_order_that_triggered_protects_for_its_grace_only() -> None:
    assert not ROW.is_stuck(math.inf, 2.0)
    triggered = replace(ROW, triggered_at=10.0)
    assert [triggered.is_stuck(at, 2.0) for at in (10.0, 11.9, 12.0)] == [False, False, True]


def test_an_order_is_stored_as_it_was_shown_and_before_that_by_its_intent() -> None:
    assert ROW.stored == "a"
    assert replace(ROW, order=a_stop("a")).stored == a_stop("a")


# Fills.


def test_fm45_a_fill_that_is_pushed_twice_is_counted_once() -> None:
    row, counted = unseen(ROW, a_fill("0.4", "trade-1"), None)
    assert (counted, row.told, row.proceeds) == (D("0.4"), D("0.4"), D("39.2"))
    assert unseen(row, a_fill("0.4", "trade-1", at=9.0), None) == (row, D(0))
    assert unseen(row, a_fill("0.4", "trade-2"), None)[1] == D("0.4")


def test_fm45_a_fill_without_a_trade_id_is_known_by_its_figures_and_time() -> None:
    row, counted = unseen(ROW, a_fill("0.4"), None)
    assert counted == D("0.4")
    assert unseen(row, a_fill("0.4"), None)[1] == D(0)
    assert unseen(row, a_fill("0.4", at=2.0), None)[1] == D("0.4")


def test_fm45_a_fill_without_a_trade_id_counts_as_far_as_the_exchanges_sum_says() -> None:
    row, counted = unseen(ROW, a_fill("0.4"), D("0.4"))
    assert counted == D("0.4")
    late = unseen(row, a_fill("0.4", at=2.0), D("0.4"))  # the same one, pushed at another time
    assert late[1] == D(0)
    assert unseen(row, a_fill("0.3", at=3.0), D("0.6"))[1] == D("0.2")
