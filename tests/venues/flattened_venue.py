"""A venue's server with open positions, their stops and take-profits, and `trailing flatten` on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from checked_venue import SETTINGS, hurry, set_keys
from msgspec.structs import replace
from served_exchange import Served, serving
from venue_faults import Reply, json_reply
from venue_market import Instrument, Trigger, Wanted, instrument
from venue_server import VenueServer

from trailing import open_ccxt
from trailing.cli import main
from trailing.core.model import Side

PROFIT = "x1profit"
"""The client order id of a take-profit of another program."""


def coins(count: int) -> tuple[Instrument, ...]:
    """Return so many contracts."""
    return tuple(instrument(f"C{number}", "0.1", "0.001", "5") for number in range(count))


def stop_id(number: int) -> str:
    """Return a client order id with our tag."""
    return f"trabcd{number:016x}"


def settings_of(venue: str, count: int, **changes: Any) -> dict[str, Any]:
    """Return the settings of a server with so many contracts, which refuses no request for its rate."""
    settings: dict[str, Any] = {**SETTINGS[venue], "instruments": coins(count), **changes}
    return settings | ({"demo": False} if venue == "okx" else {})


def fill_account(server: VenueServer, count: int, *, profits: int = 0) -> None:
    """Open positions, longs and shorts, each with a stop of ours, and put take-profits for all of the first ones."""
    for number, coin in enumerate(coins(count)):
        side: Side = "short" if number % 2 else "long"
        server.market.enter(coin.symbol, "buy" if side == "long" else "sell", Decimal("0.8"), Decimal(1000))
        for source in ("last", "mark"):
            server.market.move_price(coin.symbol, Decimal(1000), source)
        closing = Wanted(
            symbol=coin.symbol,
            side="sell" if side == "long" else "buy",
            quantity=Decimal("0.8"),
            client_order_id=stop_id(number),
            leg=side if server.market.hedged else "both",
            reduce_only=not server.market.hedged,
        )
        price = Decimal(980) if side == "long" else Decimal(1020)
        server.market.place(replace(closing, trigger=Trigger(price, "last", rising=side == "short")))
        if number < profits:
            limit = Decimal(1100) if side == "long" else Decimal(900)
            server.market.place(replace(closing, client_order_id=f"{PROFIT}{number}", limit=limit))


def left_open(server: VenueServer) -> dict[str, set[str]]:
    """Return the client order ids of the live stops of each open position, by symbol."""
    held = {symbol for (symbol, _), holding in server.market.holdings.items() if holding.quantity}
    return {symbol: {order.wanted.client_order_id for order in server.market.live_stops(symbol)} for symbol in held}


def orders_left(server: VenueServer) -> list[str]:
    """Return the client order ids of all open orders."""
    resting = [order for symbol in server.market.instruments for order in server.market.resting(symbol)]
    return sorted(order.wanted.client_order_id for order in (*server.market.live_stops(), *resting))


def refused_close(venue: str) -> Reply:
    """Return the reply to a close that the venue refuses for a reason of its own."""
    if venue == "binanceusdm":
        return json_reply({"code": -1112, "msg": "No depth."}, 400)
    if venue == "bybit":
        return json_reply({"retCode": 110118, "retMsg": "No depth.", "result": {}, "time": 1})
    row = {"clOrdId": "", "ordId": "", "sCode": "51009", "sMsg": "No depth.", "tag": ""}
    return json_reply({"code": "1", "data": [row], "msg": ""})


def rate_limited(venue: str) -> Reply:
    """Return the reply to a request beyond the venue's rate limit."""
    if venue == "binanceusdm":
        return json_reply({"code": -1003, "msg": "Too many requests."}, 429, {"Retry-After": "1"})
    if venue == "bybit":
        return json_reply({"retCode": 10006, "retMsg": "Too many visits.", "result": {}, "time": 1})
    return json_reply({"code": "50011", "data": [], "msg": "Too Many Requests"}, 429)


class FlattenedVenue:
    """A served venue, and the command on it."""

    def __init__(self, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
        self.served, self.server = served, served.server
        self._capsys = capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run the command; return its exit code, standard output and standard error."""
        self._capsys.readouterr()
        code = main(["flatten", self.served.venue, *words])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def document(self, *words: str) -> tuple[int, Any]:
        """Run the command with --json; return its exit code and the document."""
        code, out, _ = self.run("--yes", "--json", *words)
        return code, json.loads(out)


def on_server(server: VenueServer, patch: pytest.MonkeyPatch) -> None:
    """Let the command open a served venue instead of the real one."""
    patch.setattr("trailing.cli.operate.flatten.open_ccxt", partial(open_ccxt, configure=server.configure))


@contextmanager
def flattening(
    venue: str,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    profits: int = 0,
    store: str = "memory:",
    **changes: Any,
) -> Iterator[FlattenedVenue]:
    """Serve a venue with so many open positions."""
    set_keys(venue, monkeypatch)
    hurry(monkeypatch, venue)
    with serving(venue, store, **settings_of(venue, count, **changes)) as served:
        served.do(partial(fill_account, profits=profits), served.server, count)
        on_server(served.server, monkeypatch)
        yield FlattenedVenue(served, capsys)
