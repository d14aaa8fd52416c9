"""`trailing recover` on a real exchange: what a bot's store knows beside its account, shown, and carried out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import structlog
import trio
from real_exchange import BTC, ETH, VENUES, open_server
from silent import closed
from venue_server import API_KEY, SECRET, VenueServer

from trailing import Credentials, Percent, Position, Protected, TrailPlan, open_ccxt, open_manager, open_store
from trailing.cli import main
from trailing.exchanges.ccxt import venues
from trailing.stores.postgres_server import Timing

T = TypeVar("T")
PLAN = TrailPlan(initial_stop=Percent("2"), trigger="mark")
CHANGES = {"place_stop", "amend_stop", "cancel_stop", "close_position"}


class Served:
    """A venue in a thread of its own, as commands run loops of their own.

    Attributes:
        server: to be looked at; changed only by `do`.
        bot: opens an account there.
    """

    def __init__(self, venue: str, server: VenueServer, token: trio.lowlevel.TrioToken, store: str) -> None:
        self.venue, self.server, self._token, self.store = venue, server, token, store
        keys = Credentials(API_KEY, SECRET)
        self.bot: Callable[[], Any] = partial(open_ccxt, venue, credentials=keys, configure=server.configure)

    def do(self, what: Callable[..., T], *args: Any) -> T:
        """Let the venue do something."""
        return trio.from_thread.run_sync(what, *args, trio_token=self._token)

    def protect(self, *symbols: str) -> None:
        """Let a bot protect a long of each, and end."""

        async def protect() -> None:
            async with (
                self.bot() as exchange,
                open_store(self.store) as store,
                open_manager(exchange, store, PLAN) as manager,
            ):
                wave = [Position(each, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC)) for each in symbols]
                report = await manager.protect_wave(wave, deadline=10)
                assert {type(outcome) for outcome in report.outcomes} == {Protected}

        for symbol in symbols:
            self.do(self.server.market.enter, symbol, "buy", Decimal("0.8"), Decimal(1000))
        trio.run(protect)

    def stops(self) -> dict[str, Decimal]:
        """The trigger prices that are live, by symbol."""
        live = self.do(self.server.market.live_stops)
        return {order.wanted.symbol: order.wanted.trigger.price for order in live if order.wanted.trigger is not None}

    def changes(self) -> list[str]:
        """What was asked for that changes something."""
        return [seen.operation for seen in self.server.requests if seen.operation in CHANGES]


@contextmanager
def serving(venue: str, store: str) -> Iterator[Served]:
    """A venue with an empty account, until the block ends."""
    there, over = threading.Event(), trio.Event()
    served: list[Served] = []

    async def serve() -> None:
        async with open_server(venue) as server:
            served.append(Served(venue, server, trio.lowlevel.current_trio_token(), store))
            there.set()
            await over.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert there.wait(5)
    try:
        yield served[0]
    finally:
        served[0].do(over.set)
        thread.join(5)


@pytest.fixture(autouse=True)
def _as_a_shell_would(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The keys in the environment, and absences that are believed at once."""
    monkeypatch.setenv("TRAILING_API_KEY", API_KEY)
    monkeypatch.setenv("TRAILING_SECRET", SECRET)
    quick = {name: msgspec.structs.replace(venues.VENUES[name], read_lag=0.0, request_validity=0.1) for name in VENUES}
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {**venues.VENUES, **quick})
    yield
    structlog.reset_defaults()


@pytest.fixture(params=VENUES)
def served(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A venue that the command finds in place of the real one."""
    with serving(request.param, f"sqlite:///{tmp_path}/bot.db") as served:
        on_loopback = partial(open_ccxt, configure=served.server.configure)
        monkeypatch.setattr("trailing.cli.venue_recovering.open_ccxt", on_loopback)
        yield served


def recover(served: Served, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The command's exit code, and what it said to standard output and standard error."""
    capsys.readouterr()  # the bot's log
    code = main(["recover", "--exchange", served.venue, "--store", served.store, *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_stop_that_somebody_took_away_is_found_by_a_dry_run_and_put_back_by_a_recovery(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    served.protect(BTC, ETH)
    (order,) = (each for each in served.do(served.server.market.live_stops) if each.wanted.symbol == BTC)
    served.do(served.server.market.cancel, order)
    before, changes = (tmp_path / "bot.db").read_bytes(), served.changes()

    code, out, err = recover(served, capsys, "--dry-run", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert (document["exchange"], document["account"], document["dry_run"]) == (served.venue, "default", True)
    told = {(action["symbol"], action["action"]) for action in document["actions"]}
    assert {(BTC, "PlaceStop"), (ETH, "TakeStop")} <= told
    assert (document["stops"], document["unprotected"]) == (None, None)
    assert served.changes() == changes
    assert served.stops() == {ETH: 980}
    assert (tmp_path / "bot.db").read_bytes() == before

    code, out, _ = recover(served, capsys)
    assert code == 0
    assert "live stops: 2; positions without a stop: 0" in out
    assert served.stops() == {BTC: 980, ETH: 980}
    assert served.changes() == [*changes, "place_stop"]


def test_where_all_stops_stand_nothing_is_sent_that_changes_anything(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.protect(BTC)
    changes = served.changes()
    code, out, _ = recover(served, capsys)
    assert (code, served.changes()) == (0, changes)
    assert "take its stop over: 0.8 at 980" in out
    assert API_KEY not in out


def test_a_position_that_is_left_without_a_stop_is_an_exit_code(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.PLAN", msgspec.structs.replace(PLAN, on_unprotected="report"))
    served.protect(BTC)
    (order,) = served.do(served.server.market.live_stops)
    served.do(served.server.market.cancel, order)
    served.server.market.most_stops = 0
    code, out, _ = recover(served, capsys)
    assert code == 1
    assert "positions without a stop: 1" in out


def test_a_store_of_another_account_or_none_at_all_is_refused_and_not_created(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    served.protect(BTC)
    code, _, err = recover(served, capsys, "--account", "other")
    assert (code, err) == (
        2,
        f"trailing: --store knows nothing open of {served.venue} other; it knows of {served.venue} default\n",
    )
    missing = tmp_path / "misspelt.db"
    assert main(["recover", "--exchange", served.venue, "--store", f"sqlite:///{missing}"]) == 2
    assert not missing.exists()
    assert served.stops() == {BTC: 980}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--exchange", "bybit", "--paper"], "recover wants --paper or --exchange VENUE"),
        (["--exchange", "bitmex"], "venue got 'bitmex'"),
        (["--exchange", "okx"], "unverified"),
        (["--exchange", "bybit", "--store", "memory:"], "--store got memory:"),
        (["--exchange", "bybit", "--credentials", "/nowhere/keys.toml"], "a file that can be read"),
    ],
)
def test_what_can_not_be_meant_is_said_in_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recover", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_nothing_is_on_standard_output_where_postgres_is_down(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    structlog.reset_defaults()  # as in a process of its own
    monkeypatch.setattr("trailing.stores.postgres.Timing", partial(Timing, reply=0.5))
    with closed() as port:
        served.store = f"postgresql://127.0.0.1:{port}/db"
        code, out, err = recover(served, capsys, "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("trailing: Postgres 127.0.0.1/db ")
