"""Every metric has a known answer: a scenario on the virtual clock, whose figures can be worked out by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import trio
from pages import BTC, a_position, open_bot
from prometheus_client.parser import text_string_to_metric_families

from trailing import StopRejected
from trailing.events import Alarm, StopOpened
from trailing.testing import At, Hangs, Refuses, Throttles
from trailing.testing.faults import Fault, Slow
from trailing.web import Metrics
from trailing.web.catalogue import METRICS, table
from trailing.web.measured import find_code
from trailing.web.metrics import MOST_SERIES, Values
from trailing.web.sources import ManagerSource
from trailing.web.stored import StoreSource

Samples = dict[str, float]

LOST = "LOST/USDT:USDT"
REFUSED = StopRejected('binanceusdm {"code":-2019,"msg":"Margin is insufficient."}')


def samples(text: bytes) -> Samples:
    """The samples that Prometheus reads, as `name{label=value}`; of a bucket, those that are not 0."""
    return {
        sample.name
        + ("{" + ",".join(f"{k}={v}" for k, v in sample.labels.items()) + "}" if sample.labels else ""): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.value or not sample.name.endswith("_bucket")
    }


async def test_a_bot_s_metrics_have_the_figures_of_what_happened(autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {At("place_stop", LOST): Refuses(REFUSED), At("place_stop", BTC, 3): Slow(2.0)}
    started = trio.current_time()
    async with open_bot(latency=1.0, faults=faults) as bot, trio.open_nursery() as nursery:
        source = ManagerSource(bot.manager, bot.metrics)
        nursery.start_soon(source.run)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() - started == 1.0  # the manager has read the account
        await bot.protect(a_position(), deadline=3.0)
        await trio.sleep(10.0)
        bot.feed("102")  # a move: the next stop in 1 s, the cancel of the old one in another
        await trio.sleep(10.0)
        bot.feed("103")  # the next stop in 3 s
        await trio.sleep(10.0)
        bot.paper.disconnect()
        await trio.sleep(5.0)
        bot.paper.reconnect()
        await trio.sleep(5.0)
        before, commits = samples(bot.metrics.render(source.values())), bot.store.commits
        await bot.paper.enter(a_position(LOST))
        await bot.manager.protect(a_position(LOST), deadline=3.0)
        await trio.sleep(0.25)
        after = samples(bot.metrics.render(source.values()))
        nursery.cancel_scope.cancel()
    assert before["trailing_positions{state=trailing}"] == 1
    assert before["trailing_unprotected_positions"] == 0
    assert before["trailing_unprotected_longest_seconds"] == 0
    opened_for = 2.0  # from the beginning until the stop was acknowledged
    assert before["trailing_unprotected_seconds_total{cause=opening}"] == opened_for
    assert before["trailing_unprotected_seconds_total{cause=move}"] == 0
    assert before["trailing_time_to_protect_seconds_count"] == 1
    assert before["trailing_time_to_protect_seconds_sum"] == opened_for
    assert before["trailing_stop_moves_total"] == 2
    assert before["trailing_waves_total"] == 1
    assert before["trailing_outcomes_total{outcome=Protected}"] == 1
    assert before["trailing_events_total{event=StopMoved,level=info}"] == 2
    assert before["trailing_events_total{event=StreamChanged,level=warning}"] == 2
    assert before["trailing_stream_reconnects_total"] == 1
    assert before["trailing_stream_connected"] == 1
    assert before["trailing_ticks_total"] == 2
    assert before["trailing_stream_lag_seconds"] == 20.0
    assert (
        before["trailing_exchange_silence_seconds"] == 16.0
    )  # the second move took 3 s, and the cancel of the old stop 1 s
    assert before["trailing_requests_total{operation=place_stop,result=ok}"] == 3
    assert before["trailing_requests_total{operation=cancel_stop,result=ok}"] == 2
    assert before["trailing_request_seconds_count{operation=place_stop}"] == 3
    assert before["trailing_request_seconds_sum{operation=place_stop}"] == 5.0
    assert before["trailing_request_seconds_bucket{le=1.0,operation=place_stop}"] == 2
    assert before["trailing_request_seconds_bucket{le=2.0,operation=place_stop}"] == 2
    assert before["trailing_request_seconds_bucket{le=5.0,operation=place_stop}"] == 3
    assert before["trailing_rate_limit_wait_seconds_count{operation=place_stop}"] == 3
    assert before["trailing_rate_limit_wait_seconds_sum{operation=place_stop}"] == 0
    assert before["trailing_journal_waiting_entries"] == 0
    assert before["trailing_journal_behind"] == 0
    assert before["trailing_events_dropped_total"] == 0
    assert before["trailing_positions_closed_total"] == 0
    assert before["trailing_lease_held{account=paper default}"] == 1
    assert before["trailing_lease_seconds"] == math.inf
    assert before["trailing_journal_commits_total"] == commits > 0
    refused = after["trailing_requests_total{operation=place_stop,result=StopRejected}"]
    assert refused >= 1
    assert after["trailing_refusals_total{code=-2019,error=StopRejected,operation=place_stop}"] == refused
    assert after["trailing_unprotected_positions"] == 1
    assert after["trailing_unprotected_longest_seconds"] == 0.25
    assert after["trailing_positions{state=trailing}"] == 1
    assert after["trailing_time_to_protect_seconds_count"] == 1


async def test_alarms_and_closed_positions_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot() as bot, trio.open_nursery() as nursery:
        source = ManagerSource(bot.manager, bot.metrics)
        nursery.start_soon(source.run)
        await trio.testing.wait_all_tasks_blocked()
        await bot.protect(a_position())
        await trio.sleep(5.0)
        await bot.manager.close(BTC, "long", deadline=10.0)
        bot.paper.disconnect()
        await trio.sleep(300.0)
        bot.metrics.take(Alarm(at=a_position().opened_at, what="the journal did not drain"))
        found = samples(bot.metrics.render(source.values()))
        nursery.cancel_scope.cancel()
    assert found["trailing_positions_closed_total"] == 1
    assert found["trailing_alarms_total{what=the journal did not drain}"] == 1
    assert found["trailing_stream_connected"] == 0
    assert found["trailing_stream_lag_seconds"] == 0  # no position is protected
    assert not any(name.startswith("trailing_positions{") for name in found)


async def test_a_store_that_hangs_is_behind_and_its_entries_wait(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot(store_faults={At("commit"): Hangs()}) as bot:
        source = ManagerSource(bot.manager, bot.metrics)
        with trio.move_on_after(30.0):
            await bot.protect(a_position(), deadline=20.0)
        found = samples(bot.metrics.render(source.values()))
        assert found["trailing_journal_behind"] == 1
        assert found["trailing_journal_waiting_entries"] == bot.manager.health().journal.waiting > 0


async def test_a_second_stop_of_a_position_is_not_its_time_to_protect() -> None:
    metrics, position = Metrics(), a_position()
    opened = StopOpened(
        at=position.opened_at,
        symbol=position.symbol,
        side=position.side,
        quantity=position.quantity,
        price=position.entry_price,
        client_order_id="t1",
        unprotected_seconds=3.0,
    )
    metrics.take(opened)
    metrics.take(opened)
    found = samples(metrics.render({}))
    assert found["trailing_time_to_protect_seconds_count"] == 1
    assert found["trailing_time_to_protect_seconds_sum"] == 3.0


async def test_a_position_that_was_protected_before_the_page_is_no_new_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bot() as bot, trio.open_nursery() as nursery:
        await bot.protect(a_position())
        nursery.start_soon(ManagerSource(bot.manager, bot.metrics).run)
        await trio.sleep(5.0)
        (stop,) = await bot.paper.open_stops()
        bot.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(30.0)
        assert len(bot.manager.stops()) == 1
        found = samples(bot.metrics.render({}))
        assert found["trailing_events_total{event=StopOpened,level=info}"] == 1
        assert found["trailing_time_to_protect_seconds_count"] == 0
        nursery.cancel_scope.cancel()


async def test_a_request_that_waits_or_is_cancelled_is_measured(autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {At("price"): Throttles(5.0), At("positions"): Hangs()}
    async with open_bot() as bot:
        bot.faulty.__init__(bot.paper, faults)  # type: ignore[misc]
        measured = bot.metrics.measure(bot.faulty)
        with pytest.raises(Exception, match="limited on purpose"):
            await measured.price(BTC, "last")
        with trio.move_on_after(2.0):
            await measured.positions()
        found = samples(bot.metrics.render({}))
    assert found["trailing_requests_total{operation=price,result=RateLimited}"] == 1
    assert found["trailing_requests_total{operation=positions,result=cancelled}"] == 1
    assert found["trailing_request_seconds_bucket{le=2.0,operation=positions}"] >= 1


async def test_a_store_s_metrics_say_what_it_holds(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot() as bot:
        await bot.protect(a_position())
        source = StoreSource(bot.store)
        with trio.move_on_after(5.0):
            await source.run()
        found = samples(Metrics().render(source.values()))
    assert found["trailing_positions{state=waiting}"] == 1
    assert found["trailing_unprotected_positions"] == 0
    assert found["trailing_store_readable"] == 1
    assert found["trailing_lease_held{account=paper default}"] == 1


def test_every_metric_of_the_catalogue_has_a_known_answer_in_a_test_above() -> None:
    tested = set(re.findall(r'\["(trailing_\w+?)(?:_count|_sum|_bucket)?(?:\{|"\])', Path(__file__).read_text()))
    assert set(METRICS) - tested == set()


def test_every_metric_is_shown_with_the_help_of_the_catalogue() -> None:
    text = Metrics().render({}).decode()
    for name, metric in METRICS.items():
        base = name.removesuffix("_total") if metric.kind == "counter" else name
        assert f"# HELP {name} {metric.help}\n" in text or f"# HELP {base} {metric.help}\n" in text
        assert f"`{name}`" in table()
        assert metric.help in table()


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_named_by_the_rules_of_prometheus(name: str) -> None:
    metric = METRICS[name]
    assert re.fullmatch(r"trailing(_[a-z]+)+", name)
    assert name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")


def test_labels_from_outside_take_a_bounded_memory() -> None:
    metrics = Metrics()
    for number in range(2 * MOST_SERIES):
        metrics.count("trailing_alarms_total", f"alarm {number}")
        metrics.observe("trailing_request_seconds", 1.0, f"operation {number}")
    found = samples(metrics.render({}))
    assert sum(name.startswith("trailing_alarms_total") for name in found) == MOST_SERIES + 1
    assert found["trailing_alarms_total{what=other}"] == MOST_SERIES
    assert found["trailing_request_seconds_count{operation=other}"] == MOST_SERIES


def test_a_label_from_outside_is_escaped() -> None:
    metrics = Metrics()
    metrics.count("trailing_alarms_total", 'a "quote"\nforged_metric 1')
    text = metrics.render({}).decode()
    assert "\nforged_metric" not in text
    assert 'trailing_alarms_total{what=a "quote"\nforged_metric 1}' in samples(text.encode())


def test_values_that_are_read_now_win_over_counters() -> None:
    values: dict[str, Values] = {"trailing_ticks_total": {(): 7.0}}
    assert samples(Metrics().render(values))["trailing_ticks_total"] == 7.0


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('binanceusdm {"code":-2021,"msg":"Order would immediately trigger."}', "-2021"),
        ('bybit {"retCode":110017,"retMsg":"rejected"}', "110017"),
        ('okx {"code":"1","data":[{"sCode":"51280","sMsg":"trigger"}],"msg":"failed"}', "51280"),
        ("{'label': 'AUTO_TRIGGER_PRICE_GREATE_LAST'}", "AUTO_TRIGGER_PRICE_GREATE_LAST"),
        ("no code at all", "none"),
        ("", "none"),
    ],
)
def test_the_code_of_a_refusal_is_found_in_its_message(message: str, code: str) -> None:
    assert find_code(message) == code
