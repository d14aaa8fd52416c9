"""`trailing check` on the venues' servers: every step, its report, refusals to begin, and what is left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import structlog
import trio
from checked_venue import UNTOUCHED, WORDS, CheckedVenue, checking, left_on
from okx_server import PASSPHRASE
from real_exchange import BTC, VENUES
from venue_faults import Fault, Reply, Request, json_reply
from venue_market import Wanted
from venue_server import API_KEY, SECRET, VenueServer
from venue_sockets import Socket

from trailing.cli.operate.check_context import Check
from trailing.cli.operate.check_run import CLEAN_UP, STEPS, Outcome, Step
from trailing.errors import AuthenticationFailed
from trailing.exchanges.ccxt import venues
from trailing.exchanges.ccxt.connecting import STREAM_PROTOCOLS
from trailing.exchanges.ccxt.error_codes import ErrorCodes
from trailing.exchanges.ccxt.opening import find_venue

NAMES = [*(step.name for step in STEPS), CLEAN_UP]
NOT_OFFERED = {
    "binanceusdm": {"trigger by index"},
    "bybit": {"native trailing order"},
    "okx": {"native trailing order"},
}
RECORDED = {
    *("enter", "place_stop", "cancel_stop", "find_stop", "open_stops", "open_orders", "order_fills", "positions"),
    *("price", "close_position"),
}


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture(params=VENUES)
def venue(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def checked(
    venue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CheckedVenue]:
    with checking(venue, tmp_path, monkeypatch, capsys) as checked:
        yield checked


def test_every_step_passes_and_nothing_is_left(checked: CheckedVenue, venue: str) -> None:
    code, out, err = checked.run()
    assert (code, left_on(checked.server)) == (0, UNTOUCHED)
    assert checked.outcomes() == {
        name: "not offered" if name in NOT_OFFERED.get(venue, ()) else "passed" for name in NAMES
    }
    lines = out.splitlines()
    assert f"{venue} testnet {BTC} long: passed" in lines[0]
    assert all(any(name in line for line in lines) for name in NAMES)
    assert all(f"trailing: {name}: " in err for name in NAMES)
    assert "order update after" in checked.words("place")
    assert "position update after" in checked.words("trigger by last")
    assert "listed in the trades after" in checked.words("close")


@pytest.mark.parametrize("side", ["long", "short"])
def test_every_step_passes_in_hedge_mode_for_either_side(
    venue: str, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with checking(venue, tmp_path, monkeypatch, capsys, hedged=True) as checked:
        code, _, _ = checked.run(*WORDS, "--side", side)
        assert (code, left_on(checked.server)) == (0, UNTOUCHED)
        assert (checked.document()["hedged"], checked.document()["side"]) == (True, side)


@pytest.mark.parametrize("most", ["0.01", "100000"])
def test_a_real_account_is_checked_up_to_the_size_limit(
    venue: str, most: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with checking(venue, tmp_path, monkeypatch, capsys, live=True) as checked:
        code, out, err = checked.run("--live", "--yes", "--symbol", BTC, "--most-notional", most)
        assert left_on(checked.server) == UNTOUCHED
        if most == "0.01":
            assert (code, out, checked.served.changes()) == (2, "", [])
            assert "which is above --most-notional 0.01" in err
        else:
            assert (code, checked.document()["testnet"]) == (0, False)
            assert out.startswith(f"{venue} {BTC} long: passed")


def test_the_report_has_the_requests_and_frames_of_each_step(checked: CheckedVenue, venue: str) -> None:
    checked.run()
    report = checked.document()
    steps = {step["name"]: step for step in report["steps"]}
    wanted = RECORDED | ({"amend_stop"} if venues.VENUES[venue].stops.amend is not None else set())
    assert {request["operation"] for step in steps.values() for request in step["requests"]} == wanted
    changing = [
        request for name in NAMES for request in steps[name]["requests"] if request["operation"] == "place_stop"
    ]
    sent = [seen for seen in checked.server.requests if seen.operation == "place_stop"]
    assert len(changing) == len(sent)
    assert all(request["status"] and request["reply"] and request["took"] is not None for request in changing)
    assert any(frame["of_account"] for frame in steps["trigger by last"]["frames"])
    assert (report["exchange"], report["testnet"], report["verdict"], report["left"]) == (
        f"{venue} testnet",
        True,
        "passed",
        [],
    )
    assert "ETH" not in checked.report.read_text()  # the entries of other markets


def test_the_page_of_the_check_names_every_step_and_every_outcome() -> None:
    page = (Path(__file__).parents[2] / "docs" / "venues" / "verify.md").read_text()
    (table,) = re.findall(r"^\| step \| what must happen \|\n\|---\|---\|\n(.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    cells = [line.split("|")[1] for line in table.splitlines()]
    assert [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)] == NAMES
    assert all(f"*{outcome}*" in page for outcome in get_args(Outcome))


def test_json_prints_one_document_and_nothing_else(checked: CheckedVenue, venue: str) -> None:
    code, out, _ = checked.run(*WORDS, "--json", "--side", "short")
    document = json.loads(out)
    assert (code, document["verdict"], document["side"], document["report"]) == (
        0,
        "passed",
        "short",
        str(checked.report),
    )
    assert [step["name"] for step in document["steps"]] == NAMES
    assert left_on(checked.server) == UNTOUCHED


SECRETS = {
    "apiKey": API_KEY,
    "echo": f"origin_string[123{API_KEY}5000]",
    "passphrase": "hunter-in-two",
    "uid": 98765432101,
    "accountId": "account-77-of-mine",
    "clientIp": "203.0.113.7",
    "seenFrom": "request from 198.51.100.23:4711 and 2001:db8::beef",
    "email": "somebody@example.org",
    "contact": "write to someone.else@example.org",
    "walletBalance": "31415.92",
    "again": "user 98765432101 of account-77-of-mine",
    "session": "0123456789abcdef0123456789abcdef0123456789abcdef",
    "secretKey": SECRET,
}
PLANTED = (
    *(API_KEY, SECRET, "hunter-in-two", "98765432101", "account-77-of-mine", "203.0.113.7", "198.51.100.23"),
    *("2001:db8::beef", "somebody@example.org", "someone.else@example.org", "31415.92"),
    "0123456789abcdef0123456789abcdef0123456789abcdef",
)


def plant(server: VenueServer, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Let every reply and frame contain secrets. Return the signatures that requests have in their headers, once they are sent."""
    handle, send_text, received = server.face.handle, Socket.send_text, set[str]()

    def handle_and_plant(request: Request) -> Reply:
        received.update(value for name, value in request.headers.items() if name.endswith("-sign"))
        reply = handle(request)
        return Reply(with_secrets(reply.body), reply.status, reply.headers)

    def send_and_plant(socket: Socket, text: str) -> None:
        send_text(socket, with_secrets(text.encode()).decode())

    monkeypatch.setattr(server.face, "handle", handle_and_plant)
    monkeypatch.setattr(Socket, "send_text", send_and_plant)
    return received


