"""Run trio in the same way every time."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio
import trio.testing
from trio._core import _run

T = TypeVar("T")

_SWITCH, _SHUFFLER = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"


def run_deterministically(main: Callable[[], Awaitable[T]], seed: int, *, clock: trio.abc.Clock | None = None) -> T:
    """Run a function on trio's virtual clock, with all randomness drawn from a seed.

    trio shuffles its tasks on purpose. A private switch of trio makes the shuffling depend on a seed. The switch is used
    here only.

    Args:
        clock: another virtual clock. The seed does not determine the replies of a server, nor their times.

    Raises:
        RuntimeError: this version of trio does not have the switch.
        BaseException: what `main` raised.
    """
    with _everything_drawn_from(seed):
        return trio.run(main, clock=clock or trio.testing.MockClock(autojump_threshold=0))


@contextmanager
def _everything_drawn_from(seed: int) -> Iterator[None]:
    if not (hasattr(_run, _SWITCH) and hasattr(_run, _SHUFFLER)):
        raise RuntimeError(f"trio {trio.__version__} can't schedule from a seed, because it has no {_SWITCH}")
    before = {name: getattr(_run, name) for name in (_SWITCH, _SHUFFLER)}
    token_hex, state = secrets.token_hex, random.getstate()
    tokens = random.Random(f"{seed} tokens")
    try:
        setattr(_run, _SWITCH, True)
        setattr(_run, _SHUFFLER, random.Random(f"{seed} tasks"))
        secrets.token_hex = lambda nbytes=None: tokens.randbytes(nbytes or 32).hex()
        random.seed(f"{seed} waits")
        yield
    finally:
        for name, value in before.items():
            setattr(_run, name, value)
        secrets.token_hex = token_hex
        random.setstate(state)
