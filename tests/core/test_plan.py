"""Pacing and plans: what they decide, what they refuse, and that a stored plan is the plan."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trailing.core.model import Market, Percent, Position, Side
from trailing.core.plan import Pacing, TrailPlan, decode_plan, encode_plan
from trailing.core.rules import Breakeven, Callback, Chandelier, Distance, History, Rule, Steps
from trailing.errors import UsageError

D = Decimal
SYMBOL = "BTC/USDT:USDT"
MARKET = Market(SYMBOL, price_tick=D("0.01"))


def position(side: Side = "long", entry: str = "100", stop: str | None = None) -> Position:
    opened_at = datetime(2026, 1, 2, tzinfo=UTC)
    return Position(SYMBOL, side, D(1), D(entry), opened_at, None if stop is None else D(stop))


# Pacing.

PACING = Pacing(min_interval=30.0, min_improvement=Percent("0.1"), override=Percent(1))


@pytest.mark.parametrize(
    ("since_move", "wanted", "wait"),
    [
        (None, "200.2", 0.0),  # no move yet; 0.1 % is enough
        (None, "200.19", None),  # not worth a move, nor ever will be
        (None, "250", 0.0),
        (10.0, "200.2", 20.0),
        (29.5, "201.99", 0.5),
        (30.0, "200.2", 0.0),
        (31.0, "200.2", 0.0),
        (10.0, "202", 0.0),  # 1 %: does not wait
        (0.0, "202", 0.0),
        (10.0, "200.1", None),
        (40.0, "200.1", None),
        (10.0, "199.8", 20.0),  # the same for a short, whose stop comes down
        (10.0, "199.81", None),
        (10.0, "198", 0.0),
    ],
)
def test_pacing_sends_defers_or_drops_a_move(since_move: float | None, wanted: str, wait: float | None) -> None:
    assert PACING.wait(since_move=since_move, current=D(200), wanted=D(wanted)) == wait


def test_the_default_pacing_sends_every_improvement_at_once() -> None:
    assert Pacing().wait(0.0, D(200), D("200.00000001")) == 0.0


def test_a_stop_that_is_already_there_is_no_move() -> None:
    assert Pacing().wait(None, D(200), D("200.0")) is None
    assert Pacing(override=Percent(0)).wait(None, D(200), D(200)) is None


def test_without_an_override_every_move_waits_for_its_interval() -> None:
    assert Pacing(min_interval=30.0).wait(10.0, D(200), D(400)) == 20.0


@given(st.floats(0, 1e7), st.floats(1e-3, 1e4))
def test_a_deferred_move_is_sent_when_its_wait_is_over_whatever_the_clock_reads(
    moved_at: float, interval: float
) -> None:
    pacing = Pacing(min_interval=interval)
    wait = pacing.wait(0.0, D(200), D(201))
    assert wait == interval
    due_at = moved_at + interval
    assert pacing.wait(due_at - moved_at, D(200), D(201)) == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_interval": -1}, "Pacing.min_interval got -1, wants seconds, a finite number of at least 0"),
        ({"min_interval": "30"}, "Pacing.min_interval got '30', wants seconds, a finite number of at least 0"),
        ({"min_interval": float("nan")}, "Pacing.min_interval got nan, wants"),
        ({"min_improvement": 0.1}, "Pacing.min_improvement got 0.1, wants a Percent below 100"),
        ({"min_improvement": D("0.1")}, "Pacing.min_improvement got Decimal('0.1'), wants a Percent below 100"),
        ({"min_improvement": Percent(100)}, "wants a Percent below 100"),
        ({"override": 1}, "Pacing.override got 1, wants a Percent of at least Pacing.min_improvement, or None"),
        ({"min_improvement": Percent(2), "override": Percent(1)}, "wants a Percent of at least Pacing.min_improvement"),
    ],
)
def test_a_pacing_that_can_not_be_right_is_refused_by_field(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pacing(**arguments)
    assert message in str(caught.value)


# The first stop.


@pytest.mark.parametrize(
    ("side", "entry", "initial", "first"),
    [
        ("long", "100", Percent(2), "98"),
        ("short", "100", Percent(2), "102"),
        ("long", "100", D("1.5"), "98.5"),
        ("short", "100", D("1.5"), "101.5"),
        ("long", "99.99", Percent(1), "99.00"),  # 98.9901 rounds up, towards the market
        ("short", "99.99", Percent(1), "100.98"),  # 100.9899 rounds down
    ],
)
def test_the_first_stop_derives_from_the_entry_price(side: Side, entry: str, initial: Distance, first: str) -> None:
    assert TrailPlan(initial_stop=initial).first_stop(position(side, entry), MARKET) == D(first)


@pytest.mark.parametrize(
    ("side", "given_stop", "first"),
    [("long", "97.001", "97.01"), ("short", "103.009", "103.00"), ("long", "105", "105"), ("short", "95", "95")],
)
def test_a_stop_price_of_the_position_comes_before_the_plan(side: Side, given_stop: str, first: str) -> None:
    assert TrailPlan(initial_stop=Percent(2)).first_stop(position(side, stop=given_stop), MARKET) == D(first)


@pytest.mark.parametrize(
    ("where", "initial"),
    [
        (position("long"), D(100)),
        (position("long"), D(150)),
        (position("long"), D("100.005")),  # half a tick below 0, which rounding would carry to a tick above
        (position("long"), D("0.001")),  # less than a tick: rounding carries it to the entry price
        (position("short"), D("0.001")),
    ],
)
def test_a_first_stop_that_is_no_price_or_not_behind_the_entry_is_refused(where: Position, initial: Decimal) -> None:
    side = "below" if where.side == "long" else "above"
    with pytest.raises(UsageError, match=f"TrailPlan.initial_stop got .* that gives a stop above 0 and {side} the"):
        TrailPlan(initial_stop=initial).first_stop(where, MARKET)


def test_a_stop_price_that_rounds_to_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="Position.stop_price, rounded to the tick, got Decimal"):
        TrailPlan(initial_stop=Percent(2)).first_stop(position("short", stop="0.004"), MARKET)


# Proposals.


class Fixed(Rule, frozen=True):
    """Proposes what it is told to."""

    stop: Any = None

    def propose(self, history: History) -> Decimal | None:
        answer: Decimal | None = self.stop
        return answer


def proposal(side: Side, *stops: Any) -> Decimal | None:
    plan = TrailPlan(initial_stop=Percent(2), rules=tuple(map(Fixed, stops)))
    return plan.propose(History(side, D(100), D(100)), D("0.01"))


@pytest.mark.parametrize(
    ("side", "stops", "tightest"),
    [
        ("long", ["97", "99", "98"], "99"),
        ("short", ["103", "101", "102"], "101"),
        ("long", ["98.001"], "98.01"),
        ("short", ["101.999"], "101.99"),
    ],
)
def test_the_tightest_proposal_wins_and_is_rounded_towards_the_market(
    side: Side, stops: list[str], tightest: str
) -> None:
    assert proposal(side, *map(D, stops)) == D(tightest)
    assert proposal(side, None, *map(D, stops), None) == D(tightest)


def test_without_a_proposal_there_is_none() -> None:
    assert proposal("long") is None
    assert proposal("long", None, None) is None


def test_a_proposal_of_nothing_or_less_counts_as_none() -> None:
    assert proposal("long", D(0), D(-5)) is None
    assert proposal("short", D(0), D(-5)) is None
    assert proposal("short", D(-5), D(101)) == D(101)
    assert proposal("short", D("0.004")) is None  # nothing is left of it once it is rounded


@pytest.mark.parametrize("got", [99.5, 99, "99", D("NaN"), D("Infinity")])
def test_a_rule_that_proposes_no_finite_decimal_is_named(got: Any) -> None:
    with pytest.raises(UsageError) as caught:
        proposal("long", D(99), got)
    assert str(caught.value) == f"Fixed.propose() got {got!r}, wants to give a finite Decimal or None"


def test_a_plan_needs_as_many_candles_as_its_hungriest_rule() -> None:
    rules = (Chandelier(D(3), 5), Callback(Percent(1)), Chandelier(D(3), 9))
    assert TrailPlan(initial_stop=Percent(2), rules=rules).candles_needed == 10
    assert TrailPlan(initial_stop=Percent(2)).candles_needed == 0


# What a plan refuses.


def test_a_plan_without_an_initial_stop_can_not_be_built() -> None:
    with pytest.raises(TypeError, match="initial_stop"):
        TrailPlan()  # type: ignore[call-arg]


class Mutable(Rule, frozen=False):  # type: ignore[misc]
    """A rule that could change after it was stored."""


class Renamed(Rule, frozen=True, tag="other"):
    """A rule that would be stored under a name by which it isn't found."""


