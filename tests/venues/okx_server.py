"""A local server that behaves like OKX v5 for linear swaps: REST and websockets, with algo orders apart from the others.

Paths, fields, codes, channels and limits are those of the venue's documentation, https://www.okx.com/docs-v5/en (`Place algo
order`, `Algo orders channel`, `Positions channel`, `Error Code`, `Rate Limits`), as far as ccxt reads or sends them. Frames
have the fields of its examples. `okx_rules` has the codes and what was assumed of them. Assumed besides:

- `clOrdId` of an algo order, which ccxt always sends, is shown until it triggers, and is its `algoClOrdId` if it has no other.
- A triggered algo order is `effective` once its order exists; that order has the id `<algoId>_0`. One that finds nothing to
  reduce is `order_failed` with 51169, or with 51112 if limit orders bind the position in long/short mode.
- In net mode an order at market cancels the limit orders that would reduce the same quantity (`cancelSource` 23). In
  long/short mode a closing order larger than what limit orders leave is refused (51112).
- A limit order fills at the last price that reaches its limit.
- A client's id may be used again once its order has ended.
- A position that was closed is pushed once with the quantity 0.
- A stop that an order carries (`attachAlgoOrds`) becomes an algo order of its own once the order is filled, or is partly filled
  and the rest is cancelled (announcement of 2026-07-01). It is of the filled size and reduces; its `algoClOrdId` is the
  `attachAlgoClOrdId`. Until then no list has it.
- A refused login and a silent connection are closed by the server.

Not here: orders with a limit behind their trigger, `oco`, attached take-profits, and two positions of one contract with different
margin modes.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

import msgspec
import trio
from okx_market import CONTRACTS, AccountLevel, MarginMode, OkxMarket, as_contract
from okx_reads import Handler, OkxReads
from okx_rules import Params, Refused
from okx_shapes import balance, index_ticker, mark_price, ticker
from okx_stream import PASSPHRASE, OkxStream, signed
from okx_trading import OkxTrading
from venue_faults import Reply, Request, json_reply
from venue_limits import Window
from venue_market import Instrument
from venue_server import API_KEY, Clock, VenueServer
from venue_sockets import Sockets

from trailing.core.model import Source

__all__ = ["PASSPHRASE", "Okx", "OkxServer", "open_okx_server"]

_EntryHandler: TypeAlias = Callable[[Params], Mapping[str, object]]

_PAGE = frozenset({"after", "before", "limit"})
_ALGO = frozenset(
    {
        *("instId", "tdMode", "ccy", "side", "posSide", "ordType", "sz", "tag", "tgtCcy", "algoClOrdId", "clOrdId"),
        *("closeFraction", "tpTriggerPx", "tpTriggerPxType", "tpOrdPx", "tpOrdKind", "slTriggerPx", "slTriggerPxType"),
        *("slOrdPx", "cxlOnClosePos", "reduceOnly", "triggerPx", "orderPx", "triggerPxType", "callbackRatio"),
        *("callbackSpread", "activePx"),
    }
)
_AMEND = frozenset(
    {
        *("instId", "algoId", "algoClOrdId", "cxlOnFail", "reqId", "newSz", "newTpTriggerPx", "newTpOrdPx"),
        *("newTpTriggerPxType", "newSlTriggerPx", "newSlOrdPx", "newSlTriggerPxType", "newTriggerPx", "newOrdPx"),
        "newTriggerPxType",
    }
)
_ALGO_ID = frozenset({"instId", "algoId", "algoClOrdId"})
_PENDING = _PAGE | {"ordType", "algoId", "instType", "instId"}
_ORDER = frozenset(
    {
        *("instId", "tdMode", "ccy", "clOrdId", "tag", "side", "posSide", "ordType", "sz", "px", "reduceOnly"),
        *("tgtCcy", "stpMode", "attachAlgoOrds"),
    }
)
_ORDER_ID = frozenset({"instId", "ordId", "clOrdId"})
_ORDERS = _PAGE | {"instType", "instFamily", "instId", "ordType", "state"}
_FILLS = _PAGE | {"instType", "instFamily", "instId", "ordId", "subType", "begin", "end"}
_CANDLES = _PAGE | {"instId", "bar"}
_CANDLE_LISTS: tuple[tuple[str, int, Source, int], ...] = (  # the path, requests in 2 s, the source, the most entries
    ("candles", 40, "last", 300),
    ("history-candles", 20, "last", 300),
    ("mark-price-candles", 20, "mark", 100),
    ("history-mark-price-candles", 10, "mark", 100),
    ("index-candles", 20, "index", 100),
    ("history-index-candles", 10, "index", 100),
)


class Route(msgspec.Struct, frozen=True):
    """An endpoint.

    Args:
        operation: the port's method name, if there is one.
        limit: requests in 2 s; of each instrument with `by_instrument`, otherwise of the account or address.
        entry: handles one entry of an answer that has a code for each entry; otherwise `handle` returns all entries.
        most: entries of a request.
    """

    operation: str
    limit: int
    allowed: frozenset[str]
    handle: Handler | None = None
    entry: _EntryHandler | None = None
    by_instrument: bool = False
    public: bool = False
    most: int = 10


class Okx:
    """The REST endpoints.

    Args:
        algo_limit: requests in 2 s to place, to amend and to cancel algo orders of an instrument, each.
        demo: requests need the header of demo trading; otherwise they must not have it.
        account_level: `acctLv`. Portfolio margin, 4, has no reduce-only orders.

    Attributes:
        reads, trading: the endpoints' parts.
        authorized: the key still has its permissions; without them requests are refused with 50114.
        limited: requests are counted against the venue's limits.
        refusals_within_success: the code of an answer with a refused entry is 0, as it was recorded, not 1.
    """

    def __init__(
        self,
        market: OkxMarket,
        clock: Clock,
        stream: OkxStream,
        *,
        algo_limit: int,
        demo: bool,
        account_level: AccountLevel,
    ) -> None:
        self.opened = stream.opened
        self.received = stream.received
        self.authorized: bool = True
        self.limited: bool = True
        self.refusals_within_success: bool = False
        self.reads: OkxReads = OkxReads(market, stream, account_level)
        self.trading: OkxTrading = OkxTrading(market, stream, account_level)
        self._market = market
        self._clock = clock
        self._demo = demo
        self._windows: dict[tuple[str, str], Window] = {}
        self._orders = Window(2, 1000, clock.now)
        self._routes = self._endpoints(algo_limit)

    def _endpoints(self, algo_limit: int) -> Mapping[str, Route]:
        market, reads, trading = self._market, self.reads, self.trading
        typed, named = frozenset({"instType", "instFamily", "instId"}), frozenset({"instId"})

        def algo(operation: str, entry: _EntryHandler, allowed: frozenset[str]) -> Route:
            return Route(operation, algo_limit, allowed, entry=entry, by_instrument=True)

        routes = {
            "GET public/time": Route("time", 10, frozenset(), lambda _: [{"ts": str(self._clock.now())}], public=True),
            "GET public/instruments": Route("markets", 20, typed | {"uly"}, reads.instruments, public=True),
            "GET market/ticker": Route("price", 20, named, reads.prices(ticker), public=True),
            "GET market/tickers": Route("price", 20, typed | {"uly"}, reads.prices(ticker, typed=True), public=True),
            "GET public/mark-price": Route(
                "price", 10, typed | {"uly"}, reads.prices(mark_price, typed=True), public=True
            ),
            "GET market/index-tickers": Route(
                "price", 20, named | {"quoteCcy"}, reads.prices(index_ticker, index=True), public=True
            ),
            **{
                f"GET market/{name}": Route("candles", limit, _CANDLES, reads.candles(of, most), public=True)
                for name, limit, of, most in _CANDLE_LISTS
            },
            "GET asset/currencies": Route("coins", 12, frozenset({"ccy"}), lambda _: []),
            "GET account/config": Route("account", 10, frozenset(), reads.config),
            "GET account/balance": Route("balance", 20, frozenset({"ccy"}), lambda _: [balance(market)]),
            "GET account/leverage-info": Route(
                "entry_settings", 20, frozenset({"instId", "mgnMode"}), reads.leverage_info
            ),
            "POST account/set-leverage": Route(
                "", 20, frozenset({"instId", "lever", "mgnMode", "posSide"}), reads.set_leverage
            ),
            "GET account/positions": Route("positions", 10, named | {"instType", "posId"}, reads.positions),
            "POST trade/order": Route("close_position", 60, _ORDER, entry=trading.place_plain, by_instrument=True),
            "POST trade/batch-orders": Route(
                "close_position", 300, _ORDER, entry=trading.place_plain, by_instrument=True, most=20
            ),
            "POST trade/cancel-order": Route(
                "cancel_entry", 60, _ORDER_ID, entry=trading.cancel_plain, by_instrument=True
            ),
            "GET trade/order": Route("find_entry", 60, _ORDER_ID, reads.find_plain, by_instrument=True),
            "GET trade/orders-pending": Route("open_orders", 60, _ORDERS, reads.open_plain),
            "GET trade/fills": Route("order_fills", 60, _FILLS, reads.fills(3)),
            "GET trade/fills-history": Route("order_fills", 10, _FILLS, reads.fills(90)),
            "POST trade/order-algo": algo("place_stop", trading.place_algo, _ALGO),
            "POST trade/amend-algos": algo("amend_stop", trading.amend_algo, _AMEND),
            "POST trade/cancel-algos": algo("cancel_stop", trading.cancel_algo, _ALGO_ID),
            "GET trade/order-algo": Route("find_stop", 20, _ALGO_ID, reads.find_algo),
            "GET trade/orders-algo-pending": Route("open_stops", 20, _PENDING, reads.pending),
            "GET trade/orders-algo-history": Route("ended_stops", 20, _PENDING | {"state"}, reads.history),
        }
        return {endpoint.replace(" ", " /api/v5/"): route for endpoint, route in routes.items()}

    def operation(self, request: Request) -> str:
        route = self._routes.get(request.endpoint)
        if route is None:
            return ""
        entry = (request.params.get("batch") or [request.params])[0]
        if route.operation == "close_position" and _opens(entry):
            return "place_entry"
        if route.operation == "open_stops" and "instId" in request.params:
            return "open_orders"
        return route.operation

    def handle(self, request: Request) -> Reply:
        route, received_at = self._routes.get(request.endpoint), self._clock.now()
        if route is None:
            return json_reply({"code": "404", "data": [], "msg": "Not Found"}, 404)
        try:
            if not route.public:
                self._check_signature(request)
            entries = request.params.get("batch", [request.params])
            self._check_limits(request.endpoint, route, entries)
            if len(entries) > route.most:
                raise Refused("50025", "order", route.most)
            if route.entry is not None:
                return self._answer_entries(request, route, entries, received_at)
            assert route.handle is not None
            self._check_names(route, request.params)
            return json_reply({"code": "0", "data": route.handle(request.params), "msg": ""})
        except Refused as refused:
            return json_reply({"code": refused.code, "data": [], "msg": refused.message}, refused.status)

    def _answer_entries(self, request: Request, route: Route, entries: Sequence[Params], received_at: int) -> Reply:
        """Answer with a code for each entry. The answer's own code states whether none, some or all of them were refused."""
        assert route.entry is not None
        rows: list[Mapping[str, object]] = []
        for params in entries:
            try:
                self._check_names(route, params)
                rows.append({**route.entry(params), "sCode": "0", "sMsg": ""})
            except Refused as refused:
                names = ("algoClOrdId", "algoId", "clOrdId") if "algo" in request.path else ("clOrdId", "ordId")
                ids = {name: params.get(name, "") for name in names}
                rows.append({**ids, "sCode": refused.code, "sMsg": refused.message, "tag": ""})
        refusals = sum(row["sCode"] != "0" for row in rows)
        code = "0" if not refusals or self.refusals_within_success else "1" if refusals == len(rows) else "2"
        if "algo" in request.path:
            return json_reply({"code": code, "data": rows, "msg": ""})
        times = {"inTime": str(received_at * 1000), "outTime": str(self._clock.now() * 1000)}
        return json_reply({"code": code, "data": rows, "msg": "All operations failed" if code == "1" else "", **times})

    def _check_names(self, route: Route, params: Params) -> None:
        unknown = sorted(params.keys() - route.allowed)
        if unknown:
            raise Refused("51000", unknown[0])

    def _check_limits(self, endpoint: str, route: Route, entries: Sequence[Params]) -> None:
        """Count a request, by its entries. A single order of a batch counts as an order by itself."""
        ordering = route.operation == "close_position"
        if not self.limited:
            return
        if ordering and len(entries) == 1:
            endpoint = "POST /api/v5/trade/order"
            route = self._routes[endpoint]
        for params in entries:
            about = str(params.get("instId", "")) if route.by_instrument else ""
            key = (endpoint, about)
            window = self._windows.setdefault(key, Window(2, route.limit, self._clock.now))
            if not window.take(1):
                raise Refused("50011")
            if ordering and not self._orders.take(1):
                raise Refused("50061")

    def _check_signature(self, request: Request) -> None:
        headers, names = request.headers, ("key", "passphrase", "sign", "timestamp")
        key, passphrase, sign, sent = (headers.get(f"ok-access-{name}", "") for name in names)
        for value, code in ((key, "50103"), (passphrase, "50104"), (sign, "50106"), (sent, "50107")):
            if not value:
                raise Refused(code)
        try:
            sent_at = datetime.fromisoformat(sent).timestamp() * 1000
        except ValueError as error:
            raise Refused("50112") from error
        if abs(self._clock.now() - sent_at) > 30_000:
            raise Refused("50102")
        if key != API_KEY:
            raise Refused("50111")
        if passphrase != PASSPHRASE:
            raise Refused("50105")
        query = f"?{request.payload}" if request.method == "GET" and request.payload else request.payload
        if not hmac.compare_digest(signed(f"{sent}{request.method}{request.path}{query}"), sign):
            raise Refused("50113")
        if (headers.get("x-simulated-trading") == "1") != self._demo:
            raise Refused("50101")
        if not self.authorized:
            raise Refused("50114")


