"""Websocket protocol of Binance USD-M futures: https://developers.binance.com/docs/derivatives.

Trades come as `aggTrade`, which joins the trades of 100 ms at one price, so no price is left out. Mark and index price
come together once a second. A stop that triggers becomes a market order with ids of its own. Its fills are reported under
the stop's ids. A fill that arrives before Binance links the two orders is held until it does.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from trailing.core.model import Fill, Side, Source
from trailing.exchanges.ccxt.entry_updates import EntryUpdates, is_entry
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.stream_protocol import (
    ConnectionExpired,
    Frame,
    Instrument,
    Message,
    RequestReply,
    cumulative,
    order_side,
    parse_each,
    position_updates,
    ticks_of,
)
from trailing.exchanges.ccxt.unreadable import Unreadable, as_text
from trailing.exchanges.port import OrderStatus, OrderUpdate, escaped

_ENDED: Final = frozenset({"CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
_STATUSES: Final[Mapping[str, OrderStatus]] = {
    "NEW": "live",
    "TRIGGERING": "triggered",
    "TRIGGERED": "triggered",
    **dict.fromkeys(_ENDED, "cancelled"),
}
"""A stop's status by Binance's word. FINISHED is missing, because the stop's market order tells how it ended."""

_WORKING: Final = frozenset({"NEW", "PARTIALLY_FILLED"})

_REMEMBERED: Final = 500
"""How many market orders of triggered stops, and how many orders not linked to a stop, are kept in memory."""

_HELD_SECONDS: Final = 2.0
"""Seconds for which the updates of a market order are held, until Binance links it to a stop or not."""

_OURS: Final = re.compile(r"tr[0-9a-f]{20}")
_NEWS: Final[frozenset[str]] = frozenset({"NEW", "AMENDMENT"})
_FILLS: Final[frozenset[str]] = frozenset({"TRADE", "CALCULATED"})


