"""The page in a real Chromium: a wave appears, its stops move, red within a second, old data is marked, and it stays usable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from browser import CHROMIUM, EVIL, BotProcess, open_browser, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt install chromium"),
]

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
ROW = "tr.position"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def bot() -> Iterator[BotProcess]:
    with started() as bot:
        yield bot


def opened(browser: Browser, url: str, complaints: list[str], **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    return page


def until(page: Page, expression: str, seconds: float) -> None:
    """Wait until an expression is true. Playwright's own way to wait is what the page's security policy forbids."""
    give_up_at = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < give_up_at, expression
        page.wait_for_timeout(20)


def chart(page: Page) -> Any:
    """The colours that the chart's canvas has, counted."""
    return page.evaluate("""() => {
        const canvas = document.querySelector('.chart canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let red = 0, blue = 0;
        for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] && data[i] > data[i + 1] + 60 && data[i] > data[i + 2] + 40) red++;
            if (data[i + 3] && data[i + 2] > data[i] + 60 && data[i + 2] > 150) blue++;
        }
        return { red, blue };
    }""")


def test_a_wave_appears_its_stops_move_and_a_lost_stop_is_red_within_a_second(
    browser: Browser, bot: BotProcess
) -> None:
    complaints: list[str] = []
    page = opened(browser, bot.url, complaints)
    page.wait_for_selector("#none:not([hidden])")
    bot.tell("protect", symbols=[BTC, ETH])
    until(page, f"document.querySelectorAll('{ROW}').length === 2", 2)
    row = page.locator(ROW, has_text=BTC)
    page.wait_for_selector(f"{ROW} [data-name=stop]:text-is('98')", timeout=2000)
    row.locator("button").click()
    page.wait_for_selector(".chart canvas")
    for price in ("101.5", "102", "103"):
        bot.tell("feed", symbol=BTC, price=price)
        time.sleep(1.2)
    assert row.locator("[data-name=stop]").inner_text() == "101.97"
    assert row.locator("[data-name=price]").inner_text() == "103"
    assert row.locator("[data-name=distance]").inner_text() == "1.00 %"
    assert row.locator("[data-name=profit]").inner_text() == "+4.50"
    until(page, "document.querySelector('.facts').textContent.includes('3 moves')", 4)
    before = chart(page)
    assert before["blue"] > 50  # the stop's line and its moves
    assert page.locator("#events li", has_text="StopMoved").count() == 3
    began = time.monotonic()
    bot.tell("unprotect", symbol=BTC, error=EVIL)
    page.wait_for_selector(f"{ROW}.unprotected", timeout=1000)
    assert time.monotonic() - began <= 1.0
    until(page, f"document.querySelector('{ROW} .error').textContent === {EVIL!r}", 2)
    assert page.title() == "(1 unprotected) trailing"
    assert page.locator("img").count() == 0  # the error's text is no element
    page.wait_for_timeout(2500)
    assert chart(page)["red"] > before["red"] + 100  # the unprotected stretch
    bot.tell("heal")
    page.wait_for_selector(f"{ROW}.unprotected", state="detached", timeout=60_000)
    assert complaints == []


def test_a_page_whose_server_died_says_so_within_5_seconds_and_recovers(browser: Browser) -> None:
    complaints: list[str] = []
    with started() as first:
        first.tell("protect", symbols=[BTC])
        page = opened(browser, first.url, complaints)
        page.wait_for_selector(ROW)
        assert page.locator("#old").is_hidden()
        began = time.monotonic()
        first.kill()
        page.wait_for_selector("#old:not([hidden])", timeout=5000)
        assert time.monotonic() - began < 5
        assert page.locator("#old").inner_text().startswith("This data is old")
        assert page.locator(ROW).count() == 1
    with started(first.port) as second:
        second.tell("protect", symbols=[BTC, ETH])
        page.wait_for_selector("#old[hidden]", state="attached", timeout=10_000)
        until(page, f"document.querySelectorAll('{ROW}').length === 2", 5)
        # A process that hangs keeps its connections; its page has to notice by itself.
        began = time.monotonic()
        second.freeze()
        page.wait_for_selector("#old:not([hidden])", timeout=5000)
        assert time.monotonic() - began < 5
        second.thaw()
        page.wait_for_selector("#old[hidden]", state="attached", timeout=10_000)
    assert all("ERR_" in complaint for complaint in complaints), complaints  # the browser's own, of the dead server


def test_a_page_with_200_positions_at_5_updates_a_second_stays_usable(browser: Browser, bot: BotProcess) -> None:
    complaints: list[str] = []
    symbols = [f"C{number:03}/USDT:USDT" for number in range(200)]
    bot.tell("protect", symbols=symbols)
    bot.tell("walk", symbols=symbols, seconds=0.2)
    page = opened(browser, bot.url, complaints)
    until(page, f"document.querySelectorAll('{ROW}').length === 200", 10)
    page.wait_for_timeout(3000)
    # From a click until the browser has painted the opened chart, and the longest task meanwhile.
    spans = page.evaluate("""async () => {
        const longest = [];
        new PerformanceObserver((list) => longest.push(...list.getEntries().map((e) => e.duration)))
            .observe({ type: 'longtask' });
        const spans = [];
        const buttons = [...document.querySelectorAll('tr.position button')];
        for (let i = 0; i < 20; i++) {
            await new Promise((done) => setTimeout(done, 130));
            const began = performance.now();
            buttons[i * 9].click();
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
            spans.push(performance.now() - began);
            buttons[i * 9].click();
        }
        return { spans, longest };
    }""")
    median = sorted(spans["spans"])[10]
    assert median <= 100, f"worst {max(spans['spans']):.0f} ms, long tasks {spans['longest']}"
    assert complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1100, "light")])
def test_the_page_fits_its_width_in_light_and_dark(browser: Browser, bot: BotProcess, width: int, scheme: Any) -> None:
    complaints: list[str] = []
    bot.tell("protect", symbols=[BTC, "A" * 60 + "/USDT:USDT"])
    page = opened(browser, bot.url, complaints, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.wait_for_selector(ROW)
    page.locator(ROW).first.locator("button").click()
    page.wait_for_selector(".chart canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(16, 20, 24)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert complaints == []
