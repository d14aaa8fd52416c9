"""What Binance USD-M says over its websockets, as updates: https://developers.binance.com/docs/derivatives.

Trades come as `aggTrade` (those of 100 ms at one price are one, so that no price is left out), mark and index price
together once a second. A stop that triggers becomes an order at market with ids of its own: its fills are told as the
stop's. Where they come before it is said what it has become, they are kept back for that long.
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
from trailing.exchanges.ccxt.dialect import (
    Answer,
    Expired,
    Frame,
    Heard,
    Place,
    cumulative,
    order_side,
    position_updates,
    read_each,
    ticks_of,
)
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.port import OrderStatus, OrderUpdate

_ENDED: Final = frozenset({"CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
_STATUSES: Final[Mapping[str, OrderStatus]] = {
    "NEW": "live",
    "TRIGGERING": "triggered",
    "TRIGGERED": "triggered",
    **dict.fromkeys(_ENDED, "cancelled"),
}
"""What a stop's own status says of it. FINISHED is said of what it has become."""

_REMEMBERED: Final = 500
"""Orders at market that stops became, and fills of orders nobody has claimed as a stop's, that are kept in mind."""

_HELD_SECONDS: Final = 2.0
"""Seconds for which what becomes of an order at market is kept back, until it is known whether a stop has become it."""

_OURS: Final = re.compile(r"tr[0-9a-f]{20}")
_NEWS: Final[frozenset[str]] = frozenset({"NEW", "AMENDMENT"})
_FILLS: Final[frozenset[str]] = frozenset({"TRADE", "CALCULATED"})


