"""Test two real processes on one account, and the check of their writes."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from simulation.remote import serve_exchange
from simulation.remote_client import open_remote
from simulation.remote_wire import Call
from simulation.takeover import market
from simulation.takeover.contender import Contender, run_contender, start_market
from simulation.takeover.lease_history import LeaseState, writes_without_a_lease
from simulation.takeover.market import WriteRecorder
from simulation.takeover.run import TAKEN_OVER_WITHIN, Fate, run_takeovers
from simulation.takeover.settings import Write
from simulation.takeover.tcp_proxy import open_tcp_proxy
from trailing import ExchangeUnreachable, Market, StopOrder
from trailing.exchanges.paper import open_paper
from trailing.exchanges.port import StopRequest
from trailing.stores import open_store

SYMBOL = "BTC/USDT:USDT"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fates",
    [("killed", "stopped", "cut off", "ended"), ("killed", "stopped")],
    ids=["every fate", "one stop may be live"],
)
async def test_the_standby_takes_over_in_time_and_no_write_follows_the_end_of_its_lease(
    fates: tuple[Fate, ...], dsn: str, tmp_path: Path
) -> None:
    schema = f"trailing_test_takeover_{secrets.token_hex(4)}"
    report = await run_takeovers(4, conninfo=dsn, schema=schema, seed=1, folder=tmp_path, fates=fates)
    assert report.violations == ()
    assert set(report.takeovers) == set(fates)  # one after the other
    assert sum(report.takeovers.values()) == 4  # `nox -s simulate` runs 50
    assert max(report.slowest.values()) <= TAKEN_OVER_WITHIN
    assert report.closest > 0
    assert report.writes > 50


@pytest.mark.slow
async def test_the_standby_on_sqlite_takes_over_as_soon_as_the_owner_is_killed(tmp_path: Path) -> None:
    store, log = f"sqlite:///{tmp_path}/trailing.db", tmp_path / "processes.log"
    async with start_market(3, 6, log, one_stop=True) as port, trio.open_nursery() as nursery:
        start = partial(nursery.start, run_contender, store, port, log)
        owner: Contender = await start("bot 1")
        assert await owner.wait_for("owns", after=0, within=30) is not None, log.read_text()
        for number in range(2, 5):
            other: Contender = await start(f"bot {number}")
            assert await other.wait_for("standby", after=0, within=30) is not None
            await trio.sleep(1.0)
            assert await other.wait_for("owns", after=0, within=0) is None
            killed_at = trio.current_time()
            owner.kill()
            owns_at = await other.wait_for("owns", after=0, within=30)
            assert owns_at is not None
            assert owns_at - killed_at < TAKEN_OVER_WITHIN
            owner = other
        nursery.cancel_scope.cancel()
    async with open_store(store, read_only=True) as left:
        assert (await left.load("paper", "default")).stops


# What the tools see.


def owned(process: int, at: float, until: float, fence: int = 1) -> LeaseState:
    return LeaseState(NOON + timedelta(seconds=at), fence, process, NOON + timedelta(seconds=until))


def written(by: str, at: float) -> Write:
    return Write(NOON + timedelta(seconds=at), by, "place_stop", "[]")


PROCESSES = {"one": 1, "two": 2}
LEASES = [owned(1, 0, 10), owned(1, 3, 13), owned(2, 14, 24, fence=2), owned(2, 20, 21, fence=2)]


@pytest.mark.parametrize(
    ("by", "at", "message"),
    [
        ("one", -1.0, "one wrote at .* while None owned the account"),
        ("one", 13.5, "one wrote 0.500 s after its lease had ended"),
        ("one", 14.5, "one wrote at .* while LeaseState.*process=2"),
        ("two", 12.0, "two wrote at .* while LeaseState.*process=1"),
        ("two", 21.0, "two wrote -?0.000 s after its lease had ended"),
    ],
)
def test_a_write_without_a_lease_is_found(by: str, at: float, message: str) -> None:
    (broken,), _ = writes_without_a_lease([written(by, at)], LEASES, PROCESSES)
    assert re.match(message, broken)


def test_a_write_during_its_lease_is_allowed() -> None:
    writes = [written("one", 0.0), written("one", 12.9), written("two", 14.0), written("two", 20.5)]
    broken, closest = writes_without_a_lease(writes, LEASES, PROCESSES)
    assert broken == []
    assert closest == pytest.approx(0.1)


@pytest.fixture(autouse=True)
def no_staleness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no request stale, even on a busy machine."""
    monkeypatch.setattr(market, "VALIDITY", 60.0)