SECONDS = "wants seconds, a finite number of at least 0"
SOME_SECONDS = "wants seconds, a finite number above 0"


@pytest.mark.parametrize(
    ("field", "got", "wants"),
    [
        ("initial_stop", 2.0, "wants a Percent, or an amount as a Decimal"),
        ("initial_stop", None, "wants a Percent, or an amount as a Decimal"),
        ("initial_stop", Percent(0), "wants a percentage above 0 and below 100"),
        ("initial_stop", Percent(100), "wants a percentage above 0 and below 100"),
        ("initial_stop", D(-1), "wants a finite Decimal above 0"),
        ("rules", [], "wants a tuple of rules"),
        ("rules", Callback(Percent(1)), "wants a tuple of rules"),
        ("pacing", 30.0, "wants a Pacing"),
        ("trigger", "Mark", "wants one of 'last', 'mark', 'index'"),
        ("on_unprotected", "panic", "wants one of 'retry', 'close', 'report'"),
        ("retry_then", "retry", "wants one of 'close', 'report'"),
        ("on_would_trigger", "close", "wants one of 'exit', 'keep'"),
        ("on_late_order", "keep", "wants one of 'adopt', 'cancel'"),
        ("on_store_failure", "ignore", "wants one of 'protect', 'refuse'"),
        ("retry_for", -1, SECONDS),
        ("exit_grace", -1, SECONDS),
        ("journal_wait", "1", SECONDS),
        ("call_seconds", 0, SOME_SECONDS),
        ("cleanup_seconds", 0.0, SOME_SECONDS),
        ("stale_after", float("inf"), SOME_SECONDS),
        ("candle_seconds", True, SOME_SECONDS),
        ("max_jump", 10, "wants a Percent below 100 and above 0"),
        ("max_jump", Percent(0), "wants a Percent below 100 and above 0"),
        ("max_entry_gap", D(10), "wants a Percent below 100 and above 0"),
        ("max_entry_gap", Percent(100), "wants a Percent below 100 and above 0"),
        ("liquidation_buffer", 0.5, "wants a Percent below 100"),
        ("min_stop_ticks", 0, "wants a whole number of at least 1"),
        ("min_stop_ticks", 2.0, "wants a whole number of at least 1"),
        ("min_stop_ticks", True, "wants a whole number of at least 1"),
    ],
)
def test_a_plan_that_can_not_be_right_is_refused_by_field(field: str, got: Any, wants: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrailPlan(**{"initial_stop": Percent(2)} | {field: got})
    assert str(caught.value) == f"TrailPlan.{field} got {got!r}, {wants}"


@pytest.mark.parametrize(
    ("rule", "wants"),
    [
        ("Callback", "a Rule"),
        (Mutable(), r"a rule that can't change: class Mutable\(..., frozen=True\)"),
        (Renamed(), "a rule that can be found again as 'Renamed', with no tag of its own"),
    ],
)
def test_a_plan_takes_rules_only_that_can_be_stored(rule: Any, wants: str) -> None:
    with pytest.raises(UsageError, match=rf"TrailPlan.rules\[1\] got .*, wants {wants}"):
        TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1)), rule))


