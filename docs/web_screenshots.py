"""Make the pictures of the page for the documentation: `python docs/web_screenshots.py`. It needs an installed Chromium."""

from __future__ import annotations

import sys
import time
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests" / "web"))

from browser import CHROMIUM, open_browser, started  # noqa: E402 - the folder is named above

BTC = "BTC/USDT:USDT"
SYMBOLS = [BTC, "ETH/USDT:USDT", "SOL/USDT:USDT"]
SIZES = {"light": (1100, 820), "dark": (390, 820)}


def main() -> None:
    """Write one picture in light and one in dark."""
    if CHROMIUM is None:
        sys.exit("no Chromium is installed: apt install chromium")
    with started() as bot, open_browser() as browser:
        bot.tell("protect", symbols=SYMBOLS)
        bot.tell("walk", symbols=SYMBOLS, seconds=0.2)
        time.sleep(40)
        bot.tell("unprotect", symbol=BTC, error="the exchange refuses it on purpose")
        time.sleep(6)
        for scheme, (width, height) in SIZES.items():
            size = {"width": width, "height": height}
            page = browser.new_context(color_scheme=scheme, viewport=size).new_page()
            page.goto(bot.url)
            page.locator("tr.position button", has_text=BTC).click()
            page.wait_for_timeout(1500)
            page.screenshot(path=DOCS / "static" / f"web-{scheme}.png")


if __name__ == "__main__":
    main()
