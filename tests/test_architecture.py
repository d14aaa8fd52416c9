"""The rules of the house, read from the source: who may import whom, how shields, locks and exceptions are handled."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Set
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

import trailing
from trailing.core import rules

Check: TypeAlias = Callable[[ast.AST], Iterator[int]]

ROOT = Path(trailing.__file__).parent
REFERENCE = ROOT.parent / "docs" / "reference"
LINES = 400

WRITES = {"place_stop", "amend_stop", "cancel_stop", "close_position"}

BOTTOM = {"errors", "events", "unprotected", "services", "logs", "extras"}
# Part of the library -> the parts it may import. "" is the public face, trailing/__init__.py.
ARROWS = {
    "errors": set[str](),
    "unprotected": {"errors"},
    "events": {"unprotected"},
    "services": set[str](),
    "logs": {"errors"},
    "extras": {"errors"},
    "core": {"errors", "events", "unprotected"},
    "exchanges": BOTTOM | {"core"},
    "psycopg_trio": set[str](),  # can be copied into another project
    "stores": BOTTOM | {"core", "psycopg_trio"},
    "price_files": BOTTOM | {"core", "exchanges"},
    "protection": BOTTOM | {"core", "exchanges", "stores"},
    "backtest": BOTTOM | {"core"},
    "sweep": BOTTOM | {"core", "backtest"},
    "plots": BOTTOM | {"core", "backtest", "sweep"},
    "flatten": BOTTOM | {"core", "exchanges", "stores", "protection"},
    "alerts": BOTTOM | {"core", "exchanges", "protection"},
    "web": BOTTOM | {"core", "exchanges", "stores", "protection"},
    "config": BOTTOM | {"core", "exchanges", "stores", "protection", "flatten", "alerts", "web"},
    "": BOTTOM | {"core", "exchanges", "stores", "protection", "flatten", "config"},
    "testing": BOTTOM | {"core", "exchanges", "stores", "protection", "flatten", ""},
    "cli": BOTTOM
    | {"core", "exchanges", "price_files", "stores", "protection", "backtest", "sweep", "plots", "flatten"}
    | {"alerts", "config", "testing", "web", ""},
    "__main__": {"cli"},
}
# No I/O, no clock, no randomness, no logging: what decides is a function of its arguments.
CORE_MAY_IMPORT = {
    *("__future__", "abc", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum"),
    *("functools", "itertools", "math", "msgspec", "operator", "re", "types", "typing"),
}
# What the demo compares with: the wave of a bot that holds one lock across its I/O, as it was.
LOCK_ACROSS_IO = {"cli/practice/demo_baseline.py"}
# Where the process's wall clock may be read without a time zone, or as seconds, and why.
WALL_CLOCK: dict[str, str] = {}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
WAITING = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield, ast.YieldFrom)
# Statements (and parts of such) at whose end the program goes on with whatever stands behind them.
JUST_ENDS = (ast.If, ast.With, ast.AsyncWith, ast.Try, ast.ExceptHandler, ast.Match, ast.match_case)
JUMPS = (ast.Return, ast.Raise, ast.Break, ast.Continue)
SCOPES = {"CancelScope", "move_on_after", "move_on_at", "fail_after", "fail_at"}


@cache
def sources() -> dict[str, ast.Module]:
    """Every file of the library, by its path inside the package, parsed."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def part_of(path: str) -> str:
    first = path.partition("/")[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(path: str, tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The full names of all modules that a file imports, wherever in the file, with their lines."""
    package = ["trailing", *path.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "trailing":  # `from trailing import errors` imports a part, or a name of the public face
                yield from ((f"trailing.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def parts_imported(path: str, tree: ast.AST) -> Iterator[tuple[str, int]]:
    for module, line in imports(path, tree):
        root, _, rest = module.partition(".")
        if root == "trailing":
            part = rest.split(".")[0]
            yield part if part in ARROWS else "", line


def walk_here(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """Everything that is executed when these statements are: not the bodies of functions that they define."""
    waiting: list[ast.AST] = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, FUNCTIONS):
            waiting.extend(ast.iter_child_nodes(node))


def called(node: ast.AST) -> str:
    """The last name of what a call calls; empty for anything else."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def mentions_lock(node: ast.AST) -> bool:
    return any(word in {"lock", "locks", "locked"} for word in re.split(r"[\W_]+", ast.unparse(node).lower()))


def shields_without_a_deadline(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in SCOPES:
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            shield = keywords.pop("shield", ast.Constant(value=False))
            if isinstance(shield, ast.Constant) and not shield.value:
                continue
            if called(node) == "CancelScope":
                deadline = keywords.get("deadline") or keywords.get("relative_deadline")
            else:
                deadline = node.args[0] if node.args else next(iter(keywords.values()), None)
            if deadline is None or re.search(r"\binf\b", ast.unparse(deadline)):
                yield node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Attribute) and target.attr == "shield" for target in targets):
                yield node.lineno


def waits_under_a_lock(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(mentions_lock(item.context_expr) for item in node.items):
            yield from (node.lineno for inner in walk_here(node.body) if waits(inner))
        elif isinstance(node, ast.AsyncWith):
            yield from (node.lineno for item in node.items if mentions_lock(item.context_expr))
        elif isinstance(node, ast.Await) and called(node.value) == "acquire" and mentions_lock(node.value):
            yield node.lineno


def waits(node: ast.AST) -> bool:
    return isinstance(node, WAITING) or (isinstance(node, ast.comprehension) and bool(node.is_async))


def unread_deadlines(tree: ast.AST) -> Iterator[int]:
    """Lines of `move_on_after` that name their scope, but nothing right behind the block asks whether time ran out."""
    after: dict[ast.AST, ast.stmt | None] = {}
    for node in ast.walk(tree):  # outer ones first
        goes_on = after.get(node) if isinstance(node, JUST_ENDS) else None
        for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            after[inner] = goes_on
        for block in ("body", "orelse", "finalbody"):
            statements = getattr(node, block, None)
            if statements and isinstance(statements, list):
                after.update(zip(statements, [*statements[1:], goes_on], strict=True))
    for node, scope in deadlines_that_move_on(tree):
        behind = after[node]
        if scope is not None and (behind is None or not reads(behind, scope, "cancelled_caught")):
            yield node.lineno


def unnamed_deadlines(tree: ast.AST) -> Iterator[int]:
    """Lines of `move_on_after` without a name for the scope, so that nothing can ask whether time ran out."""
    yield from (node.lineno for node, scope in deadlines_that_move_on(tree) if scope is None)


def deadlines_that_move_on(tree: ast.AST) -> Iterator[tuple[ast.With, str | None]]:
    """Blocks that end silently when their time runs out, with the name of the scope."""
    for node in ast.walk(tree):
        # Behind a block that ends with a jump stands only what is to be done when time ran out.
        if isinstance(node, ast.With) and not isinstance(node.body[-1], JUMPS):
            for item in node.items:
                if called(item.context_expr) in {"move_on_after", "move_on_at"}:
                    yield node, item.optional_vars.id if isinstance(item.optional_vars, ast.Name) else None


def reads(statement: ast.stmt, name: str, attribute: str) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == attribute
        and isinstance(node.value, ast.Name)
        and node.value.id == name
        for node in ast.walk(statement)
    )


def forgotten_exceptions(tree: ast.AST) -> Iterator[int]:
    """Lines that catch any exception and neither raise one nor use the one they caught."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and catches_everything(node.type):
            inside = list(walk_here(node.body))
            raises = any(isinstance(inner, ast.Raise) for inner in inside)
            uses = any(isinstance(inner, ast.Name) and inner.id == node.name for inner in inside)
            if not raises and not uses:
                yield node.lineno
        elif isinstance(node, ast.Call) and called(node) == "suppress" and any(map(catches_everything, node.args)):
            yield node.lineno


def catches_everything(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(catches_everything, caught.elts))
    return caught is None or ast.unparse(caught).split(".")[-1] in {"Exception", "BaseException"}


def wall_clock_readings(tree: ast.AST) -> Iterator[int]:
    """Lines that read the time of day as a naive datetime or as bare seconds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            naive = re.search(r"\b(datetime|dt)\.(now|fromtimestamp)$", text) is not None
            zone_at = 0 if text.endswith("now") else 1
            has_zone = len(node.args) > zone_at or any(keyword.arg == "tz" for keyword in node.keywords)
            if (naive and not has_zone) or re.search(
                r"(\butcnow|\butcfromtimestamp|\btoday|\btime\.time(_ns)?)$", text
            ):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (node.lineno for alias in node.names if alias.name.startswith("time"))


def found(check: Check, *, but: Set[str] = frozenset(), within: str = "") -> list[str]:
    files = {path: tree for path, tree in sources().items() if path.startswith(within) and path not in but}
    return [f"{path}:{line}" for path, tree in files.items() for line in check(tree)]


def test_an_arrow_only_ever_points_down() -> None:
    wrong = [
        f"{path}:{line}: {part_of(path) or 'the public face'} imports {part or 'the public face'}"
        for path, tree in sources().items()
        for part, line in parts_imported(path, tree)
        if part != part_of(path) and part not in ARROWS[part_of(path)]
    ]
    assert wrong == []


def test_the_core_imports_nothing_that_could_wait_read_a_clock_or_log() -> None:
    wrong = [
        f"{path}:{line}: {module}"
        for path, tree in sources().items()
        if part_of(path) == "core"
        for module, line in imports(path, tree)
        if module.split(".")[0] not in CORE_MAY_IMPORT | {"trailing"}
    ]
    assert wrong == []


def test_asyncio_and_ccxt_stay_behind_their_wall() -> None:
    wrong = [
        f"{path}:{line}: {module}"
        for path, tree in sources().items()
        if not path.startswith("exchanges/ccxt/")
        for module, line in imports(path, tree)
        if module.split(".")[0] in {"asyncio", "ccxt", "trio_asyncio"}
    ]
    assert wrong == []


def test_psycopg_is_imported_only_by_the_postgres_store_and_the_package_that_drives_it() -> None:
    paths = {
        path
        for path, tree in sources().items()
        for module, _ in imports(path, tree)
        if module.split(".")[0] == "psycopg"
    }
    assert {path for path in paths if not re.fullmatch(r"psycopg_trio/\w+\.py|stores/postgres\w*\.py", path)} == set()


def test_psycopg_trio_can_be_copied_into_another_project() -> None:
    allowed = {"psycopg", "trio"} | sys.stdlib_module_names
    package = {path: ast.walk(tree) for path, tree in sources().items() if path.startswith("psycopg_trio/")}
    assert len(package) > 6
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, nodes in package.items()
        for node in nodes
        if (isinstance(node, ast.Import) and any(name.name.split(".")[0] not in allowed for name in node.names))
        or (
            isinstance(node, ast.ImportFrom)
            and (node.level > 1 if node.level else (node.module or "").split(".")[0] not in allowed)
        )
    ]
    assert found == []


