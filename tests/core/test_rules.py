"""The rules, by answers computed by hand, and by what holds for any history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trailing.core.model import Candle, Percent, Side
from trailing.core.prices import ahead, is_better
from trailing.core.rules import Breakeven, Callback, Chandelier, Distance, History, Rule, Steps, rule_class
from trailing.errors import UsageError

OPENED = datetime(2026, 1, 2, tzinfo=UTC)
D = Decimal


def candle(minute: int, open_: str, high: str, low: str, close: str) -> Candle:
    at = OPENED + timedelta(minutes=minute)
    return Candle("BTC/USDT:USDT", at, 60.0, D(open_), D(high), D(low), D(close))


def propose(rule: Rule, side: Side, best: str, *candles: Candle) -> Decimal | None:
    """What a rule proposes for an entry at 100."""
    return rule.propose(History(side, D(100), D(best), candles))


@pytest.mark.parametrize(
    ("rule", "side", "best", "stop"),
    [
        # 0.5 % behind the best price: 200 - 1, 50 + 0.25.
        (Callback(Percent("0.5")), "long", "200", "199"),
        (Callback(Percent("0.5")), "short", "50", "50.25"),
        (Callback(Percent("0.5")), "long", "100", "99.5"),
        (Callback(D("1.25")), "long", "104", "102.75"),
        (Callback(D("1.25")), "short", "96", "97.25"),
        (Callback(Percent(1), Percent(2)), "long", "101.99", None),
        (Callback(Percent(1), Percent(2)), "long", "102", "100.98"),
        (Callback(Percent(1), Percent(2)), "short", "98.01", None),
        (Callback(Percent(1), Percent(2)), "short", "98", "98.98"),
        (Callback(Percent(1), D(3)), "long", "102.99", None),
        (Callback(Percent(1), D(3)), "long", "103", "101.97"),
        (Callback(D(2), D(3)), "short", "97.01", None),
        (Callback(D(2), D(3)), "short", "97", "99"),
    ],
)
def test_callback_follows_the_best_price_from_the_activation_on(
    rule: Callback, side: Side, best: str, stop: str | None
) -> None:
    assert propose(rule, side, best) == (None if stop is None else D(stop))


@pytest.mark.parametrize(
    ("rule", "side", "best", "stop"),
    [
        (Breakeven(Percent("0.8")), "long", "100.79", None),
        (Breakeven(Percent("0.8")), "long", "100.8", "100"),
        (Breakeven(Percent("0.8"), Percent("0.05")), "long", "150", "100.05"),
        (Breakeven(Percent("0.8"), Percent("0.05")), "short", "99.21", None),
        (Breakeven(Percent("0.8"), Percent("0.05")), "short", "99.2", "99.95"),
        (Breakeven(D(2), D(1)), "long", "102", "101"),
        (Breakeven(D(2), D(1)), "short", "98", "99"),
        # The offset is an amount and more than the profit asked for: it waits until the price is beyond it.
        (Breakeven(Percent(1), D(5)), "long", "105", None),
        (Breakeven(Percent(1), D(5)), "long", "105.01", "105"),
        (Breakeven(Percent(1), D(5)), "short", "95", None),
        (Breakeven(Percent(1), D(5)), "short", "94.99", "95"),
    ],
)
def test_breakeven_puts_the_stop_on_the_winning_side_of_the_entry(
    rule: Breakeven, side: Side, best: str, stop: str | None
) -> None:
    assert propose(rule, side, best) == (None if stop is None else D(stop))


STEPS = Steps(((Percent(1), Percent(2)), (Percent(5), Percent(1)), (Percent(10), Percent("0.5"))))
AMOUNTS = Steps(((D(0), D(3)), (D(4), D(2))))


@pytest.mark.parametrize(
    ("rule", "side", "best", "stop"),
    [
        (STEPS, "long", "100.99", None),
        (STEPS, "long", "101", "98.98"),
        (STEPS, "long", "104.99", "102.8902"),
        (STEPS, "long", "105", "103.95"),
        (STEPS, "long", "120", "119.4"),
        (STEPS, "short", "99.01", None),
        (STEPS, "short", "99", "100.98"),
        (STEPS, "short", "95", "95.95"),
        (STEPS, "short", "80", "80.4"),
        (AMOUNTS, "long", "100", "97"),
        (AMOUNTS, "long", "104", "102"),
        (AMOUNTS, "short", "96", "98"),
    ],
)
def test_the_highest_step_reached_says_how_close_the_stop_is(
    rule: Steps, side: Side, best: str, stop: str | None
) -> None:
    assert propose(rule, side, best) == (None if stop is None else D(stop))


# True ranges, by hand: the span of the candle together with the close before it.
CANDLES = (
    candle(0, "100", "101", "99", "100"),
    candle(1, "100", "104", "100", "103"),  # 104 - 100 = 4: the close before is inside
    candle(2, "105", "107", "105", "106"),  # 107 - 103 = 4: the close before is below
    candle(3, "101", "102", "100", "101"),  # 106 - 100 = 6: the close before is above
    candle(4, "101", "102", "101", "102"),  # 102 - 101 = 1
)


@pytest.mark.parametrize(
    ("rule", "candles", "long_stop", "short_stop"),
    [
        (Chandelier(D(3), 4), CANDLES, "98.75", "101.25"),  # (4 + 4 + 6 + 1) / 4 * 3 = 11.25 from 110 and from 90
        (Chandelier(D(1), 2), CANDLES, "106.5", "93.5"),  # (6 + 1) / 2 = 3.5
        (Chandelier(D(2), 1), CANDLES, "108", "92"),  # 1 * 2
        (Chandelier(D(3), 4), CANDLES[1:], None, None),
        (Chandelier(D(3)), CANDLES, None, None),
        (Chandelier(D(3), 1), (), None, None),
        (Chandelier(D(3), 1), (candle(0, "5", "5", "5", "5"), candle(1, "5", "5", "5", "5")), None, None),
    ],
)
def test_chandelier_hangs_from_the_best_price_by_average_true_ranges(
    rule: Chandelier, candles: tuple[Candle, ...], long_stop: str | None, short_stop: str | None
) -> None:
    assert propose(rule, "long", "110", *candles) == (None if long_stop is None else D(long_stop))
    assert propose(rule, "short", "90", *candles) == (None if short_stop is None else D(short_stop))


def test_rules_say_how_many_candles_they_need() -> None:
    assert Chandelier(D(3)).candles_needed == 23
    assert Chandelier(D(3), 5).candles_needed == 6
    assert Callback(Percent(1)).candles_needed == 0


distances = st.one_of(st.decimals("0.01", "50", places=2).map(Percent), st.decimals("0.01", "50", places=2))
candles = st.lists(st.lists(st.decimals("50", "150", places=2), min_size=4, max_size=4).map(sorted), max_size=8).map(
    lambda rows: tuple(
        candle(minute, str(low_open), str(high), str(low), str(close))
        for minute, (low, low_open, close, high) in enumerate(rows)
    )
)


@st.composite
def step_rules(draw: st.DrawFn) -> Steps:
    size = draw(st.integers(1, 4))
    profits = sorted(draw(st.sets(st.integers(0, 30), min_size=size, max_size=size)))
    gaps = sorted(draw(st.sets(st.integers(1, 30), min_size=size, max_size=size)), reverse=True)
    kind: Any = draw(st.sampled_from([Percent, Decimal]))
    other: Any = draw(st.sampled_from([Percent, Decimal]))
    return Steps(tuple((kind(profit), other(gap)) for profit, gap in zip(profits, gaps, strict=True)))


@st.composite
def breakevens(draw: st.DrawFn) -> Breakeven:
    at, offset = sorted(draw(st.sets(st.decimals("0.01", "50", places=2), min_size=2, max_size=2)))[::-1]
    kind: Any = draw(st.sampled_from([Percent, Decimal]))
    other: Any = draw(st.sampled_from([Percent, Decimal]))
    return Breakeven(kind(at), other(offset))


any_rule: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Callback, distances, distances),
    breakevens(),
    step_rules(),
    st.builds(Chandelier, st.decimals("0.1", "5", places=1), st.integers(1, 6)),
)
profits = st.sampled_from((D(0), D("0.01"))) | st.decimals(
    "0", "60", places=2
)  # small ones: candles lie beyond the best price


@given(any_rule, st.sampled_from(("long", "short")), profits, candles)
def test_no_proposal_is_at_the_best_price_or_beyond(
    rule: Rule, side: Side, profit: Decimal, seen: tuple[Candle, ...]
) -> None:
    best = ahead(side, D(100), profit)
    stop = rule.propose(History(side, D(100), best, seen))
    assert stop is None or is_better(side, best, stop)


@given(any_rule, st.sampled_from(("long", "short")), profits, candles)
def test_the_same_history_gives_the_same_proposal(
    rule: Rule, side: Side, profit: Decimal, seen: tuple[Candle, ...]
) -> None:
    history = History(side, D(100), ahead(side, D(100), profit), seen)
    assert rule.propose(history) == rule.propose(history)


def _in_amounts(rule: Rule) -> bool:
    def values(part: object) -> list[object]:
        return [leaf for item in part for leaf in values(item)] if isinstance(part, tuple) else [part]

    return not any(isinstance(leaf, Percent) for name in rule.__struct_fields__ for leaf in values(getattr(rule, name)))


def _mirrored(bar: Candle) -> Candle:
    """The candle mirrored at the entry price of 100."""
    opened, high, low, close = (200 - price for price in (bar.open, bar.low, bar.high, bar.close))
    return Candle(bar.symbol, bar.opened_at, bar.seconds, opened, high, low, close)


@given(any_rule.filter(_in_amounts), profits, candles)
def test_a_short_in_amounts_is_a_mirrored_long(rule: Rule, profit: Decimal, seen: tuple[Candle, ...]) -> None:
    long_stop = rule.propose(History("long", D(100), 100 + profit, seen))
    mirrored = tuple(map(_mirrored, seen))
    short_stop = rule.propose(History("short", D(100), 100 - profit, mirrored))
    assert (short_stop is None) == (long_stop is None)
    if short_stop is not None and long_stop is not None:  # an average has as many digits as fit, on either side
        assert abs(200 - short_stop - long_stop) < D("1e-20")


@given(st.builds(Callback, st.decimals("0.01", "50", places=2).map(Percent), distances), profits)
def test_a_short_in_percent_is_as_far_from_its_best_price_as_a_long(rule: Callback, profit: Decimal) -> None:
    best = {"long": 100 + profit, "short": 100 - profit}
    long_stop = rule.propose(History("long", D(100), best["long"]))
    short_stop = rule.propose(History("short", D(100), best["short"]))
    assert (long_stop is None) == (short_stop is None)
    if long_stop is not None and short_stop is not None:
        assert 1 - long_stop / best["long"] == short_stop / best["short"] - 1


@given(st.one_of(st.builds(Callback, distances, distances), breakevens(), step_rules()), profits, profits)
def test_once_active_a_rule_of_the_peak_stays_active(rule: Rule, one: Decimal, other: Decimal) -> None:
    lower, higher = sorted((one, other))
    if rule.propose(History("long", D(100), 100 + lower)) is not None:
        assert rule.propose(History("long", D(100), 100 + higher)) is not None


DISTANCE = "a percentage above 0 and below 100"
AMOUNT = "a finite Decimal above 0"
KIND = "a Percent, or an amount as a Decimal"


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Callback, [1.5], f"Callback.distance got 1.5, wants {KIND}"),
        (Callback, ["1.5"], f"Callback.distance got '1.5', wants {KIND}"),
        (Callback, [2], f"Callback.distance got 2, wants {KIND}"),
        (Callback, [D(0)], f"Callback.distance got Decimal('0'), wants {AMOUNT}"),
        (Callback, [D(-1)], f"Callback.distance got Decimal('-1'), wants {AMOUNT}"),
        (Callback, [D("NaN")], f"Callback.distance got Decimal('NaN'), wants {AMOUNT}"),
        (Callback, [Percent(0)], f"Callback.distance got {Percent(0)!r}, wants {DISTANCE}"),
        (Callback, [Percent(100)], f"Callback.distance got {Percent(100)!r}, wants {DISTANCE}"),
        (Callback, [Percent(1), 0.5], f"Callback.activation got 0.5, wants {KIND}"),
        (
            Callback,
            [Percent(1), D(-1)],
            "Callback.activation got Decimal('-1'), wants a finite Decimal, at least 0",
        ),
        (Breakeven, [0.8], f"Breakeven.at got 0.8, wants {KIND}"),
        (Breakeven, [Percent(0)], f"Breakeven.at got {Percent(0)!r}, wants a percentage above 0"),
        (Breakeven, [D(0)], f"Breakeven.at got Decimal('0'), wants {AMOUNT}"),
        (Breakeven, [D(1), 0.5], f"Breakeven.offset got 0.5, wants {KIND}"),
        (
            Breakeven,
            [Percent(1), Percent(1)],
            f"Breakeven.offset got {Percent(1)!r}, wants less than Breakeven.at, {Percent(1)!r}",
        ),
        (
            Breakeven,
            [D(1), D(2)],
            "Breakeven.offset got Decimal('2'), wants less than Breakeven.at, Decimal('1')",
        ),
        (Steps, [()], "Steps.steps got (), wants a tuple of (profit, distance) pairs, at least one"),
        (Steps, [[]], "Steps.steps got [], wants a tuple of (profit, distance) pairs, at least one"),
        (Steps, [((D(1),),)], "wants a tuple of (profit, distance) pairs, at least one"),
        (Steps, [(([D(1), D(1)]),)], "wants a tuple of (profit, distance) pairs, at least one"),
        (Steps, [((D(-1), D(1)),)], "Steps.steps[0] profit got Decimal('-1')"),
        (Steps, [((D(1), 0.5),)], f"Steps.steps[0] distance got 0.5, wants {KIND}"),
        (Steps, [((D(1), Percent(100)),)], f"Steps.steps[0] distance got {Percent(100)!r}, wants {DISTANCE}"),
        (
            Steps,
            [((D(1), D(3)), (D(1), D(2)))],
            "Steps.steps[1] profit got Decimal('1'), wants one of the same kind as Decimal('1'), and more",
        ),
        (
            Steps,
            [((D(1), D(3)), (Percent(2), D(2)))],
            f"Steps.steps[1] profit got {Percent(2)!r}, wants one of the same kind as Decimal('1'), and more",
        ),
        (
            Steps,
            [((D(1), D(3)), (D(2), D(3)))],
            "Steps.steps[1] distance got Decimal('3'), wants one of the same kind as Decimal('3'), and less",
        ),
        (
            Steps,
            [((D(1), Percent(3)), (D(2), D(2)))],
            f"Steps.steps[1] distance got Decimal('2'), wants one of the same kind as {Percent(3)!r}, and less",
        ),
        (Chandelier, [3.0], f"Chandelier.multiple got 3.0, wants {AMOUNT}"),
        (Chandelier, [3], f"Chandelier.multiple got 3, wants {AMOUNT}"),
        (Chandelier, [D(0)], f"Chandelier.multiple got Decimal('0'), wants {AMOUNT}"),
        (Chandelier, [D(3), 0], "Chandelier.period got 0, wants a whole number of candles, at least 1"),
        (Chandelier, [D(3), 2.0], "Chandelier.period got 2.0, wants a whole number of candles, at least 1"),
        (Chandelier, [D(3), True], "Chandelier.period got True, wants a whole number of candles, at least 1"),
    ],
)
def test_a_rule_that_can_not_be_right_is_refused_by_field(kind: Any, arguments: list[Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind(*arguments)
    assert message in str(caught.value)


def test_distances_of_two_kinds_are_not_compared() -> None:
    assert Breakeven(Percent(1), D(500)).offset == D(500)
    assert Breakeven(D(1), Percent(50)).offset == Percent(50)


class HalfBack(Rule, frozen=True):
    """A bot's own rule: the stop half-way between entry and peak."""

    candles_needed = 2
    share: Distance = D("0.5")

    def propose(self, history: History) -> Decimal | None:
        return (history.entry_price + history.best) / 2


