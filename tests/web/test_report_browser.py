"""The HTML reports in a real Chromium without a network: drawn, free of errors, as wide as the window, in light and dark."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import CHROMIUM, EVIL, open_browser
from msgspec.structs import replace

import trailing.sweep
from trailing import Callback, Percent, TrailPlan
from trailing.backtest import AlwaysIn, Every, run
from trailing.plots import backtest_page, sweep_page
from trailing.plots.figures import UNPROTECTED
from trailing.price_files import Bars
from trailing.sweep import Grid
from trailing.unprotected import UnprotectedStretch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt install chromium"),
]

BTC = "BTC/USDT:USDT"
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
LOOKS = [(1400, "light"), (1400, "dark"), (420, "light"), (420, "dark")]


def a_walk(count: int) -> Bars:
    draw, path = random.Random(7), [60_000]
    for _ in range(count):
        path.append(path[-1] + draw.randint(-60, 62))
    opens, closes = path[:-1], path[1:]
    begin = int(BEGIN.timestamp() * 1000)
    return Bars(
        path=Path("btc-usdt-1m.csv"),
        seconds=60.0,
        decimals=1,
        tick=Decimal("0.1"),
        opened_at=array("q", range(begin, begin + 60_000 * count, 60_000)),
        open=array("q", opens),
        high=array("q", [max(pair) + 20 for pair in zip(opens, closes, strict=True)]),
        low=array("q", [min(pair) - 20 for pair in zip(opens, closes, strict=True)]),
        close=array("q", closes),
        off_tick=0,
        gaps=(),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a backtest with texts that would be dangerous, and that of a sweep of 20 by 20 plans."""
    folder, prices = tmp_path_factory.mktemp("reports"), {BTC: a_walk(10_000)}
    plan = TrailPlan(initial_stop=Percent(1), rules=(Callback(Percent(1)),))
    result = run(plan, prices, AlwaysIn(), candles="low-first", keeps_stops=True)
    (each,) = result.runs
    trades = tuple(replace(trade, reason=EVIL) for trade in each.trades)
    stretch = UnprotectedStretch(BTC, "long", BEGIN + timedelta(hours=5), BEGIN + timedelta(hours=40))
    pages = {
        "backtest": backtest_page(
            replace(result, runs=(replace(each, trades=trades),)), prices, notes=[EVIL], unprotected=[stretch]
        )
    }
    steps = tuple(Percent(Decimal(number) / 4) for number in range(1, 21))
    swept = trailing.sweep.run(prices, Grid(initial_stop=steps, callback=steps), Every(seconds=7200))
    pages["sweep"] = sweep_page(swept, lines=["warning: few trades"])
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page)
    return {name: folder / f"{name}.html" for name in pages}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


def opened(browser: Browser, file: Path, complaints: list[str], width: int, scheme: Any) -> Page:
    """Open a file without a network, and wait until its figures are drawn."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    page.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents.every((each) => each.is_idle)")
    return page


def colours(page: Page, name: str) -> Any:
    """How many pixels of a figure are near its background, and how many are red."""
    return page.evaluate(
        """(name) => {
        const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name));
        const { canvas } = view.export('png');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const inside = 4 * (5 * canvas.width + 5);  // the corner is transparent
        const back = data.slice(inside, inside + 3);
        let same = 0, red = 0;
        for (let i = 0; i < data.length; i += 4) {
            if (back.every((value, at) => Math.abs(data[i + at] - value) < 3)) same++;
            if (data[i] > data[i + 1] + 40 && Math.abs(data[i + 1] - data[i + 2]) < 25) red++;
        }
        return { back: [...back], share: same / (data.length / 4), red };
    }""",
        name,
    )


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
@pytest.mark.parametrize("name", ["backtest", "sweep"])
def test_a_report_is_drawn_offline_in_its_colours_and_fits_its_width(
    browser: Browser, files: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    complaints: list[str] = []
    page = opened(browser, files[name], complaints, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    back = (16, 20, 24) if scheme == "dark" else (255, 255, 255)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == f"rgb{back}"
    figures = page.evaluate("Bokeh.documents[0].roots().map((root) => root.name)")
    assert len(figures) == (3 if name == "backtest" else 4)
    for figure in figures:
        shown = colours(page, figure)
        assert tuple(shown["back"]) == back, figure
        assert shown["share"] < 0.99, figure  # something is drawn
        if figure != "heat_map":
            assert shown["share"] > 0.5, figure  # and not on another background
    assert complaints == []


def test_a_text_from_outside_is_shown_as_text_where_the_pointer_is(browser: Browser, files: dict[str, Path]) -> None:
    complaints: list[str] = []
    page = opened(browser, files["backtest"], complaints, 1400, "light")
    page.evaluate("document.title = 'before'")
    place = page.evaluate(
        """() => {
        const plot = Bokeh.documents[0].get_model_by_name('price_0');
        const view = Bokeh.index.find_one(plot);
        const exits = plot.renderers.find((each) => each.data_source.data.what?.[0].includes('exit'));
        const { sx, sy } = view.views.find_one(exits).glyph;
        const number = Math.floor(sx.length / 2);
        view.el.scrollIntoView({ block: 'center' });
        const { left, top } = view.canvas_view.el.getBoundingClientRect();
        return { x: left + sx[number], y: top + sy[number] };
    }"""
    )
    page.mouse.move(place["x"] - 3, place["y"])
    page.mouse.move(place["x"], place["y"])
    shown = page.get_by_text("exit at ").first  # Playwright looks into shadow roots, where the tooltip is
    shown.wait_for(timeout=5000)
    assert shown.inner_text().endswith(EVIL)
    assert page.locator("img").count() == 0
    assert page.title() == "before"
    assert complaints == []


def test_an_unprotected_stretch_is_red_and_nothing_else_is(browser: Browser, files: dict[str, Path]) -> None:
    page = opened(browser, files["backtest"], [], 1400, "light")
    assert colours(page, "price_0")["red"] > 1000
    assert colours(page, "equity_0")["red"] == 0
    assert UNPROTECTED == "#e5484d"


def test_a_page_changes_its_colours_with_the_scheme(browser: Browser, files: dict[str, Path]) -> None:
    page = opened(browser, files["sweep"], [], 1400, "light")
    assert tuple(colours(page, "equity")["back"]) == (255, 255, 255)
    with page.expect_navigation():
        page.emulate_media(color_scheme="dark")
    page.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents.every((each) => each.is_idle)")
    assert tuple(colours(page, "equity")["back"]) == (16, 20, 24)


def test_plans_that_all_gain_the_same_are_drawn_without_an_error(browser: Browser, tmp_path: Path) -> None:
    flat = replace(a_walk(200), **dict.fromkeys(("open", "high", "low", "close"), array("q", [60_000] * 200)))
    grid = Grid(initial_stop=(Percent(1), Percent(2)), callback=(Percent(1), Percent(2)))
    swept = trailing.sweep.run({BTC: flat}, grid, Every(seconds=3600))
    assert len({swept.plan_result(number).profit for number in range(4)}) == 1
    file, complaints = tmp_path / "flat.html", list[str]()
    file.write_text(sweep_page(swept))
    page = opened(browser, file, complaints, 420, "light")
    assert colours(page, "heat_map")["share"] < 0.9
    assert complaints == []
