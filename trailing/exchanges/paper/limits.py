"""The rate limit: a bucket of tokens, and a queue with lanes in front of it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import msgspec
import trio

from trailing.core.model import check_one_of, refuse
from trailing.errors import RateLimited, UsageError

Operation = Literal[
    "place_stop",
    "amend_stop",
    "cancel_stop",
    "find_stop",
    "open_stops",
    "positions",
    "price",
    "close_position",
    "candles",
    "watch",
]
OPERATIONS: tuple[str, ...] = get_args(Operation)

# Clean-up before protection before moves before reads.
_LANES = {"cancel_stop": 0, "find_stop": 0, "place_stop": 1, "close_position": 1, "amend_stop": 2}
_READS = 3

_GRAIN = 1e-9  # of a token: what waiting for an exact time may be short of by rounding


def _check_number(field: str, value: Any, *, zero: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (not zero and value == 0):
        raise refuse(field, value, "a finite number " + ("of at least 0" if zero else "above 0"))


class RateLimit(msgspec.Struct, frozen=True):
    """A bucket of tokens: each request takes its weight, and the bucket fills up again while time passes.

    Args:
        capacity: the tokens that a full bucket holds, above 0; it begins full.
        per_second: how many come back in a second, above 0.
        weights: the tokens that an operation (the port's method name) takes, from 0 to `capacity`; 1 where not named.
        mode: ``"queue"``: a request waits for its turn, cancels and look-ups first, then placing and closing, then
            moves, then reads; ``"refuse"``: it raises `RateLimited`.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    capacity: float
    per_second: float
    weights: Mapping[str, float] = {}
    mode: Literal["queue", "refuse"] = "queue"

    def __post_init__(self) -> None:
        _check_number("RateLimit.capacity", self.capacity)
        _check_number("RateLimit.per_second", self.per_second)
        if not isinstance(self.weights, Mapping):
            raise refuse("RateLimit.weights", self.weights, "a mapping from operation to tokens")
        for operation in self.weights:
            check_one_of("RateLimit.weights", operation, OPERATIONS)
        for operation in OPERATIONS:
            weight = self.weight(operation)
            _check_number(f"RateLimit.weights[{operation!r}]", weight, zero=True)
            if weight > self.capacity:
                raise UsageError(f"RateLimit.capacity got {self.capacity!r}, less than {operation} takes ({weight!r})")
        check_one_of("RateLimit.mode", self.mode, ("queue", "refuse"))

    def weight(self, operation: str) -> float:
        """The tokens that an operation takes."""
        return self.weights.get(operation, 1)


class Limiter:
    """Who may pass, and when. Its `serve` has to run as a task while anybody waits."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._level = float(limit.capacity)
        self._level_at = trio.current_time()
        self._queue: list[tuple[int, int, float, Callable[[], None]]] = []  # lane, number, weight, what to call
        self._numbers = 0
        self._changed = trio.Event()

    def next_turn(self, operation: str) -> float:
        """Seconds until the operation would pass if it were asked for now: exact, unless somebody comes before it."""
        lane = _LANES.get(operation, _READS)
        ahead = sum(weight for other, _, weight, _ in self._queue if other <= lane)
        return self._seconds_until(ahead + self._limit.weight(operation))

    def take(self, operation: str, then: Callable[[], None]) -> bool:
        """Take the operation's tokens, or a place in the queue.

        Returns:
            Whether it passes at once; else `then` is called when its turn has come.

        Raises:
            RateLimited: there are too few tokens, and the limit refuses.
        """
        wait = self.next_turn(operation)
        if wait and self._limit.mode == "refuse":
            raise RateLimited(f"{operation} passes in {wait:.3f} s", retry_after=wait)
        weight = self._limit.weight(operation)
        if not wait:
            self._level -= weight
            return True
        self._numbers += 1
        heapq.heappush(self._queue, (_LANES.get(operation, _READS), self._numbers, weight, then))
        self._changed.set()
        return False

    async def serve(self) -> None:
        """Give out the turns, for ever."""
        while True:
            self._changed = trio.Event()
            wait = math.inf
            while self._queue and not (wait := self._seconds_until(self._queue[0][2])):
                _, _, weight, then = heapq.heappop(self._queue)
                self._level -= weight
                then()
                wait = math.inf
            with trio.move_on_after(wait):
                await self._changed.wait()

    def _seconds_until(self, tokens: float) -> float:
        now = trio.current_time()
        self._level = min(self._limit.capacity, self._level + (now - self._level_at) * self._limit.per_second)
        self._level_at = now
        missing = tokens - self._level
        return missing / self._limit.per_second if missing > _GRAIN else 0.0
