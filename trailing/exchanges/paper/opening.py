"""The door to the paper exchange: what can be set, and what it must look like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import trio

from trailing.core.model import CallbackRange, Market, Percent, check_seconds, check_utc, refuse
from trailing.errors import UsageError
from trailing.exchanges.paper.candles import CandleSeries
from trailing.exchanges.paper.exchange import PaperExchange
from trailing.exchanges.paper.limits import PaperLimiter, RateLimit
from trailing.exchanges.paper.places import BookRules, PartialFills
from trailing.exchanges.paper.requests import Booking, Latency, LatencyFunction, Requests
from trailing.services import open_service_nursery

_CALLBACKS = CallbackRange(Percent("0.1"), Percent(10), Percent("0.1"))


@asynccontextmanager
async def open_paper(
    *,
    latency: float | LatencyFunction = 0.0,
    markets: Iterable[Market] | Mapping[str, Market] | None = None,
    can_amend: bool = False,
    two_stops: bool = True,
    native_callbacks: CallbackRange | None = _CALLBACKS,
    hedged: bool = False,
    seed: int = 0,
    account: str = "default",
    jitter: float = 0.0,
    orders_read_lag: float = 0.0,
    positions_read_lag: float = 0.0,
    request_validity: float = 3.0,
    rate_limit: RateLimit | None = None,
    partial_fills: PartialFills | None = None,
    leverage: int | Decimal | None = None,
    cancel_on_flat: bool = False,
    trigger_delay: float = 0.0,
    utc_start: datetime | None = None,
    record: bool | Callable[[Booking], object] = False,
) -> AsyncIterator[PaperExchange]:
    """Open an exchange that lives in this process and matches like a venue.

    Its requests are tasks of its own: they run on until the block has ended, so that a shielded clean-up inside still
    gets its answers.

    Args:
        latency: seconds that a request takes, at least 0, half of them on its way there and half on its way back; or
            a callable ``(operation, symbol) -> seconds``, where `operation` is the port's method name and `symbol` is
            None for lists. `enter`, `feed` and `move_to` take none.
        markets: the rules of some symbols; every other symbol has a permissive market.
        can_amend, two_stops, native_callbacks: of the permissive markets, as in `Market`; the callbacks are Binance's by
            default.
        hedged: a long and a short of one symbol may stand at once.
        seed: of the jitter.
        account: the account's name.
        jitter: up to so many seconds more for each request, at least 0, drawn from `seed`.
        orders_read_lag: seconds, at least 0: `find_stop` and `open_stops` show the state of so long ago.
        positions_read_lag: seconds, at least 0: `positions` shows the state of so long ago.
        request_validity: seconds above 0: a request that arrives later than that after it was sent (after its turn,
            under a rate limit) is refused.
        rate_limit: a bucket of tokens that all requests share; None: no limit.
        partial_fills: how much of a triggered stop one tick fills: a share of the order, a Decimal above 0 and up to
            1, rounded down to whole steps but at least one; or a callable ``(order, tick) -> quantity``, rounded down
            to whole steps, where `order` holds what is left and 0 fills nothing at this tick. None: all of it.
        leverage: an int or Decimal of at least 1: positions are isolated, and liquidated where the loss has eaten
            ``1 / leverage`` of the entry's worth: at ``entry * (1 - 1/leverage)`` for a long, ``entry * (1 +
            1/leverage)`` for a short. None: no liquidation.
        cancel_on_flat: the exchange cancels a position's stops when it goes flat. Many venues leave them standing
            until they trigger and find nothing to reduce; so does this one by default.
        trigger_delay: seconds, at least 0, from a stop's trigger until it can be filled. Its first fill is at the first price of
            its source that comes then; until it is filled, lists and look-ups show it as `triggered`. A position that goes flat
            in the meantime takes it off the book. 0: it fills at the price that triggers it.
        utc_start: the UTC time of this moment, for candles, where a replay's time is not the wall's. None: now.
        record: keep every booking in `PaperExchange.log`, which then grows without end; or a callable that gets each
            when it was made, and must not call back.

    Raises:
        UsageError: naming the field, what it got and what it wants.
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
    if type(seed) is not int:
        raise refuse("seed", seed, "a whole number")
    if not isinstance(account, str) or not account:
        raise refuse("account", account, "a text that is not empty")
    if rate_limit is not None and not isinstance(rate_limit, RateLimit):
        raise refuse("rate_limit", rate_limit, "a RateLimit or None")
    if utc_start is not None:
        check_utc("utc_start", utc_start)
    rules = BookRules(
        markets=_by_symbol(markets),
        can_amend=can_amend,
        two_stops=two_stops,
        native_callbacks=native_callbacks,
        hedged=hedged,
        leverage=_checked_leverage(leverage),
        partial_fills=_checked_partial_fills(partial_fills),
        cancel_on_flat=cancel_on_flat,
        trigger_delay=trigger_delay,
        orders_read_lag=orders_read_lag,
        positions_read_lag=positions_read_lag,
    )
    log: list[Booking] = []
    on_booking = record if callable(record) else log.append if record else None
    async with open_service_nursery() as services:
        limiter = None if rate_limit is None else PaperLimiter(rate_limit)
        exchange = PaperExchange(
            account=account,
            rules=rules,
            requests=Requests(services, Latency(latency, jitter, seed), limiter, request_validity, record=on_booking),
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
            raise UsageError(f"markets got {market.symbol!r} under {symbol!r}")
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


def _checked_partial_fills(partial_fills: Any) -> PartialFills | None:
    if partial_fills is None or callable(partial_fills):
        return partial_fills  # type: ignore[no-any-return]
    if not isinstance(partial_fills, Decimal) or not partial_fills.is_finite() or not 0 < partial_fills <= 1:
        raise refuse("partial_fills", partial_fills, "a Decimal above 0 and up to 1, a callable, or None")
    return partial_fills