def test_the_modules_of_psycopg_trio_are_imported_only_inside_of_it() -> None:
    found = [
        f"{path}:{line}: {module}"
        for path, tree in sources().items()
        if not path.startswith("psycopg_trio/")
        for module, line in imports(path, tree)
        if module.startswith("trailing.psycopg_trio.")
    ]
    assert found == []


def test_every_shield_has_a_deadline_but_that_of_the_service_nursery() -> None:
    assert found(shields_without_a_deadline, but={"services.py"}) == []
    assert list(shields_without_a_deadline(sources()["services.py"])) != []


def test_nothing_waits_while_it_holds_a_lock() -> None:
    # The baseline is the mistake itself, kept to be measured by the demo. A connection to Postgres runs one query at a time:
    # psycopg holds the connection's lock while the server answers.
    connection_locks = {f"psycopg_trio/{name}.py" for name in ("connection", "cleanup", "listening", "locks")}
    assert found(waits_under_a_lock, but={"cli/practice/demo_baseline.py", *connection_locks}) == []
    registry = ast.walk(sources()["protection/registry.py"])
    assert any(isinstance(node, ast.With) and mentions_lock(node.items[0].context_expr) for node in registry)


def test_every_deadline_that_moves_on_is_asked_whether_it_struck_on_the_next_line() -> None:
    assert found(unread_deadlines) == []
    assert found(unnamed_deadlines, within="protection/") == []