@asynccontextmanager
async def a_recorder() -> AsyncIterator[tuple[WriteRecorder, int]]:
    recorder = WriteRecorder(1)
    async with open_paper(markets=[Market(SYMBOL)]) as exchange, trio.open_nursery() as nursery:
        port = await nursery.start(partial(serve_exchange, exchange, symbols=[SYMBOL], carrier=recorder.carry_out))
        yield recorder, port
        nursery.cancel_scope.cancel()


AN_ORDER = StopOrder(SYMBOL, "long", Decimal(1), Decimal(98), "t1", "1", "last")


async def test_the_exchange_records_changes_with_their_client_and_no_reads() -> None:
    async with (
        a_recorder() as (recorder, port),
        open_remote(port, name="one") as one,
        open_remote(port, name="two") as two,
    ):
        await one.open_stops()
        with pytest.raises(Exception, match="BTC"):
            await two.place_stop(StopRequest(SYMBOL, "long", Decimal(1), Decimal(98), "t1", "last"))
        with pytest.raises(Exception, match="t1"):
            await one.cancel_stop(AN_ORDER)
        writes = await recorder.writes(0)
    assert [(write.by, write.operation) for write in writes] == [("two", "place_stop"), ("one", "cancel_stop")]
    assert '"t1"' in writes[1].arguments


async def test_a_late_request_is_refused_and_not_recorded() -> None:
    recorder, carried = WriteRecorder(1), list[str]()

    async def carry_out() -> object:
        carried.append("yes")
        return None

    for age, operation in ((60.1, "cancel_stop"), (0.0, "cancel_stop"), (99.0, "open_stops")):
        call = Call(1, operation, msgspec.Raw(b"[]"), "one", time.monotonic() - age)
        if age > 60 and operation == "cancel_stop":
            with pytest.raises(ExchangeUnreachable, match="s old; provably not executed"):
                await recorder.carry_out(call, carry_out)
        else:
            await recorder.carry_out(call, carry_out)
    assert len(carried) == 2
    assert len(await recorder.writes(0)) == 1


async def test_a_client_sends_nothing_once_its_deadline_is_over() -> None:
    # As if a process is stopped after its decision to send, and goes on much later.
    async with a_recorder() as (recorder, port), open_remote(port) as exchange:
        with trio.move_on_after(0.05):
            await trio.lowlevel.checkpoint()
            time.sleep(0.1)  # noqa: ASYNC251 - it stops the process
            with pytest.raises(ExchangeUnreachable, match="its deadline was over before it was sent"):
                await exchange.cancel_stop(AN_ORDER)
        await exchange.open_stops()
        assert await recorder.writes(0) == ()


async def test_a_cut_proxy_holds_data_back_and_loses_none() -> None:
    received = list[bytes]()

    async def serve(stream: trio.SocketStream) -> None:
        async for data in stream:
            received.append(bytes(data))
            await stream.send_all(data.upper())

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        async with open_tcp_proxy(f"postgresql://me:se%20cret@127.0.0.1:{port}/base") as tcp_proxy:
            assert tcp_proxy.address.startswith("postgresql://me:se%20cret@127.0.0.1:")
            assert tcp_proxy.address.endswith("/base")
            own = int(tcp_proxy.address.rpartition(":")[2].partition("/")[0])
            async with await trio.open_tcp_stream("127.0.0.1", own) as stream:
                await stream.send_all(b"one")
                assert await stream.receive_some() == b"ONE"
                tcp_proxy.cut()
                await stream.send_all(b"two")
                with trio.move_on_after(0.1) as scope:
                    await stream.receive_some()
                assert scope.cancelled_caught
                assert received == [b"one"]
                tcp_proxy.mend()
                assert await stream.receive_some() == b"TWO"
        nursery.cancel_scope.cancel()
