"""What a replay is asked for: its files read and checked, before anything is begun."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from trailing.cli.kept_account import Command, KeptAccount
from trailing.cli.plans import read_plan
from trailing.cli.price_files import CandleOrder, PriceFile, check_prices, find_price_files, longest_bar
from trailing.cli.spans import parse_speed
from trailing.cli.waves import read_wave
from trailing.core.model import Position, check_seconds
from trailing.core.plan import TrailPlan, encode_plan
from trailing.errors import UsageError


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to replay, checked.

    Args:
        own_plan: whether the plan came from a file.
        deadline: seconds for a position to be protected.
        latency: seconds that the exchange takes for a request.
        speed: seconds of the data for one second; None: as fast as possible.
        command: what it was made of.
    """

    positions: tuple[Position, ...]
    plan: TrailPlan
    own_plan: bool
    files: tuple[PriceFile, ...]
    store_url: str
    candles: CandleOrder
    deadline: float
    latency: float
    speed: float | None
    command: Command

    @property
    def start(self) -> datetime:
        """When the first position was opened."""
        return min(position.opened_at for position in self.positions)

    @property
    def assumed_candles(self) -> CandleOrder | None:
        """The assumed order of a candle's high and low; None where no file holds candles."""
        return None if longest_bar(self.files) is None else self.candles

    @property
    def is_hedged(self) -> bool:
        """Whether the wave holds both sides of a symbol."""
        return len({position.symbol for position in self.positions}) < len(self.positions)

    def check_resumes(self, kept: KeptAccount) -> None:
        """Refuse to go on with a run that was begun with something else.

        Raises:
            UsageError: naming what differs.
        """
        begun = kept.begun
        differing = [
            name
            for name, now, then in (
                ("--wave", self.positions, begun.positions),
                ("--plan", encode_plan(self.plan), begun.plan),
                ("--prices", self.command.prices, begun.command.prices),
                ("--candles", self.candles, begun.command.candles),
            )
            if now != then
        ]
        if differing:
            raise UsageError(
                f"--store {self.store_url}: it holds a run that was cut short ({begun.account}), begun with another "
                f"{' and '.join(differing)}: give the same to go on with it, or --new to begin anew"
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
) -> Job:
    """Read and check every file, before anything is begun.

    Raises:
        UsageError: one line for what can't be right.
    """
    check_seconds("--deadline", deadline, zero=False)
    check_seconds("--latency", latency)
    rate = parse_speed(speed)
    positions = read_wave(wave)
    files = find_price_files(prices, positions, candles)
    checked = read_plan(plan, bar_seconds=longest_bar(files))
    check_prices(files, positions, checked.trigger, wave=wave)
    command = Command(
        wave=str(wave.resolve()),
        prices=tuple(f"{file.symbol}={file.path.resolve()}" for file in files),
        plan=None if plan is None else str(plan.resolve()),
        candles=candles,
        deadline=deadline,
        latency=latency,
    )
    return Job(
        positions=positions,
        plan=checked,
        own_plan=plan is not None,
        files=files,
        store_url=store_url,
        candles=candles,
        deadline=deadline,
        latency=latency,
        speed=rate,
        command=command,
    )


def prepare_again(command: Command, store_url: str) -> Job:
    """The job of a run that was begun before. Raises UsageError where its files are not what they were."""
    return prepare(
        Path(command.wave),
        list(command.prices),
        None if command.plan is None else Path(command.plan),
        store_url=store_url,
        speed="max",
        candles=command.candles,
        deadline=command.deadline,
        latency=command.latency,
    )
