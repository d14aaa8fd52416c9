"""The rate limiter: token buckets, and a queue of waiting requests with lanes by priority.

Module `fairness` sets the order between symbols, and how long a request waits for others at most.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from operator import attrgetter
from typing import Final, Literal, TypeAlias, get_args

import trio

from trailing.exchanges.buckets import Bucket, Cost
from trailing.exchanges.fairness import NO_BUCKETS, Rank, Rounds, Shares

Operation = Literal[
    "place_stop",
    "amend_stop",
    "cancel_stop",
    "find_stop",
    "open_stops",
    "open_orders",
    "cancel_order",
    "order_fills",
    "positions",
    "price",
    "close_position",
    "place_entry",
    "cancel_entry",
    "find_entry",
    "entry_settings",
    "candles",
    "set_subscriptions",
]
OPERATIONS: Final[tuple[str, ...]] = get_args(Operation)

CALLS: Final = ("call_read", "call_change", "call_order", "call_amend", "call_cancel")
"""The kinds of the bot's own calls. One of the first kind changes nothing."""

# Clean-up before stops before exits before moves before entries before reads before the bot's own calls.
_LANES = {
    "cancel_stop": 0,
    "cancel_order": 0,
    "find_stop": 0,
    "cancel_entry": 0,
    "find_entry": 0,
    "place_stop": 1,
    "close_position": 2,
    "amend_stop": 3,
    "place_entry": 4,
    **dict.fromkeys(CALLS, 6),
    "clear_bridge": 7,  # it waits for nothing: two stops protect the position until then
}
_READS = 5
_CALLS = 6

_LAST_ROUND: Final = sys.maxsize

_SPARE: Final = 0.5
"""Part of each bucket that calls, and the clearing of bridges, leave to other requests."""

_GRAIN = 1e-9  # tokens that may be missing by rounding after a wait for an exact time


class Ticket:
    """A request that waits in the queue, or is held back before it enters the queue."""

    __slots__ = ("number", "on_grant", "operation", "rank", "symbol")

    def __init__(self, number: float, operation: str, symbol: str | None, on_grant: Callable[[], object]) -> None:
        self.number: float = number
        self.operation: str = operation
        self.symbol: str | None = symbol
        self.on_grant: Callable[[], object] = on_grant
        self.rank: Rank


_rank: Callable[[Ticket], Rank] = attrgetter("rank")

_Queues: TypeAlias = Mapping[str, deque[Ticket]]
"""Waiting requests by operation, each queue in the order of ranks. Requests of one operation cost the same."""


