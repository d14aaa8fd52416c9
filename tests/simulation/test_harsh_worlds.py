"""Test that each kind of harsh fault strikes at its stated rate, reproducibly, and in no ordinary world."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from simulation.laboratory import HarshRates, Scenario, WorldReport, __main__, run_world
from simulation.laboratory.__main__ import main
from simulation.laboratory.bugs import is_laboratory_bug
from simulation.laboratory.fault_log import moments
from simulation.laboratory.harsh import exchange_options
from simulation.laboratory.harsh_exchange import HarshExchange
from simulation.laboratory.harsh_lists import STRANGE_IDS, EmptyLists, WrongLiquidations, WrongLists
from simulation.laboratory.harsh_orders import (
    CoarseMarkets,
    EarlyFills,
    SickSymbols,
    ThrottledOperations,
    WrongAcknowledgements,
)
from simulation.laboratory.harsh_rates import (
    EMPTY_SECONDS,
    KINDS,
    LATE_SECONDS,
    SICK_SECONDS,
    THROTTLE_SECONDS,
    rate_table,
)
from simulation.laboratory.harsh_stop_changes import SHOWN_SECONDS, HarshStopChanges
from simulation.laboratory.harsh_table import ROWS
from simulation.laboratory.harsh_updates import HarshUpdates, HiddenEnds, LateUpdates, WrongTicks
from simulation.monitor_setup import SYMBOL, fault_log, open_monitor_setup, scenario
from simulation.planted import HARSH_PLANTED
from trailing.core.account import PositionReport
from trailing.core.model import Position, StopOrder, Tick
from trailing.errors import ExchangeError, ExchangeUnreachable, OutcomeUnknown, StopRejected
from trailing.exchanges.paper import open_paper
from trailing.exchanges.port import PartialList, PositionUpdate, StopRequest, Update
from trailing.exchanges.updates import UpdateChannel
from trailing.testing.faults import Throttles

HOW_TO = Path(__file__).parents[2] / "docs" / "howto" / "testing.md"
REPORTS = tuple(PositionReport(f"COIN{one}/USDT:USDT", "long", D(4), D(100)) for one in range(3))
STOPS = tuple(
    StopOrder(one.symbol, one.side, D(4), D(98), f"tr000{at}", f"order {at}") for at, one in enumerate(REPORTS)
)
MANY = 2000
RATES = HarshRates()


def near(count: float, rate: float, of: int = MANY) -> bool:
    """Whether a count is within four standard deviations of its expectation for a rate."""
    return bool(abs(count - rate * of) <= 4 * (of * rate * (1 - rate)) ** 0.5)


def seconds_of(times: Sequence[float], step: float) -> list[float]:
    """Return the sorted lengths of the runs of moments that are one step apart."""
    runs, begun = list[float](), times[0]
    for before, at in zip(times, (*times[1:], math.inf), strict=True):
        if at - before > 1.5 * step:
            runs.append(before - begun + step)
            begun = at
    return sorted(runs)


# What is stated, and what happens.


def test_the_documentation_states_the_rates_of_the_code() -> None:
    assert rate_table(RATES) in HOW_TO.read_text()


def test_a_kind_alone_has_its_rate_and_the_others_none() -> None:
    assert HarshRates.of("all") == RATES
    for kind in KINDS:
        rates = HarshRates.of(kind)
        assert {one for one in KINDS if getattr(rates, one)} == {kind}
        assert getattr(rates, kind) == getattr(RATES, kind)
    assert not any(getattr(HarshRates.of("none"), kind) for kind in KINDS)


async def test_each_kind_draws_from_a_generator_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    drawn = [fault_log(kind).draw(kind).random() for kind in KINDS]
    assert len(set(drawn)) == len(KINDS)
    assert drawn == [fault_log("all").draw(kind).random() for kind in KINDS]


async def test_lists_are_empty_for_some_seconds_at_the_stated_share_of_the_calls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log, begun = fault_log("empty_lists"), 0
    empty = EmptyLists(log)
    for _ in range(MANY):
        begun += not empty.show("positions", REPORTS)
        await trio.sleep(EMPTY_SECONDS[1])
    assert near(begun, RATES.empty_lists)
    assert log.strikes["empty_lists"] == begun
    times = list[float]()
    for _ in range(MANY):
        if not empty.show("open_stops", STOPS):
            times.append(trio.current_time())
        await trio.sleep(1)
    lasted = seconds_of(times, 1)
    assert lasted[0] <= 2
    assert sum(EMPTY_SECONDS) / 3 < lasted[len(lasted) // 2] < sum(EMPTY_SECONDS)
    assert empty.show("positions", ()) == ()


async def test_an_entry_of_a_list_is_missing_doubled_unreadable_or_foreign_at_the_stated_share_of_the_calls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wrong = WrongLists(fault_log("wrong_lists"))
    seen = dict.fromkeys(("missing", "doubled", "unreadable", "failing", "foreign"), 0)
    ids = set[object]()
    for _ in range(MANY):
        try:
            shown = wrong.show("open_stops", STOPS)
        except ExchangeUnreachable:
            seen["failing"] += 1
        else:
            foreign = [one.client_order_id for one in shown if one.order_id.startswith("foreign")]
            ids.update(foreign)
            seen["foreign"] += bool(foreign)
            seen["missing"] += len(shown) == 2 and not isinstance(shown, PartialList)
            seen["unreadable"] += isinstance(shown, PartialList)
            seen["doubled"] += any(one.quantity == 2 for one in shown)
        await trio.sleep(EMPTY_SECONDS[1])
    assert near(sum(seen.values()), RATES.wrong_lists)
    assert all(seen.values())
    assert ids == set(STRANGE_IDS)


async def test_some_symbols_are_liquidated_on_the_wrong_side_of_the_market(
    autojump_clock: trio.testing.MockClock,
) -> None:
    symbols = [f"COIN{one}/USDT:USDT" for one in range(MANY)]
    wrong = WrongLiquidations(fault_log("wrong_liquidations"), symbols, lambda _: D(100))
    longs = wrong.show([PositionReport(symbol, "long", D(1), D(90)) for symbol in symbols])
    shorts = wrong.show([PositionReport(symbol, "short", D(1), D(110)) for symbol in symbols])
    struck = [one.liquidation_price for one in longs if one.liquidation_price is not None]
    assert near(len(struck), RATES.wrong_liquidations)
    assert min(struck) > 100
    assert all(one.liquidation_price < 100 for one in shorts if one.liquidation_price is not None)


async def test_an_operation_is_throttled_for_its_time_at_the_stated_share_of_the_calls_and_the_others_are_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    throttled, begun = ThrottledOperations(fault_log("throttles")), 0
    for _ in range(MANY):
        fault = throttled.strike("place_stop")
        if fault is None:
            continue
        begun += 1
        assert isinstance(fault, Throttles)
        assert THROTTLE_SECONDS[0] <= fault.retry_after <= THROTTLE_SECONDS[1]
        assert throttled.is_throttled("place_stop")
        assert not throttled.is_throttled("cancel_stop")
        await trio.sleep(fault.retry_after / 2)
        assert throttled.strike("place_stop") is not None
        await trio.sleep(fault.retry_after / 2 + 0.001)
        assert not throttled.is_throttled("place_stop")
    assert near(begun, RATES.throttles)


async def test_the_cancellations_of_one_symbol_fail_for_minutes_at_the_stated_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hours, step = 40, 6.0
    symbols = ["ONE/USDT:USDT", "TWO/USDT:USDT"]
    sick = SickSymbols(fault_log("sick_symbols"), symbols, hours * 3600.0)
    times, errors = list[float](), set[type[ExchangeError]]()
    for _ in range(round(hours * 3600 / step)):
        if (symbol := sick.symbol) is not None:
            times.append(trio.current_time())
            error = sick.strike(symbol)
            assert isinstance(error, ExchangeError)
            errors.add(type(error))
            assert all(sick.strike(other) is None for other in symbols if other != symbol)
        await trio.sleep(step)
    assert errors == {ExchangeUnreachable, OutcomeUnknown, StopRejected}
    lasted = seconds_of(times, step)
    assert SICK_SECONDS[0] - step <= lasted[0]
    # A time that would begin during another one is left out.
    mean = sum(SICK_SECONDS) / 2 / 3600
    assert len(lasted) == pytest.approx(hours * RATES.sick_symbols / (1 + RATES.sick_symbols * mean), rel=0.15)


async def test_a_coarse_market_books_the_rounded_price_and_acknowledges_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    symbols = [f"COIN{one}/USDT:USDT" for one in range(MANY)]
    markets = CoarseMarkets(fault_log("rounded_acknowledgements"), symbols)
    booked = [markets.booked(symbol, D("98.76")) for symbol in symbols]
    assert set(booked) == {D("98.76"), D("98.80")}
    assert near(booked.count(D("98.80")), RATES.rounded_acknowledgements)


async def test_a_stop_is_filled_before_its_acknowledgement_at_the_stated_share_of_the_placings(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ticks = list[Tick]()
    early, struck = EarlyFills(fault_log("early_fills"), ticks.append), 0
    for _ in range(MANY):
        began = trio.current_time()
        await early.hold_back(STOPS[0])
        struck += trio.current_time() > began
    assert near(struck, RATES.early_fills)
    assert struck < len(ticks) < 3 * struck
    assert {tick.price for tick in ticks} == {D(98)}


async def test_an_acknowledgement_has_another_price_or_quantity_at_the_stated_share(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wrong = WrongAcknowledgements(fault_log("wrong_acknowledgements"))
    shown = [wrong.shown(STOPS[0]) for _ in range(MANY)]
    prices, quantities = (
        sum(getattr(one, name) != value for one in shown) for name, value in (("price", 98), ("quantity", 4))
    )
    assert prices
    assert quantities
    assert near(prices + quantities, RATES.wrong_acknowledgements)


async def test_updates_come_late_and_twice_at_the_stated_share_and_so_out_of_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log, pushed = fault_log("late_updates"), UpdateChannel()
    updates = HarshUpdates(pushed, LateUpdates(log), WrongTicks(log), HiddenEnds())
    came: list[tuple[float, float]] = []

    async def listen() -> None:
        while True:
            update = await updates.receive()
            assert isinstance(update, PositionUpdate)
            came.append((update.at, trio.current_time() - update.at))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for _ in range(MANY):
            pushed.push(PositionUpdate(SYMBOL, "long", D(1), trio.current_time()))
            await trio.sleep(1)
        await trio.sleep(2 * LATE_SECONDS[1])
        nursery.cancel_scope.cancel()
    firsts = dict(reversed(came))  # the delay of each first arrival
    assert len(firsts) == MANY
    assert near(sum(late > 0 for late in firsts.values()), RATES.late_updates)
    assert near(len(came) - MANY, RATES.late_updates)
    assert LATE_SECONDS[1] < max(late for _, late in came) <= 2 * LATE_SECONDS[1]
    assert [at for at, _ in came] != sorted(at for at, _ in came)
    assert near(log.strikes["late_updates"], 1 - (1 - RATES.late_updates) ** 2)


async def test_wrong_ticks_come_before_the_stated_share_of_the_ticks_and_the_right_ones_stay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log, pushed = fault_log("wrong_ticks"), UpdateChannel(tick_bound=10 * MANY)
    updates = HarshUpdates(pushed, LateUpdates(log), WrongTicks(log), HiddenEnds())
    ticks = [Tick(SYMBOL, D(100 + at), float(at)) for at in range(5 * MANY)]
    for tick in ticks:
        pushed.push(tick)
    came: list[Update] = [await updates.receive(), *updates.receive_waiting(20 * MANY)]
    right = set(ticks)
    wrong = [one for one in came if one not in right]
    assert [one for one in came if one in right] == ticks
    runs = {one.at for one in wrong if isinstance(one, Tick)}
    assert near(len(runs), RATES.wrong_ticks, len(ticks))
    assert len(runs) < len(wrong) == log.strikes["wrong_ticks"] <= 3 * len(runs)
    assert {one.price / (100 + int(one.at)) for one in wrong if isinstance(one, Tick)} == {D(10), D("0.1")}


async def test_a_listed_stop_vanishes_without_an_update(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        hidden_ends, log, world = HiddenEnds(), fault_log("silent_losses"), scenario()
        manual_changes = HarshStopChanges(
            replace(world, duration=3600.0), log, hidden_ends, setup.process_view.listed_at
        )
        order = await setup.place("98")
        async with setup.paper.updates() as updates, trio.open_nursery() as nursery:
            nursery.start_soon(manual_changes.lose_stops, setup.paper)
            await trio.sleep(1000)
            assert setup.paper.actual(SYMBOL)[0] == (order,)
            setup.process_view.note_listed((order,))
            await trio.sleep(SHOWN_SECONDS)
            assert setup.paper.actual(SYMBOL)[0] == (order,)
            await trio.sleep(1000)
            assert setup.paper.actual(SYMBOL)[0] == ()
            printed = await updates.receive()
            assert hidden_ends.hides(printed)
            nursery.cancel_scope.cancel()
        assert log.strikes == {"silent_losses": 1}
        assert setup.fault_schedule.unexplained_seconds(SYMBOL) > 0  # the setup's own schedule, which was not disturbed


async def test_a_person_amends_stops_tighter_and_looser_at_the_stated_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        order = await setup.place("98")
        log, hours = fault_log("amended_stops"), 20
        manual_changes = HarshStopChanges(replace(scenario(), duration=hours * 3600.0), log, HiddenEnds(), {})
        prices = list[D]()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(manual_changes.amend_stops, setup.paper)
            for _ in range(hours * 60):
                await trio.sleep(60)
                ((stop,), _held) = setup.paper.actual(SYMBOL)
                prices.append(stop.price)
                if stop.price != D(98):
                    setup.amend_by_hand(stop, "98")
        assert stop.client_order_id == order.client_order_id
        assert log.strikes["amended_stops"] == pytest.approx(hours * RATES.amended_stops, rel=0.15)
        assert min(prices) < 97
        assert 98 < max(prices) < 100


async def test_a_sick_symbol_s_cancellation_uses_the_rate_limit_and_is_not_executed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log, world = fault_log("sick_symbols"), scenario()
    async with open_paper(latency=1.0, markets=world.markets, **exchange_options(log.rates)) as paper:
        harsh = HarshExchange(paper, world, log, paper.feed)
        await trio.sleep_until(next(moments(log.draw("sick_symbols"), RATES.sick_symbols, 1e6)) + 1)
        symbol = harsh.sick.symbol
        assert symbol is not None
        await paper.enter(Position(symbol, "long", D(1), D(100), datetime(2026, 1, 1, tzinfo=UTC)))
        order = await harsh.place_stop(StopRequest(symbol, "long", D(1), D(98), "tr0000" + "a" * 16))
        began = trio.current_time()
        with pytest.raises(ExchangeError, match=f"cancel_stop of {symbol}"):
            await harsh.cancel_stop(order)
        assert trio.current_time() == began + 1
        assert paper.actual(symbol)[0] == (order,)
        assert paper.rate_limit_delay("cancel_stop") == 0
        for _ in range(15):  # each uses the rate limit
            with pytest.raises(ExchangeError):
                await harsh.cancel_stop(order)


# Whole worlds.


def test_every_kind_strikes_in_a_few_worlds_and_the_same_seed_gives_the_same_events() -> None:
    strikes = Counter[str]()
    for seed in range(8):
        report = run_world(Scenario.from_seed(seed, RATES), keep_events=seed == 0)
        strikes.update(report.strikes)
        if seed == 0:
            assert run_world(Scenario.from_seed(seed, RATES), keep_events=True) == report
            assert len(report.events) > 50
    assert set(strikes) == set(KINDS)


def test_a_world_with_one_kind_has_strikes_of_that_kind_only() -> None:
    report = run_world(Scenario.from_seed(1, HarshRates.of("wrong_ticks")))
    assert report.strikes.keys() == {"wrong_ticks"}


def test_an_ordinary_world_has_no_part_of_a_harsh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    harsh = Scenario.from_seed(7, RATES)
    assert replace(harsh, harsh=None) == Scenario.from_seed(7)
    before = run_world(Scenario.from_seed(7), keep_events=True)
    run_world(harsh)
    monkeypatch.setattr("simulation.laboratory.world.HarshWorld", lambda *_: 1 / 0)
    assert run_world(Scenario.from_seed(7), keep_events=True) == before
    assert before.strikes == {}
    with pytest.raises(ZeroDivisionError):
        run_world(harsh)


def test_a_bug_that_ends_the_manager_is_a_violation_and_the_next_process_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raise_once(self: object, snapshot: object) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("trailing.protection.reconciler.Reconciler.judge", raise_once)
    report = run_world(Scenario.from_seed(0, HarshRates.of("none")))
    assert [one.partition(": ")[2] for one in report.broken] == ["9. the manager ended: ZeroDivisionError('planted')"]
    assert report.deaths > len(Scenario.from_seed(0).deaths)


def test_a_bug_of_the_laboratory_is_raised_and_not_reported_as_the_manager_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.laboratory.harsh_updates.LATE_SECONDS", None)
    with pytest.raises((ExceptionGroup, TypeError)) as raised:
        run_world(Scenario.from_seed(0, RATES))
    assert is_laboratory_bug(raised.value)


FOUND_AS = {
    "an_amendment_by_hand_ignored": "2. a stop that was loosened by hand is not tightened again",
    "a_loss_without_an_update_not_noticed": "1. a position is unprotected for too long",
    "a_fill_before_the_acknowledgement_counted_twice": "FM 45. a fill was counted twice",
    "a_stored_move": "2. a request is looser than a live stop",
    "a_shared_back_off": "7. no request is made for an unprotected position",
    "an_empty_list_believed": "12. the record of an open position was closed",
    "a_fill_counted_twice": "FM 45. a fill was counted twice",
    "a_loosened_adoption": "2. a stop that was loosened by hand is not tightened again",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FOUND_AS))
def test_a_planted_bug_is_found_in_a_few_harsh_worlds_and_in_no_calm_one_of_these_seeds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, plant = HARSH_PLANTED[name]
    plant(monkeypatch)
    for seed in range(12):
        assert run_world(Scenario.from_seed(seed)).broken == ()
        if FOUND_AS[name] in run_world(Scenario.from_seed(seed, HarshRates.of(kind))).classes:
            return
    raise AssertionError(f"{name} was not found")


# The command.


def reported(seed: int, *broken: str, **strikes: int) -> WorldReport:
    """A report of a world."""
    return WorldReport(
        seed=seed,
        broken=broken,
        deaths=1,
        steps=1,
        open_seconds=1.0,
        unprotected_seconds={},
        objects=(),
        strikes=strikes,
    )


def pretend(monkeypatch: pytest.MonkeyPatch, broken: dict[tuple[str, int], tuple[str, ...]]) -> None:
    """Let the command's worlds have these violations only."""

    def run(kinds: Sequence[str], seeds: Sequence[int], store: str | None = None) -> Iterator[tuple[str, WorldReport]]:
        for kind in kinds:
            for seed in seeds:
                yield kind, reported(seed, *broken.get((kind, seed), ()), **({} if kind == "none" else {kind: 2}))

    monkeypatch.setattr(__main__, "run_kinds", run)


