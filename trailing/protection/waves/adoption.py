"""Find positions that were opened by hand, and protect them like any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Final, Literal

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
from trailing.protection.supervision import Supervision
from trailing.protection.waves.outcomes import (
    AlreadyProtected,
    Attempt,
    Exited,
    OpeningTimes,
    Outcome,
    Refused,
    is_untracked,
    stop_of,
)
from trailing.protection.waves.wave import Wave

LOOK_AGAIN: Final = 1.0
"""The longest wait before the next snapshot is requested, in seconds. It is short because a caller waits, and because one list
that shows the position is enough."""


class NotAdopted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No such position was found, so nothing was sent, and the position is in no list of the manager.

    Args:
        symbol, side: of the position.
        elapsed: seconds from the call until this outcome was known.
        error: a `UsageError` if two answers of the exchange do not list the position; otherwise the reason why it could not be
            read before the deadline.
    """

    symbol: str
    side: Side
    elapsed: float
    error: Exception

    def __str__(self) -> str:
        return f"{self.symbol} {self.side}: not adopted ({self.error}), after {self.elapsed:.1f} s"


class WouldAdopt(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What an adoption would do now, from a dry run. Nothing was sent.

    Args:
        position: as the exchange reports it.
        stop_price: where its stop would be: the first stop, or the adopted one if that is tighter.
        price: the exchange's own price of the plan's trigger source.
        on_would_trigger: the plan's policy, which would apply at once because the price is already at or beyond the stop;
            ``"exit"`` closes the position at market. None: the price is not there.
        adopted: a live stop of ours that would become the position's; None: there is none.
        foreign: the live stops behind it that are not ours, and that would stay as they are.
    """

    position: Position
    stop_price: Decimal
    price: Decimal
    on_would_trigger: Literal["exit", "keep"] | None
    adopted: StopOrder | None
    foreign: tuple[StopOrder, ...]

    @property
    def symbol(self) -> str:
        """The symbol of the position."""
        return self.position.symbol

    @property
    def side(self) -> Side:
        """The side of the position."""
        return self.position.side

    def __str__(self) -> str:
        ours, words = self.adopted, []
        if ours is not None:
            words.append(f"our stop at {ours.price} would be adopted")
        if self.on_would_trigger is not None:
            kept = "left without a stop" if ours is None else "left with it"
            end = "closed at market at once" if self.on_would_trigger == "exit" else kept
            words.append(
                f"the price {self.price} is already beyond the stop at {self.stop_price}, so the position would be {end}"
            )
        elif ours is None:
            words.append(f"a stop would be placed at {self.stop_price}")
        elif ours.price != self.stop_price:
            words.append(f"it would be moved to {self.stop_price}")
        if self.foreign:
            prices = ", ".join(str(order.price) for order in self.foreign)
            words.append(f"foreign stops would stay as they are: {prices}")
        return f"{self.symbol} {self.side}: {'; '.join(words)}"


class AdoptionReport(msgspec.Struct, frozen=True):
    """The outcomes and figures of an adoption.

    Args:
        outcomes: in the order of the positions that were named, or else in the order of the exchange's list. A dry run gives
            `WouldAdopt` for each position that would be adopted, and otherwise the outcome that the adoption would have. All of
            them have `symbol` and `side`.
        elapsed: seconds from the call to its end, clean-up included.
        opening_times: of the stops that it placed.
        is_complete: whether every entry of the account's lists could be read. Otherwise a position may be missing, or a stop
            of a `WouldAdopt`.
    """

    outcomes: tuple[Outcome | NotAdopted | WouldAdopt, ...]
    elapsed: float
    opening_times: OpeningTimes
    is_complete: bool

    @property
    def protected(self) -> tuple[Outcome | NotAdopted | WouldAdopt, ...]:
        """The outcomes with a live stop, a late one included."""
        return tuple(outcome for outcome in self.outcomes if _stop_of(outcome) is not None)

    @property
    def unprotected(self) -> tuple[Outcome | NotAdopted | WouldAdopt, ...]:
        """The outcomes whose position may be open without a stop of ours."""
        return tuple(
            outcome
            for outcome in self.outcomes
            if _stop_of(outcome) is None
            and not isinstance(outcome, Exited)
            and not (isinstance(outcome, NotAdopted) and isinstance(outcome.error, UsageError))
        )


def _stop_of(outcome: Outcome | NotAdopted | WouldAdopt) -> StopOrder | None:
    return outcome.adopted if isinstance(outcome, WouldAdopt) else stop_of(outcome)


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
            UsageError: it is confirmed that there is no such position (`trailing.core.evidence`).
            ExchangeUnreachable: the exchange could not be read before the deadline.
            AuthenticationFailed: the exchange does not accept the credentials.
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
        """Return a snapshot that lists a position; None: it is confirmed that the position does not exist.

        Args:
            is_shown: returns whether a snapshot lists it.
            has_stop: returns whether a snapshot lists a stop of ours for it.
        """
        evidence, timing = FlatEvidence(self._started), self._supervision.timing
        # Otherwise the absence is confirmed after `UNANNOUNCED` seconds only, although nothing but the caller says that it exists.
        evidence.note_flat(self._started, "refusal")
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
    """Return the exchange's own price. A failed read is tried again until the deadline."""
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
    """Return the position of a report, with a new id, because it may not be an earlier position of the same key.

    If a position of the key was given up, the new one gets its identity, so that the new record replaces the stored one. An
    untracked position has no such identity.
    """
    now = supervision.records.clock.utc()
    identity = f"adopted {now.isoformat()}"
    given_up = supervision.given_up.listed.get((report.symbol, report.side))
    if given_up is not None and not is_untracked(given_up.position):
        identity = given_up.position.identity
    return Position(
        report.symbol, report.side, report.quantity, report.entry_price, now, stop_price=stop_price, id=identity
    )
