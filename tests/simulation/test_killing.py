"""Test that a bot that is killed many times loses nothing, and that the checks find each kind of loss."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import trio
import trio.testing

from simulation.killing import KillingReport, __main__, kill_and_restart
from simulation.killing.checks import Records, broken_by, left_entries, not_covered, unsettled, without_a_stop
from simulation.killing.history import Accepted, Attached, Entered, Event, Filled, History, PartEntered, Withdrawn
from simulation.killing.ledger import Ledger
from simulation.killing.market import MovingMarket
from simulation.killing.markets import all_markets
from simulation.killing.run_store import FileRunStore
from trailing import Market, Percent, Position, StopOrder, TrailPlan, UsageError
from trailing.core.account import PositionReport
from trailing.core.entries import EntryFacts
from trailing.core.entry_orders import AttachedStop, EntryOrder, EntryRequest
from trailing.core.evidence import Timing
from trailing.core.inputs import StopFound
from trailing.core.model import Fill, Side, Tick
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import StopRecord, save_position
from trailing.exchanges.paper import open_paper
from trailing.stores import open_store
from trailing.stores.port import AddIntent, Intent, Loaded, SaveStop

BTC = "BTC/USDT:USDT"
KEY: tuple[str, Side] = (BTC, "long")
START = datetime(2026, 1, 1, tzinfo=UTC)
POSITION = Position(BTC, "long", D(2), D(100), START, id="one")
MARKETS = {BTC: Market(BTC)}


def a_stop(price: str = "98", name: str = "tr0123" + "a" * 16, **changes: Any) -> StopOrder:
    return StopOrder(BTC, "long", D(2), D(price), name, "1", **changes)


LOOSE, TIGHT = a_stop("98"), a_stop("99", "tr0123" + "b" * 16)


def a_fill(name: str = LOOSE.client_order_id, quantity: str = "2") -> Event:
    return Filled(3.0, Fill(BTC, "long", D(quantity), D(98), "1", name, 3.0))


def a_history(*events: Event, stops: tuple[StopOrder, ...] = (), remaining: str = "2") -> History:
    """Return a history of the one position, which is open unless nothing remains of it."""
    reports = (PositionReport(BTC, "long", D(remaining), D(100)),) if D(remaining) else ()
    return History(5.0, len(events), events, stops, reports)


def a_record(*orders: StopOrder, **changes: Any) -> StopRecord:
    state = PositionState(Ratchet(POSITION, TrailPlan(initial_stop=Percent(2)), MARKETS[BTC]), Timing(), 0.0)
    for order in orders:
        state.step(StopFound(order), 0.0)
    return msgspec.structs.replace(save_position(state, 0.0, START), **changes)


def an_intent(order: StopOrder = LOOSE) -> Intent:
    name = order.client_order_id
    return Intent("paper", "default", BTC, "long", "one", name, "stop", order.quantity, order.price, START)


def children() -> set[int]:
    """Return the numbers of this process's children. Earlier tests may have left one, such as a tracker of shared resources."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.mark.slow
async def test_a_wave_survives_a_bot_that_is_killed_many_times(tmp_path: Path) -> None:
    to_events: list[int] = []
    with trio.fail_after(120):
        report = await kill_and_restart(
            8, seed=4, folder=tmp_path, positions=15, progress=lambda number, _phase, _seconds: to_events.append(number)
        )
    assert report.violations == ()
    assert to_events == list(range(1, 9))
    assert (report.kills, report.restarts, sum(report.phases.values())) == (8, 8, 8)
    assert report.checks > report.kills  # after each kill, and after bots were ready
    assert report.positions >= 15
    assert report.stops >= report.positions / 2
    assert await FileRunStore(tmp_path / "trailing.db").damage() == []


@pytest.mark.slow
async def test_waves_of_entries_survive_a_bot_that_is_killed_many_times(tmp_path: Path) -> None:
    with trio.fail_after(300):
        report = await kill_and_restart(4, seed=4, folder=tmp_path, positions=9, entries=True)
    assert report.violations == ()
    assert (report.kills, report.restarts) == (4, 4)
    assert report.checks > report.kills
    assert report.positions >= 4
    assert report.stops > 0


@pytest.mark.slow
async def test_a_run_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    before = children()
    with trio.move_on_after(3) as scope:
        await kill_and_restart(100, seed=4, folder=tmp_path, positions=5)
    assert scope.cancelled_caught
    assert children() <= before


