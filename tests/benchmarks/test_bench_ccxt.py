"""What the adapter adds to a call of ccxt's through trio-asyncio, over loopback, without latency and rate limits."""

from __future__ import annotations

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

CALLS, ROUNDS = 50, 5
UNLIMITED: dict[str, dict[str, Any]] = {
    "binanceusdm": {"weight_limit": 10**9, "order_limits": (10**9, 10**9)},
    "bybit": {"order_limit": 10**9},
    "okx": {"order_limit": 10**9},
}


async def timed(place: Callable[[str], Awaitable[Any]], name: str) -> float:
    """Seconds for each of some calls, one after the other."""
    started = time.perf_counter()
    for number in range(CALLS):
        await place(f"{name}x{number}")
    return (time.perf_counter() - started) / CALLS


async def compare(venue: str, bare_params: dict[str, Any]) -> tuple[float, float]:
    """The best round of bare calls, and of the adapter's, taken in turns."""
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

        pairs = [(await timed(bare, f"b{turn}"), await timed(ours, f"o{turn}")) for turn in range(ROUNDS)]
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)


def test_what_a_placed_stop_costs_beside_a_bare_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "limits_of", lambda _: Limits(windows={}, costs={}, other={}))
    with report(f"a stop placed over loopback, server included: best of {ROUNDS} x {CALLS}") as figures:
        for venue, params in (
            ("binanceusdm", {"workingType": "CONTRACT_PRICE"}),
            ("bybit", {"triggerBy": "LastPrice"}),
            ("okx", {"slTriggerPxType": "last", "marginMode": "cross"}),
        ):
            bare, ours = trio.run(compare, venue, params)
            figures.add(f"{venue}: ccxt through trio-asyncio", f"{bare * 1e3:.2f} ms")
            figures.add(f"{venue}: place_stop", f"{ours * 1e3:.2f} ms")
            figures.add("… beside the bare call", f"{ours / bare:.2f} x", "at most 1.5 x")
    assert Decimal(ours) > 0
