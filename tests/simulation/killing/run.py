"""Kill the bot of one long wave many times, and check exchange and store after each kill and restart."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import trio

from simulation.killing.checks import Records, broken_by, left_entries, not_covered, unsettled, without_a_stop
from simulation.killing.history import HISTORY, SHAKE, History
from simulation.killing.ledger import Ledger
from simulation.killing.markets import JITTER, LATENCY, all_markets, takes_one_stop
from simulation.killing.processes import Bots, ChildProcess, activate, end, kill
from simulation.killing.run_store import OWNED_WITHIN, RunStore, open_run_store
from simulation.remote_client import RemoteExchange, open_remote
from trailing.core.model import Market
from trailing.stores.port import Loaded
from trailing.testing.invariants import Key

Phase: TypeAlias = Literal["waiting", "recovery", "wave", "trailing"]

PROTECTED_WITHIN = 4.0
"""Seconds from the ownership of the account until each open position has a live stop or is reported as unprotected."""

_READY_WITHIN = 8.0
_IN_FLIGHT = 2 * (LATENCY + JITTER)  # the requests of a dead bot are booked by then
_WEIGHTS: Mapping[Phase, int] = {"recovery": 3, "wave": 3, "trailing": 4}
_WAITING: Mapping[Phase, int] = {"waiting": 1}  # only if a dead bot owns the account for a while
_LONGEST: Mapping[Phase, float] = {"waiting": 0.5, "recovery": 0.35, "wave": 0.025, "trailing": 0.6}
_LONGEST_ENTERING = 0.3
_PHASE_OF_EVENT: Mapping[str, Phase] = {
    "recovering": "recovery",
    "recovered": "trailing",
    "wave": "wave",
    "ready": "trailing",
    "trailing": "trailing",
}
_ENOUGH = 10  # violations
_POLL_SECONDS = 0.03


class KillingReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run.

    Args:
        kills: the number of processes that SIGKILL ended; `restarts`: the number of starts after the first.
        seconds: the duration of the run.
        phases: the number of kills by phase: while a bot waited for the account, recovered, protected a wave, or trailed.
        checks: the number of comparisons of exchange and store, after a kill and after a bot was ready.
        slowest_wait: the most seconds from a restart until the bot owned the account; `waited`: their sum.
        slowest_recovery: the most seconds from the ownership until the manager was open.
        slowest_protection: the most seconds from the ownership until each open position had a live stop or was reported.
        positions, ended: the number of entered and of closed positions.
        stops: the number of accepted stops, moves included.
        unprotected_at_kill: the number of unprotected positions at the kills, summed up.
        pending_at_kill: the number of positions at the kills with an order in flight, or acknowledged and not on record.
        violations: the violations.
    """

    kills: int
    restarts: int
    seconds: float
    phases: dict[str, int]
    checks: int
    slowest_wait: float
    waited: float
    slowest_recovery: float
    slowest_protection: float
    positions: int
    ended: int
    stops: int
    unprotected_at_kill: int
    pending_at_kill: int
    violations: tuple[str, ...]


async def kill_and_restart(
    kills: int,
    *,
    seed: int,
    folder: Path,
    positions: int = 30,
    store: str | None = None,
    entries: bool = False,
    progress: Callable[[int, Phase, float], None] = lambda _number, _phase, _seconds: None,
) -> KillingReport:
    """Protect one long wave with a bot that is killed with SIGKILL, at times drawn from a seed.

    The exchange runs in a process of its own for the whole run. Its true state is compared with the store after each kill,
    and after each restart when the bot is ready. The last bot ends in order.

    Args:
        kills: the number of kills, at least 1.
        seed: the seed of the prices and of the times. It does not determine the scheduling of the processes.
        folder: the folder of the store's file and the processes' log. It must exist and contain no store.
        positions: the number of open positions at a time, at least 1.
        store: the address of a Postgres server, instead of a file. A schema is created there, and dropped at the end. The
            next bot owns the account only after the dead bot's short lease has ended.
        entries: whether the bots open their positions with entries, and are killed during these.
        progress: called for each kill with its number from 1 on, its phase, and the seconds for which the bot ran.

    Raises:
        RuntimeError: the exchange's process could not be started.
        psycopg.Error: the server does not exist, or no schema can be created on it.

    Cancellation: ends every process.
    """
    async with AsyncExitStack() as stack:
        run_store = await stack.enter_async_context(open_run_store(store, folder))
        bots = Bots(folder, run_store.url, seed, positions, entries=entries)
        port = await stack.enter_async_context(bots.market())
        exchange = await stack.enter_async_context(open_remote(port))
        run = _Run(bots, run_store, port, exchange, all_markets(seed, positions), seed, entries=entries)
        return await run.run(kills, progress)