def test_the_ledger_finds_nothing_in_a_position_that_was_protected_moved_and_stopped_out() -> None:
    ledger = Ledger()
    opened = Entered(1.0, POSITION), Accepted(1.0, LOOSE)
    assert ledger.take(a_history(*opened, stops=(LOOSE,))) == []
    moved = Accepted(2.0, TIGHT), Withdrawn(2.0, BTC, LOOSE.client_order_id)
    assert ledger.take(a_history(*moved, stops=(TIGHT,))) == []
    assert list(ledger.open[KEY].stops) == [TIGHT.client_order_id]
    assert ledger.take(a_history(a_fill(TIGHT.client_order_id), remaining="0")) == []
    assert (ledger.entered, ledger.accepted, ledger.ended, ledger.open) == (1, 2, 1, {})


def test_the_ledger_finds_a_position_that_two_bots_have_entered() -> None:
    again = Entered(1.5, msgspec.structs.replace(POSITION, id="two"))
    (found,) = Ledger().take(a_history(Entered(1.0, POSITION), again))
    assert "entered again" in found


def an_entry(filled: str, name: str = "tr0123" + "e" * 16, *, is_working: bool = True) -> EntryOrder:
    return EntryOrder(BTC, "long", D(2), name, "1", is_working, D(filled), D(100) if D(filled) else None, START)


def test_the_ledger_takes_the_parts_of_an_entry_and_the_stop_that_it_carries() -> None:
    ledger = Ledger()
    parts = (
        PartEntered(1.0, an_entry("1")),
        Attached(1.0, msgspec.structs.replace(LOOSE, quantity=D(1))),
        PartEntered(2.0, an_entry("2")),
    )
    assert ledger.take(a_history(*parts, Attached(2.0, LOOSE), Accepted(2.0, TIGHT), stops=(LOOSE, TIGHT))) == []
    entry = ledger.open[KEY]
    assert (entry.remaining, entry.position.quantity, ledger.entered) == (D(2), D(2), 1)
    assert entry.attached == {LOOSE.client_order_id}
    third, fourth = a_stop("99", "third"), a_stop("99", "fourth")
    assert list(ledger.note(Accepted(3.0, third))) == []  # the two of a move, beside the one that its entry carries
    (found,) = ledger.note(Accepted(3.0, fourth))
    assert "has 4 live stops" in found


def test_what_is_filled_of_an_entry_after_the_end_of_its_position_opens_it_again() -> None:
    ledger = Ledger()
    assert ledger.take(a_history(PartEntered(1.0, an_entry("1")), a_fill(quantity="1"), remaining="0")) == []
    assert list(ledger.note(Attached(2.0, LOOSE))) == []  # it is placed although nothing is open
    assert ledger.take(a_history(PartEntered(3.0, an_entry("2")), remaining="1")) == []
    assert (ledger.entered, ledger.ended) == (1, 1)


def test_where_one_stop_may_stand_the_one_of_the_entry_may_be_looser_while_ours_is_moved() -> None:
    for one_stop, found in (({BTC}, 0), (set[str](), 1)):
        ledger = Ledger(one_stop=one_stop)
        events = PartEntered(1.0, an_entry("2")), Accepted(1.0, TIGHT), Attached(2.0, LOOSE)
        assert [each for event in events for each in ledger.note(event)] == []
        assert len(list(ledger.note(Withdrawn(3.0, BTC, TIGHT.client_order_id)))) == found


@pytest.mark.parametrize("entered_first", [True, False])
def test_what_is_entered_beyond_a_stop_that_is_filled_as_a_whole_has_none_until_the_next_one(
    entered_first: bool,
) -> None:
    ledger = Ledger()
    stop = msgspec.structs.replace(LOOSE, quantity=D(1))
    ended = a_fill(LOOSE.client_order_id, quantity="1"), Withdrawn(2.0, BTC, LOOSE.client_order_id)
    parts = (PartEntered(1.0, an_entry("1.5")),)
    more = (PartEntered(1.5, an_entry("2")),)
    events = (*parts, Accepted(1.0, stop), *((*more, *ended) if entered_first else (*ended, *more)))
    for event in events:
        ledger.note(event)
    assert ledger.open[KEY].has_outgrown
    ledger.note(Accepted(3.0, TIGHT))
    assert not ledger.open[KEY].has_outgrown


