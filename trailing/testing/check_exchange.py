"""The conformance test that every exchange must pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import get_args

import trio

from trailing.core.model import Side
from trailing.testing.exchange_entry_checks import ENTRY_CHECKS
from trailing.testing.exchange_market_checks import MARKET_CHECKS
from trailing.testing.exchange_order_checks import ORDER_CHECKS
from trailing.testing.exchange_order_read_checks import ORDER_READ_CHECKS
from trailing.testing.exchange_trailing_checks import TRAILING_CHECKS
from trailing.testing.exchange_trial import Check, ExchangeUnderTest, Trial

_SIDES: tuple[Side, ...] = get_args(Side)


async def check_exchange(
    maker: Callable[[], AbstractAsyncContextManager[ExchangeUnderTest]],
    *,
    symbols: tuple[str, str] = ("BTC/USDT:USDT", "ETH/USDT:USDT"),
    seconds: float = 120.0,
) -> None:
    """Check that an exchange keeps the contract of `trailing.exchanges.port.Exchange`.

    The checks place, list, find, move and cancel stops. They cover refusals and their errors, cancelled callers, triggers,
    fills and closing, the exchange's own trailing orders if it has them, and prices and ticks of the right source and
    symbol, the reads of open orders and executions, and entry orders and their settings if it can place them. Every check runs for a long and for a short, each on a new exchange. A write must be visible
    `orders_read_lag`, or `positions_read_lag`, later, so that an exchange that understates one of them fails.

    Args:
        maker: opens an exchange with an empty account, and methods that act on its market.
        symbols: two different symbols that the exchange has, in unified form.
        seconds: how long a check may take on the running clock.

    Raises:
        AssertionError: naming the first check that fails, the side, and what happened instead.

    Cancellation: ends the present check.
    """
    for check in (*ORDER_CHECKS, *MARKET_CHECKS, *ORDER_READ_CHECKS, *TRAILING_CHECKS, *ENTRY_CHECKS):
        for side in _SIDES:
            async with maker() as bench:
                await _run(check, Trial(bench, *symbols, side), seconds)


async def _run(check: Check, trial: Trial, seconds: float) -> None:
    name = f"{check.__name__.replace('_', ' ')} ({trial.side})"
    try:
        with trio.fail_after(seconds):
            await check(trial)
    except trio.TooSlowError as error:
        raise AssertionError(f"{name}: it takes longer than {seconds} s") from error
    except Exception as error:
        raise AssertionError(f"{name}: {error if isinstance(error, AssertionError) else repr(error)}") from error
