"""What the adapter adds to a call of ccxt's through trio-asyncio, over loopback, without latency and rate limits."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from figures import report
from inspection.ccxt_exchange import run_in_loop

from trailing.exchanges.ccxt import connecting
from trailing.exchanges.ccxt.limits import Limits

sys.path.insert(0, str(Path(__file__).parent.parent / "venues"))
from real_exchange import BTC, open_desk, stop_request

CALLS, WARM_UP = 250, 20  # Bybit lets an address send 600 in 5 s
UNLIMITED: dict[str, dict[str, Any]] = {
    "binanceusdm": {"weight_limit": 10**9, "order_limits": (10**9, 10**9)},
    "bybit": {"order_limit": 10**9},
    "okx": {"order_limit": 10**9},
}


async def timed(call: Awaitable[Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    await call
    return time.perf_counter() - started


async def compare(venue: str, bare_params: dict[str, Any]) -> tuple[float, float]:
    """Return the tenth percentile of bare calls, and of the adapter's: the calls that the rest of the machine disturbed least.

    A bare call and one of the adapter's are made in turns, so that both meet the same load of the machine. Which of the two is
    first alternates.
    """
    free = UNLIMITED[venue]
    async with open_desk(venue, most_stops=10**6, **free) as desk:
        await desk.enter()
        client = desk.exchange.session.client

        async def bare(client_order_id: str) -> None:
            params = {"stopLossPrice": "980", "reduceOnly": True, "clientOrderId": client_order_id, **bare_params}
            contracts = str(Decimal("0.8") / Decimal(str(client.market(BTC)["contractSize"])))
            create = client.create_order(BTC, "market", "sell", contracts, None, params)
            await run_in_loop(desk.exchange, create)

        async def ours(client_order_id: str) -> None:
            await desk.exchange.place_stop(stop_request(client_order_id))

        seconds: dict[Callable[[str], Awaitable[Any]], list[float]] = {bare: [], ours: []}
        for turn in range(WARM_UP + CALLS):
            for place in (bare, ours) if turn % 2 else (ours, bare):
                seconds[place].append(await timed(place(f"{place.__name__}x{turn}")))
    fastest = {place: statistics.quantiles(each[WARM_UP:], n=10)[0] for place, each in seconds.items()}
    return fastest[bare], fastest[ours]


def test_what_a_placed_stop_costs_beside_a_bare_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "limits_of", lambda _: Limits(windows={}, costs={}, other={}))
    with report(f"a stop placed over loopback, server included: fastest tenth of {CALLS}") as figures:
        for venue, params in (
            ("binanceusdm", {"workingType": "CONTRACT_PRICE"}),
            ("bybit", {"triggerBy": "LastPrice"}),
            ("okx", {"slTriggerPxType": "last", "marginMode": "cross"}),
        ):
            bare, ours = trio.run(compare, venue, params)
            figures.add(f"{venue}: ccxt through trio-asyncio", f"{bare * 1e3:.2f} ms")
            figures.add(f"{venue}: place_stop", f"{ours * 1e3:.2f} ms")
            figures.add("… beside the bare call", f"{ours / bare:.2f} x", "at most 1.3 x")
    assert Decimal(ours) > 0
