"""A venue's server whose prices move, and `trailing check` on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from moving_market import move_prices
from real_exchange import BTC, ETH, with_delays
from served_exchange import Served, serving
from venue_market import Trigger, Wanted
from venue_server import API_KEY, SECRET, VenueServer

from trailing import Credentials, open_ccxt
from trailing.cli import main
from trailing.exchanges.ccxt import venues
from trailing.exchanges.ccxt.limits import Limits, Window

WORDS = ("--testnet", "--symbol", BTC)
FOREIGN = "x-somebody-1"


def hurry(monkeypatch: pytest.MonkeyPatch, venue: str, *, request_validity: float = 0.1) -> None:
    """Shorten the waits: read lags, validity, rate limits, and the pauses of the check."""
    quick = with_delays(venue, orders_read_lag=0.0, positions_read_lag=0.0, request_validity=request_validity)
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {**venues.VENUES, venue: quick})
    quick_limits = Limits(windows={"requests": Window(20_000, 1, burst=10_000)}, costs={}, other={"requests": 1.0})
    monkeypatch.setattr("trailing.exchanges.ccxt.connecting.limits_of", lambda _: quick_limits)
    monkeypatch.setattr("trailing.cli.operate.check_account.PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("trailing.cli.operate.check_context.POLL_SECONDS", 0.02)
    monkeypatch.setattr("trailing.cli.operate.check_triggers.ATTEMPT_SECONDS", 0.2)
    monkeypatch.setattr("trailing.cli.operate.check_triggers.AGAIN_SECONDS", 0.02)


# What differs from venue to venue: the settings of a server that refuses no request for its rate, and a passphrase.
# OKX's test network is the same host, with a header.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "binanceusdm": {"order_limits": (10_000, 10_000), "weight_limit": 100_000},
    "bybit": {"order_limit": 1000},
    "okx": {"demo": True, "limited": False},
}
LIVE_SETTINGS: Mapping[str, Mapping[str, Any]] = {**SETTINGS, "okx": {"demo": False, "limited": False}}
PASSWORDS: Mapping[str, str] = {"okx": "loopback-passphrase"}


def credentials_of(venue: str) -> Credentials:
    """Return the keys of a server."""
    return Credentials(API_KEY, SECRET, PASSWORDS.get(venue))


def set_keys(venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the keys of a server in the environment."""
    for name, value in zip(("API_KEY", "SECRET", "PASSWORD"), credentials_of(venue).values, strict=True):
        monkeypatch.setenv(f"TRAILING_{name}", value or "")


def add_foreign(server: VenueServer) -> None:
    """Add a position and a stop of another program in ETH, which the check must not touch."""
    server.market.enter(ETH, "buy", Decimal("0.8"), Decimal(1000))
    stop = Wanted(
        symbol=ETH,
        side="sell",
        quantity=Decimal("0.5"),
        client_order_id=FOREIGN,
        leg="long" if server.market.hedged else "both",
        reduce_only=not server.market.hedged,
        trigger=Trigger(Decimal(900), "last", rising=False),
    )
    server.market.place(stop)


def left_on(server: VenueServer) -> tuple[list[str], dict[str, Decimal]]:
    """Return the client order ids of the live stops, and the open quantities by symbol."""
    stops = [order.wanted.client_order_id for order in server.market.live_stops()]
    held = {symbol: holding.quantity for (symbol, _), holding in server.market.holdings.items() if holding.quantity}
    return stops, held


UNTOUCHED = ([FOREIGN], {ETH: Decimal("0.8")})


class CheckedVenue:
    """A served venue, and the command on it.

    Attributes:
        report: the path of the report.
    """

    def __init__(self, served: Served, report: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.served, self.server, self.report = served, served.server, report
        self._capsys = capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run the command; return its exit code, standard output and standard error."""
        self._capsys.readouterr()
        code = main(["check", self.served.venue, *(words or WORDS), "--report", str(self.report)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def document(self) -> Any:
        """Return the report."""
        return json.loads(self.report.read_text())

    def outcomes(self) -> dict[str, str]:
        """Return the outcome of each step in the report."""
        return {step["name"]: step["outcome"] for step in self.document()["steps"]}

    def words(self, step: str) -> str:
        """Return the words of a step in the report."""
        (found,) = (each["words"] for each in self.document()["steps"] if each["name"] == step)
        return str(found)


@contextmanager
def checking(
    venue: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    moving: bool = True,
    hedged: bool = False,
    live: bool = False,
) -> Iterator[CheckedVenue]:
    """Serve a venue that the command opens instead of the real one."""
    set_keys(venue, monkeypatch)
    monkeypatch.chdir(tmp_path)
    hurry(monkeypatch, venue)
    settings = (LIVE_SETTINGS if live else SETTINGS)[venue]
    with serving(venue, "memory:", *((move_prices,) if moving else ()), hedged=hedged, **settings) as served:
        served.do(add_foreign, served.server)
        monkeypatch.setattr("trailing.cli.operate.check.open_ccxt", on_server(served.server))
        yield CheckedVenue(served, tmp_path / "report.json", capsys)


def on_server(server: VenueServer) -> Callable[..., Any]:
    """Return `open_ccxt` on a server. The client is configured for the server first."""

    def open_on_server(venue: str, *, configure: Callable[[Any], object], **arguments: Any) -> Any:
        def configure_both(client: Any) -> None:
            server.configure(client)
            configure(client)

        return open_ccxt(venue, configure=configure_both, **arguments)

    return open_on_server
