"""The troubleshooting page quotes the events and alarms that the code publishes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path

import pytest
import trio
import trio.testing
from worlds import World, a_position, open_world

from trailing import events
from trailing.events import MoveFailed, OpeningFailed, PositionClosed, StopGone, StopMoved, StopOpened
from trailing.testing import At, Refuses

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/howto/troubleshooting.md").read_text()
SAID = re.findall(
    r"`([^`]+)`", " ".join(re.findall(r"\*\*The log says:\*\* (.*?)\n\n", PAGE, re.DOTALL)).replace("\n", " ")
)
NAMES = sorted({word for word in SAID if re.fullmatch(r"(?:[A-Z][a-z]+)+", word)} - {"LeaseLost"})
TEXTS = sorted({word for word in SAID if " " in word})


@pytest.mark.parametrize("name", NAMES)
def test_an_event_that_the_page_names_is_one(name: str) -> None:
    assert issubclass(getattr(events, name), events.Event)


def alarms() -> Iterator[str]:
    """Yield the texts of all alarms, but for those that name a position in them."""
    for path in (path for layer in ("core", "protection") for path in (ROOT / "trailing" / layer).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("alarm"):
                texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and arg.value is not None]
                yield from (str(text) for text in texts[:1])


ALARMS = sorted(set(alarms()))


@pytest.mark.parametrize("text", TEXTS)
def test_an_alarm_that_the_page_quotes_is_raised_somewhere(text: str) -> None:
    assert text in ALARMS


@pytest.mark.parametrize("text", ALARMS)
def test_an_alarm_that_is_raised_stands_on_the_page(text: str) -> None:
    assert text in TEXTS


def test_every_section_has_the_message_the_reaction_and_the_advice() -> None:
    assert len(TEXTS) >= 15
    assert len(NAMES) >= 8
    for section in PAGE.split("\n### ")[1:]:
        parts = re.findall(r"^\*\*(.+?[:?])\*\* \S", section, re.MULTILINE)
        is_rejected = "was rejected" in section.splitlines()[0]
        answer = ["Is the position protected?"] if is_rejected else []
        assert parts == ["The log says:", *answer, "What trailing does:", "What you should do:"], section


def test_a_rejected_stop_is_the_first_section_of_the_page() -> None:
    first = "\n### The first stop was rejected\n"
    assert PAGE.index("| my stop was rejected | [The first stop was rejected]") < PAGE.index(first)
    assert PAGE.index("\n### ") == PAGE.index(first)


def reasons(world: World, kind: type[PositionClosed | StopMoved]) -> list[str]:
    return [event.reason for event in world.events if isinstance(event, kind)]


async def test_a_position_that_is_closed_by_hand_loses_its_stop_once_and_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(settle=1.0)
        world.paper.reduce("BTC/USDT:USDT", "long", D("1.5"))
        await world.running.wait_closed()
        assert reasons(world, PositionClosed) == ["closed on the exchange; no update said by what"]
        assert [call.operation for call in world.exchange.calls].count("cancel_stop") == 1
        assert await world.live() == ()


@pytest.mark.parametrize(("entered", "quantity"), [("1.5", "3.0"), (None, "0.5")])
async def test_the_stop_of_a_position_that_is_resized_by_hand_follows_and_says_so(
    entered: str | None, quantity: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(settle=1.0)
        if entered is not None:
            await world.enter(a_position(quantity=D(entered)))
        else:
            world.paper.reduce("BTC/USDT:USDT", "long", D(1))
        await trio.sleep(10)
        assert reasons(world, StopMoved) == ["resized"]
        assert [stop.quantity for stop in await world.live()] == [D(quantity)]


async def test_a_stop_that_is_cancelled_by_hand_is_told_of_and_placed_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        (stop,) = await world.protect(settle=1.0)
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(5)
        told = [type(event) for event in world.events if isinstance(event, (StopGone, StopOpened))]
        assert told == [StopOpened, StopGone, StopOpened]


async def test_a_refusal_is_told_in_the_exchanges_words_and_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, exchange_faults={At("place_stop", None, 1): Refuses()}) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=5.0)
        await trio.sleep(5)
        (failed,) = [event for event in world.events if isinstance(event, OpeningFailed)]
        assert "refused on purpose" in failed.error
        assert len(world.running.stops()) == 1


async def test_a_move_that_is_refused_is_told_and_leaves_the_old_stop_standing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, exchange_faults={At("place_stop", None, 2): Refuses()}) as world:
        (stop,) = await world.protect(settle=1.0)
        world.feed("105")
        await trio.sleep(0.05)
        assert await world.live() == (stop,)
        await trio.sleep(5)
        assert any(isinstance(event, MoveFailed) for event in world.events)
        assert world.running.stops()["BTC/USDT:USDT", "long"].price == D("103.95")
