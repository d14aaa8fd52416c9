"""A local server that behaves like Binance USD-M futures: REST and websockets, with a separate list of conditional orders.

Codes, weights and field names are those of the venue's documentation, https://developers.binance.com/docs/derivatives
(error codes, `New Algo Order`, `User Data Streams`), as far as ccxt reads or sends them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import trio
from binance_shapes import (
    WORKING_TYPES,
    algo_order,
    bar,
    exchange_info,
    number,
    plain_order,
    position_risk,
    trade,
)
from binance_stream import BinanceStream
from venue_candles import LENGTHS
from venue_faults import Reply, Request, json_reply
from venue_limits import Window
from venue_market import INSTRUMENTS, Instrument, Leg, Order, Refusal, Trigger, VenueMarket, Wanted
from venue_server import API_KEY, SECRET, Clock, VenueServer
from venue_sockets import Sockets

from trailing.core.model import Source

_CODES: Mapping[str, tuple[int, str]] = {
    "price step": (-4014, "Price not increased by tick size."),
    "quantity step": (-1111, "Precision is over the maximum defined for this asset."),
    "minimum": (-4003, "Quantity less than or equal to zero."),
    "notional": (-4164, "Order's notional must be no smaller than 100 (unless you choose reduce only)."),
    "no price": (-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit."),
    "duplicate": (-4116, "ClientOrderId is duplicated."),
    "too many": (-4045, "Reach max stop order limit."),
    "nothing to reduce": (-2022, "ReduceOnly Order is rejected."),
    "covered": (-4118, "ReduceOnly Order Failed. Please check your existing position and open orders."),
    "would trigger": (-2021, "Order would immediately trigger."),
    "margin": (-2019, "Margin is insufficient."),
}
_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_SIGNATURE = re.compile(r"(?:^|&)signature=([0-9a-f]*)$")
_ORDER = frozenset({"symbol", "side", "positionSide", "type", "quantity", "reduceOnly", "newOrderRespType"})
_STOP = _ORDER | {"algoType", "triggerPrice", "workingType", "clientAlgoId", "priceProtect", "timeInForce"}
_ALGO_ORDER = _STOP | {"activatePrice", "callbackRate"}
_PLAIN_ORDER = _ORDER | {"newClientOrderId", "price", "timeInForce"}
_ALGO_ID = frozenset({"symbol", "algoId", "clientAlgoId"})
_PLAIN_ID = frozenset({"symbol", "orderId", "origClientOrderId"})
_BY_SYMBOL = frozenset({"open_stops", "open_orders", "price"})
_WEEK = 7 * 24 * 3600 * 1000
_LONGEST_RANGE = 200 * 24 * 3600 * 1000  # of candles of mark and index prices, by their pages
_KLINES = frozenset({"symbol", "pair", "interval", "startTime", "endTime", "limit"})


class Refused(Exception):
    """A reply with an error code."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.reply: Reply = json_reply({"code": code, "msg": message}, status)