def test_a_plan_can_not_be_changed() -> None:
    plan = TrailPlan(initial_stop=Percent(2))
    with pytest.raises(AttributeError):
        plan.initial_stop = Percent(3)  # type: ignore[misc]


# Stored plans.


class Listed(Rule, frozen=True):
    """A bot's own rule, with a field of a type that no rule of the library has."""

    labels: list[str]

    def propose(self, history: History) -> Decimal | None:
        return None


class Named(Rule, frozen=True):
    """A bot's own rule, with a field that looks like a percentage and is none."""

    label: str
    share: float
    distance: Distance

    def propose(self, history: History) -> Decimal | None:
        return None


EVERYTHING = TrailPlan(
    initial_stop=Percent("2.50"),
    rules=(
        Breakeven(at=Percent("0.8"), offset=Percent("0.05")),
        Callback(D("120"), activation=Percent("1.5")),
        Callback(Percent("0.5"), activation=D("0.000000000000000001")),
        Steps(((Percent(1), Percent(2)), (Percent(3), Percent(1)))),
        Chandelier(D("2.5"), period=14),
        Named("50%", 0.1, D("1e-18")),
    ),
    pacing=Pacing(min_interval=30, min_improvement=Percent("0.1"), override=Percent(1)),
    trigger="mark",
    on_unprotected="close",
    retry_for=0.1,
    retry_then="close",
    on_would_trigger="keep",
    on_late_order="cancel",
    on_store_failure="refuse",
    exit_grace=0,
    max_jump=Percent(5),
    max_entry_gap=Percent(7),
    min_stop_ticks=3,
    liquidation_buffer=Percent(0),
    journal_wait=0.5,
    call_seconds=1 / 3,
    cleanup_seconds=4,
    stale_after=30,
    candle_seconds=300,
)


