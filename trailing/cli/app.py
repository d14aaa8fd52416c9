"""The commands and their options."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from trailing.cli.price_files import CandleOrder
from trailing.errors import UsageError
from trailing.logs import Level

app: App = App(
    name="trailing",
    version=lambda: version("trailing"),
    help="Trailing stops for futures positions: try them on the paper exchange, look into a bot's store, and at an account.",
)

Flag: Parameter = Parameter(negative="")
STORE = "sqlite:///trailing.db"


@app.command
def run(
    *,
    wave: Path,
    prices: Annotated[list[str], Parameter(negative="")],
    paper: Annotated[bool, Flag] = False,
    plan: Path | None = None,
    store: str = "memory:",
    speed: str = "max",
    candles: CandleOrder = "peak-first",
    deadline: float = 10.0,
    new: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    log_level: Level = "warning",
    latency: Annotated[float, Parameter(show=False)] = 0.0,
) -> int:
    """Replay a wave on the paper exchange, and report what became of it.

    SIGINT and SIGTERM end it in order: partial orders are cleaned up, stops stay, the state is saved. With a store in a
    file, the same command goes on with a run that was cut short, by a signal or by the death of its process.

    Args:
        wave: positions, as CSV (symbol,side,quantity,entry_price,opened_at_ms) or as a list of JSON objects.
        prices: a directory of price files such as ada-btc-5m.csv or xrp-eth-trades.csv, one such file, or SYMBOL=FILE;
            may be given several times.
        paper: on the paper exchange; it has to be said, as there is no other for now.
        plan: how to protect, in TOML; without it, an initial stop 2% away, breakeven at 0.8%, and 0.5% behind the best
            price from 1.5% on.
        store: where stops and events are kept: memory:, sqlite:///FILE or postgresql://HOST/DATABASE.
        speed: seconds of the data for one second, or max. At a speed the machine's own time counts too: at 1000, a
            millisecond of work is a second of the data.
        candles: which of a candle's high and low is assumed to have come first: with peak-first the high for a long and
            the low for a short, with adverse-first the other one. Neither is a bound on the result.
        deadline: seconds in which each position has to be protected.
        new: begin anew, although the store knows of a run that was cut short.
        json: print the report as one JSON document, and nothing else, to standard output.
        log_level: the least level that is logged, to standard error.
        latency: seconds that the paper exchange takes for a request.
    """
    from trailing.cli.jobs import prepare  # noqa: PLC0415 - each command loads what it needs
    from trailing.cli.run import run_job  # noqa: PLC0415

    if not paper:
        raise UsageError("run wants --paper: it says that no real order is meant")
    job = prepare(
        wave,
        prices,
        plan,
        store_url=store,
        speed=speed,
        candles=candles,
        deadline=deadline,
        latency=latency,
    )
    return run_job(job, json=json, log_level=log_level, new=new)


@app.command
def recover(
    *,
    store: str = STORE,
    paper: Annotated[bool, Flag] = False,
    exchange: str | None = None,
    account: str = "default",
    credentials: Path | None = None,
    table: str | None = None,
    testnet: Annotated[bool, Flag] = False,
    allow_unverified: Annotated[bool, Flag] = False,
    dry_run: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    log_level: Level = "warning",
) -> int:
    """Hold what a store knows beside the account, show what follows, and carry it out: what a bot begins with.

    On the paper exchange the account is that of a run that was cut short; its prices go on until every open position that
    the store knows has its stop. Positions that it doesn't know are protected when the run goes on.

    On a real exchange it is a bot's, which may not be running meanwhile unless this is a dry run. Every open position that
    the store knows gets its stop, by its own plan; then it ends, and the stops stand. They are trailed by a bot only.

    Args:
        store: sqlite:///FILE, or for a real exchange postgresql://HOST/DATABASE too.
        paper: on the paper exchange.
        exchange: on a real one: binanceusdm, bybit, or one that --allow-unverified takes.
        account: what the bot calls the account in its store.
        credentials: a TOML file with api_key and secret that only its owner can read; without it, they are taken from
            the environment: TRAILING_API_KEY, TRAILING_SECRET and, where the venue has one, TRAILING_PASSWORD.
        table: the table of that file that holds them.
        testnet: on the venue's test network, or its demo trading.
        allow_unverified: take a venue of which only the requests were looked at.
        dry_run: show what would be done, and change nothing, here or there.
        json: print what was found as one JSON document, and nothing else, to standard output.
        log_level: the least level that is logged, to standard error.
    """
    if paper == (exchange is not None):
        raise UsageError("recover wants --paper or --exchange VENUE: it says which account is meant")
    if exchange is None:
        from trailing.cli.recovering import recover_paper  # noqa: PLC0415

        return recover_paper(store, dry_run=dry_run, json=json, log_level=log_level)
    from trailing.cli.venue_recovering import recover_venue  # noqa: PLC0415

    return recover_venue(
        exchange,
        store,
        account=account,
        file=credentials,
        table=table,
        testnet=testnet,
        allow_unverified=allow_unverified,
        dry_run=dry_run,
        json=json,
        log_level=log_level,
    )


@app.command
def status(*, store: str = STORE, follow: Annotated[bool, Flag] = False, json: Annotated[bool, Flag] = False) -> int:
    """Show the stops that are open in a store, and the orders whose outcome is not known.

    Args:
        store: sqlite:///FILE or postgresql://HOST/DATABASE.
        follow: show them again whenever something has happened, until SIGINT or SIGTERM.
        json: print one JSON document; with --follow, one a line.
    """
    from trailing.cli.looking import follow_status, show_status  # noqa: PLC0415

    return follow_status(store, json=json) if follow else show_status(store, json=json)


@app.command
def events(
    *,
    store: str = STORE,
    since: str | None = None,
    follow: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Show what happened, oldest first.

    Args:
        store: sqlite:///FILE or postgresql://HOST/DATABASE.
        since: a duration back from now (30m, 24h, 7d) or a UTC time (2018-01-10T05:10); without it, since ever.
        follow: go on with new ones until SIGINT or SIGTERM.
        json: print one JSON object a line.
    """
    from trailing.cli.looking import show_events  # noqa: PLC0415
    from trailing.cli.spans import parse_since  # noqa: PLC0415

    return show_events(store, parse_since(since), follow=follow, json=json)


