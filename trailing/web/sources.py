"""What a page shows, from a manager in the same process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec
import trio

from trailing.core.model import Position
from trailing.events import Event, StopMoved
from trailing.logs import escape_unprintable, hide_credentials
from trailing.protection.manager import Manager
from trailing.protection.overview import Overview, PositionOverview
from trailing.web.history import History
from trailing.web.hub import Hub
from trailing.web.metrics import Metrics, Values, manager_values

SAMPLE_SECONDS: Final = 1.0
"""The most seconds between two looks at all positions. A look at 200 positions takes about a millisecond."""

CALM_SECONDS: Final = 0.5
"""The least seconds between two looks, unless a warning or an error comes."""

GATHER_SECONDS: Final = 0.1
"""Seconds in which events are gathered before the look after a warning or an error."""

MOST_TEXT: Final = 500
"""The most characters of a text from outside."""

MOST_ENDED: Final = 50
"""Positions whose chart is kept after their end."""


class Source(Protocol):
    """Where the page's data comes from.

    Attributes:
        hub: gets the frames.
    """

    hub: Hub

    async def run(self) -> None:
        """Send frames to the hub until it is cancelled."""

    def whole(self) -> dict[str, Any]:
        """Return everything that a new page shows."""

    def chart(self, key: str) -> dict[str, Any] | None:
        """Return the chart of a position; None: there is no such position."""

    def values(self) -> Mapping[str, Values]:
        """Return the metrics, by name and labels."""

    def problems(self) -> list[str]:
        """Return what is wrong with stream, store and lease, each in words; empty: all is well."""


class ManagerSource:
    """The positions of a manager in this process.

    It reads the manager's overview, which changes nothing. It is never part of a tick's path.

    Args:
        manager: the manager.
        metrics: counts its events.
    """

    def __init__(self, manager: Manager, metrics: Metrics) -> None:
        self.hub: Hub = Hub()
        self._manager, self._metrics = manager, metrics
        self._shown: dict[str, dict[str, Any]] = {}
        self._views: dict[str, PositionOverview] = {}
        self._histories: dict[str, History] = {}
        self._keys: dict[tuple[str, str, str], str] = {}
        self._by_id: dict[int, tuple[Position, str]] = {}  # building the name of each position takes longer
        self._health: dict[str, Any] = {}
        self._news: list[dict[str, Any]] = []
        self._wake, self._hurry = trio.Event(), trio.Event()
        self._number = 0

    async def run(self) -> None:
        """Look at all positions every `SAMPLE_SECONDS`, sooner after an event, and at once after a warning or an error."""
        self._metrics.note_protected(self._manager.overview())
        async with self._manager.subscribe(10_000) as events, trio.open_nursery() as nursery:
            nursery.start_soon(self._take_events, events)
            while True:
                self._look()
                looked_at = trio.current_time()
                with trio.move_on_after(SAMPLE_SECONDS):
                    await self._wake.wait()
                with trio.move_on_at(looked_at + CALM_SECONDS):
                    await self._hurry.wait()
                if self._hurry.is_set():
                    await trio.sleep(GATHER_SECONDS)

    async def _take_events(self, events: trio.MemoryReceiveChannel[Event]) -> None:
        async for event in events:
            self.take_event(event)

    def take_event(self, event: Event) -> None:
        """Count an event, and show it soon."""
        self._metrics.take(event)
        shown = show_event(event)
        self._news.append(shown)
        if isinstance(event, StopMoved) and event.unprotected_seconds:
            self._add_stretch(event)
        self._wake.set()
        if event.level in ("warning", "error"):
            self._hurry.set()

    def _add_stretch(self, event: StopMoved) -> None:
        for (symbol, side, _), key in self._keys.items():
            if (symbol, side) == (event.symbol, event.side) and key in self._shown:
                until = event.at.timestamp()
                self._histories[key].add_stretch(until - event.unprotected_seconds, until)

    def _look(self) -> None:
        """Compare all positions with what the pages have, and send the differences."""
        self._wake, self._hurry = trio.Event(), trio.Event()
        overview = self._manager.overview()
        at = overview.at.timestamp()
        changed, prices, present = list[dict[str, Any]](), list[tuple[str, str]](), set[str]()
        for view in overview.positions:
            key = self._key(view)
            present.add(key)
            before = self._views.get(key)
            self._views[key] = view
            if before is None or not _is_alike(before, view):
                self._shown[key] = row = _row(key, view, at)
                changed.append(row)
                self._note(key, view, at)
            elif view.price is not before.price:
                self._shown[key]["price"] = price = f"{view.price:f}"
                prices.append((key, price))
            if view.price_age is not None:
                self._histories[key].add_price(at, view.price)
        gone = [key for key in self._shown if key not in present]
        for key in gone:
            self._end(key, at)
        self._health = _health(overview)
        news, self._news = self._news, []
        self.hub.events.extend(news)
        self.hub.send(
            "change",
            {
                "at": at,
                "health": self._health,
                "changed": changed,
                "prices": prices,
                "gone": gone,
                "events": news,
            },
        )

    def _key(self, view: PositionOverview) -> str:
        position = view.position
        before = self._by_id.get(id(position))
        if before is not None and before[0] is position:
            return before[1]
        name = (position.symbol, position.side, position.identity)
        key = self._keys.get(name)
        if key is None:
            self._number += 1
            key = self._keys[name] = f"p{self._number}"
            self._histories[key] = History(show_money(position.entry_price))
        self._by_id[id(position)] = position, key
        return key

    def _note(self, key: str, view: PositionOverview, at: float) -> None:
        history = self._histories[key]
        history.set_stop(at, None if view.stop is None else float(view.stop.price))
        history.set_unprotected(at, at - view.unprotected_for if view.unprotected_for else None)

    def _end(self, key: str, at: float) -> None:
        """Forget a position that has ended. The charts of the last ones are kept."""
        self._by_id = {each: found for each, found in self._by_id.items() if found[1] != key}
        del self._shown[key], self._views[key]
        self._histories[key].set_unprotected(at, None)
        ended = [(name, each) for name, each in self._keys.items() if each not in self._shown]
        for name, each in ended[:-MOST_ENDED]:
            del self._keys[name], self._histories[each]

    def whole(self) -> dict[str, Any]:
        """Return everything that a new page shows."""
        overview = self._manager.overview()
        return {
            "kind": "bot",
            "account": show_text(f"{overview.health.exchange} {overview.health.account}"),
            "at": overview.at.timestamp(),
            "health": _health(overview),
            "positions": list(self._shown.values()),
            "events": list(self.hub.events),
        }

    def chart(self, key: str) -> dict[str, Any] | None:
        """Return the chart of a position; None: there is no such position."""
        history = self._histories.get(key)
        return None if history is None else history.as_json()

    def values(self) -> Mapping[str, Values]:
        """Return the metrics, by name and labels."""
        return manager_values(self._manager.overview(), self._manager.statistics())

    def problems(self) -> list[str]:
        """Return what is wrong with stream, store and lease, each in words; empty: all is well."""
        health = self._manager.health()
        found = {
            "the exchange's stream is lost": not health.stream_connected,
            "the store is behind": health.journal_is_behind,
            "the lease is lost or not renewed": health.lease_seconds <= 0,
        }
        return [problem for problem, applies in found.items() if applies]


def _is_alike(before: PositionOverview, now: PositionOverview) -> bool:
    """Return whether nothing but prices and times has changed."""
    return (
        before.stop is now.stop
        and before.state == now.state
        and before.moves == now.moves
        and before.is_unprotected is now.is_unprotected
        and before.error == now.error
        and before.quantity == now.quantity
    )


def _row(key: str, view: PositionOverview, at: float) -> dict[str, Any]:
    position = view.position
    running = view.unprotected_for or 0.0
    return {
        "key": key,
        "symbol": show_text(position.symbol),
        "side": position.side,
        "quantity": show_money(view.quantity),
        "entry": show_money(position.entry_price),
        "opened": position.opened_at.timestamp(),
        "state": view.state,
        "price": f"{view.price:f}",
        "stop": None if view.stop is None else show_money(view.stop.price),
        "moves": view.moves,
        "unprotected": view.is_unprotected,
        "unprotected_since": round(at - running, 1) if running else None,
        "unprotected_before": round(view.unprotected_time.total - running, 3),
        "saved": None,
        "error": show_text(view.error),
    }


def _health(overview: Overview) -> dict[str, Any]:
    health = overview.health
    return {
        "stream": "connected" if health.stream_connected else "lost",
        "price_age": None if overview.price_age is None else round(overview.price_age, 1),
        "store": "behind" if health.journal_is_behind else "up to date",
        "waiting": health.journal.waiting,
        "lease": "held" if health.lease_seconds > 0 else "lost or not renewed",
        "lease_seconds": round(health.lease_seconds, 1) if health.lease_seconds < math.inf else None,
        "detail": "",
    }


def show_event(event: Event) -> dict[str, Any]:
    """Return an event as a page shows it: time, level, kind, position, and the other fields in words."""
    fields = msgspec.structs.asdict(event)
    left_out = ("at", "symbol", "side", "unprotected_time", "client_order_id")
    words = [
        f"{name} {_word(value)}" for name, value in fields.items() if name not in left_out and (value or value is False)
    ]
    return {
        "at": event.at.timestamp(),
        "level": event.level,
        "kind": type(event).__name__,
        "position": show_text(" ".join(filter(None, (event.symbol, event.side)))),
        "text": show_text(", ".join(words)),
    }


def _word(value: Any) -> str:
    match value:
        case float():
            return f"{value:.3f}"
        case Decimal():
            return show_money(value)
        case datetime():
            return value.isoformat(timespec="seconds")
        case _:
            return str(value)


def show_text(text: str) -> str:
    """Return a text from outside: without credentials, shortened, and with unprintable characters escaped."""
    if not text:
        return text
    hidden = hide_credentials(None, "", {"text": text[:MOST_TEXT]})["text"]
    return escape_unprintable(hidden)


def show_money(value: Decimal) -> str:
    """Return an amount in plain digits, without zeros at the end."""
    return f"{value.normalize():f}"