@pytest.mark.parametrize("plan", [EVERYTHING, TrailPlan(initial_stop=D("0.1"))])
def test_a_stored_plan_is_the_plan(plan: TrailPlan) -> None:
    stored = encode_plan(plan)
    through_json = json.loads(json.dumps(stored))
    assert through_json == stored
    assert decode_plan(stored) == decode_plan(through_json) == plan
    assert encode_plan(decode_plan(stored)) == stored


amounts = st.decimals("1e-18", "9e11", places=18)  # 1e12 would have 31 digits
percents = st.decimals("0.0001", "99.9", places=4).map(Percent)
distances = st.one_of(amounts, percents)


@given(distances, st.lists(st.builds(Callback, distances, distances)).map(tuple), st.floats(0, 1e9))
def test_any_stored_plan_is_exactly_the_plan(initial: Distance, rules: tuple[Rule, ...], interval: float) -> None:
    plan = TrailPlan(initial_stop=initial, rules=rules, pacing=Pacing(min_interval=interval))
    again = decode_plan(json.loads(json.dumps(encode_plan(plan))))
    assert again == plan
    assert repr(again) == repr(plan)


def test_a_person_writes_percentages_as_text_and_leaves_defaults_out() -> None:
    written = {
        "initial_stop": "2%",
        "pacing": {"min_interval": 30, "override": "1 %"},
        "rules": [
            {"type": "Callback", "distance": "0.5%", "activation": "120"},
            {"type": "Steps", "steps": [["1%", "2%"], ["3%", "1%"]]},
            {"type": "Breakeven", "at": 50},
        ],
    }
    assert decode_plan(written) == TrailPlan(
        initial_stop=Percent(2),
        pacing=Pacing(min_interval=30, override=Percent(1)),
        rules=(
            Callback(Percent("0.5"), D(120)),
            Steps(((Percent(1), Percent(2)), (Percent(3), Percent(1)))),
            Breakeven(D(50)),
        ),
    )


