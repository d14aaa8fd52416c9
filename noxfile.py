"""Every check of the project, in three tiers.

``nox`` runs what every change needs: style, types, and the tests that aren't slow, on the newest Python, in one environment.
``nox -t ci`` runs what has to hold before a change lands: the same with the slow tests, the oldest Python, the docs, the distributions. ``nox -s simulate``
adds the rest, which takes an hour: simulated worlds, killed processes, every Python, psycopg[c], repeated and random tests.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import nox

nox.needs_version = ">=2026.10.20"  # the first that was tried with parallel sessions
nox.options.sessions = ["check"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
if (
    "ci" in sys.argv
):  # the sessions that allow it run beside each other, when the others have ended; their output comes at the end
    nox.options.parallel = 3

# Without bytecode each process of the tests spends ten more seconds on compiling what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PROJECT = nox.project.load_toml("pyproject.toml")

# 9xx, a checkpoint on every way through every function, is off unless asked for. 114 wants every function for
# `nursery.start` listed here. 120 forbids to wait in an `except`, where a cancellation would hide the error: ours has
# been recorded by then. 124: a port's method is async, whether it waits or not.
# The others are checked by ruff, which has them too and is faster.
NOT_OURS = "ASYNC9,ASYNC114,ASYNC120,ASYNC124,ASYNC100,ASYNC105,ASYNC109,ASYNC110,ASYNC115,ASYNC116,ASYNC2"
# The service nursery sorts out whose cancellation is whose, and so keeps exceptions back for a moment.
SERVICES = Path("trailing/services.py")
# The package that drives psycopg handles its cancellations. Its `cleaning_up` makes the shields, each with a deadline.
CLEANING_UP = {
    Path("trailing/psycopg_trio") / name for name in ("cleanup.py", "connection.py", "listening.py", "pool.py")
}


def enable_pyenv_versions() -> None:
    """Let pyenv's shims run every version it has installed: those that aren't switched on fail when they are called."""
    if shutil.which("pyenv") and "PYENV_VERSION" not in os.environ:
        versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
        os.environ["PYENV_VERSION"] = ":".join(reversed(versions.stdout.split()))


def runs(version: str) -> bool:
    """Return whether this Python is installed and starts."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return True
    python = shutil.which(f"python{version}")
    return python is not None and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


enable_pyenv_versions()
PYTHONS = [version for version in reversed(nox.project.python_versions(PROJECT)) if runs(version)]
NEWEST, OLDEST = PYTHONS[0], PYTHONS[-1]

