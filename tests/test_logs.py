"""No credential reaches a log, in whatever value it is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from trailing.errors import UsageError
from trailing.logs import HIDDEN, configure_logging, hide_credentials

SECRET = "hunter2Sekret"


class Account(msgspec.Struct):
    name: str
    api_key: str


class Quiet(msgspec.Struct):
    """Its repr hides its fields, which JSON would print."""

    secret: str

    def __repr__(self) -> str:
        return "Quiet()"


@dataclass
class Session:
    headers: dict[str, str]
    token: str = field(default=SECRET, repr=False)


class Opaque:
    def __repr__(self) -> str:
        return f"<Opaque password={SECRET}>"


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    configured, before = structlog.is_configured(), structlog.get_config()
    yield
    structlog.reset_defaults()
    if configured:
        structlog.configure(**before)


def hidden(**entry: Any) -> dict[str, Any]:
    return dict(hide_credentials(None, "info", entry))


def looped() -> dict[str, Any]:
    loop: dict[str, Any] = {"password": SECRET}
    loop["self"] = loop
    return loop


@pytest.mark.parametrize(
    "key",
    [
        "api_key",
        "apiKey",
        "API-KEY",
        "secret",
        "client_secret",
        "password",
        "passwd",
        "passphrase",
        "token",
        "listenKey",
        "Authorization",
        "signature",
        "X-BAPI-SIGN",
        "OK-ACCESS-KEY",
        "X-MBX-APIKEY",
        "privateKey",
        "credentials",
        "Set-Cookie",
    ],
)
def test_the_value_of_a_key_that_is_named_like_a_credential_is_hidden_at_any_depth(key: str) -> None:
    assert hidden(**{key: SECRET}) == {key: HIDDEN}
    assert hidden(request={"headers": [{key: SECRET}]}) == {"request": {"headers": [{key: HIDDEN}]}}
    assert hidden(**{key: {"deep": [SECRET]}}) == {key: HIDDEN}
    assert hidden(headers=[(key, SECRET), ("Accept", "*")]) == {"headers": [(key, HIDDEN), ("Accept", "*")]}
    for text in (f"{key}={SECRET}&x=1", f"{key}: {SECRET}", f'{{"{key}":"{SECRET}"}}', f"f({key}='{SECRET}')"):
        assert SECRET not in hidden(event=text)["event"]
        assert key in hidden(event=text)["event"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"postgresql://bot:{SECRET}@db:5432/trailing", "postgresql://bot:***@db:5432/trailing"),
        (f"postgresql://bot:{SECRET}/@{SECRET}@db/trailing", "postgresql://bot:***@db/trailing"),
        (f"redis://:{SECRET}@cache", "redis://:***@cache"),
        (f"GET /order?symbol=BTC&signature={SECRET}&x=1", "GET /order?symbol=BTC&signature=***&x=1"),
        (f"host=db password={SECRET},;{SECRET} user=bot", "host=db password=*** user=bot"),
        (f"password='{SECRET} {SECRET}' user=bot", "password=*** user=bot"),
        (f'{{"secret":"a\\"{SECRET}","code":-1021}}', '{"secret":***,"code":-1021}'),
        (f'"{{\\"apiKey\\": \\"{SECRET}\\", \\"code\\": 1}}"', '"{\\"apiKey\\": ***, \\"code\\": 1}"'),
        (f"keys(secret=['a]', '{SECRET}'], n=1)\nnext", "keys(secret=***\nnext"),
        (f"open(credentials=Keys('a', '{SECRET}'))", "open(credentials=***"),
        (f"[('Authorization', 'Basic {SECRET}')]", "[('Authorization', ***)]"),
        (f"authorization: Bearer {SECRET}", "authorization: ***"),
        (f"sent Bearer {SECRET} along", "sent Bearer *** along"),
        (f"token = b'{SECRET}'", "token = ***"),
        (
            f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n{SECRET}\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
        ),
    ],
)
def test_the_text_after_a_credential_s_name_is_hidden_and_the_rest_is_unchanged(text: str, left: str) -> None:
    assert hidden(event=text) == {"event": left}


@pytest.mark.parametrize(
    "value",
    [
        "wss://stream:443/ws/btcusdt@markPrice",
        'password authentication failed for user "bot"',
        "the signal's design: assigned=3",
        {"symbol": "BTC/USDT:USDT", "price": Decimal("0.1"), 3: (1, 2.5, True, None)},
        [datetime(2026, 3, 1, tzinfo=UTC), {1, 2}, b"abc"],
        OrderedDict(a=1),
    ],
    ids=repr,
)
def test_a_value_without_a_credential_is_unchanged(value: object) -> None:
    assert hidden(value=value)["value"] is value


def test_a_credential_that_is_none_stays_none() -> None:
    assert hidden(password=None, headers=("token", None)) == {"password": None, "headers": ("token", None)}


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
@pytest.mark.parametrize(
    "value",
    [
        Account(name="main", api_key=SECRET),
        [Account(name="main", api_key=SECRET)],
        Quiet(SECRET),
        {"deep": [Quiet(SECRET)]},
        Session(headers={"Authorization": f"Bearer {SECRET}"}),
        Opaque(),
        {"x": (1, [Opaque()])},
        MappingProxyType({"secret": SECRET}),
        {f"postgresql://bot:{SECRET}@db"},
        ValueError(f"no such signature={SECRET}"),
        f"password={SECRET}".encode(),
        looped(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_kind_of_value_gets_its_credential_printed(value: object, as_json: bool) -> None:
    stream = io.StringIO()
    configure_logging(json=as_json, stream=stream)
    structlog.get_logger().info("connecting", detail=value)
    assert "connecting" in stream.getvalue()
    assert HIDDEN in stream.getvalue()
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_an_exception_s_text_and_its_causes_are_printed_without_credentials(as_json: bool) -> None:
    stream = io.StringIO()
    configure_logging(json=as_json, stream=stream)
    try:
        try:
            raise OSError(f"GET https://x/order?signature={SECRET} timed out")
        except OSError as error:
            raise RuntimeError(f"postgresql://bot:{SECRET}@db is down") from error
    except RuntimeError:
        structlog.get_logger().exception("failed")
    printed = stream.getvalue()
    assert "is down" in printed
    assert "direct cause" in printed
    assert "timed out" in printed
    assert SECRET not in printed


def test_an_unrendered_exception_is_rendered_without_its_credentials() -> None:
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError as error:
        for exc_info in (True, error, (type(error), error, error.__traceback__)):
            entry = hidden(event="failed", exc_info=exc_info)
            assert "exc_info" not in entry
            assert "ValueError" in entry["exception"]
            assert SECRET not in entry["exception"]


@given(st.recursive(st.text(max_size=8), lambda inner: st.dictionaries(st.text(max_size=4), inner) | st.lists(inner)))
def test_hiding_twice_is_hiding_once(value: object) -> None:
    once = hidden(event=f"secret={value}", value=value)
    assert hidden(**once) == once


def test_json_lines_have_money_as_text_and_times_in_iso_form() -> None:
    stream = io.StringIO()
    configure_logging(json=True, stream=stream)
    structlog.get_logger().warning(
        "moved", price=Decimal("0.10"), at=datetime(2026, 3, 1, tzinfo=UTC), account=Account("a", SECRET)
    )
    line = json.loads(stream.getvalue())
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() is not None
    assert line == {
        "event": "moved",
        "level": "warning",
        "price": "0.10",
        "at": "2026-03-01T00:00:00Z",
        "account": {"name": "a", "api_key": HIDDEN},
    }


def test_only_entries_of_the_level_or_above_are_printed() -> None:
    stream = io.StringIO()
    configure_logging("warning", json=True, stream=stream)
    log = structlog.get_logger()
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_logs_go_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    structlog.get_logger().info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


def test_an_unknown_level_is_refused_and_nothing_is_configured() -> None:
    before = structlog.get_config()
    with pytest.raises(UsageError, match="level got 'loud', wants one of 'debug', 'info', 'warning', 'error'"):
        configure_logging("loud")  # type: ignore[arg-type]
    assert structlog.get_config() == before


def test_importing_the_library_leaves_structlog_unconfigured() -> None:
    code = "import trailing, trailing.logs, structlog; raise SystemExit(structlog.is_configured())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
