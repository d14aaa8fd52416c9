"""The commands for practice, each with its options: they need no account."""

from __future__ import annotations

from typing import Final, get_args

from trailing.cli.parser import Command, Option, number, whole_number
from trailing.cli.practice.cost_options import COST_OPTIONS
from trailing.cli.practice.grid_options import GRID_OPTIONS
from trailing.cli.practice.tick_options import TICK_OPTION
from trailing.cli.shared_options import JSON, SINCE, STORE_URL, log_level
from trailing.core.model import Source
from trailing.core.paths import CANDLE_ORDERS

_PRICES: Final = Option(
    name="--prices",
    value="WHERE",
    required=True,
    repeats=True,
    help="a directory of price files such as ada-btc-5m.csv or xrp-eth-trades.csv, one such file, or SYMBOL=FILE; "
    "may be given several times",
    completes="files",
)
_PLAN: Final = Option(
    name="--plan",
    value="FILE",
    help="how to protect the positions, in TOML; without it: an initial stop 2% away, breakeven from 0.8% on, and "
    "0.5% behind the best price from 1.5% on",
    completes="files",
)
_CANDLE_ORDER: Final = Option(
    name="--candles",
    value="ORDER",
    default="both",
    choices=CANDLE_ORDERS,
    help="which extreme of a candle is assumed to come first; both: replay each order, and report both and the range",
)
DEMO: Final = Command(
    name="demo",
    summary="protect five positions on a slow simulated exchange, in 30 s",
    details="""\
Protect five positions on a simulated exchange that takes 2 s for an order: first under one lock, then in
parallel, as trailing does. Then let the market move until every stop is filled.

The demo takes less than 30 s. It needs no network and leaves no file.""",
    module="trailing.cli.practice.demo",
    options=(
        JSON,
        log_level("error"),
        Option(name="--svg", value="FILE", help="write the last screen to this file too", hidden=True),
    ),
)

