"""Runs the steps of a check one after the other, and removes what they have created."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
import trio

from trailing.cli.operate import check_steps as steps
from trailing.cli.operate import check_triggers as triggers
from trailing.cli.operate.check_account import CheckedAccount, Left, plain
from trailing.cli.operate.check_context import Check, NotMet, NotOffered, Skipped
from trailing.cli.operate.check_record import Recorder
from trailing.core.model import Side
from trailing.core.prices import EXACT
from trailing.errors import TrailingError, UsageError
from trailing.exchanges.ccxt.connecting import STREAM_PROTOCOLS
from trailing.exchanges.ccxt.entries import smallest_entry
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.port import PartialList

Outcome: TypeAlias = Literal["passed", "failed", "skipped", "not offered"]
Verdict: TypeAlias = Literal["passed", "incomplete", "failed"]
Ended: TypeAlias = Literal["done", "interrupted", "deadline", "crashed"]

STEP_SECONDS: Final = 90.0
"""Seconds that a step may take, besides its wait for the price."""

CLEAN_UP: Final = "clean up"

_REASONS: Final[Mapping[Ended, str]] = {
    "interrupted": "the check was interrupted",
    "deadline": "the deadline had passed",
    "crashed": "an earlier step crashed",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a check may do.

    Args:
        symbol: the market.
        side: of the positions to open.
        most_notional: the most that one position may be worth, in quote units; None: no limit.
        trigger_seconds: how long to wait until the price reaches a stop, for each price source.
        deadline: seconds after which no step goes on. The clean-up comes after it.
    """

    symbol: str
    side: Side = "long"
    most_notional: Decimal | None = None
    trigger_seconds: float = 120.0
    deadline: float = 900.0


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one step.

    Args:
        milliseconds: how long it took, its waits included; None: it did not run.
        words: what was measured, what the venue said, or why the step did not pass.
    """

    name: str
    outcome: Outcome
    milliseconds: int | None
    words: str


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check.

    Args:
        ended: ``"done"``: every step ran; otherwise why the check ended early.
        quantity: of each position that was opened, in base units.
        left: what is, or may be, still on the account.
    """

    exchange: str
    symbol: str
    side: Side
    hedged: bool
    quantity: Decimal
    ended: Ended
    steps: tuple[StepResult, ...]
    left: tuple[Left, ...]

    @property
    def verdict(self) -> Verdict:
        """``"failed"`` if a step failed or something is left; ``"incomplete"`` if a step did not run to its end."""
        outcomes = {step.outcome for step in self.steps}
        if "failed" in outcomes or self.left:
            return "failed"
        return "incomplete" if "skipped" in outcomes or self.ended != "done" else "passed"


class Step(NamedTuple):
    """A step by its name in the table."""

    name: str
    run: Callable[[Check], Awaitable[str]]


STEPS: Final = (
    Step("stream", steps.stream),
    Step("enter", steps.enter),
    Step("place", steps.place),
    Step("list", steps.list_stops),
    Step("open orders", steps.list_orders),
    Step("find by id", steps.find),
    Step("refuse a used id", steps.reject_used_id),
    Step("move", steps.move),
    Step("refuse a price beyond", steps.reject_price_beyond),
    Step("cancel", steps.cancel),
    Step("refuse to cancel an unknown id", steps.reject_unknown_ids),
    Step("native trailing order", steps.trailing_order),
    Step("trigger by last", partial(triggers.trigger, source="last")),
    Step("trigger by mark", partial(triggers.trigger, source="mark")),
    Step("trigger by index", partial(triggers.trigger, source="index")),
    Step("close", triggers.close),
    Step("refuse without a position", steps.reject_without_position),
)


async def run_check(
    exchange: CcxtExchange,
    settings: Settings,
    recorder: Recorder,
    *,
    cancels: Callable[[], AbstractContextManager[object]],
    on_step: Callable[[StepResult | str], object],
    on_left: Callable[[Left], object],
    tell: Callable[[str], object],
) -> CheckResult:
    """Run all steps on an account, and remove what they have created.

    Args:
        exchange: the account. Nothing may be open in the symbol.
        settings: the market and the limits.
        recorder: records the requests and frames of each step.
        cancels: opens a block that an interruption cancels. The steps are in one, and the clean-up is in another.
        on_step: called with the name of each step when it begins, and with its result.
        on_left: called with each thing that is, or may be, left on the account.
        tell: called with a sentence about each request of the clean-up that failed.

    Returns:
        The result, also after an interruption by `cancels`.

    Raises:
        UsageError: the market is not as it must be. Nothing was sent that changes anything.
        ExchangeError: the account can't be read.

    Cancellation: of a scope around it ends the steps too. The clean-up has `CLEANUP_SECONDS` after it.
    """
    account = await _prepare(exchange, settings)
    recorder.begin(exchange.session, settings.symbol)
    steps = _Steps(recorder, on_step)
    left: tuple[Left, ...] = ()
    try:
        with cancels():
            await steps.run_all(account, settings)
    finally:
        started = steps.begin(CLEAN_UP)
        with cancels():
            left = await account.clean_up(tell)  # noqa: ASYNC102 - shields itself, with a deadline
        for each in left:
            on_left(each)
    steps.skip_rest()
    words = "; ".join(map(str, left)) or "nothing of the check is left on the account"
    steps.add(CLEAN_UP, "failed" if left else "passed", words, started)
    return CheckResult(
        exchange=exchange.name,
        symbol=settings.symbol,
        side=settings.side,
        hedged=exchange.hedged,
        quantity=account.quantity,
        ended=steps.ended,
        steps=tuple(steps.results),
        left=left,
    )