def test_a_rule_class_is_found_by_its_name() -> None:
    assert [rule_class(name) for name in ("Callback", "Breakeven", "Steps", "Chandelier", "HalfBack")] == [
        Callback,
        Breakeven,
        Steps,
        Chandelier,
        HalfBack,
    ]
    assert HalfBack().candles_needed == 2


def test_an_unknown_rule_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match=r"Rule got 'Calback', wants one of .*\bCallback\b"):
        rule_class("Calback")


def test_two_rule_classes_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="wants a name other than that of trailing.core.rules.Callback"):
        type("Callback", (Rule,), {"__module__": __name__})
    assert rule_class("Callback") is Callback


def test_defining_a_rule_class_again_replaces_it() -> None:
    def define() -> type[Rule]:
        class Redefined(Rule, frozen=True):
            pass

        return Redefined

    first, second = define(), define()
    assert first is not second
    assert rule_class("Redefined") is second


def test_a_rule_without_a_proposal_of_its_own_raises() -> None:
    class Unfinished(Rule, frozen=True):
        pass

    with pytest.raises(NotImplementedError):
        propose(Unfinished(), "long", "101")


def test_rules_are_frozen_and_equal_by_value() -> None:
    rule = Callback(Percent(1))
    propose(rule, "long", "101")
    assert rule == Callback(Percent("1"))
    assert hash(rule) == hash(Callback(Percent(1)))
    with pytest.raises(AttributeError):
        rule.distance = Percent(2)  # type: ignore[misc]
