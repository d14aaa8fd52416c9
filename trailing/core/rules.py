"""The rules that say where a stop should be: a peak and candles in, a candidate stop or nothing out.

A rule is a value with one pure method. Because it depends on nothing but the history it is given, a price that makes no
new peak need not be shown to it at all. Rules never look at each other: the plan takes the tightest of their proposals,
and a stop that stands only ever tightens, so a rule may propose less than it did before without loosening anything.

A bot writes its own the same way::

    class BelowPreviousLow(trailing.Rule, frozen=True):
        candles_needed = 1

        def propose(self, history):
            return history.candles[-1].low if history.side == "long" and history.candles else None
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from trailing.core.model import Candle, Percent, Side, check_money, refuse
from trailing.core.prices import IS_AHEAD, ahead, behind, is_better

Distance: TypeAlias = Percent | Decimal
"""How far one price is from another: a percentage of the price it is measured from, or an amount in quote units."""

Proposer: TypeAlias = Callable[[Decimal, tuple[Candle, ...]], Decimal | None]
"""A rule once side and entry price are known: the best price and the closed candles in, a candidate stop or None out."""

_HUNDRED = Percent(100)
_ONE, _ZERO = Decimal(1), Decimal(0)
_classes: dict[str, type[Rule]] = {}


class History(msgspec.Struct, frozen=True, gc=False):
    """All that a rule may know of a position.

    Args:
        side: ``"long"`` or ``"short"``.
        entry_price: what the entry was filled at.
        best: the best price so far, of the plan's source: the highest for a long, the lowest for a short.
        candles: closed candles of that source, oldest first; at least as many as the rule needs once there were so
            many, at times more.
    """

    side: Side
    entry_price: Decimal
    best: Decimal
    candles: tuple[Candle, ...] = ()


class Rule(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True, dict=True):
    """The base of every rule, built-in or a bot's own.

    A plan is stored with its position, so a rule's fields have to be what msgspec can encode and decode, and its class
    is found again by its name: the class has to be imported before a stored plan is read. What a rule works out of its
    fields alone may stand in a `functools.cached_property`, which is no field.

    Raises:
        UsageError: when a class is defined under a name that another rule class has already. Defining the same class
            again, as in a notebook, replaces it.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        other = _classes.get(cls.__name__)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            origin = f"{other.__module__}.{other.__qualname__}"
            raise refuse("Rule", f"{cls.__module__}.{cls.__qualname__}", f"a name other than that of {origin}")
        _classes[cls.__name__] = cls

    @property
    def candles_needed(self) -> int:
        """How many closed candles this rule looks at; a bot's own rule may say so with a plain class attribute."""
        return 0

    def propose(self, history: History) -> Decimal | None:
        """The stop that this rule wants, not rounded, or None where it wants none.

        It has to be pure: the same history gives the same answer. A proposal of 0 or below (an amount behind a price
        that is smaller than it) counts as none.
        """
        if type(self).bind is Rule.bind:
            raise NotImplementedError
        return self.bind(history.side, history.entry_price)(history.best, history.candles)

    def bind(self, side: Side, entry_price: Decimal) -> Proposer:
        """What is left of the rule once side and entry price are known: `propose` of the best price and the candles.

        A rule writes `propose`, whose answers are checked here. `Callback` and `Breakeven`, which most plans have, write this
        method instead, because every new peak comes this way: their answers are always right and are not checked.

        Raises (the proposer):
            UsageError: where the rule proposes what is no finite Decimal.
        """

        def propose(best: Decimal, candles: tuple[Candle, ...]) -> Decimal | None:
            stop = self.propose(History(side, entry_price, best, candles))
            if stop is None:
                return None
            if type(stop) is not Decimal or not stop.is_finite():
                raise refuse(f"{type(self).__name__}.propose()", stop, "to give a finite Decimal or None")
            return stop if stop > 0 else None

        return propose


class Callback(Rule, frozen=True):
    """A stop that follows the best price at a distance, from a profit on.

    Once the profit is reached the rule stays active, because it is the profit of the best price.

    Args:
        distance: from the best price to the stop, above 0; a percentage of the best price, below 100.
        activation: the profit of the best price over the entry price that it takes, at least 0; a percentage of the
            entry price or an amount. 0: it moves the initial stop at once.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    distance: Distance
    activation: Distance = Percent(0)

    def __post_init__(self) -> None:
        check_distance("Callback.distance", self.distance)
        check_profit("Callback.activation", self.activation)

    def bind(self, side: Side, entry_price: Decimal) -> Proposer:
        """The stop at `distance` behind the best price, or None before the activation."""
        is_ahead, activation = IS_AHEAD[side], ahead(side, entry_price, self.activation)
        if isinstance(self.distance, Percent):
            factor = behind(side, _ONE, self.distance)
            return lambda best, _: None if is_ahead(activation, best) else best * factor
        amount = behind(side, _ZERO, self.distance)
        return lambda best, _: None if is_ahead(activation, best) else best + amount


class Breakeven(Rule, frozen=True):
    """A stop at the entry price, or a little on its winning side, from a profit on.

    Args:
        at: the profit of the best price over the entry price that it takes, above 0; a percentage of the entry price
            or an amount.
        offset: from the entry price to the stop, on the winning side, at least 0; less than `at`, which is checked
            here where both are of one kind. Of two kinds, the rule waits until the best price has passed the stop.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    at: Distance
    offset: Distance = Percent(0)

    def __post_init__(self) -> None:
        check_profit("Breakeven.at", self.at, zero=False)
        check_profit("Breakeven.offset", self.offset)
        if _is_less(self.offset, self.at) is False:
            raise refuse("Breakeven.offset", self.offset, f"less than Breakeven.at, {self.at!r}")

    def bind(self, side: Side, entry_price: Decimal) -> Proposer:
        """The stop at `offset` ahead of the entry price, or None before the profit."""
        is_ahead, stop = IS_AHEAD[side], ahead(side, entry_price, self.offset)
        activation = ahead(side, entry_price, self.at)
        return lambda best, _: None if is_ahead(activation, best) or not is_ahead(best, stop) else stop


