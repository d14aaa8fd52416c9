"""The commands in groups, each with its options. The folder of a command's module is named after its group."""

from __future__ import annotations

from typing import Final, get_args

from trailing.cli.parser import Command, Group, Option, number
from trailing.cli.practice.price_files import CandleOrder
from trailing.logs import Level

INTRODUCTION: Final = (
    "Trailing stops for futures positions. The practice commands use a simulated exchange. Only recover --exchange and "
    "doctor talk to a real one."
)
EXIT_CODES: Final = """\
exit codes:
  0    success
  1    a bug, with its traceback; or standard output was closed;
       or a position has no stop after recover
  2    the command can't do what was asked, and one line says why;
       or doctor found a failure
  130  ended by SIGINT (Ctrl-C)
  143  ended by SIGTERM

trailing COMMAND --help shows the options of a command.
trailing --version shows the version."""

_STORE_URL: Final = "URL"
_STORE: Final = Option(
    name="--store",
    value=_STORE_URL,
    default="sqlite:///trailing.db",
    help="the store: sqlite:///FILE or postgresql://HOST/DATABASE",
)
_SINCE: Final = Option(
    name="--since",
    value="TIME",
    help="only events since then: a duration back from now (30m, 24h, 7d) or a UTC time (2018-01-10T05:10)",
)
_JSON: Final = Option(name="--json", help="print one JSON document, and nothing else, to standard output")
_JSON_LINES: Final = Option(name="--json", help="print one JSON object per line, and nothing else, to standard output")
_CREDENTIALS: Final = (
    Option(
        name="--credentials",
        value="FILE",
        help="a TOML file with api_key and secret that only its owner can read; without it, the environment variables "
        "TRAILING_API_KEY, TRAILING_SECRET and, if the venue needs one, TRAILING_PASSWORD",
        completes="files",
    ),
    Option(name="--table", value="NAME", help="the table of that file that holds the keys"),
    Option(name="--testnet", help="use the venue's test network or demo trading"),
    Option(
        name="--allow-unverified",
        help="accept a venue whose adapter was only checked against documented requests and answers",
    ),
)


def _log_level(default: Level) -> Option:
    return Option(
        name="--log-level",
        value="LEVEL",
        default=default,
        choices=get_args(Level),
        help="the lowest level that is logged to standard error",
    )


_DEMO: Final = Command(
    name="demo",
    summary="protect five positions on a slow simulated exchange, in 30 s",
    details="""\
Protect five positions on a simulated exchange that takes 2 s for an order: first under one lock, then in
parallel, as trailing does. Then let the market move until every stop is filled.

The demo takes less than 30 s. It needs no network and leaves no file.""",
    module="trailing.cli.practice.demo",
    options=(
        _JSON,
        _log_level("error"),
        Option(name="--svg", value="FILE", help="write the last screen to this file too", hidden=True),
    ),
)

_RUN: Final = Command(
    name="run",
    summary="replay a wave on the paper exchange and report the result",
    details="""\
Replay a wave (positions opened together) on the paper exchange, with prices from files, and print a report.

SIGINT and SIGTERM end the run in order: partial orders are cleaned up, stops stay live, and the state is
saved. With a store in a file, the same command resumes a run that was interrupted or killed.""",
    module="trailing.cli.practice.run",
    options=(
        Option(
            name="--wave",
            value="FILE",
            required=True,
            help="the positions: CSV (symbol,side,quantity,entry_price,opened_at_ms), or a JSON list of objects",
            completes="files",
        ),
        Option(
            name="--prices",
            value="WHERE",
            required=True,
            repeats=True,
            help="a directory of price files such as ada-btc-5m.csv or xrp-eth-trades.csv, one such file, or SYMBOL=FILE; "
            "may be given several times",
            completes="files",
        ),
        Option(name="--paper", required=True, help="confirms that no real order is meant"),
        Option(
            name="--plan",
            value="FILE",
            help="how to protect the positions, in TOML; without it: an initial stop 2% away, breakeven from 0.8% on, and "
            "0.5% behind the best price from 1.5% on",
            completes="files",
        ),
        Option(
            name="--store",
            value=_STORE_URL,
            default="memory:",
            help="where stops and events are kept: memory:, sqlite:///FILE or postgresql://HOST/DATABASE",
        ),
        Option(
            name="--speed",
            value="RATE",
            default="max",
            help="seconds of the data per second, or max; at a given rate the machine's own time counts too: at 1000, a "
            "millisecond of work is a second of the data",
        ),
        Option(
            name="--candles",
            value="ORDER",
            default="peak-first",
            choices=get_args(CandleOrder),
            help="which extreme of a candle is assumed to come first: with peak-first the high of a long and the low of a "
            "short, with adverse-first the other one; neither is a bound on the result",
        ),
        Option(
            name="--deadline",
            value="SECONDS",
            default=10.0,
            parse=number,
            help="how long each position may take to be protected",
        ),
        Option(name="--new", help="start a new run even if the store holds an interrupted one"),
        _JSON,
        _log_level("warning"),
        Option(
            name="--latency",
            value="SECONDS",
            default=0.0,
            parse=number,
            hidden=True,
            help="how long the paper exchange takes for a request",
        ),
    ),
)

