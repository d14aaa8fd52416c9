"""What each venue lets a client send, in tokens: the windows that it counts in, and what an operation takes from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from trailing.exchanges.buckets import Bucket, Cost


class Window(msgspec.Struct, frozen=True):
    """So many tokens in any so many seconds, wherever the venue begins to count.

    Args:
        count: the tokens that the venue allows in `seconds`.
        seconds: how long it counts.
        burst: how many of them may be taken at once, above 0 and below `count`; the rest comes back while `seconds`
            pass. More at once is less a second.
        header: the reply's header, in lower case, that tells how many were used in the venue's present window; "":
            none does.
        left_header: the one that tells how many are left, of the window that its request counts in; "": none does.
    """

    count: float
    seconds: float
    burst: float
    header: str = ""
    left_header: str = ""

    @property
    def bucket(self) -> Bucket:
        """The bucket that keeps to it: what it holds and what comes back in any `seconds` are `count` together."""
        return Bucket(self.burst, (self.count - self.burst) / self.seconds)


class Limits(msgspec.Struct, frozen=True):
    """A venue's windows by name.

    Args:
        costs: what an operation (the port's method name) takes from each; `other`: every operation that isn't named.
    """

    windows: Mapping[str, Window]
    costs: Mapping[str, Cost]
    other: Cost

    def cost(self, operation: str) -> Cost:
        """What an operation takes."""
        return self.costs.get(operation, self.other)


# Windows: `rateLimits` of GET /fapi/v1/exchangeInfo and
# https://developers.binance.com/docs/derivatives/usds-margined-futures/general-info (2,400 of weight a minute by IP,
# 300 orders in 10 s and 1,200 a minute by account). Costs: the same site's page of each endpoint; it counts no weight for
# a new order, ccxt counts 1, and so does this.
_BINANCE_ORDER: Final = {"weight": 1.0, "orders in 10 s": 1.0, "orders in a minute": 1.0}
_BINANCE = Limits(
    windows={
        "weight": Window(2400, 60, burst=1200, header="x-mbx-used-weight-1m"),
        "orders in 10 s": Window(300, 10, burst=150, header="x-mbx-order-count-10s"),
        "orders in a minute": Window(1200, 60, burst=600, header="x-mbx-order-count-1m"),
    },
    costs={
        "place_stop": _BINANCE_ORDER,
        "close_position": _BINANCE_ORDER,
        "open_stops": {"weight": 40.0},  # openAlgoOrders without a symbol
        "positions": {"weight": 5.0},  # positionRisk
        "candles": {"weight": 5.0},  # klines, 500 to 1,000 of them
    },
    other={"weight": 1.0},
)

# https://bybit-exchange.github.io/docs/v5/rate-limit: 600 requests in 5 s by IP; by account, for linear contracts, 10 in
# any second on each endpoint that places, amends or cancels; one of them is left out, as what leaves here within a second
# may arrive within less. It allows 50 on those that list; ccxt, which counts 10, is more careful, and a list is read by
# pages.
_BYBIT_ENDPOINT: Final = Window(9, 1, burst=3, left_header="x-bapi-limit-status")
_BYBIT = Limits(
    windows={
        "requests": Window(600, 5, burst=300),
        "order/create": _BYBIT_ENDPOINT,
        "order/amend": _BYBIT_ENDPOINT,
        "order/cancel": _BYBIT_ENDPOINT,
        "order/realtime": _BYBIT_ENDPOINT,
        "position/list": _BYBIT_ENDPOINT,
    },
    costs={
        "place_stop": {"requests": 1.0, "order/create": 1.0},
        "close_position": {"requests": 1.0, "order/create": 1.0},
        "amend_stop": {"requests": 1.0, "order/amend": 1.0},
        "cancel_stop": {"requests": 1.0, "order/cancel": 1.0},
        "find_stop": {"requests": 1.0, "order/realtime": 1.0},
        "open_stops": {"requests": 1.0, "order/realtime": 1.0},
        "positions": {"requests": 1.0, "position/list": 1.0},
    },
    other={"requests": 1.0},
)


def _careful(orders_per_second: float, *, price: float = 1.0) -> Limits:
    """One window for everything, as slow as ccxt spaces new orders; a list counts as five of them, a price as said."""
    return Limits(
        windows={"requests": Window(10 * orders_per_second, 10, burst=2 * orders_per_second)},
        costs={"open_stops": {"requests": 5.0}, "positions": {"requests": 5.0}, "price": {"requests": price}},
        other={"requests": 1.0},
    )


_LIMITS: Final[Mapping[str, Limits]] = {
    "binanceusdm": _BINANCE,
    "bybit": _BYBIT,
    # A second's orders, 1000 / (rateLimit x cost) of ccxt 4.5.90's tables, rounded down.
    "okx": _careful(9),
    "bitget": _careful(10),
    "gate": _careful(15),
    "kucoinfutures": _careful(30),  # ccxt allows 66, for accounts of every level
    "deribit": _careful(5),
    "bingx": _careful(5),
    "hyperliquid": _careful(
        5, price=5.0
    ),  # ccxt allows 20; but a list, and that of all prices too, takes 20 of 1,200 a minute
}

# krakenfutures: ccxt spaces requests by 0.6 s; woo: a stop counts 5 times 0.1 s there.
_SLOWEST: Final = Limits(windows={"requests": Window(16, 10, burst=5)}, costs={}, other={"requests": 1.0})


def limits_of(venue: str) -> Limits:
    """A venue's limits; where nothing is known of them, the slowest of all: 16 requests in any 10 seconds."""
    return _LIMITS.get(venue, _SLOWEST)
