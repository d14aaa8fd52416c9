"""Opens the paper exchange, and checks its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import trio

from trailing.core.entry_orders import AttachedStopKind
from trailing.core.model import CallbackRange, Market, Percent, check_seconds, check_utc, refuse
from trailing.errors import UsageError
from trailing.exchanges.paper.candles import CandleSeries
from trailing.exchanges.paper.exchange import PaperExchange
from trailing.exchanges.paper.limits import PaperLimiter, RateLimit
from trailing.exchanges.paper.market_book import EntryFills, PartialFills, VenueRules
from trailing.exchanges.paper.transport import Latency, LatencyFunction, LogEntry, Transport
from trailing.services import open_service_nursery

T = TypeVar("T")

CALLBACKS = CallbackRange(Percent("0.1"), Percent(10), Percent("0.1"))


@asynccontextmanager
async def open_paper(
    *,
    latency: float | LatencyFunction = 0.0,
    markets: Iterable[Market] | Mapping[str, Market] | None = None,
    can_amend: bool = False,
    two_stops: bool = True,
    native_callbacks: CallbackRange | None = CALLBACKS,
    most_stops: int | None = None,
    attached_stop: AttachedStopKind | None = None,
    hedged: bool = False,
    seed: int = 0,
    account: str = "default",
    jitter: float = 0.0,
    orders_read_lag: float = 0.0,
    positions_read_lag: float = 0.0,
    request_validity: float = 3.0,
    rate_limit: RateLimit | None = None,
    partial_fills: PartialFills | None = None,
    partial_entries: EntryFills | None = None,
    leverage: int | Decimal | None = None,
    cancel_on_flat: bool = False,
    trigger_delay: float = 0.0,
    utc_start: datetime | None = None,
    record: bool | Callable[[LogEntry], object] = False,
) -> AsyncIterator[PaperExchange]:
    """Open an exchange that runs in this process and matches orders like a venue.

    Requests are tasks of the exchange. They continue until the block has ended, so that a shielded clean-up in the block
    receives its replies.

    Args:
        latency: the round trip of a request in seconds, at least 0, one half of it before the request is executed; or a
            callable ``(operation, symbol) -> seconds``, with the port's method name, and None as the symbol of lists.
            `enter`, `feed` and `move_to` have no latency.
        markets: the rules of some symbols. Every other symbol has a permissive market.
        can_amend, two_stops, native_callbacks, most_stops, attached_stop: of the permissive markets, as in `Market`. The default
            callbacks are Binance's.
        hedged: a long and a short position of one symbol may be open at the same time.
        seed: of the jitter.
        account: the account's name.
        jitter: the most additional seconds of each request, at least 0, drawn from `seed`.
        orders_read_lag: seconds, at least 0: `find_stop` and `open_stops` show the state of that time ago.
        positions_read_lag: seconds, at least 0: `positions` shows the state of that time ago.
        request_validity: seconds, above 0: a request that arrives later than this after it was sent (after the wait for a
            rate limit) is rejected.
        rate_limit: a token bucket that all requests share; None: no limit.
        partial_fills: how much of a triggered stop one tick fills: a share of the order, a Decimal above 0 and up to 1,
            rounded down to whole steps but at least one; or a callable ``(order, tick) -> quantity``, rounded down to
            whole steps, where `order` has the quantity that is not filled, and 0 fills nothing at this tick. None: all.
        partial_entries: how much of an entry one last price fills: a share of the order, as for `partial_fills`; or a callable
            ``(order, price) -> quantity``, rounded down to whole steps, where 0 fills nothing at this price. None: all.
        leverage: an int or Decimal of at least 1: positions are isolated, and liquidated when the loss reaches
            ``1 / leverage`` of the entry's notional: at ``entry * (1 - 1/leverage)`` for a long, ``entry * (1 +
            1/leverage)`` for a short. None: no liquidation.
        cancel_on_flat: the exchange cancels a position's stops when it is flat. By default they stay live until they
            trigger and find no position, as on many venues.
        trigger_delay: seconds, at least 0, from a stop's trigger until it can be filled. It then fills at the next price of
            its source. Until it is filled, lists and look-ups show it as `triggered`. If the position is flat before, the
            stop is cancelled. 0: it fills at the price that triggers it.
        utc_start: the UTC time of this moment, for candles of a replay; None: now.
        record: True: keep each request and fill in `PaperExchange.log`, which then grows without limit; or a callable that
            gets each `LogEntry` at once. It must not call the exchange.

    Raises:
        UsageError: the message names the field, the value, and what is accepted.

    Cancellation: of the surrounding scope ends the requests when the block has ended.
    """
    if not callable(latency):
        check_seconds("latency", latency)
    check_seconds("jitter", jitter)
    check_seconds("orders_read_lag", orders_read_lag)
    check_seconds("positions_read_lag", positions_read_lag)
    check_seconds("trigger_delay", trigger_delay)
    check_seconds("request_validity", request_validity, zero=False)
    for field, flag in (
        ("can_amend", can_amend),
        ("two_stops", two_stops),
        ("hedged", hedged),
        ("cancel_on_flat", cancel_on_flat),
    ):
        if type(flag) is not bool:
            raise refuse(field, flag, "True or False")
    if not callable(record) and type(record) is not bool:
        raise refuse("record", record, "True, False or a callable")
    if native_callbacks is not None and not isinstance(native_callbacks, CallbackRange):
        raise refuse("native_callbacks", native_callbacks, "a CallbackRange or None")
    if most_stops is not None and (type(most_stops) is not int or most_stops < 1):
        raise refuse("most_stops", most_stops, "a whole number of at least 1, or None")
    if attached_stop not in {None, "own", "bridge"}:
        raise refuse("attached_stop", attached_stop, "'own', 'bridge' or None")
    if type(seed) is not int:
        raise refuse("seed", seed, "a whole number")
    if not isinstance(account, str) or not account:
        raise refuse("account", account, "a text that is not empty")
    if rate_limit is not None and not isinstance(rate_limit, RateLimit):
        raise refuse("rate_limit", rate_limit, "a RateLimit or None")
    if utc_start is not None:
        check_utc("utc_start", utc_start)
    rules = VenueRules(
        markets=_by_symbol(markets),
        can_amend=can_amend,
        two_stops=two_stops,
        native_callbacks=native_callbacks,
        most_stops=most_stops,
        attached_stop=attached_stop,
        hedged=hedged,
        leverage=_checked_leverage(leverage),
        partial_fills=_checked_share("partial_fills", partial_fills),
        partial_entries=_checked_share("partial_entries", partial_entries),
        cancel_on_flat=cancel_on_flat,
        trigger_delay=trigger_delay,
        orders_read_lag=orders_read_lag,
        positions_read_lag=positions_read_lag,
    )
    log: list[LogEntry] = []
    on_entry = record if callable(record) else log.append if record else None
    async with open_service_nursery() as services:
        limiter = None if rate_limit is None else PaperLimiter(rate_limit)
        exchange = PaperExchange(
            account=account,
            rules=rules,
            transport=Transport(services, Latency(latency, jitter, seed), limiter, request_validity, record=on_entry),
            limiter=limiter,
            candles=CandleSeries(datetime.now(UTC) if utc_start is None else utc_start, trio.current_time()),
            request_validity=request_validity,
            log=log,
        )
        try:
            yield exchange
        finally:
            exchange.end()


def _by_symbol(markets: Any) -> dict[str, Market]:
    if markets is None:
        return {}
    if not isinstance(markets, Iterable) or isinstance(markets, str):
        raise refuse("markets", markets, "Market values, or a mapping from symbol to Market")
    pairs = markets.items() if isinstance(markets, Mapping) else ((None, market) for market in markets)
    by_symbol: dict[str, Market] = {}
    for symbol, market in pairs:
        if not isinstance(market, Market):
            raise refuse("markets", market, "Market values, or a mapping from symbol to Market")
        if symbol not in (None, market.symbol):
            raise UsageError(f"markets got the market {market.symbol!r} under the key {symbol!r}")
        if market.symbol in by_symbol:
            raise UsageError(f"markets got {market.symbol!r} twice")
        by_symbol[market.symbol] = market
    return by_symbol


def _checked_leverage(leverage: Any) -> Decimal | None:
    if leverage is None:
        return None
    number = type(leverage) is int or (isinstance(leverage, Decimal) and leverage.is_finite())
    if not number or leverage < 1:
        raise refuse("leverage", leverage, "an int or a Decimal of at least 1, or None")
    return Decimal(leverage)


def _checked_share(field: str, share: T) -> T:
    """Raise UsageError unless it is a share of an order, a callable, or None."""
    is_share = isinstance(share, Decimal) and share.is_finite() and 0 < share <= 1
    if not is_share and share is not None and not callable(share):
        raise refuse(field, share, "a Decimal above 0 and up to 1, a callable, or None")
    return share
