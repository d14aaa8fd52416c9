"""Judge the parts of a snapshot that belong to no claimed position.

These are leftover stops, orphaned intents and stops of other instances. The state of a claimed position judges its own orders.
An order that is not ours is never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from typing import Final

import trio

from trailing.core.account import AccountSnapshot, Key, Orphan, Owner
from trailing.core.endings import protects_all
from trailing.core.evidence import Timing, judge_absence
from trailing.core.findings import Finding, ForeignInstance, OrphanStop
from trailing.core.inputs import ReleaseWanted
from trailing.core.model import Position, StopOrder
from trailing.core.record import StopRecord
from trailing.errors import ExchangeError, LeaseLost, NoSuchStop, StoreError, TrailingError
from trailing.protection.given_up import GivenUp
from trailing.protection.order_ids import mark_of
from trailing.protection.position_task import PositionTask
from trailing.protection.records import Records
from trailing.protection.registry import Registry
from trailing.protection.requests import RequestSender
from trailing.stores.port import SettleIntent

NO_POSITION: Final = "no position"
OPEN_POSITION: Final = "open position"

ALARM_AGAIN: Final = 600.0
"""Seconds after which an order that snapshots no longer show is forgotten. If it is shown again, it raises its alarm again."""


class Reconciler:
    """Judge the stops and intents of an account that belong to no claimed position.

    Args:
        given_up: the positions that no task works on although they may be open.
        orphans: open intents whose position has no record, by client order id.
        mark: of this instance.
        call_seconds: seconds that the exchange may take for a cancel, after the wait for the rate limit.
        take_over: whether stops of another instance in the first snapshot are ours from then on.
        want_snapshot: called with the time from which another snapshot can decide something.
        start: called with a leftover stop; starts to cancel it.

    Attributes:
        marks: the marks of the instances whose orders are ours. Other orders with our tag are another instance's.
        released_stops: the orders that may be live after their position was released or given up, or has ended: symbol and side
            by client order id. They are left alone until a position of that key is claimed again, whose state then judges them.
        superseded: the stored records of keys that a later record claims. Each is closed in the store when no stop needs it.
    """

    def __init__(
        self,
        sender: RequestSender,
        records: Records,
        registry: Registry,
        given_up: GivenUp,
        orphans: MutableMapping[str, Orphan],
        timing: Timing,
        *,
        mark: str,
        call_seconds: float,
        take_over: bool,
        want_snapshot: Callable[[float], None],
        start: Callable[[StopOrder], None],
    ) -> None:
        self._sender, self._records, self._registry = sender, records, registry
        self._given_up, self._orphans, self._timing, self._call_seconds = given_up, orphans, timing, call_seconds
        self._take_over, self._want_snapshot, self._start = take_over, want_snapshot, start
        self._seen: dict[tuple[str, str], float | None] = {}
        # By client order id: when a snapshot last showed an order that had an alarm; until when lists may show a leftover
        # that was cancelled.
        self._alarmed: dict[str, float] = {}
        self._cancelling: dict[str, float] = {}
        self._is_first = True
        self.marks: frozenset[str] = frozenset({mark})
        self.released_stops: dict[str, Key] = {}
        self.superseded: list[StopRecord] = []

    def owner_of(self, client_order_id: str) -> Owner:
        """Return the owner of an order. With `take_over`, note the marks of the first snapshot as ours."""
        mark = mark_of(client_order_id)
        if mark is None:
            return "foreign"
        if mark in self.marks:
            return "ours"
        if self._is_first and self._take_over:
            self.marks |= {mark}
            return "ours"
        return "instance"

    def judge(self, snapshot: AccountSnapshot) -> None:
        """Judge a snapshot: settle orphaned intents, cancel leftovers of closed positions, raise alarms.

        Drop positions that wait, or were given up, although another claim protects them, close superseded records, and store again
        what the store did not take.

        Raises:
            LeaseLost: the first snapshot shows stops of another instance. Nothing was written.
        """
        if self._is_first and snapshot.others:
            first = snapshot.others[0]
            raise LeaseLost(
                f"{len(snapshot.others)} stops of another instance are live on this account, {first.client_order_id} of "
                f"{first.symbol} among them: end it first, or take its stops over with take_over=True"
            )
        self._is_first = False
        before, self._seen = self._seen, {}
        for order in snapshot.others:
            self._first_alarm("another instance is at work on this account", ForeignInstance.of(order), order, snapshot)
        self._judge_leftovers(snapshot, before)
        self._judge_orphans(snapshot, before)
        self._cancelling = {one: until for one, until in self._cancelling.items() if until > snapshot.asked_at}
        forgotten_until = snapshot.asked_at - ALARM_AGAIN
        self._alarmed = {one: shown_at for one, shown_at in self._alarmed.items() if shown_at > forgotten_until}
        for task in tuple(self._registry.waiting()):
            self._drop_if_protected(task)
        for key, listed in tuple(self._given_up.listed.items()):
            if self._is_replaced(listed.position, self._given_up.listed_at[key]):
                self._given_up.forget(*key)
        self._records.store_again()
        if snapshot.shows_all_stops:
            self.superseded = [record for record in self.superseded if not self._close_superseded(record, snapshot)]
        claimed = self._registry
        self.released_stops = {one: key for one, key in self.released_stops.items() if claimed.get(*key) is None}

    def _drop_if_protected(self, task: PositionTask) -> None:
        """Drop a position that waits for its key, and whose caller is gone, if the position that holds the key has its place.

        Its record is closed, whatever its state still waits for, because an open one would claim the key after a restart.
        """
        state = task.state
        if not state.is_opening and self._is_replaced(state.position, state.claimed_at):
            task.step(ReleaseWanted(cancel_stop=False))
            self._registry.drop(task)
            self._records.close(self._records.record(task))

    def _is_replaced(self, position: Position, since: float) -> bool:
        """Return whether a snapshot requested after `since` has shown the position that holds the key, covered by its stop.

        Then it is open in the place of this one: it is the same position, or in one-way mode the opposite one.
        """
        holder = self._registry.holder(position.symbol, position.side)
        if holder is None:
            return False
        held = holder.state
        is_shown = held.shown_at >= since + self._timing.positions_read_lag and held.doubted_stop is None
        return is_shown and protects_all(held) and (held.position.side == position.side or bool(held.quantity))

    def _close_superseded(self, record: StopRecord, snapshot: AccountSnapshot) -> bool:
        """Close a superseded record in the store, and return whether that is done.

        The record stays as long as the snapshot shows a stop of it that no position has adopted, because only the record tells a
        later process that the stop is ours. A position that was handed in again writes its own record.
        """
        position = record.position
        task = self._registry.get(position.symbol, position.side)
        if task is not None and task.state.position.identity == position.identity:
            return True
        adopted = {} if task is None else task.state.orders
        stops = {order.client_order_id for order in (*record.orders, record.native) if order is not None}
        shown = snapshot.ours.get((position.symbol, position.side), ())
        if any(order.client_order_id in stops and order.client_order_id not in adopted for order in shown):
            return False
        self._records.close(record)
        return True

    def _judge_leftovers(self, snapshot: AccountSnapshot, before: dict[tuple[str, str], float | None]) -> None:
        for key, orders in snapshot.ours.items():
            if self._registry.get(*key) is not None:
                continue  # the state of the position judges them
            is_open = key in snapshot.reports or key in snapshot.doubled_positions
            if not is_open and not snapshot.shows_all_positions:
                continue
            for order in orders:
                if order.client_order_id in self.released_stops:
                    continue
                if not self._is_confirmed(
                    snapshot, before, OPEN_POSITION if is_open else NO_POSITION, order.client_order_id
                ):
                    continue
                if is_open:
                    found = OrphanStop.of(order)
                    self._first_alarm(
                        "a stop of ours is live behind a position that is not protected", found, order, snapshot
                    )
                elif snapshot.asked_at >= self._cancelling.get(order.client_order_id, -math.inf):
                    self._cancelling[order.client_order_id] = math.inf
                    self._start(order)

    def _first_alarm(self, what: str, found: Finding, order: StopOrder, snapshot: AccountSnapshot) -> None:
        """Raise an alarm when a snapshot shows an order for the first time, or again after `ALARM_AGAIN`."""
        if order.client_order_id not in self._alarmed:
            self._alarm(what, str(found))
        self._alarmed[order.client_order_id] = snapshot.asked_at

    def _judge_orphans(self, snapshot: AccountSnapshot, before: dict[tuple[str, str], float | None]) -> None:
        if not self._orphans or not snapshot.shows_all_stops:
            return
        listed = {order.client_order_id for orders in snapshot.ours.values() for order in orders}
        settled = []
        for orphan in tuple(self._orphans.values()):
            if orphan.client_order_id in listed:
                continue
            until = orphan.at_risk_until
            if self._is_confirmed(snapshot, before, "no order", orphan.client_order_id, executable_until=until):
                settled.append(orphan.client_order_id)
        if settled:
            self._settle(settled)

    def _is_confirmed(
        self,
        snapshot: AccountSnapshot,
        before: dict[tuple[str, str], float | None],
        what: str,
        client_order_id: str,
        *,
        executable_until: float = -math.inf,
    ) -> bool:
        verdict = judge_absence(
            before.get((what, client_order_id)),
            asked_at=snapshot.asked_at,
            answered_at=snapshot.answered_at,
            lag=self._timing.read_lag,
            changed_at=-math.inf,
            executable_until=executable_until,
        )
        self._seen[what, client_order_id] = verdict.since
        if not verdict.confirmed:
            self._want_snapshot(verdict.again_at)
        return verdict.confirmed

    def _settle(self, client_order_ids: list[str]) -> None:
        records = self._records

        def on_answer(error: StoreError | None) -> None:
            if error is not None:  # the next snapshot finds them again
                self._alarm("intents that are settled can't be written off", str(error))
                return
            for client_order_id in client_order_ids:
                self._orphans.pop(client_order_id, None)

        entries = [SettleIntent(records.exchange, records.account, one) for one in client_order_ids]
        records.journal.hand_in(*entries, within=self._call_seconds, on_answer=on_answer)

    async def cancel_leftover(self, order: StopOrder) -> None:
        """Cancel a leftover stop. If that fails, an alarm says so, and a later snapshot finds the stop again."""
        try:
            await self._sender.cancel(order, self._call_seconds)
        except NoSuchStop:
            pass  # it is gone, which is what was wanted
        except ExchangeError as error:
            self._alarm("a leftover stop can't be cancelled", f"{order.client_order_id}: {error}")
            await trio.sleep(self._call_seconds)
        except TrailingError as lost:
            self._alarm("a leftover stop can't be cancelled", f"{order.client_order_id}: {lost}")
        finally:
            shown_until = self._cancelling[order.client_order_id] = trio.current_time() + self._timing.read_lag
            self._want_snapshot(shown_until)

    def _alarm(self, what: str, detail: str) -> None:
        self._records.alarm(None, what, detail)
