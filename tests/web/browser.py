"""A bot in its own process for the tests in a browser, driven by lines on its standard input; and the browser itself."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from pages import a_position, open_bot

from trailing import StopRejected, configure_logging
from trailing.testing import At, Refuses
from trailing.web import serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = '<img src=x onerror="document.title=1">'


class BotProcess:
    """The bot, and the URL of its page."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url
        self.port = int(url.rstrip("/").rpartition(":")[2])

    def tell(self, command: str, **options: Any) -> None:
        """Have it do something, and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, options]) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def started(port: int = 0) -> Iterator[BotProcess]:
    """A bot in its own process, which is killed at the end."""
    command = [sys.executable, str(Path(__file__)), str(port)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield BotProcess(process, process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A Chromium that is installed on this machine."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only the slow tests need it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


async def run(port: int) -> None:
    """Serve the page, and obey the commands on standard input until it ends."""
    configure_logging("error")  # to standard error
    async with open_bot(latency=0.05, utc_start=None) as bot, trio.open_nursery() as nursery:
        say(await nursery.start(partial(serve, bot.manager, bind=f"127.0.0.1:{port}", metrics=bot.metrics)))
        async for line in trio.lowlevel.FdStream(0):
            for each in line.splitlines():
                command, options = json.loads(each)
                match command:
                    case "protect":
                        positions = [a_position(symbol, opened_at=datetime.now(UTC)) for symbol in options["symbols"]]
                        await bot.protect(*positions, deadline=20.0)
                    case "feed":
                        bot.feed(options["price"], options["symbol"])
                    case "walk":
                        nursery.start_soon(
                            walk, bot, options["symbols"], options["seconds"], options.get("peaks", False)
                        )
                    case "unprotect":
                        error = StopRejected(options["error"])
                        bot.faulty.__init__(bot.paper, {At("place_stop", options["symbol"]): Refuses(error)})  # type: ignore[misc]
                        bot.paper.cancel_by_hand(bot.manager.stops()[options["symbol"], "long"].client_order_id)
                    case "heal":
                        bot.faulty.__init__(bot.paper, {})  # type: ignore[misc]
                say("done")
        nursery.cancel_scope.cancel()


async def walk(bot: Any, symbols: list[str], seconds: float, peaks: bool) -> None:
    """Move the price of each symbol, up in waves, or so that each price is a peak and moves the stop."""
    step = 0
    while True:
        for number, symbol in enumerate(symbols):
            wave = 0 if peaks else Decimal((step * 3 + number * 7) % 50) / 100
            bot.feed(str(Decimal(100) + wave + Decimal(step) / (20 if peaks else 200)), symbol)
        step += 1
        await trio.sleep(seconds)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(run, int(sys.argv[1]))
