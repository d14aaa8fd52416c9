"""Who may send a request, and when: buckets of tokens, and a queue with lanes in front of them.

`fairness` says in which order the requests of different symbols pass, and how long each one waits at most for others.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from operator import attrgetter
from typing import Final, Literal, TypeAlias, get_args

import trio

from trailing.exchanges.buckets import Bucket, Cost
from trailing.exchanges.fairness import Rank, Rounds, Shares

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
    "set_subscriptions",
]
OPERATIONS: Final[tuple[str, ...]] = get_args(Operation)

# Clean-up before protection before moves before reads.
_LANES = {"cancel_stop": 0, "find_stop": 0, "place_stop": 1, "close_position": 1, "amend_stop": 2}
_READS = 3

_GRAIN = 1e-9  # of a token: what waiting for an exact time may be short of by rounding


class Ticket:
    """A place in the queue, or a request that is held back before it lines up."""

    __slots__ = ("number", "operation", "rank", "symbol", "then")

    def __init__(self, number: float, operation: str, symbol: str | None, then: Callable[[], object]) -> None:
        self.number: float = number
        self.operation: str = operation
        self.symbol: str | None = symbol
        self.then: Callable[[], object] = then
        self.rank: Rank


_rank: Callable[[Ticket], Rank] = attrgetter("rank")

_Queues: TypeAlias = Mapping[str, deque[Ticket]]
"""By operation: those of one cost the same. Each in the order of their ranks."""


class Limiter:
    """The buckets, and who waits for them. Its `serve` has to run as a task while anybody waits.

    A request that waits keeps back its tokens in every bucket that it takes from, so that heavy requests are not starved
    by light ones; one that comes later and needs none of them passes. So a wave that waits for a venue's order limit
    stops no move, and no read.

    Symbols take turns, so that one which repeats a request cannot keep another one's from its turn; see `fairness`.

    Args:
        buckets: by name.
        cost: what an operation takes; from no bucket more than it can hold.
    """

    def __init__(self, buckets: Mapping[str, Bucket], cost: Callable[[str], Cost]) -> None:
        self._buckets = buckets
        self._cost = cost
        self._levels: dict[str, float] = {name: bucket.capacity for name, bucket in buckets.items()}
        self._levels_at = trio.current_time()
        self._closed_until = -math.inf
        self._queues: dict[str, deque[Ticket]] = {}
        self._held: list[tuple[float, float, Ticket]] = []
        self._rounds = Rounds()
        self._shares = Shares(buckets, cost)
        self._numbers = 0
        self._changed = trio.Event()

    def rate_limit_delay(self, operation: str, symbol: str | None = None) -> float:
        """Seconds until the operation would pass if it were asked for now: exact, unless another one comes before it.

        Args:
            symbol: None: of one that has sent nothing lately. An estimate where the symbol has used up its share.
        """
        self._fill()
        held = self._shares.starts_at(symbol, operation, self._levels_at) - self._levels_at
        return held + self._turn(operation, self._rank(operation, symbol, math.inf))

    def _turn(self, operation: str, rank: Rank) -> float:
        closed = max(0.0, self._closed_until - self._levels_at)
        levels = self._levels_after(self._levels, closed) if closed else self._levels
        cost = self._cost(operation)
        if not self._queues:
            return closed + self._seconds_until(cost, {}, levels)
        before = _before(rank, self._queues)
        kept = self._kept_back(before)
        needed = {name: kept.get(name, 0.0) + cost.get(name, 0.0) for name in {*kept, *cost}}
        short = [name for name, tokens in needed.items() if tokens - levels[name] > _GRAIN]
        if len(short) < 2 or all(needed[name] <= self._buckets[name].capacity for name in short if cost.get(name)):
            return closed + self._seconds_until(cost, kept, levels)
        # From here on, a bucket may run over while those before wait for another one.
        scarce = {other: _only(short, self._cost(other)) for other in (operation, *before)}
        if all(each in ({}, scarce[operation]) for each in scarce.values()):
            ahead = sum(count for other, count in before.items() if scarce[other])
            return closed + self._seconds_behind(ahead, scarce[operation], levels)
        return closed + self._rehearse(operation, rank, before, levels)

    def take(self, operation: str, then: Callable[[], object], symbol: str | None = None) -> Ticket | None:
        """Take the operation's tokens, or a place in the queue.

        Returns:
            None where it passes at once; else its place, and `then` is called when its turn has come.
        """
        self._fill()
        starts_at = self._shares.starts_at(symbol, operation, self._levels_at)
        self._shares.add(symbol, operation, self._levels_at)
        self._numbers += 1
        ticket = Ticket(self._numbers, operation, symbol, then)
        if starts_at > self._levels_at:
            heappush(self._held, (starts_at, ticket.number, ticket))
        elif self._line_up(ticket):
            return None
        self._changed.set()
        return ticket

    def _line_up(self, ticket: Ticket) -> bool:
        """Take a request's tokens or give it a place in the queue. Returns whether it passes at once."""
        if not self._queues:
            self._rounds.clear()
        ticket.rank = self._rank(ticket.operation, ticket.symbol, ticket.number)
        self._rounds.add(ticket.symbol, ticket.rank)
        if not self._turn(ticket.operation, ticket.rank):
            self._levels = self._levels_without(self._levels, ticket.operation)
            return True
        tickets = self._queues.setdefault(ticket.operation, deque())
        tickets.insert(bisect_left(tickets, ticket.rank, key=_rank), ticket)
        return False

    def _rank(self, operation: str, symbol: str | None, number: float) -> Rank:
        now = min((tickets[0].rank.round for tickets in self._queues.values()), default=0)
        return self._rounds.rank(symbol, _LANES.get(operation, _READS), number, now)

    def leave(self, ticket: Ticket) -> None:
        """Give a place in the queue up; or, where its turn has just come, the tokens that it has taken."""
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

    def close(self, seconds: float) -> None:
        """Let nobody pass for so long; all buckets are empty now, since the other side counted more than was known."""
        self._fill()
        self._closed_until = max(self._closed_until, self._levels_at + seconds)
        self._levels = {name: min(0.0, level) for name, level in self._levels.items()}
        self._changed.set()

    def correct(self, name: str, left: float) -> None:
        """No more than so many tokens are left in a bucket."""
        self._fill()
        if left < self._levels[name]:
            self._levels = {**self._levels, name: left}
            self._changed.set()

    async def serve(self) -> None:
        """Give out the turns, for ever."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_after(self._serve_those_whose_turn_it_is()):
                await self._changed.wait()

    def _serve_those_whose_turn_it_is(self) -> float:
        """Returns the seconds until the next turn."""
        while self._queues or self._held:
            self._fill()
            while self._held and self._held[0][0] <= self._levels_at:
                ticket = heappop(self._held)[2]
                if self._line_up(ticket):
                    ticket.then()
            held = self._held[0][0] - self._levels_at if self._held else math.inf
            if not self._queues:
                return held
            wait, _, operation = min(self._heads(self._queues, self._levels))
            wait = max(wait, self._closed_until - self._levels_at)
            if wait > 0:
                return min(wait, held)
            ticket = self._queues[operation][0]
            self._levels = self._levels_without(self._levels, operation)
            self._remove(ticket)
            ticket.then()
        return math.inf

    def _remove(self, ticket: Ticket) -> None:
        tickets = self._queues[ticket.operation]
        tickets.remove(ticket)
        if not tickets:
            del self._queues[ticket.operation]

    def _heads(self, queues: _Queues, levels: Cost) -> Iterator[tuple[float, Rank, str]]:
        """The first of each operation: seconds until it passes unless another one does before, its rank."""
        for operation, tickets in queues.items():
            rank = tickets[0].rank
            cost, kept = self._cost(operation), self._kept_back(_before(rank, queues))
            fits = all(
                kept.get(name, 0.0) + tokens <= self._buckets[name].capacity for name, tokens in cost.items() if tokens
            )
            yield self._seconds_until(cost, kept, levels) if fits else math.inf, rank, operation

    def _seconds_behind(self, ahead: int, cost: Cost, levels: Cost) -> float:
        """Until one passes that is behind so many others of the same cost.

        Once the first has passed, a bucket that runs over fills faster than they all pass, and delays none of them.
        """
        first = self._seconds_until(cost, {}, levels)
        levels = self._levels_after(levels, first)
        return first + self._seconds_until(cost, {name: ahead * tokens for name, tokens in cost.items()}, levels)

    def _rehearse(self, operation: str, rank: Rank, before: Mapping[str, int], levels: Cost) -> float:
        """Let those who are before a newcomer pass, one by one, and then the newcomer."""
        queues = {other: deque(islice(self._queues[other], count)) for other, count in before.items()}
        newcomer = Ticket(math.inf, operation, None, lambda: None)
        newcomer.rank = rank
        queues.setdefault(operation, deque()).append(newcomer)
        elapsed = 0.0
        while True:
            wait, _, passing = min(self._heads(queues, levels))
            elapsed += wait
            levels = self._levels_without(self._levels_after(levels, wait), passing)
            if queues[passing].popleft() is newcomer:
                return elapsed
            if not queues[passing]:
                del queues[passing]

    def _kept_back(self, counts: Mapping[str, int]) -> Cost:
        kept: dict[str, float] = {}
        for operation, count in counts.items():
            for name, tokens in self._cost(operation).items():
                kept[name] = kept.get(name, 0.0) + count * tokens
        return kept

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
    """How many requests of each operation pass before one of this rank, without the operations that have none."""
    counts = ((operation, bisect_left(tickets, rank, key=_rank)) for operation, tickets in queues.items())
    return {operation: count for operation, count in counts if count}


def _only(names: Sequence[str], cost: Cost) -> Cost:
    return {name: cost[name] for name in names if cost.get(name)}