def test_a_handler_of_any_exception_raises_it_or_uses_it() -> None:
    assert found(forgotten_exceptions) == []


def test_what_changes_something_on_the_exchange_passes_the_gate() -> None:
    # All of it is written as `partial(exchange.…)`, which `RequestSender.change` alone calls.
    inside = {
        node.args[0]
        for node in ast.walk(sources()["protection/requests.py"])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "partial"
    }
    calls = {
        (path, node)
        for path, tree in sources().items()
        if path.startswith("protection/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in WRITES
    }
    assert {node.attr for _, node in calls} == WRITES
    assert [f"{path}:{node.lineno}" for path, node in calls if node not in inside] == []


def test_every_command_runs_its_work_where_a_signal_ends_it() -> None:
    # `run_until_signal` runs a command's work; `open_real_clock_loop` runs beside it, and ends with it.
    runs = [
        f"{path}:{node.lineno}"
        for path, tree in sources().items()
        if path.startswith("cli/") and path not in {"cli/signals.py", "cli/practice/real_clock.py"}
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "trio.run"
    ]
    assert runs == []


def test_no_code_reads_a_naive_time_of_day() -> None:
    assert found(wall_clock_readings, but=set(WALL_CLOCK)) == []


def test_every_file_is_short_enough_to_be_about_one_thing() -> None:
    lengths = {path: (ROOT / path).read_text().count("\n") for path in sources()}
    assert {path: length for path, length in lengths.items() if length > LINES} == {}


@pytest.mark.parametrize(
    ("check", "bad", "good"),
    [
        (shields_without_a_deadline, "CancelScope(shield=True)", "CancelScope(shield=True, deadline=1)"),
        (shields_without_a_deadline, "move_on_after(math.inf, shield=yes)", "trio.move_on_after(5, shield=True)"),
        (shields_without_a_deadline, "scope.shield = True", "CancelScope(shield=False)"),
        (waits_under_a_lock, "with self._lock:\n  await x", "with self._lock:\n  async def f(): await x"),
        (waits_under_a_lock, "with a, locked():\n  [0 async for x in y]", "with self._clock():\n  await x"),
        (waits_under_a_lock, "async with self.lock: pass", "async with self.block: pass"),
        (waits_under_a_lock, "await self._lock.acquire()", "self._lock.acquire_nowait()"),
        (unnamed_deadlines, "with move_on_after(1): f()", "with move_on_after(1):\n  raise x"),
        (unread_deadlines, "with move_on_after(1) as s: f()", "with move_on_after(1) as s: f()\ns.cancelled_caught"),
        (
            unread_deadlines,
            "for x in y:\n  with move_on_after(1) as s: f()\ns.cancelled_caught",
            "try:\n  with move_on_after(1) as s: f()\nfinally: g()\nif s.cancelled_caught: f()",
        ),
        (unread_deadlines, "with move_on_after(1) as s: f()\nt.cancelled_caught", "with fail_after(1): f()"),
        (forgotten_exceptions, "try: f()\nexcept Exception: g()", "try: f()\nexcept ValueError: g()"),
        (forgotten_exceptions, "try: f()\nexcept: g()", "try: f()\nexcept (A, Exception) as e: g(e)"),
        (forgotten_exceptions, "try: f()\nexcept (A, BaseException) as e: g()", "try: f()\nexcept Exception: raise"),
        (forgotten_exceptions, "with contextlib.suppress(Exception): f()", "with suppress(ValueError): f()"),
        (wall_clock_readings, "datetime.now()", "datetime.now(UTC)"),
        (wall_clock_readings, "datetime.datetime.utcnow()", "datetime.now(tz=UTC)"),
        (wall_clock_readings, "datetime.fromtimestamp(3)", "datetime.fromtimestamp(3, UTC)"),
        (wall_clock_readings, "time.time()", "time.monotonic()"),
        (wall_clock_readings, "from time import time", "from time import perf_counter"),
        (wall_clock_readings, "date.today()", "trio.current_time()"),
    ],
)
def test_each_rule_tells_bad_from_good(check: Check, bad: str, good: str) -> None:
    assert len(list(check(parse(bad)))) == 1
    assert list(check(parse(good))) == []


def parse(body: str) -> ast.Module:
    """A function with this body: most of what the rules are about stands in async functions."""
    return ast.parse("async def function():\n" + "\n".join("  " + line for line in body.splitlines()))


@pytest.mark.parametrize(
    ("path", "line", "part"),
    [
        ("core/stop.py", "from trailing.stores.port import Store", "stores"),
        ("core/stop.py", "from ..protection import manager", "protection"),
        ("core/stop.py", "from .. import events", "events"),
        ("core/stop.py", "from trailing import open_manager", ""),
        ("core/stop.py", "import trailing.cli", "cli"),
        ("core/stop.py", "from . import rules", "core"),
    ],
)
def test_an_import_is_known_for_what_it_is(path: str, line: str, part: str) -> None:
    assert [part for part, _ in parts_imported(path, ast.parse(line))] == [part]


def test_importing_the_library_imports_nothing_that_is_only_needed_when_used() -> None:
    lazy = ("ccxt", "psycopg", "trio_asyncio", "rich", "structlog", "asyncio", "sqlite3", "tomllib")
    code = f"import trailing, sys; print(*[name for name in {lazy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []


def test_the_test_kit_is_imported_without_pytest() -> None:
    code = "import sys, trailing.testing; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_has_a_docstring_and_stands_in_the_reference() -> None:
    reference = "\n".join(page.read_text() for page in sorted(REFERENCE.glob("*.md")))
    documented = set(re.findall(r"^\.\. (?:auto\w+|py:data):: trailing\.(\w+)(?:\(\))?$", reference, re.MULTILINE))
    names = {name: value for name in dir(trailing) if is_public(name, value := getattr(trailing, name))}
    assert len(names) > 40
    assert set(names) - documented == set()
    callables = {name: value for name, value in names.items() if inspect.isclass(value) or inspect.isroutine(value)}
    assert [name for name, value in callables.items() if not (value.__doc__ or "").strip()] == []


def test_every_rule_of_the_library_is_public() -> None:
    own = {rule for rule in vars(rules).values() if inspect.isclass(rule) and issubclass(rule, rules.Rule)}
    own -= {rules.Rule}
    assert len(own) >= 4
    assert [rule.__name__ for rule in own if getattr(trailing, rule.__name__, None) is not rule] == []


def is_public(name: str, value: object) -> bool:
    return not name.startswith("_") and not inspect.ismodule(value)
