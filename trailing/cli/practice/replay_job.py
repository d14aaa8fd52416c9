"""The input of a replay: options and files, read and checked before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trailing.backtest import Costs
from trailing.backtest.simulated import check_first_stop
from trailing.cli.messages import errors_named
from trailing.cli.practice.plan_files import read_plan
from trailing.cli.practice.price_files import PriceFile, entering_times, longest_bar, read_price_files
from trailing.cli.practice.saved_account import Command, SavedPaperAccount, saved_account_path
from trailing.cli.practice.tick_options import parse_ticks
from trailing.cli.practice.wave_files import read_wave
from trailing.core.model import Position, check_seconds, refuse
from trailing.core.paths import AssumedOrder, CandleOrder, assumed_orders, name_order
from trailing.core.plan import TrailPlan, encode_plan
from trailing.errors import UsageError
from trailing.logs import hide_credentials


class ReplayJob(msgspec.Struct, frozen=True, kw_only=True):
    """The checked input of a replay.

    Args:
        own_plan: whether the plan came from a file.
        enters_at: when the first price comes that counts for each position, by symbol and side, in seconds since 1970.
        candles: the order of a candle's high and low that was asked for.
        order: the order of this replay; None: it is not chosen yet, or no file has candles.
        costs: they are subtracted from the profits of the report.
        deadline: seconds that each position may take to be protected, above 0.
        latency: seconds that the exchange takes for a request, at least 0.
        speed: seconds of the data per second, above 0; None: as fast as possible.
        command: the options that it was made from.
    """

    positions: tuple[Position, ...]
    plan: TrailPlan
    own_plan: bool
    files: tuple[PriceFile, ...]
    enters_at: dict[tuple[str, str], float]
    store_url: str
    candles: CandleOrder
    order: AssumedOrder | None
    costs: Costs
    deadline: float
    latency: float
    speed: float | None
    command: Command

    @property
    def start(self) -> datetime:
        """When the first price comes that counts."""
        return datetime.fromtimestamp(min(self.enters_at.values()), UTC)

    @property
    def starts(self) -> dict[str, float]:
        """When the first price of each symbol comes that counts, in seconds since 1970."""
        starts = dict[str, float]()
        for (symbol, _), at in self.enters_at.items():
            starts[symbol] = min(at, starts.get(symbol, at))
        return starts

    @property
    def assumed_candles(self) -> CandleOrder | None:
        """The assumed order of a candle's high and low; None if no file has candles."""
        return None if longest_bar(self.files) is None else self.order or self.candles

    @property
    def title(self) -> str | None:
        """What distinguishes this replay from the other one of the same command; None: there is no other one."""
        return f"candles: {self.order}" if len(self.in_each_order()) > 1 else None

    @property
    def high_first(self) -> bool:
        """Whether the high of a candle comes before the low in this replay."""
        return (self.order or self.candles) != "low-first"

    @property
    def account_path(self) -> Path | None:
        """The file of the paper account; None: the account is not saved."""
        return saved_account_path(self.store_url, self.order if self.candles == "both" else None)

    def in_each_order(self) -> tuple[ReplayJob, ...]:
        """Return the replays that were asked for: one for each order of a candle's high and low."""
        if longest_bar(self.files) is None:
            return (self,)
        return tuple(self.in_order(name_order(high_first)) for high_first in assumed_orders(self.candles))

    def in_order(self, order: AssumedOrder | None) -> ReplayJob:
        """Return this replay with an order of a candle's high and low."""
        return msgspec.structs.replace(self, order=order)

    @property
    def is_hedged(self) -> bool:
        """Whether the wave has both sides of a symbol."""
        return len({position.symbol for position in self.positions}) < len(self.positions)

    def check_resumes(self, saved: SavedPaperAccount) -> None:
        """Check that an interrupted run had the same input.

        Raises:
            UsageError: it had not; the message names the options that differ.
        """
        begun = saved.begun
        differing = [
            name
            for name, now, then in (
                ("--wave", self.positions, begun.positions),
                ("--plan", encode_plan(self.plan), begun.plan),
                ("--prices", self.command.prices, begun.command.prices),
                ("--candles", self.candles, begun.command.candles),
                ("--tick", self.command.ticks, begun.command.ticks),
            )
            if now != then
        ]
        if differing:
            raise UsageError(
                f"--store {without_password(self.store_url)} holds the interrupted run {begun.account}, which had another "
                f"{' and '.join(differing)}. Give the same to resume it, or --new to start a new run"
            )


def prepare(
    wave: Path,
    prices: list[str],
    plan: Path | None,
    *,
    store_url: str,
    speed: str,
    candles: CandleOrder,
    deadline: float,
    latency: float,
    ticks: Sequence[str] | None = None,
    read_costs: Callable[[Iterable[str]], Costs] = lambda _: Costs(),
) -> ReplayJob:
    """Read and check the options and every file.

    Args:
        ticks: the words of ``--tick``.
        read_costs: returns the costs for these symbols.

    Raises:
        UsageError: one of them can't be right.
    """
    check_seconds("--deadline", deadline, zero=False)
    check_seconds("--latency", latency)
    rate = parse_speed(speed)
    positions = read_wave(wave)
    assumed_orders(candles)
    files = read_price_files(prices, positions, parse_ticks(ticks))
    checked = read_plan(plan, bar_seconds=longest_bar(files))
    enters_at = entering_times(files, positions, wave=wave)
    markets = {file.symbol: file.market for file in files}
    with errors_named(str(wave)):
        for position in positions:
            check_first_stop(position, checked, markets[position.symbol])
    command = Command(
        wave=str(wave.resolve()),
        prices=tuple(f"{file.symbol}={file.path.resolve()}" for file in files),
        plan=None if plan is None else str(plan.resolve()),
        candles=candles,
        deadline=deadline,
        latency=latency,
        ticks=tuple(ticks or ()),
    )
    return ReplayJob(
        positions=positions,
        plan=checked,
        own_plan=plan is not None,
        files=files,
        enters_at=enters_at,
        store_url=store_url,
        candles=candles,
        order=None,
        costs=read_costs([file.symbol for file in files]),
        deadline=deadline,
        latency=latency,
        speed=rate,
        command=command,
    )


def prepare_again(command: Command, store_url: str) -> ReplayJob:
    """Read the input of an earlier run again.

    Raises:
        UsageError: one of its files can't be read or can't be right any more.
    """
    return prepare(
        Path(command.wave),
        list(command.prices),
        None if command.plan is None else Path(command.plan),
        store_url=store_url,
        speed="max",
        candles=command.candles,
        deadline=command.deadline,
        latency=command.latency,
        ticks=command.ticks,
    )


def parse_speed(text: str) -> float | None:
    """Return the seconds of the data per second: a number above 0; None for ``max``.

    Raises:
        UsageError: the text is neither.
    """
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise refuse("--speed", text, "a number above 0, or 'max'")
    return speed


def without_password(url: str) -> str:
    """Return the address of a store as it may be shown."""
    return str(hide_credentials(None, "", {"url": url})["url"])
