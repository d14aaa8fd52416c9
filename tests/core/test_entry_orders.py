"""Entry orders: their values are checked when they are built."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from trailing.core.entry_orders import AttachedStop, EntryOrder, EntryRequest, EntrySettings
from trailing.core.model import Market
from trailing.errors import UsageError

BTC = "BTC/USDT:USDT"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
WORKING = EntryOrder(BTC, "long", D(2), "e", "1", is_working=True, filled=D(0))


def test_an_entry_order_says_what_is_not_filled() -> None:
    partly = msgspec.structs.replace(WORKING, filled=D("0.5"), average_price=D(100), first_filled_at=NOON)
    assert (WORKING.unfilled, partly.unfilled) == (D(2), D("1.5"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filled": D(3)}, "at most the quantity, 2"),
        ({"filled": D(1)}, "because a quantity is filled"),
        ({"filled": D(1), "average_price": D(0)}, "EntryOrder.average_price"),
        ({"first_filled_at": NOON.replace(tzinfo=None)}, "EntryOrder.first_filled_at"),
        ({"symbol": "BTC"}, "EntryOrder.symbol"),
        ({"side": "up"}, "EntryOrder.side"),
    ],
)
def test_an_impossible_entry_order_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        msgspec.structs.replace(WORKING, **change)


def test_an_entry_without_a_limit_is_at_market_and_carries_no_stop_by_itself() -> None:
    request = EntryRequest(BTC, "long", D(2), "e")
    assert (request.limit, request.stop) == (None, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit": D(0)}, "EntryRequest.limit"),
        ({"quantity": D(-1)}, "EntryRequest.quantity"),
        ({"client_order_id": ""}, "EntryRequest.client_order_id got '', wants a text that is not empty"),
    ],
)
def test_an_impossible_entry_request_is_refused(change: dict[str, Any], words: str) -> None:
    request = EntryRequest(BTC, "long", D(2), "e", D(99), AttachedStop(D(95), "s", "mark"))
    with pytest.raises(UsageError, match=words):
        msgspec.structs.replace(request, **change)


def test_an_impossible_attached_stop_is_refused() -> None:
    for price, name, source in ((D(0), "s", "last"), (D(1), "", "last"), (D(1), "s", "best")):
        with pytest.raises(UsageError, match="AttachedStop"):
            AttachedStop(price, name, source)  # type: ignore[arg-type]


def test_settings_have_a_leverage_for_each_side() -> None:
    settings = EntrySettings(BTC, hedged=True, margin_mode="isolated", long_leverage=D(5), short_leverage=None)
    assert (settings.leverage("long"), settings.leverage("short")) == (D(5), None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbol": "BTC"}, "EntrySettings.symbol"),
        ({"hedged": None}, "EntrySettings.hedged got None, wants True or False"),
        (
            {"margin_mode": "both"},
            "EntrySettings.margin_mode got 'both', wants one of 'cross', 'isolated', 'portfolio'",
        ),
        ({"long_leverage": D(0)}, "EntrySettings.long_leverage"),
        ({"short_leverage": D(-1)}, "EntrySettings.short_leverage"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        msgspec.structs.replace(EntrySettings(BTC, hedged=False), **change)


def test_a_market_attaches_a_stop_in_a_known_way() -> None:
    assert Market(BTC, attached_stop="bridge").attached_stop == "bridge"
    with pytest.raises(UsageError, match=r"Market.attached_stop got 'both', wants one of 'own', 'bridge'"):
        Market(BTC, attached_stop="both")  # type: ignore[arg-type]
