"""What a page shows, from a store that a bot in another process writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import trio

from trailing.core.record import StopRecord
from trailing.core.states import State
from trailing.errors import StoreError
from trailing.events import PositionClosed, PositionReleased, StopGone, StopMoved, StopOpened
from trailing.stores.port import EventRecord, Store
from trailing.web.history import History
from trailing.web.hub import Hub
from trailing.web.metrics import Values
from trailing.web.sources import show_event, show_money, show_text

READ_SECONDS: Final = 1.0
"""Seconds between two reads of the store."""

CALL_SECONDS: Final = 10.0
"""Seconds for one read of the store."""

MOST_HISTORIES: Final = 1000
"""The most charts that are kept. Beyond them, those of positions that are not open are dropped."""

EARLIER: Final = timedelta(hours=24)
"""How far back the events are read from which the charts and the list of events are made."""


class StoreSource:
    """The positions that a store holds, of every account. It only reads.

    Args:
        store: opened to read only.
    """

    def __init__(self, store: Store) -> None:
        self.hub: Hub = Hub()
        self._store = store
        self._rows: dict[str, dict[str, Any]] = {}
        self._histories: dict[str, History] = {}
        self._owners: dict[str, str | None] = {}
        self._problem: str | None = "not read yet"
        self._news: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Read the store every `READ_SECONDS`, and follow its events."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            while True:
                await self._read()
                await trio.sleep(READ_SECONDS)

    async def _follow(self) -> None:
        since = datetime.now(UTC) - EARLIER
        while True:
            events = self._store.events(since, follow=True)
            try:
                async for record in events:
                    since = record.event.at + timedelta(microseconds=1)
                    self._take(record)
            except StoreError as error:
                self._problem = show_text(str(error))
            await trio.sleep(READ_SECONDS)

    def _take(self, record: EventRecord) -> None:
        event = record.event
        self._news.append(show_event(event))
        key = _key(record.exchange, record.account, event.symbol or "", event.side or "")
        at = event.at.timestamp()
        match event:
            case StopOpened():
                self._history(key).set_stop(at, float(event.price))
                self._history(key).set_unprotected(at, None)
            case StopMoved():
                self._history(key).set_stop(at, float(event.price))
                if event.unprotected_seconds:
                    self._history(key).add_stretch(at - event.unprotected_seconds, at)
            case StopGone():
                self._history(key).set_stop(at, None)
                self._history(key).set_unprotected(at, at)
            case PositionClosed() | PositionReleased():
                self._histories.pop(key, None)
            case _:
                pass

    def _history(self, key: str) -> History:
        return self._histories.setdefault(key, History(""))

    async def _read(self) -> None:
        rows, owners = dict[str, dict[str, Any]](), dict[str, str | None]()
        try:
            with trio.fail_after(CALL_SECONDS):
                for exchange, account in await self._store.accounts():
                    owners[f"{exchange} {account}"] = await self._store.lease_owner(exchange, account)
                    for record in (await self._store.load(exchange, account)).stops:
                        row = _row(exchange, account, record)
                        rows[row["key"]] = row
        except (StoreError, trio.TooSlowError) as error:
            self._problem = show_text(str(error) or f"no answer within {CALL_SECONDS:g} s")
            rows, owners = self._rows, self._owners
        else:
            self._problem = None
        changed = [row for key, row in rows.items() if self._rows.get(key) != row]
        gone = [key for key in self._rows if key not in rows]
        self._rows, self._owners = rows, owners
        if len(self._histories) > MOST_HISTORIES:
            self._histories = {key: history for key, history in self._histories.items() if key in rows}
        news, self._news = self._news, []
        self.hub.events.extend(news)
        self.hub.send(
            "change",
            {
                "at": datetime.now(UTC).timestamp(),
                "health": self._health(),
                "changed": changed,
                "prices": [],
                "gone": gone,
                "events": news,
            },
        )

    def _health(self) -> dict[str, Any]:
        free = [account for account, owner in self._owners.items() if owner is None]
        return {
            "stream": None,
            "price_age": None,
            "store": "up to date" if self._problem is None else "can't be read",
            "waiting": None,
            "lease": "free" if free else "held" if self._owners else "no account is open",
            "lease_seconds": None,
            "detail": self._problem
            or "; ".join(f"{account}: {owner}" for account, owner in self._owners.items() if owner),
        }

    def whole(self) -> dict[str, Any]:
        """Return everything that a new page shows."""
        return {
            "kind": "store",
            "account": show_text(", ".join(self._owners)),
            "at": datetime.now(UTC).timestamp(),
            "health": self._health(),
            "positions": list(self._rows.values()),
            "events": list(self.hub.events),
        }

    def chart(self, key: str) -> dict[str, Any] | None:
        """Return the chart of a position; None: there is no such position."""
        row = self._rows.get(key)
        if row is None:
            return None
        history = self._history(key)
        history.entry = row["entry"]
        return history.as_json()

    def values(self) -> Mapping[str, Values]:
        """Return the metrics, by name and labels."""
        states = Counter(row["state"] for row in self._rows.values())
        return {
            "trailing_positions": {(state,): count for state, count in sorted(states.items())},
            "trailing_unprotected_positions": {(): sum(row["unprotected"] for row in self._rows.values())},
            "trailing_store_readable": {(): float(self._problem is None)},
            "trailing_lease_held": {(account,): float(owner is not None) for account, owner in self._owners.items()},
        }

    def problems(self) -> list[str]:
        """Return what is wrong with the store and the leases, each in words; empty: all is well."""
        problems = [] if self._problem is None else [f"the store can't be read: {self._problem}"]
        return problems + [f"no process owns {account}" for account, owner in self._owners.items() if owner is None]


def _key(exchange: str, account: str, symbol: str, side: str) -> str:
    """Return a key without characters that a URL would escape."""
    return f"{exchange}|{account}|{symbol}|{side}".encode().hex()


def _row(exchange: str, account: str, record: StopRecord) -> dict[str, Any]:
    position = record.position
    stop = show_money(record.orders[-1].price) if record.orders else None
    return {
        "key": _key(exchange, account, position.symbol, position.side),
        "symbol": show_text(position.symbol),
        "side": position.side,
        "quantity": show_money(record.quantity),
        "entry": show_money(position.entry_price),
        "opened": position.opened_at.timestamp(),
        "state": "given up" if record.state == State.CLOSED else record.state,
        "price": None,
        "stop": stop,
        "moves": record.moves,
        "unprotected": stop is None,
        "unprotected_since": None,
        "unprotected_before": round(record.unprotected_time.total, 3),
        "saved": None if record.saved_at is None else record.saved_at.timestamp(),
        "error": "",
    }
