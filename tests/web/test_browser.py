"""The page in a real Chromium: a wave appears, its stops move, red within a second, old data is marked, and its work is bounded."""

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


WORKED_ON = """async () => {
    const keys = new Set();
    const seen = new MutationObserver((changes) => {
        for (const { target } of changes) {
            const row = (target instanceof Element ? target : target.parentElement)?.closest('tr.position');
            if (row) keys.add(row.dataset.key);
        }
    });
    const options = { subtree: true, childList: true, characterData: true, attributes: true };
    seen.observe(document.getElementById('positions'), options);
    await new Promise((done) => setTimeout(done, 3000));
    return keys.size;
}"""
"""How many rows the page changes within 3 s."""

OPENED_BY_ITS_CLICK = """(index) => {
    const row = document.querySelectorAll('tr.position')[index];
    row.querySelector('button').click();
    const opened = row.nextElementSibling.querySelector('.chart canvas') !== null;
    row.querySelector('button').click();
    return opened && row.nextElementSibling.matches('.position');
}"""
"""Whether a click opens the chart of a row before anything else happens, and the next click closes it."""


def test_with_200_positions_the_page_works_on_the_rows_in_its_window_only(browser: Browser, bot: BotProcess) -> None:
    # `tests/benchmarks/test_bench_page.py` measures how long a click takes.
    complaints: list[str] = []
    symbols = [f"C{number:03}/USDT:USDT" for number in range(200)]
    bot.tell("protect", symbols=symbols)
    bot.tell("walk", symbols=symbols, seconds=0.2)
    page = opened(browser, bot.url, complaints, viewport={"width": 1100, "height": 800})
    until(page, f"document.querySelectorAll('{ROW}').length === 200", 10)
    last = f"document.querySelectorAll('{ROW}')[199]"
    price = f"{last}.querySelector('[data-name=price]')"
    until(page, f"!{price}.checkVisibility({{ contentVisibilityAuto: true }})", 5)
    before = page.evaluate(f"{price}.textContent")
    assert 10 <= page.evaluate(WORKED_ON) <= 100
    assert page.evaluate(f"{price}.textContent") == before
    assert [number for number in range(0, 199, 9) if not page.evaluate(OPENED_BY_ITS_CLICK, number)] == []
    bot.freeze()  # no further frame comes: the row shows the last price that the page has
    page.evaluate(f"{last}.scrollIntoView()")
    until(page, f"{price}.textContent !== {before!r}", 5)
    assert complaints == []


def test_a_chart_outside_the_window_is_not_read_until_it_comes_into_sight(browser: Browser, bot: BotProcess) -> None:
    complaints: list[str] = []
    symbols = [f"C{number:03}/USDT:USDT" for number in range(200)]
    bot.tell("protect", symbols=symbols)
    page = opened(browser, bot.url, complaints, viewport={"width": 1100, "height": 800})
    until(page, f"document.querySelectorAll('{ROW}').length === 200", 10)
    read: list[str] = []
    page.on("request", lambda request: read.append(request.url) if "/chart/" in request.url else None)
    page.evaluate(f"for (const index of [0, 199]) document.querySelectorAll('{ROW} button')[index].click()")
    keys = page.evaluate(f"[0, 199].map((index) => document.querySelectorAll('{ROW}')[index].dataset.key)")
    shown, hidden = (f"{bot.url}chart/{key}" for key in keys)
    give_up_at = time.monotonic() + 20
    while read.count(shown) < 4:
        assert time.monotonic() < give_up_at
        page.wait_for_timeout(100)
    assert read.count(hidden) == 1
    page.evaluate(f"document.querySelectorAll('{ROW}')[199].scrollIntoView()")
    while read.count(hidden) < 2:
        assert time.monotonic() < give_up_at
        page.wait_for_timeout(100)
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
