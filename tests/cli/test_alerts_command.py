"""`trailing alerts`: lists the channels, sends a test to each, and never shows an address."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from http_receiver import Receiver, receiver, refusal

from trailing.alerts.trial import TEST_MESSAGE

Run = Callable[..., Any]
SECRET = "s3cr3t-path"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("TRAILING_ALERTS", "TRAILING_HEARTBEAT"):
        monkeypatch.delenv(name, raising=False)


def use(monkeypatch: pytest.MonkeyPatch, found: Receiver, *, schemes: tuple[str, ...] = ("http", "json")) -> None:
    """Send alerts and heartbeats to a server."""
    monkeypatch.setenv("TRAILING_ALERTS", " ".join(found.url.replace("http", scheme, 1) for scheme in schemes))
    monkeypatch.setenv("TRAILING_HEARTBEAT", found.url)


def test_without_the_option_it_lists_the_targets_and_sends_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as found:
        use(monkeypatch, found)
        ran = run("alerts")
    assert ran.out.splitlines() == ["webhook 127.0.0.1: not tried", "JSON: not tried", "heartbeat 127.0.0.1: not tried"]
    assert (ran.code, ran.err, found.requests) == (0, "", [])


def test_the_test_reaches_each_channel_and_the_monitor(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as found:
        use(monkeypatch, found)
        ran = run("alerts", "--test")
    assert ran.out.splitlines() == ["webhook 127.0.0.1: sent", "JSON: sent", "heartbeat 127.0.0.1: sent"]
    assert ran.code == 0
    assert sorted(head.split()[0] for head, _ in found.requests) == ["GET", "POST", "POST"]
    assert all(TEST_MESSAGE.title in body.decode() for head, body in found.requests if head.startswith("POST"))


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_receiver_that_refuses_is_named_with_its_answer_and_without_its_address(
    options: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver(refusal("403 Forbidden")) as found:
        use(monkeypatch, found, schemes=("http",))
        ran = run("alerts", "--test", *options)
    assert ran.code == 2
    assert SECRET not in ran.out + ran.err
    error = "NotSent: 127.0.0.1 answered 403 Forbidden"
    if options:
        names = ("webhook 127.0.0.1", "heartbeat 127.0.0.1")
        assert json.loads(ran.out) == {"targets": [{"target": name, "sent": False, "error": error} for name in names]}
    else:
        assert ran.out.splitlines()[0] == f"webhook 127.0.0.1: not sent. {error}"


def test_a_private_file_is_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    with receiver() as found:
        path.write_text(f'[bot.channels]\ndesk = "{found.url}"\n')
        path.chmod(0o600)
        assert run("alerts", "--test", "--file", path, "--table", "bot").out == "desk: sent\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "alerts: no alert channel: the environment variable TRAILING_ALERTS is not set"),
        (("--table", "bot"), "alerts: --table needs --file"),
        (("--file", "nothing.toml"), "alerts got 'nothing.toml', wants a file that can be read"),
    ],
)
def test_missing_settings_are_one_line(words: tuple[str, ...], message: str, run: Run) -> None:
    ran = run("alerts", *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"trailing: {message}")
    assert ran.err.count("\n") == 1