PROCESSORS = os.cpu_count() or 1
# The tests that take longest come first (tests/conftest.py orders them) and go to the processes one by one.
ONE_BY_ONE = ("--dist", "load", "--maxschedchunk", "1")
# Many tests wait for sockets and servers, so that several processes share a processor.
IN_PARALLEL = ("--numprocesses", str(max(6, 2 * PROCESSORS)), *ONE_BY_ONE)
# Each process spends ten seconds on the oldest Python before its first test. The docs and the distributions are built beside it.
BESIDE_OTHERS = ("--numprocesses", str(2 * PROCESSORS), *ONE_BY_ONE)
# These repeat a scenario at each of its steps, or for many symbols.
EACH_STEP = {
    "tests/protection/test_cancelled_anywhere.py",
    "tests/protection/test_cancelled_exits.py",
    "tests/protection/test_cancelled_while_recovering.py",
    "tests/protection/test_entries_cancelled_anywhere.py",
    "tests/protection/test_nothing_starves.py",
    "tests/protection/test_program_cancelled.py",
}
# The tests of what decides and acts. They compute, rather than wait. They alone have to cover it: each step again would only
# take time, because a test that is traced takes more than twice as long.
COVERING = sorted(
    {str(path) for layer in ("core", "protection") for path in Path("tests", layer).glob("test_*.py")} - EACH_STEP
)
COMPUTING = ("--numprocesses", str(PROCESSORS), *ONE_BY_ONE)
# Real processes compete for an account in these, within fractions of a second, and so need the processors for themselves. They
# wait for four fifths of their time, so that the three tests don't disturb each other.
TAKEOVERS = ("--numprocesses", "3", *ONE_BY_ONE, "tests/simulation/test_takeover.py")
# They wait for a browser most of the time. Its driver keeps other tests from running in the same process.
IN_A_BROWSER = ("--numprocesses", "3", *ONE_BY_ONE, "tests/web/test_browser.py", "tests/web/test_report_browser.py")
FAST = ("-m", "not slow and not repeats")
SLOW_TOO = ("-m", "not repeats")
# These find nothing on an older Python that the others don't find there: they look at the text of the project, or repeat what
# other tests do, at each of its steps, in many worlds or for many files. `nox -s simulate` runs them on every Python. A short file
# of `EACH_STEP` stays, so that cancellations are met on the oldest Python too.
NEWEST_ALONE = (
    "tests/test_architecture.py",
    "tests/test_contributing_page.py",
    "tests/test_docs_commands.py",
    "tests/test_docs_links.py",
    "tests/test_docs_walk.py",
    "tests/test_failure_mode_table.py",
    "tests/test_language.py",
    "tests/test_machine_tables.py",
    "tests/test_private_access.py",
    "tests/test_project.py",
    "tests/cli/test_command_page.py",
    "tests/cli/test_html_reports.py",
    "tests/cli/test_resuming.py",
    "tests/protection/test_cancelled_anywhere.py",
    "tests/protection/test_cancelled_exits.py",
    "tests/protection/test_cancelled_while_recovering.py",
    "tests/protection/test_entries_cancelled_anywhere.py",
    "tests/protection/test_map.py",
    "tests/protection/test_nothing_starves.py",
    "tests/protection/test_troubleshooting_page.py",
    "tests/simulation",
)
Command: TypeAlias = tuple[str, ...]


def install(session: nox.Session, *groups: str) -> None:
    """Install the project, editable so that coverage and tracebacks name its files here, and its groups."""
    # Not compiled: pip would compile all of ccxt, for a minute, of which hardly anything is imported.
    session.install("--no-compile", "--editable", ".", *nox.project.dependency_groups(PROJECT, *groups))


def compile_once(session: nox.Session) -> None:
    """Compile the tests and what they import, if the environment is new. Processes that start together would each compile all."""
    compiled = Path(session.virtualenv.location, "compiled")
    if not compiled.exists():
        session.run("pytest", "--collect-only", "-qq", silent=True)
        compiled.touch()


STYLE = (("ruff", "format", "--check", "--diff", "."), ("ruff", "check", "."))
"""Commands that take a second."""

TYPES = (("mypy",), ("pyright", "--verifytypes", "trailing", "--ignoreexternal"))
"""Check the types, ours and those that users see."""


@contextmanager
def flake8_async(session: nox.Session) -> Iterator[list[Command]]:
    """Give the commands that check what ruff doesn't know about trio to a block, which runs them.

    They take a quarter of a second for a file. So they get only files that have changed since a block has passed, or all of
    them if their rules or their program changed.
    """
    passed = Path(session.cache_dir, "flake8-async-passed")
    begun = passed.with_suffix(".begun")
    begun.touch()
    passed_at = passed.stat().st_mtime if passed.exists() else 0.0
    if any(path.stat().st_mtime > passed_at for path in (Path(__file__), Path(session.bin, "flake8-async"))):
        passed_at = 0.0
    changed = {path for path in Path("trailing").rglob("*.py") if path.stat().st_mtime > passed_at}
    asynchronous = {path for path in changed if "async " in path.read_text()}
    shares = (
        (NOT_OURS, asynchronous - {SERVICES, *CLEANING_UP}),
        (f"{NOT_OURS},ASYNC103,ASYNC104", asynchronous & {SERVICES}),
        (f"{NOT_OURS},ASYNC102,ASYNC103,ASYNC104", asynchronous & CLEANING_UP),
    )
    yield [("flake8-async", f"--disable={disabled}", *sorted(map(str, files))) for disabled, files in shares if files]
    begun.replace(passed)


