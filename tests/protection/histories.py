"""What an exchange was asked for over some time: stops that were cancelled, and requests that were repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from worlds import World

from trailing import StopOrder
from trailing.exchanges.paper.transport import LogEntry
from trailing.protection.order_ids import is_ours
from trailing.testing import Call, CancelledStop, cancelled_for_a_reason, requests_bounded
from trailing.testing.invariants import MOST_LISTS, MOST_REPEATS


class Cancellations:
    """Keeps every stop of ours that a request cancels, with what the exchange truly holds then.

    Pass `note` to ``open_world(record=…)``, then the world to `watch`, before a stop is placed.

    Attributes:
        stops: what was cancelled, in order.
        are_wanted: whether a cancellation from now on is the caller's own wish.
    """

    def __init__(self) -> None:
        self.stops: list[CancelledStop] = []
        self.are_wanted: bool = False
        self._world: World
        self._live: dict[str, StopOrder] = {}

    def watch(self, world: World) -> None:
        """Look at this world's exchange from now on."""
        self._world = world

    def note(self, booking: LogEntry) -> None:
        """The exchange has booked something."""
        order, own = booking.result, booking.client_order_id
        if isinstance(order, StopOrder) and order.callback is None:
            self._live[order.client_order_id] = order
        elif booking.operation == "cancel_stop" and order is None and own in self._live:
            self.stops.append(self._cancelled(self._live.pop(own)))

    def _cancelled(self, stop: StopOrder) -> CancelledStop:
        live, held = self._world.paper.actual(stop.symbol)
        market = self._world.paper.market(stop.symbol)
        return CancelledStop(
            stop=stop,
            open_quantity=held.get(stop.side, stop.quantity * 0),
            others=[
                one for one in live if one.side == stop.side and one.callback is None and is_ours(one.client_order_id)
            ],
            takes_one_stop=not (market.two_stops or market.can_amend),
            was_wanted=self.are_wanted,
        )

    def check(self) -> None:
        """Assert invariant 11 of all that was cancelled."""
        broken = cancelled_for_a_reason(self.stops)
        if broken:
            raise AssertionError("\n".join(broken))


def broken_bounds(calls: Iterable[Call]) -> Iterator[str]:
    """Yield what breaks invariant 13 among the calls of a time in which at most a few prices came."""
    times: dict[tuple[str, str | None], list[float]] = {}
    for call in calls:
        what: str = "account lists" if call.operation in {"positions", "open_stops"} else call.operation
        times.setdefault((what, call.symbol), []).append(call.at)
    for (what, symbol), sent in times.items():
        most = MOST_LISTS if what == "account lists" else MOST_REPEATS
        yield from (f"{broken}, {what} of {symbol}" for broken in requests_bounded(sent, most=most))
