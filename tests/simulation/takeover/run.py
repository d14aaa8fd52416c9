"""Fifty takeovers, say: the owner is killed, stopped for a while, cut off from its store, or ended; the other one goes on."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import trio

from simulation.killing.checks import broken_by, unsettled
from simulation.killing.history import HISTORY, History
from simulation.killing.ledger import Ledger, LedgerEntry
from simulation.remote_client import RemoteExchange, open_remote
from simulation.takeover.contender import Contender, run_contender, start_market
from simulation.takeover.lease_history import LeaseHistory, open_lease_history, writes_without_a_lease
from simulation.takeover.settings import (
    CALL_SECONDS,
    LEASE_SECONDS,
    LONGEST,
    RENEW_SECONDS,
    VALIDITY,
    WRITES,
    Write,
    markets_of,
)
from simulation.takeover.tcp_proxy import open_tcp_proxy
from trailing.core.model import Market
from trailing.stores import open_store
from trailing.stores.port import Store

Fate: TypeAlias = Literal["killed", "stopped", "cut off", "ended"]
FATES: tuple[Fate, ...] = ("killed", "stopped", "cut off", "ended")

TAKEN_OVER_WITHIN: float = LEASE_SECONDS + CALL_SECONDS + VALIDITY + 2.0
"""Seconds from the fate of the owner until the other one's manager is open: it has recovered by then."""

_READY_WITHIN = 30.0  # for a process to be started, on a machine that is busy
_LATE_SECONDS = 15.0  # how much longer a takeover that is too late is waited for
_LONGEST_OWNERSHIP = 0.7
_SETTLED_WITHIN = 10.0


class TakeoverReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to.

    Args:
        takeovers: by the fate of the owner that was taken over from.
        seconds: that the run took.
        slowest: seconds from the fate until the other one's manager was open, at most, by fate.
        writes: bookings that were held beside the leases; `closest`: seconds before the end of its lease at which the
            latest of them came.
        positions, stops: how many were entered and accepted.
        violations: what must never happen, and did.
    """

    takeovers: dict[str, int]
    seconds: float
    slowest: dict[str, float]
    writes: int
    closest: float
    positions: int
    stops: int
    violations: tuple[str, ...]


async def run_takeovers(
    takeovers: int,
    *,
    conninfo: str,
    schema: str,
    seed: int,
    folder: Path,
    fates: Sequence[Fate] = FATES,
    positions: int = 8,
    progress: Callable[[int, Fate, float], None] = lambda _number, _fate, _seconds: None,
) -> TakeoverReport:
    """Let two bots take an account over from each other, on Postgres.

    Args:
        takeovers: how many, at least 1.
        conninfo: of the server, as an address.
        schema: the name of one that is not there yet.
        seed: of the prices and of the moments; how the processes are scheduled is not in it.
        folder: where the processes' complaints are written.
        fates: what becomes of owners, in turn.
        positions: how many are open at a time.
        progress: told of each takeover: its number from 1 on, the fate of the owner, and after how many seconds.

    Raises:
        RuntimeError: the exchange's process could not be started.

    Cancellation: ends every process.
    """
    parameters = f"schema={schema}&lease_seconds={LEASE_SECONDS}&renew_seconds={RENEW_SECONDS}"
    log = folder / "complaints.log"
    async with AsyncExitStack() as stack:
        # Whoever is cut off does what the store does not know of. It moves stops: where only one may stand it takes the old
        # one down first, and that this stood so tight nobody knows any more if it is taken over from right then. It
        # protects positions: the next owner does so anew when the bot hands them in, then cancels what it finds there.
        one_stop, anew = "cut off" not in fates, "cut off" in fates
        port = await stack.enter_async_context(start_market(seed, positions, log, one_stop=one_stop))
        exchange = await stack.enter_async_context(open_remote(port))
        store = await stack.enter_async_context(open_store(f"{conninfo}{'&' if '?' in conninfo else '?'}{parameters}"))
        lease_history = await stack.enter_async_context(open_lease_history(conninfo, schema))
        nursery = await stack.enter_async_context(trio.open_nursery())

        async def run_bot(name: str, task_status: trio.TaskStatus[Contender]) -> None:  # noqa: ASYNC128 - handed on
            async with open_tcp_proxy(conninfo) as proxy:
                await run_contender(f"{proxy.address}?{parameters}", port, log, name, proxy, task_status=task_status)

        markets = markets_of(seed, positions, one_stop=one_stop)
        run = _Run(partial(nursery.start, run_bot), exchange, store, lease_history, markets, Ledger(anew=anew), seed)
        try:
            return await run.run(takeovers, fates, progress)
        finally:
            nursery.cancel_scope.cancel()


class _Run:
    """Args: `start`: starts the contender of a name."""

    def __init__(
        self,
        start: Callable[[str], Awaitable[Contender]],
        exchange: RemoteExchange,
        store: Store,
        lease_history: LeaseHistory,
        markets: dict[str, Market],
        ledger: Ledger,
        seed: int,
    ) -> None:
        self._start_one, self._exchange, self._store, self._lease_history = start, exchange, store, lease_history
        self._draw = random.Random(f"{seed}/takeovers")
        self._markets, self._ledger = markets, ledger
        self._writes: list[Write] = []
        self._processes: dict[str, int] = {}
        self._violations: list[str] = []
        self._fates: Counter[str] = Counter()
        self._slowest: dict[str, float] = {}

    async def run(
        self, takeovers: int, fates: Sequence[Fate], progress: Callable[[int, Fate, float], None]
    ) -> TakeoverReport:
        began = trio.current_time()
        owner = await self._start()
        other: Contender | None = None
        if await owner.wait_for("owns", after=0, within=_READY_WITHIN) is None:
            self._violations.append(f"{owner} did not get an account that nobody owned")
        for number in range(1, takeovers + 1):
            if self._violations:
                break
            other = other or await self._start()
            if await other.wait_for("stands by", after=0, within=_READY_WITHIN) is None:
                self._violations.append(f"{other} does not stand by")
                break
            await trio.sleep(self._draw.uniform(0.1, _LONGEST_OWNERSHIP))
            fate = fates[(number - 1) % len(fates)]
            seconds = await self._run_takeover(owner, other, fate)
            progress(number, fate, seconds)
            await self._read_exchange()
            has_ended = fate in ("killed", "ended")
            owner, other = other, None if has_ended else owner
        await self._settle()
        for contender in (other, owner):  # the one that stands by first, or it would take over again
            if contender is not None:
                await self._end(contender)
        await self._check_the_end()
        return TakeoverReport(
            takeovers=dict(self._fates),
            seconds=trio.current_time() - began,
            slowest=dict(self._slowest),
            writes=len(self._writes),
            closest=await self._check_writes(),
            positions=self._ledger.entered,
            stops=self._ledger.accepted,
            violations=tuple(self._violations),
        )

    async def _start(self) -> Contender:
        contender = await self._start_one(f"bot {len(self._processes) + 1}")
        self._processes[contender.name] = contender.process
        return contender

    async def _run_takeover(self, owner: Contender, other: Contender, fate: Fate) -> float:
        """Let something become of the owner, and the other one take over. Returns the seconds that it took."""
        seen_events, owner_events, proxy = other.event_count, owner.event_count, owner.proxy
        assert proxy is not None
        began = trio.current_time()
        match fate:
            case "killed":
                owner.kill()
            case "stopped":
                owner.stop()
            case "cut off":
                proxy.cut()
            case "ended":
                await owner.shut_down()
        at = await other.wait_for("owns", after=seen_events, within=TAKEN_OVER_WITHIN + _LATE_SECONDS)
        seconds = math.inf if at is None else at - began
        self._fates[fate] += 1
        self._slowest[fate] = max(seconds, self._slowest.get(fate, 0.0))
        if seconds > TAKEN_OVER_WITHIN:
            self._violations.append(f"an account whose owner was {fate} was taken over after {seconds:.1f} s: {other}")
        if fate == "ended" and (code := await owner.wait_ended()):
            self._violations.append(f"{owner} ended with {code}")
        if fate in ("stopped", "cut off"):
            await trio.sleep(self._draw.uniform(0, _LONGEST_OWNERSHIP))
            owner.resume()
            proxy.mend()
            if await owner.wait_for("lost", after=owner_events, within=_READY_WITHIN) is None:
                self._violations.append(f"{owner} was {fate}, goes on, and does not hear that the account is lost")
        return seconds

    async def _read_exchange(self) -> None:
        history: History = await self._exchange.ask("history", HISTORY, self._ledger.number)
        self._violations += self._ledger.take(history)
        self._writes += await self._exchange.ask("writes", WRITES, len(self._writes))

    async def _settle(self) -> None:
        """Wait until every open position has had one stop, and no more, at some moment from now on."""
        settled = set[LedgerEntry]()
        with trio.move_on_after(_SETTLED_WITHIN) as scope:
            while True:
                await self._read_exchange()
                entries = self._ledger.open.values()
                settled |= {entry for entry in entries if len(entry.stops) == 1}
                if settled >= set(entries):
                    return
                await trio.sleep(LONGEST)
        assert scope.cancelled_caught
        self._violations += [f"the {entry} has {len(entry.stops)} stops" for entry in entries if entry not in settled]

    async def _end(self, contender: Contender) -> None:
        await contender.shut_down()
        if code := await contender.wait_ended():
            self._violations.append(f"{contender} ended with {code}")

    async def _check_the_end(self) -> None:
        """Nobody writes any more: exchange and store have to agree, but for what the market has filled since."""
        await trio.sleep(VALIDITY + LONGEST)
        while True:
            await self._read_exchange()
            number = self._ledger.number
            loaded = await self._store.load(self._exchange.name, self._exchange.account)
            history: History = await self._exchange.ask("history", HISTORY, number)
            if not history.events:
                break
            self._violations += self._ledger.take(history)
        self._violations += broken_by(self._ledger, history, loaded, self._markets)
        self._violations += unsettled(loaded, datetime.now(UTC))

    async def _check_writes(self) -> float:
        broken, closest = writes_without_a_lease(self._writes, await self._lease_history.read(), self._processes)
        self._violations += broken
        return closest