@contextmanager
def running_beside(session: nox.Session, *commands: Command) -> Iterator[None]:
    """Run commands, one after the other, beside those of the block. Show their output after it."""
    environment = {**os.environ, "PATH": os.pathsep.join((session.bin, os.environ["PATH"]))}

    def run(command: Command) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    with ThreadPoolExecutor(max_workers=1) as one_by_one:
        running = [(command, one_by_one.submit(run, command)) for command in commands]
        try:
            yield
        finally:
            failed = [command[0] for command, future in running if not has_passed(session, command, future.result())]
    if failed:
        session.error(f"failed: {', '.join(failed)}")


def has_passed(session: nox.Session, command: Command, done: subprocess.CompletedProcess[str]) -> bool:
    """Show what a command said, and return whether it passed."""
    session.log(shlex.join(command)[:160])
    sys.stdout.write(done.stdout + done.stderr)
    sys.stdout.flush()
    return done.returncode == 0


def run_all(session: nox.Session, *commands: Command) -> None:
    """Run commands one after the other."""
    for command in commands:
        session.run(*command)


def check_all(session: nox.Session, *selected: str) -> None:
    """Check style and types, and run the selected tests, in one environment.

    Most tests wait for sockets and servers. What computes runs beside them: the linters, the type checkers, and the tests of what
    decides and acts, with their coverage.
    """
    install(session, "lint", "types", "test")
    run_all(session, *STYLE)
    with flake8_async(session) as linters:
        if session.posargs:
            run_all(session, *linters, *TYPES, ("pytest", *IN_PARALLEL, *selected, *session.posargs))
            return
        session.run("coverage", "erase")
        covering = ("pytest", *COMPUTING, *selected, "--cov", "--cov-report=", *COVERING)
        with running_beside(session, *linters, *TYPES, covering, ("coverage", "report")):
            compile_once(session)
            session.run("pytest", *IN_PARALLEL, *selected, *(f"--ignore={path}" for path in COVERING))


@nox.session(python=NEWEST)
def check(session: nox.Session) -> None:
    """Check style and types, and run the tests that aren't slow."""
    check_all(session, *FAST)


@nox.session(python=NEWEST, tags=["ci"])
def land(session: nox.Session) -> None:
    """Check style and types, and run all tests, the slow ones too. One start of the processes serves both kinds."""
    if session.posargs:
        check_all(session, *SLOW_TOO)
        return
    check_all(session, *SLOW_TOO, f"--ignore={TAKEOVERS[-1]}")
    session.run("pytest", *SLOW_TOO, *TAKEOVERS)
    session.run("pytest", *SLOW_TOO, *IN_A_BROWSER)


@nox.session(python=NEWEST)
def slow(session: nox.Session) -> None:
    """Run the slow tests alone."""
    install(session, "test")
    if session.posargs:
        session.run("pytest", *IN_PARALLEL, "-m", "slow", *session.posargs)
        return
    session.run("pytest", *IN_PARALLEL, "-m", "slow", f"--ignore={TAKEOVERS[-1]}")
    session.run("pytest", "-m", "slow", *TAKEOVERS)


@nox.session(python=OLDEST, tags=["ci"], allow_parallel=True)
def oldest(session: nox.Session) -> None:
    """Run the tests that aren't slow on the oldest Python, in one case each, but for those where the Python makes no difference.

    What differs between Pythons is the language and its library, which every case of a test uses alike. The other cases are run
    on the newest Python, and before a release on all.
    """
    install(session, "test")
    if session.posargs:
        session.run("pytest", *IN_PARALLEL, *FAST, *session.posargs)
        return
    compile_once(session)
    session.run("pytest", *BESIDE_OTHERS, *FAST, "--few-cases", *(f"--ignore={path}" for path in NEWEST_ALONE))