_STATUS: Final = Command(
    name="status",
    summary="show open stops, and orders of unknown outcome",
    details="Show the stops that are open in a store, and the orders whose outcome is unknown.",
    module="trailing.cli.inspect.status",
    options=(
        _STORE,
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
        _STORE,
        _SINCE,
        Option(name="--follow", help="continue with new events until SIGINT or SIGTERM"),
        _JSON_LINES,
    ),
)

_REPORT: Final = Command(
    name="report",
    summary="report profit, moves and unprotected seconds per position",
    details="Report each position's profit before fees, its moves, and the seconds that it was unprotected.",
    module="trailing.cli.inspect.report",
    options=(_STORE, _SINCE, _JSON),
)

_RECOVER: Final = Command(
    name="recover",
    summary="compare a store with the account and fix the differences",
    details="""\
Compare a store with the account, show the differences and fix them, as a bot does at startup. With --dry-run,
show them and change nothing.

With --paper, the account is that of an interrupted run. Its prices go on until every open position in the
store has its stop. Positions that the store does not know are protected when the run is resumed.

With --exchange, the account is a bot's. Unless this is a dry run, the bot must not be running. Every open
position in the store gets its stop by its own plan. Then the command ends, and the stops stay live. Only a
bot trails them.

The exit code is 1 if a position has no stop afterwards.""",
    module="trailing.cli.operate.recover",
    options=(
        Option(name="--paper", help="recover the paper account of an interrupted run"),
        Option(
            name="--exchange",
            value="VENUE",
            help="recover an account on this exchange: binanceusdm, bybit, okx, or one that --allow-unverified accepts",
        ),
        _STORE,
        Option(
            name="--account",
            value="NAME",
            default="default",
            help="the name that the bot gives the account in its store",
        ),
        *_CREDENTIALS,
        Option(name="--dry-run", help="show what would be done; change nothing in the store or on the exchange"),
        _JSON,
        _log_level("warning"),
    ),
)

_DOCTOR: Final = Command(
    name="doctor",
    summary="check an account on a real exchange before a bot relies on it",
    details="""\
Check an account on a real exchange: clock, permissions, modes, markets, stream, and whether it accepts a
stop.

Nothing is changed, unless --place asks for a stop on trial. The exit code is 2 if a finding means that stops
can't be relied on.""",
    module="trailing.cli.operate.doctor",
    options=(
        Option(name="VENUE", required=True, help="binanceusdm, bybit, okx, or a venue that --allow-unverified accepts"),
        Option(
            name="--symbol",
            value="SYMBOL",
            default="BTC/USDT:USDT",
            help="the market whose stream is checked, and in which --place places its stop",
        ),
        *_CREDENTIALS,
        Option(
            name="--place",
            help="place a stop 20% away behind an open position of the symbol, look it up, and cancel it",
        ),
        _JSON,
    ),
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
        _STORE,
        _JSON,
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
    Group("Practice without an exchange", (_DEMO, _RUN)),
    Group("Inspect a store", (_STATUS, _EVENTS, _REPORT)),
    Group("Operate an account", (_RECOVER, _DOCTOR, _PRUNE)),
    Group("Set up the shell", (_COMPLETION,)),
)
