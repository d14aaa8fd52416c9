"""Make the pictures of the HTML reports for the documentation: `python docs/report_screenshots.py`. It needs an installed Chromium."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from trailing.cli import main as trailing

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests" / "web"))

from browser import CHROMIUM, open_browser  # noqa: E402 - the folder is named above

MINUTES = 30 * 1440
BEGIN = 1_767_571_200_000  # 2026-01-05
COSTS = ("--fee", "0.05", "--slippage", "0.02")
GRID = ("--initial-stop", "0.5%:10%:0.5%", "--callback", "0.5%:10%:0.5%")
SIZES = {"light": (1100, 1000), "dark": (420, 1400)}


def write_prices(file: Path) -> None:
    """Write a month of minutes that rise and fall in waves of two days."""
    draw, price = random.Random(5), 60_000.0
    lines = ["timestamp_ms,open,high,low,close"]
    for minute in range(MINUTES):
        drift = 0.00004 if minute // 2880 % 2 == 0 else -0.000035
        path = [price]
        for _ in range(6):
            path.append(path[-1] * (1 + draw.gauss(drift / 6, 0.0002)))
        price = path[-1]
        values = ",".join(f"{value:.1f}" for value in (path[0], max(path), min(path), price))
        lines.append(f"{BEGIN + minute * 60_000},{values}")
    file.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Write one picture in light and one in dark."""
    if CHROMIUM is None:
        sys.exit("no Chromium is installed: apt install chromium")
    with TemporaryDirectory() as folder:
        prices = Path(folder) / "btc-usdt-1m.csv"
        write_prices(prices)
        given = ("--prices", f"BTC/USDT:USDT={prices}", "--every", "12h", *COSTS)
        pages = {"light": Path(folder) / "sweep.html", "dark": Path(folder) / "backtest.html"}
        trailing(["sweep", *given, *GRID, "--html", str(pages["light"])])
        trailing(["backtest", *given, "--html", str(pages["dark"])])
        with open_browser() as browser:
            for scheme, (width, height) in SIZES.items():
                size = {"width": width, "height": height}
                page = browser.new_context(color_scheme=scheme, viewport=size, offline=True).new_page()
                page.goto(pages[scheme].as_uri())
                page.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
                page.wait_for_timeout(500)
                page.screenshot(path=DOCS / "static" / f"report-{scheme}.png")


if __name__ == "__main__":
    main()
