"""The cleaner of a check's report hides credentials, account ids and addresses, and keeps what a test is made from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trailing import Credentials
from trailing.cli.operate.check_cleaner import Cleaner, header_values, parse_json

KEYS = Credentials("key-of-mine", "s3cr/et+of=mine", 'pass"phrase')
TOKEN = "eyJhbGciOiJIUzI1NiJ9-eyJzdWIiOiJtZSJ9-c2lnbmF0dXJl"


@pytest.fixture
def cleaner() -> Cleaner:
    return Cleaner(KEYS)


@pytest.mark.parametrize(
    "text",
    [
        "error sign! origin_string[1668key-of-mine5000]",
        "?secret=s3cr%2Fet%2Bof%3Dmine&x=1",
        "s3cr/et+of=mine",
        '{"p": "pass\\"phrase"}',
        "wss://stream.example/ws?listenKey=abc",
        "seen from 203.0.113.7:443",
        "seen from 2001:db8::beef.",
        "mail of someone.else@example.org",
        f"Bearer {TOKEN}",
        f"token {TOKEN} has expired",
        '{"uid": 4711, "x": 1}',
        '{\\"accountId\\": \\"12\\"}',
        "userId=4711",
        '{"code":1,"accountId":"account-7',
    ],
)
def test_a_secret_in_a_text_is_hidden(cleaner: Cleaner, text: str) -> None:
    shown = cleaner.clean_text(text)
    assert "***" in shown
    for secret in ("key-of-mine", "s3cr", 'pass"phrase', 'pass\\"', "abc", "203.0", "beef", "someone", TOKEN, "4711"):
        assert secret not in shown
    assert "account-7" not in shown
    assert "12" not in shown.replace("***", "")


@pytest.mark.parametrize(
    "value",
    [
        {"symbol": "BTCUSDT", "orderId": 1234567890123, "clientOrderId": "tr0123456789abcdef0123", "price": "950.10"},
        {"orderId": "000003e9-0000-4000-8000-000000000000", "reduceOnly": True, "triggerBy": None, "side": "Sell"},
        {"code": -2021, "msg": "Order would immediately trigger."},
        {"retMsg": "expect Falling, but trigger_price[1050] >= current", "time": 1796008365906},
        {"at": "2026-11-30T03:12:45.123Z", "clock": "12:30:45", "version": "1.2.3", "data": [["1", "2.5"], []]},
        {"uid": "", "ip": None, "ips": []},
        {"c": "tr0123456789abcdef0123", "l": "0.1", "L": "999.9", "ps": "BOTH", "u": 5, "s": "BTCUSDT", "ap": "0"},
        {"cloid": "0x7472012345678901234567890100000000", "label": "tr0123456789abcdef0123"},
    ],
)
def test_what_says_nothing_about_the_account_stays(cleaner: Cleaner, value: Any) -> None:
    cleaner.learn(value)
    assert cleaner.clean(value) == value


@pytest.mark.parametrize(
    "name",
    [
        *("apiKey", "X-BAPI-API-KEY", "secretKey", "passphrase", "signature", "X-BAPI-SIGN", "listenKey", "authToken"),
        *("uid", "user_id", "userID", "accountId", "account-no", "mainUid", "parentUid", "memberId", "inviterID"),
        *("ip", "ips", "clientIp", "email", "phone", "walletAddress", "vaultAddress", "note", "connId"),
    ],
)
def test_a_value_under_a_secret_name_is_hidden_there_and_everywhere_else(cleaner: Cleaner, name: str) -> None:
    value = {"list": [{name: "value-77"}], "elsewhere": "said value-77 again", "number": 7}
    cleaner.learn(value)
    assert cleaner.clean(value) == {"list": [{name: "***"}], "elsewhere": "said *** again", "number": 7}


def test_a_text_that_was_shown_before_its_value_was_learned_is_hidden_afterwards(cleaner: Cleaner) -> None:
    assert cleaner.clean_text("value-77") == "value-77"
    cleaner.learn({"uid": "value-77"})
    assert cleaner.clean_text("value-77") == "***"


def test_a_short_value_is_hidden_under_its_name_only(cleaner: Cleaner) -> None:
    value = {"uid": 0, "count": 0}
    cleaner.learn(value)
    assert cleaner.clean(value) == {"uid": "***", "count": 0}


def test_a_learned_number_is_no_part_of_a_longer_one(cleaner: Cleaner) -> None:
    cleaner.learn({"uid": 1234567})
    assert cleaner.clean({"a": 1234567, "b": 12345678, "c": "id 1234567;"}) == {
        "a": "***",
        "b": 12345678,
        "c": "id ***;",
    }


def test_balances_are_hidden(cleaner: Cleaner) -> None:
    value = {"walletBalance": "1", "B": [{"a": "USDT", "wb": "100", "cw": "100", "bc": "0"}], "totalEquity": 5}
    assert cleaner.clean(value) == {
        "walletBalance": "***",
        "B": [{"a": "USDT", "wb": "***", "cw": "***", "bc": "***"}],
        "totalEquity": "***",
    }


def test_numbers_stay_as_the_venue_wrote_them(cleaner: Cleaner) -> None:
    text = '{"a":1.50,"b":1e-7,"c":12345678901234567890.1234567890}'
    assert msgspec.json.encode(cleaner.clean(parse_json(text))).decode() == text


def test_a_text_that_is_no_json_stays_a_text() -> None:
    assert parse_json("<html>") == "<html>"
    assert isinstance(parse_json("[" * 100_000), str)


def test_only_headers_about_time_and_limits_are_shown() -> None:
    headers = {"date": "now", "set-cookie": "x", "x-mbx-used-weight-1m": "5", "x-bapi-limit-status": "9", "cf-ray": "y"}
    assert list(header_values(headers)) == ["date", "x-mbx-used-weight-1m", "x-bapi-limit-status"]


def test_the_cleaner_shows_no_key(cleaner: Cleaner) -> None:
    assert "key-of-mine" not in repr(cleaner)
