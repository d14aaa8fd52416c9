"""`trailing flatten` with the real ccxt client: afterwards the account is flat, or the command lists what is not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from checked_venue import set_keys
from flattened_venue import (
    PROFIT,
    FlattenedVenue,
    coins,
    fill_account,
    flattening,
    left_open,
    on_server,
    orders_left,
    rate_limited,
    refused_close,
    settings_of,
    stop_id,
)
from real_exchange import VENUES
from served_exchange import serving
from venue_faults import Fault, Request, every, nth
from venue_market import instrument

from trailing.cli import main

COVERED: Mapping[str, Mapping[str, Any]] = {"okx": {"hedged": True}}
"""The account in which a take-profit covers a position. In net mode OKX cancels it instead."""


@pytest.mark.parametrize("venue", VENUES)
def test_twenty_positions_are_flat_after_lost_replies_refused_closes_and_a_rate_limit(
    venue: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with flattening(venue, 20, monkeypatch, capsys, profits=3, **COVERED.get(venue, {})) as desk:
        for fault in (
            Fault(on="close_position", when=every(6), drop="after"),
            Fault(on="close_position", when=nth(5), drop="before"),
            Fault(on="close_position", when=nth(7), reply=refused_close(venue)),
            Fault(on="close_position", when=nth(8), reply=rate_limited(venue)),
            Fault(on="cancel_stop", when=every(7), drop="after"),
            Fault(on="positions", when=nth(3), reply=rate_limited(venue)),
        ):
            desk.served.do(desk.server.faults.add, fault)
        code, document = desk.document()
        assert (code, document["is_flat"]) == (0, True)
        assert (left_open(desk.server), orders_left(desk.server)) == ({}, [])
        assert len(document["closed"]) == 20
        assert {row["quantity"] for row in document["closed"]} == {"0.8"}
        assert (document["still_open"], document["not_cancelled"]) == ([], [])
        named = " ".join(document["cancelled"])
        assert all(f"({PROFIT}{number})" in named for number in range(3))


@pytest.mark.parametrize("venue", VENUES)
def test_a_close_that_is_always_refused_is_listed_and_its_stop_stays(
    venue: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def is_first(request: Request) -> bool:
        return any(word in str(request.params) for word in ("C0USDT", "C0-USDT"))

    with flattening(venue, 3, monkeypatch, capsys) as desk:
        refusal = Fault(on="close_position", about=is_first, reply=refused_close(venue))
        desk.served.do(desk.server.faults.add, refusal)
        code, out, err = desk.run("--yes", "--deadline", "4")
        symbol = coins(1)[0].symbol
        assert code == 1
        assert f"not closed: {symbol} long 0.8: " in " ".join(out.split())
        assert "NOT proved flat" in out
        assert "No depth." in err
        assert left_open(desk.server) == {symbol: {stop_id(0)}}


@pytest.mark.parametrize("venue", VENUES)
def test_with_a_symbol_all_orders_of_other_symbols_stay(
    venue: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with flattening(venue, 2, monkeypatch, capsys, profits=2, **COVERED.get(venue, {})) as desk:
        first, second = (coin.symbol for coin in coins(2))
        code, document = desk.document("--symbol", second)
        assert (code, [row["symbol"] for row in document["closed"]]) == (0, [second])
        assert left_open(desk.server) == {first: {stop_id(0)}}
        assert orders_left(desk.server) == sorted([stop_id(0), f"{PROFIT}0"])


def test_the_owner_of_the_lease_is_named_and_the_exit_goes_on_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/bot.db"
    owner = (
        "import sys, trio\nfrom trailing.stores import open_store\n"
        "async def main():\n"
        "    async with open_store(sys.argv[1]) as store, store.acquire_lease('binanceusdm', 'default', mark='beef'):\n"
        "        print('owned', flush=True)\n        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    with subprocess.Popen([sys.executable, "-c", owner, url], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "owned\n"
            with flattening("binanceusdm", 2, monkeypatch, capsys) as desk:
                code, _, err = desk.run("--yes", "--store", url)
                assert (code, left_open(desk.server)) == (0, {})
                assert f"binanceusdm default is owned by process {process.pid}; the exit goes on all the same" in err
        finally:
            process.kill()


def test_a_store_that_is_missing_or_silent_costs_no_close(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with flattening("bybit", 1, monkeypatch, capsys) as desk:
        code, _, err = desk.run("--yes", "--store", f"sqlite:///{tmp_path}/missing.db")
        assert (code, left_open(desk.server)) == (0, {})
        assert "the store can't be read, and the exit goes on without it: --store sqlite:///" in err


def test_only_ours_closes_also_a_position_without_a_stop_that_the_store_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/bot.db"
    with flattening("binanceusdm", 0, monkeypatch, capsys, store=url, instruments=coins(2)) as desk:
        first, second = (coin.symbol for coin in coins(2))
        desk.served.protect(first)
        for order in desk.served.do(desk.server.market.live_stops):
            desk.served.do(desk.server.market.cancel, order)
        desk.served.do(desk.server.market.enter, second, "buy", Decimal("0.8"), Decimal(1000))
        assert desk.document("--only-ours")[1]["closed"] == []
        code, document = desk.document("--only-ours", "--store", url)
        assert (code, [row["symbol"] for row in document["closed"]]) == (0, [first])
        assert set(left_open(desk.server)) == {second}


def test_the_page_shows_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "flatten.md").read_text()
    ((words, shown),) = re.findall(
        r"^```console\n\$ trailing flatten (.+?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    venue, *options = words.split()
    monkeypatch.setenv("COLUMNS", "130")
    names = [instrument(name, "0.1", "0.001", "5") for name in ("BTC", "ETH")]
    monkeypatch.setattr("flattened_venue.coins", lambda count: tuple(names[:count]))
    with flattening(venue, 2, monkeypatch, capsys, profits=1) as desk:
        code, out, err = desk.run(*options)
    assert code == 0
    printed, wanted = (
        [line.rstrip() for line in re.sub(r"\d+\.\d s|\d{13}", "…", text).splitlines()] for text in (err + out, shown)
    )
    # The lines of standard error are in the order in which the venue answers.
    assert sorted(printed) == sorted(wanted)
    tables = [[line for line in lines if not line.startswith("trailing: ")] for lines in (printed, wanted)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bitmex", "--yes"], "VENUE: unknown venue 'bitmex'"),
        (["bitget", "--yes"], "unverified"),
        (["bybit", "--yes", "--symbol", "BTCUSDT"], "symbol got 'BTCUSDT'"),
        (["bybit", "--yes", "--deadline", "0"], "--deadline got 0"),
        (["bybit", "--json"], "flatten: --json needs --yes"),
        (["bybit"], "flatten: --yes must be given, because there is no terminal to ask at"),
        (["bybit", "--yes", "--store", "memory:"], "--store memory: exists only inside its own process"),
        (["bybit", "--yes"], "TRAILING_API_KEY is not set"),
    ],
)
def test_a_wrong_argument_is_named_in_one_line(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRAILING_API_KEY", raising=False)
    assert main(["flatten", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_wrong_keys_end_it_with_one_line_and_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with flattening("bybit", 1, monkeypatch, capsys) as desk:
        monkeypatch.setenv("TRAILING_API_KEY", "wrong")
        code, _, err = desk.run("--yes")
        assert code == 2
        assert "API key is invalid" in err
        assert set(left_open(desk.server)) == {coins(1)[0].symbol}


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
def test_twenty_positions_are_closed_within_the_venues_own_rate_limits(
    venue: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_keys(venue, monkeypatch)
    settings = settings_of(venue, 20)
    for name in ("order_limits", "weight_limit", "order_limit", "limited"):
        settings.pop(name, None)
    with serving(venue, "memory:", **settings) as served:
        served.do(fill_account, served.server, 20)
        on_server(served.server, monkeypatch)
        code, _ = FlattenedVenue(served, capsys).document()
        assert (code, left_open(served.server), orders_left(served.server)) == (0, {}, [])
        assert len(served.server.seen("close_position")) == 20
