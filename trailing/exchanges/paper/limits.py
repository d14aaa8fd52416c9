"""The rate limit of the paper exchange: one token bucket."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from trailing.core.model import check_one_of, refuse
from trailing.errors import RateLimited, UsageError
from trailing.exchanges.buckets import Bucket, Cost
from trailing.exchanges.limiter import OPERATIONS, Limiter, Ticket


def _check_number(field: str, value: Any, *, zero: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (not zero and value == 0):
        raise refuse(field, value, "a finite number " + ("of at least 0" if zero else "above 0"))


class RateLimit(msgspec.Struct, frozen=True):
    """A token bucket for all requests: each one takes its weight, and the bucket refills with time.

    Args:
        capacity: the most tokens in the bucket, above 0. It begins full.
        per_second: tokens that return in a second, above 0.
        weights: the tokens that an operation (the port's method name) takes, from 0 to `capacity`; 1 if it is not named.
        mode: ``"queue"``: a request waits: cancels and look-ups pass first, then placing and closing, then moves, then
            reads; ``"refuse"``: it raises `RateLimited`.

    Raises:
        UsageError: the message names the field, the value, and what is accepted.
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
                raise UsageError(
                    f"RateLimit.capacity got {self.capacity!r}, wants at least the weight of {operation} ({weight!r})"
                )
        check_one_of("RateLimit.mode", self.mode, ("queue", "refuse"))

    def weight(self, operation: str) -> float:
        """Return the tokens that an operation takes."""
        return self.weights.get(operation, 1)


class PaperLimiter(Limiter):
    """The limiter of a `RateLimit`. `serve` must run as a task while requests wait."""

    def __init__(self, limit: RateLimit) -> None:
        costs: Mapping[str, Cost] = {operation: {"tokens": limit.weight(operation)} for operation in OPERATIONS}
        super().__init__({"tokens": Bucket(limit.capacity, limit.per_second)}, costs.__getitem__)
        self._refuses = limit.mode == "refuse"

    def take(self, operation: str, on_grant: Callable[[], object], symbol: str | None = None) -> Ticket | None:
        """Take the operation's tokens, or enter the queue. Raises RateLimited in mode "refuse" if tokens are missing."""
        if self._refuses and (wait := self.rate_limit_delay(operation)):
            raise RateLimited(f"paper {operation}: the rate limit allows it in {wait:.3f} s", retry_after=wait)
        return super().take(operation, on_grant, None if self._refuses else symbol)
