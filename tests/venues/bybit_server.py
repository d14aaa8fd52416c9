"""A local server that behaves like Bybit v5 linear: REST and websockets.

Codes and field names are those of the venue's documentation, https://bybit-exchange.github.io/docs/v5 (error codes,
`Place Order`, `Get Open & Closed Orders`, `Rate Limit Rules`), as far as ccxt reads or sends them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import trio
from bybit_market import BybitMarket, PositionStop
from bybit_shapes import (
    LEGS,
    TRIGGERS,
    execution,
    kline,
    order_id,
    order_number,
    position,
    shown_instrument,
    shown_order,
    ticker,
)
from bybit_stream import BybitStream
from venue_candles import LENGTHS
from venue_faults import Reply, Request, json_reply
from venue_limits import Window
from venue_market import INSTRUMENTS, Instrument, Leg, Order, OrderSide, Refusal, Trigger, Wanted
from venue_server import API_KEY, SECRET, Clock, VenueServer
from venue_sockets import Sockets

from trailing.core.model import Source

_CODES: Mapping[str, tuple[int, str]] = {
    "price step": (10001, "params error: TriggerPrice is no multiple of the tick size"),
    "quantity step": (10001, "params error: Qty invalid"),
    "minimum": (10001, "params error: The number of contracts is below the minimum limit allowed"),
    "notional": (110094, "Order does not meet minimum order value 5USDT"),
    "no price": (110003, "Order price exceeds the allowable range."),
    "duplicate": (110072, "OrderLinkedID is duplicate"),
    "too many": (110009, "The number of stop orders exceeds the maximum allowable limit."),
    "nothing to reduce": (110017, "current position is zero, cannot fix reduce-only order qty"),
    "covered": (110017, "orderQty will be truncated to zero."),
    "margin": (110007, "ab not enough for new order"),
}
_ID = frozenset({"category", "symbol", "orderId", "orderLinkId"})
_CREATE = frozenset(
    {
        *("category", "symbol", "side", "orderType", "qty", "orderLinkId", "reduceOnly", "positionIdx", "timeInForce"),
        *("triggerPrice", "triggerBy", "triggerDirection", "closeOnTrigger", "price"),
        *("stopLoss", "slTriggerBy", "tpslMode", "slOrderType"),
    }
)
_TRADING_STOP = frozenset({"category", "symbol", "positionIdx", "tpslMode", "stopLoss", "slTriggerBy"})
_AMEND = _ID | {"qty", "triggerPrice", "triggerBy"}
_ORDERS = _ID | {"orderFilter", "openOnly", "limit", "cursor", "settleCoin", "baseCoin"}
_POSITIONS = frozenset({"category", "symbol", "settleCoin", "baseCoin", "limit", "cursor"})
_EXECUTIONS = _ID | {"startTime", "endTime", "limit", "cursor", "execType"}
_KLINES = frozenset({"category", "symbol", "interval", "start", "end", "limit"})
_MARKETS = frozenset({"category", "status", "limit", "cursor", "symbol"})

_INTERVALS = {"1": LENGTHS["1m"], "5": LENGTHS["5m"], "15": LENGTHS["15m"], "60": LENGTHS["1h"], "D": LENGTHS["1d"]}
_WEEK = 7 * 24 * 3600 * 1000
_Params = Mapping[str, Any]


class Refused(Exception):
    """A reply with an error code and HTTP status 200."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code: int = code
        self.message: str = message


