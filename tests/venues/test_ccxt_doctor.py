"""`trailing doctor` reports what could prevent a stop, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from binance_shapes import position_risk
from bybit_server import Bybit
from okx_server import OkxServer
from real_exchange import BTC, ETH, VENUES, Desk, open_desk, open_server, stop_request, with_delays
from served_exchange import serving
from venue_faults import Fault, json_reply, nth
from venue_server import API_KEY, SECRET, VenueServer

from trailing import Position, open_ccxt
from trailing.cli import main
from trailing.core.model import StopOrder
from trailing.exchanges.ccxt import venues
from trailing.exchanges.ccxt.diagnosis import Finding, examine
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.venue import AccountMode
from trailing.exchanges.port import StopRequest


@pytest.fixture(autouse=True)
def _quick_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {name: with_delays(name, orders_read_lag=0.0, positions_read_lag=0.0) for name in VENUES}
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {**venues.VENUES, **quick})
    # A price that does not move is not pushed. Only the finding of the stream depends on it.
    monkeypatch.setattr("trailing.exchanges.ccxt.diagnosis.STREAM_SECONDS", 0.2)


async def findings(desk: Desk, *, place: bool = False) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    async for finding in examine(desk.exchange, symbol=BTC, place=place):
        found.setdefault(finding.subject, []).append(finding)
    return found


def verdicts(found: dict[str, list[Finding]]) -> dict[str, list[str]]:
    return {subject: [finding.verdict for finding in of_it] for subject, of_it in found.items() if subject != "stream"}


@pytest.mark.parametrize("venue", VENUES)
async def test_a_correct_account_has_good_findings_only(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        found = await findings(desk, place=True)
        unknown = [] if venue == "bybit" else ["note"]  # only Bybit states whether a dead-man's switch is armed
        assert verdicts(found)["switch"] == (unknown or ["good"])
        del found["switch"]
        assert {verdict for of_it in verdicts(found).values() for verdict in of_it} == {"good"}
        assert len(found["placing"]) == len(venues.VENUES[venue].stops.sources)
        assert desk.stops_there() == set()


@pytest.mark.parametrize("venue", VENUES)
async def test_the_doctor_places_a_stop_only_on_request(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        await findings(desk)
        assert desk.server.seen("place_stop") == []


@pytest.mark.parametrize("venue", VENUES)
async def test_no_trial_stop_is_placed_without_a_position(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.server.move_price(BTC, stop_request().price, "last")
        found = await findings(desk, place=True)
        assert verdicts(found)["placing"] == ["note"]
        assert desk.server.seen("place_stop") == []


@pytest.mark.parametrize("venue", VENUES)
async def test_a_rejected_trial_stop_is_a_failure_with_the_reason(venue: str) -> None:
    async with open_desk(venue, most_stops=1) as desk:
        await desk.enter()
        await desk.exchange.place_stop(stop_request())
        found = await findings(desk, place=True)
        assert set(verdicts(found)["placing"]) == {"failure"}
        assert any(code in found["placing"][0].message for code in ("-4045", "110009", "51261"))
        assert desk.stops_there() == {stop_request().client_order_id}


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("fault", [{"drop": "after"}, {"delay": 1.0}])
async def test_a_trial_stop_of_unknown_outcome_is_cancelled_also_if_it_is_executed_late(
    venue: str, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = with_delays(venue, orders_read_lag=0.0, positions_read_lag=0.0, request_validity=1.0)
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {venue: row})
    async with open_desk(venue, configure=lambda client: setattr(client, "timeout", 400)) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="place_stop", when=nth(1), **fault))
        found = await findings(desk, place=True)
        others = len(venues.VENUES[venue].stops.sources) - 1
        assert sorted(verdicts(found)["placing"]) == ["failure", *["good"] * others]
        assert desk.server.seen("place_stop")[0].booked
        assert desk.stops_there() == set()


@pytest.mark.parametrize("venue", VENUES)
async def test_a_trial_stop_that_can_not_be_cancelled_is_named(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="cancel_stop", drop="before"))
        found = await findings(desk, place=True)
        left = desk.stops_there()
        said = " ".join(finding.message for finding in found["placing"])
        assert len(left) == len(found["placing"])
        assert all(f"the trial stop {own_id} may be live: cancel it by hand" in said for own_id in left)


@pytest.mark.parametrize("venue", VENUES)
async def test_permissions_that_can_not_be_parsed_are_a_note(venue: str) -> None:
    reply = json_reply({"retCode": 0, "result": {"something": "else"}, "code": "0", "data": [{"something": "else"}]})
    async with open_desk(venue) as desk:
        await desk.enter()
        for endpoint in (
            "GET /sapi/v1/account/apiRestrictions",
            "GET /v5/user/query-api",
            "GET /api/v5/account/config",
        ):
            desk.server.faults.add(Fault(on=endpoint, reply=reply))
        assert verdicts(await findings(desk))["permissions"] == ["note"]


@pytest.mark.parametrize("venue", VENUES)
async def test_a_wrong_clock_and_a_stop_without_a_position_are_warnings(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        await desk.exchange.place_stop(stop_request())
        desk.server.market.enter(BTC, "sell", stop_request().quantity, stop_request().price)
        desk.server.clock.skew = 8.0
        found = await findings(desk)
        assert verdicts(found)["clock"] == ["warning"]
        assert found["clock"][0].seconds == pytest.approx(8.0, abs=0.5)
        assert "behind the exchange's, more than half of " in found["clock"][0].message
        # Bybit cancels the stops of a flat position by itself.
        assert verdicts(found)["stops"] == (["good"] if venue == "bybit" else ["good", "warning"])


@pytest.mark.parametrize(
    ("venue", "endpoint", "answer"),
    [
        (
            "binanceusdm",
            "GET /sapi/v1/account/apiRestrictions",
            {"ipRestrict": False, "enableReading": True, "enableFutures": False, "enableWithdrawals": True},
        ),
        (
            "bybit",
            "GET /v5/user/query-api",
            {
                "retCode": 0,
                "result": {"readOnly": 1, "ips": ["*"], "permissions": {"Wallet": ["Withdraw"], "ContractTrade": []}},
            },
        ),
        (
            "okx",
            "GET /api/v5/account/config",
            {"code": "0", "data": [{"perm": "read_only,withdraw", "ip": ""}], "msg": ""},
        ),
    ],
)
async def test_a_key_that_can_withdraw_is_a_warning_and_one_that_can_not_trade_a_failure(
    venue: str, endpoint: str, answer: object
) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on=endpoint, reply=json_reply(answer)))
        found = await findings(desk)
        assert verdicts(found)["permissions"] == ["failure", "warning", "warning"]


@pytest.mark.parametrize("venue", VENUES)
async def test_the_margin_mode_is_read_from_the_account_or_its_positions(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_position, of_account = (f"{BTC} {{}}", "note"), ("{}, for the whole account", "good")
    whole, none = of_account if venue == "bybit" else of_position
    async with open_desk(venue) as desk:
        assert verdicts(await findings(desk))["margin"] == [none]
        await desk.enter()
        assert [each.message for each in (await findings(desk))["margin"]] == [whole.format("cross")]
        market = desk.server.market
        row = position_risk(BTC, "both", market.holding(BTC, "both"), market) | {"isolatedMargin": "40"}
        desk.server.faults.add(Fault(on="GET /fapi/v3/positionRisk", reply=json_reply([row])))
        if isinstance(desk.server, OkxServer):
            desk.server.okx_market.margin_modes[BTC] = "isolated"
        account = json_reply({"retCode": 0, "result": {"marginMode": "ISOLATED_MARGIN"}})
        desk.server.faults.add(Fault(on="GET /v5/account/info", reply=account))
        found = await findings(desk)
        assert [each.message for each in found["margin"]] == [whole.format("isolated")]
        assert verdicts(found)["margin"] == ["good"]
        if venue == "binanceusdm":  # as on a venue that sends orders for one margin mode
            account_mode = AccountMode(margin_mode="cross")
            monkeypatch.setattr(
                desk.exchange, "venue", msgspec.structs.replace(desk.exchange.venue, account=account_mode)
            )
            (finding,) = (await findings(desk))["margin"]
            assert (finding.verdict, "do not protect isolated positions" in finding.message) == ("failure", True)


@pytest.mark.parametrize("venue", VENUES)
async def test_a_failed_check_is_a_finding_and_the_other_checks_run(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="positions", drop="before"))
        found = verdicts(await findings(desk))
        assert found["positions"] == found["stops"] == ["failure"]
        assert found["clock"] == ["good"]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[VenueServer]:
    """Run the command, with a server for each exchange that it opens."""
    opened: list[VenueServer] = []

    @asynccontextmanager
    async def on_loopback(venue: str, **arguments: Any) -> AsyncIterator[Any]:
        async with (
            open_server(venue) as server,
            open_ccxt(venue, configure=server.configure, **arguments) as exchange,
        ):
            opened.append(server)
            await Desk(exchange, server).enter()
            yield exchange

    monkeypatch.setattr("trailing.cli.operate.doctor.open_ccxt", on_loopback)
    monkeypatch.setattr("trailing.exchanges.ccxt.diagnosis.STREAM_SECONDS", 10.0)  # Bybit pushes a price at once
    return opened


def test_the_command_shows_the_findings(
    servers: list[VenueServer], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAILING_ALERTS", "https://hooks.example/abcdef")
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[there]\napi_key = "{API_KEY}"\nsecret = "{SECRET}"\n')
    keys.chmod(0o600)
    words = ["doctor", "bybit", "--credentials", str(keys), "--table", "there", "--place"]
    code = main(words)
    shown = capsys.readouterr()
    assert (code, shown.err) == (0, "")
    assert "placed in" in shown.out
    assert API_KEY not in shown.out
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["exchange"], document["verdict"]) == ("bybit", "good")
    assert len(servers) == 2


def alerts_finding(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """Run the command, and return its exit code with the finding about alerts."""
    code = main(["doctor", "bybit", *words, "--json"])
    (finding,) = (each for each in json.loads(capsys.readouterr().out)["findings"] if each["subject"] == "alerts")
    return code, finding


def test_the_command_warns_of_a_real_account_without_an_alert_channel(
    servers: list[VenueServer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAILING_API_KEY", API_KEY)
    monkeypatch.setenv("TRAILING_SECRET", SECRET)
    for name in ("TRAILING_ALERTS", "TRAILING_HEARTBEAT"):
        monkeypatch.delenv(name, raising=False)
    code, finding = alerts_finding(capsys)
    assert (code, finding["verdict"]) == (0, "warning")
    assert finding["message"] == "no alert reaches a person: TRAILING_ALERTS is not set"
    _, finding = alerts_finding(capsys, "--testnet")
    assert finding["verdict"] == "note"
    monkeypatch.setenv("TRAILING_ALERTS", "https://hooks.example/abcdef nonsense-abcdef")
    _, finding = alerts_finding(capsys)
    assert finding["verdict"] == "warning"
    assert "address 2 of the environment variable TRAILING_ALERTS" in finding["message"]
    assert "abcdef" not in finding["message"]


def test_the_command_finds_the_channels_of_the_private_file(
    servers: list[VenueServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAILING_API_KEY", API_KEY)
    monkeypatch.setenv("TRAILING_SECRET", SECRET)
    file = tmp_path / "alerts.toml"
    file.write_text(
        '[bot]\nheartbeat = "https://ping.example/abcdef"\n[bot.channels]\nphone = "https://a.example/abcdef"\n'
    )
    file.chmod(0o600)
    _, finding = alerts_finding(capsys, "--alerts", str(file), "--alerts-table", "bot")
    assert (finding["verdict"], finding["message"]) == ("good", "1 configured: phone")
    file.write_text("[bot.channels]\n")
    _, finding = alerts_finding(capsys, "--alerts", str(file), "--alerts-table", "bot")
    assert (finding["verdict"], finding["message"]) == ("warning", f"no alert reaches a person: {file} has no channels")
    assert main(["doctor", "bybit", "--alerts-table", "bot"]) == 2
    assert capsys.readouterr().err == "trailing: doctor: --alerts-table needs --alerts\n"


@pytest.mark.parametrize("cancels", [True, False])
def test_fm59_a_signal_during_the_trial_cancels_the_trial_stop_or_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cancels: bool
) -> None:
    monkeypatch.setenv("TRAILING_API_KEY", API_KEY)
    monkeypatch.setenv("TRAILING_SECRET", SECRET)
    place_stop = CcxtExchange.place_stop

    async def place_and_signal(exchange: CcxtExchange, request: StopRequest) -> StopOrder:
        order = await place_stop(exchange, request)
        signal.raise_signal(signal.SIGTERM)
        return order

    monkeypatch.setattr(CcxtExchange, "place_stop", place_and_signal)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with serving("bybit", "memory:") as served:
        monkeypatch.setattr(
            "trailing.cli.operate.doctor.open_ccxt", partial(open_ccxt, configure=served.server.configure)
        )
        served.do(served.server.market.enter, BTC, "buy", Decimal("0.8"), Decimal(1000))
        if not cancels:
            served.do(served.server.faults.add, Fault(on="cancel_stop", drop="before"))
        try:
            code = main(["doctor", "bybit", "--place", "--json"])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        said = capsys.readouterr()
        assert (code, said.out) == (143, "")
        assert served.changes().count("place_stop") == 1
        assert len(served.stops()) == (0 if cancels else 1)
        assert ("may be live: cancel it by hand" in said.err) is not cancels


def test_the_command_returns_an_error_code_if_a_check_fails(
    servers: list[VenueServer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAILING_API_KEY", API_KEY)
    monkeypatch.setenv("TRAILING_SECRET", SECRET)
    assert main(["doctor", "bybit", "--symbol", "DOGE/USDT:USDT"]) == 2
    assert "lists no such linear contract" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bitmex"], "VENUE: unknown venue 'bitmex'"),
        (["bitget"], "unverified"),
        (["bybit", "--symbol", "BTCUSDT"], "symbol got 'BTCUSDT'"),
        (["bybit"], "TRAILING_API_KEY is not set; set it, or give a file with --credentials FILE"),
        (["bybit", "--credentials", "/nowhere/keys.toml"], "a file that can be read"),
    ],
)
def test_the_command_names_the_wrong_argument_in_one_line(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRAILING_API_KEY", raising=False)
    assert main(["doctor", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("venue", VENUES)
async def test_a_take_profit_in_the_order_book_that_covers_the_position_is_a_warning(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        await desk.exchange.place_stop(stop_request())
        desk.server.rest_take_profit(
            Position(BTC, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC)), Decimal(1100)
        )
        found = await findings(desk)
        assert verdicts(found)["orders"] == ["good", "warning"]
        listed, warned = found["orders"]
        assert listed.message == f"{BTC}: 2 open"
        assert "sell 0.8 at 1100 (bot-take-profit) covers its part of the position" in warned.message


@pytest.mark.parametrize("venue", VENUES)
async def test_open_orders_that_can_not_be_read_are_a_note(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="open_orders", reply=json_reply({}, 503)))
        assert verdicts(await findings(desk))["orders"] == ["note"]


@pytest.mark.parametrize("venue", VENUES)
async def test_a_take_profit_in_the_order_book_of_another_symbol_with_a_position_is_a_warning_too(venue: str) -> None:
    async with open_desk(venue) as desk:
        position = Position(ETH, "short", Decimal("0.8"), Decimal(1000), datetime.now(UTC))
        await desk.server.enter(position)
        desk.server.rest_take_profit(position, Decimal(900))
        listed, warned = (await findings(desk))["orders"]
        assert (listed.message, warned.verdict) == (f"{BTC}: 0 open", "warning")
        assert f"{ETH} short: " in warned.message


@pytest.mark.parametrize(
    ("infos", "verdict"),
    [
        ([{"product": "DERIVATIVES", "dcpStatus": "ON", "timeWindow": "10"}], "warning"),
        ([{"product": "SPOT", "dcpStatus": "ON", "timeWindow": "10"}], "good"),
        ([{"product": "DERIVATIVES", "dcpStatus": "OFF", "timeWindow": "10"}], "good"),
        ([], "good"),
        ([{"product": "DERIVATIVES"}], "note"),
    ],
)
async def test_an_armed_disconnection_protection_of_bybit_is_a_warning(
    infos: list[dict[str, str]], verdict: str
) -> None:
    async with open_desk("bybit") as desk:
        assert isinstance(desk.server.face, Bybit)
        desk.server.face.dcp_infos = infos
        (found,) = (await findings(desk))["switch"]
        assert found.verdict == verdict
        assert ("10 s after a program" in found.message) == (verdict == "warning")


@pytest.mark.parametrize(("venue", "word"), [("binanceusdm", "countdownCancelAll"), ("okx", "cancel-all-after")])
async def test_a_switch_that_the_venue_does_not_state_is_a_note_that_names_it(venue: str, word: str) -> None:
    async with open_desk(venue) as desk:
        (found,) = (await findings(desk))["switch"]
        assert (found.verdict, word in found.message) == ("note", True)