@app.command
def prune(*, older: str, store: str = STORE, json: Annotated[bool, Flag] = False) -> int:
    """Delete old events from a store. Stops, and orders whose outcome is not known, stay; a bot may run meanwhile.

    Args:
        older: delete events older than this: a duration (30d, 12w) or a UTC time (2018-01-10).
        store: sqlite:///FILE or postgresql://HOST/DATABASE.
        json: print one JSON document.
    """
    from trailing.cli.pruning import prune_store  # noqa: PLC0415
    from trailing.cli.spans import parse_since  # noqa: PLC0415

    before = parse_since(older, "--older")
    assert before is not None
    return prune_store(store, before, json=json)


@app.command
def report(*, store: str = STORE, since: str | None = None, json: Annotated[bool, Flag] = False) -> int:
    """Report what became of positions: their profit before fees, moves, and seconds without a stop.

    Args:
        store: sqlite:///FILE or postgresql://HOST/DATABASE.
        since: a duration back from now (30m, 24h, 7d) or a UTC time (2018-01-10T05:10); without it, since ever.
        json: print one JSON document.
    """
    from trailing.cli.looking import show_report  # noqa: PLC0415
    from trailing.cli.spans import parse_since  # noqa: PLC0415

    return show_report(store, parse_since(since), json=json)


@app.command
def doctor(
    venue: str,
    *,
    symbol: str = "BTC/USDT:USDT",
    credentials: Path | None = None,
    table: str | None = None,
    place: Annotated[bool, Flag] = False,
    testnet: Annotated[bool, Flag] = False,
    allow_unverified: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Look at an account on a real exchange: clock, permissions, modes, markets, stream, and whether a stop is taken.

    It changes nothing, unless it is told to place a stop on trial. It ends with code 2 where something was found that
    stops can't be relied on with.

    Args:
        venue: binanceusdm, bybit, or one that --allow-unverified takes.
        symbol: of the market to listen to, and to place a stop in.
        credentials: a TOML file with api_key and secret that only its owner can read; without it, they are taken from
            the environment: TRAILING_API_KEY, TRAILING_SECRET and, where the venue has one, TRAILING_PASSWORD.
        table: the table of that file that holds them.
        place: place a stop 20% away behind an open position of the symbol, look it up, and cancel it.
        testnet: on the venue's test network, or its demo trading.
        allow_unverified: take a venue of which only the requests were looked at.
        json: print one JSON document.
    """
    from trailing.cli.doctor import run_doctor  # noqa: PLC0415

    return run_doctor(
        venue,
        symbol=symbol,
        file=credentials,
        table=table,
        place=place,
        testnet=testnet,
        allow_unverified=allow_unverified,
        json=json,
    )


@app.command
def demo(
    *,
    json: Annotated[bool, Flag] = False,
    log_level: Level = "error",
    svg: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Protect five positions on an exchange that takes 2 s for an order: under one lock, and as trailing does it.

    Then let the market move until every stop is filled. It all takes less than 30 s, and touches nothing.

    Args:
        json: print what was measured as one JSON document, and nothing else, to standard output.
        log_level: the least level that is logged, to standard error.
        svg: write the last screen to this file too.
    """
    from trailing.cli.demo import run_demo  # noqa: PLC0415

    return run_demo(json=json, log_level=log_level, svg=svg)
