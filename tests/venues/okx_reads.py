"""OKX's lists of orders, fills and positions, and its prices."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from okx_market import AccountLevel, AlgoType, Contract, OkxMarket
from okx_rules import Params, Refused, contract_named
from okx_shapes import (
    account_config,
    algo_id,
    algo_order,
    candle,
    order_id,
    own_id,
    plain_order,
    position,
    position_id,
    shown_contract,
    transaction,
)
from okx_stream import OkxStream
from venue_candles import LENGTHS
from venue_market import Order

from trailing.core.model import Source

T = TypeVar("T")
Handler: TypeAlias = Callable[[Params], list[Any]]

ALGO_TYPES: Mapping[str, AlgoType] = {
    "conditional": "conditional",
    "trigger": "trigger",
    "move_order_stop": "move_order_stop",
}
_OTHER_ALGO_TYPES = frozenset({"oco", "chase", "iceberg", "twap", "smart_iceberg"})
_ENDED = frozenset({"effective", "canceled", "order_failed"})


def algo_named(market: OkxMarket, params: Params, code: str) -> Order:
    """Return the algo order of an id, which counts before a client's id, of which it is the latest. Raises Refused."""
    algos = [order for order in reversed(market.orders.values()) if order.wanted.trigger is not None]
    if params.get("algoId"):
        found = [order for order in algos if algo_id(order) == str(params["algoId"])]
    elif params.get("algoClOrdId"):
        found = [order for order in algos if own_id(order) == str(params["algoClOrdId"])]
    else:
        raise Refused("50015", "algoId", "algoClOrdId")
    if not found:
        raise Refused(code)
    return found[0]


def plain_named(market: OkxMarket, params: Params, code: str) -> Order:
    """Return the order of an id, or the latest one with a client's id. Raises Refused."""
    each, orders = contract_named(params, market), reversed(market.orders.values())
    plain = [order for order in orders if order.wanted.trigger is None and order.wanted.symbol == each.symbol]
    if params.get("ordId"):
        found = [order for order in plain if order_id(order) == str(params["ordId"])]
    elif params.get("clOrdId"):
        found = [order for order in plain if own_id(order) == str(params["clOrdId"])]
    else:
        raise Refused("50015", "ordId", "clOrdId")
    if not found:
        raise Refused(code)
    return found[0]


_BARS = {"1m": LENGTHS["1m"], "5m": LENGTHS["5m"], "15m": LENGTHS["15m"], "1H": LENGTHS["1h"], "1Dutc": LENGTHS["1d"]}


