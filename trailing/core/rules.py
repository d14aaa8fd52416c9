"""The rules, which propose a stop from the best price and closed candles.

A rule is a value with one pure method. It depends only on the history that it is given, so a price that makes no new
peak need not be shown to it. Rules are independent of each other, and the plan takes the tightest of their proposals. A
live stop only tightens, so a rule may propose a looser stop than before without loosening anything.

A bot writes its own rules the same way::

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
"""The distance between two prices. It is a percentage of the price that it is measured from, or an amount in quote
units."""

Proposer: TypeAlias = Callable[[Decimal, tuple[Candle, ...]], Decimal | None]
"""A rule for a known side and entry price. It takes the best price and closed candles, and returns a stop or None."""

_HUNDRED = Percent(100)
_ONE, _ZERO = Decimal(1), Decimal(0)
_classes: dict[str, type[Rule]] = {}


class History(msgspec.Struct, frozen=True, gc=False):
    """The facts of a position that a rule may use.

    Args:
        side: ``"long"`` or ``"short"``.
        entry_price: the price at which the entry was filled.
        best: the best price so far, of the plan's source: the highest for a long, the lowest for a short.
        candles: closed candles of that source, oldest first. Once enough have closed, they are at least as many as the
            rule needs, at times more.
    """

    side: Side
    entry_price: Decimal
    best: Decimal
    candles: tuple[Candle, ...] = ()


class Rule(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True, dict=True):
    """The base of every rule, built-in or a bot's own.

    A plan is stored with its position, so msgspec has to be able to encode and decode a rule's fields. A stored rule's
    class is found by its name, so the class has to be imported before a stored plan is read. A value that derives from
    the fields alone may be a `functools.cached_property`, which is no field.

    Raises:
        UsageError: a class is defined under the name of another rule class. Defining the same class again, as in a
            notebook, replaces it.
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
        """Return how many closed candles this rule looks at.

        A bot's own rule may say so with a plain class attribute.
        """
        return 0

    def propose(self, history: History) -> Decimal | None:
        """Return the stop that this rule wants, not rounded.

        None: it wants none. A proposal of 0 or below counts as none, such as an amount behind a price that is smaller
        than it. The method has to be pure: the same history gives the same answer.
        """
        if type(self).bind is Rule.bind:
            raise NotImplementedError
        return self.bind(history.side, history.entry_price)(history.best, history.candles)

    def bind(self, side: Side, entry_price: Decimal) -> Proposer:
        """Return `propose` for a known side and entry price.

        A rule writes `propose`, and this method checks its answers. `Callback` and `Breakeven`, which most plans have,
        write this method instead, because it is called for every new peak. Their answers are always finite and are not
        checked.

        Raises (the proposer):
            UsageError: the rule proposes a value that is not a finite Decimal.
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
    """A stop that follows the best price at a distance, once there is enough profit.

    After that the rule stays active, because the profit is that of the best price.

    Args:
        distance: the distance from the best price to the stop, above 0. It is a percentage of the best price, below
            100, or an amount.
        activation: the profit that activates the rule, from the entry price to the best price, at least 0. It is a
            percentage of the entry price or an amount. 0: the rule moves the initial stop at once.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    distance: Distance
    activation: Distance = Percent(0)

    def __post_init__(self) -> None:
        check_distance("Callback.distance", self.distance)
        check_profit("Callback.activation", self.activation)

    def bind(self, side: Side, entry_price: Decimal) -> Proposer:
        """Return a proposer of the stop at `distance` behind the best price.

        The proposer returns None before the activation.
        """
        is_ahead, activation = IS_AHEAD[side], ahead(side, entry_price, self.activation)
        if isinstance(self.distance, Percent):
            factor = behind(side, _ONE, self.distance)
            return lambda best, _: None if is_ahead(activation, best) else best * factor
        amount = behind(side, _ZERO, self.distance)
        return lambda best, _: None if is_ahead(activation, best) else best + amount


class Breakeven(Rule, frozen=True):
    """A stop at the entry price or a little ahead, once there is enough profit.

    Args:
        at: the profit that activates the rule, from the entry price to the best price, above 0. It is a percentage of
            the entry price or an amount.
        offset: the distance from the entry price to the stop, on the winning side, at least 0 and less than `at`. This
            is checked here if both are of one kind. If they are not, the rule waits until the best price has passed the
            stop.

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
        """Return a proposer of the stop at `offset` ahead of the entry price.

        The proposer returns None before the profit.
        """
        is_ahead, stop = IS_AHEAD[side], ahead(side, entry_price, self.offset)
        activation = ahead(side, entry_price, self.at)
        return lambda best, _: None if is_ahead(activation, best) or not is_ahead(best, stop) else stop


class Steps(Rule, frozen=True):
    """A stop that follows the best price more closely the more profit there is.

    Args:
        steps: pairs of a profit and a distance. The pair with the highest profit that the best price has reached gives
            the distance from the best price to the stop. Profits, at least 0, grow strictly. Distances, above 0 (and
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
        """Return the stop at the distance of the highest step reached.

        None: the first step is not reached.
        """
        side, best = history.side, history.best
        for profit, distance in reversed(self.steps):
            if not is_better(side, ahead(side, history.entry_price, profit), best):
                return behind(side, best, distance)
        return None


class Chandelier(Rule, frozen=True):
    """A stop that lies a multiple of the average true range behind the best price.

    That is Charles LeBeau's Chandelier Exit, as Alexander Elder describes it in "Come Into My Trading Room" (2002),
    with the best price since the entry. The average true range is that of J. Welles Wilder, "New Concepts in Technical
    Trading Systems" (1978): the arithmetic mean of the last `period` true ranges. A true range is the span of a candle
    together with the close before it. Wilder then smooths, beginning with the first such mean. This rule takes the mean
    itself each time, because a smoothed value depends on how many candles there ever were, and would differ after a
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
        """Return one more than `period`, because the first true range needs the close before it."""
        return self.period + 1

    def propose(self, history: History) -> Decimal | None:
        """Return the stop behind the best price.

        None: candles are missing, or none of them has a range.
        """
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
    """Return the rule class of that name.

    Raises:
        UsageError: no class has the name (yet). A bot's own rules have to be imported first.
    """
    found = _classes.get(name)
    if found is None:
        raise refuse("Rule", name, f"one of {', '.join(sorted(_classes))}, or a rule of your own once it is imported")
    return found


def check_distance(field: str, value: Any) -> None:
    """Refuse a value that isn't a distance behind a price.

    A distance is a percentage above 0 and below 100, or an amount above 0.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    if isinstance(value, Percent):
        if not value.value or value >= _HUNDRED:
            raise refuse(field, value, "a percentage above 0 and below 100")
    else:
        _check_amount(field, value, zero=False)


def check_profit(field: str, value: Any, *, zero: bool = True) -> None:
    """Refuse a value that isn't a profit.

    A profit is a percentage or an amount, at least 0. If `zero` is false, it is above 0.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
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
    """Return whether one distance is less than another.

    None: one is a percentage and the other an amount.
    """
    if isinstance(one, Percent):
        return one < other if isinstance(other, Percent) else None
    return None if isinstance(other, Percent) else one < other
