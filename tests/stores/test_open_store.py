from __future__ import annotations

from pathlib import Path

import pytest

from trailing.errors import UsageError
from trailing.stores import MemoryStore, open_store


async def test_each_memory_store_is_a_new_one() -> None:
    async with open_store("memory:") as first, open_store("memory:") as second:
        assert isinstance(first, MemoryStore)
        assert first is not second


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:bot:hunter2@db.example/trailing",
        "mysql://bot:hunter2@db.example/trailing",
        "sqlite://hunter2.db",
        "sqlite:hunter2.db",
        "hunter2.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///nul\0hunter2",
        "memory",
        "",
    ],
)
async def test_an_invalid_address_is_refused_in_one_line_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(
        UsageError, match="wants 'memory:', 'sqlite:///relative.db', 'sqlite:////absolute/path.db' or 'postgresql:"
    ) as e:
        async with open_store(url):
            pass
    assert "hunter2" not in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("relative", [True, False])
async def test_the_path_follows_three_slashes_and_is_not_decoded(
    relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a %41 name?with#signs.db"
    async with open_store(f"sqlite:///{name}" if relative else f"sqlite:///{tmp_path}/{name}") as store:
        assert await store.accounts() == []
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_an_exception_of_the_block_is_raised_unchanged(tmp_path: Path) -> None:
    for url in ("memory:", f"sqlite:///{tmp_path}/trailing.db"):
        error = KeyError("mine")
        with pytest.raises(KeyError) as e:
            async with open_store(url):
                raise error
        assert e.value is error
