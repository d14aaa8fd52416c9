"""Cancel a scenario after each of its steps; after every fifth one in the slow tests."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import pytest

from trailing.testing import cancel_everywhere

World = TypeVar("World")
EVERY: Final = 5


class EveryFifth(str):
    """The name of a case in which every fifth step is cancelled."""

    __slots__ = ()


def in_fifths(case: str) -> Iterator[Any]:
    """Yield the case for the slow tests, with every fifth step, and for `nox -s simulate`, with each step."""
    yield pytest.param(EveryFifth(case), id=case, marks=pytest.mark.slow)
    yield pytest.param(case, id=f"{case}, each step", marks=pytest.mark.repeats)


def in_fifths_but(fast: str, cases: Iterable[str]) -> list[Any]:
    """Return the cases as test parameters. The fast one has each step in every tier; the others are `in_fifths`."""
    return [parameter for case in cases for parameter in ([case] if case == fast else in_fifths(case))]


async def cancel_steps(
    case: str,
    world: Callable[[], AbstractAsyncContextManager[World]],
    act: Callable[[World], Awaitable[object]],
    check: Callable[[World, bool], Awaitable[object]],
) -> int:
    """Cancel a scenario as `cancel_everywhere` does, after the steps of this case. Return the number of steps.

    The steps of a case begin with one of the first five, so that the cases of a test cancel different steps.
    """
    if not isinstance(case, EveryFifth):
        return await cancel_everywhere(world, act, check)
    await cancel_everywhere(world, act, check, only=0)  # not cancelled
    step = 1 + zlib.crc32(case.encode()) % EVERY
    while await cancel_everywhere(world, act, check, only=step):
        step += EVERY
    return step - EVERY
