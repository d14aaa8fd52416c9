"""Ways in which a trailing-stop bot lost its protection, as far as the core alone makes them impossible."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from driver import FOLLOWS, MARKET, NO_LAG, OPENED, SYMBOL, D, Driver, a_plan, a_position, amending, waiting
from hypothesis import given, settings
from hypothesis import strategies as st

from trailing.core.account import PositionReport
from trailing.core.inputs import CandleClosed, CloseWanted, PositionUpdated, PriceSeen
from trailing.core.model import Candle, Fill, Market, Percent, Position, Side, StopOrder, Tick
from trailing.core.next_request import NEVER
from trailing.core.plan import Pacing, TrailPlan, decode_plan
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import StopRecord, restore_position
from trailing.core.requests import AmendStop, PlaceStop
from trailing.core.rules import Breakeven, Callback, Chandelier
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, UsageError

PACED = Pacing(min_interval=30.0)
PLAN = a_plan(pacing=PACED)


WITH_A_SYMBOL: list[msgspec.Struct] = [
    a_position(),
    Tick(SYMBOL, D(100), 0.0),
    Candle(SYMBOL, OPENED, 60.0, D(1), D(1), D(1), D(1)),
    MARKET,
    StopOrder(SYMBOL, "long", D(1), D(98), "a", "1"),
    Fill(SYMBOL, "long", D(1), D(98), "1", "a", 0.0),
    PositionReport(SYMBOL, "long", D(1), D(100)),
]


@pytest.mark.parametrize("value", WITH_A_SYMBOL, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "foreign", ["BTCUSDT", "BTC/USDT", "BTC/USD:BTC", "BTC-USDT-SWAP", "PF_XBTUSD", f" {SYMBOL}", "", None]
)
def test_fm04_a_foreign_form_of_a_symbol_can_not_be_built(value: msgspec.Struct, foreign: Any) -> None:
    with pytest.raises(UsageError, match=r"symbol got .*, wants a linear contract in unified form"):
        type(value)(**(msgspec.structs.asdict(value) | {"symbol": foreign}))


@pytest.mark.parametrize("entry", ["100", "99.87", "3.70", "64321.5"])
@pytest.mark.parametrize("initial", [Percent(2), Percent("0.5"), D("0.05")])
def test_fm06_stop_derives_from_the_fill_on_the_losing_side(entry: str, initial: Percent | Decimal) -> None:
    plan = TrailPlan(initial_stop=initial)
    fill_price = D(entry)
    distance = initial.of(fill_price) if isinstance(initial, Percent) else initial
    long_stop = Ratchet(a_position("long", entry=entry), plan, MARKET).first_stop
    short_stop = Ratchet(a_position("short", entry=entry), plan, MARKET).first_stop
    assert 0 <= long_stop - (fill_price - distance) < MARKET.price_tick
    assert 0 <= (fill_price + distance) - short_stop < MARKET.price_tick
    assert long_stop < fill_price < short_stop


def test_fm06_a_side_is_never_guessed() -> None:
    for side in ("LONG", "buy", "", None, 1):
        with pytest.raises(UsageError, match=r"Position.side got .*, wants one of 'long', 'short'"):
            a_position(side)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["long", "short"])
def test_fm06_a_derived_stop_on_the_winning_side_can_not_be_built(side: Side) -> None:
    coarse = msgspec.structs.replace(MARKET, price_tick=D(5))  # rounding would carry the stop to the entry
    with pytest.raises(UsageError, match=r"TrailPlan.initial_stop got .* (below|above) the entry price"):
        Ratchet(a_position(side), PLAN, coarse)


# What happens to a position, as numbers stand for prices and sizes.
TAKES: dict[str, Callable[[Driver, int], object]] = {
    "price": lambda driver, n: driver.sees(str(D(1000 + n) / 10)),
    "far price": lambda driver, n: driver.sees(str(D(120) + n)),
    "mark price": lambda driver, n: driver.sees(str(D(1000 + n) / 10), source="mark"),
    "candle": lambda driver, n: driver.step(
        CandleClosed(Candle(SYMBOL, OPENED, 60.0, D(100), D(100) + abs(n) / D(50), D(100) - abs(n) / D(50), D(100)))
    ),
    "requests": lambda driver, _: driver.settles(),
    "unreachable": lambda driver, _: driver.fails_if_any(ExchangeUnreachable("on purpose")),
    "unknown": lambda driver, n: driver.fails_if_any(OutcomeUnknown("on purpose"), executed=bool(n % 2)),
    "cancelled": lambda driver, _: driver.cancels(next(iter(driver.live))) if driver.live else None,
    "filled": lambda driver, n: driver.fills(next(iter(driver.live), "a"), "0.1", trade=str(n)),
    "flat": lambda driver, _: driver.step(PositionUpdated(D(0), driver.at)),
    "closing": lambda driver, _: driver.step(CloseWanted("on purpose")),
}


def settled(driver: Driver) -> tuple[object, ...]:
    """Let a price come, snapshots show everything, and all that is due be done. Returns what the position is then."""
    driver.sees(str(driver.price))  # a jump that was not confirmed is in no record: a price agrees with it anew
    for _ in range(3):
        driver.shows_all(at=driver.at + 5.0)
        driver.settles()
    state, ratchet = driver.state, driver.state.ratchet
    stops = sorted((one.price, one.quantity) for one in driver.live.values())
    figures = (state.quantity, state.floor, state.target, ratchet.best, ratchet.last, ratchet.candles)
    return (*figures, state.reported_entry, state.moves, state.filled, stops, driver.stop_price, state.is_frozen)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["price"] * 6 + ["requests"] * 3 + [*TAKES]),
            st.integers(-40, 40),
            st.sampled_from([0.5, 8.0, 40.0]),
        ),
        max_size=20,
    )
)
@settings(max_examples=200)
def test_fm18_a_position_that_is_restored_goes_on_as_if_nothing_had_been(steps: list[tuple[str, int, float]]) -> None:
    rules = (FOLLOWS, Chandelier(D(2), 2))
    driver = amending(rules=rules, on_would_trigger="keep")
    for what, number, seconds in steps:
        driver.at += seconds
        TAKES[what](driver, number)
    after = driver.restarted(at=driver.at)  # the same clock, so that both settle at the same times
    assert settled(after) == settled(driver)


def test_fm22_a_deferred_improvement_is_applied_without_another_tick() -> None:
    driver = amending(pacing=PACED)
    driver.sees("102", at=10.0)
    assert driver.does() == AmendStop("a", D("100.98"), D(1))
    driver.sees("104", at=12.0)
    assert driver.wants() == 40.0
    assert driver.wants(40.0) == AmendStop("a", D("102.96"), D(1))


def test_fm22_a_deferred_improvement_outlives_a_restart() -> None:
    driver = amending(pacing=PACED)
    driver.sees("102", at=10.0)
    driver.does()
    driver.sees("104", at=12.0)
    driver = driver.restarted(at=1000.0)
    driver.shows_all()
    assert driver.wants() == 1028.0
    assert driver.wants(1028.0) == AmendStop("a", D("102.96"), D(1))


def test_fm24_a_percentage_is_no_fraction() -> None:
    assert Percent(2).below(D(100)) == D(98)
    assert Percent(2).above(D(100)) == D(102)
    for fraction in (0.02, 2.0):
        with pytest.raises(UsageError, match="Percent got .*, wants a text, a whole number or a Decimal"):
            Percent(fraction)  # type: ignore[arg-type]
    for number in (2, 2.0, "2"):
        with pytest.raises(UsageError, match=r"TrailPlan.initial_stop got .*, wants a Percent, or an amount"):
            TrailPlan(initial_stop=number)  # type: ignore[arg-type]


@pytest.mark.parametrize("initial", [Percent(100), Percent(200), Percent(0), D(0), D(-1)])
def test_fm24_a_distance_that_leaves_no_stop_can_not_be_planned(initial: Percent | Decimal) -> None:
    with pytest.raises(UsageError, match=r"TrailPlan.initial_stop got"):
        TrailPlan(initial_stop=initial)


@pytest.mark.parametrize("amount", ["100", "101", "1000000"])
def test_fm24_a_stop_of_nothing_or_less_can_not_be_built(amount: str) -> None:
    with pytest.raises(UsageError, match=r"wants a distance that gives a stop above 0"):
        Ratchet(a_position(), TrailPlan(initial_stop=D(amount)), MARKET)
    for price in (D(0), D(-1)):
        with pytest.raises(UsageError, match=r"StopOrder.price got"):
            StopOrder(SYMBOL, "long", D(1), price, "a", "1")


def test_fm24_an_amount_behind_a_smaller_price_is_no_proposal() -> None:
    driver = waiting(rules=(Callback(D(500)),))
    driver.sees("109")
    assert (driver.wants(), driver.state.target) == (NEVER, D(98))


def test_fm24_a_proposal_that_rounds_to_nothing_is_none() -> None:
    plan = TrailPlan(initial_stop=Percent(10), rules=(Callback(D(1), activation=D(90)),))
    ratchet = Ratchet(a_position("short"), plan, msgspec.structs.replace(MARKET, price_tick=D(5)))
    for _ in range(2):  # so far from the last price, it takes two
        assert not ratchet.take(Tick(SYMBOL, D(3), 1.0))
    assert not ratchet.take_own_price(D(3))
    ratchet.ask_rules()
    assert (ratchet.best, ratchet.target, ratchet.bug) == (D(3), D(110), None)


@pytest.mark.parametrize("naive", [datetime(2026, 1, 2), datetime(2026, 3, 29, 2, 30)])
def test_fm25_a_naive_datetime_is_refused(naive: datetime) -> None:
    with pytest.raises(UsageError, match=r"Position.opened_at got .*, wants an aware datetime in UTC"):
        Position(SYMBOL, "long", D(1), D(100), naive)
    with pytest.raises(UsageError, match=r"Candle.opened_at got .*, wants an aware datetime in UTC"):
        Candle(SYMBOL, naive, 60.0, D(1), D(1), D(1), D(1))


def test_fm25_an_interval_of_more_than_a_day_does_not_wrap() -> None:
    driver = amending(pacing=Pacing(min_interval=90000.0))
    driver.sees("102", at=10.0)
    driver.does()
    driver.sees("104", at=86405.0)
    assert driver.wants() == 90010.0
    assert driver.wants(90010.0) == AmendStop("a", D("102.96"), D(1))


def test_fm25_a_peak_is_in_the_record_and_comes_back() -> None:
    driver = waiting()
    driver.sees("103.5")
    assert driver.record().best == D("103.5")
    assert driver.restarted(at=0.0).state.ratchet.best == D("103.5")


def test_fm30_eighteen_decimals_are_exact_all_the_way() -> None:
    micro = Market("PEPE/USDT:USDT", price_tick=D("1e-18"), quantity_step=D(1))
    entry = D("0.000000123456789012")
    opened = Position("PEPE/USDT:USDT", "long", D(10**15), entry, OPENED)
    plan = TrailPlan(initial_stop=D("0.000000000000000001"), rules=(Callback(D("0.000000000000000007")),))
    driver = Driver(PositionState(Ratchet(opened, plan, micro), NO_LAG, 0.0))
    assert driver.wants() == PlaceStop(D("0.000000123456789011"), D(10**15))
    driver.state.was_tried = True
    driver.step(PriceSeen(Tick("PEPE/USDT:USDT", D("0.000000123456789020"), 1.0)))
    assert driver.wants() == PlaceStop(D("0.000000123456789013"), D(10**15))
    restored = restore_position(driver.record(), [], micro, NO_LAG, 0.0)
    assert (restored.ratchet.best, restored.target) == (D("0.000000123456789020"), D("0.000000123456789013"))


@pytest.mark.parametrize("money", [1.5, 0.1, 100.0])
def test_fm30_a_float_is_never_money(money: float) -> None:
    builders: list[Any] = [
        lambda: Position(SYMBOL, "long", money, D(100), OPENED),  # type: ignore[arg-type]
        lambda: Position(SYMBOL, "long", D(1), money, OPENED),  # type: ignore[arg-type]
        lambda: Tick(SYMBOL, money, 0.0),  # type: ignore[arg-type]
        lambda: Callback(money),  # type: ignore[arg-type]
        lambda: decode_plan({"initial_stop": money}),
        lambda: decode_plan({"initial_stop": {"percent": money}}),
    ]
    for build in builders:
        with pytest.raises(UsageError, match="got"):
            build()


def test_fm34_a_missing_parameter_is_an_error() -> None:
    with pytest.raises(TypeError, match="initial_stop"):
        TrailPlan(rules=(Callback(Percent(1)),))  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="the field `initial_stop` is missing"):
        decode_plan({"rules": []})
    with pytest.raises(UsageError, match="the field `distance` is missing"):
        decode_plan({"initial_stop": "2%", "rules": [{"type": "Callback"}]})
    with pytest.raises(UsageError, match="unknown field `callback`"):
        decode_plan({"initial_stop": "2%", "callback": "1%"})


def test_fm34_the_plan_is_stored_with_the_position_and_comes_back_with_it() -> None:
    plan = TrailPlan(
        initial_stop=Percent("3.25"),
        rules=(Breakeven(at=Percent(1)), Callback(D(7))),
        exit_grace=9.5,
        min_stop_ticks=5,
        on_unprotected="close",
    )
    record = Driver(PositionState(Ratchet(a_position(), plan, MARKET), NO_LAG, 0.0)).record()
    kept = json.loads(msgspec.json.encode(record))
    assert decode_plan(kept["plan"]) == plan
    assert set(kept["plan"]) == set(TrailPlan.__struct_fields__)  # no field is left to a default of tomorrow
    restored = restore_position(msgspec.convert(kept, StopRecord), [], MARKET, NO_LAG, 0.0)
    assert restored.plan == plan


def test_fm34_a_plan_and_its_parts_can_not_be_changed() -> None:
    for part in (PLAN, PLAN.pacing, PLAN.rules[0], PLAN.initial_stop):
        with pytest.raises(AttributeError):
            setattr(part, part.__struct_fields__[0], None)  # type: ignore[union-attr]


@pytest.mark.parametrize("number", ["1E+999999", "1E-999999", "1E+400", "NaN", "-1", "0", "0." + "3" * 40])
def test_fm47_a_number_that_can_be_no_price_and_no_quantity_is_refused_where_it_is_built(number: str) -> None:
    bad = D(number)
    builders: list[Callable[[], object]] = [
        lambda: Tick(SYMBOL, bad, 0.0),
        lambda: Position(SYMBOL, "long", bad, D(100), OPENED),
        lambda: Position(SYMBOL, "long", D(1), bad, OPENED),
        lambda: Candle(SYMBOL, OPENED, 60.0, D(1), bad, D(1), D(1)),
        lambda: Fill(SYMBOL, "long", bad, D(98), "1", "a", 0.0),
        lambda: Fill(SYMBOL, "long", D(1), bad, "1", "a", 0.0),
        lambda: StopOrder(SYMBOL, "long", bad, D(98), "a", "1"),
        lambda: StopOrder(SYMBOL, "long", D(1), bad, "a", "1"),
    ]
    for build in builders:
        with pytest.raises(UsageError, match=r"got Decimal\(.*\), wants a "):
            build()