def test_a_stop_that_the_market_has_filled_while_its_entry_grew_is_not_live_any_more() -> None:
    ledger = Ledger()
    stop = msgspec.structs.replace(TIGHT, quantity=D(1))
    filled = PartEntered(1.0, an_entry("1")), Accepted(1.0, stop), a_fill(TIGHT.client_order_id, quantity="1")
    ledger.take(a_history(*filled, PartEntered(2.0, an_entry("2")), remaining="1"))
    assert list(ledger.open[KEY].stops) == []
    assert len(without_a_stop(ledger, set())) == 1
    further = a_stop("99", "second"), a_stop("99", "third")
    events = tuple(Accepted(3.0, one) for one in further)
    assert ledger.take(a_history(*events, stops=further, remaining="1")) == []


def test_a_stop_that_the_exchange_has_cancelled_by_itself_is_not_live_any_more() -> None:
    ledger = Ledger()
    ledger.take(a_history(Entered(0.0, POSITION), Accepted(1.0, LOOSE), Accepted(1.0, TIGHT), stops=(LOOSE,)))
    assert list(ledger.open[KEY].stops) == [LOOSE.client_order_id]
    assert ledger.take(a_history(Accepted(2.0, a_stop("99", "third")), stops=(LOOSE, a_stop("99", "third")))) == []


def test_the_ledger_finds_a_second_entry_of_an_open_position() -> None:
    ledger = Ledger()
    assert list(ledger.note(PartEntered(1.0, an_entry("1")))) == []
    (found,) = ledger.note(PartEntered(1.5, an_entry("1", "another")))
    assert "entered again" in found


@pytest.mark.parametrize(("written_at", "found"), [(START, 1), (START + timedelta(seconds=2), 0), (None, 1)])
def test_an_entry_of_a_dead_bot_has_to_be_cancelled(written_at: datetime | None, found: int) -> None:
    history = msgspec.structs.replace(a_history(), entries=(an_entry("0"),))
    intents = () if written_at is None else (an_intent(LOOSE),)
    own = history.entries[0].client_order_id
    written = tuple(
        msgspec.structs.replace(intent, client_order_id=own, purpose="entry", at=written_at or START)
        for intent in intents
    )
    assert len(left_entries(history, Loaded((), written), START + timedelta(seconds=1))) == found


@pytest.mark.parametrize(
    ("quantity", "entries", "reported", "found"),
    [("2", False, False, 0), ("1", False, False, 1), ("1", True, False, 0), ("1", False, True, 0)],
)
def test_a_stop_has_to_cover_the_whole_position(quantity: str, entries: bool, reported: bool, found: int) -> None:
    ledger, stop = Ledger(), msgspec.structs.replace(LOOSE, quantity=D(quantity))
    history = a_history(Entered(0.0, POSITION), Accepted(1.0, stop), stops=(stop,))
    ledger.take(history)
    if entries:
        history = msgspec.structs.replace(history, entries=(an_entry("1"),))
    assert len(not_covered(ledger, history, {KEY} if reported else set())) == found


def test_the_first_fill_of_an_entry_may_set_peak_and_target_back() -> None:
    facts = EntryFacts("tr1", D(2), D(100), START)
    records = Records()
    assert records.take(Loaded((a_record(best=D(103), entry=facts),), ())) == []
    filled = msgspec.structs.replace(facts, entered=D(1))
    assert records.take(Loaded((a_record(best=D(101), entry=filled),), ())) == []
    assert len(records.take(Loaded((a_record(best=D(100), entry=filled),), ()))) == 1


