"""Fairness between symbols: the order of waiting requests, and each symbol's share of a rate limit.

Two rules, each with a bound:

- *Rounds.* Waiting requests pass by round, within a round by lane, and within a lane in rotation: first each symbol's first
  request, then each symbol's second one. A round holds at most `PER_ROUND` requests of one symbol in one lane; the next
  ones belong to the next round. So while a request waits that is its symbol's first in its lane, another symbol passes it at
  most `PER_ROUND` times in each lane of the same or higher priority, however often it repeats a request.
- *Shares.* While no request waits, one symbol could still empty a bucket just before a wave of others. So a symbol may use
  at once at most a quarter of a bucket for one operation (but at least `AT_ONCE` requests), and then a quarter of the
  bucket's rate. Its further requests are held back before they enter the queue. Where the venue counts an operation for each
  symbol by itself, the symbol's share is a bucket of its own.

A request without a symbol, such as the list of all positions, ranks as the first one of a symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from trailing.exchanges.buckets import Bucket, Cost

PER_ROUND: Final = 4
"""Requests of one symbol, lane and round. A clean-up needs three: a look-up, a cancel, and a look-up."""

AT_ONCE: Final = 8
"""Requests of one operation and symbol that are never held back: more than one position needs."""

SHARE: Final = 0.25
"""Part of a bucket that one symbol may use for one operation."""

NO_BUCKETS: Final[Mapping[str, Bucket]] = {}


class Rank(NamedTuple):
    """The position of a request in the queue. The lowest rank passes first."""

    round: int
    lane: int
    turn: int
    number: float


class Rounds:
    """Assigns ranks to waiting requests."""

    def __init__(self) -> None:
        # By symbol and lane: round and turn of its newest request.
        self._last: dict[tuple[str, int], tuple[int, int]] = {}

    def rank(self, symbol: str | None, lane: int, number: float, now: int) -> Rank:
        """Return the rank that a request would get. `now` is the round of the first waiting request."""
        if symbol is None:
            return Rank(now, lane, 1, number)
        round_, turn = max(self._last.get((symbol, lane), (now, 0)), (now, 0))
        if turn == PER_ROUND:
            round_, turn = round_ + 1, 0
        return Rank(round_, lane, turn + 1, number)

    def add(self, symbol: str | None, rank: Rank) -> None:
        """Record that a request got this rank."""
        if symbol is not None:
            self._last[symbol, rank.lane] = rank.round, rank.turn

    def clear(self) -> None:
        """Forget all ranks, because no request waits."""
        self._last.clear()


class Shares:
    """Tells until when a symbol's request is held back because its share is used up.

    Args:
        buckets: by name.
        cost: returns the tokens that an operation takes.
        by_symbol: by operation, the bucket of each symbol. A request takes one token of it.
    """

    def __init__(
        self, buckets: Mapping[str, Bucket], cost: Callable[[str], Cost], by_symbol: Mapping[str, Bucket] = NO_BUCKETS
    ) -> None:
        self._buckets = buckets
        self._cost = cost
        self._by_symbol = by_symbol
        self._used_until: dict[tuple[str, str], float] = {}  # by symbol and operation, on the running clock
        self._prune_at = 1_000

    def starts_at(self, symbol: str | None, operation: str, now: float) -> float:
        """Return when a request made now may enter the queue, in seconds on the running clock; at least `now`."""
        if symbol is None:
            return now
        seconds, spare = self._seconds(operation)
        return max(now, self._used_until.get((symbol, operation), now) + seconds - spare)

    def add(self, symbol: str | None, operation: str, now: float) -> None:
        """Record that a request was made."""
        if symbol is None:
            return
        self._used_until[symbol, operation] = (
            max(now, self._used_until.get((symbol, operation), now)) + self._seconds(operation)[0]
        )
        if len(self._used_until) > self._prune_at:
            self._used_until = {key: until for key, until in self._used_until.items() if until > now}
            self._prune_at = 1_000 + 2 * len(self._used_until)

    def give_back(self, symbol: str | None, operation: str) -> None:
        """Return the share of a request that was withdrawn before it passed."""
        if symbol is not None and (symbol, operation) in self._used_until:
            seconds, _ = self._seconds(operation)
            self._used_until[symbol, operation] -= seconds

    def _seconds(self, operation: str) -> tuple[float, float]:
        """Return the part of its share that a request uses, and that a symbol may use at once, in seconds of that share."""
        own = self._by_symbol.get(operation)
        if own is not None:
            return 1 / own.per_second, own.capacity / own.per_second
        costs = [(tokens, self._buckets[name]) for name, tokens in self._cost(operation).items() if tokens]
        each = max((tokens / (SHARE * bucket.per_second) for tokens, bucket in costs), default=0.0)
        quarter_of_a_bucket = min((bucket.capacity / bucket.per_second for _, bucket in costs), default=0.0)
        return each, max(AT_ONCE * each, quarter_of_a_bucket)
