"""A report shows entries: their slippage, and those that were never filled."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import trio

from trailing import open_store
from trailing.events import EntryEnded, EntryFilled, EntryPlaced, Event, PositionClosed, StopOpened
from trailing.stores.port import AppendEvent

Run = Callable[..., Any]

D = Decimal
START = datetime(2026, 1, 1, tzinfo=UTC)
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


def at(seconds: float, symbol: str) -> dict[str, Any]:
    return {"at": START + timedelta(seconds=seconds), "symbol": symbol, "side": "long"}


def placed(seconds: float, symbol: str) -> EntryPlaced:
    return EntryPlaced(**at(seconds, symbol), quantity=D(2), limit=D(101), client_order_id="e")


def ended(seconds: float, symbol: str, filled: str, slippage: str | None) -> EntryEnded:
    price = None if slippage is None else D(101)
    worse = None if slippage is None else D(slippage)
    return EntryEnded(
        **at(seconds, symbol),
        filled=D(filled),
        unfilled=2 - D(filled),
        price=price,
        slippage=worse,
        reason="",
        client_order_id="e",
    )


EVENTS: list[Event] = [
    placed(0, BTC),
    EntryFilled(**at(1, BTC), quantity=D("1.5"), price=D(101), unfilled=D("0.5"), client_order_id="e"),
    ended(2, BTC, "1.5", "1.0"),
    StopOpened(**at(3, BTC), quantity=D("1.5"), price=D(98), client_order_id="s", unprotected_seconds=2.0),
    PositionClosed(
        **at(9, BTC),
        entry_price=D(101),
        quantity=D("1.5"),
        profit=D(3),
        moves=0,
        unprotected_seconds=2.0,
        reason="filled",
    ),
    placed(10, BTC),
    placed(11, ETH),
    ended(12, ETH, "0", None),
]


def test_a_report_shows_slippage_and_entries_that_were_never_filled(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"

    async def write() -> None:
        async with open_store(url) as store:
            await store.commit([AppendEvent("paper", "default", event) for event in EVENTS])

    trio.run(write)
    (account,) = json.loads(run("report", "--store", url, "--json").out)["accounts"]
    rows = [
        (row["symbol"], row["state"], row["quantity"], row["slippage"], row["opened_at"])
        for row in account["report"]["positions"]
    ]
    assert sorted(rows, key=str) == [
        (BTC, "closed", "1.5", "1.0", "2026-01-01T00:00:01Z"),
        (BTC, "entering", "2", None, None),
        (ETH, "not entered", "0", None, None),
    ]
    totals = account["report"]["totals"]
    assert (totals["closed"], totals["not_entered"], totals["open"]) == (1, 1, 1)
    text = run("report", "--store", url).out
    assert "1.00%" in text
    assert "1 closed, 1 not entered" in text