class Bybit:
    """The REST endpoints.

    Args:
        order_limit: requests a second to create, to amend, and to cancel, each.
    """

    def __init__(self, market: BybitMarket, clock: Clock, stream: BybitStream, order_limit: int) -> None:
        self.opened = stream.opened
        self.received = stream.received
        self._market = market
        self._clock = clock
        self._address = Window(5, 600, clock.now)
        # Endpoint: the port's method name, the limit in a second, the allowed parameters, and the handler.
        self._routes: dict[str, tuple[str, int | None, frozenset[str], Callable[[_Params], object]]] = {
            "GET /v5/market/time": ("time", None, frozenset(), self._time),
            "GET /v5/market/instruments-info": ("markets", None, _MARKETS, self._instruments),
            "GET /v5/market/tickers": ("price", None, frozenset({"category", "symbol"}), self._tickers),
            "GET /v5/market/kline": ("candles", None, _KLINES, self._klines("last")),
            "GET /v5/market/mark-price-kline": ("candles", None, _KLINES, self._klines("mark")),
            "GET /v5/market/index-price-kline": ("candles", None, _KLINES, self._klines("index")),
            "GET /v5/asset/coin/query-info": ("coins", 5, frozenset({"coin"}), lambda _: {"rows": []}),
            "GET /v5/user/query-api": ("permissions", 10, frozenset(), self._key),
            "GET /v5/account/info": ("account", 50, frozenset(), self._account),
            "GET /v5/position/list": ("positions", 50, _POSITIONS, self._positions),
            "GET /v5/order/realtime": ("open_stops", 50, _ORDERS, self._orders),
            "GET /v5/order/history": ("find_stop", 50, _ORDERS, self._history),
            "GET /v5/execution/list": ("order_fills", 50, _EXECUTIONS, self._executions),
            "POST /v5/order/create": ("place_stop", order_limit, _CREATE, self._create),
            "POST /v5/order/amend": ("amend_stop", order_limit, _AMEND, self._amend),
            "POST /v5/order/cancel": ("cancel_stop", order_limit, _ID, self._cancel),
            "POST /v5/position/trading-stop": ("clear_bridge", order_limit, _TRADING_STOP, self._trading_stop),
        }
        self.windows = {
            endpoint: Window(1, route[1], clock.now) for endpoint, route in self._routes.items() if route[1] is not None
        }

    def operation(self, request: Request) -> str:
        route = self._routes.get(request.endpoint)
        if route is None:
            return ""
        if request.path == "/v5/order/create" and "triggerPrice" not in request.params:
            return "close_position" if request.params.get("reduceOnly") else "place_entry"
        params = request.params
        if request.path == "/v5/order/realtime" and params.keys() & {"orderId", "orderLinkId"}:
            return "find_entry" if "orderLinkId" in params and "orderFilter" not in params else "find_stop"
        if request.path == "/v5/order/history" and "orderLinkId" in params:
            return "find_entry"
        if request.path == "/v5/order/cancel" and "orderLinkId" in params:
            return "cancel_entry"
        if request.path == "/v5/order/realtime" and "symbol" in request.params:
            return "open_orders"
        return route[0]

    def handle(self, request: Request) -> Reply:
        route, window = self._routes.get(request.endpoint), self.windows.get(request.endpoint)
        if route is None:
            return json_reply({"error": "Not Found"}, 404)
        if not self._address.take(1):
            return json_reply({"retCode": 10018, "retMsg": "access too frequent"}, 403)
        try:
            if window is not None:
                self._check_signature(request)
                if not window.take(1):
                    raise Refused(10006, "Too many visits. Exceeded the API Rate Limit.")
            unknown = request.params.keys() - route[2]
            if unknown:
                raise Refused(10001, f"params error: unknown are {sorted(unknown)}")
            if "category" in route[2] and request.params.get("category") not in {"linear", "spot", "inverse", "option"}:
                raise Refused(10001, "params error: Category is required")
            code, message, result = 0, "OK", route[3](request.params)
        except Refused as refused:
            code, message, result = refused.code, refused.message, {}
        except Refusal as refusal:
            (code, message), result = _CODES[refusal.reason], {}
        value = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": self._clock.now()}
        return json_reply(value, headers=self._limit_headers(window))

    def _limit_headers(self, window: Window | None) -> Mapping[str, str]:
        if window is None:
            return {}
        exceeded = window.used > window.limit
        return {
            "X-Bapi-Limit": str(window.limit),
            "X-Bapi-Limit-Status": str(max(window.limit - window.used, 0)),
            "X-Bapi-Limit-Reset-Timestamp": str(self._clock.now() + (window.left_ms if exceeded else 0)),
        }

    def _check_signature(self, request: Request) -> None:
        headers = request.headers
        if headers.get("x-bapi-api-key") != API_KEY:
            raise Refused(10003, "API key is invalid.")
        sent, window = headers.get("x-bapi-timestamp", ""), headers.get("x-bapi-recv-window", "5000")
        signed = f"{sent}{API_KEY}{window}{request.payload}"
        wanted = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted, headers.get("x-bapi-sign", "")):
            raise Refused(10004, "error sign! origin_string[...]")
        now = self._clock.now()
        if not now - int(window) <= int(sent) < now + 1000:
            raise Refused(10002, f"invalid request, please check your server timestamp. req_timestamp[{sent}]")

    def _instrument(self, params: _Params) -> Instrument:
        found = self._market.by_id.get(params.get("symbol", ""))
        if found is None or params["category"] != "linear":
            raise Refused(10001, "params error: symbol invalid")
        return found

    def _create(self, params: _Params) -> object:
        own_id = params.get("orderLinkId", "")
        if len(own_id) > 36:
            raise Refused(10001, "params error: OrderLinkId Size error")
        if params.get("orderType") not in {"Market", "Limit"} or params.get("side") not in {"Buy", "Sell"}:
            raise Refused(10001, "params error: OrderType or side invalid")
        limit = _decimal(params, "price") if params["orderType"] == "Limit" else None
        if limit is not None and ("triggerPrice" in params or params.get("timeInForce", "GTC") != "GTC"):
            raise Refused(10001, "params error: only limit orders that rest are taken here")
        leg = LEGS.get(str(params.get("positionIdx", 0)))
        if leg is None or (leg != "both") != self._market.hedged:
            raise Refused(10001, "position idx not match position mode")
        trigger = None
        if "triggerPrice" in params:
            direction = params.get("triggerDirection")
            if direction not in {1, 2}:
                raise Refused(10001, "params error: TriggerDirection invalid")
            trigger = Trigger(_decimal(params, "triggerPrice"), _source(params), rising=direction == 1)
        wanted = Wanted(
            symbol=self._instrument(params).symbol,
            side="buy" if params["side"] == "Buy" else "sell",
            quantity=_decimal(params, "qty"),
            client_order_id=own_id or f"venue{self._clock.now()}",
            leg=leg,
            reduce_only=params.get("reduceOnly", False),
            trigger=trigger,
            limit=limit,
        )
        if "stopLoss" in params:
            wanted = msgspec.structs.replace(wanted, attached=self._attached(params, wanted))
        with _would_trigger(trigger):
            order = self._market.place(wanted)
        return {"orderId": order_id(order), "orderLinkId": own_id}

    def _attached(self, params: _Params, entry: Wanted) -> Wanted:
        """Return the stop that an entry carries. Only that of a whole position, at market, is taken here."""
        if params.get("tpslMode", "Full") != "Full" or params.get("slOrderType", "Market") != "Market":
            raise Refused(10001, "params error: only tpslMode Full at market is taken here")
        if entry.reduce_only or entry.trigger is not None:
            raise Refused(10001, "params error: a reduce-only order can't have a stopLoss")
        long = entry.side == "buy"
        trigger = Trigger(_decimal(params, "stopLoss"), _source(params, "slTriggerBy"), rising=not long)
        base = entry.limit or self._market.prices.get((entry.symbol, "last"), Decimal(0))
        if trigger.is_met(base):
            word, relation = ("Buy", "lower") if long else ("Sell", "higher")
            message = f"StopLoss:{trigger.price} set for {word} position should {relation} than base_price:{base}"
            raise Refused(10001, message)
        side: OrderSide = "sell" if long else "buy"
        return msgspec.structs.replace(
            entry, side=side, client_order_id="", trigger=trigger, limit=None, reduce_only=True
        )

    def _trading_stop(self, params: _Params) -> object:
        """Set or clear the stop of a whole position."""
        symbol, leg = self._instrument(params).symbol, LEGS.get(str(params.get("positionIdx", 0)))
        if leg is None or (leg != "both") != self._market.hedged:
            raise Refused(10001, "position idx not match position mode")
        held, present = self._market.holding(symbol, leg).quantity, self._market.stop_of_position(symbol, leg)
        if not held:
            raise Refused(10001, "can not set tp/sl/ts for zero position")
        if params.get("stopLoss") == "0":
            if present is None:
                raise Refused(34040, "not modified")
            self._market.cancel(present)
            return {}
        trigger = Trigger(_decimal(params, "stopLoss"), _source(params, "slTriggerBy"), rising=held < 0)
        self._market.set_stop(symbol, leg, trigger)
        return {}

    def _amend(self, params: _Params) -> object:
        order = self._order(params)
        trigger = order.wanted.trigger if order is not None else None
        if order is None or trigger is None or order.status != "live":
            raise Refused(110001, "order not exists or too late to replace")
        if isinstance(order.wanted, PositionStop):
            raise Refused(110060, "tpsl order of a position is modified by trading-stop")
        quantity = _decimal(params, "qty") if "qty" in params else order.wanted.quantity
        price = _decimal(params, "triggerPrice") if "triggerPrice" in params else trigger.price
        source = _source(params) if "triggerBy" in params else trigger.source
        changed = Trigger(price, source, rising=trigger.rising)
        if (quantity, changed) == (order.wanted.quantity, trigger):
            raise Refused(10001, "The order remains unchanged as the parameters entered match the existing ones.")
        with _would_trigger(changed):
            self._market.amend(order, quantity, changed)
        return {"orderId": order_id(order), "orderLinkId": order.wanted.client_order_id}

    def _cancel(self, params: _Params) -> object:
        order = self._order(params)
        if order is None or not (order.status == "live" or (order.is_open and order.wanted.trigger is None)):
            raise Refused(110001, "order not exists or too late to cancel")
        self._market.cancel(order)
        return {"orderId": order_id(order), "orderLinkId": order.wanted.client_order_id}

    def _order(self, params: _Params) -> Order | None:
        self._instrument(params)
        if not params.keys() & {"orderId", "orderLinkId"}:
            raise Refused(10001, "params error: OrderId or orderLinkId is required")
        return next(iter(self._matching(params)), None)

    def _matching(self, params: _Params) -> Sequence[Order]:
        """Return the orders of a query, the latest first."""
        if params.get("settleCoin", "USDT") != "USDT":
            return ()
        number = order_number(params["orderId"]) if "orderId" in params else None
        own_id, symbol = params.get("orderLinkId"), params.get("symbol")
        wanted = {"StopOrder": True, "Order": False}.get(params.get("orderFilter", ""))
        return [
            order
            for order in reversed(self._market.orders.values())
            if order.stop is None
            and number in {None, order.number}
            and own_id in {None, order.wanted.client_order_id}
            and symbol in {None, self._market.instruments[order.wanted.symbol].id}
            and wanted in {None, order.wanted.trigger is not None}
        ]

    def _orders(self, params: _Params) -> object:
        """List open orders; with an id also those that ended lately."""
        if not params.keys() & {"symbol", "settleCoin", "baseCoin"}:
            raise Refused(10001, "params error: Missing some parameters that must be filled in, symbol or settleCoin")
        by_id = bool(params.keys() & {"orderId", "orderLinkId"})
        ended = params.get("openOnly") == "1"
        found = [order for order in self._matching(params) if (not order.is_open if ended else order.is_open or by_id)]
        return self._page([shown_order(order, self._market) for order in found], params, 20, 50)

    def _history(self, params: _Params) -> object:
        found = [order for order in self._matching(params) if not order.is_open]
        return self._page([shown_order(order, self._market) for order in found], params, 20, 50)

    def _executions(self, params: _Params) -> object:
        """List executions within seven days, the latest first."""
        end = int(params.get("endTime", self._clock.now()))
        start = int(params.get("startTime", end - _WEEK))
        if end - start > _WEEK:
            raise Refused(10001, "params error: The time range between startTime and endTime cannot exceed 7 days")
        fills = [fill for fill in self._market.fills if start <= fill.at <= end]
        orders = [fill.order.stop or fill.order for fill in fills]
        wanted = self._matching(params)
        found = zip(fills, orders, strict=True)
        shown = [execution(fill, order, self._market) for fill, order in found if order in wanted]
        return self._page(shown[::-1], params, 50, 100)

    def _positions(self, params: _Params) -> object:
        if not params.keys() & {"symbol", "settleCoin", "baseCoin"}:
            raise Refused(10001, "params error: Missing some parameters that must be filled in, symbol or settleCoin")
        legs: tuple[Leg, ...] = ("long", "short") if self._market.hedged else ("both",)
        if "symbol" in params:  # listed although it is flat
            found = [(self._instrument(params).symbol, leg) for leg in legs]
        else:
            found = [key for key, holding in self._market.holdings.items() if holding.quantity]
        if params.get("settleCoin", "USDT") != "USDT":
            found = []
        shown = [position(symbol, leg, self._market.holding(symbol, leg), self._market) for symbol, leg in found]
        return self._page(shown, params, 20, 200)

    def _page(self, rows: Sequence[object], params: _Params, usual: int, most: int) -> object:
        cursor = params.get("cursor") or "0"
        if not cursor.isdecimal():
            raise Refused(10001, "params error: cursor invalid")
        start, limit = int(cursor), min(int(params.get("limit", usual)), most)
        end = start + limit
        cursor = str(end) if end < len(rows) else ""
        return {"category": params["category"], "list": list(rows[start:end]), "nextPageCursor": cursor}

    def _instruments(self, params: _Params) -> object:
        shown = params["category"] == "linear" and "status" not in params
        rows = [shown_instrument(each) for each in self._market.instruments.values()] if shown else []
        return {"category": params["category"], "list": rows, "nextPageCursor": ""}

    def _tickers(self, params: _Params) -> object:
        wanted = [self._instrument(params)] if "symbol" in params else self._market.instruments.values()
        return {"category": params["category"], "list": [ticker(each, self._market) for each in wanted]}

    def _klines(self, source: Source) -> Callable[[_Params], object]:
        def klines(params: _Params) -> object:
            length = _INTERVALS.get(params.get("interval", ""))
            if length is None:
                raise Refused(10001, "Invalid period!")
            found, limit = self._instrument(params), min(int(params.get("limit", 200)), 1000)
            start, end = (int(params[each]) if each in params else None for each in ("start", "end"))
            all_bars = self._market.candles.between(
                found.symbol, source, length, start or 0, 2**62 if end is None else end
            )
            bars = all_bars[:limit] if end is None and start is not None else all_bars[-limit:]
            rows = [kline(each, traded=source == "last") for each in reversed(bars)]
            return {"category": params["category"], "symbol": found.id, "list": rows}

        return klines

    def _time(self, _: _Params) -> object:
        return {"timeSecond": str(self._clock.now() // 1000), "timeNano": str(self._clock.now() * 1_000_000)}

    def _key(self, _: _Params) -> object:
        permissions = {"ContractTrade": ["Order", "Position"], "Wallet": [], "Derivatives": ["DerivativesTrade"]}
        return {"readOnly": 0, "permissions": permissions, "uta": 1, "unified": 0, "ips": ["127.0.0.1"]}

    def _account(self, _: _Params) -> object:
        return {"marginMode": "REGULAR_MARGIN", "unifiedMarginStatus": 5, "dcpStatus": "OFF", "timeWindow": 10}


def _source(params: _Params, name: str = "triggerBy") -> Source:
    source = TRIGGERS.get(params.get(name, "LastPrice"))
    if source is None:
        raise Refused(10001, f"params error: {name} invalid")
    return source


@contextmanager
def _would_trigger(trigger: Trigger | None) -> Iterator[None]:
    """Return the code of a stop that would trigger, which depends on the direction."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason != "would trigger" or trigger is None:
            raise
        if trigger.rising:
            raise Refused(110092, f"expect Rising, but trigger_price[{trigger.price}] <= current") from refusal
        raise Refused(110093, f"expect Falling, but trigger_price[{trigger.price}] >= current") from refusal


def _decimal(params: _Params, name: str) -> Decimal:
    try:
        value = Decimal(params[name])
    except (KeyError, InvalidOperation):
        value = Decimal("NaN")
    if not value.is_finite() or value <= 0:
        raise Refused(10001, f"params error: {name} invalid")
    return value


@asynccontextmanager
async def open_bybit_server(
    *,
    instruments: tuple[Instrument, ...] = INSTRUMENTS,
    hedged: bool = False,
    most_stops: int = 10,
    parts: int = 1,
    positions_first: bool = False,
    order_limit: int = 10,
    entry_parts: int = 1,
    depth: Decimal | None = None,
    margin: Decimal | None = None,
) -> AsyncIterator[VenueServer]:
    """Open a Bybit server with an empty unified account, on an ephemeral port of 127.0.0.1.

    Args:
        hedged: the account is in hedge mode, otherwise one-way.
        most_stops: the most live conditional orders of a symbol; the venue's limit by default.
        parts: the number of fills of a market order.
        positions_first: a position is pushed before the fill that changed it.
        order_limit: requests a second to create, to amend, and to cancel, each; the venue's limit by default.
        entry_parts, depth, margin: of entries, as in `VenueMarket`.
    """
    clock, sockets = Clock(), Sockets()
    market = BybitMarket(
        instruments,
        clock.now,
        hedged=hedged,
        ids_for_ever=True,
        cancel_on_flat=True,
        most_stops=most_stops,
        stops_by_symbol=True,
        parts=parts,
        positions_first=positions_first,
        entry_parts=entry_parts,
        depth=depth,
        margin=margin,
    )
    face = Bybit(market, clock, BybitStream(market, clock, sockets), order_limit)
    server = VenueServer(market, clock, sockets, face)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()
