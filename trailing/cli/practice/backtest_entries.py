"""The entries of `trailing backtest`: a wave, signals, the positions of a store, or generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from trailing.backtest import AlwaysIn, EntryPoint, Every, Signal
from trailing.backtest.entries import given_entries
from trailing.backtest.simulated import check_first_stop
from trailing.cli.messages import errors_named
from trailing.cli.practice.closed_positions import read_closed_positions
from trailing.cli.practice.price_files import check_opened_within
from trailing.cli.practice.signal_files import read_signals
from trailing.cli.practice.tick_options import GivenPrices
from trailing.cli.practice.wave_files import read_wave
from trailing.cli.time_options import parse_duration
from trailing.core.model import Market, Position, Side, check_money, check_symbol, refuse
from trailing.core.plan import TrailPlan
from trailing.errors import UsageError
from trailing.logs import Level
from trailing.unprotected import UnprotectedStretch

Entries: TypeAlias = Sequence[Position | EntryPoint | Signal] | Every | AlwaysIn

_SIDES: Final[dict[str, tuple[Side, ...]]] = {"long": ("long",), "short": ("short",), "both": ("long", "short")}


class EntryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that name the entries, as they were typed. Exactly one source has to be there."""

    wave: str | None
    signals: str | None
    store: str | None
    every: str | None
    always_in: bool
    symbol: list[str] | None
    side: str | None
    quantity: str | None
    since: str | None


class Chosen(msgspec.Struct, frozen=True):
    """The entries and the symbols that need prices.

    Args:
        left_out: the number of positions of a store that can't be walked, because their quantity, entry price or time is
            unknown.
        unprotected: the times in which the positions of a store had no live stop.
        exit_code: not 0: a signal ended the reading of the store.
        source: the file of the entries; None: they come from no file.
        given: the entries of that file.
    """

    entries: Entries
    symbols: tuple[str, ...]
    left_out: int = 0
    unprotected: tuple[UnprotectedStretch, ...] = ()
    exit_code: int = 0
    source: Path | None = None
    given: Sequence[Position | Signal] = ()

    def check_times(self, prices: GivenPrices) -> None:
        """Refuse entries of a file that lie outside the prices. Raises UsageError, naming the files, the position and the times."""
        if self.source is not None:
            for entry in self.given:
                check_opened_within(entry, prices.by_symbol[entry.symbol].prices, source=self.source)

    def check_first_stops(self, plan: TrailPlan, prices: GivenPrices) -> None:
        """Refuse a plan, or an entry of a file, that gives no possible first stop. Raises UsageError, naming the file."""
        if self.source is None or plan.native:  # the backtest refuses a native plan
            return
        markets = prices.markets
        with errors_named(str(self.source)):
            for entry in given_entries(self.given, prices.series):
                symbol = entry.position.symbol
                check_first_stop(entry.position, plan, markets.get(symbol) or Market(symbol))


def choose_entries(
    options: EntryOptions, prices: Sequence[str], log_level: Level, *, command: str = "backtest"
) -> Chosen:
    """Return the entries that the options name.

    Args:
        prices: the values of ``--prices``, which may name symbols.
        command: the command that has them, for the error.

    Raises:
        UsageError: not exactly one source is given, or an option or a file can't be right.
        StoreError: the store can't be read.
    """
    sources = {
        "--wave": options.wave is not None,
        "--signals": options.signals is not None,
        "--store": options.store is not None,
        "--every": options.every is not None,
        "--always-in": options.always_in,
    }
    given = [name for name, is_given in sources.items() if is_given]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise UsageError(f"{command} wants exactly one of {', '.join(sources)}, and got {got}")
    (source,) = given
    wanted = tuple(dict.fromkeys(options.symbol or ()))
    for symbol in wanted:
        check_symbol("--symbol", symbol)
    if options.since is not None and source != "--store":
        raise UsageError("--since counts only with --store")
    _check_counts("--side", options.side, source, ("--every", "--always-in"))
    _check_counts("--quantity", options.quantity, source, ("--signals", "--every", "--always-in"))
    quantity = _quantity(options.quantity or "1")
    if options.wave is not None:
        return _given(read_wave(Path(options.wave)), wanted, Path(options.wave))
    if options.signals is not None:
        return _given(read_signals(Path(options.signals), quantity=quantity), wanted, Path(options.signals))
    if options.store is not None:
        return _stored(options.store, options.since, wanted, log_level)
    symbols = wanted or tuple(
        dict.fromkeys(
            symbol for symbol, equals, _ in (word.partition("=") for word in prices) if equals and ":" in symbol
        )
    )
    if not symbols:
        raise UsageError(f"{source} needs the symbols: give --symbol BTC/USDT:USDT, or --prices BTC/USDT:USDT=FILE")
    sides = _SIDES[options.side or "long"]
    if options.every is None:
        return Chosen(AlwaysIn(sides=sides, quantity=quantity), symbols)
    return Chosen(Every(seconds=parse_duration(options.every, "--every"), sides=sides, quantity=quantity), symbols)


def _check_counts(option: str, value: str | None, source: str, sources: Sequence[str]) -> None:
    """Refuse an option that has no effect on the entries of a source. Raises UsageError."""
    if value is not None and source not in sources:
        raise UsageError(f"{option} counts only with {' or '.join(sources)}, because {source} has its own")


def _quantity(text: str) -> Decimal:
    try:
        quantity = Decimal(text)
        check_money("--quantity", quantity)
    except (InvalidOperation, UsageError):
        raise refuse("--quantity", text, "a number above 0") from None
    return quantity


def _given(found: Sequence[Position | Signal], wanted: Sequence[str], source: Path) -> Chosen:
    kept = [each for each in found if not wanted or each.symbol in wanted]
    if not kept:
        raise UsageError(f"{source} has no entry of {', '.join(wanted)}")
    return Chosen(kept, tuple(dict.fromkeys(each.symbol for each in kept)), source=source, given=kept)


def _stored(url: str, since: str | None, wanted: Sequence[str], log_level: Level) -> Chosen:
    stored = read_closed_positions(url, since, wanted, log_level)
    if stored.exit_code:
        return Chosen((), (), exit_code=stored.exit_code)
    positions = [position for closed in stored.positions if (position := closed.position) is not None]
    if not positions:
        where = f" of {', '.join(wanted)}" if wanted else ""
        raise UsageError(f"--store {url} has no closed position{where} with a known entry")
    symbols = tuple(dict.fromkeys(position.symbol for position in positions))
    left_out = len(stored.positions) - len(positions)
    return Chosen(positions, symbols, left_out=left_out, unprotected=stored.unprotected)
