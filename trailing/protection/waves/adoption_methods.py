"""Check the arguments of the manager's methods that adopt positions. `Adoption` does the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from trailing.core.account import Key
from trailing.core.model import Side, check_money, check_seconds, check_side, check_symbol, refuse
from trailing.core.plan import TrailPlan
from trailing.errors import UsageError, suggest
from trailing.protection.supervision import Supervision
from trailing.protection.waves.adoption import Adoption, AdoptionReport, NotAdopted, WouldAdopt
from trailing.protection.waves.outcomes import Outcome
from trailing.protection.waves.wave import check_wave_plan


class AdoptionMethods:
    """The methods of a manager that adopt positions."""

    def __init__(self, plan: TrailPlan, supervision: Supervision) -> None:
        self._plan, self._supervision = plan, supervision

    async def adopt(
        self,
        symbol: str,
        side: Side,
        *,
        deadline: float,
        plan: TrailPlan | None = None,
        stop_price: Decimal | None = None,
    ) -> Outcome:
        """Adopt a position that was opened by hand.

        The manager reads it from the exchange, then protects it as `protect` does.

        **It may close the position at once.** If the price is already beyond the first stop, the plan's `on_would_trigger`
        applies, as in `protect`: with ``"exit"``, the default, the position is closed at market. Without a `stop_price` the first
        stop lies `initial_stop` behind the *entry* price, which the price of a losing position has often passed.

        A stop that a person placed is not ours and stays as it is. A live stop of ours becomes the position's stop, and is moved
        at once if the first stop is tighter.

        Args:
            deadline: seconds above 0 for the whole call, with the reading of the position; as in `protect_wave`.
            plan: used instead of the manager's plan.
            stop_price: the first stop, instead of the plan's. It may lie beyond the entry price. The outcome is `Refused` if it
                is on the wrong side of both the price and the entry price.

        Returns:
            As `protect`; `AlreadyProtected` if the position is protected.

        Raises:
            UsageError: it is confirmed that no such position exists, an argument is impossible, or the manager has ended.
            ExchangeError: the position could not be read before the deadline. Nothing was sent.
            ExceptionGroup: of a bug, after the position has its outcome.

        Cancellation: as `protect_wave`. While the position is being read, nothing was sent.
        """
        self._check_market("", symbol)
        check_side("side", side)
        if stop_price is not None:
            check_money("stop_price", stop_price)
        key, given = (symbol, side), {} if stop_price is None else {(symbol, side): stop_price}
        report = await self._adopt((key,), deadline, plan or self._plan, given, dry_run=False)
        outcome = report.outcomes[0]
        if isinstance(outcome, NotAdopted):
            raise outcome.error
        assert not isinstance(outcome, WouldAdopt), "this is no dry run"
        return outcome

    async def adopt_wave(
        self,
        pairs: Iterable[tuple[str, Side]],
        *,
        deadline: float,
        plan: TrailPlan | None = None,
        stop_prices: Mapping[tuple[str, Side], Decimal] | None = None,
        dry_run: bool = False,
    ) -> AdoptionReport:
        """Adopt many positions at once, all from one snapshot and in parallel. See `adopt`.

        **It may close positions at once**, as `adopt` does. ``dry_run=True`` shows which ones.

        Args:
            pairs: symbol and side of each position.
            deadline: seconds above 0 for the whole call, with the reading of the positions.
            plan: used for these positions instead of the manager's plan.
            stop_prices: the first stops of some of them, instead of the plan's.
            dry_run: whether to send and to claim nothing, and to return what would be done.

        Returns:
            An outcome for each pair, in their order: those of `adopt`; `NotAdopted` if the position is not listed or could not be
            read; in a dry run `WouldAdopt` instead of an adoption.

        Raises:
            UsageError: an argument is impossible, a market is unknown, or the manager has ended. Nothing was sent.
            ExceptionGroup: of bugs, after every position has its outcome.

        Cancellation: as `protect_wave`. Nothing is sent for a position that is still being read.
        """
        keys = self._check_pairs(pairs)
        given = dict(stop_prices or {})
        for key, price in given.items():
            if key not in keys:
                raise refuse("stop_prices", key, "only pairs that are adopted")
            check_money(f"stop_prices[{key!r}]", price)
        return await self._adopt(keys, deadline, plan or self._plan, given, dry_run=dry_run)

    async def adopt_all(
        self,
        *,
        deadline: float,
        plan: TrailPlan | None = None,
        symbols: Collection[str] | None = None,
        exclude: Collection[str] = (),
        dry_run: bool = False,
    ) -> AdoptionReport:
        """Adopt every listed position of the account that no manager's task protects yet. See `adopt_wave`.

        **It may close positions at once**, as `adopt` does, and it adopts the positions of other programs, too. ``dry_run=True``
        shows what it would do. A list without any position is read again until it is confirmed.

        Args:
            deadline, plan, dry_run: as for `adopt_wave`.
            symbols: adopts positions of these symbols only; None: of all.
            exclude: adopts no position of these symbols.

        Returns:
            An outcome for each position that was listed and not claimed, in the order of the list. A symbol without a listed
            position has no outcome. `AdoptionReport.is_complete` says whether the list may have lacked positions.

        Raises:
            UsageError: an argument is impossible, a market is unknown, or the manager has ended. Nothing was sent.
            ExchangeError: the positions could not be read before the deadline. Nothing was sent.
            ExceptionGroup: of bugs, after every position has its outcome.

        Cancellation: as `adopt_wave`.
        """
        only = None if symbols is None else self._check_symbols("symbols", symbols)
        without = self._check_symbols("exclude", exclude)

        def is_chosen(key: Key) -> bool:
            return key[0] not in without and (only is None or key[0] in only)

        return await self._adopt(is_chosen, deadline, plan or self._plan, {}, dry_run=dry_run, symbols=only or ())

    async def _adopt(
        self,
        chosen: Sequence[Key] | Callable[[Key], bool],
        deadline: float,
        plan: TrailPlan,
        stop_prices: Mapping[Key, Decimal],
        *,
        dry_run: bool,
        symbols: Collection[str] = (),
    ) -> AdoptionReport:
        """Adopt the chosen positions: those that are named, or all listed and unclaimed ones that a function chooses."""
        check_seconds("deadline", deadline, zero=False)
        supervision = self._supervision
        check_wave_plan(supervision.sender, plan, symbols if callable(chosen) else {symbol for symbol, _ in chosen})
        with supervision.operation():
            adoption = Adoption(supervision, plan, deadline, stop_prices)
            keys = await adoption.choose(chosen) if callable(chosen) else chosen
            report = await adoption.run(keys, dry_run=dry_run)
        if not dry_run:
            supervision.tally.count_wave(report)
        return report

    def _check_pairs(self, pairs: Iterable[tuple[str, Side]]) -> tuple[Key, ...]:
        """Return the pairs. Raises UsageError for one that is malformed, of an unknown market, or named twice."""
        keys: dict[Key, int] = {}
        given: Iterable[Any] = pairs
        for index, pair in enumerate(given):
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise refuse(f"pairs[{index}]", pair, "a symbol and a side, such as ('BTC/USDT:USDT', 'long')")
            self._check_market(f"pairs[{index}]: ", pair[0])
            check_side(f"pairs[{index}]: side", pair[1])
            if pair in keys:
                raise refuse(f"pairs[{index}]", pair, f"each pair once, and pairs[{keys[pair]}] is the same")
            keys[pair] = index
        return tuple(keys)

    def _check_symbols(self, field: str, symbols: Collection[str]) -> frozenset[str]:
        """Return the symbols. Raises UsageError for one of an unknown market."""
        if isinstance(symbols, str):
            raise refuse(field, symbols, "a collection of symbols, such as ['BTC/USDT:USDT']")
        for symbol in symbols:
            self._check_market(f"{field}: ", symbol)
        return frozenset(symbols)

    def _check_market(self, where: str, symbol: str) -> None:
        """Refuse a symbol without a market, and name the most similar symbol that is listed or claimed.

        Args:
            where: what the message begins with.

        Raises:
            UsageError: it is no symbol, or the exchange has no such market.
        """
        try:
            check_symbol("symbol", symbol)
            self._supervision.sender.exchange.market(symbol)
        except UsageError as unknown:
            snapshot = self._supervision.reader.snapshot
            listed = {} if snapshot is None else snapshot.reports
            known = {*(each for each, _ in listed), *self._supervision.registry.symbols()}
            hint = suggest(symbol, known) if isinstance(symbol, str) else ""
            raise UsageError(f"{where}{unknown}{'.' if hint else ''}{hint}") from None
