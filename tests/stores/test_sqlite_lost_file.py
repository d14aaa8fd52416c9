"""A SQLite file that is deleted or replaced while a store is open: calls fail, and the loss is logged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import structlog
import structlog.testing
import trio
import trio.testing

from trailing.errors import StoreError
from trailing.stores import open_store, sqlite
from trailing.stores.port import AddIntent, Store
from trailing.stores.sqlite_file import SqliteFile
from trailing.testing.store_samples import sample_intent

HERE = ("testex", "main")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trailing.db"


async def write(store: Store, name: str) -> None:
    await store.commit([AddIntent(sample_intent(name))])


async def names(store: Store) -> list[str]:
    return [intent.client_order_id for intent in (await store.load(*HERE)).intents]


async def test_a_commit_to_a_deleted_file_is_an_error_that_names_it(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        await write(store, "t1")
        path.unlink()
        with pytest.raises(
            StoreError, match=r"trailing\.db: the file was deleted while the store was open; nothing is written$"
        ):
            await write(store, "t2")
        with pytest.raises(StoreError, match="the file was deleted"):
            await store.load(*HERE)


async def test_a_commit_to_a_replaced_file_fails_and_does_not_change_the_new_one(path: Path) -> None:
    other = path.with_name("other.db")
    async with open_store(f"sqlite:///{other}") as store:
        await write(store, "t9")
    async with open_store(f"sqlite:///{path}") as store:
        await write(store, "t1")
        shutil.move(other, path)
        before = path.read_bytes()
        with pytest.raises(
            StoreError, match=r"trailing\.db: the file was replaced while the store was open; nothing is written$"
        ):
            await write(store, "t2")
        assert path.read_bytes() == before


async def test_a_file_that_is_moved_back_is_written_again(path: Path) -> None:
    away = path.with_name("away.db")
    async with open_store(f"sqlite:///{path}") as store:
        await write(store, "t1")
        path.rename(away)
        with pytest.raises(StoreError, match="the file was deleted"):
            await write(store, "t2")
        away.rename(path)
        await write(store, "t3")
        assert await names(store) == ["t1", "t3"]


async def test_a_folder_that_was_replaced_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "bot"
    folder.mkdir()
    async with open_store(f"sqlite:///{folder}/trailing.db") as store:
        shutil.rmtree(folder)
        folder.write_text("a file in the folder's place")
        with pytest.raises(StoreError, match=r"trailing\.db: the file can't be reached \(Not a directory\) while"):
            await write(store, "t1")


async def test_changing_the_working_directory_does_not_change_the_file(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with open_store("sqlite:///trailing.db") as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        await write(store, "t1")
        assert await names(store) == ["t1"]
    assert path.exists()


async def test_the_loss_of_an_owned_file_is_logged_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "FILE_SECONDS", 0.01)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logged:
        async with open_store(f"sqlite:///{path}") as store, store.acquire_lease(*HERE, mark="cafe"):
            await trio.sleep(0.1)
            assert logged == []
            path.unlink()
            with trio.fail_after(5):
                while not logged:
                    await trio.sleep(0.01)
            await trio.sleep(0.1)
    message = f"{path}: the file was deleted while the store was open; nothing is written"
    assert logged == [{"event": "the store's file is lost", "log_level": "error", "error": message}]


async def test_on_the_fast_clock_of_a_replay_an_owned_file_is_not_checked_more_often_and_its_watch_sleeps(
    path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    mock_clock.rate = 10_000.0
    async with open_store(f"sqlite:///{path}") as store, store.acquire_lease(*HERE, mark="cafe"):
        checks = wake_ups = 0

        def count(_: SqliteFile) -> None:
            nonlocal checks
            checks += 1

        async def sleep(seconds: float) -> None:
            nonlocal wake_ups
            await trio.sleep_until(trio.current_time() + seconds)
            wake_ups += 1

        monkeypatch.setattr(SqliteFile, "require_in_place", count)
        monkeypatch.setattr(trio, "sleep", sleep)
        await trio.sleep_until(trio.current_time() + 200 * sqlite.FILE_SECONDS)
    assert checks == 0
    assert wake_ups < 10
