"""Gate may list stops without their client order ids: none of ours is placed twice for that."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
from captured import Capture, open_capture

from trailing import ExchangeUnreachable, OutcomeUnknown, PartialList, StopOrder, StopRejected, StopRequest
from trailing.exchanges.ccxt.unnamed_stops import UnnamedStops
from trailing.exchanges.ccxt.venues import VENUES

OURS, OTHER = "tr0123456789abcdef0123", "tr00000000000000000001"


class Gate:
    """Answers as Gate does. `text`: what it lists as the client order id of stop number 7."""

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.reply: Any = {"id": 7}
        self.listed: list[dict[str, Any]] = []

    def __call__(self, url: str) -> object:
        return self.listed if "?" in url else self.reply

    def lists(self, number: int, text: str | None, price: str = "49000.5") -> None:
        """List a stop that closes 0.03 BTC of a long position."""
        initial = {"contract": "BTC_USDT", "size": -3, "price": "0", "tif": "ioc", "text": text, "is_reduce_only": True}
        trigger = {"strategy_type": 0, "price_type": 1, "price": price, "rule": 2, "expiration": 0}
        entry = {"id": number, "user": 1, "status": "open", "finish_as": "", "reason": "", "create_time": 1546569968}
        self.listed.append({**entry, "initial": initial, "trigger": trigger, "order_type": "plan-close-long-position"})


def request(own_id: str = OURS) -> StopRequest:
    return StopRequest("BTC/USDT:USDT", "long", D("0.03"), D("49000.5"), own_id, "mark")


async def ids(capture: Capture) -> list[tuple[str, str]]:
    return [(stop.order_id, stop.client_order_id) for stop in await capture.exchange.open_stops()]


async def test_a_stop_that_is_listed_with_its_id_is_ours() -> None:
    gate = Gate(f"t-{OURS}")
    async with open_capture("gate", gate) as capture:
        placed = await capture.exchange.place_stop(request())
        gate.lists(7, f"t-{OURS}")
        gate.lists(8, "api")
        assert await ids(capture) == [("8", "api"), ("7", OURS)]
        assert await capture.exchange.find_stop(placed.symbol, OURS) == placed
        await capture.exchange.place_stop(request(OTHER))


@pytest.mark.parametrize("text", [None, "", "api", "web", "t-theirs"])
async def test_a_stop_that_is_listed_without_its_id_is_ours_and_no_further_stop_is_placed(text: str | None) -> None:
    gate = Gate(text)
    async with open_capture("gate", gate) as capture:
        placed = await capture.exchange.place_stop(request())
        gate.lists(7, text)
        gate.lists(8, text)  # of the same figures, and foreign
        assert ("7", OURS) in await ids(capture)
        assert await capture.exchange.find_stop(placed.symbol, OURS) == placed
        sent = len(capture.sent)
        with pytest.raises(StopRejected, match=f"without their client order ids .order 7 is {OURS}"):
            await capture.exchange.place_stop(request(OTHER))
        assert len(capture.sent) == sent


async def test_a_stop_of_unknown_outcome_is_not_absent_while_a_stop_of_its_figures_is_listed_without_an_id() -> None:
    gate = Gate("api")
    async with open_capture("gate", gate) as capture:
        gate.reply = "<html>"
        with pytest.raises(OutcomeUnknown):
            await capture.exchange.place_stop(request())
        gate.lists(7, "api")
        gate.lists(8, "api", price="48000")
        with pytest.raises(ExchangeUnreachable, match=f"the price and quantity of {OURS}, whose outcome is unknown"):
            await capture.exchange.find_stop("BTC/USDT:USDT", OURS)
        stops = await capture.exchange.open_stops()
        assert isinstance(stops, PartialList)
        assert [stop.order_id for stop in stops] == ["8"]
        gate.listed.pop(0)
        assert await capture.exchange.find_stop("BTC/USDT:USDT", OURS) is None
        assert not isinstance(await capture.exchange.open_stops(), PartialList)


def stop(order_id: str, client_order_id: str) -> StopOrder:
    return StopOrder("BTC/USDT:USDT", "long", D("0.03"), D("49000.5"), client_order_id, order_id, "mark")


def test_a_rejected_stop_leaves_no_foreign_stop_in_doubt() -> None:
    unnamed = UnnamedStops(VENUES["gate"])
    with pytest.raises(StopRejected), unnamed.placing(request(), D("49000.5")):
        raise StopRejected("no")
    assert unnamed.named(stop("9", "api")) == stop("9", "api")


def test_an_id_of_ours_from_before_a_restart_is_no_proof_and_one_of_now_is() -> None:
    unnamed = UnnamedStops(VENUES["gate"])
    with unnamed.placing(request(), D("49000.5")):
        pass
    unnamed.note_acknowledged(stop("7", OURS))
    assert unnamed.named(stop("6", OTHER)) == stop("6", OTHER)
    assert unnamed.named(stop("7", "api")) == stop("7", OURS)


def test_the_number_of_remembered_stops_is_limited() -> None:
    unnamed = UnnamedStops(VENUES["gate"])
    for number in range(501):
        own_id = f"tr{number:020x}"
        with unnamed.placing(request(own_id), D("49000.5")):
            pass
        unnamed.note_acknowledged(stop(str(number), own_id))
    assert unnamed.named(stop("0", "api")).client_order_id == "api"
    assert unnamed.named(stop("500", "api")).client_order_id == f"tr{500:020x}"


def test_other_venues_are_not_watched() -> None:
    unnamed = UnnamedStops(VENUES["bybit"])
    with unnamed.placing(request(), D("49000.5")):
        pass
    assert unnamed.named(stop("7", "")) == stop("7", "")