def _opens(params: Params) -> bool:
    """Return whether a plain order opens a position."""
    closes = (params.get("posSide"), params.get("side")) in {("long", "sell"), ("short", "buy")}
    return not closes and str(params.get("reduceOnly", "false")).lower() != "true"


class OkxServer(VenueServer):
    """The server, with what only OKX has.

    Attributes:
        okx_market, okx, stream: its market, REST endpoints and websocket endpoints, with OKX's own settings.
    """

    def __init__(self, market: OkxMarket, clock: Clock, sockets: Sockets, face: Okx, stream: OkxStream) -> None:
        super().__init__(market, clock, sockets, face)
        self.okx_market: OkxMarket = market
        self.okx: Okx = face
        self.stream: OkxStream = stream


@asynccontextmanager
async def open_okx_server(
    *,
    instruments: tuple[Instrument, ...] = CONTRACTS,
    hedged: bool = False,
    margin_mode: MarginMode = "cross",
    most_stops: int | None = None,
    parts: int = 1,
    positions_first: bool = False,
    fills_first: bool = False,
    in_parts: bool = False,
    order_limit: int = 20,
    limited: bool = True,
    demo: bool = False,
    account_level: AccountLevel = "2",
    entry_parts: int = 1,
    depth: Decimal | None = None,
    margin: Decimal | None = None,
) -> AsyncIterator[OkxServer]:
    """Open an OKX server with an empty account, on an ephemeral port of 127.0.0.1.

    Args:
        instruments: those of other venues' tests are taken as contracts of ten steps.
        hedged: the account is in long/short mode, otherwise in net mode.
        margin_mode: of positions that a test enters.
        most_stops: the most live algo orders of each kind; None: the venue's limits.
        parts: the number of fills of a market order.
        positions_first: a position is pushed before the fill that changed it.
        fills_first: fills are pushed before the trigger of the algo order.
        in_parts: a triggered algo order is `partially_effective` until it is filled.
        order_limit: requests in 2 s to place, to amend, and to cancel algo orders of an instrument, each; the venue's limit by
            default.
        limited: requests are counted against the venue's limits.
        demo: requests need the header of demo trading.
        account_level: `acctLv`.
        entry_parts, depth, margin: of entries, as in `VenueMarket`.
    """
    clock, sockets = Clock(), Sockets()
    market = OkxMarket(
        tuple(as_contract(each) for each in instruments),
        clock.now,
        margin_mode=margin_mode,
        most_stops=most_stops,
        hedged=hedged,
        parts=parts,
        positions_first=positions_first,
        entry_parts=entry_parts,
        depth=depth,
        margin=margin,
    )
    stream = OkxStream(market, clock, sockets, fills_first=fills_first, in_parts=in_parts)
    face = Okx(market, clock, stream, algo_limit=order_limit, demo=demo, account_level=account_level)
    face.limited = limited
    server = OkxServer(market, clock, sockets, face, stream)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        nursery.start_soon(stream.run)
        yield server
        nursery.cancel_scope.cancel()
