"""check_exchange passes the paper exchange however it is set up, and fails an exchange with any of many bugs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio

from trailing.core.account import OpenOrder, PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest, EntrySettings
from trailing.core.model import CallbackRange, Fill, Market, Percent, Position, Side, Source, StopOrder, Tick
from trailing.core.prices import behind, floor_quantity
from trailing.errors import NoSuchStop, NothingToReduce, StopRejected, UsageError, WouldTrigger
from trailing.exchanges.paper import PaperExchange, RateLimit, open_paper
from trailing.exchanges.port import EntryUpdate, OrderUpdate, StopRequest, Update
from trailing.testing import ExchangeUnderTest, check_exchange

COARSE = tuple(
    Market(
        symbol,
        price_tick=Decimal("0.5"),
        quantity_step=Decimal("0.003"),
        min_quantity=Decimal("0.006"),
        min_notional=Decimal(50),
        can_amend=can_amend,
        two_stops=two_stops,
        native_callbacks=CallbackRange(Percent(1), Percent(5), Percent(1)),
    )
    for symbol, can_amend, two_stops in (("BTC/USDT:USDT", False, True), ("ETH/USDT:USDT", True, False))
)


class PaperBench:
    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange

    async def enter(self, position: Position) -> None:
        await self.exchange.enter(position)

    async def move_price(self, symbol: str, price: Decimal, source: Source) -> None:
        self.exchange.feed(Tick(symbol, price, trio.current_time(), source))
        await trio.lowlevel.checkpoint()


def paper(
    wrap: Callable[[PaperExchange], Any] = lambda exchange: exchange, **settings: Any
) -> Callable[[], AbstractAsyncContextManager[ExchangeUnderTest]]:
    @asynccontextmanager
    async def maker() -> AsyncIterator[ExchangeUnderTest]:
        async with open_paper(**settings) as exchange:
            yield PaperBench(wrap(exchange))

    return maker


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"latency": 2.0}, id="slow"),
        pytest.param({"can_amend": True, "latency": 0.3}, id="amends"),
        pytest.param({"two_stops": False, "latency": 0.3}, id="one stop"),
        pytest.param({"hedged": True}, id="hedged"),
        pytest.param({"native_callbacks": None}, id="does not trail"),
        pytest.param({"orders_read_lag": 1.5, "positions_read_lag": 0.7, "latency": 0.25}, id="reads lag"),
        pytest.param({"partial_fills": Decimal("0.25"), "leverage": 10}, id="partial fills"),
        pytest.param({"trigger_delay": 2.0, "latency": 0.1}, id="fills late"),
        pytest.param({"rate_limit": RateLimit(5, 2)}, id="queues"),
        pytest.param({"markets": COARSE, "cancel_on_flat": True}, id="coarse market"),
        pytest.param({"attached_stop": "own", "latency": 0.2}, id="entries carry their stops"),
        pytest.param({"attached_stop": "bridge", "orders_read_lag": 0.5}, id="entries bridge to their stops"),
        pytest.param({"latency": 0.1, "jitter": 1.0, "orders_read_lag": 0.5, "positions_read_lag": 0.5}, id="jitter"),
    ],
)
async def test_the_paper_exchange_keeps_the_contract_however_it_is_set_up(
    autojump_clock: trio.testing.MockClock, settings: dict[str, Any]
) -> None:
    await check_exchange(paper(**settings))


async def test_a_market_that_amends_and_allows_one_stop_only_is_checked_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await check_exchange(paper(markets=COARSE), symbols=("ETH/USDT:USDT", "BTC/USDT:USDT"))


class Wrapped:
    """A paper exchange, as it is but for what a subclass breaks."""

    def __init__(self, inner: PaperExchange) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class HidesStopsFromTheList(Wrapped):
    async def open_stops(self) -> Sequence[StopOrder]:
        await self.inner.open_stops()
        return ()


class ListsOnlyItsOwnTag(Wrapped):
    async def open_stops(self) -> Sequence[StopOrder]:
        return [order for order in await self.inner.open_stops() if order.client_order_id.startswith("check")]


class FindsNothing(Wrapped):
    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        await self.inner.find_stop(symbol, client_order_id)
        return None


class LooksWithoutWaiting(Wrapped):
    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        listed = {order.client_order_id: order for order in await self.inner.open_stops()}
        return listed.get(client_order_id)


class TakesAnIdTwice(Wrapped):
    async def place_stop(self, request: StopRequest) -> StopOrder:
        found = await self.inner.find_stop(request.symbol, request.client_order_id)
        return found if found is not None else await self.inner.place_stop(request)


class ReplacesTheFirst(Wrapped):
    async def place_stop(self, request: StopRequest) -> StopOrder:
        try:
            return await self.inner.place_stop(request)
        except StopRejected:
            if (found := await self.inner.find_stop(request.symbol, request.client_order_id)) is not None:
                await self.inner.cancel_stop(found)
            raise


class SaysOnlyRejected(Wrapped):
    error: type[StopRejected]

    async def place_stop(self, request: StopRequest) -> StopOrder:
        try:
            return await self.inner.place_stop(request)
        except self.error:
            raise StopRejected("no") from None


class DoesNotNameWouldTrigger(SaysOnlyRejected):
    error = WouldTrigger


class DoesNotNameNothingToReduce(SaysOnlyRejected):
    error = NothingToReduce


class RoundsLooser(Wrapped):
    async def place_stop(self, request: StopRequest) -> StopOrder:
        tick = self.inner.market(request.symbol).price_tick
        rest = request.price % tick
        price = request.price + (tick - rest if request.side == "short" and rest else -rest)
        return await self.inner.place_stop(msgspec.structs.replace(request, price=price))


class ForgetsTheSource(Wrapped):
    async def place_stop(self, request: StopRequest) -> StopOrder:
        order = await self.inner.place_stop(msgspec.structs.replace(request, source="last"))
        return msgspec.structs.replace(order, source=request.source)


class ListsATrailingOneAsPlain(Wrapped):
    async def open_stops(self) -> Sequence[StopOrder]:
        return [msgspec.structs.replace(order, callback=None) for order in await self.inner.open_stops()]


class TakesAnyCallback(Wrapped):
    async def place_stop(self, request: StopRequest) -> StopOrder:
        if request.callback is None:
            return await self.inner.place_stop(request)
        order = await self.inner.place_stop(msgspec.structs.replace(request, callback=Percent(1)))
        return msgspec.structs.replace(order, callback=request.callback)


class TrailsAtOnce(Wrapped):
    async def place_stop(self, request: StopRequest) -> StopOrder:
        if request.callback is None or request.callback > Percent(10):
            return await self.inner.place_stop(request)
        price = behind(request.side, self.inner.actual_price(request.symbol), request.callback)
        order = await self.inner.place_stop(msgspec.structs.replace(request, price=price, callback=None))
        return msgspec.structs.replace(order, price=request.price, callback=request.callback)


class TrailsByAnotherSource(Wrapped):
    def shown(self, order: StopOrder) -> StopOrder:
        return order if order.callback is None else msgspec.structs.replace(order, source="last")

    async def place_stop(self, request: StopRequest) -> StopOrder:
        trailing = request.callback is not None
        order = await self.inner.place_stop(msgspec.structs.replace(request, source="mark") if trailing else request)
        return self.shown(order)

    async def open_stops(self) -> Sequence[StopOrder]:
        return [self.shown(order) for order in await self.inner.open_stops()]

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        order = await self.inner.find_stop(symbol, client_order_id)
        return None if order is None else self.shown(order)


class CancelsWhatIsGone(Wrapped):
    async def cancel_stop(self, order: StopOrder) -> None:
        try:
            await self.inner.cancel_stop(order)
        except StopRejected:
            return


class AmendsNothing(Wrapped):
    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        await self.inner.amend_stop(order, price=order.price, quantity=quantity)
        return msgspec.structs.replace(order, price=price)


class UnderstatesItsOrdersLag(Wrapped):
    orders_read_lag = 1.0


class UnderstatesItsPositionsLag(Wrapped):
    positions_read_lag = 1.0


class HasNoPositionsLag(Wrapped):
    positions_read_lag = float("nan")


class ReportsTheWantedQuantity(Wrapped):
    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        fill = await self.inner.close_position(symbol, side, quantity, client_order_id)
        return msgspec.structs.replace(fill, quantity=quantity)


class TurnsThePosition(Wrapped):
    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        fill = await self.inner.close_position(symbol, side, quantity, client_order_id)
        if rest := quantity - fill.quantity:
            await self.inner.enter(
                Position(symbol, "short" if side == "long" else "long", rest, fill.price, opened_at=EPOCH)
            )
        return fill


class PricesAllAlike(Wrapped):
    async def price(self, symbol: str, source: Source) -> Tick:
        return msgspec.structs.replace(await self.inner.price(symbol, "last"), source=source)


class NeverUnsubscribes(Wrapped):
    def __init__(self, inner: PaperExchange) -> None:
        super().__init__(inner)
        self.symbols: set[str] = set()

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        self.symbols |= symbols
        await self.inner.set_subscriptions(self.symbols)


class PushesEverySymbol(Wrapped):
    async def set_subscriptions(self, symbols: Set[str]) -> None:
        await self.inner.set_subscriptions({"BTC/USDT:USDT", "ETH/USDT:USDT"})


class Changed(trio.abc.ReceiveChannel[Update]):
    def __init__(self, inner: trio.abc.ReceiveChannel[Update], change: Callable[[Update], Update]) -> None:
        self.inner = inner
        self.change = change

    async def receive(self) -> Update:
        return self.change(await self.inner.receive())

    async def aclose(self) -> None:
        await self.inner.aclose()


class ChangesUpdates(Wrapped):
    def change(self, update: Update) -> Update:
        raise NotImplementedError

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        async with self.inner.updates() as updates:
            yield Changed(updates, self.change)


class FillsWithoutAnId(ChangesUpdates):
    def change(self, update: Update) -> Update:
        if isinstance(update, OrderUpdate) and update.fill is not None:
            return msgspec.structs.replace(update, fill=msgspec.structs.replace(update.fill, client_order_id=""))
        return update


class FillsShareATradeId(ChangesUpdates):
    def change(self, update: Update) -> Update:
        if isinstance(update, OrderUpdate) and update.fill is not None:
            return msgspec.structs.replace(update, fill=msgspec.structs.replace(update.fill, trade_id="1"))
        return update


class TellsTheFillForTheSum(ChangesUpdates):
    def change(self, update: Update) -> Update:
        if isinstance(update, OrderUpdate) and update.fill is not None:
            return msgspec.structs.replace(update, filled=update.fill.quantity)
        return update


class FillsAreNotPushed(ChangesUpdates):
    def change(self, update: Update) -> Update:
        if isinstance(update, OrderUpdate) and update.fill is not None:
            return msgspec.structs.replace(update, fill=None)
        return update


class TicksCarryTheTimeOfDay(ChangesUpdates):
    def change(self, update: Update) -> Update:
        return msgspec.structs.replace(update, at=1.7e9) if isinstance(update, Tick) else update


class ReportsOneSideOnly(Wrapped):
    async def positions(self) -> Sequence[PositionReport]:
        return [report for report in await self.inner.positions() if report.side == "long"]


class IsNotHedged(Wrapped):
    hedged = True


class HasNoTurn(Wrapped):
    def rate_limit_delay(self, operation: str) -> float:
        return -1.0


class ListsNoOpenOrders(Wrapped):
    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        await self.inner.open_orders(symbol)
        return ()


class ListsOrdersOfEverySymbol(Wrapped):
    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        return await self.inner.open_orders("BTC/USDT:USDT")


class TakesOrdersForOpenings(Wrapped):
    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        return [msgspec.structs.replace(order, side=None) for order in await self.inner.open_orders(symbol)]


class LeavesOpenOrders(Wrapped):
    async def cancel_order(self, order: OpenOrder) -> None:
        if not any(order.order_id == live.order_id for live in await self.inner.open_orders(order.symbol)):
            await self.inner.cancel_order(order)


class CancelsConditionalOrdersOnly(Wrapped):
    async def cancel_order(self, order: OpenOrder) -> None:
        if order.is_conditional:
            await self.inner.cancel_order(order)


class TakesConditionalOrdersForResting(Wrapped):
    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        orders = await self.inner.open_orders(symbol)
        return [msgspec.structs.replace(order, is_conditional=False) for order in orders]


class CancelsOrdersThatAreGone(Wrapped):
    async def cancel_order(self, order: OpenOrder) -> None:
        with contextlib.suppress(NoSuchStop):
            await self.inner.cancel_order(order)


class StatesNoExecutions(Wrapped):
    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        await self.inner.order_fills(symbol, client_order_id, since)
        return ()


class StatesAnExecutionTwice(Wrapped):
    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        return [*await self.inner.order_fills(symbol, client_order_id, since)] * 2


class ForgetsSince(Wrapped):
    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        return await self.inner.order_fills(symbol, client_order_id, EPOCH)


class KnowsNoExecutions(Wrapped):
    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        await self.inner.order_fills(symbol, client_order_id, since)
        raise UsageError("it is not known how to read them here")


class HangsInCancel(Wrapped):
    async def cancel_stop(self, order: StopOrder) -> None:
        await trio.sleep_forever()


EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def reads_are_faster(operation: str, _: str | None) -> float:
    return 0.1 if operation == "open_stops" else 1.0


LIFE = "a placed stop can be listed found moved and cancelled"


class HidesEntries(Wrapped):
    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        await self.inner.find_entry(symbol, client_order_id)
        return None


class LeavesEntries(Wrapped):
    async def cancel_entry(self, symbol: str, client_order_id: str) -> None:
        order = await self.inner.find_entry(symbol, client_order_id)
        if order is None or not order.is_working:
            await self.inner.cancel_entry(symbol, client_order_id)


class FillsAtAnyPrice(Wrapped):
    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        order = await self.inner.place_entry(msgspec.structs.replace(request, limit=None))
        return msgspec.structs.replace(order, limit=request.limit)


class RoundsEntries(Wrapped):
    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        market = self.inner.market(request.symbol)
        quantity = floor_quantity(request.quantity, market.quantity_step)
        order = await self.inner.place_entry(msgspec.structs.replace(request, quantity=quantity))
        return msgspec.structs.replace(order, quantity=request.quantity)


class DropsAttachedStops(Wrapped):
    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        return await self.inner.place_entry(msgspec.structs.replace(request, stop=None))


class AlwaysHedges(Wrapped):
    async def entry_settings(self, symbol: str) -> EntrySettings:
        return msgspec.structs.replace(await self.inner.entry_settings(symbol), hedged=True)


class MixesUpSettings(Wrapped):
    async def entry_settings(self, symbol: str) -> EntrySettings:
        return await self.inner.entry_settings("ETH/USDT:USDT" if symbol.startswith("BTC") else "BTC/USDT:USDT")


class PushesNoEntries(Wrapped):
    @asynccontextmanager
    async def updates(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        async with self.inner.updates() as updates:
            yield WithoutEntries(updates)


class WithoutEntries(trio.abc.ReceiveChannel[Update]):
    def __init__(self, inner: trio.abc.ReceiveChannel[Update]) -> None:
        self.inner = inner

    async def receive(self) -> Update:
        while isinstance(update := await self.inner.receive(), EntryUpdate):
            pass
        return update

    async def aclose(self) -> None:
        await self.inner.aclose()


BUGS: list[tuple[type[Wrapped], dict[str, Any], str]] = [
    (HidesStopsFromTheList, {}, LIFE),
    (ListsOnlyItsOwnTag, {}, "a stop with another tag is listed"),
    (FindsNothing, {}, LIFE),
    (LooksWithoutWaiting, {"latency": reads_are_faster}, "a look up shows the outcome of a cancelled call"),
    (TakesAnIdTwice, {}, "a client order id that was used is refused"),
    (ReplacesTheFirst, {}, "a client order id that was used is refused"),
    (AlwaysHedges, {}, "the settings of entries can be read"),
    (MixesUpSettings, {}, "the settings of entries can be read"),
    (DoesNotNameWouldTrigger, {}, "a stop that would trigger is refused"),
    (DoesNotNameNothingToReduce, {}, "a stop without a position is refused"),
    (RoundsLooser, {}, "a price off the tick is refused or tightened"),
    (ForgetsTheSource, {}, "a stop is triggered by its own source"),
    (CancelsWhatIsGone, {}, "a stop that is gone can not be cancelled or amended"),
    (AmendsNothing, {"can_amend": True}, LIFE),
    (UnderstatesItsOrdersLag, {"orders_read_lag": 1.5}, LIFE),
    (UnderstatesItsPositionsLag, {"positions_read_lag": 1.5}, "an entered position is reported"),
    (HasNoPositionsLag, {}, "its attributes make sense"),
    (ReportsTheWantedQuantity, {}, "closing reduces and never crosses zero"),
    (TurnsThePosition, {}, "closing reduces and never crosses zero"),
    (PricesAllAlike, {}, "a price is of the requested source"),
    (NeverUnsubscribes, {}, "ticks come of the subscribed symbols only"),
    (PushesEverySymbol, {}, "ticks come of the subscribed symbols only"),
    (FillsWithoutAnId, {}, "a triggered stop is filled and reported"),
    (FillsShareATradeId, {"partial_fills": Decimal("0.5")}, "a triggered stop is filled and reported"),
    (TellsTheFillForTheSum, {"partial_fills": Decimal("0.5")}, "a triggered stop is filled and reported"),
    (FillsAreNotPushed, {}, "a triggered stop is filled and reported"),
    (TicksCarryTheTimeOfDay, {}, "ticks come of the subscribed symbols only"),
    (ReportsOneSideOnly, {}, r"an entered position is reported \(short\)"),
    (IsNotHedged, {}, "both sides are open at once only if it is hedged"),
    (HasNoTurn, {}, "its attributes make sense"),
    (ListsNoOpenOrders, {}, "an open order is listed by its symbol"),
    (ListsOrdersOfEverySymbol, {}, "an open order is listed by its symbol"),
    (TakesOrdersForOpenings, {}, "an open order is listed by its symbol"),
    (LeavesOpenOrders, {}, "any open order can be cancelled"),
    (TakesConditionalOrdersForResting, {}, "any open order can be cancelled"),
    (CancelsOrdersThatAreGone, {}, "any open order can be cancelled"),
    (CancelsConditionalOrdersOnly, {}, "a resting entry is an open order that can be cancelled"),
    (StatesNoExecutions, {}, "the executions of an order can be read"),
    (StatesAnExecutionTwice, {}, "the executions of an order can be read"),
    (ForgetsSince, {}, "the executions of an order can be read"),
    (HangsInCancel, {}, LIFE),
    (ListsATrailingOneAsPlain, {}, "a trailing order and a stop are live together and shown as what they are"),
    (TakesAnyCallback, {}, "a trailing order is refused if the market has none"),
    (TrailsAtOnce, {}, "a trailing order and a stop are live together and shown as what they are"),
    (TrailsByAnotherSource, {}, "a trailing order triggers behind the best price since it began"),
    (HidesEntries, {}, "an entry at market opens a position"),
    (PushesNoEntries, {}, "an entry at market opens a position"),
    (LeavesEntries, {}, "a resting entry can be found and cancelled"),
    (FillsAtAnyPrice, {}, "a resting entry can be found and cancelled"),
    (RoundsEntries, {}, "an entry that breaks a rule is refused"),
    (DropsAttachedStops, {}, "an entry carries its stop as its market says"),
    (DropsAttachedStops, {"attached_stop": "own"}, "an entry carries its stop as its market says"),
    (DropsAttachedStops, {"attached_stop": "bridge"}, "an entry carries its stop as its market says"),
]


@pytest.mark.parametrize(
    ("bug", "settings", "check"),
    [pytest.param(*row, id=row[0].__name__ + row[1].get("attached_stop", "")) for row in BUGS],
)
async def test_an_exchange_with_a_bug_fails_the_check_that_names_it(
    autojump_clock: trio.testing.MockClock, bug: type[Wrapped], settings: dict[str, Any], check: str
) -> None:
    with pytest.raises(AssertionError, match=f"^{check}"):
        await check_exchange(paper(bug, **settings))


async def test_an_exchange_that_can_not_state_executions_keeps_the_contract(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await check_exchange(paper(KnowsNoExecutions))