def test_the_table_counts_strikes_and_failures_by_kind_and_invariant_and_is_written_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = ("at 1.000: 12. one: here", "at 2.000: 12. one: there", "at 3.000: 2. another: here")
    pretend(monkeypatch, {("throttles", 4): twice, ("throttles", 5): twice[:1], ("all", 5): ("at 1.000: FM 19. x: y",)})
    file = tmp_path / "table.json"
    assert main(["--harsh", "--table", "--first", "3", "--seeds", "3", "--json", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "throttles: 2 of 3 worlds failing" in printed
    assert "--harsh throttles --seed 4" in printed
    lines = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in printed.splitlines()
        if line.count("│") == 8
    }
    assert list(lines) == list(ROWS)
    assert lines["throttles"] == ["6", "3", "2", "1", "2", ""]
    assert lines["all"] == ["6", "3", "1", "", "", "1"]
    assert lines["none"] == ["0", "0", "0", "", "", ""]
    rows = {row["kind"]: row for row in json.loads(file.read_bytes())}
    assert list(rows) == list(ROWS)
    assert rows["throttles"] == {
        "kind": "throttles",
        "first": 3,
        "seeds": 3,
        "strikes": {"throttles": 6},
        "struck": 3,
        "failing": [4, 5],
        "classes": {"12. one": [4, 5], "2. another": [4]},
    }


def test_a_table_without_failures_and_one_of_a_single_kind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {("all", 0): ("at 1.000: 12. one: here",)})
    assert main(["--harsh", "throttles", "--table", "--seeds", "2"]) == 0
    printed = capsys.readouterr().out
    assert "throttles" in printed
    assert "sick_symbols" not in printed


