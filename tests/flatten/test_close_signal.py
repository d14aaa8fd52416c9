"""SIGUSR1 twice within 5 s closes every position of a running bot. No other signal closes anything."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import structlog
import trio
from structlog.testing import capture_logs

from trailing import (
    Manager,
    Percent,
    Position,
    Protected,
    TrailPlan,
    UsageError,
    close_all_on_signal,
    open_manager,
    open_paper,
    open_store,
)
from trailing.exchanges.paper import PaperExchange
from trailing.testing import At, FaultyExchange, Unreachable
from trailing.testing.faults import Faults

BTC, ETH = SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
ONCE = "SIGUSR1 came once: send it again within 5 s to close every position"
TWICE = "SIGUSR1 came twice: closing every position"


class Bot:
    def __init__(self, paper: PaperExchange, manager: Manager, logged: list[structlog.typing.EventDict]) -> None:
        self.paper, self.manager, self._logged = paper, manager, logged

    async def send(self) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        await trio.sleep(0.1)

    def held(self) -> list[str]:
        return [symbol for symbol in SYMBOLS if self.paper.actual(symbol)[1]]

    def said(self) -> list[str]:
        return [
            str(entry["event"]) for entry in self._logged if "SIGUSR1" in entry["event"] or "closed" in entry["event"]
        ]


@pytest.fixture(autouse=True)
def _log_warnings() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


@asynccontextmanager
async def a_bot(faults: Faults | None = None, *, deadline: float = 60.0) -> AsyncIterator[Bot]:
    with capture_logs() as logged:
        async with (
            open_paper(latency=0.2) as paper,
            open_store("memory:") as store,
            open_manager(FaultyExchange(paper, faults or {}), store, TrailPlan(initial_stop=Percent(2))) as manager,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(
                lambda task_status: close_all_on_signal(manager, deadline=deadline, task_status=task_status)
            )
            for symbol in SYMBOLS:
                position = Position(symbol, "long", Decimal(1), Decimal(100), datetime.now(UTC))
                await paper.enter(position)
                assert isinstance(await manager.protect(position, deadline=5.0), Protected)
            yield Bot(paper, manager, logged)
            nursery.cancel_scope.cancel()


async def test_a_second_signal_within_5_s_closes_every_position_and_everything_is_logged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_bot() as bot:
        await bot.send()
        await trio.sleep(4.5)
        assert (bot.held(), bot.said()) == ([BTC, ETH], [ONCE])
        await bot.send()
        await trio.sleep(10.0)
        assert (bot.held(), bot.manager.stops(), bot.manager.unprotected()) == ([], {}, {})
        assert bot.said()[:2] == [ONCE, TWICE]
        assert bot.said()[-1] == "every position is closed"


async def test_a_third_signal_is_a_first_one_again(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bot() as bot:
        for _ in range(3):
            await bot.send()
        await trio.sleep(10.0)
        assert [said for said in bot.said() if "SIGUSR1" in said] == [ONCE, TWICE, ONCE]


async def test_signals_that_are_further_apart_close_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bot() as bot:
        for _ in range(3):
            await bot.send()
            await trio.sleep(5.0)
        assert (bot.held(), bot.said()) == ([BTC, ETH], [ONCE] * 3)


async def test_positions_that_could_not_be_closed_in_time_are_named(autojump_clock: trio.testing.MockClock) -> None:
    async with a_bot({At("close_position", ETH): Unreachable()}, deadline=3.0) as bot:
        await bot.send()
        await bot.send()
        await trio.sleep(10.0)
        assert bot.held() == [ETH]
        assert bot.said()[-1] == "not everything is closed: run `trailing flatten`"


async def test_signals_after_the_end_of_the_manager_are_logged_and_raise_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with capture_logs() as logged:
        async with open_paper() as paper, open_store("memory:") as store, trio.open_nursery() as nursery:
            async with open_manager(paper, store, TrailPlan(initial_stop=Percent(2))) as manager:
                await nursery.start(lambda task_status: close_all_on_signal(manager, task_status=task_status))
            bot = Bot(paper, manager, logged)
            await bot.send()
            await bot.send()
            assert bot.said() == [ONCE, TWICE, "the positions were not closed: run `trailing flatten`"]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("number", ["SIGUSR1", None])
async def test_a_wrong_deadline_and_a_system_without_the_signal_are_refused(
    number: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        open_paper() as paper,
        open_store("memory:") as store,
        open_manager(paper, store, TrailPlan(initial_stop=Percent(2))) as manager,
    ):
        if number is None:
            monkeypatch.delattr(signal, "SIGUSR1")
            with pytest.raises(UsageError, match="this system has no SIGUSR1"):
                await close_all_on_signal(manager)
        else:
            with pytest.raises(UsageError, match="deadline got 0"):
                await close_all_on_signal(manager, deadline=0)
