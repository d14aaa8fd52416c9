"""OKX's frames of entry orders, in the form of https://www.okx.com/docs-v5/en/#order-book-trading-trade-ws-order-channel."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest

from trailing import EntryOrder, EntryUpdate, OrderUpdate
from trailing.core.model import Side
from trailing.exchanges.ccxt.okx_protocol import OkxProtocol
from trailing.exchanges.ccxt.stream_protocol import Instrument, Message, parse_frame
from trailing.exchanges.ccxt.unreadable import Unreadable

BTC, SWAP, OURS = "BTC/USDT:USDT", "BTC-USDT-SWAP", "tr0123456789abcdef0123"
MS = 1_790_000_000_000


class NoSession:
    client: Any = None


def read(protocol: OkxProtocol | None = None, **changes: Any) -> list[Message]:
    """Return what is read in a frame about an entry of 3 contracts, which carries a stop."""
    order: dict[str, Any] = {
        "instType": "SWAP",
        "instId": SWAP,
        "ordId": "55",
        "clOrdId": OURS,
        "algoId": "",
        "algoClOrdId": "",
        "attachAlgoOrds": [{"attachAlgoClOrdId": "tr0123456789abcdef0124", "attachAlgoId": "77", "slTriggerPx": "980"}],
        "linkedAlgoOrd": {"algoId": ""},
        "ordType": "limit",
        "px": "990",
        "sz": "3",
        "side": "buy",
        "posSide": "net",
        "reduceOnly": "false",
        "state": "live",
        "fillSz": "0",
        "fillPx": "",
        "fillTime": "",
        "tradeId": "",
        "accFillSz": "0",
        "avgPx": "0",
        "category": "normal",
        "cancelSource": "",
        "source": "",
    }
    frame = {"arg": {"channel": "orders", "instType": "ANY", "uid": "7"}, "data": [{**order, **changes}]}
    protocol = protocol or OkxProtocol(NoSession(), [Instrument(BTC, SWAP, D("0.01"))])  # type: ignore[arg-type]
    return list(parse_frame(protocol, json.dumps(frame), 7.0))


def entry(
    filled: str = "0",
    average: str | None = None,
    *,
    ended: bool = False,
    timed: bool = False,
    limit: str | None = "990",
    side: Side = "long",
    reason: str = "",
) -> EntryUpdate:
    at = datetime.fromtimestamp(MS / 1000, UTC) if timed else None
    price, worst = (None if each is None else D(each) for each in (average, limit))
    ids = (OURS, "55")
    return EntryUpdate(
        EntryOrder(BTC, side, D("0.03"), *ids, not ended, D(filled), price, at, limit=worst, reason=reason), 7.0
    )


FIRST = {"state": "partially_filled", "fillSz": "1", "accFillSz": "1", "fillPx": "990", "avgPx": "990", "tradeId": "9"}
LATER = {**FIRST, "accFillSz": "2", "avgPx": "989.5", "tradeId": "10"}
AT_MARKET = {"ordType": "market", "px": ""}


@pytest.mark.parametrize(
    ("changes", "update"),
    [
        ({}, entry()),
        (AT_MARKET, entry(limit=None)),
        ({**FIRST, "fillTime": str(MS)}, entry("0.01", "990", timed=True)),
        ({**LATER, "fillTime": str(MS)}, entry("0.02", "989.5")),
        (
            {**FIRST, **AT_MARKET, "state": "filled", "fillSz": "3", "accFillSz": "3", "fillTime": str(MS)},
            entry("0.03", "990", ended=True, timed=True, limit=None),
        ),
        ({"state": "canceled", "cancelSource": "1"}, entry(ended=True)),
        (
            {"state": "canceled", "accFillSz": "1", "avgPx": "990", "cancelSource": "14"},
            entry("0.01", "990", ended=True, reason="cancelSource 14 IOC, the rest was not filled"),
        ),
        ({"side": "sell", "posSide": "short"}, entry(side="short")),
    ],
)
def test_a_frame_about_an_entry_has_exactly_this_update(changes: dict[str, Any], update: EntryUpdate) -> None:
    assert read(**changes) == [update]


def test_the_time_of_the_first_fill_stays_in_later_updates() -> None:
    protocol = OkxProtocol(NoSession(), [Instrument(BTC, SWAP, D("0.01"))])  # type: ignore[arg-type]
    read(protocol, **FIRST, fillTime=str(MS))
    assert read(protocol, **LATER, fillTime=str(MS + 50)) == [entry("0.02", "989.5", timed=True)]
    assert read(protocol, **LATER, fillTime=str(MS + 50)) == [entry("0.02", "989.5", timed=True)]


@pytest.mark.parametrize(
    "changes", [{"reduceOnly": "true"}, {"side": "sell", "posSide": "long"}, {"clOrdId": "theirs"}, {"category": "adl"}]
)
def test_an_order_that_closes_or_is_foreign_is_no_entry(changes: dict[str, Any]) -> None:
    (update,) = read(**changes)
    assert isinstance(update, OrderUpdate)


@pytest.mark.parametrize("changes", [{"state": "of the future"}, {"sz": "x"}, {"accFillSz": "4", "avgPx": "990"}])
def test_an_entry_that_can_not_be_parsed_costs_no_connection(changes: dict[str, Any]) -> None:
    (update,) = read(**changes)
    assert isinstance(update, Unreadable)
