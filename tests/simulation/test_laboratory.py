"""Test the simulated worlds, and that they find planted bugs."""

from __future__ import annotations

from itertools import count, islice

import pytest
import trio
from trio._core import _run

from simulation.laboratory import Scenario, run_world
from simulation.laboratory.__main__ import main
from simulation.laboratory.determinism import run_deterministically
from simulation.laboratory.harsh_table import ALL, CALM, replay, scenario_of
from simulation.laboratory.settled import SETTLES_WITHIN, wait_settled
from simulation.planted import HARSH_PLANTED, OF_TRAILING_ORDERS, PLANTED

BLOCK = 20
SEEDS = 40
"""`nox -s simulate` runs many more."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [CALM, ALL])
@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_no_invariant_is_broken_in_the_worlds_from_seed(first: int, kind: str) -> None:
    for seed in range(first, first + BLOCK):
        report = run_world(scenario_of(kind, seed))
        assert report.broken == (), "\n".join((*report.broken, f"replay it with: {replay(kind, seed)}"))
        assert report.deaths >= 1
        assert "unexplained" not in report.unprotected_seconds


def test_the_same_seed_gives_the_same_events() -> None:
    first, second = (run_world(Scenario.from_seed(7), keep_events=True) for _ in range(2))
    assert len(first.events) > 50
    assert first == second
    assert run_world(Scenario.from_seed(8), keep_events=True).events != first.events


SOUGHT_FROM = {"a_lost_reply_taken_for_a_refusal": 65, "a_trailing_order_taken_for_the_stop": 540}
"""The seeds from which bugs of rare worlds are sought. From seed 0 on it takes 71 and 178 worlds until they are found."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PLANTED | HARSH_PLANTED))
def test_a_planted_bug_is_found_in_under_500_worlds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = PLANTED[name] if name in PLANTED else HARSH_PLANTED[name][1]
    plant(monkeypatch)
    scenarios = (scenario_of(ALL, seed) for seed in count(SOUGHT_FROM.get(name, 0)))
    worlds = (each for each in scenarios if each.plan.native or name not in OF_TRAILING_ORDERS)
    assert any(run_world(each).broken for each in islice(worlds, 500))


@pytest.mark.parametrize(("settles_at", "waited"), [(0.0, 0.0), (12.0, 12.0), (100.0, SETTLES_WITHIN)])
async def test_a_world_ends_once_it_has_settled_and_half_a_minute_later_at_the_latest(
    settles_at: float, waited: float, autojump_clock: trio.testing.MockClock
) -> None:
    begun = trio.current_time()
    await wait_settled(lambda: trio.current_time() >= begun + settles_at)
    assert trio.current_time() - begun == pytest.approx(waited)


def test_an_error_of_a_world_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.laboratory.world.open_paper", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as raised:
        run_world(Scenario.from_seed(3))
    assert raised.value.__notes__ == ["in the world of seed 3"]


def test_a_trio_without_scheduling_from_a_seed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING")
    with pytest.raises(RuntimeError, match="because it has no _ALLOW_DETERMINISTIC_SCHEDULING"):
        run_deterministically(trio.lowlevel.checkpoint, 0)


def test_trio_shuffles_as_before_after_a_world() -> None:
    before = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING
    run_world(Scenario.from_seed(0))
    assert (_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING) == before


def test_the_command_prints_violations_and_the_command_that_replays_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--calm", "--seed", "0"]) == 0
    printed = capsys.readouterr().out
    assert "place_stop" in printed
    assert "worlds with violations │ 0" in printed
    PLANTED["a_forgotten_intent"](monkeypatch)
    assert main(["--calm", "--seed", "0"]) == 1
    assert "4. an order has no intent in the store" in capsys.readouterr().out
