"""A bot that is opened from its file: the order of its parts, its signal, its errors, and the time of its end."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import trio
from trio.testing import MockClock

import trailing
from trailing import LeaseLost, Position, Protected, UsageError, open_from_config, stop_seconds
from trailing.alerts import AlertTargets, Message
from trailing.exchanges.paper import PaperExchange
from trailing.testing import FaultyExchange, FaultyStore, Hangs

BTC = "BTC/USDT:USDT"
PAPER = '[venue]\nname = "paper"\nlatency = 0.3\n[store]\nurl = "memory:"\n[plan]\ninitial_stop = "2%"\n'
Opener = Callable[..., AbstractAsyncContextManager[Any]]


class Recorder:
    """A channel that keeps the rules of what it is sent; `hangs`: it never returns."""

    name = "recorder"

    def __init__(self, *, hangs: bool = False) -> None:
        self.rules: list[str] = []
        self._hangs = hangs

    async def send(self, message: Message) -> None:
        if self._hangs:
            await trio.sleep_forever()
        self.rules += [alert.rule for alert in message.alerts]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trailing.toml"
    path.write_text(PAPER)
    return path


def a_position() -> Position:
    return Position(BTC, "long", Decimal(1), Decimal(100), datetime.now(UTC))


def send_alerts_to(channel: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlertTargets, "from_environment", lambda: AlertTargets([channel]))


async def test_a_bot_protects_with_what_its_file_says(file: Path, autojump_clock: MockClock) -> None:
    file.write_text(PAPER + "[entry_limits]\nmax_positions = 1\n[alerts]\nunprotected_seconds = 3\n")
    async with open_from_config(file) as bot:
        assert isinstance(bot, trailing.Bot)
        await bot.exchange.enter(a_position())  # type: ignore[attr-defined]  # the paper exchange
        began = trio.current_time()
        outcome = await bot.manager.protect(a_position(), deadline=5.0)
        assert isinstance(outcome, Protected)
        assert outcome.stop.price == Decimal(98)
        assert trio.current_time() - began == pytest.approx(0.3)
        assert bot.alerts.rules.unprotected_seconds == 3
        assert bot.config.entry_limits.max_positions == 1
        entries = [trailing.Entry(f"{coin}/USDT:USDT", "long", Decimal(1)) for coin in ("ETH", "XRP")]
        for entry in entries:
            bot.exchange.feed(trailing.Tick(entry.symbol, Decimal(100), trio.current_time()))  # type: ignore[attr-defined]
        report = await bot.manager.enter_wave(entries, deadline=5.0)
        assert [getattr(outcome, "reason", "") for outcome in report.outcomes] == ["limit", "limit"]


async def test_alerts_are_opened_first_and_the_manager_last(
    file: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noting(name: str, opener: Opener) -> Opener:
        @asynccontextmanager
        async def opened(*args: Any, **options: Any) -> AsyncIterator[Any]:
            async with opener(*args, **options) as part:
                steps.append(f"open {name}")
                yield part
            steps.append(f"close {name}")

        return opened

    for module, name in (
        ("alerts", "alerts"),
        ("config.bot", "paper"),
        ("config.bot", "store"),
        ("config.bot", "manager"),
    ):
        path = f"trailing.{module}.open_{name}"
        monkeypatch.setattr(
            path, noting(name, getattr(trailing.alerts if name == "alerts" else trailing, f"open_{name}"))
        )
    async with open_from_config(file):
        pass
    parts = ["alerts", "paper", "store", "manager"]
    assert steps == [*(f"open {part}" for part in parts), *(f"close {part}" for part in reversed(parts))]


async def test_an_alert_says_that_the_manager_could_not_be_opened(
    file: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(PAPER.replace("memory:", f"sqlite:///{file.parent}/bot.db"))
    channel = Recorder()
    send_alerts_to(channel, monkeypatch)
    async with open_from_config(file):
        with pytest.raises(LeaseLost):  # no virtual deadline: SQLite's threads take real time, and the clock runs on
            async with open_from_config(file):
                pass
    # "lease" is the rule about another owner. Others may fire, because the virtual clock runs on.
    assert {"lease", "ended"} <= set(channel.rules)


async def test_the_error_of_the_block_is_raised_as_itself(file: Path, autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError, match="the bot's own"):
        async with open_from_config(file):
            raise KeyError("the bot's own")


async def test_nothing_is_opened_without_credentials(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(PAPER.replace('"paper"\nlatency = 0.3', '"bybit"'))
    monkeypatch.setattr("trailing.config.bot.open_ccxt", None)
    for name in ("TRAILING_API_KEY", "TRAILING_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="TRAILING_API_KEY is not set"):
        async with open_from_config(file):
            pass


async def test_sigusr1_twice_closes_every_position(file: Path, autojump_clock: MockClock) -> None:
    async with open_from_config(file) as bot:
        await bot.exchange.enter(a_position())  # type: ignore[attr-defined]
        await bot.manager.protect(a_position(), deadline=5.0)
        os.kill(os.getpid(), signal.SIGUSR1)
        await trio.sleep(1.0)
        assert len(bot.manager.stops()) == 1
        os.kill(os.getpid(), signal.SIGUSR1)
        await trio.sleep(10.0)
        assert (bot.manager.stops(), bot.manager.unprotected()) == ({}, {})


@pytest.mark.parametrize("cleanup_seconds", [5.0, 10.0])
async def test_a_bot_whose_exchange_store_and_channel_hang_ends_within_stop_seconds(
    cleanup_seconds: float, file: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f"{PAPER}cleanup_seconds = {cleanup_seconds}\n")
    send_alerts_to(Recorder(hangs=True), monkeypatch)
    hanging = False

    def faulty(make: Callable[..., Any], operations: set[str], opener: Opener) -> Opener:
        @asynccontextmanager
        async def opened(*args: Any, **options: Any) -> AsyncIterator[Any]:
            async with opener(*args, **options) as part:
                yield make(part, lambda operation, *_: Hangs() if hanging and operation in operations else None)

        return opened

    exchange = {"place_stop", "cancel_stop", "find_stop", "open_stops", "positions"}
    monkeypatch.setattr("trailing.config.bot.open_paper", faulty(FaultyExchange, exchange, trailing.open_paper))
    monkeypatch.setattr("trailing.config.bot.open_store", faulty(FaultyStore, {"commit"}, trailing.open_store))
    with trio.CancelScope() as scope:
        async with open_from_config(file) as bot, trio.open_nursery() as nursery:
            await bot.exchange.inner.enter(a_position())  # type: ignore[attr-defined]
            hanging = True

            async def protect() -> None:
                await bot.manager.protect(a_position(), deadline=3600.0)

            nursery.start_soon(protect)
            await trio.sleep(20.0)  # the position is unprotected, and an alert about it hangs
            assert [alert.rule for alert in bot.alerts.firing()]
            ends_at = trio.current_time()
            scope.cancel()
    took = trio.current_time() - ends_at
    # The wave, the manager and the journal each have `cleanup_seconds`, and the last alerts 5 s.
    assert took == pytest.approx(3 * cleanup_seconds + 5.0)
    assert took <= stop_seconds(bot.config.plan)


def fetch(url: str) -> str:
    """Read a page, in a thread of its own."""
    with urlopen(url, timeout=5.0) as found:  # noqa: S310 - of the page under test
        return str(found.read().decode())


async def test_a_bot_serves_its_page_and_measures_its_requests(file: Path) -> None:
    file.write_text(PAPER.replace("latency = 0.3", "latency = 0.0") + '[web]\nbind = "127.0.0.1:0"\n')
    async with open_from_config(file) as bot:
        assert isinstance(bot.exchange, PaperExchange)
        await bot.exchange.enter(a_position())
        assert isinstance(await bot.manager.protect(a_position(), deadline=5.0), Protected)
        assert bot.page is not None
        text = await trio.to_thread.run_sync(fetch, bot.page + "metrics")
    assert 'trailing_requests_total{operation="place_stop",result="ok"} 1.0' in text


async def test_a_page_that_needs_a_token_is_refused_before_anything_is_opened(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRAILING_WEB_TOKEN", raising=False)
    file.write_text(PAPER + '[web]\nbind = "0.0.0.0:0"\n')
    with pytest.raises(UsageError, match="a token is needed"):
        async with open_from_config(file):
            pytest.fail("it was opened")
