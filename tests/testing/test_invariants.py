"""Each invariant, kept and broken: what is broken is named by its number."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from trailing.core.entries import EntryFacts
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Position, Side, StopOrder
from trailing.core.record import StopRecord
from trailing.stores.port import Intent, Loaded
from trailing.testing import (
    CancelledStop,
    Key,
    Snapshot,
    broken_invariants,
    cancelled_for_a_reason,
    check_invariants,
    never_crossed_zero,
    nothing_loosened,
    peak_kept,
    requests_bounded,
)

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
KEY: Key = (BTC, "long")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOTHING = Loaded((), ())


def order(client_order_id: str, symbol: str = BTC, price: str = "95", quantity: str = "1") -> StopOrder:
    return StopOrder(symbol, "long", Decimal(quantity), Decimal(price), client_order_id, f"order-{client_order_id}")


def record(*orders: StopOrder, symbol: str = BTC) -> StopRecord:
    return StopRecord(
        position=Position(symbol, "long", Decimal(1), Decimal(100), NOON),
        plan={},
        state="waiting",
        quantity=Decimal(1),
        best=Decimal(100),
        last=Decimal(100),
        suspect=None,
        target=Decimal(95),
        orders=orders,
        seconds_since_move=None,
        unacknowledged_fills={},
        candles=(),
        foreign_ticks=0,
    )


def intent(client_order_id: str) -> Intent:
    price = Decimal(95)
    return Intent("paper", "default", BTC, "long", "one", client_order_id, "stop", Decimal(1), price, NOON)


def snapshot(**changes: Any) -> Snapshot:
    """One position, protected by `tr1` as it should be, and a stop of somebody else."""
    good = Snapshot(
        live=(order("tr1"), order("by-hand", ETH)),
        positions={KEY: Decimal(1)},
        entered={KEY: Decimal(1)},
        remembered={KEY: order("tr1")},
        claims={KEY},
        held={KEY},
        loaded=Loaded((record(order("tr1")),), ()),
        is_ours=lambda client_order_id: client_order_id.startswith("tr"),
    )
    return msgspec.structs.replace(good, **changes)


NOT_LISTED: dict[str, Any] = {"live": (), "remembered": {}, "loaded": Loaded((record(),), ()), "unprotected": set()}

# A second stop beside tr1, which everybody knows of as a move's.
TWO: dict[str, Any] = {
    "live": (order("tr1"), order("tr2", price="96")),
    "loaded": Loaded((record(order("tr1")),), (intent("tr2"),)),
}
# The reply to the first stop was lost: it is claimed, its intent is written, and nobody has looked yet.
UNRESOLVED: dict[str, Any] = {"remembered": {}, "loaded": Loaded((record(),), (intent("tr1"),))}


def entry(client_order_id: str = "tr5") -> EntryOrder:
    return EntryOrder(BTC, "long", Decimal(3), client_order_id, "e", is_working=True, filled=Decimal(0))


def carrying(stop_id: str, *orders: StopOrder) -> StopRecord:
    """The record of an entry that carries a stop."""
    facts = EntryFacts("tr5", Decimal(3), Decimal(100), NOON, stop_id=stop_id, stop_price=Decimal(95))
    return msgspec.structs.replace(record(*orders), entry=facts)


# An entry works, and the exchange has placed the stop that it carries, of which nothing is known yet.
ENTERING: dict[str, Any] = {
    "entries": (entry(), entry("by-hand")),
    "live": (order("tr1"), order("tr2"), order("tr6")),
    "loaded": Loaded((carrying("tr6", order("tr1")),), (intent("tr2"), intent("tr5"))),
    "moving": {KEY},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        ENTERING,
        {**ENTERING, "listed_entries": {"tr5"}, "unprotected": set()},
        {**TWO, "moving": {KEY}},
        UNRESOLVED,
        {"live": (), "remembered": {}, "loaded": NOTHING, "claims": set(), "held": set(), "positions": {}},
        {"live": (), "remembered": {}, "loaded": Loaded((record(),), ())},  # unprotected, and known to be
        {"loaded": NOTHING, "remembered": {}, "alarmed": {KEY}},
        {"live": (order("tr1"), order("tr0", ETH)), "before": {"tr0"}},
        {"positions": {KEY: Decimal("0.5")}},
        {"remembered": {KEY: order("tr2")}, **TWO, "moving": {KEY}},
        {"unprotected": set(), "handed_in": {KEY}},
        {**NOT_LISTED, "unprotected": {KEY}, "handed_in": {KEY}},
        {**NOT_LISTED, "closing": {KEY}},
        {**NOT_LISTED, "claims": set(), "held": set(), "positions": {}, "handed_in": {KEY}},  # it has ended
        {"unprotected": {KEY}, "listed_beside": {KEY}},
    ],
)
def test_a_sound_snapshot_breaks_nothing(changes: dict[str, Any]) -> None:
    assert broken_invariants(snapshot(**changes)) == []
    check_invariants(snapshot(**changes))


@pytest.mark.parametrize(
    ("changes", "number", "says"),
    [
        pytest.param(TWO, 1, "has 2 live stops, allowed are 1", id="two stops outside a move"),
        pytest.param(
            {
                "live": (order("tr1"), order("tr2"), order("tr3")),
                "loaded": Loaded((record(order("tr1")),), (intent("tr2"), intent("tr3"))),
                "moving": {KEY},
            },
            1,
            "has 3 live stops, allowed are 2",
            id="three stops inside a move",
        ),
        pytest.param({"claims": set(), "held": set()}, 1, "stop tr1 of the long BTC.* has no claim", id="no claim"),
        pytest.param({"live": ()}, 3, "remembered is stop tr1 .*, which isn't live", id="remembered but gone"),
        pytest.param({"live": (order("tr1", price="94"),)}, 3, "1 at 95, live is .* 1 at 94", id="another price"),
        pytest.param({"live": (order("tr1", quantity="2"),)}, 3, "1 at 95, live is .* 2 at 95", id="another quantity"),
        pytest.param(
            {"loaded": Loaded((record(order("tr1", price="94")),), ())}, 3, "stored is .* 1 at 94", id="stale record"
        ),
        pytest.param({"loaded": Loaded((record(),), (intent("tr1"),))}, 3, "stored is none", id="empty record"),
        pytest.param({"loaded": Loaded((), (intent("tr1"),))}, 3, "stored is none", id="no record"),
        pytest.param(
            {**UNRESOLVED, "loaded": NOTHING}, 4, "stop tr1 .* neither in stops nor in intents", id="not written"
        ),
        pytest.param(
            {**UNRESOLVED, "claims": set(), "held": set()}, 5, "stop tr1 .* is untracked", id="an order leaked"
        ),
        pytest.param(TWO, 5, "stop tr2 .* is untracked", id="a second order leaked"),
        pytest.param(
            {"claims": {KEY, (ETH, "long")}}, 5, "the claim on the long ETH.* has no task", id="a claim leaked"
        ),
        pytest.param({"positions": {KEY: Decimal(2)}}, 6, "long BTC.* of 2, entered were 1", id="doubled"),
        pytest.param({"positions": {(BTC, "short"): Decimal(1)}}, 6, "short .* of 1, entered were 0", id="turned"),
        pytest.param(NOT_LISTED, 12, "the long BTC.* is claimed and in no list", id="a claim in no list"),
        pytest.param(
            {**NOT_LISTED, "claims": set(), "held": set(), "handed_in": {KEY}},
            12,
            "the long BTC.* was handed in, is open, and is in no list",
            id="forgotten",
        ),
        pytest.param(
            {**ENTERING, "live": (*ENTERING["live"], order("tr7"))},
            1,
            "has 4 live stops, allowed are 3",
            id="four stops beside an entry",
        ),
        pytest.param(
            {**ENTERING, "loaded": Loaded((carrying("tr6", order("tr1")),), (intent("tr2"),))},
            4,
            "entry tr5 of the long BTC.*, 3 unfilled is not in intents",
            id="an entry without an intent",
        ),
        pytest.param(
            {**ENTERING, "listed_entries": set(), "unprotected": set()},
            12,
            "entry tr5 of the long BTC.* works and is not listed",
            id="an entry that is not listed",
        ),
        pytest.param({"unprotected": {KEY}}, 12, "the long BTC.* is in both lists", id="in both lists"),
    ],
)
def test_a_broken_invariant_is_named(changes: dict[str, Any], number: int, says: str) -> None:
    broken = broken_invariants(snapshot(**changes))
    named = [line for line in broken if line.startswith(f"{number}. ")]
    assert len(named) == 1
    with pytest.raises(AssertionError, match=rf"(?m)^{number}\. .+: .*{says}"):
        check_invariants(snapshot(**changes))


def test_everything_that_is_broken_is_named_at_once() -> None:
    broken = broken_invariants(snapshot(**TWO, claims=set(), held=set(), positions={KEY: Decimal(2)}))
    assert [line[0] for line in broken] == ["1", "1", "1", "5", "6"]


@pytest.mark.parametrize(
    ("side", "prices", "breaks"),
    [
        ("long", "95 95 96 99", []),
        ("short", "105 105 101", []),
        ("long", "95 96 95.9 97", ["2. a stop never loosens: the stop of the long was loosened from 96 to 95.9"]),
        ("short", "105 106", ["2. a stop never loosens: the stop of the short was loosened from 105 to 106"]),
        ("long", "", []),
    ],
)
def test_a_stop_that_loosened_is_found(side: Side, prices: str, breaks: list[str]) -> None:
    assert nothing_loosened(side, map(Decimal, prices.split())) == breaks


@pytest.mark.parametrize(
    ("net", "breaks"),
    [
        ("1 0.5 0", 0),
        ("-1 0", 0),
        ("1 0 -1 0", 0),  # flat in between: somebody entered the other side
        ("1 -0.5", 1),
        ("-1 2 -1", 2),
    ],
)
def test_a_position_that_crossed_zero_is_found(net: str, breaks: int) -> None:
    broken = never_crossed_zero(map(Decimal, net.split()))
    assert len(broken) == breaks
    assert all(line.startswith("6. no exit makes a position cross zero: ") for line in broken)


def test_a_peak_that_was_forgotten_is_found() -> None:
    seen = [Decimal(100), Decimal(103), Decimal(101)]
    assert peak_kept("long", seen, Decimal(103)) == []
    assert peak_kept("short", seen, Decimal(100)) == []
    assert peak_kept("long", seen, Decimal(101)) == [
        "8. a confirmed peak is kept: the long keeps 101 as its peak, 103 was seen"
    ]
    assert len(peak_kept("short", seen, Decimal(101))) == 1


@pytest.mark.parametrize(
    ("cancelled", "breaks"),
    [
        (CancelledStop(stop=order("tr1"), open_quantity=Decimal(0)), 0),
        (CancelledStop(stop=order("tr1"), open_quantity=Decimal(1), others=[order("tr2", price="95")]), 0),
        (CancelledStop(stop=order("tr1"), open_quantity=Decimal(1), takes_one_stop=True), 0),
        (CancelledStop(stop=order("tr1"), open_quantity=Decimal(1), was_wanted=True), 0),
        (CancelledStop(stop=order("tr1"), open_quantity=Decimal(1)), 1),
        (CancelledStop(stop=order("tr1"), open_quantity=Decimal(1), others=[order("tr2", price="94.9")]), 1),
    ],
    ids=["flat", "superseded", "one-stop", "wanted", "for-nothing", "looser-stop-left"],
)
def test_a_stop_that_was_cancelled_for_no_reason_is_found(cancelled: CancelledStop, breaks: int) -> None:
    text = "11. a live stop is cancelled only for an allowed reason"
    what = "stop tr1 of the long BTC/USDT:USDT, 1 at 95 was cancelled, 1 of its position were open"
    assert cancelled_for_a_reason([cancelled]) == breaks * [f"{text}: {what}"]


@pytest.mark.parametrize(
    ("times", "breaks"),
    [
        ([], []),
        ([0.0, 0.1, 0.2], []),
        ([0.0, 5.0, 9.0, 10.0], []),  # of each four, the last comes ten seconds after the first
        ([0.0, 5.0, 9.0, 9.9], ["from 0 on"]),
        ([0.0, 20.0, 21.0, 22.0, 23.0, 24.0], ["from 20 on"]),
    ],
)
def test_a_request_that_was_sent_again_and_again_is_found(times: list[float], breaks: list[str]) -> None:
    assert requests_bounded(times, most=3, seconds=10.0) == [
        f"13. the same request is not sent again and again: more than 3 times within 10 s, {one}" for one in breaks
    ]