class Steps(Rule, frozen=True):
    """A stop that follows the best price more closely the more profit there is.

    Args:
        steps: pairs of a profit and a distance. The pair with the highest profit that the best price has reached says
            how far behind the best price the stop is. Profits, at least 0, grow strictly; distances, above 0 (and
            below 100 percent), shrink strictly. All profits are of one kind, percent or amount, and so are all
            distances.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    steps: tuple[tuple[Distance, Distance], ...]

    def __post_init__(self) -> None:
        steps: Any = self.steps
        if not isinstance(steps, tuple) or not steps or any(not _is_pair(step) for step in steps):
            raise refuse("Steps.steps", steps, "a tuple of (profit, distance) pairs, at least one")
        for index, (profit, distance) in enumerate(steps):
            check_profit(f"Steps.steps[{index}] profit", profit)
            check_distance(f"Steps.steps[{index}] distance", distance)
            if index:
                lower, wider = steps[index - 1]
                if not _is_less(lower, profit):
                    raise refuse(f"Steps.steps[{index}] profit", profit, f"one of the same kind as {lower!r}, and more")
                if not _is_less(distance, wider):
                    raise refuse(
                        f"Steps.steps[{index}] distance", distance, f"one of the same kind as {wider!r}, and less"
                    )

    def propose(self, history: History) -> Decimal | None:
        """The stop at the distance of the highest step reached, or None before the first one."""
        side, best = history.side, history.best
        for profit, distance in reversed(self.steps):
            if not is_better(side, ahead(side, history.entry_price, profit), best):
                return behind(side, best, distance)
        return None


class Chandelier(Rule, frozen=True):
    """A stop that hangs from the best price by a multiple of the average true range.

    That is Charles LeBeau's Chandelier Exit, as Alexander Elder describes it in "Come Into My Trading Room" (2002),
    with the best price since the entry. The average true range is that of J. Welles Wilder, "New Concepts in Technical
    Trading Systems" (1978): the arithmetic mean of the last `period` true ranges, a true range being the span of a
    candle together with the close before it. Wilder goes on by smoothing from the first such mean; we take the mean
    itself each time, since a smoothed value depends on how many candles there ever were, and would be another after a
    restart.

    Args:
        multiple: how many average true ranges the stop is behind the best price, above 0. 3 is usual.
        period: how many true ranges are averaged, at least 1. 22 is Elder's: the trading days of a month.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    multiple: Decimal
    period: int = 22

    def __post_init__(self) -> None:
        check_money("Chandelier.multiple", self.multiple)
        if type(self.period) is not int or self.period < 1:
            raise refuse("Chandelier.period", self.period, "a whole number of candles, at least 1")

    @property
    def candles_needed(self) -> int:
        """One more than `period`: the first true range needs the close before it."""
        return self.period + 1

    def propose(self, history: History) -> Decimal | None:
        """The stop behind the best price, or None while candles are missing or where none of them has a range."""
        candles = history.candles[-self.candles_needed :]
        if len(candles) < self.candles_needed:
            return None
        total = _ZERO
        close = candles[0].close
        for candle in candles[1:]:
            total += max(candle.high, close) - min(candle.low, close)
            close = candle.close
        if not total:
            return None
        return behind(history.side, history.best, self.multiple * total / self.period)


def rule_class(name: str) -> type[Rule]:
    """The rule class of that name.

    Raises:
        UsageError: where there is none (yet): a bot's own rules have to be imported first.
    """
    found = _classes.get(name)
    if found is None:
        raise refuse("Rule", name, f"one of {', '.join(sorted(_classes))}, or a rule of your own once it is imported")
    return found


def check_distance(field: str, value: Any) -> None:
    """Refuse what isn't a distance behind a price: a percentage above 0 and below 100, or an amount above 0."""
    if isinstance(value, Percent):
        if not value.value or value >= _HUNDRED:
            raise refuse(field, value, "a percentage above 0 and below 100")
    else:
        _check_amount(field, value, zero=False)


def check_profit(field: str, value: Any, *, zero: bool = True) -> None:
    """Refuse what isn't a profit: a percentage or an amount, at least 0 (above it, where `zero` is false)."""
    if not isinstance(value, Percent):
        _check_amount(field, value, zero=zero)
    elif not zero and not value.value:
        raise refuse(field, value, "a percentage above 0")


def _check_amount(field: str, value: Any, *, zero: bool) -> None:
    if not isinstance(value, Decimal):
        raise refuse(field, value, "a Percent, or an amount as a Decimal")
    check_money(field, value, zero=zero)


def _is_pair(step: object) -> bool:
    return isinstance(step, tuple) and len(step) == 2


def _is_less(one: Distance, other: Distance) -> bool | None:
    """Whether one distance is less than another; None where one is a percentage and the other an amount."""
    if isinstance(one, Percent):
        return one < other if isinstance(other, Percent) else None
    return None if isinstance(other, Percent) else one < other
