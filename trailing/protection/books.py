"""What is written down of an account's positions, and told of them: the store first, before anything can exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from trailing.core.record import StopRecord
from trailing.errors import LeaseLost, StoreError
from trailing.events import Alarm, Event, StopGone
from trailing.exchanges.port import Exchange
from trailing.protection.announcer import Announcer
from trailing.protection.clock import Clock
from trailing.protection.journal import Journal
from trailing.protection.protection import Protection
from trailing.stores.port import AddIntent, CloseStop, Intent, SaveStop, SettleIntent, StoreWrite

SAVE_AGAIN = 5.0
"""Seconds between tries to save what the store did not take."""


@dataclass(frozen=True, slots=True)
class Books:
    """The books of one account: records, intents and events."""

    exchange: Exchange
    journal: Journal
    clock: Clock
    announcer: Announcer

    async def write_intent(
        self,
        protection: Protection,
        client_order_id: str,
        purpose: Literal["stop", "exit"],
        quantity: Decimal,
        price: Decimal | None,
    ) -> None:
        position, now = protection.position, self.clock.now()
        name, account = self.exchange.name, self.exchange.account
        intent = Intent(
            exchange=name,
            account=account,
            symbol=position.symbol,
            side=position.side,
            identity=position.identity,
            client_order_id=client_order_id,
            purpose=purpose,
            quantity=quantity,
            price=price,
            at=self.clock.utc_at(now),
        )
        # With its record: after a crash, an intent always has its position, its plan and what was known before. Behind
        # the intent, which opens the record again where an earlier life of this position was closed. And behind the end
        # of the intents before it, one of which may have been under the same id: so a placing that is refused again and
        # again leaves no heap of them.
        settled = protection.settled
        entries: tuple[StoreWrite, ...] = (
            *(SettleIntent(name, account, earlier) for earlier in settled),
            AddIntent(intent),
            SaveStop(name, account, self._record(protection, now)),
        )
        try:
            error = await self._write(protection, entries)
            refuses = protection.plan.on_store_failure == "refuse" and purpose == "stop"
            if error is not None and (refuses or isinstance(error, LeaseLost)):
                raise error
        except BaseException:
            protection.settled |= {client_order_id}  # it may still be written, and nothing was sent
            raise
        if error is None:
            protection.settled -= settled
            return
        self.alarm(protection, "an order is placed that the store does not know of", f"{client_order_id}: {error}")

    async def save(self, protection: Protection) -> None:
        """Write the record of what was acknowledged, and settle the intents whose outcome it holds.

        Never fails and never waits for longer than `journal_wait`: then `save_at` is set, with an alarm for the first.

        Cancellation: ends the waiting; what was handed in is still written.
        """
        name, account = self.exchange.name, self.exchange.account
        record = self._record(protection, self.clock.now())
        # For good only where it is flat: one that was released or given up is still open, and may be protected again.
        flat = protection.closed and not record.quantity
        last = CloseStop(name, account, record) if flat else SaveStop(name, account, record)
        settled, asked = protection.settled, protection.save_at
        entries: list[StoreWrite] = [
            last,
            *(SettleIntent(name, account, client_order_id) for client_order_id in settled),
        ]
        error = await self._write(protection, entries)
        if error is None:
            protection.settled -= settled
            if protection.save_at == asked:  # else there is more to save, which came meanwhile
                protection.save_at = None
            return
        if protection.save_at is None:
            self.alarm(protection, "the store does not hold what the exchange acknowledged", str(error))
        protection.save_at = self.clock.now() + SAVE_AGAIN

    def _record(self, protection: Protection, now: float) -> StopRecord:
        protection.note_exposure(now)
        missed, heard_at = protection.missed, self.clock.utc_at(protection.heard_at)
        return protection.stop.save(
            self.clock.utc_at(now),
            exposure=protection.exposure_at(now),
            heard_until=heard_at if missed is None else min(heard_at, missed.since),
            moves=protection.moves,
            filled=protection.filled,
            proceeds=protection.proceeds,
        )

    async def _write(self, protection: Protection, entries: Sequence[StoreWrite]) -> StoreError | None:
        try:
            await self.journal.write(*entries, within=protection.plan.journal_wait)
        except StoreError as error:
            return error
        return None

    def tell(self, protection: Protection | None, event: Callable[..., Event], **fields: object) -> None:
        """Publish what happened to a position, or (None) to the whole, now."""
        symbol = protection.position.symbol if protection is not None else None
        side = protection.position.side if protection is not None else None
        self.announcer.publish(event(at=self.clock.utc(), symbol=symbol, side=side, **fields))

    def note_gone(self, protection: Protection, client_order_id: str) -> None:
        """A stop that was live is not any more, and we did not cancel it: the plan says whether it is placed again."""
        now = self.clock.now()
        protection.want(protection.stop.gone(client_order_id, now))
        protection.note_exposure(now, "cancelled")
        self.tell(protection, StopGone, client_order_id=client_order_id)
        if protection.plan.on_stop_cancelled == "release" and protection.stop.order is None:
            protection.release_wanted = False

    def freeze(self, protection: Protection, bug: Exception) -> None:
        """Keep a position's stop where it is, because a rule or a task of it failed, with an alarm the first time."""
        protection.error = bug
        if not protection.frozen:
            protection.frozen, protection.wanted = True, None
            self.alarm(protection, "frozen: its stop stands and is not moved", f"{type(bug).__name__}: {bug}")

    def alarm(self, protection: Protection | None, what: str, detail: str = "") -> None:
        """Call for somebody to look, at a position or (None) at the whole."""
        self.tell(protection, Alarm, what=what, detail=detail)
