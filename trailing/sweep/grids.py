"""Grids of plans: every combination of the values of several axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import product
from math import prod
from typing import Any, Final, TypeAlias

import msgspec

from trailing.core.checks import refuse
from trailing.core.model import Percent
from trailing.core.plan import TrailPlan
from trailing.core.rules import Breakeven, Callback, Chandelier, Distance, Rule, Steps
from trailing.errors import UsageError

MOST_PLANS: Final = 100_000
"""The most plans of a sweep. Their results take 51 MB for each order of a bar's extremes."""

Value: TypeAlias = Distance | Steps | int | None

_ZERO: Final = Percent(0)
_BASE: Final = TrailPlan(initial_stop=Percent(2))
_RULES: Final[dict[str, type[Rule]]] = {
    "callback": Callback,
    "breakeven": Breakeven,
    "steps": Steps,
    "chandelier": Chandelier,
}
_DEPENDS_ON: Final = {
    "activation": "callback",
    "breakeven_offset": "breakeven",
    "chandelier_period": "chandelier",
}


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Every combination of values of a plan.

    An axis without values keeps the rule of the base plan. None in an axis of a rule means: without that rule.

    Args:
        initial_stop: distances of the initial stop.
        callback: distances of a `Callback`, and None; `activation`: its activations.
        breakeven: profits at which a `Breakeven` begins, and None; `breakeven_offset`: its offsets. A combination whose
            offset is not less than the profit is left out.
        steps: `Steps` rules, and None.
        chandelier: multiples of a `Chandelier`, and None; `chandelier_period`: its periods.
        base: the other fields of every plan, and its rules of kinds that no axis varies.

    Raises:
        UsageError: an axis can't be right, or there are too many plans.
    """

    initial_stop: tuple[Distance, ...] = ()
    callback: tuple[Distance | None, ...] = ()
    activation: tuple[Distance, ...] = ()
    breakeven: tuple[Distance | None, ...] = ()
    breakeven_offset: tuple[Distance, ...] = ()
    steps: tuple[Steps | None, ...] = ()
    chandelier: tuple[Decimal | None, ...] = ()
    chandelier_period: tuple[int, ...] = ()
    base: TrailPlan = _BASE

    def __post_init__(self) -> None:
        axes = self.axes
        for name, values in axes.items():
            if not isinstance(values, tuple):
                raise refuse(f"Grid.{name}", values, "a tuple of values")
            if len({repr(value) for value in values}) < len(values):
                raise refuse(f"Grid.{name}", values, "each value once")
            rule = _DEPENDS_ON.get(name)
            if rule is not None and rule not in axes:
                raise UsageError(f"Grid.{name} has values, but Grid.{rule} has none")
        if not axes:
            raise UsageError("the grid is empty: give at least one value of an axis")
        if self.combinations > MOST_PLANS:
            shape = " x ".join(str(len(values)) for values in axes.values())
            raise UsageError(
                f"the grid has {self.combinations:,} plans ({shape}), and a sweep takes at most {MOST_PLANS:,}: "
                "give fewer values"
            )

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The axes that have values, by name."""
        names = (name for name in self.__struct_fields__ if name != "base")
        return {name: values for name in names if (values := getattr(self, name)) != ()}

    @property
    def combinations(self) -> int:
        """The number of combinations, those included that are left out."""
        return prod(map(len, self.axes.values()))

    def cells(self) -> Iterator[tuple[tuple[int, ...], TrailPlan]]:
        """Yield each plan with the index of its value on each axis.

        A rule that is left out has one cell for all values of the axes that depend on it: their first ones.

        Raises:
            UsageError: a value can't be right. The message names its field.
        """
        axes = self.axes
        names = tuple(axes)
        for indexes in product(*(range(len(values)) for values in axes.values())):
            cell = {name: axes[name][index] for name, index in zip(names, indexes, strict=True)}
            if self._repeats(cell, dict(zip(names, indexes, strict=True))):
                continue
            rules = self._rules(cell)
            if rules is not None:
                changes: dict[str, Any] = {"rules": rules}
                if "initial_stop" in cell:
                    changes["initial_stop"] = cell["initial_stop"]
                yield indexes, msgspec.structs.replace(self.base, **changes)

    @staticmethod
    def _repeats(cell: dict[str, Any], indexes: dict[str, int]) -> bool:
        return any(rule in cell and cell[rule] is None and indexes.get(name, 0) for name, rule in _DEPENDS_ON.items())

    def _rules(self, cell: dict[str, Any]) -> tuple[Rule, ...] | None:
        """Return the rules of a cell; None: they are no possible combination."""
        varied = tuple(_RULES[name] for name in cell if name in _RULES)
        rules: list[Rule] = [rule for rule in self.base.rules if not isinstance(rule, varied)]
        if (callback := cell.get("callback")) is not None:
            rules.append(Callback(callback, activation=cell.get("activation", _ZERO)))
        if (at := cell.get("breakeven")) is not None:
            offset = cell.get("breakeven_offset", _ZERO)
            if type(offset) is type(at) and not offset < at:
                return None
            rules.append(Breakeven(at=at, offset=offset))
        if (steps := cell.get("steps")) is not None:
            rules.append(steps)
        if (multiple := cell.get("chandelier")) is not None:
            rules.append(Chandelier(multiple, cell.get("chandelier_period", 22)))
        return tuple(rules)


def plans_of(given: Grid | Sequence[TrailPlan]) -> tuple[tuple[TrailPlan, ...], tuple[tuple[int, ...], ...]]:
    """Return the plans of a sweep, and the cell of each plan of a grid.

    Raises:
        UsageError: there is none, there are too many, or a value can't be right.
    """
    if isinstance(given, Grid):
        found = tuple(given.cells())
        if not found:
            raise UsageError("the grid is empty: no combination of its values is a possible plan")
        return tuple(plan for _, plan in found), tuple(cell for cell, _ in found)
    plans = tuple(given)
    if not plans:
        raise UsageError("there is no plan to sweep: give at least one")
    if len(plans) > MOST_PLANS:
        raise UsageError(f"there are {len(plans):,} plans, and a sweep takes at most {MOST_PLANS:,}")
    for plan in plans:
        if not isinstance(plan, TrailPlan):
            raise refuse("plans", plan, "a Grid, or TrailPlan objects")
    return plans, ()
