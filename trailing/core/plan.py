"""The plan of a position: initial stop, rules, pacing and policies, checked when it is built.

A plan never changes. It is stored with the position that it was given to, so that what protects a position is never a
later default.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeVar

import msgspec

from trailing.core.model import (
    Candle,
    Market,
    Percent,
    Position,
    Side,
    Source,
    check_money,
    check_one_of,
    check_seconds,
    check_source,
    refuse,
)
from trailing.core.native import check_native_rules
from trailing.core.prices import IS_AHEAD, behind, is_better, round_stop
from trailing.core.rules import Distance, History, Proposer, Rule, check_distance, rule_class
from trailing.errors import UsageError

_StructT = TypeVar("_StructT", bound=msgspec.Struct)

_HUNDRED = Percent(100)
_ZERO = Decimal(0)
_WITH_RULES = ("rules", "native")  # which are checked together
_AN_INSTANT = 1e-6  # seconds: what binary fractions of a clock's reading may be off, so that no wait is that short


def _check_percent(field: str, value: Any, *, zero: bool = True) -> None:
    if not isinstance(value, Percent) or value >= _HUNDRED or not (zero or value.value):
        raise refuse(field, value, "a Percent below 100" + ("" if zero else " and above 0"))


class Pacing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a stop is moved, and for how little. The default moves it for every improvement.

    Args:
        min_interval: seconds between two moves, at least 0. An improvement that comes earlier is deferred to the end
            of the interval, not dropped.
        min_improvement: what a move has to gain, in percent of the current stop, below 100. A smaller one is no move.
        override: the improvement, in percent of the current stop, that does not wait for the interval; at least
            `min_improvement`. None: every one waits.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    min_interval: float = 0.0
    min_improvement: Percent = Percent(0)
    override: Percent | None = None

    def __post_init__(self) -> None:
        check_seconds("Pacing.min_interval", self.min_interval)
        _check_percent("Pacing.min_improvement", self.min_improvement)
        override: Any = self.override
        if override is not None and (not isinstance(override, Percent) or override < self.min_improvement):
            raise refuse("Pacing.override", override, "a Percent of at least Pacing.min_improvement, or None")

    @property
    def is_immediate(self) -> bool:
        """Whether every improvement may be sent at once, however small."""
        return not self.min_interval and not self.min_improvement.value

    def wait(self, since_move: float | None, current: Decimal, wanted: Decimal) -> float | None:
        """How long a move from one stop price to another has to wait.

        Args:
            since_move: seconds since the last move, or None where there was none.
            current: the price of the live stop, above 0.
            wanted: the one that is wanted.

        Returns:
            0.0: it may be sent now. More: it is deferred, and due in so many seconds. None: it gains too little to be
            sent at all.
        """
        if wanted == current:
            return None
        improvement = abs(wanted - current) * 100
        if improvement < self.min_improvement.value * current:
            return None
        if since_move is None or (self.override is not None and improvement >= self.override.value * current):
            return 0.0
        left = self.min_interval - since_move
        return left if left > _AN_INSTANT else 0.0


class TrailPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """How a position is protected.

    Args:
        initial_stop: from the entry price to the first stop, above 0: a percentage of the entry price, below 100, or
            an amount. `Position.stop_price` overrides it.
        rules: each proposes a stop or nothing; the tightest proposal wins.
        pacing: how often, and for how little, the stop is moved.
        trigger: the price that counts, for peaks, for crossings and as the trigger of the orders.
        native: have the exchange trail, by an order of its own beside the plain stop, where it can. That takes exactly one
            rule, a `Callback` of a percentage with an `activation` above 0; `pacing` counts only where we trail.
        on_unprotected: what to do with a position without a live stop: ``"retry"`` for `retry_for` seconds and then do
            as `retry_then` says; ``"close"`` it; ``"report"`` it only.
        retry_for: seconds for which it is tried again, at least 0.
        retry_then: ``"close"`` or ``"report"``.
        on_would_trigger: what to do where the price is already beyond the stop that is wanted: ``"exit"``, or
            ``"keep"`` the live one.
        on_late_order: ``"adopt"`` or ``"cancel"`` a stop that is found live after the deadline.
        on_wave_cancelled: what to do with positions without a stop where their wave is cancelled from outside:
            ``"withdraw"`` what was placed for them and list them, without a task; or go on to ``"protect"`` them.
        on_stop_cancelled: what to do if a person or another program cancelled the stop: ``"replace"`` it, or ``"release"``
            the position, which is no longer protected then.
        on_store_failure: ``"protect"`` without the store and raise an alarm, or ``"refuse"``.
        exit_grace: seconds, at least 0, that the exchange has to fill a stop which was crossed, before software closes.
        max_jump: a price further than this from the last one counts only once the next one agrees; above 0.
        max_entry_gap: how far the entry price may be from the exchange's own; above 0.
        min_stop_ticks: how many ticks the first stop has to be away from the price, at least 1.
        liquidation_buffer: how far a stop is kept from the liquidation price, below 100 percent.
        journal_wait: seconds, at least 0, that the store has to take the intent.
        call_seconds: the deadline of one exchange call, above 0.
        cleanup_seconds: the deadline of a clean-up, above 0 and at least as long as the exchange's read lags.
        stale_after: seconds without a price after which there is an alarm, above 0.
        reconcile_every: seconds, above 0, between two snapshots of the account if no event asks for one. The
            manager's plan counts.
        candle_seconds: how long a candle lasts for the rules that look at candles, above 0.

    Raises:
        UsageError: naming the field, what it got and what it wants.
        TypeError: without `initial_stop`: there is no default for it.
    """

    initial_stop: Distance
    rules: tuple[Rule, ...] = ()
    pacing: Pacing = Pacing()
    trigger: Source = "last"
    native: bool = False
    on_unprotected: Literal["retry", "close", "report"] = "retry"
    retry_for: float = 300.0
    retry_then: Literal["close", "report"] = "report"
    on_would_trigger: Literal["exit", "keep"] = "exit"
    on_late_order: Literal["adopt", "cancel"] = "adopt"
    on_wave_cancelled: Literal["withdraw", "protect"] = "withdraw"
    on_stop_cancelled: Literal["replace", "release"] = "replace"
    on_store_failure: Literal["protect", "refuse"] = "protect"
    exit_grace: float = 2.0
    max_jump: Percent = Percent(10)
    max_entry_gap: Percent = Percent(10)
    min_stop_ticks: int = 2
    liquidation_buffer: Percent = Percent("0.5")
    journal_wait: float = 1.0
    call_seconds: float = 10.0
    cleanup_seconds: float = 5.0
    stale_after: float = 60.0
    reconcile_every: float = 60.0
    candle_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_distance("TrailPlan.initial_stop", self.initial_stop)
        _check_rules(self.rules)
        if not isinstance(self.pacing, Pacing):
            raise refuse("TrailPlan.pacing", self.pacing, "a Pacing")
        check_source("TrailPlan.trigger", self.trigger)
        if self.native is not False:
            check_native_rules(self.native, self.rules)
        check_one_of("TrailPlan.on_unprotected", self.on_unprotected, ("retry", "close", "report"))
        check_one_of("TrailPlan.retry_then", self.retry_then, ("close", "report"))
        check_one_of("TrailPlan.on_would_trigger", self.on_would_trigger, ("exit", "keep"))
        check_one_of("TrailPlan.on_late_order", self.on_late_order, ("adopt", "cancel"))
        check_one_of("TrailPlan.on_wave_cancelled", self.on_wave_cancelled, ("withdraw", "protect"))
        check_one_of("TrailPlan.on_stop_cancelled", self.on_stop_cancelled, ("replace", "release"))
        check_one_of("TrailPlan.on_store_failure", self.on_store_failure, ("protect", "refuse"))
        for name in ("retry_for", "exit_grace", "journal_wait"):
            check_seconds(f"TrailPlan.{name}", getattr(self, name))
        for name in ("call_seconds", "cleanup_seconds", "stale_after", "reconcile_every", "candle_seconds"):
            check_seconds(f"TrailPlan.{name}", getattr(self, name), zero=False)
        for name in ("max_jump", "max_entry_gap"):
            _check_percent(f"TrailPlan.{name}", getattr(self, name), zero=False)
        _check_percent("TrailPlan.liquidation_buffer", self.liquidation_buffer)
        if type(self.min_stop_ticks) is not int or self.min_stop_ticks < 1:
            raise refuse("TrailPlan.min_stop_ticks", self.min_stop_ticks, "a whole number of at least 1")

    @cached_property
    def encoded(self) -> dict[str, Any]:
        """What `encode_plan` gives: every position that is protected by this plan stores it, none changes it."""
        return encode_plan(self)

    @cached_property
    def candles_needed(self) -> int:
        """How many closed candles the rules look at, at most."""
        return max((rule.candles_needed for rule in self.rules), default=0)

    def first_stop(self, position: Position, market: Market) -> Decimal:
        """The initial stop of a position, as a multiple of the market's tick.

        It is `Position.stop_price` where that is set, which may be on either side of the entry price; otherwise it
        derives from the entry price and lies on its losing side.

        Raises:
            UsageError: where that is no possible price.
        """
        side, entry = position.side, position.entry_price
        if position.stop_price is not None:
            stop = round_stop(side, position.stop_price, market.price_tick)
            check_money("Position.stop_price, rounded to the tick,", stop)
            return stop
        wanted = behind(side, entry, self.initial_stop)
        stop = round_stop(side, wanted, market.price_tick)
        if wanted <= 0 or stop <= 0 or not is_better(side, entry, stop):
            where = "below" if side == "long" else "above"
            wants = f"a distance that gives a stop above 0 and {where} the entry price {entry}, not {stop}"
            raise refuse("TrailPlan.initial_stop", self.initial_stop, wants)
        return stop

    def propose(self, history: History, tick: Decimal) -> Decimal | None:
        """The tightest stop that a rule wants, as a multiple of the tick, or None where none wants one.

        Raises:
            UsageError: where a rule proposes what is no finite Decimal.
        """
        return self.bind(history.side, history.entry_price, tick)(history.best, history.candles)

    def bind(self, side: Side, entry_price: Decimal, tick: Decimal) -> Proposer:
        """What is left of `propose` once a position is known: every new peak comes this way."""
        is_ahead = IS_AHEAD[side]
        proposers = [rule.bind(side, entry_price) for rule in self.rules]

        def propose(best: Decimal, candles: tuple[Candle, ...]) -> Decimal | None:
            tightest: Decimal | None = None
            for proposer in proposers:
                stop = proposer(best, candles)
                if stop is not None and (tightest is None or is_ahead(stop, tightest)):
                    tightest = stop
            if tightest is None:
                return None
            rounded = round_stop(side, tightest, tick)
            return rounded if rounded > _ZERO else None

        return propose


def encode_plan(plan: TrailPlan) -> dict[str, Any]:
    """A plan as what JSON can hold: money as text, each rule under its class's name in ``"type"``."""
    encoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(plan))
    return encoded


