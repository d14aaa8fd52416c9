"""Rate limits of each venue: the windows in which it counts, and the tokens that each operation costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from trailing.exchanges.buckets import Bucket, Cost

DOWNLOADS: Final = ("history_candles", "history_reference_candles")
"""Operations that are none of the port's: pages of candles of the last price, and of mark and index prices."""


class Window(msgspec.Struct, frozen=True):
    """A limit of `count` tokens in any `seconds`, wherever the venue's window begins.

    Args:
        count: the tokens that the venue allows in `seconds`.
        seconds: the length of the window.
        burst: tokens that may be used at once, above 0 and below `count`. The rest returns evenly within `seconds`, so a
            larger burst leaves a lower rate.
        header: the reply's header, in lower case, that states how many tokens are used in the present window; "": none.
        left_header: the header that states how many tokens are left in the window of the request; "": none.
    """

    count: float
    seconds: float
    burst: float
    header: str = ""
    left_header: str = ""

    @property
    def bucket(self) -> Bucket:
        """The bucket that keeps to the limit: its capacity and its refill in `seconds` add up to `count`."""
        return Bucket(self.burst, (self.count - self.burst) / self.seconds)


class Limits(msgspec.Struct, frozen=True):
    """The rate limits of a venue.

    Args:
        windows: by name.
        costs: the tokens that an operation (the port's method name) takes from each window.
        other: the cost of every operation that `costs` does not name.
        by_symbol: for operations that the venue counts for each symbol by itself: the window of one symbol. The account's
            windows need not keep to this limit.
    """

    windows: Mapping[str, Window]
    costs: Mapping[str, Cost]
    other: Cost
    by_symbol: Mapping[str, Window] = {}

    def cost(self, operation: str) -> Cost:
        """Return the cost of an operation."""
        return self.costs.get(operation, self.other)


# Windows: `rateLimits` of GET /fapi/v1/exchangeInfo and
# https://developers.binance.com/docs/derivatives/usds-margined-futures/general-info (2,400 of weight a minute by IP,
# 300 orders in 10 s and 1,200 a minute by account). Costs: the same site's page of each endpoint. It states "0 on IP rate
# limit (x-mbx-used-weight-1m)" for a new order and a new algo order. So a stop or a close doesn't wait for weight, also if
# another program on the address has used it.
_BINANCE_ORDER: Final = {"orders in 10 s": 1.0, "orders in a minute": 1.0}
_BINANCE = Limits(
    windows={
        "weight": Window(2400, 60, burst=1200, header="x-mbx-used-weight-1m"),
        "orders in 10 s": Window(300, 10, burst=150, header="x-mbx-order-count-10s"),
        "orders in a minute": Window(1200, 60, burst=600, header="x-mbx-order-count-1m"),
    },
    costs={
        "place_stop": _BINANCE_ORDER,
        "close_position": _BINANCE_ORDER,
        "place_entry": _BINANCE_ORDER,
        "enter": _BINANCE_ORDER,
        "open_stops": {"weight": 40.0},  # openAlgoOrders without a symbol
        "positions": {"weight": 5.0},  # positionRisk
        "order_fills": {"weight": 5.0},  # userTrades; its look-ups cost 1
        "candles": {"weight": 5.0},  # klines, 500 to 1,000 of them
        "entry_settings": {"weight": 5.0},  # symbolConfig
        "account_mode": {"weight": 5.0},  # accountConfig
        "call_read": {"weight": 5.0},  # of most endpoints; a reply's header corrects the count
        "call_order": _BINANCE_ORDER,
        "call_amend": _BINANCE_ORDER,
        # Counted twice, so that a download leaves half of the weight to a bot on the same address.
        "history_candles": {"weight": 10.0},
        "history_reference_candles": {"weight": 10.0},
    },
    other={"weight": 1.0},
)