async def test_the_market_reports_what_entries_fill_and_place(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(BTC, attached_stop="bridge")
    async with open_paper(record=True, partial_entries=D("0.5"), markets=(market,)) as exchange:
        moving = MovingMarket(exchange, {BTC: market}, seed=1)
        exchange.feed(Tick(BTC, D(100), 0.0))
        stop = AttachedStop(D(98), "tr-entry")
        await exchange.place_entry(EntryRequest(BTC, "long", D(2), "tr-entry", stop=stop))
        history = await moving.history(0)
        kinds = [type(event) for event in history.events]
        assert kinds == [PartEntered, Attached]
        assert [entry.client_order_id for entry in history.entries] == ["tr-entry"]
        assert await moving.taken() == (BTC,)
        exchange.reduce(BTC, "long", D("0.5"))
        (_, resized) = (await moving.history(history.number)).events
        assert isinstance(resized, Attached)
        assert resized.order.quantity == D("0.5")


async def test_a_symbol_with_an_open_position_can_not_be_entered_again(autojump_clock: trio.testing.MockClock) -> None:
    other = msgspec.structs.replace(POSITION, side="short", id="two")
    async with open_paper(record=True, hedged=True) as exchange, trio.open_nursery() as nursery:
        market = MovingMarket(exchange, MARKETS, seed=1)
        refused = []

        async def enter(position: Position) -> None:
            try:
                await market.enter(position)
            except UsageError as error:
                refused.append(str(error))

        nursery.start_soon(enter, POSITION)
        nursery.start_soon(enter, other)
        await trio.testing.wait_all_tasks_blocked()
        await enter(POSITION)
        assert refused == [f"{BTC} has an open position"] * 2
        assert len(await exchange.positions()) == 1


@pytest.mark.parametrize(
    ("events", "remaining", "found"),
    [
        pytest.param(
            (Accepted(1.0, TIGHT), Accepted(1.0, LOOSE)), "2", ["2. a stop never loosens"], id="placed looser"
        ),
        pytest.param(
            (Accepted(1.0, TIGHT), Withdrawn(1.0, BTC, TIGHT.client_order_id), Accepted(1.0, LOOSE)),
            "2",
            ["2. a stop never loosens", "2. a stop never loosens"],
            id="placed looser after it was unprotected",
        ),
        pytest.param(
            (Accepted(1.0, LOOSE), Accepted(1.0, TIGHT), Withdrawn(1.0, BTC, TIGHT.client_order_id)),
            "2",
            ["2. a stop never loosens"],
            id="the tighter one cancelled",
        ),
        pytest.param(
            (Accepted(1.0, LOOSE), Accepted(1.0, TIGHT), Accepted(1.0, a_stop("99", "third"))),
            "2",
            ["1. the long"],
            id="three stops",
        ),
        pytest.param((a_fill(quantity="3"),), "0", ["6. no exit makes a position cross zero"], id="more than there is"),
        pytest.param((a_fill(), a_fill()), "0", ["6. no exit makes a position cross zero"], id="closed twice"),
        pytest.param(
            (Accepted(1.0, LOOSE), a_fill("close"), Entered(2.0, POSITION), a_fill()),
            "0",
            ["6. an exit of another position"],
            id="an earlier position's stop",
        ),
        pytest.param((a_fill(quantity="1"),), "2", ["the ledger differs"], id="another quantity"),
    ],
)
def test_the_ledger_finds_what_must_never_happen(events: tuple[Event, ...], remaining: str, found: list[str]) -> None:
    broken = Ledger().take(a_history(Entered(0.0, POSITION), *events, remaining=remaining))
    assert len(broken) == len(found), broken
    assert all(one.startswith(wanted) for one, wanted in zip(broken, found, strict=True)), broken


@pytest.mark.parametrize(
    ("stops", "loaded", "found"),
    [
        pytest.param((LOOSE,), Loaded((a_record(LOOSE),), ()), [], id="as it should be"),
        pytest.param((LOOSE, TIGHT), Loaded((a_record(LOOSE, TIGHT),), ()), [], id="two on record"),
        pytest.param((LOOSE,), Loaded((a_record(),), (an_intent(),)), [], id="an order in flight"),
        pytest.param((LOOSE,), Loaded((), ()), [1, 4, 5], id="a stop without a record"),
        pytest.param((LOOSE, TIGHT), Loaded((a_record(LOOSE),), ()), [1, 4, 5], id="one too many"),
        pytest.param((TIGHT,), Loaded((a_record(LOOSE),), ()), [3, 4, 5], id="another one than is stored"),
        pytest.param((a_stop("97"),), Loaded((a_record(LOOSE),), ()), [3], id="at another price"),
    ],
)
def test_exchange_and_store_are_compared(stops: tuple[StopOrder, ...], loaded: Loaded, found: list[int]) -> None:
    ledger = Ledger()
    history = a_history(Entered(0.0, POSITION), *(Accepted(1.0, stop) for stop in stops), stops=stops)
    ledger.take(history)
    broken = broken_by(ledger, history, loaded, MARKETS)
    assert sorted({int(one[0]) for one in broken}) == found, broken


@pytest.mark.parametrize(("two_stops", "is_fine"), [(True, False), (False, True)])
def test_a_dead_bot_may_leave_a_move_unprotected_only_if_one_stop_is_allowed(two_stops: bool, is_fine: bool) -> None:
    ledger = Ledger()
    history = a_history(Entered(0.0, POSITION), Accepted(1.0, LOOSE), Withdrawn(2.0, BTC, LOOSE.client_order_id))
    ledger.take(history)
    broken = broken_by(ledger, history, Loaded((a_record(LOOSE),), ()), {BTC: Market(BTC, two_stops=two_stops)})
    assert (broken == []) == is_fine, broken


def test_an_unprotected_position_has_to_be_reported() -> None:
    ledger = Ledger()
    ledger.take(a_history(Entered(0.0, POSITION)))
    assert without_a_stop(ledger, {KEY}) == []
    (found,) = without_a_stop(ledger, set())
    assert "has no live stop" in found
    ledger.take(a_history(Accepted(1.0, LOOSE), stops=(LOOSE,)))
    assert without_a_stop(ledger, set()) == []


def test_an_order_of_a_dead_bot_has_to_be_settled_and_one_of_a_running_bot_may_be_in_flight() -> None:
    loaded = Loaded((), (an_intent(),))
    assert unsettled(loaded, START) == []
    (found,) = unsettled(loaded, START + timedelta(seconds=1))
    assert LOOSE.client_order_id in found


@pytest.mark.parametrize(
    ("changes", "found"),
    [({"best": D(103)}, 0), ({"best": D(101)}, 1), ({"target": D(99)}, 0), ({"target": D(97)}, 1)],
)
def test_neither_peak_nor_target_goes_back_in_the_store(changes: dict[str, D], found: int) -> None:
    records = Records()
    assert records.take(Loaded((a_record(LOOSE, best=D(102)),), ())) == []
    later = Loaded((a_record(LOOSE, **({"best": D(102)} | changes)),), ())
    assert len(records.take(later)) == found


async def test_damage_of_a_store_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "trailing.db"
    async with open_store(f"sqlite:///{path}") as store:
        await store.commit([AddIntent(an_intent()), SaveStop("paper", "default", a_record(LOOSE))] * 100)
    run_store = FileRunStore(path)
    assert await run_store.damage() == []
    assert (await run_store.load("paper", "default")).intents == (an_intent(),)
    content = bytearray(path.read_bytes())
    content[4096 : 3 * 4096] = b"\x5a" * (2 * 4096)
    path.write_bytes(content)
    (first, *_) = await run_store.damage()
    assert first.startswith("the store's file is damaged")
    path.write_bytes(b"no database at all" * 500)
    assert len(await run_store.damage()) == 1


def test_reading_the_store_of_a_running_bot_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "missing.db"
    run_store = FileRunStore(path)
    assert trio.run(run_store.load, "paper", "default") == Loaded((), ())
    assert len(trio.run(run_store.damage)) == 1
    assert not path.exists()
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


def test_a_run_has_markets_of_every_kind_and_the_same_ones_for_a_seed() -> None:
    markets = all_markets(1, 9)
    assert markets == all_markets(1, 9)
    assert markets != all_markets(2, 9)
    assert len({(market.can_amend, market.two_stops) for market in markets.values()}) == 3


def a_report(*violations: str) -> KillingReport:
    return KillingReport(
        kills=3,
        restarts=3,
        seconds=2.0,
        phases={"wave": 3},
        checks=4,
        slowest_wait=0.1,
        waited=0.2,
        slowest_recovery=0.5,
        slowest_protection=0.7,
        positions=20,
        ended=5,
        stops=40,
        unprotected_at_kill=1,
        pending_at_kill=2,
        violations=violations,
    )


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[KillingReport], None]:
    """Let the command use a given report instead of a run."""

    def set_report(report: KillingReport) -> None:
        async def run(*_: object, progress: Callable[[int, str, float], None], **__: object) -> KillingReport:
            await trio.lowlevel.checkpoint()
            progress(1, "wave", 0.25)
            return report

        monkeypatch.setattr(__main__, "kill_and_restart", run)

    return set_report


def test_the_command_prints_each_kill_and_a_table(
    answer: Callable[[KillingReport], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer(a_report())
    assert __main__.main(["--kills", "3", "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    assert "kill   1 of 3: wave      after 0.25 s" in printed
    assert "seed 5" in printed
    assert "repeat" not in printed


def test_the_command_fails_on_a_violation_and_prints_the_command_that_repeats_it(
    answer: Callable[[KillingReport], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer(a_report("2. a stop [never] loosens"))
    assert __main__.main(["--kills", "3", "--seed", "5", "--positions", "9", "--entries"]) == 1
    printed = capsys.readouterr().out
    assert "violation 2. a stop [never] loosens" in printed
    assert "repeat it with: python -m simulation.killing --kills 3 --seed 5 --positions 9 --entries\n" in printed
