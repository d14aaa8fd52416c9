"""`trailing.toml` is read with its defaults, and refused in one line that names file, line, field and value."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

import trailing
from trailing import BotConfig, Breakeven, EntryLimits, Percent, UsageError, read_config
from trailing.alerts import AlertRules

VENUE = '[venue]\nname = "bybit"\n'
STORE = '[store]\nurl = "sqlite:///bot.db"\n'
PLAN = '[plan]\ninitial_stop = "2%"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trailing.toml"


def read(file: Path, text: str) -> BotConfig:
    file.write_text(text)
    return read_config(file)


def refused(file: Path, text: str) -> str:
    """The error without the path of the file, which it begins with."""
    with pytest.raises(UsageError) as caught:
        read(file, text)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    return message.removeprefix(str(file))


def test_three_sections_are_enough_and_the_rest_has_the_defaults_of_the_library(file: Path) -> None:
    config = read(file, VENUE + STORE + PLAN)
    assert config.venue == trailing.VenueSettings(name="bybit")
    assert config.store == trailing.StoreSettings(url="sqlite:///bot.db")
    assert config.plan == trailing.TrailPlan(initial_stop=Percent(2))
    assert config.entry_limits == EntryLimits()
    assert config.alerts == trailing.AlertSettings(file=None, table=None, rules=AlertRules())


def test_every_field_is_read(file: Path) -> None:
    for name in ("keys.toml", "alerts.toml"):
        (file.parent / name).touch()
    config = read(
        file,
        '[venue]\nname = "okx"\naccount = "main"\ntestnet = true\nallow_unverified = true\nmargin_mode = "isolated"\n'
        'credentials_file = "keys.toml"\ncredentials_table = "demo"\n'
        '[store]\nurl = "postgresql://bot@db/bot"\nstandby = true\n'
        '[plan]\ninitial_stop = "2%"\ntrigger = "mark"\n'
        '[plan.pacing]\nmin_interval = 30\n[[plan.rules]]\ntype = "Breakeven"\nat = "1%"\n'
        '[entry_limits]\nmax_positions = 20\nmax_notional_per_wave = "50000.5"\nmax_leverage = 3\nmargin_mode = "cross"\n'
        'max_slippage = "0.5%"\n'
        '[alerts]\nfile = "alerts.toml"\ntable = "bot"\nunprotected_seconds = 5\nignored_alarms = ["a"]\n',
    )
    assert config.venue == trailing.VenueSettings(
        name="okx",
        account="main",
        testnet=True,
        allow_unverified=True,
        margin_mode="isolated",
        credentials_file=file.parent / "keys.toml",
        credentials_table="demo",
    )
    assert config.store == trailing.StoreSettings(url="postgresql://bot@db/bot", standby=True)
    assert (config.plan.trigger, config.plan.pacing.min_interval) == ("mark", 30.0)
    assert config.plan.rules == (Breakeven(at=Percent(1)),)
    assert config.entry_limits == EntryLimits(20, Decimal("50000.5"), Decimal(3), "cross", Percent("0.5"))
    assert config.alerts.rules == AlertRules(unprotected_seconds=5, ignored_alarms=frozenset({"a"}))
    assert (config.alerts.file, config.alerts.table) == (file.parent / "alerts.toml", "bot")


def test_the_paper_exchange_has_a_latency_and_no_credentials(file: Path) -> None:
    config = read(file, '[venue]\nname = "paper"\nlatency = 0.3\n' + STORE + PLAN)
    assert config.venue == trailing.VenueSettings(name="paper", latency=0.3)
    assert config.venue.credentials() is None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "the section [venue] is missing"),
        (VENUE + STORE, None, "the section [plan] is missing"),
        (VENUE + STORE + "[paln]\n", 5, "the section 'paln' is unknown; known sections: venue, store, plan,"),
        (VENUE + STORE + "[paln]\n", 5, "Did you mean plan?"),
        ("venue = 3\n" + STORE + PLAN, 1, "venue got 3, wants a table, with its fields under [venue]"),
        ("plan = 3\n" + STORE + VENUE, 1, "plan got 3, wants a table"),
        ("[venue]\n" + STORE + PLAN, 1, "venue.name is missing"),
        (STORE + PLAN + "[venue]\nname = 7\n", 6, "venue.name got 7, wants a text"),
        (STORE + PLAN + '[venue]\nname = "bybt"\n', 6, "venue.name got 'bybt', wants one of 'paper', "),
        (STORE + PLAN + '[venue]\nname = "bybt"\n', 6, "Did you mean bybit?"),
        (STORE + PLAN + '[venue]\nname = "bingx"\n', 6, "venue.name got 'bingx', which is unverified: "),
        (STORE + PLAN + '[venue]\nname = "bingx"\n', 6, "Pass allow_unverified = true"),
        (VENUE + 'testnet = "yes"\n' + STORE + PLAN, 3, "venue.testnet got 'yes', wants true or false"),
        (VENUE + "testnett = true\n" + STORE + PLAN, 3, "venue has the unknown field 'testnett'; known fields: name,"),
        (VENUE + "testnett = true\n" + STORE + PLAN, 3, "Did you mean testnet?"),
        (
            VENUE + 'margin_mode = "cross"\n' + STORE + PLAN,
            3,
            "venue.margin_mode got 'cross', wants None, because bybit",
        ),
        (VENUE + 'credentials_file = "no.toml"\n' + STORE + PLAN, 3, "venue.credentials_file wants the path of a file"),
        (VENUE + 'credentials_table = "demo"\n' + STORE + PLAN, 3, "needs venue.credentials_file"),
        (
            '[venue]\nname = "paper"\ntestnet = true\n' + STORE + PLAN,
            3,
            "venue has the unknown field 'testnet'; known fields of the paper exchange: name, account, latency.",
        ),
        ('[venue]\nname = "paper"\nlatency = -1\n' + STORE + PLAN, 3, "venue.latency got -1, wants seconds"),
        (
            '[venue]\nname = "krakenfutures"\nallow_unverified = true\ntestnet = 1\n' + STORE + PLAN,
            4,
            "venue.testnet got 1, wants true or false",
        ),
        (VENUE + "[store]\n" + PLAN, 3, "store.url is missing"),
        (VENUE + '[store]\nurl = "bot.db"\n' + PLAN, 4, "store.url got an address without a scheme, wants 'memory:'"),
        (VENUE + STORE + "standby = 1\n" + PLAN, 5, "store.standby got 1, wants true or false"),
        (VENUE + STORE + "[plan]\n", 5, "initial_stop"),
        (VENUE + STORE + PLAN + "triger = 1\n", 7, "unknown field `triger`. Did you mean trigger?"),
        (VENUE + STORE + PLAN + 'retry_for = "soon"\n', 7, "plan.retry_for got 'soon', wants a number"),
        (VENUE + STORE + PLAN + "retry_for = -1\n", 7, "TrailPlan.retry_for got -1.0, wants seconds"),
        (VENUE + STORE + PLAN + "[plan.pacing]\nmin_interval = -1\n", 8, "Pacing.min_interval got -1"),
        (
            VENUE + STORE + PLAN + '[[plan.rules]]\ntype = "Callback"\ndistance = "1%"\n'
            '[[plan.rules]]\ntype = "Callback"\ndistance = "0%"\n',
            12,
            "Callback.distance got",
        ),
        (VENUE + STORE + PLAN + '[[plan.rules]]\ntype = "Calback"\n', 8, "Did you mean Callback?"),
        (VENUE + STORE + PLAN + "retry_for = 2020-01-01\n", 7, "retry_for got '2020-01-01'"),
        (VENUE + STORE + PLAN + "[entry_limits]\nmax_position = 3\n", 8, "Did you mean max_positions?"),
        (VENUE + STORE + PLAN + "[entry_limits]\nmax_positions = 0\n", 8, "entry_limits.max_positions got 0, wants"),
        (VENUE + STORE + PLAN + "[entry_limits]\nmax_leverage = 2.5\n", 8, "entry_limits.max_leverage got 2.5, wants"),
        (VENUE + STORE + PLAN + '[entry_limits]\nmax_leverage = "x"\n', 8, "entry_limits.max_leverage got 'x', wants"),
        (VENUE + STORE + PLAN + '[entry_limits]\nmax_leverage = "-1"\n', 8, "entry_limits.max_leverage got Decimal"),
        (
            VENUE + STORE + PLAN + '[entry_limits]\nmax_slippage = "x%"\n',
            8,
            "entry_limits.max_slippage got 'x%', wants",
        ),
        (
            VENUE + STORE + PLAN + '[entry_limits]\nmargin_mode = "x"\n',
            8,
            "entry_limits.margin_mode got 'x', wants one",
        ),
        (VENUE + STORE + PLAN + "[alerts]\nunprotected_second = 3\n", 8, "Did you mean unprotected_seconds?"),
        (VENUE + STORE + PLAN + '[alerts]\nclose_seconds = "3"\n', 8, "alerts.close_seconds got '3', wants seconds"),
        (VENUE + STORE + PLAN + '[alerts]\nignored_alarms = "a"\n', 8, "alerts.ignored_alarms got 'a', wants a list"),
        (VENUE + STORE + PLAN + '[alerts]\ntable = "bot"\n', 8, "alerts.table needs alerts.file"),
        (VENUE + STORE + PLAN + '[alerts]\nfile = "no.toml"\n', 8, "alerts.file wants the path of a file that exists"),
        ("[venue\n", None, "not TOML"),
    ],
)
def test_a_bad_configuration_is_refused_by_line_and_field(file: Path, text: str, line: int | None, words: str) -> None:
    error = refused(file, text)
    assert error.startswith(": " if line is None else f", line {line}: "), error
    assert words in error


@pytest.mark.parametrize(
    ("text", "line", "field", "instead"),
    [
        (VENUE + 'api_key = "HUSH"\n' + STORE + PLAN, 3, "venue.api_key", "TRAILING_API_KEY"),
        (VENUE + 'Secret = "HUSH"\n' + STORE + PLAN, 3, "venue.Secret", "venue.credentials_file"),
        (VENUE + 'api-secret = "HUSH"\n' + STORE + PLAN, 3, "venue.api-secret", "venue.credentials_file"),
        ('[credentials]\nx = "HUSH"\n' + VENUE + STORE + PLAN, 1, "credentials", "TRAILING_SECRET"),
        ('password = "HUSH"\n' + VENUE + STORE + PLAN, 1, "password", "venue.credentials_file"),
        ('venue = {name = "bybit", secret = "HUSH"}\n' + STORE + PLAN, 1, "venue.secret", "TRAILING_SECRET"),
        (VENUE + STORE + PLAN + '[alerts]\nheartbeat = "HUSH"\n', 8, "alerts.heartbeat", "TRAILING_HEARTBEAT"),
        (VENUE + STORE + PLAN + '[alerts.channels]\nphone = "HUSH"\n', 7, "alerts.channels", "alerts.file"),
        (VENUE + '[store]\nurl = "postgresql://bot:HUSH@db/bot"\n' + PLAN, 4, "store.url", "PGPASSWORD"),
        (VENUE + '[store]\nurl = "postgresql://bot:HU/SH@db/bot"\n' + PLAN, 4, "store.url", "PGPASSWORD"),
        (VENUE + '[store]\nurl = "postgresql://bot@db/bot?password=HUSH"\n' + PLAN, 4, "store.url", "PGPASSWORD"),
    ],
)
def test_a_credential_is_refused_by_its_name_and_never_shown(
    file: Path, text: str, line: int, field: str, instead: str
) -> None:
    error = refused(file, text)
    assert error.startswith(f", line {line}: {field} ")
    assert instead in error
    assert "HU" not in error


@pytest.mark.parametrize(
    "text",
    [
        VENUE + 'credentials_file = "HUSH"\n' + STORE + PLAN,
        VENUE + 'my_key = "HUSH"\n' + STORE + PLAN,
        VENUE + '[store]\nurl = "https://bot:HUSH@db/bot"\n' + PLAN,
        VENUE + STORE + PLAN + '[alerts]\nfile = "HUSH"\n',
    ],
)
def test_a_value_that_may_be_a_credential_in_a_wrong_place_is_not_shown(file: Path, text: str) -> None:
    assert "HUSH" not in refused(file, text)


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(UsageError, match="trailing.toml can't be read"):
        read_config(file)


def test_credentials_come_from_the_environment_or_from_the_private_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAILING_API_KEY", "key1")
    monkeypatch.setenv("TRAILING_SECRET", "secret1")
    keys = read(file, VENUE + STORE + PLAN).venue.credentials()
    assert keys is not None
    assert keys.values == ("key1", "secret1", None)
    private = file.parent / "keys.toml"
    private.write_text('[demo]\napi_key = "key2"\nsecret = "secret2"\n')
    private.chmod(0o600)
    named = 'credentials_file = "keys.toml"\ncredentials_table = "demo"\n'
    keys = read(file, VENUE + named + STORE + PLAN).venue.credentials()
    assert keys is not None
    assert keys.values == ("key2", "secret2", None)
    private.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read(file, VENUE + named + STORE + PLAN).venue.credentials()


def test_addresses_of_alerts_come_from_the_environment_or_from_the_private_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAILING_ALERTS", "https://one.example/a https://two.example/b")
    assert len(read(file, VENUE + STORE + PLAN).alerts.targets().channels) == 2
    private = file.parent / "alerts.toml"
    private.write_text('[channels]\nphone = "https://three.example/c"\n')
    private.chmod(0o600)
    config = read(file, VENUE + STORE + PLAN + '[alerts]\nfile = "alerts.toml"\n')
    assert [channel.name for channel in config.alerts.targets().channels] == ["phone"]


def test_a_file_without_the_section_web_serves_no_page(file: Path) -> None:
    assert read(file, VENUE + STORE + PLAN).web is None


def test_the_section_web_says_where_the_page_is_served(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = file.parent / "web-token"
    token.write_text("a" * 40)
    token.chmod(0o600)
    web = read(
        file, VENUE + STORE + PLAN + '[web]\nbind = "0.0.0.0:80"\nhosts = ["bot"]\ntoken_file = "web-token"\n'
    ).web
    assert web == trailing.WebSettings(bind="0.0.0.0:80", hosts=("bot",), token_file=token)
    assert web.token() == "a" * 40
    monkeypatch.setenv("TRAILING_WEB_TOKEN", "b" * 40)
    assert trailing.WebSettings().token() == "b" * 40


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('bind = "everywhere"', "web.bind got 'everywhere', wants HOST:PORT, such as 127.0.0.1:8787"),
        ("bind = 80", "web.bind got 80, wants a text that is not empty"),
        ('port = "80"', "web has the unknown field 'port'; known fields: bind, hosts, token_file."),
        ('token = "secret"', "web.token is a credential, and this file must hold none"),
    ],
)
def test_a_wrong_field_of_web_is_refused(file: Path, fields: str, message: str) -> None:
    found = refused(file, VENUE + STORE + PLAN + "[web]\n" + fields + "\n")
    assert message in found
    assert "secret" not in found


def test_an_address_that_other_machines_reach_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAILING_WEB_TOKEN", raising=False)
    with pytest.raises(UsageError, match="a token is needed"):
        trailing.WebSettings(bind="0.0.0.0:8787").token()