class BinanceProtocol:
    """Implements `StreamProtocol` for Binance. Remembers which market order belongs to which triggered stop.

    Args:
        session: requests listen keys.
        instruments: the markets whose frames are parsed.
        hedged: whether the account is in hedge mode.
    """

    sources: frozenset[Source] = frozenset({"last", "mark", "index"})
    symbols_per_connection: int = 200  # a connection takes 1024 streams, a symbol needs two
    topics_per_request: int = 100
    account_topics: tuple[tuple[str, ...], ...] = ((),)
    heartbeat: str | None = None
    renewal_seconds: float | None = 1800.0  # a listen key expires after 60 minutes

    def __init__(self, session: Session, instruments: Iterable[Instrument], *, hedged: bool = False) -> None:
        self._session, self._hedged = session, hedged
        instruments = tuple(instruments)
        self._instruments: Mapping[str, Instrument] = {instrument.id: instrument for instrument in instruments}
        self._ids: Mapping[str, str] = {instrument.symbol: instrument.id.lower() for instrument in instruments}
        self._entries = EntryUpdates()
        self._stops: OrderedDict[str, tuple[str, str, Side]] = OrderedDict()  # by the id of its market order
        self._unlinked: OrderedDict[str, list[OrderUpdate]] = OrderedDict()  # by order id
        self._held: dict[str, float] = {}  # those of them that were not reported yet, and since when

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Return the topics of trades, and of mark and index price."""
        name = self._ids[symbol]
        return (f"{name}@aggTrade", f"{name}@markPrice@1s")

    def subscription_message(self, number: int, topics: Sequence[str], *, subscribe: bool) -> str:
        """Return a SUBSCRIBE or UNSUBSCRIBE request."""
        method = "SUBSCRIBE" if subscribe else "UNSUBSCRIBE"
        return json.dumps({"method": method, "params": list(topics), "id": number})

    async def price_url(self) -> str:
        """Return the URL of the category with trades and mark prices."""
        return str(self._session.client.get_ws_url("linear", "market"))

    async def account_url(self, topics: Sequence[str]) -> str:  # noqa: ARG002 - the listen key subscribes
        """Request a listen key, and return the URL that contains it."""
        answer = await self._session.call("updates", "fapiPrivatePostListenKey")
        return str(self._session.client.get_private_ws_url("linear", answer["listenKey"]))

    def login_message(self) -> str | None:
        """Return None: the listen key in the URL is the login."""
        return None

    async def renew(self) -> None:
        """Extend the life of the listen key."""
        await self._session.call("updates", "fapiPrivatePutListenKey")

    def parse(self, frame: Frame, now: float) -> Iterable[Message]:
        """Return what a frame says; nothing for an event that is not used."""
        match frame.get("e"):
            case "aggTrade":
                instrument = self._instruments[frame["s"]]
                return ticks_of(instrument.symbol, (("last", frame["p"]),), now)
            case "markPriceUpdate":
                instrument = self._instruments[frame["s"]]
                return ticks_of(instrument.symbol, (("mark", frame["p"]), ("index", frame.get("i"))), now)
            case "ORDER_TRADE_UPDATE":
                return self._parse_order(frame["o"], now)
            case "ALGO_UPDATE":
                return self._parse_stop(frame["o"], now)
            case "ACCOUNT_UPDATE":
                # Funding of a cross-margin position comes without positions.
                return parse_each(frame["a"].get("P") or (), lambda each: self._parse_position(each, now))
            case "listenKeyExpired":
                return (ConnectionExpired("the listen key has expired"),)
            case None if "error" in frame or "code" in frame:
                return (RequestReply(str(frame.get("error") or frame)),)
            case None if "id" in frame:
                return (RequestReply(),)
        return ()

    def release_overdue(self, now: float) -> Iterable[Message]:
        """Return the updates of market orders that were not linked to a stop in time."""
        late = [number for number, since in self._held.items() if since <= now - _HELD_SECONDS]
        for number in late:
            del self._held[number]
        return [update for number in late for update in self._unlinked.get(number, ())]

    def _parse_order(self, order: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument = self._instruments.get(order["s"])
        if instrument is None:
            return ()
        number, own_id = as_text("i", order["i"]), as_text("c", order["c"])
        is_stop = number in self._stops
        leg, reduces = order.get("ps", "").lower(), bool(order.get("R"))
        if not is_stop and is_entry(own_id, order["S"].lower(), leg, reduces=reduces):
            return (self._parse_entry(instrument, leg, (own_id, number), order, now),)
        side = order_side(order["S"].lower(), leg, reduces=reduces)
        order_id, client_order_id, side = self._stops.get(number, (number, own_id, side))
        filled = cumulative(order.get("z"), instrument)
        fills = order["x"] in _FILLS
        quantity, price = (Decimal(order["l"]), Decimal(order["L"])) if fills else (Decimal(0), Decimal(0))
        if quantity and price:
            fill = Fill(
                symbol=instrument.symbol,
                side=side,
                quantity=quantity * instrument.contract_size,
                price=price,
                order_id=order_id,
                client_order_id=client_order_id,
                at=now,
                trade_id=str(order["t"]) if order.get("t") else None,
            )
            status: Literal["partial", "filled"] = "filled" if order["X"] == "FILLED" else "partial"
            update = OrderUpdate(instrument.symbol, side, client_order_id, order_id, status, now, fill, filled)
        elif order["X"] in _ENDED:
            reason = _reason(order["X"])
            update = OrderUpdate(
                instrument.symbol, side, client_order_id, order_id, "cancelled", now, filled=filled, reason=reason
            )
        elif fills:  # such as a liquidation that is pending
            return (Unreadable(f"{instrument.symbol}: {order['x']} reports a fill of {quantity} at {price}"),)
        # A market order is filled or cancelled next, and it may carry the client order id of its stop.
        elif order["x"] in _NEWS and not is_stop and order["o"] != "MARKET":
            return (OrderUpdate(instrument.symbol, side, client_order_id, order_id, "live", now, filled=filled),)
        else:
            return ()
        if is_stop:
            return (update,)
        _remember(self._unlinked, number, [*self._unlinked.get(number, ()), update])
        if order["o"] != "MARKET" or _OURS.fullmatch(client_order_id):
            return (update,)
        self._held.setdefault(number, now)
        return ()

    def _parse_entry(
        self, instrument: Instrument, leg: str, ids: tuple[str, str], order: Mapping[str, Any], now: float
    ) -> Message:
        filled, word = order["z"], order["X"]
        is_first = order["x"] in _FILLS and Decimal(order["l"]) == Decimal(filled) > 0
        return self._entries.update(
            instrument,
            order["S"].lower(),
            leg,
            ids,
            now,
            quantity=order["q"],
            filled=filled,
            average_price=order["ap"],
            limit=order["p"] if order["o"] == "LIMIT" else None,
            is_working=word in _WORKING,
            reason=_reason(word) if word in _ENDED else "",
            first_fill_ms=order["T"] if is_first else None,
        )

    def _parse_stop(self, stop: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument = self._instruments.get(stop["s"])
        if instrument is None:
            return ()
        order_id, client_order_id = as_text("aid", stop["aid"]), as_text("caid", stop["caid"])
        side = order_side(stop["S"].lower(), stop.get("ps", "").lower(), reduces=True)
        updates: list[Message] = []
        status = _status_of(stop)
        market_order = as_text("ai", stop.get("ai"))
        if market_order not in {"", "0"}:
            _remember(self._stops, market_order, (order_id, client_order_id, side))
            self._held.pop(market_order, None)
            early = self._unlinked.pop(market_order, ())
            # Where Binance let it keep the stop's client order id, they were reported as the stop's already. Of two updates that
            # it has ended, the stop's own has the reason.
            updates += (
                _as_stop(each, order_id, client_order_id, side)
                for each in early
                if each.client_order_id != client_order_id and not each.status == status == "cancelled"
            )
            if early and status == "triggered":
                status = None  # its fill, or its end, came first
        filled = cumulative(stop.get("aq"), instrument)
        if status is not None:
            reason = _reason(stop["X"], stop.get("rm")) if status == "cancelled" else ""
            updates.append(
                OrderUpdate(
                    instrument.symbol, side, client_order_id, order_id, status, now, filled=filled, reason=reason
                )
            )
        return updates

    def _parse_position(self, position: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument = self._instruments.get(position["s"])
        if instrument is None:
            return ()
        leg = position.get("ps", "").lower()
        # In hedge mode Binance adds the empty entry of one-way mode, which says nothing about the two positions.
        if self._hedged and leg == "both":
            return ()
        return position_updates(instrument, leg, Decimal(position["pa"]), now)


def _as_stop(update: OrderUpdate, order_id: str, client_order_id: str, side: Side) -> OrderUpdate:
    """Return an update under the ids of the stop that its order belongs to."""
    ids: dict[str, Any] = {"side": side, "order_id": order_id, "client_order_id": client_order_id}
    fill = None if update.fill is None else msgspec.structs.replace(update.fill, **ids)
    return msgspec.structs.replace(update, fill=fill, **ids)


def _status_of(stop: Mapping[str, Any]) -> OrderStatus | None:
    """Return a stop's status; None: its market order tells how it ended."""
    word = stop["X"]
    if word == "FINISHED" and stop.get("aq"):  # its market order has ended, perhaps filled in part
        return "cancelled" if Decimal(stop["aq"]) < Decimal(stop["q"]) else None
    return _STATUSES.get(word)


def _reason(word: str, stated: str | None = None) -> str:
    """Return why an order ended, from its status and the reason beside it, escaped; "": a request cancelled it."""
    return escaped(stated or ("" if word == "CANCELED" else word))


def _remember(memory: OrderedDict[str, Any], key: str, value: object) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
