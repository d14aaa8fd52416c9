"""How long the page takes to answer a click while 200 positions get 5 prices a second, in a real Chromium."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from figures import Report, report

sys.path.insert(0, str(Path(__file__).parents[1] / "web"))

from browser import CHROMIUM, open_browser, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

POSITIONS, CLICKS, OPEN_CHARTS, SECONDS = 200, 60, 20, 8
MOST_MS = 100

OBSERVE = """() => {
    window.clicks = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (entry.name === 'click') clicks.push([entry.duration, entry.processingEnd - entry.startTime]);
        }
    }).observe({ type: 'event', durationThreshold: 16 });
}"""
"""Note each click that takes 16 ms or more: until its frame is painted, and until the page's own work for it is done."""


@dataclass
class Measured:
    """Milliseconds of each click, and of the page's work in a second without clicks."""

    painted: Sequence[float]
    own: Sequence[float]
    work: dict[str, float]


def measure(browser: Browser, *, peaks: bool, slower: int) -> Measured:
    """Click on rows in the window, with open charts elsewhere.

    Args:
        peaks: whether each price moves the stop.
        slower: how many times slower than this machine's the browser's processor is.
    """
    symbols = [f"C{number:03}/USDT:USDT" for number in range(POSITIONS)]
    with started() as bot:
        bot.tell("protect", symbols=symbols)
        bot.tell("walk", symbols=symbols, seconds=0.2, peaks=peaks)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(bot.url)
        page.locator("tr.position").nth(POSITIONS - 1).wait_for(state="attached")
        tools = context.new_cdp_session(page)
        tools.send("Performance.enable")
        tools.send("Emulation.setCPUThrottlingRate", {"rate": slower})
        page.evaluate(f"""[...document.querySelectorAll('tr.position button')]
            .slice({POSITIONS // 2}, {POSITIONS // 2 + OPEN_CHARTS}).forEach((button) => button.click())""")
        page.wait_for_timeout(3000)
        before = work(tools)
        page.wait_for_timeout(SECONDS * 1000)
        after = work(tools)
        click(page)
        clicks = page.evaluate("clicks")
        context.close()
    fast = [0.0] * (2 * CLICKS - len(clicks))  # less than 16 ms
    painted, own = ([*fast, *(each[index] for each in clicks)] for index in (0, 1))
    return Measured(painted, own, {name: (after[name] - before[name]) / SECONDS * 1000 for name in before})


def work(tools: CDPSession) -> dict[str, float]:
    """Return the seconds that the page has worked, by kind."""
    names = ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
    return {
        each["name"]: each["value"] for each in tools.send("Performance.getMetrics")["metrics"] if each["name"] in names
    }


def click(page: Page) -> None:
    """Open and close a chart again and again, with a mouse."""
    page.evaluate(OBSERVE)
    buttons = page.locator("tr.position button")
    for number in range(CLICKS):
        for _ in range(2):
            box = buttons.nth(number % 12).bounding_box()
            assert box is not None
            page.mouse.click(box["x"] + 10, box["y"] + box["height"] / 2)
            page.wait_for_timeout(130)


def share(values: Sequence[float], part: float) -> float:
    """Return the value that so large a part of all values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def add(figures: Report, name: str, measured: Measured, aim: str = "") -> None:
    """Add the figures of one page. The aim is for the page's work, because a busy machine paints later."""
    for what, values, wanted in (
        ("until the page's work for it is done", measured.own, aim),
        ("until its frame is painted", measured.painted, ""),
    ):
        spread = f"{share(values, 0.5):.0f} / {share(values, 0.95):.0f} / {max(values):.0f} ms"
        figures.add(f"{name}: a click {what}, median / 95 % / most", spread, wanted)
    kinds = ", ".join(f"{kind.removesuffix('Duration')} {each:.0f}" for kind, each in measured.work.items())
    figures.add(f"{name}: the page's work in a second, ms", kinds)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt install chromium")
def test_a_click_is_answered_within_a_tenth_of_a_second() -> None:
    title = (
        f"the page with {POSITIONS} positions, 5 prices a second each, {OPEN_CHARTS} open charts, {2 * CLICKS} clicks"
    )
    with report(title) as figures, open_browser() as browser:
        calm = measure(browser, peaks=False, slower=1)
        add(figures, "prices", calm, f"at most {MOST_MS} ms")
        moving = measure(browser, peaks=True, slower=1)
        add(figures, "prices that move every stop", moving, f"at most {MOST_MS} ms")
        add(figures, "prices, processor 4 x slower", measure(browser, peaks=False, slower=4))
    assert max(*calm.own, *moving.own) <= MOST_MS
