"""The paper bot of the docs protects its positions, shows them on its page, sends alerts, and ends in order."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from http_receiver import receiver

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
SYMBOLS = ["BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"]


def test_the_page_has_five_commands_whose_files_and_extras_exist() -> None:
    page = (ROOT / "docs/howto/paper-bot.md").read_text()
    (block,) = re.findall(r"^```sh\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL)
    clone, venv, install, export, run = map(shlex.split, block.splitlines())
    assert clone == ["git", "clone", "ADDRESS", "trailing"]
    assert venv == ["python3", "-m", "venv", "bot"]
    assert install[:2] == ["bot/bin/pip", "install"]
    assert install[2:] == ["./trailing[alerts,web]"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"alerts", "web"} <= set(extras)
    assert export == ["export", "TRAILING_ALERTS=https://example.com/hook"]
    assert run == ["bot/bin/python", "trailing/docs/deploy/paper_bot.py"]
    assert (ROOT / Path(run[1]).relative_to("trailing")).is_file()


def protected_symbols(url: str) -> list[str]:
    """The symbols with a stop in the newest of a few frames: the page is half a second behind the bot."""
    rows: dict[str, dict[str, Any]] = {}
    with urlopen(f"{url}stream", timeout=10) as stream:  # noqa: S310
        for line in itertools.islice(stream, 12):  # three lines are a frame
            if line.startswith(b"data: "):
                frame = json.loads(line.removeprefix(b"data: "))
                rows |= {row["key"]: row for row in (*frame.get("positions", ()), *frame.get("changed", ()))}
    return sorted(row["symbol"] for row in rows.values() if row["stop"] is not None and not row["unprotected"])


@pytest.mark.slow
def test_the_bot_protects_three_positions_and_its_page_metrics_and_alerts_say_so(tmp_path: Path) -> None:
    config = (DEPLOY / "paper.toml").read_text()
    assert config.count("127.0.0.1:8787") == 1
    (tmp_path / "paper.toml").write_text(config.replace("127.0.0.1:8787", "127.0.0.1:0"))
    with (
        receiver() as hook,
        subprocess.Popen(
            [sys.executable, str(DEPLOY / "paper_bot.py"), str(tmp_path / "paper.toml")],
            env={**os.environ, "TRAILING_ALERTS": hook.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as bot,
    ):
        try:
            assert bot.stdout is not None
            url = bot.stdout.readline().removeprefix("the page: ").strip()
            said = [bot.stdout.readline() for _ in SYMBOLS]
            assert all(
                re.fullmatch(r"\S+ long: protected by a stop at [\d.]+, after \d+\.\d s\n", line) for line in said
            )
            assert protected_symbols(url) == SYMBOLS
            with urlopen(f"{url}metrics", timeout=10) as metrics:  # noqa: S310
                assert b"trailing_unprotected_positions 0.0\n" in metrics.read()
            hook.wait_for_requests(2)
            fired, over = (json.loads(body) for _, body in hook.requests[:2])
            for message, is_firing in ((fired, True), (over, False)):
                assert sorted(alert["symbol"] for alert in message["alerts"]) == SYMBOLS
                assert {(alert["rule"], alert["is_firing"]) for alert in message["alerts"]} == {
                    ("unprotected", is_firing)
                }
            bot.send_signal(signal.SIGINT)
            rest, _ = bot.communicate(timeout=40)
        finally:
            bot.kill()
    assert (bot.returncode, "Traceback" in rest) == (0, False), rest


def test_another_venue_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    config = re.sub("^latency.*\n", "", (DEPLOY / "paper.toml").read_text(), flags=re.MULTILINE)
    (tmp_path / "paper.toml").write_text(config.replace('"paper"', '"bybit"'))
    run = subprocess.run(
        [sys.executable, str(DEPLOY / "paper_bot.py"), str(tmp_path / "paper.toml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"{tmp_path}/paper.toml: this bot is for the paper exchange only\n"