class OkxReads:
    """The endpoints that change nothing.

    Attributes:
        read_lag_ms: so long an algo order's placing and its end are not to be seen in the lists.
        foreign_algo_orders, foreign_orders, foreign_positions: rows that the lists have besides.
    """

    def __init__(self, market: OkxMarket, stream: OkxStream, account_level: AccountLevel) -> None:
        self.read_lag_ms: int = 0
        self.foreign_algo_orders: list[dict[str, object]] = []
        self.foreign_orders: list[dict[str, object]] = []
        self.foreign_positions: list[dict[str, object]] = []
        self._market = market
        self._stream = stream
        self._account_level = account_level

    def find_algo(self, params: Params) -> list[Any]:
        """Return an algo order, live or ended."""
        order = algo_named(self._market, params, "51603")
        if self._is_hidden(order):
            raise Refused("51603")
        return [self._row(order)]

    def _algos(self) -> list[Order]:
        return [order for order in reversed(self._market.orders.values()) if order.wanted.trigger is not None]

    def _is_hidden(self, order: Order) -> bool:
        return order.created_at > self._market.now() - self.read_lag_ms

    def _is_pending(self, order: Order) -> bool:
        """Whether the lists have an algo order as live: until the lag has passed, also one that has ended."""
        live = order.status == "live" or (order.status == "triggered" and order.execution is None)
        return live or order.updated_at > self._market.now() - self.read_lag_ms

    def _row(self, order: Order) -> dict[str, object]:
        row = algo_order(order, self._market)
        row["state"] = "live" if self.read_lag_ms and self._is_pending(order) else self._stream.algo_state(order)
        return row

    def pending(self, params: Params) -> list[Any]:
        """List the live algo orders of a kind."""
        shown = [self._row(order) for order in self._algos() if self._is_pending(order) and not self._is_hidden(order)]
        rows, kinds = [*shown, *self.foreign_algo_orders], self._kinds(params)
        return self._algo_page([row for row in rows if row["ordType"] in kinds], params)

    def history(self, params: Params) -> list[Any]:
        """List the ended algo orders of a kind."""
        kinds, state = self._kinds(params), params.get("state", "")
        if bool(state) == ("algoId" in params):
            raise Refused("50015", "state", "algoId")
        if state and state not in _ENDED:
            raise Refused("51000", "state")
        rows = [self._row(order) for order in self._algos() if not self._is_pending(order)]
        ended = [row for row in rows if row["ordType"] in kinds and state in {"", row["state"]}]
        return self._algo_page(ended, params)

    def _kinds(self, params: Params) -> set[str]:
        """Return the kinds of a list. Only `conditional` and `oco` may be listed together."""
        kinds = set(str(params.get("ordType", "")).split(","))
        known = ALGO_TYPES.keys() | _OTHER_ALGO_TYPES
        if not kinds <= known or (len(kinds) > 1 and kinds != {"conditional", "oco"}):
            raise Refused("51000", "ordType")
        return kinds

    def _algo_page(self, rows: Sequence[Mapping[str, object]], params: Params) -> list[Any]:
        wanted = _matches(params, "algoId", "instType", "instId")
        return _page(rows, params, lambda row: int(str(row["algoId"])), wanted)

    def find_plain(self, params: Params) -> list[Any]:
        """Return an order at market or with a limit."""
        return [plain_order(plain_named(self._market, params, "51603"), self._market)]

    def open_plain(self, params: Params) -> list[Any]:
        """List the open orders with a limit."""
        orders = [order for order in reversed(self._market.orders.values()) if order.wanted.trigger is None]
        rows = [plain_order(order, self._market) for order in orders if order.is_open] + self.foreign_orders
        kinds, wanted = str(params.get("ordType", "")).split(","), _matches(params, "instType", "instId", "state")
        found = [row for row in rows if kinds == [""] or row["ordType"] in kinds]
        return _page(found, params, lambda row: int(str(row["ordId"])), wanted)

    def fills(self, days: int) -> Handler:
        """Return the endpoint that lists the fills of so many days."""

        def fills(params: Params) -> list[Any]:
            if days > 3 and not params.get("instType"):
                raise Refused("50014", "instType")
            earliest = self._market.now() - days * 24 * 3600 * 1000
            begin, end = int(params.get("begin", 0)), int(params.get("end", 2**63))
            rows = [
                transaction(fill, self._market)
                for fill in reversed(self._market.fills)
                if max(begin, earliest) <= fill.at <= end
            ]
            wanted = _matches(params, "instType", "instId", "ordId", "subType")
            return _page(rows, params, lambda row: int(str(row["billId"])), wanted)

        return fills

    def positions(self, params: Params) -> list[Any]:
        """List the open positions; by an id also those that are flat."""
        market = self._market
        ids, numbers = (set(str(params[name]).split(",")) if params.get(name) else None for name in ("instId", "posId"))
        rows = [
            position(symbol, side, holding, market)
            for (symbol, side), holding in market.holdings.items()
            if (holding.quantity or ids is not None or numbers is not None)
            and (numbers is None or position_id(symbol, side, market) in numbers)
        ]
        every = [*rows, *self.foreign_positions]
        kinds = params.get("instType")
        return [
            row for row in every if (ids is None or row.get("instId") in ids) and kinds in {None, row.get("instType")}
        ]

    def config(self, _: Params) -> list[Any]:
        """Return the account's configuration."""
        return [account_config(self._market, self._account_level)]

    def instruments(self, params: Params) -> list[Any]:
        """List the contracts."""
        if params.get("instType") not in {"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"}:
            raise Refused("51000", "instType")
        wanted = self._market.contracts.values() if params["instType"] == "SWAP" else ()
        return [shown_contract(each) for each in wanted if params.get("instId", each.id) == each.id]

    def prices(
        self, shape: Callable[[Contract, OkxMarket], object], *, index: bool = False, typed: bool = False
    ) -> Handler:
        """Return an endpoint of prices: of an index, or with `typed` of a type of instruments."""

        def prices(params: Params) -> list[Any]:
            name, every = params.get("instId"), self._market.contracts.values()
            if typed and not params.get("instType"):
                raise Refused("50014", "instType")
            if params.get("instType", "SWAP") != "SWAP":
                return []
            found = [each for each in every if name in {None, each.index if index else each.id}]
            if name is not None and not found:
                raise Refused("51001")
            return [shape(each, self._market) for each in found]

        return prices

    def candles(self, of: Source, most: int) -> Handler:
        """Return an endpoint of candles of one source."""

        def candles(params: Params) -> list[Any]:
            length = _BARS.get(params.get("bar", "1m"))
            if length is None:
                raise Refused("51000", "bar")
            every, name = self._market.contracts.values(), params.get("instId")
            found = [each for each in every if name == (each.index if of == "index" else each.id)]
            if not found:
                raise Refused("51001")
            before, after = int(params.get("before", -1)), int(params.get("after", 2**62))
            wanted = self._market.candles.between(found[0].symbol, of, length, before + 1, after - 1)
            limit = min(int(params.get("limit", 100)), most)
            return [candle(each, self._market.now(), length, traded=of == "last") for each in reversed(wanted[-limit:])]

        return candles


def _matches(params: Params, *names: str) -> Callable[[Mapping[str, object]], bool]:
    """Return a filter for rows that have the values of a request."""
    wanted = {name: params[name] for name in names if name in params}
    return lambda row: all(row.get(name) == value for name, value in wanted.items())


def _page(rows: Sequence[T], params: Params, key: Callable[[T], int], wanted: Callable[[T], bool]) -> list[T]:
    """Return a page, the latest first: `after` an id means older, `before` newer."""
    older, newer = int(params.get("after") or 2**63), int(params.get("before") or -1)
    ordered = sorted(rows, key=key)
    first, end = bisect_right(ordered, newer, key=key), bisect_left(ordered, older, key=key)
    limit = min(int(params.get("limit") or 100), 100)
    return list(islice(filter(wanted, reversed(ordered[first:end])), limit))