@nox.session(python=NEWEST, tags=["ci"], allow_parallel=True)
def docs(session: nox.Session) -> None:
    """Build the documentation, with every warning an error, and check the links of the built pages."""
    install(session, "docs")
    session.run("sphinx-build", "-b", "html", "-W", "--keep-going", "-n", "-E", "docs", "docs/_build/html")
    session.run("python", "docs/check_links.py", "docs/_build/html")


@nox.session(python=NEWEST, tags=["ci"], allow_parallel=True)
def package(session: nox.Session) -> None:
    """Build both distributions, check them, and run the demo of the wheel."""
    folder = Path(session.create_tmp()) / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    # Not isolated, because pip builds in isolation in each session that installs the project.
    session.install("build", "twine", *PROJECT["build-system"]["requires"])
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder))
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(source))
    shipped = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    if shipped != {"trailing", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}:
        session.error(f"the wheel has {sorted(shipped)}")
    with tarfile.open(source) as archive:
        if any("/.ci" in name for name in archive.getnames()):
            session.error("the source distribution has files of CI")
    session.install("--no-compile", str(wheel))
    session.run("trailing", "demo", "--json", silent=True)


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Check style alone."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    with flake8_async(session) as linters:
        run_all(session, *STYLE, *linters)


@nox.session(python=NEWEST)
def types(session: nox.Session) -> None:
    """Check the types alone."""
    install(session, "types")
    run_all(session, *TYPES)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests that aren't slow, or those that are named behind ``--``, on each Python."""
    install(session, "test")
    session.run("pytest", *IN_PARALLEL, *FAST, *session.posargs)


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """Measure. The figures depend on the machine, so that no tier includes them."""
    install(session, "test")
    session.run("pytest", "-o", "addopts=", "-s", "tests/benchmarks", *session.posargs)


@nox.session(python=NEWEST)
def simulate(session: nox.Session) -> None:
    """Run 2,000 harsh worlds (or ``-- --seeds N`` alone), 500 calm ones, 500 that heal, a day, 250 kills and 50 takeovers, and all else.

    All else: the worlds and the kills on Postgres, the repeated tests, the property tests at random with 2,000 examples each, all tests that aren't slow on every older
    Python, and those of the stores with psycopg[c].
    """
    install(session, "test")
    session.env["PYTHONPATH"] = "tests"  # where the package `simulation` is
    session.run("python", "-m", "simulation.laboratory", *(session.posargs or ("--seeds", "2000")))
    if session.posargs:
        return
    session.run("python", "-m", "simulation.laboratory", "--calm", "--seeds", "500")
    session.run("python", "-m", "simulation.laboratory", "--day")
    session.run("python", "-m", "simulation.healing", "--seeds", "500")
    session.run("python", "-m", "simulation.killing", "--kills", "200")
    session.run("python", "-m", "simulation.killing", "--kills", "50", "--positions", "18", "--entries")
    for module, *count in (("laboratory", "--seeds", "200"), ("killing", "--kills", "200")):
        command = ("python", "-m", f"simulation.{module}", *count, "--store", "{}")
        session.run("python", "tests/servers/postgres_server.py", *command)
    session.run("python", "-m", "simulation.takeover", "--takeovers", "50")
    session.run("pytest", *IN_PARALLEL, "-m", "repeats")
    session.run("pytest", *IN_PARALLEL, "-m", "hypothesis", env={"HYPOTHESIS_PROFILE": "explore"})
    for version in PYTHONS[1:]:
        session.notify(f"tests-{version}", posargs=())
    session.notify("psycopg_c")


@nox.session(python=NEWEST)
def psycopg_c(session: nox.Session) -> None:
    """Run the tests of the stores with psycopg's C implementation, built here from its source."""
    if shutil.which("pg_config") is None:
        session.skip("psycopg[c] is built with a C compiler and pg_config (Debian: gcc, libpq-dev, python3-dev)")
    install(session, "test")
    session.install("psycopg[c]")
    session.run("pytest", *IN_PARALLEL, *FAST, "tests/psycopg_trio", "tests/stores", env={"PSYCOPG_IMPL": "c"})
