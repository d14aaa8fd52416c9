"""Values that are hard to store: eighteen decimals, huge sizes, the last microsecond of a month, quotes and umlauts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from trailing.core.model import Candle, Position, Side, StopOrder
from trailing.core.record import StopRecord
from trailing.events import Alarm
from trailing.stores.port import Intent

MOMENT = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
TINY = Decimal("0.000000123456789012")
HUGE = Decimal("987654321098.765432109876543210")


def sample_alarm(number: int) -> Alarm:
    """Return an event with a number, as many microseconds later than `MOMENT`."""
    return Alarm(at=MOMENT + timedelta(microseconds=number), what="check", detail=str(number))


def sample_intent(
    client_order_id: str,
    exchange: str = "testex",
    account: str = "main",
    *,
    purpose: Literal["stop", "exit"] = "stop",
    price: Decimal | None = TINY,
) -> Intent:
    """Return an intent with every field filled in."""
    return Intent(
        exchange=exchange,
        account=account,
        symbol="AAA/USDT:USDT",
        side="long",
        identity='the bot\'s "größte" 停',
        client_order_id=client_order_id,
        purpose=purpose,
        quantity=HUGE,
        price=price,
        at=MOMENT,
    )


def sample_record(
    symbol: str, *, side: Side = "long", identity: str | None = None, opened_at: datetime = MOMENT
) -> StopRecord:
    """Return a record with every field filled in. `identity` is the position's `id`."""
    return StopRecord(
        position=Position(symbol, side, HUGE, TINY, opened_at, stop_price=TINY / 2, id=identity),
        plan={"rules": [{"type": "Callback", "distance": {"percent": "0.5"}, "activation": None}], "trigger": "mark"},
        state="trailing",
        quantity=HUGE,
        best=TINY * 3,
        last=TINY * 2,
        suspect=TINY,
        target=TINY,
        orders=(
            StopOrder(symbol, side, HUGE, TINY, "t1", "№ 1", "mark"),
            StopOrder(symbol, side, TINY, HUGE, "t2", "№ 2", "mark"),
        ),
        seconds_since_move=12.345678,
        unacknowledged_fills={"t3": TINY},
        candles=(Candle(symbol, opened_at, 60.0, TINY, TINY * 2, TINY / 2, TINY, "mark"),),
        foreign_ticks=3,
    )
