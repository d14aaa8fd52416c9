"""`trailing web`: it serves a store's page until a signal, and refuses what can't be right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

Run = Callable[..., Any]

TOKEN = "a-token-of-many-letters"


def get(url: str, token: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("with_token", [False, True])
def test_the_page_of_a_store_is_served_until_a_signal(replay: Run, tmp_path: Path, *, with_token: bool) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    replay("--store", url)
    token_file = tmp_path / "token"
    token_file.touch(0o600)
    token_file.write_text(f"{TOKEN}\n")
    options = ["--token-file", str(token_file)] if with_token else []
    command = [sys.executable, "-m", "trailing", "web", "--store", url, "--bind", "127.0.0.1:0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        page = json.loads(process.stdout.readline())["url"]
        assert get(page)[0] == 200
        assert get(f"{page}metrics")[0] == (401 if with_token else 200)
        status, text = get(f"{page}metrics", TOKEN)
        assert (status, "trailing_store_readable" in text) == (200, True)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out, err) == (143, "", "")


def test_an_address_that_can_not_be_right_is_one_line(run: Run, replay: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    replay("--store", url)
    for options, message in (
        (("--bind", "nowhere"), "trailing: --bind got 'nowhere', wants HOST:PORT"),
        (("--bind", "0.0.0.0:0"), "trailing: --bind 0.0.0.0: other machines can connect to it, so a token is needed"),
        (("--bind", "127.0.0.1:0", "--host", "bot.example"), "trailing: --host wants a token"),
    ):
        ran = run("web", "--store", url, *options)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert message in ran.err


def test_a_token_is_read_only_from_a_file_that_others_can_not_read(run: Run, replay: Run, tmp_path: Path) -> None:
    url, path = f"sqlite:///{tmp_path}/state.db", tmp_path / "token"
    replay("--store", url)
    path.write_text(TOKEN)
    path.chmod(0o644)
    ran = run("web", "--store", url, "--bind", "127.0.0.1:0", "--token-file", str(path))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"trailing: --token-file: other users can read {path}; run chmod 600 on it\n"
    path.chmod(0o600)
    path.write_text("short")
    ran = run("web", "--store", url, "--bind", "127.0.0.1:0", "--token-file", str(path))
    assert (ran.code, "token wants at least 16" in ran.err, "short" in ran.err) == (2, True, False)
    path.write_bytes(b"\xff\xfe")
    assert "can't be read: it is no text" in run("web", "--store", url, "--token-file", str(path)).err
    assert "can't be read: No such file" in run("web", "--store", url, "--token-file", f"{path}x").err


def test_a_token_in_the_environment_is_used(
    run: Run, replay: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    replay("--store", url)
    monkeypatch.setenv("TRAILING_WEB_TOKEN", "short")
    assert "token wants at least 16" in run("web", "--store", url, "--bind", "127.0.0.1:0").err
    assert os.environ["TRAILING_WEB_TOKEN"] == "short"


def test_a_store_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    ran = run("web", "--store", f"sqlite:///{tmp_path}/none.db")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no file" in ran.err
