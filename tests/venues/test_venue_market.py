"""The market of both servers, without a server."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from venue_candles import MINUTE, Candles
from venue_limits import Window
from venue_market import INSTRUMENTS, Event, OrderEvent, OrderSide, Refusal, Trigger, VenueMarket, Wanted

BTC = "BTC/USDT:USDT"


def new_market(**options: Any) -> VenueMarket:
    market = VenueMarket(INSTRUMENTS, lambda: 1_000_000, **options)
    market.enter(BTC, "buy", Decimal(1), Decimal(1000))
    return market


def stop(own_id: str, price: str = "990", quantity: str = "1", side: OrderSide = "sell") -> Wanted:
    trigger = Trigger(Decimal(price), "last", rising=side == "buy")
    return Wanted(
        symbol=BTC,
        side=side,
        quantity=Decimal(quantity),
        client_order_id=own_id,
        reduce_only=True,
        trigger=trigger,
    )


def at_market(side: OrderSide, quantity: str, *, reduce_only: bool = False) -> Wanted:
    wanted = {"symbol": BTC, "side": side, "quantity": Decimal(quantity), "reduce_only": reduce_only}
    return Wanted(client_order_id=f"{side}{quantity}", **wanted)  # type: ignore[arg-type]


def test_an_entry_sets_missing_prices_and_averages_the_entry_price() -> None:
    market = new_market()
    market.enter(BTC, "buy", Decimal(1), Decimal(1100))
    holding = market.holding(BTC, "both")
    assert (holding.quantity, holding.entry_price) == (Decimal(2), Decimal(1050))
    assert market.prices == {(BTC, source): Decimal(1000) for source in ("last", "mark", "index")}


def test_an_order_larger_than_the_position_opens_the_other_side() -> None:
    market = new_market()
    market.move_price(BTC, Decimal(900), "last")
    market.place(at_market("sell", "3"))
    holding = market.holding(BTC, "both")
    assert (holding.quantity, holding.entry_price) == (Decimal(-2), Decimal(900))
    market.place(at_market("buy", "1"))
    assert (holding.quantity, holding.entry_price) == (Decimal(-1), Decimal(900))


def test_two_stops_close_at_most_the_position() -> None:
    market = new_market()
    first, second = market.place(stop("first")), market.place(stop("second", "980"))
    market.move_price(BTC, Decimal(970), "last")
    assert (first.status, second.status) == ("filled", "rejected")
    assert market.holding(BTC, "both").quantity == 0
    assert [fill.quantity for fill in market.fills] == [Decimal(1)]


def test_a_reduce_only_order_may_be_below_the_minimum_notional() -> None:
    market = new_market()
    market.place(at_market("sell", "0.05", reduce_only=True))
    market.place(stop("mine", quantity="0.001"))
    assert market.holding(BTC, "both").quantity == Decimal("0.95")


def test_the_stops_of_a_flat_position_are_cancelled_on_venues_that_do_so() -> None:
    market = new_market(cancel_on_flat=True)
    order = market.place(stop("mine"))
    market.place(at_market("sell", "1", reduce_only=True))
    assert order.status == "cancelled"
    market = new_market()
    order = market.place(stop("mine"))
    market.place(at_market("sell", "1", reduce_only=True))
    assert order.status == "live"


def test_a_fill_is_split_into_parts_of_whole_steps() -> None:
    market = new_market(parts=3)
    events: list[Event] = []
    market.listeners.append(events.append)
    order = market.place(stop("mine", quantity="0.5"))
    market.move_price(BTC, Decimal(989), "last")
    assert [fill.quantity for fill in market.fills] == [Decimal("0.166"), Decimal("0.166"), Decimal("0.168")]
    own = [event.status for event in events if isinstance(event, OrderEvent) and event.order is order]
    assert own == ["live", "triggered", "triggered", "partial", "partial", "filled"]
    assert (order.filled, order.average) == (Decimal("0.5"), Decimal(989))


@pytest.mark.parametrize(
    ("side", "activation", "moves", "ends"),
    [
        ("sell", "1010", ("990", "1010", "1030", "1019.8"), "1019.7"),
        ("buy", "990", ("1010", "990", "970", "979.6"), "979.7"),
    ],
)
def test_a_trailing_order_triggers_behind_the_best_price_since_its_activation(
    side: OrderSide, activation: str, moves: tuple[str, ...], ends: str
) -> None:
    market = VenueMarket(INSTRUMENTS, lambda: 1_000_000)
    market.enter(BTC, "buy" if side == "sell" else "sell", Decimal(1), Decimal(1000))
    order = market.place(trailing(activation, side))
    for price in moves:
        market.move_price(BTC, Decimal(price), "last")
        assert order.is_open
    market.move_price(BTC, Decimal(ends), "last")
    assert order.status == "filled"


def trailing(price: str, side: OrderSide = "sell") -> Wanted:
    wanted = stop("trails", price, side=side)
    assert wanted.trigger is not None
    return msgspec.structs.replace(wanted, trigger=msgspec.structs.replace(wanted.trigger, callback=Decimal(1)))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (stop("new", "990.05"), "price step"),
        (stop("new", quantity="0.0005"), "quantity step"),
        (at_market("buy", "0.099"), "notional"),
        (stop("new", "1000"), "would trigger"),
        (trailing("1000"), "would trigger"),
        (stop("new", "1010", side="buy"), "nothing to reduce"),
        (stop("old"), "duplicate"),
    ],
)
def test_an_order_that_violates_a_rule_is_refused_and_leaves_nothing(wanted: Wanted, reason: str) -> None:
    market = new_market()
    market.place(stop("old", "900"))
    changes = market.changes
    with pytest.raises(Refusal, match=reason):
        market.place(wanted)
    assert market.changes == changes
    assert len(market.orders) == 1


def test_the_client_order_id_of_an_ended_order_is_free_again_on_some_venues() -> None:
    market = new_market()
    market.cancel(market.place(stop("mine")))
    assert market.place(stop("mine")).is_open
    market = new_market(ids_for_ever=True)
    market.cancel(market.place(stop("mine")))
    with pytest.raises(Refusal, match="duplicate"):
        market.place(stop("mine"))


def test_stops_are_counted_by_account_or_by_symbol() -> None:
    for by_symbol in (False, True):
        market = new_market(most_stops=1, stops_by_symbol=by_symbol)
        market.enter("ETH/USDT:USDT", "buy", Decimal(1), Decimal(1000))
        market.place(stop("first"))
        other = Wanted(
            symbol="ETH/USDT:USDT",
            side="sell",
            quantity=Decimal(1),
            client_order_id="second",
            reduce_only=True,
            trigger=Trigger(Decimal(990), "last", rising=False),
        )
        if by_symbol:
            assert market.place(other).is_open
        else:
            with pytest.raises(Refusal, match="too many"):
                market.place(other)


def test_candles_repeat_the_last_price_in_a_minute_without_trades_and_include_the_open_one() -> None:
    now = 10 * MINUTE + 1
    candles = Candles(lambda: now)
    for price in ("5", "9", "7"):
        candles.add(BTC, "last", Decimal(price), 8 * MINUTE + 5)
    candles.add(BTC, "last", Decimal(8))
    bars = candles.since(BTC, "last", None, 10)
    shown = [[int(each) for each in (bar.opened_at // MINUTE, bar.open, bar.high, bar.low, bar.close)] for bar in bars]
    assert shown == [[8, 5, 9, 5, 7], [9, 7, 7, 7, 7], [10, 8, 8, 8, 8]]
    assert [bar.opened_at // MINUTE for bar in candles.since(BTC, "last", 9 * MINUTE, 1)] == [9]
    assert [bar.opened_at // MINUTE for bar in candles.since(BTC, "last", None, 2)] == [9, 10]
    assert candles.since(BTC, "mark", None, 10) == ()


def test_a_rate_limit_s_window_restarts_with_each_interval() -> None:
    now = 9_000
    window = Window(10, 2, lambda: now)
    assert [window.take(1) for _ in range(3)] == [True, True, False]
    assert (window.used, window.left_ms) == (3, 1_000)
    now = 10_000
    assert window.used == 0
    assert window.take(2)
