"""A run of trio that happens the same way every time."""

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
    """Run something on trio's virtual clock, with everything that is random drawn from a seed.

    trio shuffles its tasks, on purpose. A private switch of it has them shuffled from a seed instead; that is used
    here and nowhere else, and where this trio doesn't have it, it is said.

    Args:
        clock: another virtual clock. What a server answers, and when, is in no seed.

    Raises:
        RuntimeError: this version of trio can't be run so.
        BaseException: what `main` raised.
    """
    with _everything_drawn_from(seed):
        return trio.run(main, clock=clock or trio.testing.MockClock(autojump_threshold=0))


@contextmanager
def _everything_drawn_from(seed: int) -> Iterator[None]:
    if not (hasattr(_run, _SWITCH) and hasattr(_run, _SHUFFLER)):
        raise RuntimeError(f"trio {trio.__version__} can't schedule from a seed: it has no {_SWITCH}")
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
