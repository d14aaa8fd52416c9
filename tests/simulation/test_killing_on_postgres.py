"""Test a bot that is killed many times with its store on Postgres, where its lease has to end before the next bot starts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psycopg
import pytest
import trio
from psycopg import sql

from simulation.killing import __main__, kill_and_restart
from simulation.killing.postgres_run_store import LEASE_SECONDS
from simulation.killing.run_store import OWNED_WITHIN, RunStore, open_run_store
from simulation.test_killing import KEY, LOOSE, a_record, a_report, an_intent
from simulation.test_laboratory_on_postgres import schemas
from trailing.stores import open_store
from trailing.stores.port import AddIntent, SaveStop

ACCOUNT = "paper", "default"


@pytest.mark.slow
@pytest.mark.parametrize("entries", [False, True])
async def test_a_wave_on_postgres_survives_a_bot_that_is_killed_many_times(
    entries: bool, dsn: str, tmp_path: Path
) -> None:
    before = schemas(dsn)
    with trio.fail_after(300):
        report = await kill_and_restart(3, seed=4, folder=tmp_path, positions=8, store=dsn, entries=entries)
    assert report.violations == ()
    assert (report.kills, report.restarts) == (3, 3)
    assert report.checks > report.kills
    assert report.stops > 0
    assert report.waited > 0.5  # no bot owned the account before the lease of the dead one had ended
    assert report.slowest_wait < LEASE_SECONDS + OWNED_WITHIN
    assert schemas(dsn) == before


async def a_store_of(run_store: RunStore, *entries: AddIntent | SaveStop) -> None:
    async with open_store(run_store.url) as store:
        await store.commit(entries)


async def test_damage_of_tables_is_reported(dsn: str, tmp_path: Path) -> None:
    before = schemas(dsn)
    async with open_run_store(dsn, tmp_path) as run_store:
        (schema,) = schemas(dsn) - before
        await a_store_of(run_store, AddIntent(an_intent()), SaveStop(*ACCOUNT, a_record(LOOSE)))
        assert await run_store.damage() == []
        loaded = await run_store.load(*ACCOUNT)
        assert (loaded.intents, len(loaded.stops)) == ((an_intent(),), 1)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for change in (
                "UPDATE {}.stop_records SET side = 'short'",
                "UPDATE {}.intent_records SET client_order_id = 'another'",
                "DELETE FROM {}.plans",
            ):
                connection.execute(sql.SQL(change).format(sql.Identifier(schema)))
        assert await run_store.damage() == [
            f"the store's tables are damaged: the stop of the {KEY[1]} {KEY[0]} is in the row of another one",
            f"the store's tables are damaged: the plan of the short {KEY[0]} is missing",
            f"the store's tables are damaged: the intent {LOOSE.client_order_id} is in the row of another one",
        ]
    assert schemas(dsn) == before


async def test_the_owners_of_the_account_are_counted(dsn: str, tmp_path: Path) -> None:
    async with open_run_store(dsn, tmp_path) as run_store:
        assert await run_store.owners() == 0
        for number in (1, 2):
            async with open_store(run_store.url) as store, store.acquire_lease(*ACCOUNT, mark="0000"):
                assert await run_store.owners() == number


async def test_a_file_counts_no_owners(tmp_path: Path) -> None:
    async with open_run_store(None, tmp_path) as run_store:
        assert await run_store.owners() is None
        assert run_store.lease_seconds == 0


async def test_a_missing_server_is_reported_before_a_process_starts(tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError):
        await kill_and_restart(1, seed=1, folder=tmp_path, store="postgresql://127.0.0.1:1/none")
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_a_server_and_does_not_repeat_its_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def run(*_: object, store: str, **__: object) -> object:
        await trio.lowlevel.checkpoint()
        asked.append(store)
        return msgspec.structs.replace(a_report("2. a stop never loosens"), slowest_wait=1.9, waited=3.5)

    monkeypatch.setattr(__main__, "kill_and_restart", run)
    url = "postgresql://bot:secret@127.0.0.1/bots"
    assert __main__.main(["--kills", "3", "--seed", "5", "--store", url]) == 1
    printed = capsys.readouterr().out
    assert asked == [url]
    assert "1.90 s at most, 3.5 s in all" in printed
    assert "--positions 30 --store …\n" in printed
    assert "secret" not in printed
