"""Who is protected, and who is being protected. Here is the only lock, and nothing awaits while it is held.

It is taken without waiting: it is never contended, since nothing that holds it yields, and should anybody ever await
inside, the next taker raises at once.
"""

from __future__ import annotations

from typing import TypeAlias

import trio

from trailing.core.model import Position, Side
from trailing.protection.protection import Protection

Key: TypeAlias = tuple[str, str, str, Side | None]


class _Unwaited:
    """A lock that is taken without waiting, in a plain `with`."""

    def __init__(self, lock: trio.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire_nowait()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Registry:
    """One claim per key: exchange, account, symbol and, where the account is hedged, side."""

    def __init__(self, exchange: str, account: str, *, hedged: bool) -> None:
        self._exchange, self._account, self._hedged = exchange, account, hedged
        self._lock = _Unwaited(trio.Lock())
        self._claims: dict[Key, Protection] = {}
        self._heard: trio.Event | None = None

    def key(self, symbol: str, side: Side) -> Key:
        """What a position is claimed under."""
        return (self._exchange, self._account, symbol, side if self._hedged else None)

    def claim(self, position: Position, new: Protection) -> Protection:
        """Claim a position's key for `new`. Returns `new`, or whoever holds the key already."""
        with self._lock:
            held = self._claims.setdefault(self.key(position.symbol, position.side), new)
            if held is new:
                self._note_change()
            return held

    def remove(self, protection: Protection) -> None:
        """Nobody works on it any more. Removing it again is no error."""
        with self._lock:
            key = self.key(protection.position.symbol, protection.position.side)
            if self._claims.get(key) is protection:
                del self._claims[key]
            self._note_change()
        protection.changed()

    def get(self, symbol: str, side: Side) -> Protection | None:
        """The protection of this symbol and side, or None."""
        held = self._claims.get(self.key(symbol, side))
        return held if held is not None and held.position.side == side else None

    def of_symbol(self, symbol: str) -> tuple[Protection, ...]:
        """Every protection of a symbol: one, or where the account is hedged up to two."""
        if not self._hedged:  # for every tick
            held = self._claims.get((self._exchange, self._account, symbol, None))
            return () if held is None else (held,)
        both = (self.get(symbol, "long"), self.get(symbol, "short"))
        return tuple(held for held in both if held is not None)

    def all(self) -> tuple[Protection, ...]:
        """Every protection, in the order of the claims."""
        return tuple(self._claims.values())

    async def wait_empty(self) -> None:
        """Wait until nothing is claimed."""
        while self._claims:
            await self.wait_changed()
        await trio.lowlevel.checkpoint()

    async def wait_changed(self) -> None:
        """Wait until something is claimed or removed."""
        if self._heard is None:
            self._heard = trio.Event()
        await self._heard.wait()

    def symbols(self) -> frozenset[str]:
        """The symbols that are claimed."""
        return frozenset(key[2] for key in self._claims)

    def _note_change(self) -> None:
        if self._heard is not None:
            self._heard.set()
            self._heard = None