RUN: Final = Command(
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
        _PRICES,
        Option(name="--paper", required=True, help="confirms that no real order is meant"),
        _PLAN,
        Option(
            name="--store",
            value=STORE_URL,
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
        _CANDLE_ORDER,
        TICK_OPTION,
        *COST_OPTIONS,
        Option(
            name="--deadline",
            value="SECONDS",
            default=10.0,
            parse=number,
            help="how long each position may take to be protected",
        ),
        Option(name="--new", help="start a new run even if the store holds an interrupted one"),
        JSON,
        log_level("warning"),
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

_ENTRIES: Final = (
    Option(
        name="--wave",
        value="FILE",
        help="entries: positions that were entered, CSV (symbol,side,quantity,entry_price,opened_at_ms), or a JSON list",
        completes="files",
    ),
    Option(
        name="--signals",
        value="FILE",
        help="entries: at the open of the first candle at or after each time, CSV (timestamp_ms,symbol,side and, if "
        "wanted, quantity,stop_price)",
        completes="files",
    ),
    Option(name="--store", value=STORE_URL, help="entries: the closed positions of a bot's store"),
    Option(name="--every", value="TIME", help="entries: at the first open of each interval (30m, 4h, 1d), in UTC"),
    Option(name="--always-in", help="entries: at the first open, and at the open after each exit"),
    Option(
        name="--symbol",
        value="SYMBOL",
        repeats=True,
        help="only this symbol, such as BTC/USDT:USDT; may be given several times; --every and --always-in need it, or "
        "--prices SYMBOL=FILE",
    ),
    Option(
        name="--side",
        value="SIDE",
        choices=("long", "short", "both"),
        help="the side of --every and --always-in; without it: long",
    ),
    Option(
        name="--quantity",
        value="NUMBER",
        help="the quantity, in base units, of --every, --always-in and of signals without one; without it: 1",
    ),
    SINCE,
)
"""The options that name the entries of a backtest or a sweep."""

_HTML: Final = Option(
    name="--html",
    value="FILE",
    help="write a report with pictures to this file too; it needs: pip install 'trailing[plot]'",
    completes="files",
)
BACKTEST: Final = Command(
    name="backtest",
    summary="try a plan on recorded prices, on the core alone",
    details="""\
Walk positions along recorded prices under a plan, and print a table of their trades. The core decides as it does in a
bot; there is no manager, no store and no network. The fills are those of trailing run.

The entries come from exactly one of --wave, --signals, --store, --every and --always-in.""",
    module="trailing.cli.practice.backtest",
    options=(
        _PRICES,
        *_ENTRIES,
        _PLAN,
        _CANDLE_ORDER,
        TICK_OPTION,
        *COST_OPTIONS,
        JSON,
        Option(name="--csv", value="FILE", help="write all trades to this file too", completes="files"),
        _HTML,
        log_level("warning"),
    ),
)

_BASE_PLAN: Final = Option(
    name="--plan",
    value="FILE",
    help="the other fields of every plan, in TOML, and its rules of kinds that no option varies; without it: an "
    "initial stop 2% away, and no rule",
    completes="files",
)
SWEEP: Final = Command(
    name="sweep",
    summary="try many plans on recorded prices, and find the best",
    details="""\
Walk every combination of values along recorded prices, and print the best plans. A compiled kernel walks them, with the
trades of trailing backtest to the last digit; it needs the extra: pip install 'trailing[sweep]'.

The report says what the best of so many plans would gain by chance, and how the plan that is best in the first part of
the time does in the rest. The entries come from exactly one of --wave, --signals, --store, --every and --always-in.""",
    module="trailing.cli.practice.sweep",
    options=(
        _PRICES,
        *GRID_OPTIONS,
        *_ENTRIES,
        _BASE_PLAN,
        _CANDLE_ORDER,
        TICK_OPTION,
        *COST_OPTIONS[:2],
        Option(
            name="--first-part",
            value="PERCENT",
            default="70",
            help="the part of the time on which the walk-forward chooses a plan",
        ),
        Option(
            name="--best", value="NUMBER", default=10, parse=whole_number, help="how many of the best plans are shown"
        ),
        Option(name="--jobs", value="NUMBER", default=1, parse=whole_number, help="how many processes walk the plans"),
        Option(name="--seed", value="NUMBER", default=0, parse=whole_number, help="of the by-chance figure"),
        JSON,
        Option(name="--csv", value="FILE", help="write all plans to this file too", completes="files"),
        Option(
            name="--trades", value="FILE", help="write the trades of the best plans to this CSV file", completes="files"
        ),
        _HTML,
        log_level("warning"),
    ),
)

SUGGEST: Final = Command(
    name="suggest",
    summary="learn from a bot's closed positions which plan fits them",
    details="""\
Read the closed positions of a bot's store, and print how far the price went against each and for it. Then walk every
combination of values from their entries on, and print the plans that would have done best, with intervals. With less than
30 closed positions in a currency it says so instead. It needs the extra: pip install 'trailing[sweep]'.

Currencies are not mixed: each has its own totals, intervals and plans.""",
    module="trailing.cli.practice.suggest",
    options=(
        Option(
            name="--store",
            value=STORE_URL,
            required=True,
            help="the store: sqlite:///FILE or postgresql://HOST/DATABASE",
        ),
        _PRICES,
        *GRID_OPTIONS,
        Option(
            name="--symbol",
            value="SYMBOL",
            repeats=True,
            help="only this symbol, such as BTC/USDT:USDT; may be given several times",
        ),
        SINCE,
        _BASE_PLAN,
        _CANDLE_ORDER,
        TICK_OPTION,
        *COST_OPTIONS[:2],
        Option(
            name="--best", value="NUMBER", default=5, parse=whole_number, help="how many of the best plans are shown"
        ),
        Option(name="--seed", value="NUMBER", default=0, parse=whole_number, help="of the intervals"),
        JSON,
        _HTML,
        log_level("warning"),
    ),
)

CANDLES: Final = Command(
    name="candles",
    summary="download candles of a real exchange into price files",
    details="""\
Download candles of a real exchange into a directory, one price file for each symbol. It needs no keys.

A file that exists is continued after its last bar. SIGINT and SIGTERM end the download in order: what was
downloaded is in the files, and the same command continues.""",
    module="trailing.cli.practice.candles",
    options=(
        Option(name="VENUE", required=True, help="the exchange: binanceusdm, bybit or okx"),
        Option(name="SYMBOL", required=True, repeats=True, help="linear contracts such as BTC/USDT:USDT"),
        Option(name="--timeframe", value="LENGTH", default="1m", help="the length of a candle: 1m, 5m, 1h, 1d"),
        Option(
            name="--since",
            value="TIME",
            required=True,
            help="the first candle: a duration back from now (12h, 30d) or a UTC time (2025-01-31T08:00)",
        ),
        Option(name="--until", value="TIME", help="candles that open before this time; without it: until now"),
        Option(
            name="--source",
            value="PRICE",
            default="last",
            choices=get_args(Source),
            help="the price that the candles are of",
        ),
        Option(name="--out", value="DIR", required=True, help="the directory of the files", completes="files"),
        Option(
            name="--format",
            value="FORMAT",
            default="csv",
            choices=("csv", "parquet"),
            help="the format of the files; parquet needs: pip install 'trailing[parquet]'",
        ),
        JSON,
        log_level("warning"),
    ),
)
