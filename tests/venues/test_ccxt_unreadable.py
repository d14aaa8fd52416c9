"""Unparseable, duplicate and foreign entries of the account's lists affect no other entry, and raise no error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal as D
from typing import Any, TypeAlias

import msgspec
import pytest
from real_exchange import BTC, ETH, VENUES, Desk, NoRateLimit, open_desk, stop_request
from venue_faults import Reply, Request, json_reply
from venue_market import Trigger, Wanted

from trailing import ExchangeUnreachable, OutcomeUnknown, PartialList

pytestmark = pytest.mark.parametrize("venue", VENUES)

Entries: TypeAlias = list[Any]
OURS, OTHER = stop_request().client_order_id, "tr00000000000000000001"
BAD: Sequence[Any] = ("1e400", "1E+999999", "-1e400", "0." + "3" * 40, "abc", "NaN", "", None, [], {}, True, "\x1b[2J")
ID_FIELD = {"binanceusdm": "clientAlgoId", "bybit": "orderLinkId", "okx": "algoClOrdId"}
ORDER_ID_FIELD = {"binanceusdm": "algoId", "bybit": "orderId", "okx": "algoId"}
NAMES = {"binanceusdm": "BTCUSDT", "bybit": "BTCUSDT", "okx": "BTC-USDT-SWAP"}
LIST_OF: Mapping[str, Mapping[str, Callable[[Any], Entries]]] = {
    "binanceusdm": {"open_stops": lambda body: body, "positions": lambda body: body},
    "bybit": {"open_stops": lambda body: body["result"]["list"], "positions": lambda body: body["result"]["list"]},
    "okx": {"open_stops": lambda body: body["data"], "positions": lambda body: body["data"]},
}


def alter(desk: Desk, operation: str, change: Callable[[Entries], object]) -> None:
    """Let the venue answer an operation with a changed list."""
    face = desk.server.face
    handle = type(face).handle

    def handle_and_change(request: Request) -> Reply:
        reply = handle(face, request)
        if face.operation(request) != operation or reply.status != 200:
            return reply
        body = msgspec.json.decode(reply.body)
        change(LIST_OF[desk.exchange.venue.name][operation](body))
        return json_reply(body)

    face.handle = handle_and_change  # type: ignore[method-assign]


def of(entries: Entries) -> dict[str, Any]:
    """Return the entry of BTC; an empty dict if another list of the account was requested."""
    return next((each for each in entries if (each.get("instId") or each.get("symbol")) in NAMES.values()), {})


def place(desk: Desk, client_order_id: str, symbol: str = BTC) -> None:
    """Place a stop directly on the venue's market."""
    wanted = Wanted(
        symbol=symbol,
        side="sell",
        quantity=D("0.8"),
        client_order_id=client_order_id,
        reduce_only=True,
        trigger=Trigger(D(30), "last", rising=False),
    )
    desk.server.market.place(wanted)


RAW_METHOD = {
    "binanceusdm": {"open_stops": "fapiPrivateGetOpenAlgoOrders", "positions": "fapiPrivateV3GetPositionRisk"},
    "bybit": {"open_stops": "privateGetV5OrderRealtime", "positions": "privateGetV5PositionList"},
    "okx": {"open_stops": "privateGetTradeOrdersAlgoPending", "positions": "privateGetAccountPositions"},
}


class Recorded:
    """Replays a venue's reply to an operation with changes, a thousand times without a rate limit.

    Attributes:
        change: changes the entries of a reply.
    """

    def __init__(self, desk: Desk, operation: str) -> None:
        self.change: Callable[[Entries], object] = lambda _: None
        venue, client = desk.exchange.venue.name, desk.exchange.session.client
        name, entries_of = RAW_METHOD[venue][operation], LIST_OF[venue][operation]
        ask, bodies = getattr(client, name), dict[str, bytes]()

        async def answer(params: Mapping[str, Any] = {}) -> Any:
            key = repr(sorted(params.items()))
            if key not in bodies:
                bodies[key] = msgspec.json.encode(await ask(params))
            body = msgspec.json.decode(bodies[key])
            self.change(entries_of(body))
            return body

        setattr(client, name, answer)
        desk.exchange.session.rate_limiter = NoRateLimit()


