"""Whatever a venue replies, the outcome is one of our errors or a `PartialList`, in time, and shows no credential."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from itertools import count, islice
from typing import Any

import msgspec
import pytest
import trio
from nonsense import HANGING, NONSENSE, REFUSING, Garble
from real_exchange import BTC, KEYS, VENUES, Desk, NoRateLimit, open_desk, open_server, stop_request
from venue_faults import RawReply, Reply, Request
from venue_server import API_KEY, SECRET, VenueServer

from trailing import ExchangeUnreachable, OutcomeUnknown, PartialList
from trailing.core.model import Fill, StopOrder
from trailing.errors import ExchangeError
from trailing.exchanges.ccxt import open_ccxt
from trailing.exchanges.ccxt.permissions import PERMISSION_READERS

pytestmark = pytest.mark.parametrize("venue", VENUES)

SECONDS = 0.15
"""The time-out of a request here."""

_numbers = count(1)


def new_id() -> str:
    return f"tr{next(_numbers):020x}"


async def placed(desk: Desk) -> StopOrder:
    """Place a stop."""
    return await desk.exchange.place_stop(stop_request(new_id(), quantity="0.001"))


async def nothing(_: Desk) -> None:
    await trio.lowlevel.checkpoint()


async def listed(desk: Desk) -> None:
    """List the positions, whose margin modes OKX's requests need."""
    await desk.exchange.positions()


def since() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=10)


class Operation(msgspec.Struct, frozen=True):
    """An operation: what it needs before, and the call that gets nonsense for a reply."""

    call: Callable[[Desk, Any], Awaitable[Any]]
    before: Callable[[Desk], Awaitable[Any]] = nothing
    changes: bool = False


OPERATIONS: Mapping[str, Operation] = {
    "place_stop": Operation(lambda desk, _: placed(desk), listed, changes=True),
    "amend_stop": Operation(
        lambda desk, order: desk.exchange.amend_stop(order, price=D(981), quantity=order.quantity), placed, changes=True
    ),
    "cancel_stop": Operation(lambda desk, order: desk.exchange.cancel_stop(order), placed, changes=True),
    "close_position": Operation(
        lambda desk, _: desk.exchange.close_position(BTC, "long", D("0.001"), new_id()), listed, changes=True
    ),
    "find_stop": Operation(lambda desk, order: desk.exchange.find_stop(BTC, order.client_order_id), placed),
    "open_stops": Operation(lambda desk, _: desk.exchange.open_stops(), placed),
    "positions": Operation(lambda desk, _: desk.exchange.positions()),
    "price": Operation(lambda desk, _: desk.exchange.price(BTC, "last")),
    "mark price": Operation(lambda desk, _: desk.exchange.price(BTC, "mark")),
    "candles": Operation(lambda desk, _: desk.exchange.candles(BTC, "last", since())),
    "permissions": Operation(lambda desk, _: PERMISSION_READERS[desk.exchange.venue.name](desk.exchange)),
}


@contextmanager
def garbling(server: VenueServer, garble: Garble) -> Iterator[None]:
    """Garble every reply, after the venue has executed the request."""
    face = server.face
    handle = type(face).handle

    def handle_and_garble(request: Request) -> Reply | RawReply:
        return garble(handle(face, request))

    face.handle = handle_and_garble  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del face.handle


def shown(result: Any) -> Any:
    """Return a result without its times."""
    return msgspec.structs.replace(result, at=0.0) if hasattr(result, "at") else result


async def is_right(desk: Desk, operation: str, kind: str, argument: Any, result: Any, right: Any) -> bool:
    """Return whether a call that raised nothing has the right result, or says that it is incomplete."""
    if isinstance(result, PartialList):
        return True
    if isinstance(result, StopOrder) and OPERATIONS[operation].changes:
        found = await desk.exchange.find_stop(BTC, result.client_order_id)
        return found is not None and found.order_id == result.order_id
    if isinstance(result, Fill):
        return (result.quantity, result.price) == (D("0.001"), D(1000))
    if operation == "cancel_stop":
        return argument.client_order_id not in desk.stops_there()
    if (operation, kind) == ("permissions", "every value true"):
        return True  # it says what a key may do
    if operation == "candles":
        return all(candle in right for candle in result)
    return bool(shown(result) == shown(right))


