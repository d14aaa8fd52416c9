"""Ways in which a trailing-stop bot lost its protection, as far as the core alone makes them impossible."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trailing.core.account import PositionReport
from trailing.core.model import Candle, Fill, Market, Percent, Position, Side, StopOrder, Tick
from trailing.core.plan import Pacing, TrailPlan, decode_plan
from trailing.core.record import StopRecord
from trailing.core.rules import Breakeven, Callback, Chandelier
from trailing.core.stop import TrailingStop
from trailing.core.trail import MoveStop
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, UsageError

D = Decimal
SYMBOL = "BTC/USDT:USDT"
MARKET = Market(SYMBOL, price_tick=D("0.01"))
OPENED = datetime(2026, 1, 2, 23, 59, tzinfo=UTC)
PLAN = TrailPlan(
    initial_stop=Percent(2),
    rules=(Callback(Percent(1), activation=Percent(1)),),
    pacing=Pacing(min_interval=30.0),
)


def position(side: Side = "long", entry: Decimal = D(100)) -> Position:
    return Position(SYMBOL, side, D(1), entry, OPENED)


def protected(side: Side = "long", plan: TrailPlan = PLAN) -> TrailingStop:
    stop = TrailingStop(position(side), plan, MARKET, 0.0)
    stop.opened(StopOrder(SYMBOL, side, D(1), stop.first_price, "a", "1"), 0.0)
    return stop


WITH_A_SYMBOL: list[msgspec.Struct] = [
    position(),
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
    long_stop = TrailingStop(position("long", fill_price), plan, MARKET, 0.0).first_price
    short_stop = TrailingStop(position("short", fill_price), plan, MARKET, 0.0).first_price
    assert 0 <= long_stop - (fill_price - distance) < MARKET.price_tick
    assert 0 <= (fill_price + distance) - short_stop < MARKET.price_tick
    assert long_stop < fill_price < short_stop


def test_fm06_a_side_is_never_guessed() -> None:
    for side in ("LONG", "buy", "", None, 1):
        with pytest.raises(UsageError, match=r"Position.side got .*, wants one of 'long', 'short'"):
            position(side)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["long", "short"])
def test_fm06_a_derived_stop_on_the_winning_side_can_not_be_built(side: Side) -> None:
    coarse = msgspec.structs.replace(MARKET, price_tick=D(5))  # rounding would carry the stop to the entry
    with pytest.raises(UsageError, match=r"TrailPlan.initial_stop got .* (below|above) the entry price"):
        TrailingStop(position(side), PLAN, coarse, 0.0)


# What happens to a stop, as numbers stand for prices, sizes and client order ids.
TAKES: dict[str, Any] = {
    "price": lambda stop, n, at: stop.on_tick(Tick(SYMBOL, D(1000 + n) / 10, at)),
    "far price": lambda stop, n, at: stop.on_tick(Tick(SYMBOL, D(120) + n, at)),
    "mark price": lambda stop, n, at: stop.on_tick(Tick(SYMBOL, D(1000 + n) / 10, at, "mark")),
    "candle": lambda stop, n, at: stop.on_candle(
        Candle(SYMBOL, OPENED, 60.0, D(100), D(100) + abs(n) / D(50), D(100) - abs(n) / D(50), D(100)), at
    ),
    "time": lambda stop, n, at: stop.on_time(at),
    "acknowledged": lambda stop, n, at: stop.moved(StopOrder(SYMBOL, "long", D(1), stop.target, f"{n % 3}", "1"), at),
    "unreachable": lambda stop, n, at: stop.move_failed(ExchangeUnreachable("on purpose"), at),
    "unknown": lambda stop, n, at: stop.move_failed(OutcomeUnknown("on purpose"), at),
    "absent": lambda stop, n, at: stop.absent(f"{n % 3}", at),
    "gone": lambda stop, n, at: stop.gone(f"{n % 3}", at),
    "filled": lambda stop, n, at: stop.filled(Fill(SYMBOL, "long", D("0.25"), D(98), "1", f"{n % 3}", at), at),
    "resized": lambda stop, n, at: stop.resized(D(1 + abs(n)) / 100, at),
    "reported": lambda stop, n, at: setattr(stop, "reported_entry", D(1000 + n) / 10),
    "exiting": lambda stop, n, at: stop.exiting(at),
    "exit failed": lambda stop, n, at: stop.exit_failed(ExchangeUnreachable("on purpose"), at),
    "given up": lambda stop, n, at: stop.released(at, given_up=True),
}


def taken(stop: TrailingStop, what: str, number: int, at: float) -> object:
    """What a stop makes of it: its decision, or why it is not possible now."""
    try:
        return TAKES[what](stop, number, at)
    except UsageError as error:
        return str(error)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["price"] * 6 + ["acknowledged"] * 3 + [*TAKES]),
            st.integers(-40, 40),
            st.sampled_from([0.5, 8.0, 40.0]),
        ),
        max_size=25,
    )
)
@example([("price", 20, 0.5), ("acknowledged", 0, 0.5), ("price", 40, 0.5), ("price", 25, 0.5)])  # deferred, crossed
@example([("price", 11, 0.5), ("unreachable", 0, 0.5), ("price", 0, 0.5)])  # postponed, crossed
@example([("price", 20, 0.5), ("acknowledged", 0, 0.5), ("price", -5, 0.5), ("time", 0, 8.0)])  # a live one, crossed
@settings(max_examples=300)
def test_fm18_a_stop_that_is_restored_is_what_was_saved_and_goes_on_as_if_nothing_had_been(
    steps: list[tuple[str, int, float]],
) -> None:
    rules = (Callback(Percent(1), activation=Percent(1)), Chandelier(D(2), 2))
    stop = protected(plan=TrailPlan(initial_stop=Percent(2), rules=rules, pacing=Pacing(min_interval=30.0)))
    twin, at, shift = stop, 0.0, 4096.0
    for what, number, seconds in steps:
        kept = msgspec.json.encode(twin.save())
        restored = TrailingStop.restore(msgspec.json.decode(kept, type=StopRecord), MARKET, twin._now + shift)
        assert restored == twin
        # The clock of the next process starts anywhere.
        twin, shift, offset = restored, -shift, max(0.0, shift)
        at += seconds
        assert taken(twin, what, number, at + offset) == taken(stop, what, number, at)


def test_fm22_a_deferred_improvement_is_applied_without_another_tick() -> None:
    stop = protected()
    assert stop.on_tick(Tick(SYMBOL, D(102), 10.0)) == MoveStop(D("100.98"), "trailing")
    stop.moved(StopOrder(SYMBOL, "long", D(1), D("100.98"), "b", "2"), 11.0)
    assert stop.on_tick(Tick(SYMBOL, D(104), 12.0)) is None
    assert stop.due_at == 40.0
    assert stop.on_time(stop.due_at) == MoveStop(D("102.96"), "trailing")


def test_fm22_a_deferred_improvement_outlives_a_restart() -> None:
    stop = protected()
    stop.on_tick(Tick(SYMBOL, D(102), 10.0))
    stop.moved(StopOrder(SYMBOL, "long", D(1), D("100.98"), "b", "2"), 11.0)
    stop.on_tick(Tick(SYMBOL, D(104), 12.0))
    restored = TrailingStop.restore(stop.save(), MARKET, at=1000.0)
    assert restored.due_at == 1028.0
    assert restored.on_time(1028.0) == MoveStop(D("102.96"), "trailing")


def test_fm24_a_percentage_is_no_fraction() -> None:
    assert Percent(2).below(D(100)) == D(98)
    assert Percent(2).above(D(100)) == D(102)
    for fraction in (0.02, 2.0):
        with pytest.raises(UsageError, match=r"Percent got .*, wants a finite Decimal"):
            Percent(fraction)  # type: ignore[arg-type]
    for bare in (2, 2.0, "2"):
        with pytest.raises(UsageError, match=r"TrailPlan.initial_stop got .*, wants a Percent, or an amount"):
            TrailPlan(initial_stop=bare)  # type: ignore[arg-type]


@pytest.mark.parametrize("initial", [Percent(100), Percent(200), Percent(0), D(0), D(-1)])
def test_fm24_a_distance_that_leaves_no_stop_can_not_be_planned(initial: Percent | Decimal) -> None:
    with pytest.raises(UsageError, match=r"TrailPlan.initial_stop got"):
        TrailPlan(initial_stop=initial)


@pytest.mark.parametrize("amount", ["100", "101", "1000000"])
def test_fm24_a_stop_of_nothing_or_less_can_not_be_built(amount: str) -> None:
    with pytest.raises(UsageError, match=r"wants a distance that gives a stop above 0"):
        TrailingStop(position(), TrailPlan(initial_stop=D(amount)), MARKET, 0.0)
    for price in (D(0), D(-1)):
        with pytest.raises(UsageError, match=r"StopOrder.price got"):
            StopOrder(SYMBOL, "long", D(1), price, "a", "1")


def test_fm24_an_amount_behind_a_smaller_price_is_no_proposal() -> None:
    stop = protected(plan=TrailPlan(initial_stop=Percent(2), rules=(Callback(D(500)),)))
    assert stop.on_tick(Tick(SYMBOL, D(109), 1.0)) is None
    assert stop.target == D(98)


def test_fm24_a_proposal_that_rounds_to_nothing_is_none() -> None:
    plan = TrailPlan(initial_stop=Percent(10), rules=(Callback(D(1), activation=D(90)),))
    stop = TrailingStop(position("short"), plan, msgspec.structs.replace(MARKET, price_tick=D(5)), 0.0)
    stop.opened(StopOrder(SYMBOL, "short", D(1), stop.first_price, "a", "1"), 0.0)
    for _ in range(2):  # so far from the last price, it takes two
        assert stop.on_tick(Tick(SYMBOL, D(3), 1.0)) is None
    assert (stop.best, stop.target) == (D(3), D(110))


@pytest.mark.parametrize("naive", [datetime(2026, 1, 2), datetime(2026, 3, 29, 2, 30)])
def test_fm25_a_naive_datetime_is_refused(naive: datetime) -> None:
    with pytest.raises(UsageError, match=r"Position.opened_at got .*, wants an aware datetime in UTC"):
        Position(SYMBOL, "long", D(1), D(100), naive)
    with pytest.raises(UsageError, match=r"Candle.opened_at got .*, wants an aware datetime in UTC"):
        Candle(SYMBOL, naive, 60.0, D(1), D(1), D(1), D(1))


def test_fm25_an_interval_of_more_than_a_day_does_not_wrap() -> None:
    plan = TrailPlan(initial_stop=Percent(2), rules=PLAN.rules, pacing=Pacing(min_interval=90000.0))
    stop = protected(plan=plan)
    stop.on_tick(Tick(SYMBOL, D(102), 10.0))
    stop.moved(StopOrder(SYMBOL, "long", D(1), D("100.98"), "b", "2"), 11.0)
    assert stop.on_tick(Tick(SYMBOL, D(104), 86405.0)) is None
    assert stop.due_at == 90010.0
    assert stop.on_time(90010.0) == MoveStop(D("102.96"), "trailing")


def test_fm25_a_peak_is_in_the_record_and_comes_back() -> None:
    stop = protected()
    stop.on_tick(Tick(SYMBOL, D("103.5"), 10.0))
    assert stop.save().best == D("103.5")
    assert TrailingStop.restore(stop.save(), MARKET, at=0.0).best == D("103.5")


def test_fm30_eighteen_decimals_are_exact_all_the_way() -> None:
    micro = Market("PEPE/USDT:USDT", price_tick=D("1e-18"), quantity_step=D(1))
    entry = D("0.000000123456789012")
    opened = Position("PEPE/USDT:USDT", "long", D(10**15), entry, OPENED)
    plan = TrailPlan(initial_stop=D("0.000000000000000001"), rules=(Callback(D("0.000000000000000007")),))
    stop = TrailingStop(opened, plan, micro, 0.0)
    assert stop.first_price == D("0.000000123456789011")
    stop.opened(StopOrder("PEPE/USDT:USDT", "long", D(10**15), stop.first_price, "a", "1"), 0.0)
    assert stop.on_tick(Tick("PEPE/USDT:USDT", D("0.000000123456789020"), 1.0)) == MoveStop(
        D("0.000000123456789013"), "trailing"
    )
    kept = msgspec.json.encode(stop.save())
    restored = TrailingStop.restore(msgspec.json.decode(kept, type=StopRecord), micro, 0.0)
    assert restored == stop
    assert restored.best == D("0.000000123456789020")


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
    with pytest.raises(UsageError, match="missing required field `initial_stop`"):
        decode_plan({"rules": []})
    with pytest.raises(UsageError, match="missing required field `distance`"):
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
    record = protected(plan=plan).save()
    kept = json.loads(msgspec.json.encode(record))
    assert decode_plan(kept["plan"]) == plan
    assert set(kept["plan"]) == set(TrailPlan.__struct_fields__)  # no field is left to a default of tomorrow
    restored = TrailingStop.restore(msgspec.convert(kept, StopRecord), MARKET, at=0.0)
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
