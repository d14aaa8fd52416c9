"""Finds positions that were opened by hand, and protects them like any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Final

import msgspec
import trio

from trailing.core.account import AccountSnapshot, Key, PositionReport
from trailing.core.entry_checks import check_side, check_size
from trailing.core.evidence import FlatEvidence
from trailing.core.model import Position, Side, StopOrder, Tick
from trailing.core.plan import TrailPlan
from trailing.core.prices import is_crossed, is_tighter
from trailing.errors import ExchangeUnreachable, RateLimited, TrailingError, UsageError
from trailing.protection.clock import pauses
from trailing.protection.outcomes import (
    AdoptionReport,
    AlreadyProtected,
    Attempt,
    NotAdopted,
    Outcome,
    Refused,
    WouldAdopt,
)
from trailing.protection.supervision import Supervision
from trailing.protection.unprotected_list import UNTRACKED
from trailing.protection.wave import Wave

LOOK_AGAIN: Final = 1.0
"""Seconds until the next look at the latest: the caller waits, and one list that shows the position is enough."""


class Found(msgspec.Struct, frozen=True):
    """A position that a snapshot lists.

    Args:
        position: with `opened_at=now`, because earlier prices do not count.
        standing: our tightest live plain stop with the plan's trigger; None: there is none, or the position was claimed.
        foreign: the live stops behind it that are not ours.
        tick: the exchange's own price, if it was asked for.
    """

    position: Position
    standing: StopOrder | None
    foreign: tuple[StopOrder, ...]
    tick: Tick | None


class Adoption:
    """One call that adopts positions.

    Every position is looked for in the snapshots that all share, within one deadline, and then protected as in a wave.

    Args:
        deadline: seconds for the whole call.
        stop_prices: the first stops that the caller gave.
    """

    def __init__(
        self, supervision: Supervision, plan: TrailPlan, deadline: float, stop_prices: Mapping[Key, Decimal]
    ) -> None:
        self._supervision, self._plan, self._stop_prices = supervision, plan, stop_prices
        self._wave = Wave(supervision, plan, deadline, is_reported=True)
        self._started = supervision.now()
        self._ends_at = self._started + deadline
        positions = (task.state.position for task in supervision.registry.all())
        self._claimed = {(position.symbol, position.side) for position in positions}
        self._first: AccountSnapshot | None = None
        self._is_complete = True

    # What is adopted.

    async def choose(self, is_chosen: Callable[[Key], bool]) -> tuple[Key, ...]:
        """Return the positions that the next snapshot lists, are chosen, and are not claimed.

        A snapshot without any position has to be confirmed.

        Raises:
            ExchangeUnreachable: the positions could not be read before the deadline.
        """
        snapshot: AccountSnapshot | None = None
        with trio.move_on_at(self._ends_at) as scope:
            snapshot = await self._look(
                lambda shown: shown.has_positions or not shown.shows_all_positions, lambda shown: bool(shown.ours)
            )
        if scope.cancelled_caught or self._is_late():
            raise ExchangeUnreachable("the positions of the account were not read before the deadline")
        if snapshot is None:
            return ()
        self._first = snapshot
        self._note_complete(snapshot)
        listed = (*snapshot.reports, *sorted(snapshot.doubled_positions))
        return tuple(key for key in listed if is_chosen(key) and self._supervision.registry.get(*key) is None)

    async def run(self, keys: Sequence[Key], *, dry_run: bool) -> AdoptionReport:
        """Find each of these positions and protect it, or in a dry run return what would be done. Raises as `Wave.run_each`."""
        each: Callable[[Key], Awaitable[Outcome | NotAdopted | WouldAdopt]]
        each = self._preview_one if dry_run else self._adopt_one
        outcomes = await self._wave.run_each([partial(each, key) for key in keys])
        return AdoptionReport(outcomes, self._wave.elapsed, self._wave.opening_times, self._is_complete)

    async def _adopt_one(self, key: Key) -> Outcome | NotAdopted:
        found = await self._try_find(key, wants_price=key in self._stop_prices)
        if isinstance(found, NotAdopted):
            return found
        if found.tick is not None:
            self._supervision.feed.take(found.tick)
        return await self._wave.protect(found.position, standing=found.standing, ends_at=self._ends_at)

    async def _preview_one(self, key: Key) -> AlreadyProtected | Refused | NotAdopted | WouldAdopt:
        found = await self._try_find(key, wants_price=True)
        if isinstance(found, NotAdopted):
            return found
        assert found.tick is not None
        position, plan, price, ours = found.position, self._plan, found.tick.price, found.standing
        attempt = Attempt(position, self._supervision)
        try:
            held = self._supervision.registry.get(*key)
            if held is not None and held.state.stop is not None:
                return attempt.already_protected(held.state.stop, held)
            if held is not None:
                raise UsageError(
                    f"{position.symbol} {position.side} has no live stop, and its task works on it already"
                )
            state = self._supervision.new_task(position, plan, attempt.unclaimed_time).state
            stop_price = state.ratchet.first_stop
            check_size(position, plan, state.market, stop_price, price)
            check_side(position, price)
        except UsageError as error:
            return attempt.refused(error)
        if ours is not None and is_tighter(position.side, ours.price, stop_price):
            stop_price = ours.price
        return WouldAdopt(
            position=position,
            stop_price=stop_price,
            price=price,
            on_would_trigger=plan.on_would_trigger if is_crossed(position.side, price, stop_price) else None,
            adopted=ours,
            foreign=found.foreign,
        )

    # How it is found.

    async def _try_find(self, key: Key, *, wants_price: bool) -> Found | NotAdopted:
        error: Exception
        try:
            return await self.find(key, wants_price=wants_price)
        except TrailingError as failure:
            error = failure
        except Exception as bug:  # the others go on; it is raised when they are through
            self._wave.bugs.append(bug)
            error = bug
        return NotAdopted(symbol=key[0], side=key[1], elapsed=self._wave.elapsed, error=error)

    async def find(self, key: Key, *, wants_price: bool = False) -> Found:
        """Return a position as the exchange reports it.

        Args:
            wants_price: whether the exchange's own price is read, too.

        Raises:
            UsageError: there is no such position, by the rules of `trailing.core.evidence`.
            ExchangeUnreachable: the exchange could not be read before the deadline.
            AuthenticationFailed: it does not take the credentials.
        """
        symbol, side = key
        snapshot: AccountSnapshot | None = None
        tick: Tick | None = None
        with trio.move_on_at(self._ends_at) as scope:
            snapshot = await self._look(lambda shown: key in shown.reports, lambda shown: key in shown.ours)
            if snapshot is not None and wants_price:
                tick = await _read_price(self._supervision, symbol, self._plan)
        if scope.cancelled_caught or self._is_late():
            raise ExchangeUnreachable(f"the {side} position of {symbol} was not read before the deadline")
        if snapshot is None:
            raise UsageError(f"the exchange reports no {side} position of {symbol} that could be adopted")
        self._note_complete(snapshot)
        is_claimed = key in self._claimed or self._supervision.registry.get(symbol, side) is not None
        foreign = (*snapshot.foreign, *snapshot.others)
        return Found(
            _as_position(self._supervision, snapshot.reports[key], self._stop_prices.get(key)),
            None if is_claimed else _tightest(snapshot.ours.get(key, ()), side, self._plan),
            tuple(order for order in foreign if (order.symbol, order.side) == key),
            tick,
        )

    async def _look(
        self, is_shown: Callable[[AccountSnapshot], bool], has_stop: Callable[[AccountSnapshot], bool]
    ) -> AccountSnapshot | None:
        """Return a snapshot that shows what is looked for; None: it is confirmed that it does not exist.

        Args:
            has_stop: whether a snapshot lists a stop of ours for it.
        """
        evidence, timing = FlatEvidence(self._started), self._supervision.timing
        evidence.note_flat(self._started, "refusal")  # no position is the usual case: the caller says that there is one
        snapshot = self._first
        while True:
            if snapshot is None:
                snapshot = await self._supervision.reader.read()
            if is_shown(snapshot):
                return snapshot
            if snapshot.shows_all_positions:
                verdict = evidence.judge(
                    snapshot.asked_at,
                    snapshot.answered_at,
                    timing,
                    is_empty=not snapshot.has_positions,
                    has_stop=has_stop(snapshot),
                )
                if verdict.confirmed:
                    return None
                await trio.sleep_until(min(verdict.again_at, self._supervision.now() + LOOK_AGAIN))
            snapshot = None

    def _is_late(self) -> bool:
        return self._supervision.now() >= self._ends_at

    def _note_complete(self, snapshot: AccountSnapshot) -> None:
        self._is_complete = self._is_complete and snapshot.shows_all_positions and snapshot.shows_all_stops


def _tightest(stops: Sequence[StopOrder], side: Side, plan: TrailPlan) -> StopOrder | None:
    """Return the tightest plain stop with the plan's trigger."""
    suitable = (order for order in stops if order.source == plan.trigger and order.callback is None)
    choose = max if side == "long" else min
    return choose(suitable, key=lambda order: order.price, default=None)


async def _read_price(supervision: Supervision, symbol: str, plan: TrailPlan) -> Tick:
    """Return the exchange's own price. A read that fails is tried again until the deadline."""
    sender = supervision.sender
    waits = pauses()
    while True:
        try:
            reading = partial(sender.exchange.price, symbol, plan.trigger)
            return await sender.read("price", reading, plan.call_seconds)
        except ExchangeUnreachable as error:
            wait = error.retry_after if isinstance(error, RateLimited) else next(waits)
            if trio.current_time() + wait >= trio.current_effective_deadline():
                raise
            await trio.sleep(wait)


def _as_position(supervision: Supervision, report: PositionReport, stop_price: Decimal | None) -> Position:
    """Its id is new, so that no earlier position of the same symbol and side is taken for it.

    Where one was given up there, it goes on under that one's: its record takes the place of the one that says so.
    """
    now = supervision.records.clock.utc()
    identity = f"adopted {now.isoformat()}"
    given_up = supervision.given_up.get((report.symbol, report.side))
    if given_up is not None and given_up.position.id != UNTRACKED:
        identity = given_up.position.identity
    return Position(
        report.symbol, report.side, report.quantity, report.entry_price, now, stop_price=stop_price, id=identity
    )
