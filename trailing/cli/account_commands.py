"""The commands that talk to an account on an exchange, with their options."""

from __future__ import annotations

from typing import Final, get_args

from trailing.cli.parser import Command, Option, money, number
from trailing.cli.shared_options import JSON, STORE, STORE_URL, log_level
from trailing.core.model import Side

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


RECOVER: Final = Command(
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
        STORE,
        Option(
            name="--account",
            value="NAME",
            default="default",
            help="the name that the bot gives the account in its store",
        ),
        *_CREDENTIALS,
        Option(name="--dry-run", help="show what would be done; change nothing in the store or on the exchange"),
        JSON,
        log_level("warning"),
    ),
)

DOCTOR: Final = Command(
    name="doctor",
    summary="check an account on a real exchange before a bot relies on it",
    details="""\
Check an account on a real exchange: clock, permissions, modes, markets, stream, and whether it accepts a
stop; and whether alerts about it reach a person.

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
        Option(
            name="--alerts",
            value="FILE",
            help="the bot's private file with the addresses of alerts; without it, the environment variables "
            "TRAILING_ALERTS and TRAILING_HEARTBEAT",
            completes="files",
        ),
        Option(name="--alerts-table", value="NAME", help="the table of that file that holds them"),
        JSON,
    ),
)

FLATTEN: Final = Command(
    name="flatten",
    summary="close every position of an account at market, now",
    details="""\
Close every position of an account at market, reduce-only and all in parallel. It is the emergency exit: it
needs keys, and no bot.

The command shows what it will close and asks, unless --yes is given. Reduce-only orders that block a close are
cancelled. The stops and the other reduce-only orders of a position are cancelled once the position is
confirmed flat. At the end, two snapshots have to prove that nothing is open.

With --store it says which process owns the account, and closes all the same. A running bot may open positions
again, so end it.

The exit code is 1, with a list, while anything is open. After SIGINT or SIGTERM the list says what is not
closed; an order that was sent may still be executed.""",
    module="trailing.cli.operate.flatten",
    options=(
        Option(name="VENUE", required=True, help="binanceusdm, bybit, okx, or a venue that --allow-unverified accepts"),
        Option(
            name="--symbol",
            value="SYMBOL",
            repeats=True,
            help="close the position of this symbol only, and leave the orders of others alone; may be given several times",
        ),
        Option(
            name="--only-ours",
            help="close only positions with a stop of ours behind them, and those that the store knows; cancel only our "
            "orders behind flat positions",
        ),
        Option(
            name="--store",
            value=STORE_URL,
            help="the bot's store, sqlite:///FILE or postgresql://HOST/DATABASE, to say which process owns the account",
        ),
        Option(
            name="--account",
            value="NAME",
            default="default",
            help="the name that the bot gives the account in its store",
        ),
        *_CREDENTIALS,
        Option(name="--yes", help="close without asking"),
        Option(
            name="--deadline",
            value="SECONDS",
            default=180.0,
            parse=number,
            help="when the command ends, whatever is open then",
        ),
        JSON,
    ),
)

CHECK: Final = Command(
    name="check",
    summary="try an adapter on a venue's test network, and write a report",
    details="""\
Try the adapter of a venue on its real test network, step by step: place, list, find, move and cancel a stop,
be refused, let a stop trigger by each price source, close, with the stream beside it. Print a table, and write
a report for the maintainers, without keys and account ids.

The command opens positions of the smallest quantity that the market takes, one at a time. At the end, and after
SIGINT, SIGTERM, the deadline or a crash, it cancels its stops and closes its position. It refuses to begin if
the symbol has a position or an order, and touches nothing else.

The exit code is 2 if a step did not pass, and 3 if an order or a position may be left.""",
    module="trailing.cli.operate.check",
    options=(
        Option(name="VENUE", required=True, help="binanceusdm, bybit, okx, or a venue that --allow-unverified accepts"),
        Option(
            name="--symbol",
            value="SYMBOL",
            required=True,
            help="the market, such as BTC/USDT:USDT; one whose price moves often",
        ),
        Option(
            name="--side",
            value="SIDE",
            default="long",
            choices=get_args(Side),
            help="the side of the positions that are opened",
        ),
        *_CREDENTIALS,
        Option(name="--live", help="use the real account instead of a test network; needs --yes and --most-notional"),
        Option(name="--yes", help="confirms that real positions are meant"),
        Option(
            name="--most-notional",
            value="AMOUNT",
            parse=money,
            help="the most that one position may be worth, in the quote currency; a larger one is refused",
        ),
        Option(
            name="--trigger-seconds",
            value="SECONDS",
            default=120.0,
            parse=number,
            help="how long to wait until the price reaches a stop, for each price source",
        ),
        Option(
            name="--deadline",
            value="SECONDS",
            default=900.0,
            parse=number,
            help="when the steps end; the clean-up comes after it and takes at most 45 s",
        ),
        Option(
            name="--report",
            value="FILE",
            help="the file of the report; without it, trailing-check-VENUE.json",
            completes="files",
        ),
        JSON,
    ),
)

ALERTS: Final = Command(
    name="alerts",
    summary="list the alert channels, and send a test to each",
    details="""\
List the alert channels and the heartbeat that a bot would use with the same settings. With --test, send one
test message to each channel, and one heartbeat.

The exit code is 2 if there is no channel, or if a receiver did not take the test.""",
    module="trailing.cli.operate.alerts",
    options=(
        Option(name="--test", help="send one test message to each channel, and one heartbeat"),
        Option(
            name="--file",
            value="FILE",
            help="a TOML file with the table channels, the address heartbeat, or both, that only its owner can read; without "
            "it, the environment variables TRAILING_ALERTS (addresses with blanks between them) and TRAILING_HEARTBEAT",
            completes="files",
        ),
        Option(name="--table", value="NAME", help="the table of that file that holds them"),
        JSON,
    ),
)
