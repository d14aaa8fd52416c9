"""What one symbol may take of a rate limit: its place among the requests that wait, and its share of a bucket.

Two rules, each with a bound:

- *Rounds.* Requests that wait pass round by round, in a round by lane, in a lane by turns: first each symbol's first
  request, then each symbol's second one. A round holds at most `PER_ROUND` requests of one symbol in one lane; its
  further ones belong to the next round. So while a request waits that is its symbol's first in its lane, another symbol
  passes before it at most `PER_ROUND` times in each lane that is at least as urgent, whatever it repeats.
- *Shares.* While nothing waits, one symbol could still empty a bucket, so that a wave of others finds it empty. A symbol
  sends at most a quarter of a bucket at once by one operation, and at least `AT_ONCE` requests, and goes on at a quarter
  of the bucket's speed. Its further requests are held back before they line up.

A request without a symbol, such as a list of all positions, is ranked as the first one of a symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from trailing.exchanges.buckets import Bucket, Cost

PER_ROUND: Final = 4
"""Requests: a clean-up takes a cancel, a look-up before and one after it, and one to spare."""

AT_ONCE: Final = 8
"""Requests of one operation and symbol that are never held back: more than the work on one position takes."""

SHARE: Final = 0.25


class Rank(NamedTuple):
    """The order in which requests pass: the lowest first."""

    round: int
    lane: int
    turn: int
    number: float


class Rounds:
    """Ranks the requests that wait."""

    def __init__(self) -> None:
        self._last: dict[
            tuple[str, int], tuple[int, int]
        ] = {}  # by symbol and lane: round and turn of its newest request

    def rank(self, symbol: str | None, lane: int, number: float, now: int) -> Rank:
        """The rank that a request would get. `now`: the round of the first request that waits."""
        if symbol is None:
            return Rank(now, lane, 1, number)
        round_, turn = max(self._last.get((symbol, lane), (now, 0)), (now, 0))
        if turn == PER_ROUND:
            round_, turn = round_ + 1, 0
        return Rank(round_, lane, turn + 1, number)

    def add(self, symbol: str | None, rank: Rank) -> None:
        """A request has got this rank."""
        if symbol is not None:
            self._last[symbol, rank.lane] = rank.round, rank.turn

    def clear(self) -> None:
        """Nothing waits, so there is nothing to be fair to."""
        self._last.clear()


class Shares:
    """Holds back requests of symbols that have used up their share.

    Args:
        buckets: by name.
        cost: what an operation takes.
    """

    def __init__(self, buckets: Mapping[str, Bucket], cost: Callable[[str], Cost]) -> None:
        self._buckets = buckets
        self._cost = cost
        self._used_until: dict[tuple[str, str], float] = {}  # by symbol and operation, on the running clock
        self._prune_at = 1_000

    def starts_at(self, symbol: str | None, operation: str, now: float) -> float:
        """When a request that is made now may line up; not before now."""
        if symbol is None:
            return now
        seconds, spare = self._seconds(operation)
        return max(now, self._used_until.get((symbol, operation), now) + seconds - spare)

    def add(self, symbol: str | None, operation: str, now: float) -> None:
        """A request was made."""
        if symbol is None:
            return
        self._used_until[symbol, operation] = (
            max(now, self._used_until.get((symbol, operation), now)) + self._seconds(operation)[0]
        )
        if len(self._used_until) > self._prune_at:
            self._used_until = {key: until for key, until in self._used_until.items() if until > now}
            self._prune_at = 1_000 + 2 * len(self._used_until)

    def give_back(self, symbol: str | None, operation: str) -> None:
        """A request was given up before it passed."""
        if symbol is not None and (symbol, operation) in self._used_until:
            seconds, _ = self._seconds(operation)
            self._used_until[symbol, operation] -= seconds

    def _seconds(self, operation: str) -> tuple[float, float]:
        """How much of its share a request takes, and how much a symbol may take at once, in seconds of that share."""
        costs = [(tokens, self._buckets[name]) for name, tokens in self._cost(operation).items() if tokens]
        each = max((tokens / (SHARE * bucket.per_second) for tokens, bucket in costs), default=0.0)
        quarter_of_a_bucket = min((bucket.capacity / bucket.per_second for _, bucket in costs), default=0.0)
        return each, max(AT_ONCE * each, quarter_of_a_bucket)
