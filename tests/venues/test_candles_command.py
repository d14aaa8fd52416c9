"""`trailing candles` on servers of the venues: whole files, whatever happens in between, and no key."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from real_exchange import BTC, ETH, VENUES
from served_exchange import Served, serving
from venue_candles import LENGTHS, MINUTE, Bar
from venue_faults import Fault, Request, json_reply, nth

from trailing.cli import main
from trailing.core.model import Source
from trailing.exchanges.ccxt.opening import open_market_data
from trailing.price_files import Bars, read_prices
from trailing.price_files.origins import read_origin

FIRST = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)
WORDS = ("--since", "2026-01-05", "--until", "2026-01-05T10:00")
MINUTES = 600
TESTS = Path(__file__).parents[1]


def record(served: Served, symbol: str, count: int, source: Source = "last", *, missing: tuple[int, ...] = ()) -> None:
    """Record minutes from `FIRST` on. Bar n opens at 1000 + n / 10, so each differs."""
    bars = [
        Bar(FIRST + number * MINUTE, price, price + 2, price - 1, price + Decimal("0.1"))
        for number in range(count)
        if number not in missing
        for price in [Decimal(1000) + Decimal(number) / 10]
    ]
    served.do(served.server.market.candles.record, symbol, source, bars)


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Desk(NamedTuple):
    """A served venue, and the command on it."""

    served: Served
    out: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str, symbols: tuple[str, ...] = (BTC,)) -> Ran:
        self.capsys.readouterr()
        code = main(["candles", self.served.venue, *symbols, "--out", str(self.out), *(words or WORDS)])
        said = self.capsys.readouterr()
        return Ran(code, said.out, said.err)

    def requests(self) -> int:
        return len(self.served.server.seen("candles"))

    def bars(self, name: str = "btc-usdt-1m.csv") -> Bars:
        bars = read_prices(self.out / name)
        assert isinstance(bars, Bars)
        return bars


@contextmanager
def opened(venue: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Desk]:
    """Open a venue that refuses requests beyond its own rate limits."""
    with serving(venue, "memory:") as served:
        opening = partial(open_market_data, configure=served.server.configure)
        monkeypatch.setattr("trailing.cli.practice.candles.open_market_data", opening)
        monkeypatch.setattr("trailing.cli.practice.candle_download.FIRST_WAIT_SECONDS", 0.01)
        yield Desk(served, out, capsys)


@pytest.fixture(params=VENUES)
def venue(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def desk(
    venue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    for name in [name for name in os.environ if name.startswith("TRAILING_")]:
        monkeypatch.delenv(name)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with opened(venue, tmp_path / "prices", monkeypatch, capsys) as desk:
        yield desk
    structlog.reset_defaults()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def expect_whole(desk: Desk, count: int = MINUTES, name: str = "btc-usdt-1m.csv") -> None:
    """Check that a file has all minutes, each with its own prices, and that nothing else was left."""
    bars = desk.bars(name)
    assert list(bars.opened_at) == [FIRST + number * MINUTE for number in range(count)]
    assert [bars.price(units) for units in bars.open] == [Decimal(1000) + Decimal(n) / 10 for n in range(count)]
    assert list(desk.out.glob("partial*")) == []


@pytest.mark.parametrize("source", ["last", "mark", "index"])
def test_the_candles_of_each_source_are_downloaded_page_by_page(desk: Desk, source: Source) -> None:
    for other in ("last", "mark", "index"):
        record(desk.served, BTC, 1200 if other == source else 3, other)
    ran = desk.run("--since", "2026-01-05", "--until", "2026-01-05T20:00", "--source", source)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"{desk.out}/btc-usdt-1m.csv: 1200 bars, 1200 of them new, from 2026-01-05 00:00:00 to 2026-01-05 19:59:00 UTC\n"
    )
    expect_whole(desk, 1200)
    origin = read_origin(desk.out / "btc-usdt-1m.csv")
    assert origin is not None
    assert (origin.source, origin.tick) == (source, Decimal("0.1"))
    page = {"okx": 300 if source == "last" else 100}.get(desk.served.venue, 1000)
    assert desk.requests() == -(-1200 // page)
    for seen in desk.served.server.requests:
        assert not {"signature", "apiKey"} & seen.params.keys()


def test_several_symbols_and_timeframes_have_a_file_each(desk: Desk) -> None:
    record(desk.served, BTC, MINUTES)
    record(desk.served, ETH, MINUTES)
    assert desk.run(symbols=(BTC, ETH, BTC)).code == 0
    expect_whole(desk)
    expect_whole(desk, name="eth-usdt-1m.csv")
    hours = [Bar(FIRST + n * LENGTHS["1h"], Decimal(5), Decimal(6), Decimal(4), Decimal(5)) for n in range(10)]
    desk.served.do(desk.served.server.market.candles.record, BTC, "last", hours, LENGTHS["1h"])
    assert desk.run(*WORDS, "--timeframe", "1h").code == 0
    assert (len(desk.bars("btc-usdt-1h.csv")), desk.bars("btc-usdt-1h.csv").seconds) == (10, 3600)


def test_a_file_is_continued_after_its_last_bar(desk: Desk) -> None:
    record(desk.served, BTC, MINUTES)
    assert desk.run("--since", "2026-01-05", "--until", "2026-01-05T01:00").code == 0
    expect_whole(desk, 60)
    before = desk.requests()
    ran = desk.run()
    assert "600 bars, 540 of them new" in ran.out
    expect_whole(desk)
    assert all(str(FIRST + 59 * MINUTE) not in str(seen.params) for seen in desk.served.server.seen("candles")[before:])
    asked = desk.requests()
    assert "600 bars, 0 of them new" in desk.run().out
    assert "600 bars, 0 of them new" in desk.run("--since", "2026-01-05", "--until", "2026-01-05T01:00").out
    assert desk.requests() == asked
    expect_whole(desk)


@pytest.mark.parametrize("venue", ["bybit", "okx"])
def test_gaps_are_reported_and_a_page_without_bars_ends_nothing(desk: Desk) -> None:
    record(desk.served, BTC, 2400, missing=(5, *range(1000, 2100)))
    ran = desk.run("--since", "2026-01-05", "--until", "2026-01-06T16:00", "--json")
    (file,) = json.loads(ran.out)["files"]
    assert (file["bars"], file["missing"], file["complete"]) == (1299, 1101, True)
    assert file["gaps"] == [{"start": FIRST + 5 * MINUTE, "bars": 1}, {"start": FIRST + 1000 * MINUTE, "bars": 1100}]
    ran = desk.run("--since", "2026-01-05", "--until", "2026-01-06T16:00")
    assert "1101 of 2400 bars are missing, in 2 gaps; the longest begins at 2026-01-05 16:40 UTC" in ran.out


@pytest.mark.parametrize("venue", ["binanceusdm"])
def test_a_bar_that_is_still_open_is_left_out(desk: Desk) -> None:
    now = desk.served.server.clock.now() // MINUTE * MINUTE
    price = Decimal(1000)
    bars = [Bar(now + number * MINUTE, price, price, price, price) for number in range(-20, 1)]
    desk.served.do(desk.served.server.market.candles.record, BTC, "last", bars)
    assert desk.run("--since", "10m").code == 0
    last = desk.bars().opened_at[-1]
    assert last in {now - MINUTE, now - 2 * MINUTE}  # the minute before may have ended within the last 10 s
    assert last + MINUTE + 10_000 <= desk.served.server.clock.now()


@pytest.mark.parametrize("venue", ["bybit"])
def test_parquet_has_the_same_bars_and_is_continued(desk: Desk) -> None:
    record(desk.served, BTC, MINUTES)
    assert desk.run("--since", "2026-01-05", "--until", "2026-01-05T01:00", "--format", "parquet").code == 0
    ran = desk.run(*WORDS, "--format", "parquet")
    assert (ran.code, ran.err) == (0, "")
    assert "600 bars, 540 of them new" in ran.out
    expect_whole(desk, name="btc-usdt-1m.parquet")


@pytest.mark.parametrize("venue", ["bybit"])
def test_a_terminal_gets_a_progress_bar_of_each_market(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    record(desk.served, BTC, MINUTES)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal then
    monkeypatch.setenv("NO_COLOR", "1")
    ran = desk.run()
    assert "BTC/USDT:USDT" in ran.err
    assert "600/600" in ran.err
    assert "600/600" not in desk.run(*WORDS, "--json").out


@pytest.mark.parametrize("venue", ["bybit"])
def test_every_market_and_file_is_checked_before_the_first_download(desk: Desk) -> None:
    record(desk.served, BTC, MINUTES)
    desk.out.mkdir()
    (desk.out / "eth-usdt-1m.csv").write_text("mine")
    assert "eth-usdt-1m.csv exists and was not downloaded" in desk.run(symbols=(BTC, ETH)).err
    assert "lists no linear contract" in desk.run(symbols=(BTC, "XXX/USDT:USDT")).err
    assert desk.requests() == 0
    assert sorted(path.name for path in desk.out.iterdir()) == ["candles.json", "eth-usdt-1m.csv"]


LIMITED = {
    "binanceusdm": json_reply({"code": -1003, "msg": "Too many requests"}, 429, {"Retry-After": "0"}),
    "bybit": json_reply({"retCode": 10006, "retMsg": "Too many visits!", "result": {}}),
    "okx": json_reply({"code": "50011", "msg": "Too Many Requests", "data": []}, 429),
}


@pytest.mark.parametrize(
    ("venue", "fault"),
    [
        *((venue, "limited") for venue in VENUES),
        *(("bybit", fault) for fault in ("before", "after", "reset", "truncated", "nonsense")),
    ],
)
def test_a_page_that_fails_is_asked_for_again(desk: Desk, fault: Any) -> None:
    record(desk.served, BTC, 2200)
    made = {
        "limited": Fault(on="candles", when=nth(2), reply=LIMITED[desk.served.venue]),
        "truncated": Fault(on="candles", when=nth(2), truncated=True),
        "nonsense": Fault(on="candles", when=nth(2), reply=json_reply({"surprise": []})),
    }.get(fault) or Fault(on="candles", when=nth(2), drop=fault)
    desk.served.do(desk.served.server.faults.add, made)
    ran = desk.run("--since", "2026-01-05", "--until", "2026-01-06T12:40")
    assert ran.code == 0
    assert re.search(r"^trailing: BTC/USDT:USDT: .*; trying again in \d s$", ran.err, re.MULTILINE)
    assert ("the rate limit is reached" in ran.err) == (fault == "limited")
    expect_whole(desk, 2200)


@pytest.mark.parametrize("venue", ["bybit"])
def test_a_venue_that_stays_away_ends_the_download_and_what_was_read_is_kept(desk: Desk) -> None:
    record(desk.served, BTC, 2200)
    desk.served.do(desk.served.server.faults.add, Fault(on="candles", when=lambda number: number > 1, drop="before"))
    words = ("--since", "2026-01-05", "--until", "2026-01-06T12:40")
    ran = desk.run(*words)
    assert ran.code == 2
    assert ran.err.splitlines()[-1].endswith("; the same command continues")
    assert desk.requests() == 1 + 8
    first_page = 300 if desk.served.venue == "okx" else 1000
    expect_whole(desk, first_page)
    desk.served.do(desk.served.server.faults.clear)
    assert f"2200 bars, {2200 - first_page} of them new" in desk.run(*words).out
    expect_whole(desk, 2200)


@pytest.mark.parametrize(("venue", "kind"), [("binanceusdm", "csv"), ("bybit", "parquet"), ("okx", "csv")])
def test_sigint_in_the_middle_leaves_a_whole_file_that_is_continued(desk: Desk, kind: str) -> None:
    record(desk.served, BTC, 2200)
    operation, seen = desk.served.server.face.operation, 0

    def count_and_signal(request: Request) -> str:
        nonlocal seen
        name = operation(request)
        seen += name == "candles"
        if name == "candles" and seen == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return name

    desk.served.server.face.operation = count_and_signal  # type: ignore[method-assign]
    desk.served.do(desk.served.server.faults.add, Fault(on="candles", when=nth(2), reply_delay=0.3))
    words = ("--since", "2026-01-05", "--until", "2026-01-06T12:40", "--format", kind)
    ran = desk.run(*words, "--json")
    assert ran.code == 130
    assert ran.err == "trailing: cancelled by SIGINT; the same command continues\n"
    document = json.loads(ran.out)
    first_page = 300 if desk.served.venue == "okx" else 1000
    assert (document["ended"], document["files"][0]["complete"]) == ("cancelled by SIGINT", False)
    expect_whole(desk, first_page, f"btc-usdt-1m.{kind}")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert f"2200 bars, {2200 - first_page} of them new" in desk.run(*words).out
    expect_whole(desk, 2200, f"btc-usdt-1m.{kind}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("candles", "binanceus", BTC), "VENUE: unknown venue 'binanceus'. Did you mean binanceusdm?"),
        (("candles", "gate", BTC), "VENUE: unverified venue 'gate'. Candles come from binanceusdm, bybit, okx"),
        (("candles", "bybit", "BTCUSDT"), "SYMBOL got 'BTCUSDT'"),
        (("candles", "bybit", BTC, "--since", "yesterday"), "--since got 'yesterday', wants a duration"),
        (("candles", "bybit", BTC, "--since", "2100-01-01"), "--since got '2100-01-01', wants a time before now"),
        (
            ("candles", "bybit", BTC, "--since", "2026-01-05", "--until", "2026-01-05"),
            "--since got '2026-01-05', wants a time before --until",
        ),
        (("candles", "bybit", BTC, "--until", "soon", "--since", "1d"), "--until got 'soon'"),
        (("candles", "bybit", BTC, "--source", "last price", "--since", "1d"), "'last price' is not one of last, mark"),
        (("candles", "bybit", "--since", "1d"), "candles: SYMBOL must be given"),
        (("candles", "bybit", BTC, "--since", "1d", "--out", "/dev/null/prices"), "--out: /dev/null/prices can't be"),
    ],
)
def test_what_is_misspelt_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    defaults = (() if "--since" in words else ("--since", "1d")) + (
        () if "--out" in words else ("--out", str(tmp_path))
    )
    assert main([*words, *defaults]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("venue", ["binanceusdm"])
@pytest.mark.parametrize(
    ("symbol", "words", "message"),
    [
        ("BTT/USDT:USDT", WORDS, "lists no linear contract BTT/USDT:USDT. Did you mean BTC/USDT:USDT?"),
        (BTC, (*WORDS, "--timeframe", "1min"), "--timeframe got '1min', wants one of 1m, "),
        (BTC, (*WORDS, "--timeframe", "1w"), "--timeframe got '1w', wants one of 1m, "),
        (BTC, ("--since", "5s"), "BTC/USDT:USDT: no bar of 1m has closed between"),
    ],
)
def test_what_the_venue_does_not_have_is_refused_in_one_line(
    desk: Desk, symbol: str, words: tuple[str, ...], message: str
) -> None:
    ran = desk.run(*words, symbols=(symbol,))
    assert (ran.code, ran.out, desk.requests()) == (2, "", 0)
    (line,) = ran.err.splitlines()
    assert message in line


@pytest.mark.parametrize("venue", ["bybit"])
def test_a_file_of_other_prices_is_not_continued(desk: Desk) -> None:
    record(desk.served, BTC, MINUTES)
    record(desk.served, BTC, MINUTES, "mark")
    assert desk.run().code == 0
    whole = (desk.out / "btc-usdt-1m.csv").read_bytes()
    ran = desk.run(*WORDS, "--source", "mark")
    assert ran.code == 2
    assert "has last prices of BTC/USDT:USDT on bybit; choose another directory for mark prices" in ran.err
    ran = desk.run("--since", "2026-01-04", "--until", "2026-01-05T10:00")
    assert "has prices from a later time on; remove it" in ran.err
    (desk.out / "eth-usdt-1m.csv").write_bytes(whole)
    assert "was not downloaded by this command" in desk.run(symbols=(ETH,)).err
    (desk.out / "btc-usdt-1m.csv").write_bytes(whole.replace(b",1000.5,", b",-1000.5,"))
    assert "btc-usdt-1m.csv, line 6: close got '-1000.5'" in desk.run().err
    (desk.out / "candles.json").write_text("{")
    assert "candles.json can't be read" in desk.run().err


@pytest.mark.parametrize("venue", ["binanceusdm"])
def test_a_page_of_long_bars_is_no_longer_than_the_venue_allows(desk: Desk) -> None:
    day = LENGTHS["1d"]
    bars = [Bar(FIRST + n * day, Decimal(5), Decimal(6), Decimal(4), Decimal(5)) for n in range(-400, 0)]
    desk.served.do(desk.served.server.market.candles.record, BTC, "mark", bars, day)
    ran = desk.run("--since", "2024-12-01", "--until", "2026-01-05", "--timeframe", "1d", "--source", "mark")
    assert (ran.code, ran.err) == (0, "")
    assert (desk.requests(), len(desk.bars("btc-usdt-1d.csv"))) == (2, 400)


@pytest.mark.parametrize("venue", ["bybit"])
def test_the_listing_of_a_contract_is_where_its_candles_begin(desk: Desk) -> None:
    listed = 1585526400000  # 2020-03-30, as the server says
    bars = [Bar(listed + n * LENGTHS["1d"], Decimal(5), Decimal(6), Decimal(4), Decimal(5)) for n in range(30)]
    desk.served.do(desk.served.server.market.candles.record, BTC, "last", bars, LENGTHS["1d"])
    ran = desk.run("--since", "2010-01-01", "--until", "2020-04-29", "--timeframe", "1d")
    assert desk.requests() == 1
    assert "btc-usdt-1d.csv: the contract was listed later than --since\n" in ran.out
    assert (len(desk.bars("btc-usdt-1d.csv")), desk.bars("btc-usdt-1d.csv").starts_at) == (30, listed)


@pytest.mark.parametrize("venue", ["bybit"])
def test_a_market_without_bars_leaves_no_file(desk: Desk) -> None:
    record(desk.served, BTC, 0)
    ran = desk.run()
    assert (ran.code, ran.out) == (0, f"{desk.out}/btc-usdt-1m.csv: no bars\n")
    assert [path.name for path in desk.out.iterdir()] == ["candles.json"]


@pytest.mark.slow
@pytest.mark.parametrize("venue", ["binanceusdm", "bybit"])
def test_a_month_of_minutes_takes_less_than_ten_seconds(desk: Desk) -> None:
    record(desk.served, BTC, 43_200)
    begun = time.monotonic()
    ran = desk.run("--since", "2026-01-05", "--until", "2026-02-04")
    taken = time.monotonic() - begun
    assert "43200 bars, 43200 of them new" in ran.out
    assert taken < 10


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_whole_files_and_the_next_continues(tmp_path: Path) -> None:
    words = ("--since", "2026-01-05", "--until", "2026-01-08T11:20")
    path = ":".join(str(each) for each in (TESTS, TESTS / "servers", TESTS / "venues"))

    def run(page: int, *more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            str(TESTS / "venues/downloading_process.py"),
            "bybit",
            str(page),
            str(tmp_path),
            *more,
        ]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=environment)

    begun = run(99, "--since", "2026-01-05", "--until", "2026-01-05T01:00")
    assert "60 bars, 60 of them new" in begun.stdout
    assert run(3, *words).returncode == -signal.SIGKILL
    assert len(read_prices(tmp_path / "btc-usdt-1m.csv")) == 60
    ended = run(99, *words)
    assert "5000 bars, 2940 of them new" in ended.stdout
    expect_whole(Desk(None, tmp_path, None), 5000)  # type: ignore[arg-type]