async def outcome(desk: Desk, operation: str, kind: str) -> str:
    """Call with a garbled reply. Return what is wrong with the outcome; "": nothing."""
    each = OPERATIONS[operation]
    client = desk.exchange.session.client
    argument = await each.before(desk)
    right = None if each.changes else await each.call(desk, argument)
    usual, client.timeout = client.timeout, SECONDS * 1000 if kind in HANGING else 5000
    try:
        with garbling(desk.server, NONSENSE[kind]), trio.fail_after(8):  # a request takes at most 5 s
            result = await each.call(desk, argument)
    except ExchangeError as error:
        text = "".join(traceback.format_exception(error))
        if API_KEY in text or SECRET in text:
            return f"shows a credential: {text}"
        proved = kind in REFUSING and isinstance(error, ExchangeUnreachable)
        if each.changes and not proved and not isinstance(error, OutcomeUnknown):
            return f"{type(error).__name__}, which proves too much: {error}"
        return ""
    except Exception as error:  # which is the question
        return "".join(traceback.format_exception(error)[-3:])
    finally:
        client.timeout = usual
    return "" if await is_right(desk, operation, kind, argument, result, right) else f"takes it for {result!r:.300}"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_fm62_no_reply_of_any_kind_gives_another_error_or_a_wrong_result(
    venue: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.venue_requests.FILL_WAITS", (0.0, 0.0))
    monkeypatch.setattr("venue_limits.Window.take", lambda *_: True)  # the venue has no rate limits here
    async with open_desk(venue, most_stops=500) as desk:
        if operation == "amend_stop" and desk.exchange.venue.stops.amend is None:
            pytest.skip("stops can't be amended there")
        await desk.enter(quantity="100")
        await desk.server.move_price(BTC, D(1000), "last")
        desk.exchange.session.rate_limiter = NoRateLimit()
        wrong = {}
        for kind in NONSENSE:
            if found := await outcome(desk, operation, kind):
                wrong[kind] = found
            for stop in desk.server.market.live_stops():  # else each list is longer than the one before
                desk.server.market.cancel(stop)
        assert not wrong
        assert len(NONSENSE) >= 40


OPENING = ("markets", "time", "mode", "positions", "permissions", "account")
"""What is read while an exchange opens."""


@pytest.mark.parametrize(
    ("operation", "every"),
    [
        *(pytest.param(each, 1, id=each, marks=pytest.mark.slow) for each in OPENING[:2]),
        *(pytest.param(each, len(VENUES), id=f"{each}, a third", marks=pytest.mark.slow) for each in OPENING[2:]),
        *(pytest.param(each, 1, id=each, marks=pytest.mark.repeats) for each in OPENING[2:]),
    ],
)
async def test_fm62_no_reply_of_any_kind_while_an_exchange_opens_gives_another_error(
    venue: str, operation: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a landing the markets and the time get each kind of nonsense on each venue. Each operation of the account gets each
    kind on one of the venues, and each venue gets each kind.
    """
    monkeypatch.setattr("venue_limits.Window.take", lambda *_: True)
    wrong: dict[str, str] = {}
    async with open_server(venue) as server:
        face = server.face
        handle = type(face).handle
        garbled: list[str] = []

        first = (VENUES.index(venue) + OPENING.index(operation)) % every
        for kind, garble in islice(NONSENSE.items(), first, None, every):

            def handle_and_garble(request: Request, garble: Garble = garble, kind: str = kind) -> Reply | RawReply:
                reply = handle(face, request)
                if face.operation(request) != operation:
                    return reply
                garbled.append(kind)
                return garble(reply)

            def configure(client: Any, kind: str = kind) -> None:
                server.configure(client)
                client.timeout = SECONDS * 1000 if kind in HANGING else 5000

            face.handle = handle_and_garble  # type: ignore[method-assign,assignment]
            try:
                with trio.fail_after(10):
                    async with open_ccxt(venue, credentials=KEYS, configure=configure) as exchange:
                        repr(exchange)
            except ExchangeError as error:
                text = "".join(traceback.format_exception(error))
                if API_KEY in text or SECRET in text:
                    wrong[kind] = text
            except Exception as error:  # which is the question
                wrong[kind] = "".join(traceback.format_exception(error)[-3:])
        assert not wrong
        if not garbled:
            pytest.skip("it is not requested while the exchange opens")