def decode_plan(data: dict[str, Any]) -> TrailPlan:
    """The plan that `encode_plan` encoded, or that a person wrote: a percentage may also be a text such as ``"1.5%"``.

    Everything is checked as when a plan is built.

    Raises:
        UsageError: saying what is wrong, and where; also for a key that isn't known, for a float where money is meant,
            and for a rule whose class isn't known.
    """
    if not isinstance(data, dict):
        raise refuse("plan", data, "a mapping")
    rules = data.get("rules", [])
    if not isinstance(rules, (list, tuple)):
        raise refuse("plan.rules", rules, "a list of rules")
    decoded = tuple(_decode_rule(rule, f"plan.rules[{index}]") for index, rule in enumerate(rules))
    bare = _convert({key: value for key, value in data.items() if key not in _WITH_RULES}, TrailPlan, "plan")
    return msgspec.structs.replace(bare, rules=decoded, native=data.get("native", False))


def _decode_rule(data: Any, path: str) -> Rule:
    name = data.get("type") if isinstance(data, dict) else None
    if not isinstance(name, str):
        raise refuse(path, data, "a mapping with a rule's name under 'type'")
    try:
        kind = rule_class(name)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return _convert(data, kind, path)


def _convert(data: dict[str, Any], kind: type[_StructT], path: str) -> _StructT:
    try:
        value = msgspec.convert(data, kind)
    except msgspec.ValidationError:
        # Only now, so that a text of a bot's own rule which happens to end in % stays the text that it is.
        try:
            value = msgspec.convert(_spell_out(data), kind)
        except msgspec.ValidationError as error:
            raise UsageError(f"{path}: {error}") from None
    _check_exact(data, msgspec.to_builtins(value), path)
    return value


