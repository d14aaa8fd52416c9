"""Addresses come from the environment or a private file, and are never shown."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from trailing.alerts import AlertTargets
from trailing.errors import UsageError

SECRET = "s3cr3t-path"
HOOK = f"https://example.com/{SECRET}"


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_environment_has_addresses_with_blanks_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_ALERTS", f" {HOOK}  tgram://123456789:abcdefg_hijklmnop/12315544/ ")
    monkeypatch.setenv("BOT_HEARTBEAT", f"https://monitor.example.com/{SECRET}")
    targets = AlertTargets.from_environment("BOT")
    assert [channel.name for channel in targets.channels] == ["webhook example.com", "Telegram"]
    assert targets.heartbeat is not None
    assert targets.heartbeat.host == "monitor.example.com"
    assert repr(targets) == "AlertTargets(['webhook example.com', 'Telegram'], heartbeat=True)"
    assert SECRET not in repr(targets) + repr(targets.heartbeat) + repr(targets.channels)


def test_an_empty_environment_has_no_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAILING_ALERTS", raising=False)
    monkeypatch.delenv("TRAILING_HEARTBEAT", raising=False)
    targets = AlertTargets.from_environment()
    assert (targets.channels, targets.heartbeat) == ((), None)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TRAILING_ALERTS", f"{HOOK} nosuch://{SECRET}/x", "address 2 of the environment variable TRAILING_ALERTS: "),
        (
            "TRAILING_HEARTBEAT",
            f"ftp://{SECRET}/x",
            "the environment variable TRAILING_HEARTBEAT: Heartbeat.url got a ftp",
        ),
    ],
)
def test_a_bad_address_in_the_environment_is_named_and_not_shown(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=message) as caught:
        AlertTargets.from_environment()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("table", [None, "alerts"])
def test_a_private_file_has_named_channels_and_a_heartbeat(tmp_path: Path, table: str | None) -> None:
    start = "" if table is None else f"[{table}]\n"
    name = "channels" if table is None else f"{table}.channels"
    text = f'{start}heartbeat = "https://monitor.example.com/x"\n[{name}]\ndesk = "{HOOK}"\n'
    targets = AlertTargets.from_file(private(tmp_path / "alerts.toml", text), table)
    assert [channel.name for channel in targets.channels] == ["desk"]
    assert targets.heartbeat is not None


def test_a_file_may_hold_the_keys_of_the_exchange_in_other_tables(tmp_path: Path) -> None:
    path = private(tmp_path / "keys.toml", f'[bybit]\napi_key = "x"\n[channels]\ndesk = "{HOOK}"\n')
    assert len(AlertTargets.from_file(path).channels) == 1


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "alerts.toml", f'[channels]\ndesk = "{HOOK}"\n')
    path.chmod(0o640)
    with pytest.raises(UsageError, match="alerts: other users can read .*; run chmod 600 on it"):
        AlertTargets.from_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'channel = "{HOOK}"', "has the unknown field 'channel'. Did you mean channels?"),
        (f'channels = "{HOOK}"', "channels has to be a table of names and addresses"),
        (f'[channels]\ndesk = "nosuch://{SECRET}/x"', "desk: apprise can't use the nosuch address"),
        ("[channels]\ndesk = 5", "the alert channel desk wants an address"),
        (f'heartbeat = "ftp://{SECRET}/x"', "Heartbeat.url got a ftp address, wants http or https"),
        (f'[channels]\ndesk = "{HOOK}', "is not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_without_its_values(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        AlertTargets.from_file(private(tmp_path / "alerts.toml", text))
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no table 'alerts'"):
        AlertTargets.from_file(private(tmp_path / "alerts.toml", ""), "alerts")


def test_targets_are_never_pickled() -> None:
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(AlertTargets())
