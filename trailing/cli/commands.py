"""The commands in groups, each with its options. The folder of a command's module is named after its group."""

from __future__ import annotations

from typing import Final

from trailing.cli.account_commands import ALERTS, CHECK, DOCTOR, FLATTEN, RECOVER
from trailing.cli.parser import Command, Group, Option
from trailing.cli.practice_commands import BACKTEST, CANDLES, DEMO, RUN, SUGGEST, SWEEP
from trailing.cli.shared_options import JSON, SINCE, STORE
from trailing.web.addresses import BIND

INTRODUCTION: Final = (
    "Trailing stops for futures positions. The practice commands use a simulated exchange. Only candles, recover "
    "--exchange, flatten, doctor and check talk to a real one, and candles needs no keys."
)
EXIT_CODES: Final = """\
exit codes:
  0    success
  1    a bug, with its traceback; or standard output was closed;
       or a position has no stop after recover;
       or something is open after flatten
  2    the command can't do what was asked, and one line says why;
       or doctor found a failure; or a step of check did not pass;
       or a receiver did not take the test of alerts
  3    check may have left an order or a position, and names it
  130  ended by SIGINT (Ctrl-C)
  143  ended by SIGTERM

trailing COMMAND --help shows the options of a command.
trailing --version shows the version."""

_JSON_LINES: Final = Option(name="--json", help="print one JSON object per line, and nothing else, to standard output")
_STATUS: Final = Command(
    name="status",
    summary="show open stops, and orders of unknown outcome",
    details="Show the stops that are open in a store, and the orders whose outcome is unknown.",
    module="trailing.cli.inspect.status",
    options=(
        STORE,
        Option(name="--follow", help="show them again after each change, until SIGINT or SIGTERM"),
        Option(
            name="--json",
            help="print one JSON document, and nothing else, to standard output; with --follow, one object per line",
        ),
    ),
)

_EVENTS: Final = Command(
    name="events",
    summary="show what happened, oldest first",
    details="Show the events of a store, oldest first.",
    module="trailing.cli.inspect.events",
    options=(
        STORE,
        SINCE,
        Option(name="--follow", help="continue with new events until SIGINT or SIGTERM"),
        _JSON_LINES,
    ),
)

_WEB: Final = Command(
    name="web",
    summary="show a store in a browser: stops, their age, the lease",
    details="""\
Serve a read-only page about a store, and its metrics at /metrics. It shows the last acknowledged stop of each position, the
age of its record, and who owns the account. Prices and profits are shown only by the page that a bot serves itself.

The page is for this machine alone. With another address than a loopback one, every request needs the token in the
environment variable TRAILING_WEB_TOKEN or in --token-file.""",
    module="trailing.cli.inspect.web",
    options=(
        STORE,
        Option(
            name="--bind",
            value="HOST:PORT",
            default=BIND,
            help="the address to serve at; port 0 takes a free port",
        ),
        Option(
            name="--token-file",
            value="FILE",
            help="a file that only you can read (chmod 600), with the token in its first line",
            completes="files",
        ),
        Option(
            name="--host",
            value="NAME",
            repeats=True,
            help="a further name under which browsers reach the page, as behind a proxy; needs a token; may be given several times",
        ),
        Option(name="--json", help="print the page's URL as JSON, and nothing else, to standard output"),
    ),
)

_REPORT: Final = Command(
    name="report",
    summary="report profit, moves and unprotected seconds per position",
    details="Report each position's profit before fees, its moves, and the seconds that it was unprotected.",
    module="trailing.cli.inspect.report",
    options=(STORE, SINCE, JSON),
)

_PRUNE: Final = Command(
    name="prune",
    summary="delete old events from a store; stops stay",
    details="""\
Delete old events from a store. Open stops, and orders of unknown outcome, stay. A bot may run meanwhile.""",
    module="trailing.cli.operate.prune",
    options=(
        Option(
            name="--older",
            value="TIME",
            required=True,
            help="delete events older than this: a duration (30d, 12w) or a UTC time (2018-01-10)",
        ),
        STORE,
        JSON,
    ),
)

_COMPLETION: Final = Command(
    name="completion",
    summary="print a completion script for bash, zsh or fish",
    details="""\
Print a script that lets a shell complete commands and options with the Tab key.

bash: eval "$(trailing completion bash)" in ~/.bashrc

zsh: eval "$(trailing completion zsh)" in ~/.zshrc, after compinit

fish: trailing completion fish > ~/.config/fish/completions/trailing.fish""",
    module="trailing.cli.completion",
    options=(
        Option(name="SHELL", required=True, choices=("bash", "zsh", "fish"), help="the shell to print a script for"),
    ),
)

GROUPS: Final = (
    Group("Practice without an account", (DEMO, RUN, BACKTEST, SWEEP, SUGGEST, CANDLES)),
    Group("Inspect a store", (_STATUS, _EVENTS, _REPORT, _WEB)),
    Group("Operate an account", (RECOVER, FLATTEN, DOCTOR, CHECK, ALERTS, _PRUNE)),
    Group("Set up the shell", (_COMPLETION,)),
)
