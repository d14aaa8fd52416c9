"""Credentials are read from places that only their owner can read, and never shown."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from trailing import Credentials, UsageError

KEY, SECRET, PASSWORD = "key-0123456789", "secret-0123456789", "password-0123456789"


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_credentials_are_masked_in_repr_and_format() -> None:
    credentials = Credentials(KEY, SECRET, PASSWORD)
    shown = f"{credentials!r} {credentials} {[credentials]} {vars(Credentials)}"
    for value in (KEY, SECRET, PASSWORD):
        assert value not in shown


def test_credentials_can_not_be_pickled_or_copied() -> None:
    for take in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="Credentials can't be pickled"):
            take(Credentials(KEY, SECRET))


def test_credentials_are_masked_in_a_text() -> None:
    text = Credentials(KEY, SECRET, PASSWORD).hide(f"a {KEY}, b {SECRET}{PASSWORD}, c")
    assert text == "a ***, b ******, c"


@pytest.mark.parametrize("value", ["", "with blank", "with\nline", None, 5])
@pytest.mark.parametrize("field", ["api_key", "secret"])
def test_an_invalid_credential_is_refused_without_showing_it(field: str, value: object) -> None:
    values = {"api_key": KEY, "secret": SECRET, field: value}
    with pytest.raises(UsageError, match=rf"Credentials\.{field} wants") as caught:
        Credentials(**values)  # type: ignore[arg-type]
    for each in (KEY, SECRET, "with"):
        assert each not in str(caught.value).replace("wants a text", "")


def test_credentials_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_API_KEY", KEY)
    with pytest.raises(UsageError, match="BOT_SECRET is not set"):
        Credentials.from_environment("BOT")
    monkeypatch.setenv("BOT_SECRET", SECRET)
    assert Credentials.from_environment("BOT").values == (KEY, SECRET, None)
    monkeypatch.setenv("BOT_PASSWORD", PASSWORD)
    assert Credentials.from_environment("BOT").values == (KEY, SECRET, PASSWORD)


def test_credentials_are_read_from_a_private_file(tmp_path: Path) -> None:
    path = private(
        tmp_path / "keys.toml", f'api_key = "{KEY}"\nsecret = "{SECRET}"\n[testnet]\napi_key = "k"\nsecret = "s"\n'
    )
    assert Credentials.from_file(path).values == (KEY, SECRET, None)
    assert Credentials.from_file(path, "testnet").values == ("k", "s", None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o644])
def test_a_file_that_other_users_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "keys.toml", f'api_key = "{KEY}"\nsecret = "{SECRET}"\n', mode)
    with pytest.raises(UsageError, match=r"other users can read .*keys.toml; run chmod 600"):
        Credentials.from_file(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'api_key = "{KEY}"\n', "has no field secret"),
        (f'api_key = "{KEY}"\nsecret = "{SECRET}"\nsecert = "{SECRET}"\n', "the unknown field 'secert'"),
        (f'api_key = "{KEY}"\nsecret = {SECRET}\n', "is not valid TOML"),
        (f'api_key = "{KEY}"\nsecret = "a blank"\n', "Credentials.secret wants"),
    ],
)
def test_an_invalid_file_is_refused_without_quoting_it(tmp_path: Path, text: str, says: str) -> None:
    path = private(tmp_path / "keys.toml", text)
    with pytest.raises(UsageError, match=says) as caught:
        Credentials.from_file(path)
    assert KEY not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_missing_file_or_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        Credentials.from_file(tmp_path / "nothing.toml")
    path = private(tmp_path / "keys.toml", f'api_key = "{KEY}"\nsecret = "{SECRET}"\n')
    with pytest.raises(UsageError, match="has no table 'testnet'"):
        Credentials.from_file(path, "testnet")
