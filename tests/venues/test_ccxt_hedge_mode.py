"""In hedge mode, Binance's ACCOUNT_UPDATE also has the entry of one-way mode (`ps` BOTH), which is always empty.

The documented frame has BOTH 0, LONG 20 and SHORT -10 of one symbol; a recorded one has BOTH 0 and LONG 2684 only. The entry BOTH
says nothing about the two positions, so it must not tell that they are flat.
"""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
import trio
from real_exchange import BTC, open_desk
from venue_faults import Fault, json_reply

import trailing
from trailing import Percent, TrailPlan
from trailing.exchanges.port import PositionUpdate, StreamState

PLAN = TrailPlan(initial_stop=Percent(2), trigger="last")


def frame(*entries: tuple[str, str]) -> dict[str, Any]:
    rest = {"s": "BTCUSDT", "ep": "1000", "cr": "0", "up": "0", "mt": "cross", "iw": "0", "ma": "USDT", "bep": "1000"}
    rows = [{**rest, "ps": leg, "pa": contracts} for leg, contracts in entries]
    return {"e": "ACCOUNT_UPDATE", "E": 1, "T": 1, "a": {"m": "ORDER", "B": [], "P": rows}}


BOTH_AND_LONG = frame(("BOTH", "0"), ("LONG", "0.8"))


def push(desk: Any, message: object) -> None:
    for socket in desk.server.sockets.open:
        if "listenKey" in socket.query:
            socket.send(message)


async def test_no_open_leg_is_reported_flat() -> None:
    async with open_desk("binanceusdm", hedged=True) as desk, desk.exchange.updates() as updates:
        with trio.fail_after(5):
            async for update in updates:
                if isinstance(update, StreamState) and update.connected:
                    break
        push(desk, BOTH_AND_LONG)
        told = []
        with trio.move_on_after(0.5):
            async for update in updates:
                told += [(update.side, update.quantity)] if isinstance(update, PositionUpdate) else []
        assert told == [("long", D("0.8"))]


@pytest.mark.parametrize("message", [frame(("LONG", "0.8")), BOTH_AND_LONG], ids=["long only", "both and long"])
async def test_one_empty_list_cancels_no_stop(message: Any) -> None:
    async with open_desk("binanceusdm", hedged=True) as desk:
        await desk.enter()
        for source in ("last", "mark", "index"):
            await desk.server.move_price(BTC, D(1000), source)
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, PLAN) as manager,
        ):
            await manager.adopt_all(deadline=10)
            assert len(desk.stops_there()) == 1
            await trio.sleep(2)
            # A list of positions that is empty for a moment, as Binance has them right after a fill.
            desk.server.faults.add(Fault(on="positions", when=lambda count: count <= 1, reply=json_reply([])))
            push(desk, message)
            live = []
            for _ in range(60):
                await trio.sleep(0.1)
                live.append(len(desk.stops_there()))
            assert min(live) == 1, "the stop of an open position was cancelled"