async def _prepare(exchange: CcxtExchange, settings: Settings) -> CheckedAccount:
    """Check that nothing is open in the market, and choose the quantity. Raises UsageError."""
    symbol = settings.symbol
    exchange.market(symbol)
    positions, orders, stops = (
        await exchange.positions(),
        await exchange.open_orders(symbol),
        await exchange.open_stops(),
    )
    for operation, entries in (("positions", positions), ("open orders", orders), ("stops", stops)):
        if isinstance(entries, PartialList):
            raise UsageError(
                f"check: the account's list of {operation} has entries that can't be parsed: {entries.left_out[0]}"
            )
    held = next((report for report in positions if report.symbol == symbol), None)
    if held is not None:
        raise UsageError(
            f"check: {symbol} has an open {held.side} of {plain(held.quantity)}; use a symbol without a position"
        )
    count = max(len(orders), sum(stop.symbol == symbol for stop in stops))
    if count:
        raise UsageError(
            f"check: {symbol} has {count} open order{'s' if count > 1 else ''}, which the end of a position could cancel or "
            "fill; use a symbol without orders"
        )
    price = (await exchange.price(symbol, next(iter(exchange.venue.stops.sources)))).price
    quantity = smallest_entry(exchange, symbol, price)
    worth = EXACT.multiply(quantity, price)
    if settings.most_notional is not None and worth > settings.most_notional:
        raise UsageError(
            f"check: the smallest position in {symbol} is {plain(quantity)}, worth {worth:.2f}, which is above --most-notional "
            f"{plain(settings.most_notional)}"
        )
    return CheckedAccount(exchange, symbol, settings.side, quantity)


class _Steps:
    """Runs the steps and keeps their results.

    Attributes:
        ended: why they ended.
    """

    def __init__(self, recorder: Recorder, on_step: Callable[[StepResult | str], object]) -> None:
        self._recorder, self._on_step = recorder, on_step
        self.results: list[StepResult] = []
        self.ended: Ended = "interrupted"

    async def run_all(self, account: CheckedAccount, settings: Settings) -> None:
        """Run all steps until one crashes or the deadline has passed."""
        has_stream = account.exchange.venue.name in STREAM_PROTOCOLS
        check = Check(account, has_stream=has_stream, trigger_seconds=settings.trigger_seconds)
        with trio.move_on_after(settings.deadline) as scope:
            async with account.exchange.updates() as channel, trio.open_nursery() as nursery:
                nursery.start_soon(check.updates.collect, channel)
                await account.exchange.set_subscriptions({check.symbol})
                for step in STEPS:
                    if not await self._run(step, check):
                        break
                nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            self.ended = "deadline"

    def begin(self, name: str) -> float:
        """Announce a step, and return the time."""
        self._on_step(name)
        self._recorder.begin_step(name)
        return trio.current_time()

    def add(self, name: str, outcome: Outcome, words: str, started: float | None) -> None:
        """Add the result of a step; `started`: when it began; None: it did not end, or did not run."""
        took = None if started is None else round((trio.current_time() - started) * 1000)
        words = self._recorder.clean_words(words)
        self.results.append(StepResult(name=name, outcome=outcome, milliseconds=took, words=words))
        self._on_step(self.results[-1])

    def skip_rest(self) -> None:
        """Add a result for each step that did not run, or did not end."""
        for number, step in enumerate(STEPS[len(self.results) :]):
            began = not number and self.ended != "crashed"
            self.add(step.name, "skipped", f"{'cut short' if began else 'not run'}: {_REASONS[self.ended]}", None)

    async def _run(self, step: Step, check: Check) -> bool:
        """Run a step, and return whether the next one may run."""
        started = self.begin(step.name)
        outcome: Outcome
        crashed = False
        try:
            with trio.fail_after(STEP_SECONDS + check.trigger_seconds):
                outcome, words = "passed", await step.run(check)
        except NotOffered as reason:
            outcome, words = "not offered", str(reason)
        except Skipped as reason:
            outcome, words = "skipped", str(reason)
        except NotMet as reason:
            outcome, words = "failed", str(reason)
        except TrailingError as error:
            outcome, words = "failed", f"{type(error).__name__}: {error}"
        except trio.TooSlowError:
            outcome, words = "failed", "the step took too long"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            outcome, words, crashed = "failed", f"a bug of trailing in {where}: {error!r}", True
        self.add(step.name, outcome, words, started)
        if crashed or step is STEPS[-1]:
            self.ended = "crashed" if crashed else "done"
        return not crashed