def callback(**fields: Any) -> dict[str, Any]:
    return {"rules": [{"type": "Callback", **fields}]}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"initial_stop": 2.0}, "plan.initial_stop got 2.0, wants money as text, such as '1.5', never a float"),
        ({"initial_stop": {"percent": 1.5}}, "plan.initial_stop.percent got 1.5, wants money as text"),
        ({"initial_stop": {"percent": "2", "of": 1}}, "plan.initial_stop got {'percent': '2', 'of': 1}, wants nothing"),
        ({"initial_stop": "NaN"}, "TrailPlan.initial_stop got Decimal('NaN'), wants a finite Decimal above 0"),
        (
            {"initial_stop": "-1%"},
            "plan.initial_stop got '-1%', wants a percentage or an amount as text, such as '1.5%' or '0.5'",
        ),
        ({"initial_stop": "x%"}, "plan.initial_stop got 'x%', wants a percentage or an amount as text"),
        ({"initial_stop": True}, "plan.initial_stop got True, wants a percentage or an amount as text"),
        ({"initial": "2%"}, "plan has the unknown field `initial`. Did you mean initial_stop?"),
        ({"pacing": {"interval": 1}}, "plan.pacing has the unknown field `interval`. Did you mean min_interval?"),
        ({"pacing": {"min_interval": -1}}, "Pacing.min_interval got -1.0, wants seconds"),
        ({"exit_grace": "2"}, "plan.exit_grace got '2', wants a number"),
        ({"trigger": "oracle"}, "plan.trigger got 'oracle', wants one of 'last', 'mark', 'index'"),
        (
            {"on_unprotected": "retri"},
            "plan.on_unprotected got 'retri', wants one of 'retry', 'close', 'report'. Did you mean",
        ),
        ({"min_stop_ticks": 1.5}, "plan.min_stop_ticks got 1.5, wants a whole number"),
        ({"max_jump": "5"}, "plan.max_jump got '5', wants a percentage as text, such as '1.5%'"),
        ({"max_jump": {"of": 1}}, "plan.max_jump: the field `percent` is missing"),
        ({"pacing": {"override": 5}}, "plan.pacing.override got 5, wants a percentage as text, such as '1.5%'"),
        ({"pacing": 5}, "plan.pacing got 5, wants a table of fields"),
        ({"rules": [{"type": "Listed", "labels": 5}]}, "plan.rules[0].labels got 5: Expected `array`, got `int`"),
        (
            {"foo": 5},
            "plan has the unknown field `foo`. The fields are initial_stop, rules, pacing, trigger, native, on_",
        ),
        ({"rules": "Callback"}, "plan.rules got 'Callback', wants a list of rules"),
        ({"rules": ["Callback"]}, "plan.rules[0] got 'Callback', wants a mapping with a rule's name under 'type'"),
        ({"rules": [{"distance": "1"}]}, "plan.rules[0] got {'distance': '1'}, wants a mapping with a rule's name"),
        ({"rules": [{"type": "Calback"}]}, "plan.rules[0]: Rule got 'Calback', wants one of"),
        (callback(), "plan.rules[0]: the field `distance` is missing"),
        (
            callback(distance="1", offset="1"),
            "plan.rules[0] has the unknown field `offset`. The fields are distance, activation",
        ),
        (callback(distance=1.5), "plan.rules[0].distance got 1.5, wants money as text"),
        (callback(distance="100%"), "plan.rules[0]: Callback.distance got"),
        (
            {"rules": [{"type": "Steps", "steps": [["1", "x"]]}]},
            "plan.rules[0].steps got [['1', 'x']], wants a list of pairs, such as [['1%', '0.5%'], ['3%', '1%']]",
        ),
        (
            {"rules": [{"type": "Chandelier", "multiple": "3", "period": "x"}]},
            "plan.rules[0].period got 'x', wants a whole",
        ),
        (
            {"rules": [{"type": "Steps", "steps": [["1", "3"], ["2", 0.5]]}]},
            "plan.rules[0].steps[1][1] got 0.5, wants money as text",
        ),
    ],
)
def test_a_written_plan_that_can_not_be_right_is_refused_by_path(written: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode_plan({"initial_stop": "2%"} | written)
    assert message in str(caught.value)


def test_a_written_plan_without_an_initial_stop_is_refused() -> None:
    with pytest.raises(UsageError, match="plan: the field `initial_stop` is missing"):
        decode_plan({})


def test_a_written_plan_is_a_mapping() -> None:
    with pytest.raises(UsageError, match=r"plan got \[\], wants a mapping"):
        decode_plan([])  # type: ignore[arg-type]