async def fill_account(desk: Desk) -> None:
    """Open two positions, each with a stop of ours."""
    await desk.enter()
    await desk.enter(symbol=ETH)
    place(desk, OURS)
    place(desk, OTHER, ETH)


def ids(stops: Sequence[Any]) -> list[str]:
    return [stop.client_order_id for stop in stops]


async def shown(desk: Desk, operation: str) -> tuple[list[str], tuple[str, ...]]:
    """Return a list's client order ids or symbols, and its texts of entries that were left out."""
    found = await getattr(desk.exchange, operation)()
    names = [entry.client_order_id if operation == "open_stops" else entry.symbol for entry in found]
    return names, found.left_out if isinstance(found, PartialList) else ()


@pytest.mark.parametrize("operation", ["open_stops", "positions"])
async def test_fm62_no_value_of_any_field_raises_or_affects_another_entry(venue: str, operation: str) -> None:
    mine, other = (OURS, OTHER) if operation == "open_stops" else (BTC, ETH)
    async with open_desk(venue) as desk:
        await fill_account(desk)
        entry: dict[str, Any] = {}
        recorded = Recorded(desk, operation)
        recorded.change = lambda entries: entry.update(of(entries))
        assert await shown(desk, operation) == ([mine, other], ())
        left_out = 0
        for field in entry.keys() - {ID_FIELD[venue], "nextPageCursor"}:
            for bad in (*BAD, "missing"):

                def change(entries: Entries, field: str = field, bad: Any = bad) -> None:
                    if bad == "missing":
                        of(entries).pop(field, None)
                    elif of(entries):
                        of(entries)[field] = bad

                recorded.change = change
                names, texts = await shown(desk, operation)
                assert other in names, (field, bad)
                assert mine in names or texts, (field, bad)
                assert len(texts) <= 1
                assert all(text.isprintable() and len(text) <= 200 for text in texts)
                left_out += bool(texts)
        assert left_out > 30


@pytest.mark.parametrize(
    ("operation", "field", "bad", "says"),
    [
        ("open_stops", {"binanceusdm": "triggerPrice", "bybit": "triggerPrice", "okx": "slTriggerPx"}, "1e400", "got"),
        ("open_stops", {"binanceusdm": "algoId", "bybit": "orderId", "okx": "algoId"}, None, "id is missing"),
        ("open_stops", {"binanceusdm": "symbol", "bybit": "symbol", "okx": "instId"}, "NEWUSDT", "'NEWUSDT'"),
        (
            "open_stops",
            {"binanceusdm": "algoStatus", "bybit": "orderStatus", "okx": "state"},
            "SLEEPING",
            "status got 'SLEEPING'",
        ),
        ("positions", {"binanceusdm": "positionAmt", "bybit": "size", "okx": "pos"}, "1e400", "got"),
        ("positions", {"binanceusdm": "positionAmt", "bybit": "size", "okx": "pos"}, "", "quantity is missing"),
        ("positions", {"binanceusdm": "entryPrice", "bybit": "avgPrice", "okx": "avgPx"}, "", "entry price is missing"),
        ("positions", {"binanceusdm": "symbol", "bybit": "symbol", "okx": "instId"}, "NEWUSDT", "'NEWUSDT'"),
        ("positions", {"binanceusdm": "liquidationPrice", "bybit": "liqPrice", "okx": "liqPx"}, "1e400", "got"),
    ],
)
async def test_fm64_an_unparseable_entry_makes_the_list_partial_with_the_reason(
    venue: str, operation: str, field: Mapping[str, str], bad: Any, says: str
) -> None:
    async with open_desk(venue) as desk:
        await fill_account(desk)
        alter(desk, operation, lambda entries: of(entries).update({field[venue]: bad} if of(entries) else {}))
        names, (text,) = await shown(desk, operation)
        assert names == ([OTHER] if operation == "open_stops" else [ETH])
        assert says in text
        alter(desk, operation, lambda _: None)
        names, texts = await shown(desk, operation)
        assert (len(names), texts) == (2, ())


