"""The grid of a sweep, from options such as ``--callback 0.5%:3%:0.25%``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from trailing.cli.parser import Option
from trailing.core.model import Percent, refuse
from trailing.core.rules import Distance, Steps
from trailing.errors import UsageError

MOST_VALUES: Final = 100_000
"""The most values of one axis, which alone are as many plans as a sweep takes."""

_DISTANCES: Final = "values such as '0.5%,1%,2%', a range such as '0.5%:3%:0.25%' (or amounts without %)"

GRID_OPTIONS: Final = (
    Option(
        name="--initial-stop",
        value="VALUES",
        help="the distances of the initial stop: a list such as 1%,2%,3%, or a range from, to and step such as 1%:5%:0.5%; "
        "values without % are amounts",
    ),
    Option(name="--callback", value="VALUES", help="the distances of a Callback, and none for plans without it"),
    Option(name="--activation", value="VALUES", help="the activations of the Callback"),
    Option(name="--breakeven", value="VALUES", help="the profits at which a Breakeven begins, and none"),
    Option(name="--breakeven-offset", value="VALUES", help="the offsets of the Breakeven"),
    Option(
        name="--steps",
        value="PAIRS",
        repeats=True,
        help="a Steps rule such as 1%=1.5%,3%=0.5% (profit=distance), or none; may be given several times",
    ),
    Option(name="--chandelier", value="VALUES", help="the multiples of a Chandelier, such as 2:4:0.5, and none"),
    Option(name="--chandelier-period", value="VALUES", help="the periods of the Chandelier, such as 14,22"),
)


def parse_axes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes of a grid, from the values of `GRID_OPTIONS` by parameter.

    Raises:
        UsageError: a value can't be right, or no option is given.
    """
    axes: dict[str, Any] = {}
    for name in ("initial_stop", "callback", "activation", "breakeven", "breakeven_offset"):
        if options[name] is not None:
            none = name in {"callback", "breakeven"}
            axes[name] = tuple(_distances(_option(name), options[name], none=none))
    if options["steps"] is not None:
        axes["steps"] = tuple(_steps(text) for text in options["steps"])
    if options["chandelier"] is not None:
        axes["chandelier"] = tuple(_numbers("--chandelier", options["chandelier"], none=True))
    if options["chandelier_period"] is not None:
        periods = tuple(_numbers("--chandelier-period", options["chandelier_period"], none=False))
        if any(period is None or period != int(period) for period in periods):
            raise refuse("--chandelier-period", options["chandelier_period"], "whole numbers such as 14,22")
        axes["chandelier_period"] = tuple(int(period) for period in periods if period is not None)
    if not axes:
        names = ", ".join(option.name for option in GRID_OPTIONS)
        raise UsageError(f"the grid is empty: give at least one of {names}")
    return axes


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _distances(option: str, text: str, *, none: bool) -> Iterator[Distance | None]:
    has_percents = "%" in text
    wants = _DISTANCES + (", or none" if none else "")
    for value in _values(option, text, wants):
        if value is None and not none:
            raise refuse(option, text, wants)
        yield value if value is None or not has_percents else _percent(option, text, value, wants)
    written = (number for part in text.split(",") if part != "none" for number in part.split(":"))
    if has_percents and any("%" not in number for number in written):
        raise refuse(option, text, "percentages or amounts, and not both")


def _percent(option: str, text: str, value: Decimal, wants: str) -> Percent:
    try:
        return Percent(value)
    except UsageError:
        raise refuse(option, text, wants) from None


def _numbers(option: str, text: str, *, none: bool) -> Iterator[Decimal | None]:
    wants = "numbers such as '2,3', or a range such as '2:4:0.5'" + (", or none" if none else "")
    for value in _values(option, text, wants):
        if "%" in text or (value is None and not none):
            raise refuse(option, text, wants)
        yield value


def _values(option: str, text: str, wants: str) -> Iterator[Decimal | None]:
    for part in text.split(","):
        if part == "none":
            yield None
            continue
        try:
            numbers = [Decimal(number.removesuffix("%")) for number in part.split(":")]
            if not all(number.is_finite() for number in numbers):
                raise refuse(option, text, wants)
        except InvalidOperation:
            raise refuse(option, text, wants) from None
        if len(numbers) == 1:
            yield numbers[0]
        elif len(numbers) == 3:
            yield from _range(option, text, numbers)
        else:
            raise refuse(option, text, wants)


def _range(option: str, text: str, numbers: Sequence[Decimal]) -> Iterator[Decimal]:
    first, last, step = numbers
    if step <= 0 or last < first:
        raise refuse(option, text, "a range from, to and step, whose end is not before its begin, and a step above 0")
    count = int((last - first) / step) + 1
    if count > MOST_VALUES:
        raise UsageError(f"{option} {text} has {count:,} values, and a sweep takes at most {MOST_VALUES:,} plans")
    yield from (first + step * number for number in range(count))


def _steps(text: str) -> Steps | None:
    if text == "none":
        return None
    wants = "pairs such as '1%=1.5%,3%=0.5%', or none"
    steps = []
    for part in text.split(","):
        profit, equals, distance = part.partition("=")
        if not equals:
            raise refuse("--steps", text, wants)
        try:
            steps.append((_distance(profit), _distance(distance)))
        except (InvalidOperation, UsageError):
            raise refuse("--steps", text, wants) from None
    return Steps(tuple(steps))


def _distance(text: str) -> Distance:
    return Percent(text.removesuffix("%")) if text.endswith("%") else Decimal(text)
