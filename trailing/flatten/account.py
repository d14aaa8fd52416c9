"""Close the positions of an account at market, and prove that it is flat.

The exit needs no manager, and never waits for the account's lease. A position's stops stay live until the position is
confirmed flat by `trailing.core.evidence`. Its state can be read at any time, also after a cancellation.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
import trio

from trailing.core.account import AccountSnapshot, Key, Owner
from trailing.core.evidence import Timing, judge_absence
from trailing.core.model import check_seconds
from trailing.errors import (
    AuthenticationFailed,
    ExchangeError,
    NothingToReduce,
    StoreError,
    UsageError,
)
from trailing.exchanges.port import Exchange
from trailing.flatten.orders import CALL_SECONDS, OrderCleaner, order_in_words
from trailing.flatten.result import FlattenResult, FoundPosition, Survey
from trailing.flatten.target import Target
from trailing.flatten.unknown_closes import UnknownCloses
from trailing.protection.account_reader import AccountReader
from trailing.protection.clock import Clock
from trailing.protection.lease import LeaseFence
from trailing.protection.order_ids import OrderIds, is_ours
from trailing.protection.requests import OutageDetector, RequestSender
from trailing.services import open_service_nursery
from trailing.stores.leases import ProcessLease
from trailing.stores.port import StoreWrite

NOT_READ: Final = "the account was not read, so its positions are unknown"
"""The reason of a result before the first snapshot."""

AFTER_BUG_SECONDS: Final = 1.0
"""Seconds to wait after a bug in the work on a position."""

_IDLE_SECONDS: Final = 3600.0
"""Seconds between two snapshots that no task wants."""


class Flattening:
    """An emergency exit. `open_flattening` makes it.

    Args:
        exchange: the account.
        sender, reader: of that account.
        symbols: close these only; empty: all.
        only_ours: close only positions with a stop of ours behind them, and those in `recorded`.
        recorded: symbol and side of the positions that a store knows.
        tell: called with each thing that happens, in words.
    """

    def __init__(
        self,
        sender: RequestSender,
        clock: Clock,
        *,
        symbols: Set[str],
        only_ours: bool,
        recorded: Set[Key],
        tell: Callable[[str], None],
    ) -> None:
        exchange = sender.exchange
        self._exchange, self._sender, self._clock = exchange, sender, clock
        self._symbols, self._only_ours, self._recorded, self._tell = symbols, only_ours, recorded, tell
        self._timing = Timing(
            exchange.orders_read_lag, exchange.positions_read_lag, exchange.request_validity, exchange.hedged
        )
        self._ids = OrderIds()
        self._targets: dict[Key, Target] = {}
        self._running: trio.Nursery | None = None
        self._started_at = clock.now()
        self._orders = OrderCleaner(sender, only_ours=only_ours, tell=tell)
        self._unknown = UnknownCloses(sender, clock, tell)
        self._bugs: list[Exception] = []
        self._is_flat = False
        self._unproved = NOT_READ
        self._reader = AccountReader(
            sender,
            clock,
            self._targets.values,
            _owner_of,
            lambda _: (),
            lambda what, detail: tell(f"{what}: {detail}"),
            call_seconds=CALL_SECONDS,
            every=_IDLE_SECONDS,
        )
        self._reader.on_snapshot = self._find_targets
        self.read_account: Callable[[], Awaitable[None]] = self._reader.run

    async def survey(self) -> Survey:
        """Return what would be closed and cancelled, by one snapshot. Nothing is sent that changes something.

        The open orders of each symbol are read for at most `CALL_SECONDS`. What can't be read is among the problems.

        Cancellation: ends it.
        """
        found = await self.look()
        listed = [target for target in self._targets.values() if target.is_listed]
        covering: dict[str, str] = {}
        problems = list(found.problems)

        async def read(target: Target) -> None:
            try:
                for order in await self._orders.covering(target):
                    covering[order.order_id] = order_in_words(order)
            except (ExchangeError, UsageError) as error:
                problems.append(f"{target.symbol}: the open orders can't be read: {error}")

        with trio.move_on_after(CALL_SECONDS) as scope:
            async with trio.open_nursery() as nursery:
                for target in listed:
                    nursery.start_soon(read, target)
        if scope.cancelled_caught:
            problems.append(f"not all open orders could be read within {CALL_SECONDS:g} s")
        return msgspec.structs.replace(
            found, covering_orders=tuple(sorted(covering.values())), problems=tuple(problems)
        )

    async def look(self) -> Survey:
        """Return the same without the open orders, so that no close waits for them.

        Cancellation: ends it.
        """
        snapshot = await self._reader.read()
        reports = snapshot.reports
        targets = [target for _, target in sorted(self._targets.items())]
        return Survey(
            tuple(
                FoundPosition(
                    *target.key, reports[target.key].quantity, reports[target.key].entry_price, len(target.stops)
                )
                for target in targets
                if target.key in reports
            ),
            (),
            tuple(order_in_words(stop) for target in targets if not target.is_listed for stop in target.stops),
            () if snapshot.shows_all_positions else ("the list of positions is incomplete",),
        )

    async def run(self, deadline: float) -> None:
        """Close every position, all in parallel, cancel the orders of each once it is flat, and prove that all are flat.

        A failed request is tried again until the deadline.

        Args:
            deadline: seconds until it ends, whatever is open then.

        Raises:
            ExceptionGroup: of bugs, after everything else was done.

        Cancellation: ends it. Requests that were sent may be executed.
        """
        check_seconds("deadline", deadline, zero=False)
        with trio.move_on_after(deadline) as scope:
            async with trio.open_nursery() as nursery:
                self._running = nursery
                try:
                    self._reader.want(self._clock.now())  # the survey may be old, and no close waits for this snapshot
                    for target in self._targets.values():
                        nursery.start_soon(self._close_and_clean, target)
                    await self._prove_flat()
                    nursery.cancel_scope.cancel()
                finally:
                    self._running = None  # before the nursery is closed to new tasks
        if scope.cancelled_caught:
            self._tell(f"not done within {deadline:g} s")
        if self._bugs:
            raise ExceptionGroup("bugs while closing", self._bugs)

    def result(self) -> FlattenResult:
        """Return the result so far. It never waits."""
        targets = [target for _, target in sorted(self._targets.items())]
        return FlattenResult(
            self._exchange.name,
            self._exchange.account,
            tuple(target.closed() for target in targets if target.is_flat),
            tuple(target.still_open() for target in targets if not target.is_flat),
            tuple(self._orders.cancelled.values()),
            tuple(words for target in targets for words in target.not_cancelled),
            tuple(words for of_symbol in self._orders.left.values() for words in of_symbol),
            self._is_flat,
            "" if self._is_flat else self._unproved,
            self._clock.now() - self._started_at,
        )

    # Which positions.

    def _find_targets(self, snapshot: AccountSnapshot) -> None:
        if self._unproved == NOT_READ:
            self._unproved = "the account was not read again after the closes"
        keys = (*snapshot.reports, *sorted(snapshot.doubled_positions), *snapshot.ours)
        for key in dict.fromkeys(keys):
            if key in self._targets or not self._is_wanted(key, snapshot):
                continue
            target = self._targets[key] = Target(key, self._timing)
            if self._running is not None:
                self._tell(f"{key[0]} {key[1]} appeared")
                self._running.start_soon(self._close_and_clean, target)

    def _is_wanted(self, key: Key, snapshot: AccountSnapshot) -> bool:
        if self._symbols and key[0] not in self._symbols:
            return False
        return not self._only_ours or key in self._recorded or key in snapshot.ours

    # One position.

    async def _close_and_clean(self, target: Target) -> None:
        """Close a position whenever it is listed, and cancel its orders whenever it is flat. It never returns."""
        while True:
            now = self._clock.now()
            if target.is_listed and target.quantity is not None and now >= target.due_at:
                work = self._close
            elif target.is_flat and not target.is_done and now >= target.due_at:
                work = self._clean
            else:
                work = self._wait
            await self._guard(target, work)

    async def _guard(self, target: Target, work: Callable[[Target], Awaitable[None]]) -> None:
        """Do a part of the work. A bug costs no other position its close, and is raised at the end."""
        try:
            await work(target)
        except Exception as bug:  # it is raised by `run`
            self._bugs.append(bug)
            target.on_close_failed(bug, "", self._clock.now(), 1.0)
            await trio.sleep(AFTER_BUG_SECONDS)

    async def _wait(self, target: Target) -> None:
        until = target.due_at if target.is_listed or target.is_flat else target.again_at
        if target.is_listed and target.quantity is None:
            until = self._clock.now() + _IDLE_SECONDS
            self._reader.want(self._clock.now() + 1.0)  # listed twice, with different figures
        elif not (target.is_listed or target.is_flat):
            if await self._unknown.read(target):
                return  # meanwhile a snapshot may have decided
            self._reader.want(target.again_at)
            until = self._unknown.next_read(target)
        if not target.is_done or target.is_listed:
            with trio.move_on_at(until):
                await target.wait_changed()
        else:
            await target.wait_changed()

    async def _close(self, target: Target) -> None:
        quantity = target.quantity
        assert quantity is not None
        own_id, (symbol, side) = self._ids.new(), target.key
        request = partial(self._exchange.close_position, symbol, side, quantity, own_id)
        target.begin_close()
        try:
            fill = await self._sender.change("close_position", request, CALL_SECONDS)
        except (ExchangeError, UsageError) as error:
            target.on_close_failed(error, own_id, self._clock.now(), random.uniform(0.5, 1.0))
            self._tell(f"{symbol} {side}: not closed: {error}")
            self._reader.want(self._clock.now())
            if isinstance(error, NothingToReduce):
                await self._uncover(target)
            return
        target.on_fill(fill, quantity, self._clock.now())
        self._tell(f"{symbol} {side}: closed {fill.quantity} at {fill.price}")

    async def _uncover(self, target: Target) -> None:
        if await self._orders.cancel_covering(target):
            target.tries = None  # the next close is another attempt

    async def _clean(self, target: Target) -> None:
        found = await self._orders.find_left_behind(target)
        # A new position may have been opened since the last snapshot, and its stop may be among the orders.
        await self._reader.read()
        if not target.is_flat:
            return
        failed = await self._orders.cancel_left_behind(target, found)
        if failed is None:
            target.on_done(self._clock.now())
        else:
            target.on_failed(failed, self._clock.now(), random.uniform(0.5, 1.0))

    # The proof.

    async def _prove_flat(self) -> None:
        """Return once two snapshots list no position that is to be closed."""
        since: float | None = None
        while True:
            waiting = [target for target in self._targets.values() if not target.is_done]
            if waiting:
                since, self._unproved = None, "not every position is confirmed flat, with its orders cancelled"
                await waiting[0].wait_changed()
                continue
            snapshot = await self._reader.read()
            if any(not target.is_done for target in self._targets.values()):
                continue
            if not snapshot.shows_all_positions:
                self._unproved = "the list of positions is incomplete: an entry of it can't be read"
                await trio.sleep(1.0)
                continue
            verdict = judge_absence(
                since,
                asked_at=snapshot.asked_at,
                answered_at=snapshot.answered_at,
                lag=self._timing.positions_read_lag,
                changed_at=max((target.flat.changed_at for target in self._targets.values()), default=float("-inf")),
            )
            if verdict.confirmed:
                self._is_flat = True
                return
            since, self._unproved = verdict.since, "the account was read only once after the closes"
            await trio.sleep_until(verdict.again_at)


def _owner_of(client_order_id: str) -> Owner:
    """Return ``"ours"`` for an order of any instance, because the exit is for the account and not for one instance."""
    return "ours" if is_ours(client_order_id) else "foreign"


async def _write_nothing(entries: Sequence[StoreWrite]) -> None:
    raise StoreError(f"an emergency exit writes to no store: {len(entries)} entries")


@asynccontextmanager
async def open_flattening(
    exchange: Exchange,
    *,
    symbols: Set[str] = frozenset(),
    only_ours: bool = False,
    recorded: Set[Key] = frozenset(),
    tell: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Flattening]:
    """Prepare an emergency exit. Nothing is closed before `Flattening.run`.

    Args:
        exchange: the account.
        symbols: close the positions of these only, and leave the orders of others alone; empty: all.
        only_ours: close only positions with a stop of ours behind them, and those in `recorded`; cancel only orders of ours
            behind flat positions.
        recorded: symbol and side of the positions that a store knows.
        tell: called with each thing that happens, in words.

    Raises:
        UsageError: a symbol is unknown.
        AuthenticationFailed: the exchange does not accept the credentials, in the block.
    """
    for symbol in symbols:
        exchange.market(symbol)
    clock = Clock(datetime.now(UTC))
    lease = ProcessLease(_write_nothing, f"{exchange.name} {exchange.account}")
    sender = RequestSender(
        exchange,
        clock,
        LeaseFence(lease, clock, exchange),
        OutageDetector(),
        lambda what, detail: tell(f"{what}: {detail}"),
    )
    flattening = Flattening(
        sender, clock, symbols=frozenset(symbols), only_ours=only_ours, recorded=frozenset(recorded), tell=tell
    )
    async with open_service_nursery(AuthenticationFailed) as services:
        services.start_soon(flattening.read_account)
        yield flattening
