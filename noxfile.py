"""Every check of the project, each in an environment of its own.

Plain `nox` runs all but `bench` and `simulate`, with the tests on the newest and the oldest Python; `nox -s tests` runs
them on every one that is found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")

# 9xx, a checkpoint on every way through every function, is off unless asked for. 114 wants every function for
# `nursery.start` listed here. 120 forbids to wait in an `except`, where a cancellation would hide the error: ours has
# been recorded by then. 124: a port's method is async, whether it waits or not.
NOT_OURS = "ASYNC9,ASYNC114,ASYNC120,ASYNC124"
# The service nursery sorts out whose cancellation is whose, and so keeps exceptions back for a moment.
SERVICES = Path("trailing/services.py")
# What drives psycopg handles cancellations in its stead: the shields, each with a deadline, are made by `cleaning_up`.
CLEANING_UP = {
    Path("trailing/stores") / name
    for name in ("trio_cleanup.py", "trio_connection.py", "trio_listening.py", "trio_pool.py")
}


def enable_pyenv_versions() -> None:
    """Let pyenv's shims run every version it has installed: those that aren't switched on fail when they are called."""
    if shutil.which("pyenv") and "PYENV_VERSION" not in os.environ:
        versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
        os.environ["PYENV_VERSION"] = ":".join(reversed(versions.stdout.split()))


def runs(version: str) -> bool:
    """Whether this Python is here and starts."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return True
    python = shutil.which(f"python{version}")
    return python is not None and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


enable_pyenv_versions()
# The newest first, so that the run ends with a plain run of the tests and not with the table of what they cover.
PYTHONS = [version for version in reversed(nox.project.python_versions(PROJECT)) if runs(version)]
NEWEST, OLDEST = PYTHONS[0], PYTHONS[-1]
nox.options.sessions = [
    "lint",
    "types",
    "docs",
    "examples",
    *(f"tests-{one}" for one in dict.fromkeys((NEWEST, OLDEST))),
]
EVERY_PROCESSOR = ("--numprocesses", "auto", "--dist", "worksteal")
FOUR_AT_A_TIME = ("--numprocesses", "4", "--dist", "worksteal")  # the slow ones mostly wait for real time to pass


def install(session: nox.Session, *groups: str) -> None:
    """Install the project, editable so that coverage and tracebacks name its files here, and its groups."""
    # Not compiled: pip would compile all of ccxt, for a minute, of which hardly anything is imported.
    session.install("--no-compile", "--editable", ".", *nox.project.dependency_groups(PROJECT, *groups))


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Style, and what ruff doesn't know about trio."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "format", "--check", "--diff", ".")
    session.run("ruff", "check", ".")
    others = sorted(str(path) for path in Path("trailing").rglob("*.py") if path not in {SERVICES, *CLEANING_UP})
    session.run("flake8-async", f"--disable={NOT_OURS}", *others)
    session.run("flake8-async", f"--disable={NOT_OURS},ASYNC103,ASYNC104", str(SERVICES))
    session.run("flake8-async", f"--disable={NOT_OURS},ASYNC102,ASYNC103,ASYNC104", *sorted(map(str, CLEANING_UP)))


@nox.session(python=NEWEST)
def types(session: nox.Session) -> None:
    """Types, ours and those that users see."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "trailing", "--ignoreexternal")


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """The documentation, with every warning an error."""
    install(session, "docs")
    session.run("sphinx-build", "-b", "html", "-W", "--keep-going", "-n", "-E", "docs", "docs/_build/html")


@nox.session(python=NEWEST)
def examples(session: nox.Session) -> None:
    """The examples of the documentation, as a reader would run them."""
    install(session, "test")
    session.run("pytest", "tests/test_examples.py", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests; the slow ones on the newest Python alone, and what the others cover there of what decides and acts."""
    install(session, "test")
    if session.python != NEWEST:
        session.run("pytest", *EVERY_PROCESSOR, "-m", "not slow", *session.posargs)
        return
    session.run("pytest", *FOUR_AT_A_TIME, "-m", "slow", *session.posargs)
    session.run("coverage", "erase")
    session.run("pytest", *EVERY_PROCESSOR, "-m", "not slow", "--cov", "--cov-report=", *session.posargs)
    session.run("coverage", "report")


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """Measurements; their figures depend on the machine, so plain `nox` leaves them out."""
    install(session, "test")
    session.run("pytest", "-o", "addopts=", "-s", "tests/benchmarks", *session.posargs)


@nox.session(python=NEWEST)
def simulate(session: nox.Session) -> None:
    """Worlds from 2,000 seeds (`-- --seeds N` for others), a day of 50 positions a wave, 200 kills and 50 takeovers.

    On Postgres too: 200 worlds and 200 kills.
    """
    install(session, "test")
    session.env["PYTHONPATH"] = "tests"  # where the package `simulation` is
    session.run("python", "-m", "simulation.laboratory", *(session.posargs or ("--seeds", "2000")))
    if not session.posargs:
        session.run("python", "-m", "simulation.laboratory", "--day")
        session.run("python", "-m", "simulation.killing", "--kills", "200")
        for module, *count in (("laboratory", "--seeds", "200"), ("killing", "--kills", "200")):
            command = ("python", "-m", f"simulation.{module}", *count, "--store", "{}")
            session.run("python", "tests/servers/postgres_server.py", *command)
        session.run("python", "-m", "simulation.takeover", "--takeovers", "50")