class Limiter:
    """Token buckets with a queue. `serve` must run as a task while requests wait.

    A waiting request reserves its tokens in every bucket that it uses, so that light requests can't starve heavy ones. A
    later request that needs no reserved token passes it. So a wave that waits for a venue's order limit delays no move and
    no read. Symbols alternate, so that one symbol's repeated requests don't block another symbol; see `fairness`. The bot's
    own calls pass after all other requests, and leave them half of each bucket.

    Args:
        buckets: by name.
        cost: returns the tokens that an operation takes; at most a bucket's capacity from each bucket.
        by_symbol: by operation, the bucket of each symbol; for all other operations, a symbol has a share of `buckets`.
    """

    def __init__(
        self, buckets: Mapping[str, Bucket], cost: Callable[[str], Cost], by_symbol: Mapping[str, Bucket] = NO_BUCKETS
    ) -> None:
        self._buckets = buckets
        self._cost = cost
        self._levels: dict[str, float] = {name: bucket.capacity for name, bucket in buckets.items()}
        self._levels_at = trio.current_time()
        self._paused_until = -math.inf
        self._queues: dict[str, deque[Ticket]] = {}
        self._held: list[tuple[float, float, Ticket]] = []
        self._rounds = Rounds()
        self._shares = Shares(buckets, cost, by_symbol)
        self._numbers = 0
        self._changed = trio.Event()

    def __repr__(self) -> str:
        if trio.lowlevel.in_trio_run():
            self._fill()
        waiting = sum(map(len, self._queues.values())) + len(self._held)
        buckets = ", ".join(
            f"{name} {self._levels[name]:.4g}/{bucket.capacity:g}" for name, bucket in self._buckets.items()
        )
        paused = self._paused_until - self._levels_at
        pause = f", paused for {paused:.3g} s" if paused > 0 else ""
        return f"<{type(self).__name__}: {waiting} waiting, {buckets}{pause}>"

    def rate_limit_delay(self, operation: str, symbol: str | None = None) -> float:
        """Return the seconds until an operation would pass if it were requested now.

        The result is exact unless a request of higher rank comes later. It is an estimate if the symbol has used up its share,
        and for a call of the bot.

        Args:
            operation: the port's method name.
            symbol: whose request it is; None: a symbol that has sent nothing lately.
        """
        self._fill()
        held = self._shares.starts_at(symbol, operation, self._levels_at) - self._levels_at
        return held + self._delay(operation, self._rank(operation, symbol, math.inf))

    def _delay(self, operation: str, rank: Rank) -> float:
        paused = max(0.0, self._paused_until - self._levels_at)
        levels = self._levels_after(self._levels, paused) if paused else self._levels
        cost = self._cost(operation)
        if rank.lane >= _CALLS:  # at least so long, because later requests pass it
            kept = self._with_spare(cost, self._reserved(_before(rank, self._queues)))
            return paused + self._seconds_until(cost, kept, levels)
        if not self._queues:
            return paused + self._seconds_until(cost, {}, levels)
        before = _before(rank, self._queues)
        kept = self._reserved(before)
        needed = {name: kept.get(name, 0.0) + cost.get(name, 0.0) for name in {*kept, *cost}}
        short = [name for name, tokens in needed.items() if tokens - levels[name] > _GRAIN]
        if len(short) < 2 or all(needed[name] <= self._buckets[name].capacity for name in short if cost.get(name)):
            return paused + self._seconds_until(cost, kept, levels)
        # From here on, a bucket may overflow while the requests before wait for another bucket.
        scarce = {other: _only(short, self._cost(other)) for other in (operation, *before)}
        if all(each in ({}, scarce[operation]) for each in scarce.values()):
            ahead = sum(count for other, count in before.items() if scarce[other])
            return paused + self._seconds_behind(ahead, scarce[operation], levels)
        return paused + self._simulate(operation, rank, before, levels)

    def take(self, operation: str, on_grant: Callable[[], object], symbol: str | None = None) -> Ticket | None:
        """Take the operation's tokens, or enter the queue.

        Args:
            operation: the port's method name.
            on_grant: called when a request that had to wait may be sent.
            symbol: whose share of the limit it uses; None: of no symbol.

        Returns:
            None if the request may be sent at once; otherwise its ticket.
        """
        self._fill()
        starts_at = self._shares.starts_at(symbol, operation, self._levels_at)
        self._shares.add(symbol, operation, self._levels_at)
        self._numbers += 1
        ticket = Ticket(self._numbers, operation, symbol, on_grant)
        if starts_at > self._levels_at:
            heappush(self._held, (starts_at, ticket.number, ticket))
        elif self._enqueue(ticket):
            return None
        self._changed.set()
        return ticket

    def _enqueue(self, ticket: Ticket) -> bool:
        """Take a request's tokens, or insert it in the queue. Return whether it may be sent at once."""
        if not self._queues:
            self._rounds.clear()
        ticket.rank = self._rank(ticket.operation, ticket.symbol, ticket.number)
        self._rounds.add(ticket.symbol, ticket.rank)
        if not self._delay(ticket.operation, ticket.rank):
            self._levels = self._levels_without(self._levels, ticket.operation)
            return True
        tickets = self._queues.setdefault(ticket.operation, deque())
        tickets.insert(bisect_left(tickets, ticket.rank, key=_rank), ticket)
        return False

    def _rank(self, operation: str, symbol: str | None, number: float) -> Rank:
        lane = _LANES.get(operation, _READS)
        if lane >= _CALLS:  # rounds are for requests of which each has to pass in time
            return Rank(_LAST_ROUND, lane, 1, number)
        heads = (tickets[0].rank for tickets in self._queues.values())
        return self._rounds.rank(
            symbol, lane, number, min((each.round for each in heads if each.lane < _CALLS), default=0)
        )

    def withdraw(self, ticket: Ticket) -> None:
        """Remove a request from the queue; if it was granted already, return its tokens."""
        held = [entry for entry in self._held if entry[2] is not ticket]
        if len(held) < len(self._held):
            self._held = held
            heapify(held)
            self._shares.give_back(ticket.symbol, ticket.operation)
        elif ticket in self._queues.get(ticket.operation, ()):
            self._remove(ticket)
            self._shares.give_back(ticket.symbol, ticket.operation)
        else:
            cost = self._cost(ticket.operation)
            self._fill()
            self._levels = {
                name: min(bucket.capacity, self._levels[name] + cost.get(name, 0.0))
                for name, bucket in self._buckets.items()
            }
        self._changed.set()

    def pause(self, seconds: float) -> None:
        """Let no request pass for some seconds, and empty all buckets, because the venue counted more than we did."""
        self._fill()
        self._paused_until = max(self._paused_until, self._levels_at + seconds)
        self._levels = {name: min(0.0, level) for name, level in self._levels.items()}
        self._changed.set()

    def limit_tokens(self, name: str, left: float) -> None:
        """Reduce a bucket to `left` tokens if it holds more."""
        self._fill()
        if left < self._levels[name]:
            self._levels = {**self._levels, name: left}
            self._changed.set()

    async def serve(self) -> None:
        """Grant waiting requests when they are due, for ever."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_after(self._grant_due()):
                await self._changed.wait()

    def _grant_due(self) -> float:
        """Grant all requests that are due. Return the seconds until the next one is."""
        while self._queues or self._held:
            self._fill()
            while self._held and self._held[0][0] <= self._levels_at:
                ticket = heappop(self._held)[2]
                if self._enqueue(ticket):
                    ticket.on_grant()
            held = self._held[0][0] - self._levels_at if self._held else math.inf
            if not self._queues:
                return held
            wait, _, operation = min(self._heads(self._queues, self._levels))
            wait = max(wait, self._paused_until - self._levels_at)
            if wait > 0:
                return min(wait, held)
            ticket = self._queues[operation][0]
            self._levels = self._levels_without(self._levels, operation)
            self._remove(ticket)
            ticket.on_grant()
        return math.inf

    def _remove(self, ticket: Ticket) -> None:
        tickets = self._queues[ticket.operation]
        tickets.remove(ticket)
        if not tickets:
            del self._queues[ticket.operation]

    def _heads(self, queues: _Queues, levels: Cost) -> Iterator[tuple[float, Rank, str]]:
        """Yield the first request of each operation: seconds until it passes unless another one does first, rank, operation."""
        for operation, tickets in queues.items():
            rank = tickets[0].rank
            cost, kept = self._cost(operation), self._reserved(_before(rank, queues))
            if rank.lane >= _CALLS:
                kept = self._with_spare(cost, kept)
            fits = all(
                kept.get(name, 0.0) + tokens <= self._buckets[name].capacity + _GRAIN
                for name, tokens in cost.items()
                if tokens
            )
            yield self._seconds_until(cost, kept, levels) if fits else math.inf, rank, operation

    def _seconds_behind(self, ahead: int, cost: Cost, levels: Cost) -> float:
        """Return the seconds until a request passes that is behind `ahead` others of the same cost.

        Once the first one has passed, a bucket that overflows refills faster than they pass, and delays none of them.
        """
        first = self._seconds_until(cost, {}, levels)
        levels = self._levels_after(levels, first)
        return first + self._seconds_until(cost, {name: ahead * tokens for name, tokens in cost.items()}, levels)

    def _simulate(self, operation: str, rank: Rank, before: Mapping[str, int], levels: Cost) -> float:
        """Simulate the queue: return the seconds until a new request passes after the requests before it."""
        queues = {other: deque(islice(self._queues[other], count)) for other, count in before.items()}
        new_request = Ticket(math.inf, operation, None, lambda: None)
        new_request.rank = rank
        queues.setdefault(operation, deque()).append(new_request)
        elapsed = 0.0
        while True:
            wait, _, passing = min(self._heads(queues, levels))
            elapsed += wait
            levels = self._levels_without(self._levels_after(levels, wait), passing)
            if queues[passing].popleft() is new_request:
                return elapsed
            if not queues[passing]:
                del queues[passing]

    def _reserved(self, counts: Mapping[str, int]) -> Cost:
        kept: dict[str, float] = {}
        for operation, count in counts.items():
            for name, tokens in self._cost(operation).items():
                kept[name] = kept.get(name, 0.0) + count * tokens
        return kept

    def _with_spare(self, cost: Cost, kept: Cost) -> Cost:
        """Return the reserved tokens, and those that a call or a clearing of this cost leaves to other requests."""
        capacities = ((name, tokens, self._buckets[name].capacity) for name, tokens in cost.items())
        spare = {name: min(_SPARE * capacity, capacity - tokens) for name, tokens, capacity in capacities}
        return {name: kept.get(name, 0.0) + spare.get(name, 0.0) for name in {*kept, *spare}}

    def _seconds_until(self, cost: Cost, kept: Cost, levels: Cost) -> float:
        wait = 0.0
        for name, tokens in cost.items():
            missing = kept.get(name, 0.0) + tokens - levels[name]
            if tokens and missing > _GRAIN:
                wait = max(wait, missing / self._buckets[name].per_second)
        return wait

    def _fill(self) -> None:
        now = trio.current_time()
        if now != self._levels_at:
            self._levels = self._levels_after(self._levels, now - self._levels_at)
            self._levels_at = now

    def _levels_after(self, levels: Cost, seconds: float) -> dict[str, float]:
        return {
            name: min(bucket.capacity, levels[name] + seconds * bucket.per_second)
            for name, bucket in self._buckets.items()
        }

    def _levels_without(self, levels: Cost, operation: str) -> dict[str, float]:
        cost = self._cost(operation)
        return {name: level - cost.get(name, 0.0) for name, level in levels.items()}


def _before(rank: Rank, queues: _Queues) -> dict[str, int]:
    """Return how many requests of each operation pass before this rank, without the operations that have none."""
    counts = ((operation, bisect_left(tickets, rank, key=_rank)) for operation, tickets in queues.items())
    return {operation: count for operation, count in counts if count}


def _only(names: Sequence[str], cost: Cost) -> Cost:
    return {name: cost[name] for name in names if cost.get(name)}