@pytest.mark.parametrize("operation", ["open_stops", "positions"])
async def test_fm64_a_duplicate_with_other_values_makes_the_list_partial_and_a_copy_does_not(
    venue: str, operation: str
) -> None:
    changes: Mapping[str, Mapping[str, Any]] = {
        "binanceusdm": {"quantity": "0.3", "positionAmt": "0.3", "algoId": 77},
        "bybit": {"qty": "0.3", "leavesQty": "0.3", "size": "0.3", "orderId": "77"},
        "okx": {"sz": "30", "pos": "30", "algoId": "77"},
    }

    def double(entries: Entries, **values: Any) -> None:
        if of(entries):
            entries.append({**of(entries), **{name: values[name] for name in values.keys() & of(entries).keys()}})

    async with open_desk(venue) as desk:
        await fill_account(desk)
        alter(desk, operation, double)
        names, texts = await shown(desk, operation)
        assert (len(names), texts) == (2, ())
        alter(desk, operation, lambda entries: double(entries, **changes[venue]))
        names, (text,) = await shown(desk, operation)
        assert len(names) == 2
        assert BTC in text
        assert text.endswith("listed twice with different values")


def know_an_inverse_market(client: Any) -> None:
    """Add a market to ccxt that is no linear contract."""
    load = client.load_markets

    async def load_and_add(*args: Any) -> Any:
        await load(*args)
        linear = client.market(BTC)
        name = "BTC-USD-SWAP" if client.id == "okx" else "BTCUSD"
        inverse = {**linear, "symbol": "BTC/USD:BTC", "id": name, "settle": "BTC", "linear": False, "inverse": True}
        client.markets["BTC/USD:BTC"], client.markets_by_id[name] = inverse, [inverse]
        return client.markets

    client.load_markets = load_and_add


@pytest.mark.parametrize("operation", ["open_stops", "positions"])
async def test_entries_of_other_markets_are_skipped(venue: str, operation: str) -> None:
    async with open_desk(venue, configure=know_an_inverse_market) as desk:
        await fill_account(desk)
        # The last ones of Binance and OKX need not be among ccxt's markets.
        names_of = {
            "binanceusdm": ["BTCUSD", "BTCUSD_PERP"],
            "bybit": ["BTCUSD"],
            "okx": ["BTC-USD-SWAP", "BTC-USD-260327"],
        }
        field = "instId" if venue == "okx" else "symbol"
        for name in names_of[venue]:
            alter(desk, operation, lambda entries, name=name: of(entries).update({field: name}))  # type: ignore[misc]
            names, texts = await shown(desk, operation)
            assert (len(names), texts) == (1, ())


async def test_foreign_orders_of_other_kinds_leave_the_list_complete(venue: str) -> None:
    foreign: Sequence[Mapping[str, Any]] = {
        "binanceusdm": (
            {"orderType": "TAKE_PROFIT_MARKET"},
            {"orderType": "TRAILING_STOP_MARKET", "activatePrice": "0", "callbackRate": "1"},
            {"orderType": "STOP", "price": "970"},
            {"closePosition": True, "quantity": "0"},
            {"reduceOnly": False},
        ),
        "bybit": (
            {"stopOrderType": "", "triggerPrice": ""},
            {"qty": "0", "leavesQty": "0"},
            {"reduceOnly": False},
        ),
        "okx": (
            {"slTriggerPx": "", "slOrdPx": "", "tpTriggerPx": "1100", "tpOrdPx": "-1"},
            {"slOrdPx": "979"},
            {"sz": "", "closeFraction": "1"},
            {"ordType": "oco", "tpTriggerPx": "1100", "tpOrdPx": "-1"},
            {"reduceOnly": "false"},
        ),
    }[venue]
    for values in foreign:
        async with open_desk(venue) as desk:
            await fill_account(desk)
            theirs = {ID_FIELD[venue]: "theirs"}

            def change(entries: Entries, values: Mapping[str, Any] = values, theirs: Any = theirs) -> None:
                of(entries).update({**values, **theirs} if of(entries) else {})

            alter(desk, "open_stops", change)
            names, texts = await shown(desk, "open_stops")
            assert texts == (), values
            assert set(names) - {"theirs"} == {OTHER}


KINDS: Mapping[str, Sequence[tuple[str, str]]] = {
    "binanceusdm": [("orderType", kind) for kind in ("STOP", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "NEW_IN_2027")],
    "bybit": [
        ("orderType", "Limit"),
        *(
            ("stopOrderType", kind)
            for kind in ("StopLoss", "PartialStopLoss", "TakeProfit", "TrailingStop", "OcoOrder", "NewIn2027")
        ),
    ],
    "okx": [("slOrdPx", "979"), ("slOrdPx", "")],  # the latter: a take-profit only
}