class Binance:
    """The REST endpoints.

    Args:
        weight_limit: of all requests in a minute.
        order_limits: orders in 10 s, and in a minute.
    """

    def __init__(
        self, market: VenueMarket, clock: Clock, stream: BinanceStream, weight_limit: int, order_limits: tuple[int, int]
    ) -> None:
        self.opened = stream.opened
        self.received = stream.received
        self._market = market
        self._clock = clock
        self._stream = stream
        self._weight = Window(60, weight_limit, clock.now)
        self._orders = (Window(10, order_limits[0], clock.now), Window(60, order_limits[1], clock.now))
        self._banned_until = 0
        # Endpoint: the port's method name, the weight, the permission, the allowed parameters, and the handler.
        self._routes: dict[str, tuple[str, int, str, frozenset[str], Callable[[Mapping[str, str]], object]]] = {
            "GET /fapi/v1/ping": ("", 1, "public", frozenset(), lambda _: {}),
            "GET /fapi/v1/time": ("time", 1, "public", frozenset(), lambda _: {"serverTime": clock.now()}),
            "GET /fapi/v1/exchangeInfo": ("markets", 1, "public", frozenset(), self._exchange_info),
            "GET /fapi/v1/ticker/24hr": ("price", 1, "public", frozenset({"symbol"}), self._ticker),
            "GET /fapi/v1/ticker/price": ("price", 1, "public", frozenset({"symbol"}), self._last_price),
            "GET /fapi/v2/ticker/price": ("price", 1, "public", frozenset({"symbol"}), self._last_price),
            "GET /fapi/v1/premiumIndex": ("price", 1, "public", frozenset({"symbol"}), self._premium_index),
            "GET /fapi/v1/klines": ("candles", 5, "public", _KLINES, self._klines("last", "symbol")),
            "GET /fapi/v1/markPriceKlines": ("candles", 5, "public", _KLINES, self._klines("mark", "symbol")),
            "GET /fapi/v1/indexPriceKlines": ("candles", 5, "public", _KLINES, self._klines("index", "pair")),
            "POST /fapi/v1/algoOrder": ("place_stop", 0, "order", _ALGO_ORDER, self._place_stop),
            "DELETE /fapi/v1/algoOrder": ("cancel_stop", 1, "signed", _ALGO_ID, self._cancel_stop),
            "GET /fapi/v1/algoOrder": ("find_stop", 1, "signed", _ALGO_ID, self._find_stop),
            "GET /fapi/v1/openAlgoOrders": ("open_stops", 1, "signed", frozenset({"symbol"}), self._open_stops),
            "DELETE /fapi/v1/algoOpenOrders": ("cancel_all", 1, "signed", frozenset({"symbol"}), self._cancel_all),
            "POST /fapi/v1/order": ("close_position", 0, "order", _PLAIN_ORDER, self._place_plain),
            "DELETE /fapi/v1/order": ("cancel_entry", 1, "signed", _PLAIN_ID, self._cancel_plain),
            "GET /fapi/v1/order": ("find_entry", 1, "signed", _PLAIN_ID, self._find_plain),
            "GET /fapi/v1/openOrders": ("open_orders", 1, "signed", frozenset({"symbol"}), self._open_plain),
            "GET /fapi/v1/userTrades": ("order_fills", 5, "signed", _KLINES | {"orderId", "fromId"}, self._user_trades),
            "GET /fapi/v2/positionRisk": ("positions", 5, "signed", frozenset({"symbol"}), self._positions),
            "GET /fapi/v3/positionRisk": ("positions", 5, "signed", frozenset({"symbol"}), self._positions),
            "GET /fapi/v1/leverageBracket": ("brackets", 1, "signed", frozenset({"symbol"}), self._brackets),
            "GET /fapi/v1/positionSide/dual": ("mode", 30, "signed", frozenset(), self._mode),
            "GET /fapi/v1/multiAssetsMargin": (
                "mode",
                30,
                "signed",
                frozenset(),
                lambda _: {"multiAssetsMargin": False},
            ),
            "GET /sapi/v1/account/apiRestrictions": ("permissions", 1, "signed", frozenset(), self._permissions),
            "POST /fapi/v1/listenKey": ("listen_key", 1, "key", frozenset(), stream.listen_key),
            "PUT /fapi/v1/listenKey": ("listen_key", 1, "key", frozenset({"listenKey"}), stream.listen_key),
            "DELETE /fapi/v1/listenKey": ("listen_key", 1, "key", frozenset({"listenKey"}), lambda _: {}),
        }

    def operation(self, request: Request) -> str:
        route = self._routes.get(request.endpoint)
        if route is not None and route[0] == "open_stops" and "symbol" in request.params:
            return "open_orders"
        if route is not None and route[0] == "close_position" and _opens(request.params):
            return "place_entry"
        return route[0] if route is not None else ""

    def handle(self, request: Request) -> Reply:
        route = self._routes.get(request.endpoint)
        if route is None:
            return json_reply({"code": -5000, "msg": f"Path {request.path}, Method {request.method} is invalid"}, 404)
        operation, weight, security, allowed, answer = route
        if operation in _BY_SYMBOL and "symbol" not in request.params:
            weight *= 40  # without a symbol
        limited = self._limit(weight, ordering=security == "order")
        if limited is not None:
            return limited
        try:
            params = self._check(request, security, allowed)
            reply = json_reply(answer(params))
        except Refused as refused:
            reply = refused.reply
        except Refusal as refusal:
            reply = Refused(*_CODES[refusal.reason]).reply
        headers = {**reply.headers, "X-MBX-USED-WEIGHT-1M": str(self._weight.used)}
        if security == "order":
            ten, minute = self._orders
            headers |= {"X-MBX-ORDER-COUNT-10S": str(ten.used), "X-MBX-ORDER-COUNT-1M": str(minute.used)}
        return Reply(reply.body, reply.status, headers)

    def _limit(self, weight: int, *, ordering: bool) -> Reply | None:
        """Reply 429 beyond a limit, and 418 (a ban) to a client that continues."""
        if self._clock.now() < self._banned_until:
            seconds = (self._banned_until - self._clock.now()) // 1000 + 1
            message = f"Way too many requests; IP banned until {self._banned_until}."
            return json_reply({"code": -1003, "msg": message}, 418, {"Retry-After": str(seconds)})
        if not self._weight.take(weight):
            if self._weight.used > 2 * self._weight.limit:
                self._banned_until = self._clock.now() + 120_000
            return self._too_many(-1003, "Too many requests.", self._weight)
        for window in self._orders if ordering else ():
            if not window.take(1):
                return self._too_many(-1015, "Too many new orders.", window)
        return None

    def _too_many(self, code: int, message: str, window: Window) -> Reply:
        return json_reply({"code": code, "msg": message}, 429, {"Retry-After": str(window.left_ms // 1000 + 1)})

    def _check(self, request: Request, security: str, allowed: frozenset[str]) -> Mapping[str, str]:
        params = dict(request.params)
        if security != "public" and request.headers.get("x-mbx-apikey") != API_KEY:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        if security in {"signed", "order"}:
            self._check_signature(request)
            for name in ("signature", "timestamp", "recvWindow"):
                params.pop(name, None)
        unknown = params.keys() - allowed
        if unknown:
            raise Refused(-1104, f"Not all sent parameters were read; unknown are {sorted(unknown)}.")
        return params

    def _check_signature(self, request: Request) -> None:
        signature = _SIGNATURE.search(request.payload)
        if signature is None:
            raise Refused(-1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.")
        payload = request.payload[: signature.start()]
        wanted = hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted, signature[1]):
            raise Refused(-1022, "Signature for this request is not valid.")
        sent, now = int(request.params["timestamp"]), self._clock.now()
        if sent > now + 1000 or now - sent > int(request.params.get("recvWindow", 5000)):
            raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _instrument(self, params: Mapping[str, str], name: str = "symbol") -> Instrument:
        if name not in params:
            raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        found = self._market.by_id.get(params[name])
        if found is None:
            raise Refused(-1121, "Invalid symbol.")
        return found

    def _wanted(self, params: Mapping[str, str], own_id: str, trigger: Trigger | None) -> Wanted:
        if not _CLIENT_ID.fullmatch(own_id):
            raise Refused(-4015, "Client order id is not valid.")
        if self._market.hedged and "reduceOnly" in params:
            raise Refused(-1106, "Parameter 'reduceonly' sent when not required.")
        leg = params.get("positionSide", "BOTH").lower()
        if (leg != "both") != self._market.hedged or leg not in {"both", "long", "short"}:
            raise Refused(-4061, "Order's position side does not match user's setting.")
        if params.get("side") not in {"BUY", "SELL"}:
            raise Refused(-1117, "Invalid side.")
        return Wanted(
            symbol=self._instrument(params).symbol,
            side="buy" if params["side"] == "BUY" else "sell",
            quantity=_decimal(params, "quantity"),
            client_order_id=own_id,
            leg=_LEGS[leg],
            reduce_only=params.get("reduceOnly", "false").lower() == "true",
            trigger=trigger,
        )

    def _place_stop(self, params: Mapping[str, str]) -> object:
        if params.get("algoType") != "CONDITIONAL":
            raise Refused(-1102, "Mandatory parameter 'algotype' was not sent, was empty/null, or malformed.")
        if params.get("type") not in {"STOP_MARKET", "TRAILING_STOP_MARKET"}:
            raise Refused(-1116, "Invalid orderType.")
        source = WORKING_TYPES.get(params.get("workingType", "CONTRACT_PRICE"))
        if source is None:
            raise Refused(-1102, "Mandatory parameter 'workingType' was not sent, was empty/null, or malformed.")
        rising = params.get("side") == "BUY"
        if params["type"] == "STOP_MARKET":
            trigger = Trigger(_decimal(params, "triggerPrice"), source, rising)
        else:
            trigger = Trigger(self._activation(params, source), source, rising, _callback(params))
        own_id = params.get("clientAlgoId", f"venue{self._clock.now()}")
        order = self._market.place(self._wanted(params, own_id, trigger))
        return algo_order(order, self._market)

    def _activation(self, params: Mapping[str, str], source: Source) -> Decimal:
        """Return the present price if the request has none."""
        if "activatePrice" in params:
            return _decimal(params, "activatePrice")
        return self._market.prices.get((self._instrument(params).symbol, source), Decimal(0))

    def _place_plain(self, params: Mapping[str, str]) -> object:
        if params.get("type") in {"STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET"}:
            raise Refused(-4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints.")
        if params.get("type") not in {"MARKET", "LIMIT"}:
            raise Refused(-1116, "Invalid orderType.")
        limited = params["type"] == "LIMIT"
        if not limited and "price" in params:
            raise Refused(-1106, "Parameter 'price' sent when not required.")
        if limited != ("timeInForce" in params):
            raise Refused(-1102, "Mandatory parameter 'timeinforce' was not sent, was empty/null, or malformed.")
        if params.get("timeInForce", "GTC") != "GTC":
            raise Refused(-1115, "Invalid timeInForce.")
        own_id = params.get("newClientOrderId", f"venue{self._clock.now()}")
        wanted = self._wanted(params, own_id, None)
        if limited:
            wanted = msgspec.structs.replace(wanted, limit=_decimal(params, "price"))
        order = self._market.place(wanted)
        return plain_order(order, self._market, acknowledged=params.get("newOrderRespType", "ACK") == "ACK")

    def _order(self, params: Mapping[str, str], code: int, message: str, *, stop: bool) -> Order:
        number_name, own_name = ("algoId", "clientAlgoId") if stop else ("orderId", "origClientOrderId")
        if number_name in params:
            order = self._market.find(stop=stop, number=int(params[number_name]))
        elif own_name in params:
            order = self._market.find(stop=stop, client_order_id=params[own_name])
        else:
            raise Refused(-1102, f"Param '{own_name}' or '{number_name}' must be sent, but both were empty/null!")
        if order is None:
            raise Refused(code, message)
        return order

    def _cancel_stop(self, params: Mapping[str, str]) -> object:
        order = self._order(params, -2011, "Unknown order sent.", stop=True)
        if order.status != "live":
            raise Refused(-2011, "Unknown order sent.")
        self._market.cancel(order)
        return {
            "algoId": order.number,
            "clientAlgoId": order.wanted.client_order_id,
            "code": "200",
            "msg": "success",
        }

    def _cancel_plain(self, params: Mapping[str, str]) -> object:
        order = self._order(params, -2011, "Unknown order sent.", stop=False)
        if not order.is_open:
            raise Refused(-2011, "Unknown order sent.")
        self._market.cancel(order)
        return plain_order(order, self._market)

    def _find_stop(self, params: Mapping[str, str]) -> object:
        return algo_order(self._order(params, -2013, "Order does not exist.", stop=True), self._market)

    def _find_plain(self, params: Mapping[str, str]) -> object:
        return plain_order(self._order(params, -2013, "Order does not exist.", stop=False), self._market)

    def _open_stops(self, params: Mapping[str, str]) -> object:
        symbol = self._instrument(params).symbol if "symbol" in params else None
        return [algo_order(order, self._market) for order in self._market.live_stops(symbol)]

    def _open_plain(self, params: Mapping[str, str]) -> object:
        return [plain_order(order, self._market) for order in self._market.resting(self._instrument(params).symbol)]

    def _cancel_all(self, params: Mapping[str, str]) -> object:
        for order in self._market.live_stops(self._instrument(params).symbol):
            self._market.cancel(order)
        return {"code": "200", "msg": "The operation of cancel all open order is done."}

    def _user_trades(self, params: Mapping[str, str]) -> object:
        """List executions of a symbol, or of one order, by the id of a plain order, within seven days."""
        symbol, wanted = self._instrument(params).symbol, params.get("orderId")
        end = int(params.get("endTime", self._clock.now()))
        start = int(params.get("startTime", end - _WEEK))
        if end - start > _WEEK:
            raise Refused(-1127, "Lookup interval is too big.")
        found = [
            trade(fill, self._market)
            for fill in self._market.fills
            if fill.order.wanted.symbol == symbol
            and start <= fill.at <= end
            and (wanted is None or fill.order.number == int(wanted))
        ]
        return found[: int(params.get("limit", 500))]

    def _positions(self, params: Mapping[str, str]) -> object:
        wanted = self._instrument(params).symbol if "symbol" in params else None
        return [
            position_risk(symbol, leg, holding, self._market)
            for (symbol, leg), holding in self._market.holdings.items()
            if holding.quantity and wanted in {None, symbol}
        ]

    def _exchange_info(self, _: Mapping[str, str]) -> object:
        return exchange_info(self._market, self._clock.now(), self._weight.limit)

    def _price(self, symbol: str, source: Source) -> str:
        return number(self._market.prices.get((symbol, source), Decimal(0)))

    def _ticker(self, params: Mapping[str, str]) -> object:
        found, now = self._instrument(params), self._clock.now()
        return {"symbol": found.id, "lastPrice": self._price(found.symbol, "last"), "closeTime": now, "openTime": now}

    def _last_price(self, params: Mapping[str, str]) -> object:
        found = self._instrument(params)
        return {"symbol": found.id, "price": self._price(found.symbol, "last"), "time": self._clock.now()}

    def _premium_index(self, params: Mapping[str, str]) -> object:
        found = self._instrument(params)
        return {
            "symbol": found.id,
            "markPrice": self._price(found.symbol, "mark"),
            "indexPrice": self._price(found.symbol, "index"),
            "lastFundingRate": "0.0001",
            "nextFundingTime": self._clock.now(),
            "time": self._clock.now(),
        }

    def _klines(self, source: Source, name: str) -> Callable[[Mapping[str, str]], object]:
        def klines(params: Mapping[str, str]) -> object:
            length = LENGTHS.get(params.get("interval", ""))
            if length is None:
                raise Refused(-1120, "Invalid interval.")
            symbol, limit = self._instrument(params, name).symbol, min(int(params.get("limit", 500)), 1500)
            start, end = (int(params[each]) if each in params else None for each in ("startTime", "endTime"))
            if start is not None and end is not None and end - start > _LONGEST_RANGE:
                raise Refused(-4179, "startTime and endTime are too far apart.")
            bars = self._market.candles.between(symbol, source, length, start or 0, 2**62 if end is None else end)
            return [
                bar(each, length) for each in (bars[:limit] if end is None and start is not None else bars[-limit:])
            ]

        return klines

    def _brackets(self, _: Mapping[str, str]) -> object:
        bracket = {"bracket": 1, "initialLeverage": 100, "notionalCap": 10**9, "notionalFloor": 0, "cum": 0.0}
        brackets = [{**bracket, "maintMarginRatio": 0.004}]
        return [{"symbol": each.id, "brackets": brackets} for each in self._market.instruments.values()]

    def _mode(self, _: Mapping[str, str]) -> object:
        return {"dualSidePosition": self._market.hedged}

    def _permissions(self, _: Mapping[str, str]) -> object:
        return {"ipRestrict": True, "enableReading": True, "enableFutures": True, "enableWithdrawals": False}


def _opens(params: Mapping[str, str]) -> bool:
    """Return whether a plain order opens a position."""
    closes = (params.get("positionSide"), params.get("side")) in {("LONG", "SELL"), ("SHORT", "BUY")}
    return not closes and params.get("reduceOnly", "false").lower() != "true"


_LEGS: Mapping[str, Leg] = {"both": "both", "long": "long", "short": "short"}


def _decimal(params: Mapping[str, str], name: str) -> Decimal:
    try:
        value = Decimal(params[name])
    except (KeyError, InvalidOperation):
        value = Decimal("NaN")
    if not value.is_finite() or value <= 0:
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def _callback(params: Mapping[str, str]) -> Decimal:
    """Return whether a callback is from 0.1 to 10 percent with one decimal."""
    rate = _decimal(params, "callbackRate")
    if not Decimal("0.1") <= rate <= 10 or rate % Decimal("0.1"):
        raise Refused(-1130, "Data sent for parameter 'callbackRate' is not valid.")
    return rate


class BinanceServer(VenueServer):
    """The server, with methods for what only Binance has."""

    def __init__(
        self, market: VenueMarket, clock: Clock, sockets: Sockets, face: Binance, stream: BinanceStream
    ) -> None:
        super().__init__(market, clock, sockets, face)
        self.expire_listen_key = stream.expire_listen_key

    def configure(self, client: Any) -> None:
        super().configure(client)
        client.options["fetchCurrencies"] = False
        # ccxt chooses its table of error codes by the host name.
        table = client.exceptions["linear"]
        client.get_exceptions_by_url = lambda _url, kind: table.get(kind, {})


@asynccontextmanager
async def open_binance_server(
    *,
    instruments: tuple[Instrument, ...] = INSTRUMENTS,
    hedged: bool = False,
    most_stops: int = 200,
    parts: int = 1,
    positions_first: bool = False,
    executions_named: bool = False,
    fills_first: bool = False,
    weight_limit: int = 2400,
    order_limits: tuple[int, int] = (300, 1200),
    entry_parts: int = 1,
    depth: Decimal | None = None,
    margin: Decimal | None = None,
) -> AsyncIterator[BinanceServer]:
    """Open a Binance server with an empty account, on an ephemeral port of 127.0.0.1.

    Args:
        hedged: the account is in hedge mode, otherwise one-way.
        most_stops: the most live conditional orders of the account.
        parts: the number of fills of a market order.
        positions_first: a position is pushed before the fill that changed it.
        executions_named: the market order of a triggered stop has its own client order id, not the stop's.
        fills_first: fills are pushed before the trigger of the algo order. Both orders were observed.
        weight_limit: per minute, the venue's own by default; `order_limits`: per 10 s and per minute.
        entry_parts, depth, margin: of entries, as in `VenueMarket`.
    """
    clock, sockets = Clock(), Sockets()
    market = VenueMarket(
        instruments,
        clock.now,
        hedged=hedged,
        most_stops=most_stops,
        parts=parts,
        positions_first=positions_first,
        executions_named=executions_named,
        entry_parts=entry_parts,
        depth=depth,
        margin=margin,
    )
    stream = BinanceStream(market, clock, sockets, fills_first=fills_first)
    face = Binance(market, clock, stream, weight_limit, order_limits)
    server = BinanceServer(market, clock, sockets, face, stream)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()