def test_each_failing_world_is_printed_with_the_command_that_replays_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {("all", 0): ("at 1.000: 12. one: here",), ("all", 2): ("at 1.000: 12. one: there",)})
    assert main(["--seeds", "3"]) == 1
    printed = capsys.readouterr().out
    for seed in (0, 2):
        assert f"replay it with: python -m simulation.laboratory --harsh all --seed {seed}\n" in printed
    assert "--seed 1" not in printed


def test_calm_worlds_are_an_option_and_are_replayed_as_calm_worlds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {("all", 0): ("at 1.000: 12. one: here",), ("calm", 1): ("at 1.000: 12. one: there",)})
    assert main(["--calm", "--seeds", "3"]) == 1
    assert "replay it with: python -m simulation.laboratory --calm --seed 1\n" in capsys.readouterr().out
    assert main(["--calm", "--seeds", "1"]) == 0


def test_the_command_runs_and_replays_harsh_worlds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--harsh", "none", "--seeds", "2", "--table"]) == 0
    assert "none" in capsys.readouterr().out
    main(["--harsh", "wrong_ticks", "--seed", "1"])
    printed = capsys.readouterr().out
    assert "place_stop" in printed
    assert "faults: wrong_ticks" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--harsh", "--day"], "--harsh can't be combined with --day or --calm"),
        (["--harsh", "--calm"], "--harsh can't be combined with --day or --calm"),
        (
            ["--table", "--store", "postgresql://localhost/db"],
            "--table can't be combined with --day, --calm or --store",
        ),
        (["--json", "x.json"], "--json needs --table"),
        (["--harsh", "storms"], "invalid choice: 'storms'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err
