"""`trailing recover` on a real exchange: the differences between store and account, shown and fixed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
import structlog
from okx_server import PASSPHRASE
from real_exchange import BTC, ETH, VENUES, with_delays
from served_exchange import PLAN, Served, serving
from silent import closed
from venue_faults import Fault, always
from venue_server import API_KEY, SECRET

from trailing import open_ccxt
from trailing.cli import main
from trailing.exchanges.ccxt import venues
from trailing.stores.postgres_server import ServerTiming


@pytest.fixture(autouse=True)
def _as_a_shell_would(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the keys in the environment, and read lags of 0."""
    monkeypatch.setenv("TRAILING_API_KEY", API_KEY)
    monkeypatch.setenv("TRAILING_SECRET", SECRET)
    monkeypatch.setenv("TRAILING_PASSWORD", PASSPHRASE)
    quick = {
        name: with_delays(name, orders_read_lag=0.0, positions_read_lag=0.0, request_validity=0.1) for name in VENUES
    }
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {**venues.VENUES, **quick})
    yield
    structlog.reset_defaults()


@pytest.fixture(params=VENUES)
def served(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve a venue that the command opens instead of the real one."""
    with serving(request.param, f"sqlite:///{tmp_path}/bot.db") as served:
        on_loopback = partial(open_ccxt, configure=served.server.configure)
        monkeypatch.setattr("trailing.cli.operate.recover_exchange.open_ccxt", on_loopback)
        yield served


def recover(served: Served, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Return the command's exit code, standard output and standard error."""
    capsys.readouterr()  # the bot's log
    code = main(["recover", "--exchange", served.venue, "--store", served.store, *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_stop_that_was_cancelled_externally_is_found_by_a_dry_run_and_replaced_by_a_recovery(
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
    assert {(BTC, "StopAbsent"), (BTC, "NextRequest"), (ETH, "Resume")} <= told
    assert (document["stops"], document["unprotected"]) == (None, None)
    assert served.changes() == changes
    assert served.stops() == {ETH: 980}
    assert (tmp_path / "bot.db").read_bytes() == before

    code, out, _ = recover(served, capsys)
    assert code == 0
    assert "live stops: 2; positions without a stop: 0" in out
    assert served.stops() == {BTC: 980, ETH: 980}
    assert served.changes() == [*changes, "place_stop"]


def test_a_recovery_with_all_stops_live_changes_nothing(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.protect(BTC)
    changes = served.changes()
    code, out, _ = recover(served, capsys)
    assert (code, served.changes()) == (0, changes)
    assert "its stop is live at 980" in out
    assert API_KEY not in out


def test_a_position_left_unprotected_is_an_exit_code(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("served_exchange.PLAN", msgspec.structs.replace(PLAN, on_unprotected="report"))
    served.protect(BTC)
    (order,) = served.do(served.server.market.live_stops)
    served.do(served.server.market.cancel, order)
    served.server.market.most_stops = 0
    code, out, _ = recover(served, capsys)
    assert code == 1
    assert "positions without a stop: 1" in out


def test_fm59_a_recovery_ends_although_the_exchange_is_unreachable(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.cli.operate.recover_exchange.SETTLE_SECONDS", 1.0)
    served.protect(BTC)
    for operation in ("open_stops", "find_stop"):
        served.do(served.server.faults.add, Fault(on=operation, drop="before", when=always))
    code, out, err = recover(served, capsys, "--json")
    document = json.loads(out)
    assert (code, document["stops"], document["unprotected"]) == (1, 0, 1)
    assert (
        "trailing: recover: not every position was settled within 1 s; trailing status shows which have no stop\n"
        in err
    )


def test_a_store_of_another_account_or_a_missing_store_is_refused_and_not_created(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    served.protect(BTC)
    code, _, err = recover(served, capsys, "--account", "other")
    assert (code, err) == (
        2,
        f"trailing: --store has nothing open of {served.venue} other; it has {served.venue} default\n",
    )
    missing = tmp_path / "misspelt.db"
    assert main(["recover", "--exchange", served.venue, "--store", f"sqlite:///{missing}"]) == 2
    assert not missing.exists()
    assert served.stops() == {BTC: 980}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--exchange", "bybit", "--paper"], "exactly one of --paper and --exchange VENUE must be given"),
        (["--exchange", "bitmex"], "--exchange: unknown venue 'bitmex'"),
        (["--exchange", "bitget"], "unverified"),
        (["--exchange", "bybit", "--store", "memory:"], "--store memory: exists only inside its own process"),
        (["--exchange", "bybit", "--credentials", "/nowhere/keys.toml"], "a file that can be read"),
    ],
)
def test_a_wrong_argument_is_named_in_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recover", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_nothing_is_written_to_standard_output_while_postgres_is_down(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    structlog.reset_defaults()  # as in a new process
    monkeypatch.setattr("trailing.stores.postgres.ServerTiming", partial(ServerTiming, reply=0.5))
    with closed() as port:
        served.store = f"postgresql://127.0.0.1:{port}/db"
        code, out, err = recover(served, capsys, "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("trailing: Postgres 127.0.0.1:")