# https://bybit-exchange.github.io/docs/v5/rate-limit: 600 requests in 5 s by IP. By account, for linear contracts, 10 in
# any second on each endpoint that places, amends or cancels. We use 9 of them, because requests that are sent within a
# second may arrive within less. Those of lists allow 50, but ccxt keeps to 10, which is safer because a list has pages.
_BYBIT_ENDPOINT: Final = Window(9, 1, burst=3, left_header="x-bapi-limit-status")
_BYBIT = Limits(
    windows={
        "requests": Window(600, 5, burst=300),
        "order/create": _BYBIT_ENDPOINT,
        "order/amend": _BYBIT_ENDPOINT,
        "order/cancel": _BYBIT_ENDPOINT,
        "order/realtime": _BYBIT_ENDPOINT,
        "position/list": _BYBIT_ENDPOINT,
        "position/trading-stop": _BYBIT_ENDPOINT,
        "position/set-leverage": _BYBIT_ENDPOINT,
    },
    costs={
        "place_stop": {"requests": 1.0, "order/create": 1.0},
        "close_position": {"requests": 1.0, "order/create": 1.0},
        "enter": {"requests": 1.0, "order/create": 1.0},
        "place_entry": {"requests": 1.0, "order/create": 1.0},
        "cancel_entry": {"requests": 1.0, "order/cancel": 1.0},
        "find_entry": {"requests": 1.0, "order/realtime": 1.0},
        "clear_bridge": {"requests": 1.0, "position/trading-stop": 1.0},
        "amend_stop": {"requests": 1.0, "order/amend": 1.0},
        "cancel_stop": {"requests": 1.0, "order/cancel": 1.0},
        "cancel_order": {"requests": 1.0, "order/cancel": 1.0},
        "find_stop": {"requests": 1.0, "order/realtime": 1.0},
        "open_stops": {"requests": 1.0, "order/realtime": 1.0},
        "open_orders": {"requests": 1.0, "order/realtime": 1.0},
        "positions": {"requests": 1.0, "position/list": 1.0},
        "entry_settings": {"requests": 1.0, "position/list": 1.0},
        "call_read": {"requests": 1.0, "order/realtime": 1.0, "position/list": 1.0},
        "call_change": {"requests": 1.0, "position/set-leverage": 1.0},
        "call_order": {"requests": 1.0, "order/create": 1.0},
        "call_amend": {"requests": 1.0, "order/amend": 1.0},
        "call_cancel": {"requests": 1.0, "order/cancel": 1.0},
    },
    other={"requests": 1.0},
)

