"""A user's take-profits on the paper exchange, and the reads of open orders and executions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

import pytest
import trio

from trailing import NoSuchStop, NothingToReduce, Position, StopRejected, StopRequest, Tick, UsageError, open_paper
from trailing.core.model import Side
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.port import OrderUpdate
from trailing.exchanges.updates import waiting

BTC = "BTC/USDT:USDT"
START = datetime(2026, 1, 1, tzinfo=UTC)


async def enter(exchange: PaperExchange, side: Side = "long", quantity: str = "2") -> None:
    await exchange.enter(Position(BTC, side, D(quantity), D(100), START))


def move(exchange: PaperExchange, price: str) -> None:
    exchange.feed(Tick(BTC, D(price), trio.current_time()))


async def place(exchange: PaperExchange, side: Side = "long", quantity: str = "2") -> None:
    price = D(98) if side == "long" else D(102)
    await exchange.place_stop(StopRequest(BTC, side, D(quantity), price, "stop"))


@pytest.mark.parametrize(("side", "price", "short_of"), [("long", "110", "109.9"), ("short", "90", "90.1")])
async def test_a_take_profit_fills_at_its_own_price_when_the_last_price_reaches_it(
    side: Side, price: str, short_of: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_paper() as exchange, exchange.updates() as updates:
        await enter(exchange, side)
        exchange.take_profit_by_hand(BTC, side, D("0.5"), D(price), "tp")
        move(exchange, short_of)
        exchange.feed(Tick(BTC, D(price), trio.current_time(), "mark"))
        assert exchange.actual(BTC)[1] == {side: D(2)}
        move(exchange, "120" if side == "long" else "80")
        assert exchange.actual(BTC)[1] == {side: D("1.5")}
        (fill,) = [one.fill for one in waiting(updates, 99) if isinstance(one, OrderUpdate) and one.fill is not None]
        assert (fill.client_order_id, fill.quantity, fill.price) == ("tp", D("0.5"), D(price))
        assert await exchange.open_orders(BTC) == ()
        assert [one.price for one in await exchange.order_fills(BTC, "tp", START)] == [D(price)]


async def test_a_close_gets_what_take_profits_leave_and_is_refused_if_that_is_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_paper() as exchange:
        await enter(exchange)
        exchange.take_profit_by_hand(BTC, "long", D("0.5"), D(110), "tp")
        assert (await exchange.close_position(BTC, "long", D(2), "one")).quantity == D("1.5")
        with pytest.raises(NothingToReduce, match="other open orders cover the long position"):
            await exchange.close_position(BTC, "long", D("0.5"), "two")
        exchange.cancel_by_hand("tp")
        assert (await exchange.close_position(BTC, "long", D("0.5"), "two")).quantity == D("0.5")


async def test_a_covered_stop_is_cancelled_with_a_reason_when_it_triggers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_paper() as exchange, exchange.updates() as updates:
        await enter(exchange)
        await place(exchange)
        exchange.take_profit_by_hand(BTC, "long", D(2), D(110), "tp")
        move(exchange, "97")
        ended = [one for one in waiting(updates, 99) if isinstance(one, OrderUpdate) and one.client_order_id == "stop"]
        assert [(one.status, one.reason) for one in ended][-1] == ("cancelled", "other orders cover the position")
        assert exchange.actual(BTC) == ((), {"long": D(2)})


async def test_a_stop_fills_what_a_take_profit_leaves(autojump_clock: trio.testing.MockClock) -> None:
    async with open_paper() as exchange:
        await enter(exchange)
        await place(exchange)
        exchange.take_profit_by_hand(BTC, "long", D("0.5"), D(110), "tp")
        move(exchange, "97")
        assert exchange.actual(BTC)[1] == {"long": D("0.5")}
        move(exchange, "96")  # the rest of the stop finds nothing to reduce
        assert exchange.actual(BTC) == ((), {"long": D("0.5")})


async def test_take_profits_end_with_their_position_and_cover_their_own_side_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_paper(hedged=True) as exchange:
        await enter(exchange)
        await enter(exchange, "short")
        exchange.take_profit_by_hand(BTC, "long", D(2), D(110), "long")
        exchange.take_profit_by_hand(BTC, "short", D(2), D(90), "short")
        exchange.reduce(BTC, "long", D(2))  # by hand, whatever covers it
        assert [order.client_order_id for order in await exchange.open_orders(BTC)] == ["short"]
        assert [order.side for order in await exchange.open_orders(BTC)] == ["short"]


async def test_a_take_profit_that_breaks_a_rule_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with open_paper() as exchange:
        with pytest.raises(NothingToReduce):
            exchange.take_profit_by_hand(BTC, "long", D(1), D(110))
        await enter(exchange)
        with pytest.raises(StopRejected, match="larger than what other orders leave"):
            exchange.take_profit_by_hand(BTC, "long", D(3), D(110))
        with pytest.raises(StopRejected, match="no multiple of the tick"):
            exchange.take_profit_by_hand(BTC, "long", D(1), D("110.000000001"))
        with pytest.raises(UsageError, match="price got"):
            exchange.take_profit_by_hand(BTC, "long", D(1), D(0))
        exchange.take_profit_by_hand(BTC, "long", D(2), D(110))
        with pytest.raises(StopRejected, match="duplicate"):
            exchange.take_profit_by_hand(BTC, "long", D(1), D(110))
        with pytest.raises(NothingToReduce):
            exchange.take_profit_by_hand(BTC, "long", D(1), D(110), "another")
        with pytest.raises(NoSuchStop):
            exchange.cancel_by_hand("another")


async def test_a_saved_account_has_its_take_profits(autojump_clock: trio.testing.MockClock) -> None:
    async with open_paper(orders_read_lag=5.0) as exchange:
        await enter(exchange)
        order = exchange.take_profit_by_hand(BTC, "long", D(2), D(110), "tp")
        saved = exchange.save(BTC)
    async with open_paper(orders_read_lag=5.0) as later:
        later.restore([saved])
        assert await later.open_orders(BTC) == (order,)
        move(later, "111")
        assert later.actual(BTC)[1] == {}


async def test_reads_show_orders_and_executions_after_the_read_lag(autojump_clock: trio.testing.MockClock) -> None:
    async with open_paper(orders_read_lag=1.0, positions_read_lag=2.0, utc_start=START) as exchange:
        await enter(exchange)
        await place(exchange)
        exchange.take_profit_by_hand(BTC, "long", D("0.5"), D(110), "tp")
        assert await exchange.open_orders(BTC) == ()
        await trio.sleep(1.0)
        limit, stop = sorted(await exchange.open_orders(BTC), key=lambda order: order.kind)
        assert (limit.kind, limit.price, limit.trigger_price, limit.order_side) == ("LIMIT", D(110), None, "sell")
        assert (stop.kind, stop.price, stop.trigger_price, stop.side) == ("STOP_MARKET", None, D(98), "long")
        assert await exchange.open_orders("ETH/USDT:USDT") == ()
        move(exchange, "97")
        await trio.sleep(1.0)
        assert await exchange.order_fills(BTC, "stop", START) == ()
        await trio.sleep(1.0)
        (fill,) = await exchange.order_fills(BTC, "stop", START)
        assert (fill.quantity, fill.price, fill.at) == (D("1.5"), D(97), trio.current_time() - 2.0)
        assert await exchange.order_fills(BTC, "stop", START + timedelta(seconds=2)) == ()
        assert await exchange.order_fills(BTC, "unknown", START) == ()
        with pytest.raises(UsageError, match="since got"):
            await exchange.order_fills(BTC, "stop", datetime(2026, 1, 1))
        with pytest.raises(UsageError, match="symbol got"):
            await exchange.open_orders("BTCUSDT")


async def test_a_take_profit_can_be_cancelled_as_an_open_order_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_paper(latency=0.1) as exchange:
        await enter(exchange)
        exchange.take_profit_by_hand(BTC, "long", D(2), D(110), "tp")
        (order,) = await exchange.open_orders(BTC)
        assert order.covers_position
        await exchange.cancel_order(order)
        assert await exchange.open_orders(BTC) == ()
        with pytest.raises(NoSuchStop):
            await exchange.cancel_order(order)
