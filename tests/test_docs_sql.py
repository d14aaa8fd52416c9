"""Every SQL statement that a page shows runs on a store of the present version."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import trio
from postgres_server import OwnServer, in_schema

import trailing

DOCS = Path(__file__).parents[1] / "docs"
SQLITE_PAGE = "howto/stores.md"
BLOCK = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:SELECT|UPDATE|DELETE|INSERT)\s[^`]*)`|'(SELECT\s[^'`]*)'`")
STATEMENT = re.compile(r"[^;\s][^;]*;")


def shown(text: str) -> list[str]:
    """Return the statements of a page: those of its blocks, and those within a line."""
    lines = [re.sub(r"--.*", "", block) for block in BLOCK.findall(text)]
    blocks = [statement for block in lines for statement in STATEMENT.findall(block)]
    inline = ["".join(groups) for groups in INLINE.findall(BLOCK.sub("", text))]
    return blocks + [" ".join(statement.split()) for statement in inline]


def pages() -> dict[str, list[str]]:
    found = {path.relative_to(DOCS).as_posix(): shown(path.read_text()) for path in sorted(DOCS.rglob("*.md"))}
    return {page: statements for page, statements in found.items() if statements}


async def migrate(url: str) -> None:
    async with trailing.open_store(url):
        pass


def test_every_statement_on_a_page_runs_in_postgres(own_server: OwnServer) -> None:
    checked = {page: statements for page, statements in pages().items() if page != SQLITE_PAGE}
    assert {"howto/postgres.md", "howto/standby.md", "reference/tables.md"} <= set(checked)
    trio.run(migrate, own_server.dsn)
    trio.run(migrate, in_schema(own_server.dsn, "bots"))
    refused = {}
    for page, statements in checked.items():
        with psycopg.connect(own_server.dsn) as connection:
            for statement in statements:
                try:
                    with connection.transaction():
                        connection.execute(statement.encode())
                except psycopg.Error as error:
                    refused[f"{page}: {statement}"] = str(error)
            connection.rollback()
    assert refused == {}


def test_every_statement_on_the_page_of_stores_runs_in_sqlite(tmp_path: Path) -> None:
    trio.run(migrate, f"sqlite:///{tmp_path / 'bot.db'}")
    statements = pages()[SQLITE_PAGE]
    assert len(statements) == 2
    with closing(sqlite3.connect(tmp_path / "bot.db")) as connection:
        for statement in statements:
            connection.execute(statement)