def with_secrets(body: bytes) -> bytes:
    def add(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{name: add(each) for name, each in value.items()}, **SECRETS}
        return [add(each) for each in value] if isinstance(value, list) else value

    value = msgspec.json.decode(body)
    return msgspec.json.encode(add(value) if isinstance(value, dict) else [add(each) for each in value])


def test_the_report_and_the_output_contain_no_secret(
    checked: CheckedVenue, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_headers = plant(checked.server, monkeypatch)
    _, out, err = checked.run()
    text = checked.report.read_text()
    signatures = [
        str(value)
        for seen in checked.server.requests
        for name, value in seen.params.items()
        if name in {"signature", "listenKey"}
    ]
    assert signatures or in_headers
    for secret in (*PLANTED, PASSPHRASE, *signatures, *in_headers):
        assert secret not in text + out + err
    assert "seenFrom" in text  # the fields themselves were recorded
    names = {step["name"] for step in checked.document()["steps"] if step["requests"]}
    assert {"enter", "place", "trigger by last"} <= names


def test_what_can_not_be_removed_is_named_and_the_exit_code_is_3(
    checked: CheckedVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.cli.operate.check_account.CLEANUP_SECONDS", 1.0)
    monkeypatch.setattr("trailing.cli.operate.check_run.STEPS", STEPS[:9])  # no step whose stop may trigger later
    refusal = json_reply({"code": -9999, "msg": "not today", "retCode": 131999, "retMsg": "not today"})

    def reduces(request: Request) -> bool:
        return str(request.params.get("reduceOnly", "")).lower() == "true"

    checked.server.faults.add(Fault(on="cancel_stop", reply=refusal))
    checked.server.faults.add(Fault(on="close_position", about=reduces, reply=refusal))
    code, out, err = checked.run(*WORDS, "--json")
    stops, held = left_on(checked.server)
    assert code == 3
    left = json.loads(out)["left"]
    (position,) = [each for each in left if each["kind"] == "position"]
    assert (position["certain"], Decimal(position["quantity"])) == (True, held[BTC])
    quantity = f"{held[BTC].normalize():f}"
    entry = f"{BTC}: a long of {quantity}, opened by the order {position['client_order_id']}, is still open"
    assert f"trailing: {entry}; close it by hand\n" in err
    named = {each["client_order_id"]: each for each in left if each["kind"] == "stop"}
    assert set(named) == {each for each in stops if each != UNTOUCHED[0][0]}
    for name, each in named.items():
        assert (
            f"{BTC} long: the stop {name} for {quantity} at {Decimal(each['price']).normalize():f} is still live; cancel"
            in err
        )
    assert checked.document()["verdict"] == "failed"


def test_what_may_be_left_is_named_where_the_account_can_not_be_read(
    checked: CheckedVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.cli.operate.check_account.CLEANUP_SECONDS", 0.5)

    async def go_down(_: Any) -> str:
        checked.server.faults.add(Fault(on="*", drop="before"))
        raise RuntimeError("planted")

    steps = tuple(Step(step.name, go_down) if step.name == "move" else step for step in STEPS)
    monkeypatch.setattr("trailing.cli.operate.check_run.STEPS", steps)
    code, out, err = checked.run(*WORDS, "--json")
    stops, _ = left_on(checked.server)
    assert code == 3
    named = {each["client_order_id"]: each["certain"] for each in json.loads(out)["left"] if each["kind"] == "stop"}
    assert named == {each: False for each in stops if each != UNTOUCHED[0][0]}
    assert "may be still open; close it by hand" in err


def test_what_may_be_left_is_named_where_the_session_ends_by_itself(
    checked: CheckedVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.cli.operate.check_account.CLEANUP_SECONDS", 0.5)

    async def revoke() -> None:
        raise AuthenticationFailed("the key was revoked")

    async def lose_session(check: Check) -> str:
        check.exchange.session.start_service(revoke)
        await trio.sleep_forever()
        return ""

    steps = tuple(Step(step.name, lose_session) if step.name == "move" else step for step in STEPS)
    monkeypatch.setattr("trailing.cli.operate.check_run.STEPS", steps)
    code, out, err = checked.run()
    (stop,) = (each for each in left_on(checked.server)[0] if each != UNTOUCHED[0][0])
    assert (code, out) == (3, "")
    assert f"the stop {stop} for " in err
    assert "trailing: the key was revoked\n" in err


def test_a_position_that_another_program_opens_meanwhile_is_named_and_not_closed(
    checked: CheckedVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(_: Any) -> str:
        enter = (checked.server.market.enter, BTC, "buy", Decimal("0.5"), Decimal(1000))
        await trio.to_thread.run_sync(checked.served.do, *enter)
        raise RuntimeError("planted")

    steps = tuple(Step(step.name, crash) if step.name == "move" else step for step in STEPS)
    monkeypatch.setattr("trailing.cli.operate.check_run.STEPS", steps)
    code, out, _ = checked.run(*WORDS, "--json")
    assert (code, left_on(checked.server)[1][BTC]) == (3, Decimal("0.5"))
    (left,) = json.loads(out)["left"]
    assert (left["kind"], left["certain"], Decimal(left["quantity"])) == ("position", False, Decimal("0.5"))


def test_an_entry_of_unknown_outcome_is_closed(checked: CheckedVenue) -> None:
    checked.server.faults.add(Fault(on="place_entry", when=lambda count: count == 1, drop="after"))
    code, _, _ = checked.run()
    assert (code, left_on(checked.server)) == (2, UNTOUCHED)
    assert checked.words("enter").startswith("OutcomeUnknown: ")


def test_a_deadline_ends_the_steps_and_everything_is_removed(checked: CheckedVenue) -> None:
    checked.server.faults.latency = 0.05
    code, out, _ = checked.run(*WORDS, "--json", "--deadline", "1")
    document = json.loads(out)
    assert (code, document["ended"], document["verdict"]) == (2, "deadline", "incomplete")
    assert left_on(checked.server) == UNTOUCHED
    outcomes = checked.outcomes()
    assert (outcomes["enter"], outcomes["refuse without a position"], outcomes[CLEAN_UP]) == (
        "passed",
        "skipped",
        "passed",
    )


def test_a_crash_of_a_step_ends_the_steps_and_everything_is_removed(
    checked: CheckedVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("trailing.cli.operate.check_account.CheckedAccount.amend", crash)
    monkeypatch.setattr("trailing.cli.operate.check_context.Check.until_listed", crash)
    code, _, _ = checked.run()
    assert (code, left_on(checked.server)) == (2, UNTOUCHED)
    assert re.fullmatch(
        r"a bug of trailing in test_ccxt_check\.py:\d+: RuntimeError\('planted'\)", checked.words("list")
    )
    assert checked.words("move") == "not run: an earlier step crashed"


def test_a_stop_that_the_price_does_not_reach_makes_the_check_incomplete(
    venue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with checking(venue, tmp_path, monkeypatch, capsys, moving=False) as checked:
        for source in ("last", "mark", "index"):
            checked.served.do(checked.server.market.move_price, BTC, Decimal(1000), source)
        monkeypatch.setattr("trailing.cli.operate.check_steps.CONNECT_SECONDS", 0.2)
        code, _, _ = checked.run(*WORDS, "--trigger-seconds", "0.3")
        assert (code, left_on(checked.server)) == (2, UNTOUCHED)
        assert checked.outcomes()["trigger by last"] == "skipped"
        assert checked.outcomes()["close"] == "passed"


def test_a_refusal_that_the_row_does_not_know_fails_its_step_with_the_words_of_the_venue(
    checked: CheckedVenue, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = find_venue(venue, allow_unverified=False)
    blind = msgspec.structs.replace(row, errors=ErrorCodes(gone=row.errors.gone))
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {venue: blind})
    code, _, _ = checked.run()
    assert (code, left_on(checked.server)) == (2, UNTOUCHED)
    assert checked.outcomes()["refuse a price beyond"] == "failed"
    assert {"binanceusdm": "-2021", "bybit": "110093", "okx": "51280"}[venue] in checked.words("refuse a price beyond")


def test_a_venue_without_a_stream_is_checked_by_its_lists(
    checked: CheckedVenue, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(STREAM_PROTOCOLS, venue)
    monkeypatch.setattr("trailing.exchanges.ccxt.polling.POLL_SECONDS", 0.1)
    code, _, _ = checked.run()
    assert (code, left_on(checked.server)) == (0, UNTOUCHED)
    assert "prices are read by request" in checked.words("stream")
    assert "update" not in checked.words("place")
    assert "flat" in checked.words("trigger by mark")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--symbol", BTC), "exactly one of --testnet and --live must be given"),
        (("--symbol", BTC, "--testnet", "--live"), "exactly one of --testnet and --live must be given"),
        (("--symbol", BTC, "--live"), "it needs --yes and a size limit, --most-notional AMOUNT"),
        (("--symbol", BTC, "--live", "--yes"), "it needs --yes and a size limit, --most-notional AMOUNT"),
        (("--symbol", BTC, "--live", "--most-notional", "20"), "it needs --yes and a size limit"),
        (("--testnet", "--symbol", BTC, "--most-notional", "0.01"), "which is above --most-notional 0.01"),
        (("--testnet", "--symbol", BTC, "--most-notional", "-1"), "'-1' is not an amount above 0"),
        (("--testnet", "--symbol", BTC, "--side", "up"), "'up' is not one of long, short"),
        (("--testnet", "--symbol", BTC, "--deadline", "nan"), "--deadline got nan"),
        (("--testnet", "--symbol", "BTCUSDT"), "--symbol got 'BTCUSDT'"),
        (("--testnet", "--symbol", "DOGE/USDT:USDT"), "lists no such linear contract"),
        (("--testnet", "--symbol", "ETH/USDT:USDT"), "ETH/USDT:USDT has an open long of 0.8"),
    ],
)
def test_a_check_that_may_not_begin_changes_nothing_and_says_why_in_one_line(
    checked: CheckedVenue, words: tuple[str, ...], says: str
) -> None:
    code, out, err = checked.run(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert checked.served.changes() == []
    assert not checked.report.exists()


def test_a_check_does_not_begin_where_the_symbol_has_an_order(checked: CheckedVenue) -> None:
    entry = Wanted(symbol=BTC, side="buy", quantity=Decimal(1), client_order_id="theirs", limit=Decimal(900))
    checked.served.do(checked.server.market.place, entry)
    code, out, err = checked.run()
    assert (code, out) == (2, "")
    assert f"{BTC} has 1 open order, which" in err
    assert checked.served.changes() == []


def test_a_report_that_can_not_be_written_is_refused_before_anything_is_sent(
    checked: CheckedVenue, tmp_path: Path
) -> None:
    checked.report = tmp_path / "nowhere" / "report.json"
    code, _, err = checked.run()
    assert (code, checked.server.requests) == (2, [])
    assert "--report got" in err