# https://www.okx.com/docs-v5/en/#overview-rate-limits, and the page of each endpoint. Algo orders: 20 in 2 s on each endpoint
# that places, amends or cancels, counted for each instrument; plain orders 60. We use 16 and 30 of them. A sub-account may
# place and amend 1,000 orders in 2 s. The page does not say that algo orders count there, but they do in this table: what
# places, amends and closes has 300 each. Reads count by account, prices by IP. We use nine tenths of each limit of an account
# or address, because requests that are sent within 2 s may arrive within less.
_OKX_ORDERS: Final = Window(300, 2, burst=150)
_OKX_ALGO_OF_SYMBOL: Final = Window(16, 2, burst=8)
_OKX_ORDER_OF_SYMBOL: Final = Window(30, 2, burst=15)
_OKX_READ: Final = Window(18, 2, burst=9)
_OKX_ACCOUNT: Final = Window(9, 2, burst=4)
_OKX = Limits(
    windows={
        "order-algo": _OKX_ORDERS,
        "amend-algos": _OKX_ORDERS,
        "cancel-algos": _OKX_ORDERS,
        "order": _OKX_ORDERS,
        "cancel-order": _OKX_ORDERS,
        "order details": _OKX_ORDERS,
        "order-algo details": _OKX_READ,
        "orders-algo-pending": _OKX_READ,
        "positions": _OKX_ACCOUNT,
        "fills-history": _OKX_ACCOUNT,
        "config": Window(4.5, 2, burst=2),
        "leverage-info": _OKX_READ,
        "set-leverage": _OKX_READ,
        # Calls may all be about one instrument.
        "calls that place": _OKX_READ,
        "calls that amend": _OKX_READ,
        "calls that cancel": _OKX_READ,
        "market data": _OKX_READ,
        "history-candles": Window(18, 2, burst=4),
        "history-mark-price-candles": Window(9, 2, burst=2),  # and history-index-candles, by the address too
    },
    costs={
        "place_stop": {"order-algo": 1.0},
        "amend_stop": {"amend-algos": 1.0},
        "cancel_stop": {"cancel-algos": 1.0},
        "cancel_order": {"cancel-algos": 1.0, "cancel-order": 1.0},  # on one of both endpoints
        "close_position": {"order": 1.0},
        "enter": {"order": 1.0},
        "place_entry": {"order": 1.0},
        "cancel_entry": {"cancel-order": 1.0},
        "find_entry": {"order details": 1.0},
        "find_stop": {"order-algo details": 1.0},
        "open_stops": {"orders-algo-pending": 1.0},
        "open_orders": {"orders-algo-pending": 1.0},
        "order_fills": {"fills-history": 1.0, "order-algo details": 1.0},
        "positions": {"positions": 1.0},
        "entry_settings": {"leverage-info": 1.0},
        "account_mode": {"config": 1.0},
        # A call may be a request to any endpoint of its kind.
        "call_read": dict.fromkeys(
            ("positions", "fills-history", "orders-algo-pending", "order-algo details", "market data"), 1.0
        ),
        "call_change": {"set-leverage": 1.0},
        "call_order": {"order": 1.0, "order-algo": 1.0, "calls that place": 1.0},
        "call_amend": {"order": 1.0, "amend-algos": 1.0, "calls that amend": 1.0},
        "call_cancel": {"cancel-order": 1.0, "cancel-algos": 1.0, "calls that cancel": 1.0},
        "history_candles": {"history-candles": 1.0},
        "history_reference_candles": {"history-mark-price-candles": 1.0},
    },
    other={"market data": 1.0},
    by_symbol={
        "place_stop": _OKX_ALGO_OF_SYMBOL,
        "amend_stop": _OKX_ALGO_OF_SYMBOL,
        "cancel_stop": _OKX_ALGO_OF_SYMBOL,
        "cancel_order": _OKX_ALGO_OF_SYMBOL,
        "close_position": _OKX_ORDER_OF_SYMBOL,
        "enter": _OKX_ORDER_OF_SYMBOL,
        "place_entry": _OKX_ORDER_OF_SYMBOL,
        "cancel_entry": _OKX_ORDER_OF_SYMBOL,
        "find_entry": _OKX_ORDER_OF_SYMBOL,
    },
)


def _careful(orders_per_second: float, *, price: float = 1.0) -> Limits:
    """Return one window for all operations, at the pace of ccxt for new orders. A list costs 5 tokens, a price `price`."""
    return Limits(
        windows={"requests": Window(10 * orders_per_second, 10, burst=2 * orders_per_second)},
        costs={
            **{
                each: {"requests": 5.0}
                for each in ("open_stops", "open_orders", "order_fills", "positions", "call_read")
            },
            "price": {"requests": price},
        },
        other={"requests": 1.0},
    )


_LIMITS: Final[Mapping[str, Limits]] = {
    "binanceusdm": _BINANCE,
    "bybit": _BYBIT,
    "okx": _OKX,
    # Orders a second: 1000 / (rateLimit x cost) from the tables of ccxt 4.5.90, rounded down.
    "bitget": _careful(10),
    "gate": _careful(15),
    "kucoinfutures": _careful(30),  # ccxt allows 66, for accounts of every level
    "deribit": _careful(5),
    "bingx": _careful(5),
    # ccxt allows 20. But a list, also that of all prices, takes 20 of 1,200 a minute.
    "hyperliquid": _careful(5, price=5.0),
}

# krakenfutures: ccxt sends a request every 0.6 s.
_SLOWEST: Final = Limits(windows={"requests": Window(16, 10, burst=5)}, costs={}, other={"requests": 1.0})


def limits_of(venue: str) -> Limits:
    """Return the limits of a venue by its name. The default is the slowest limit: 16 requests in any 10 seconds."""
    return _LIMITS.get(venue, _SLOWEST)