def _spell_out(data: Any) -> Any:
    """Turn every text that ends in % into what a `Percent` is encoded as."""
    if isinstance(data, str) and data.endswith("%"):
        return {"percent": data.removesuffix("%").strip()}
    if isinstance(data, dict):
        return {key: _spell_out(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_spell_out(value) for value in data]
    return data


def _check_exact(given: Any, encoded: Any, path: str) -> None:
    """Refuse what msgspec lets pass: a float where the value is a Decimal, and a further key beside a percentage."""
    if isinstance(given, float) and isinstance(encoded, str):
        raise refuse(path, given, "money as text, such as '1.5', never a float")
    if isinstance(given, dict) and isinstance(encoded, dict):
        if encoded.keys() == {"percent"} != given.keys():
            raise refuse(path, given, "nothing beside 'percent'")
        for key in given.keys() & encoded.keys():
            _check_exact(given[key], encoded[key], f"{path}.{key}")
    elif isinstance(given, (list, tuple)) and isinstance(encoded, (list, tuple)):
        for index, (one, other) in enumerate(zip(given, encoded, strict=False)):
            _check_exact(one, other, f"{path}[{index}]")


def _check_rules(rules: Any) -> None:
    if not isinstance(rules, tuple):
        raise refuse("TrailPlan.rules", rules, "a tuple of rules")
    for index, rule in enumerate(rules):
        field = f"TrailPlan.rules[{index}]"
        if not isinstance(rule, Rule):
            raise refuse(field, rule, "a Rule")
        kind = type(rule)
        if not kind.__struct_config__.frozen:
            raise refuse(field, rule, f"a rule that can't change: class {kind.__name__}(..., frozen=True)")
        if rule_class(kind.__name__) is not kind or kind.__struct_config__.tag != kind.__name__:
            raise refuse(field, rule, f"a rule that can be found again as {kind.__name__!r}, with no tag of its own")