async def test_foreign_orders_that_are_no_stops_at_market_are_not_listed_as_such(venue: str) -> None:
    """A stop-limit order, and what belongs to a whole position: its stop loss, take-profit and trailing stop of Bybit."""
    for field, kind in KINDS[venue]:
        async with open_desk(venue) as desk:
            await fill_account(desk)
            theirs = {ID_FIELD[venue]: "theirs", field: kind, "price": "970"}
            alter(desk, "open_stops", lambda entries, theirs=theirs: of(entries).update(theirs if of(entries) else {}))  # type: ignore[misc]
            assert await shown(desk, "open_stops") == ([OTHER], ()), kind


async def test_a_trailing_order_of_ours_without_an_activation_price_costs_no_other_entry(venue: str) -> None:
    if venue != "binanceusdm":
        pytest.skip("trailing orders are placed on Binance only")
    async with open_desk(venue) as desk:
        await fill_account(desk)
        trailing = {"orderType": "TRAILING_STOP_MARKET", "callbackRate": "1", "triggerPrice": "30"}
        alter(desk, "open_stops", lambda entries: of(entries).update(trailing))
        assert await shown(desk, "open_stops") == ([OURS, OTHER], ())
        trailing["triggerPrice"] = "0.00"
        names, (text,) = await shown(desk, "open_stops")
        assert names == [OTHER]
        assert OURS in text


@pytest.mark.parametrize("numeric", [1578938, 0, 10**30])
async def test_fm54_a_foreign_order_with_a_numeric_client_id_is_read_as_text(venue: str, numeric: int) -> None:
    async with open_desk(venue) as desk:
        await fill_account(desk)
        alter(desk, "open_stops", lambda entries: of(entries).update({ID_FIELD[venue]: numeric} if of(entries) else {}))
        stops = await desk.exchange.open_stops()
        assert not isinstance(stops, PartialList)
        (foreign,) = [stop for stop in stops if stop.client_order_id != OTHER]
        assert type(foreign.client_order_id) is str
        assert foreign.client_order_id in {str(numeric), ""}


async def test_a_look_up_of_an_unparseable_stop_fails_instead_of_returning_none(venue: str) -> None:
    async with open_desk(venue) as desk:
        await fill_account(desk)
        face = desk.server.face
        handle = type(face).handle

        def garble(request: Request) -> Reply:
            reply = handle(face, request)
            return Reply(
                reply.body.replace(b'"30"', b'"1e400"').replace(b'"30.0"', b'"1e400"'), reply.status, reply.headers
            )

        face.handle = garble  # type: ignore[method-assign]
        with pytest.raises(ExchangeUnreachable):
            await desk.exchange.find_stop(BTC, OURS)


async def test_an_unparseable_acknowledgement_is_an_unknown_outcome(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        client = desk.exchange.session.client
        parse_order = client.parse_order

        def garbled(*args: Any) -> Any:
            order = parse_order(*args)
            return {**order, "triggerPrice": "1e400", "filled": "1e400", "status": "closed"}

        client.parse_order = garbled
        with pytest.raises(OutcomeUnknown, match="can't be parsed"):
            await desk.exchange.place_stop(stop_request())
        with pytest.raises(OutcomeUnknown, match="can't be parsed"):
            await desk.exchange.close_position(BTC, "long", D("0.8"), OTHER)


async def test_an_unparseable_candle_is_left_out(venue: str) -> None:
    async with open_desk(venue) as desk:
        client = desk.exchange.session.client
        row = [0, "1", "2", "0.5", "1.5", "9"]

        async def fetch(*_: Any) -> list[list[Any]]:
            bad: Sequence[list[Any]] = (
                [60_000, "1", "1e400", "0.5", "1", "9"],
                [120_000, "1"],
                [None, *row[1:]],
                [180_000, *["x"] * 4],
                [],
            )
            return [row, *bad, [240_000, *row[1:]]]

        client.fetch_ohlcv = fetch
        from datetime import UTC, datetime  # noqa: PLC0415

        candles = await desk.exchange.candles(BTC, "last", datetime(1970, 1, 1, tzinfo=UTC))
        assert [candle.opened_at.minute for candle in candles] == [0, 4]
