"""One claimed position: its stop, what of it is unknown, what is wanted next, and who waits to hear of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import msgspec
import trio

from trailing.core.account import Pending, PositionReport
from trailing.core.candles import CandleBuilder
from trailing.core.model import Fill, Position, StopOrder
from trailing.core.plan import TrailPlan
from trailing.core.states import CLOSED, EXITING, LIVE
from trailing.core.stop import TrailingStop
from trailing.core.trail import Decision, ExitPosition
from trailing.exposure import UNEXPOSED, Bare, Cause, Exposure, cause_of

_ZERO = Decimal(0)


class Missed(msgspec.Struct, frozen=True):
    """A time in which no price was heard.

    Args:
        since, until: aware UTC.
        read_at: when to read its candles, on the running clock.
        last_try: the bar in which it ended was still open when they were read first.
    """

    since: datetime
    until: datetime
    read_at: float
    last_try: bool = False

    def joined(self, earlier: Missed | None) -> Missed:
        """This one from where an earlier one began, which was not read yet."""
        return self if earlier is None else msgspec.structs.replace(self, since=min(self.since, earlier.since))


class Protection:
    """What is known of one claimed position. Only one task at a time does its exchange I/O.

    Attributes:
        stop: its trailing stop.
        opened: the opening has ended, whatever came of it.
        wake: called when something of it changes, for its task to be started where it has something to do; None:
            its opening is at work, or nobody is any more.
        frozen: a rule or a task of it failed: its stop stands, nothing is moved any more.
        error: the last one, or None.
        wanted: what its task should do next: the newest decision, for a stop only ratchets.
        pending: requests whose outcome is unknown, by client order id.
        settled: client order ids whose outcome is known and whose intents are still open in the store.
        cancelling: client order ids of stops that we are cancelling.
        exit_reason: how it came to its end, for the report.
        exit_wanted: why the bot wants it closed, or None.
        release_wanted: the bot wants it released: with its stop cancelled (True) or left standing; None: it doesn't.
        check_wanted: its quantity should be read from the exchange.
        found_flat: how it ended, where the account's reading proved that it has; its task closes the record. Or None.
        heard_at: when its price was heard last, on the running clock.
        replaced_by: another position that stands in its place, and that nobody looks after; or None.
        missed: a time in which its price was not heard, whose peaks are still to be read; or None.
        vanished: the stops that a reading proved gone last, while no reading has shown another one since.
        unlisted: the one in their place is not shown either: its stops are not where the readings look for them.
        at_work: its task is at something.
        reading: the candles that its task reads, which may take long and end where something can't wait; None: none.
        quiet_since: when it last changed by us, or we were told that it did, on the running clock.
        checks: how often such a reading was begun; `checked`: the number of the last one that told.
        not_before: when its task may try again after a failure, on the running clock.
        save_at: when to try again to save what the store does not hold, on the running clock; None: it holds all.
        moves, filled, proceeds: counts and sums for its report.
        unheard: what a close under way has filled, told before its reply, which may never come.
        candles: builds the candles that its rules look at, or None where they look at none.
        confirmed_at: when the exchange last confirmed something, on the running clock; None: never.
        exposure: bare seconds so far, those before the claim included; `bare`: the present ones, or None.
    """

    __slots__ = (
        "_heard",
        "at_work",
        "bare",
        "cancelling",
        "candles",
        "check_wanted",
        "checked",
        "checks",
        "claimed_at",
        "confirmed_at",
        "error",
        "exit_reason",
        "exit_wanted",
        "exposure",
        "filled",
        "found_flat",
        "frozen",
        "heard_at",
        "last_fill",
        "missed",
        "moves",
        "not_before",
        "opened",
        "pending",
        "position",
        "proceeds",
        "quiet_since",
        "reading",
        "release_wanted",
        "replaced_by",
        "save_at",
        "settled",
        "stop",
        "unheard",
        "unlisted",
        "vanished",
        "wake",
        "wanted",
    )

    def __init__(
        self,
        position: Position,
        stop: TrailingStop,
        *,
        claimed_at: float,
        exposure: Exposure,
        cause: Cause = "opening",
    ) -> None:
        self.position: Position = position
        self.stop: TrailingStop = stop
        self.claimed_at: float = claimed_at
        self.opened: bool = False
        self.wake: Callable[[Protection], None] | None = None
        self.frozen: bool = False
        self.error: Exception | None = None
        self.wanted: Decision | None = None
        self.pending: dict[str, Pending] = {}
        self.settled: frozenset[str] = frozenset()
        self.cancelling: frozenset[str] = frozenset()
        self.exit_wanted: str | None = None
        self.exit_reason: str = "the stop was filled"
        self.release_wanted: bool | None = None
        self.check_wanted: bool = False
        self.checks: int = 0
        self.checked: int = 0
        self.found_flat: str | None = None
        self.heard_at: float = claimed_at
        self.replaced_by: PositionReport | None = None
        self.missed: Missed | None = None
        self.vanished: tuple[StopOrder, ...] = ()
        self.unlisted: bool = False
        self.at_work: bool = False
        self.reading: trio.CancelScope | None = None
        self.quiet_since: float = claimed_at
        self.not_before: float = -math.inf
        self.save_at: float | None = None
        self.moves: int = 0
        self.filled: Decimal = _ZERO
        self.proceeds: Decimal = _ZERO
        self.last_fill: Fill | None = None
        self.unheard: tuple[Fill, ...] = ()
        self.confirmed_at: float | None = None
        self.exposure: Exposure = exposure
        self.bare: Bare | None = Bare(claimed_at, cause, claimed_at)
        self.candles: CandleBuilder | None = (
            CandleBuilder(stop.plan.candle_seconds) if stop.plan.candles_needed else None
        )
        self._heard: trio.Event | None = None

    @property
    def plan(self) -> TrailPlan:
        """How it is protected."""
        return self.stop.plan

    @property
    def live(self) -> StopOrder | None:
        """The stop that stands behind it, as far as the exchange has confirmed."""
        return self.stop.order if self.stop.state in LIVE or self.stop.state is EXITING else None

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.stop.state is CLOSED

    @property
    def unfinished(self) -> bool:
        """Whether something was begun whose end has to be known: a request of unknown outcome, a move's old stop."""
        return bool(self.pending) or len(self.stop.orders) > 1

    @property
    def changing(self) -> bool:
        """Whether its task is at something that may change what stands on the exchange."""
        return self.at_work and self.reading is None

    def want(self, decision: Decision | None) -> None:
        """Put a decision into the one slot and wake the task."""
        if decision is not None:
            self.wanted = decision
            self.changed()

    def hurry(self) -> None:
        """Somebody waits for it: let its task try again at once."""
        self.not_before = -math.inf
        self.changed()

    def ask_check(self) -> int:
        """Let its quantity be read, soon. Returns the number of the reading that will tell of this moment."""
        self.check_wanted = True
        self.hurry()
        return self.checks + 1

    def settle(self, client_order_id: str) -> None:
        """It is known what became of an order; its intent stays on the books until this is saved."""
        self.pending.pop(client_order_id, None)
        self.settled |= {client_order_id}

    def confirm(self, at: float) -> None:
        """The exchange has just confirmed something."""
        self.confirmed_at = at
        self.error = None

    def note_exposure(self, at: float, cause: Cause = "cancelled") -> Exposure:
        """Begin, go on with or end counting bare seconds by what is live now.

        Args:
            cause: why it is bare, where that begins now.

        Returns:
            The bare seconds that have just ended.
        """
        if self.stop.order is None and not self.closed and self.stop.quantity:
            if self.bare is None:
                self.bare = Bare(at, cause, at)
            return UNEXPOSED
        if self.bare is None:
            return UNEXPOSED
        ended, self.bare = self.bare.until(at), None
        self.exposure += ended
        return ended

    def note_failure(self, error: BaseException, at: float) -> None:
        """A request failed: where the position is bare, that is why from now on."""
        if self.bare is not None:
            self.bare = self.bare.because(cause_of(error), at)

    def exposure_at(self, at: float) -> Exposure:
        """All bare seconds until now."""
        return self.exposure if self.bare is None else self.exposure + self.bare.until(at)

    def note_fill(self, fill: Fill) -> None:
        """Sum up what was closed, for the report."""
        self.filled += fill.quantity
        self.proceeds += fill.quantity * fill.price
        self.last_fill = fill

    @property
    def profit(self) -> Decimal | None:
        """In quote units, before fees. None unless the reported fills are those of the whole position."""
        if abs(self.filled - self.position.quantity) >= self.stop.market.quantity_step:
            return None
        gain = self.proceeds - self.filled * self.position.entry_price
        return gain if self.position.side == "long" else -gain

    def changed(self) -> None:
        """Wake everybody who waits for something of this position."""
        if self._heard is not None:
            self._heard.set()
            self._heard = None
        if self.reading is not None and self._cannot_wait:
            self.reading.cancel()
        if self.wake is not None:
            self.wake(self)

    @property
    def _cannot_wait(self) -> bool:
        """Whether it stands bare, or is to be closed."""
        return self.stop.order is None or self.exit_wanted is not None or isinstance(self.wanted, ExitPosition)

    async def wait_changed(self) -> None:
        """Wait until something of this position changes."""
        if self._heard is None:
            self._heard = trio.Event()
        await self._heard.wait()

    async def wait_opened(self) -> None:
        """Wait until the opening has ended."""
        while not self.opened:
            await self.wait_changed()