class BinanceDialect:
    """As `Dialect` says; keeps in mind which order at market was which stop."""

    sources: frozenset[Source] = frozenset({"last", "mark", "index"})
    symbols_per_line: int = 200  # of 1024 streams a connection, and two a symbol
    topics_per_request: int = 100
    account_topics: tuple[str, ...] = ()
    heartbeat: str | None = None
    renewal_seconds: float | None = 1800.0  # a listen key lives for 60 minutes

    def __init__(self, session: Session, places: Iterable[Place]) -> None:
        self._session = session
        places = tuple(places)
        self._places: Mapping[str, Place] = {place.id: place for place in places}
        self._ids: Mapping[str, str] = {place.symbol: place.id.lower() for place in places}
        self._stops: OrderedDict[str, tuple[str, str, Side]] = OrderedDict()  # by the id of what it became
        self._unclaimed: OrderedDict[str, list[OrderUpdate]] = OrderedDict()  # by order id
        self._held: dict[str, float] = {}  # those of them that nobody was told of, and since when

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Trades, and mark with index price."""
        name = self._ids[symbol]
        return (f"{name}@aggTrade", f"{name}@markPrice@1s")

    def request(self, number: int, topics: Sequence[str], *, wanted: bool) -> str:
        """SUBSCRIBE or UNSUBSCRIBE."""
        method = "SUBSCRIBE" if wanted else "UNSUBSCRIBE"
        return json.dumps({"method": method, "params": list(topics), "id": number})

    async def price_address(self) -> str:
        """Of the category that trades of 100 ms and mark prices are in."""
        return str(self._session.client.get_ws_url("linear", "market"))

    async def account_address(self) -> str:
        """With a listen key, which is asked for."""
        answer = await self._session.call("updates", "fapiPrivatePostListenKey")
        return str(self._session.client.get_private_ws_url("linear", answer["listenKey"]))

    def sign_in(self) -> str | None:
        """The listen key says it all."""
        return None

    async def renew(self) -> None:
        """Let the listen key live on."""
        await self._session.call("updates", "fapiPrivatePutListenKey")

    def read(self, frame: Frame, now: float) -> Iterable[Heard]:
        """What a frame says; nothing, where it is of no event that is asked for."""
        match frame.get("e"):
            case "aggTrade":
                place = self._places[frame["s"]]
                return ticks_of(place.symbol, (("last", frame["p"]),), now)
            case "markPriceUpdate":
                place = self._places[frame["s"]]
                return ticks_of(place.symbol, (("mark", frame["p"]), ("index", frame.get("i"))), now)
            case "ORDER_TRADE_UPDATE":
                return self._read_order(frame["o"], now)
            case "ALGO_UPDATE":
                return self._read_stop(frame["o"], now)
            case "ACCOUNT_UPDATE":
                # Funding of a cross position comes without any positions.
                return read_each(frame["a"].get("P") or (), lambda each: self._read_position(each, now))
            case "listenKeyExpired":
                return (Expired("the listen key has expired"),)
            case None if "error" in frame or "code" in frame:
                return (Answer(str(frame.get("error") or frame)),)
            case None if "id" in frame:
                return (Answer(),)
        return ()

    def overdue(self, now: float) -> Iterable[Heard]:
        """What became of orders at market that no stop has become."""
        late = [number for number, since in self._held.items() if since <= now - _HELD_SECONDS]
        for number in late:
            del self._held[number]
        return [update for number in late for update in self._unclaimed.get(number, ())]

    def _read_order(self, order: Mapping[str, Any], now: float) -> Iterable[Heard]:
        place = self._places.get(order["s"])
        if place is None:
            return ()
        number = str(order["i"])
        side = order_side(order["S"].lower(), order.get("ps", "").lower(), reduces=bool(order.get("R")))
        is_stop = number in self._stops
        order_id, client_order_id, side = self._stops.get(number, (number, order["c"], side))
        filled = cumulative(order.get("z"), place)
        if order["x"] in _FILLS:
            fill = Fill(
                symbol=place.symbol,
                side=side,
                quantity=Decimal(order["l"]) * place.contract_size,
                price=Decimal(order["L"]),
                order_id=order_id,
                client_order_id=client_order_id,
                at=now,
                trade_id=str(order["t"]) if order.get("t") else None,
            )
            status: Literal["partial", "filled"] = "filled" if order["X"] == "FILLED" else "partial"
            update = OrderUpdate(place.symbol, side, client_order_id, order_id, status, now, fill, filled)
        elif order["X"] in _ENDED:
            reason = _reason(order["X"])
            update = OrderUpdate(
                place.symbol, side, client_order_id, order_id, "cancelled", now, filled=filled, reason=reason
            )
        # One at market is filled or gone next; and it may have the client order id of the stop that it was.
        elif order["x"] in _NEWS and not is_stop and order["o"] != "MARKET":
            return (OrderUpdate(place.symbol, side, client_order_id, order_id, "live", now, filled=filled),)
        else:
            return ()
        if is_stop:
            return (update,)
        _remember(self._unclaimed, number, [*self._unclaimed.get(number, ()), update])
        if order["o"] != "MARKET" or _OURS.fullmatch(client_order_id):
            return (update,)
        self._held.setdefault(number, now)
        return ()

    def _read_stop(self, stop: Mapping[str, Any], now: float) -> Iterable[Heard]:
        place = self._places.get(stop["s"])
        if place is None:
            return ()
        order_id, client_order_id = str(stop["aid"]), stop["caid"]
        side = order_side(stop["S"].lower(), stop.get("ps", "").lower(), reduces=True)
        updates: list[Heard] = []
        status = _status_of(stop)
        became = str(stop.get("ai") or "")
        if became not in {"", "0"}:
            _remember(self._stops, became, (order_id, client_order_id, side))
            self._held.pop(became, None)
            early = self._unclaimed.pop(became, ())
            # Where the venue let it keep the stop's client order id, they were told as the stop's already.
            updates += (
                _as_stop(each, order_id, client_order_id, side)
                for each in early
                if each.client_order_id != client_order_id
            )
            if early and status == "triggered":
                status = None  # its fill, or its end, came first
        filled = cumulative(stop.get("aq"), place)
        if status is not None:
            reason = _reason(stop["X"], stop.get("rm")) if status == "cancelled" else ""
            updates.append(
                OrderUpdate(place.symbol, side, client_order_id, order_id, status, now, filled=filled, reason=reason)
            )
        return updates

    def _read_position(self, position: Mapping[str, Any], now: float) -> Iterable[Heard]:
        place = self._places.get(position["s"])
        if place is None:
            return ()
        return position_updates(place, position.get("ps", "").lower(), Decimal(position["pa"]), now)


def _as_stop(update: OrderUpdate, order_id: str, client_order_id: str, side: Side) -> OrderUpdate:
    """What came before it was known whose it was."""
    whose: dict[str, Any] = {"side": side, "order_id": order_id, "client_order_id": client_order_id}
    fill = None if update.fill is None else msgspec.structs.replace(update.fill, **whose)
    return msgspec.structs.replace(update, fill=fill, **whose)


def _status_of(stop: Mapping[str, Any]) -> OrderStatus | None:
    """Return what a stop's own status says of it; None: what it has become says the rest."""
    word = stop["X"]
    if word == "FINISHED" and stop.get("aq"):  # what it became has ended, perhaps before all of it was filled
        return "cancelled" if Decimal(stop["aq"]) < Decimal(stop["q"]) else None
    return _STATUSES.get(word)


def _reason(word: str, said: str | None = None) -> str:
    """Return why an order ended, from its status and what is said beside it; "": it was cancelled, as a request asked for."""
    return said or ("" if word == "CANCELED" else word)


def _remember(memory: OrderedDict[str, Any], key: str, value: object) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