class _Run:
    def __init__(
        self,
        bots: Bots,
        run_store: RunStore,
        port: int,
        exchange: RemoteExchange,
        markets: dict[str, Market],
        seed: int,
        *,
        entries: bool,
    ) -> None:
        self._run_store = run_store
        self._longest = {**_LONGEST, "wave": _LONGEST_ENTERING} if entries else _LONGEST
        self._weights = {**_WEIGHTS, **(_WAITING if run_store.lease_seconds else {})}
        self._bots, self._port, self._exchange, self._markets = bots, port, exchange, markets
        self._draw = random.Random(f"{seed}/moments")
        one_stop = {symbol for symbol, market in markets.items() if takes_one_stop(market)}
        self._ledger, self._records = Ledger(one_stop=one_stop), Records()
        self._phases: Counter[str] = Counter()
        self._violations: list[str] = []
        self._checks = self._unprotected_at_kill = self._pending_at_kill = 0
        self._starts = self._owned = 0
        self._slowest_wait = self._waited = self._slowest_recovery = self._slowest_protection = 0.0
        self._phase: Phase = "waiting"
        self._event = ""
        self._began = 0.0
        self._restarted_at = datetime.now(UTC)
        self._reported: set[Key] = set()

    async def run(self, kills: int, progress: Callable[[int, Phase, float], None]) -> KillingReport:
        started = trio.current_time()
        spare = await self._bots.warm(self._port)
        killed = restarts = 0
        try:
            while killed < kills and len(self._violations) < _ENOUGH:
                bot, spare = spare, await self._warm(spare)
                began = trio.current_time()
                try:
                    await self._run_one(bot, self._draw.choices(list(self._weights), list(self._weights.values()))[0])
                finally:
                    code = await kill(bot)  # noqa: ASYNC102 - shields itself, with a deadline
                killed += 1
                restarts += 1
                self._phases[self._phase] += 1
                if code != -signal.SIGKILL:
                    self._note([f"a bot ended by itself with exit code {code}: {self._bots.log_tail()}"], killed)
                progress(killed, self._phase, trio.current_time() - began)
                self._note(await self._check_dead(), killed)
            await self._final_restart(spare)
        finally:
            await kill(spare)  # noqa: ASYNC102 - shields itself, with a deadline
        return KillingReport(
            kills=killed,
            restarts=restarts,
            seconds=trio.current_time() - started,
            phases=dict(self._phases),
            checks=self._checks,
            slowest_wait=self._slowest_wait,
            waited=self._waited,
            slowest_recovery=self._slowest_recovery,
            slowest_protection=self._slowest_protection,
            positions=self._ledger.entered,
            ended=self._ledger.ended,
            stops=self._ledger.accepted,
            unprotected_at_kill=self._unprotected_at_kill,
            pending_at_kill=self._pending_at_kill,
            violations=tuple(self._violations),
        )

    async def _warm(self, spare: ChildProcess) -> ChildProcess:
        await spare.next()  # its message that it is warm
        return await self._bots.warm(self._port)

    def _note(self, broken: Iterable[str], number: int) -> None:
        self._violations += [f"start {number}: {each}" for each in broken]

    async def _run_one(self, bot: ChildProcess, until: Phase) -> None:
        """Run a bot until the time of its kill, or until it ends by itself."""
        self._phase, self._event, self._reported = "waiting", "", set()
        self._starts += 1
        delay = self._draw.uniform(0, self._longest[until])
        await self._exchange.ask("shake", SHAKE, self._draw.randint(0, len(self._markets) // 2))
        self._restarted_at = datetime.now(UTC)
        await activate(bot)
        self._began = trio.current_time()
        within = self._run_store.lease_seconds + OWNED_WITHIN + _READY_WITHIN
        with trio.move_on_after(within) as scope:
            while self._event != "ready" if until == "trailing" else self._phase != until:
                if not await self._take_message(bot):
                    return
        if scope.cancelled_caught:
            self._violations.append(f"a bot was not ready within {within} s: {self._bots.log_tail()}")
            return
        if until == "trailing":
            await self._check_ready(bot)
        await self._listen(bot, delay)

    async def _take_message(self, bot: ChildProcess) -> bool:
        """Take the next message of the bot. Returns False if the bot has ended."""
        message = await bot.next()
        if message is None:
            return False
        self._event = message["event"]
        self._phase = _PHASE_OF_EVENT.get(self._event, self._phase)
        if self._event == "recovering":
            self._note_owned()
        elif self._event == "recovered":
            self._slowest_recovery = max(self._slowest_recovery, trio.current_time() - self._began)
        if "unprotected" in message:
            self._reported = {(symbol, side) for symbol, side in message["unprotected"]}
        return True

    def _note_owned(self) -> None:
        self._owned += 1
        waited, self._began = trio.current_time() - self._began, trio.current_time()
        self._waited += waited
        self._slowest_wait = max(self._slowest_wait, waited)
        if waited > self._run_store.lease_seconds + OWNED_WITHIN:
            self._violations.append(f"start {self._starts}: waited {waited:.1f} s for a dead bot's account")

    async def _listen(self, bot: ChildProcess, seconds: float) -> None:
        with trio.move_on_after(seconds) as scope:
            while await self._take_message(bot):
                pass
        if not scope.cancelled_caught:
            await trio.lowlevel.checkpoint()  # the bot has ended by itself, as its exit code shows

    async def _check_ready(self, bot: ChildProcess) -> None:
        """Check until everything holds. A fault that is found in each check until the time is over is a violation."""
        lasting: set[str] | None = None
        while lasting is None or lasting:
            history = await self._take_history()
            loaded = await self._load()
            found = set(broken_by(self._ledger, history, loaded, self._markets))
            found |= {*without_a_stop(self._ledger, self._reported), *unsettled(loaded, self._restarted_at)}
            found |= {*not_covered(self._ledger, history, self._reported)}
            found |= {*left_entries(history, loaded, self._restarted_at)}
            lasting = found if lasting is None else lasting & found
            seconds = trio.current_time() - self._began
            if lasting and seconds > PROTECTED_WITHIN:
                self._violations += [f"{seconds:.1f} s after it owned the account: {each}" for each in lasting]
                return
            if lasting:
                await self._listen(bot, _POLL_SECONDS)
        self._checks += 1
        self._slowest_protection = max(self._slowest_protection, trio.current_time() - self._began)

    async def _check_dead(self) -> list[str]:
        """Compare exchange and store after a kill. Only fills by the market may differ, because no bot writes."""
        while True:
            await trio.sleep(_IN_FLIGHT)
            history = await self._take_history()
            loaded = await self._load()
            broken = broken_by(self._ledger, history, loaded, self._markets)
            later = await self._take_history()
            if not later.events:
                break
            # A request from before the kill was booked only now, or the market has filled a stop.
        broken += await self._run_store.damage()
        owners = await self._run_store.owners()
        if owners is not None and not self._owned <= owners <= self._starts:
            broken.append(
                f"{owners} owners of the account in {self._starts} starts, of which {self._owned} reported the ownership"
            )
        self._checks += 1
        self._unprotected_at_kill += sum(not entry.stops for entry in self._ledger.open.values())
        self._pending_at_kill += len({(intent.symbol, intent.side, intent.identity) for intent in loaded.intents})
        return broken

    async def _load(self) -> Loaded:
        loaded = await self._run_store.load(self._exchange.name, self._exchange.account)
        self._violations += self._records.take(loaded)
        return loaded

    async def _take_history(self) -> History:
        history: History = await self._exchange.ask("history", HISTORY, self._ledger.number)
        self._violations += self._ledger.take(history)
        return history

    async def _final_restart(self, bot: ChildProcess) -> None:
        """Start the last bot, and end it in order."""
        await bot.next()  # its message that it is warm
        await self._run_one(bot, "trailing")
        code = await end(bot)
        if code:
            self._violations.append(f"the last bot ended with exit code {code}: {self._bots.log_tail()}")
        self._violations += await self._check_dead()
        self._violations += unsettled(await self._load(), datetime.now(UTC))
