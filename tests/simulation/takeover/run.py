"""Kill, stop, cut off or end the owner of an account many times, and let the standby take over."""

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
"""Seconds from the fate of the owner until the standby's manager is open, so that it has recovered."""

_READY_WITHIN = 30.0  # for the start of a process on a busy machine
_LATE_SECONDS = 15.0  # additional wait for a late takeover
_LONGEST_OWNERSHIP = 0.7
_SETTLED_WITHIN = 10.0


class TakeoverReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run.

    Args:
        takeovers: the number of takeovers, by the fate of the earlier owner.
        seconds: the duration of the run.
        slowest: the most seconds from the fate until the standby's manager was open, by fate.
        writes: the number of bookings that were compared with the leases.
        closest: the least seconds between a booking and the end of its lease.
        positions, stops: the number of entered positions and of accepted stops.
        violations: the violations.
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
        takeovers: the number of takeovers, at least 1.
        conninfo: the address of the server.
        schema: the name of a new schema.
        seed: the seed of the prices and of the times. It does not determine the scheduling of the processes.
        folder: the folder of the processes' log.
        fates: the fates of the owners, in turn.
        positions: the number of open positions at a time.
        progress: called for each takeover with its number from 1 on, the fate of the owner, and its seconds.

    Raises:
        RuntimeError: the exchange's process could not be started.

    Cancellation: ends every process.
    """
    parameters = f"schema={schema}&lease_seconds={LEASE_SECONDS}&renew_seconds={RENEW_SECONDS}"
    log = folder / "processes.log"
    async with AsyncExitStack() as stack:
        # An owner that is cut off may act without a record. If only one stop may be live, it cancels the old stop of a move
        # first; after a takeover at that moment no record has the old price. If it protects a new position, the next owner
        # protects the position anew when the bot hands it in, and then cancels the leftover stops.
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
    """The state of a run. `start`: starts the contender with a name."""

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
            self._violations.append(f"{owner} did not get a free account")
        for number in range(1, takeovers + 1):
            if self._violations:
                break
            other = other or await self._start()
            if await other.wait_for("standby", after=0, within=_READY_WITHIN) is None:
                self._violations.append(f"{other} is not a standby")
                break
            await trio.sleep(self._draw.uniform(0.1, _LONGEST_OWNERSHIP))
            fate = fates[(number - 1) % len(fates)]
            seconds = await self._run_takeover(owner, other, fate)
            progress(number, fate, seconds)
            await self._read_exchange()
            has_ended = fate in ("killed", "ended")
            owner, other = other, None if has_ended else owner
        await self._settle()
        for contender in (other, owner):  # the standby first, or it would take over again
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
        """Apply a fate to the owner, and let the standby take over. Returns the seconds that the takeover took."""
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
                self._violations.append(f"{owner} was {fate}, goes on, and does not notice that it lost the account")
        return seconds

    async def _read_exchange(self) -> None:
        history: History = await self._exchange.ask("history", HISTORY, self._ledger.number)
        self._violations += self._ledger.take(history)
        self._writes += await self._exchange.ask("writes", WRITES, len(self._writes))

    async def _settle(self) -> None:
        """Wait until every open position has had exactly one stop at some moment from now on."""
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
        """Compare exchange and store at the end. Only fills by the market may differ, because no bot writes."""
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
