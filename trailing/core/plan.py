"""The plan of a position: its initial stop, rules, pacing and policies.

A plan is checked when it is built, and never changes. The store holds it with its position, so that a later default
never replaces it.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeVar

import msgspec

from trailing.core.conversion import conversion_error
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
_WITH_RULES = ("rules", "native")  # these fields are checked together
_AN_INSTANT = 1e-6  # seconds; a shorter wait is a rounding error of the clock's binary fractions


def _check_percent(field: str, value: Any, *, zero: bool = True) -> None:
    if not isinstance(value, Percent) or value >= _HUNDRED or not (zero or value.value):
        raise refuse(field, value, "a Percent below 100" + ("" if zero else " and above 0"))


class Pacing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a stop is moved, and for how little.

    By default every improvement moves the stop.

    Args:
        min_interval: seconds between two moves, at least 0. An improvement that comes earlier is deferred to the end of
            the interval, not dropped.
        min_improvement: the least gain of a move, in percent of the current stop, below 100. A smaller gain is not
            moved for.
        override: the improvement, in percent of the current stop, that does not wait for the interval; at least
            `min_improvement`. None: every improvement waits.

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
        """Return whether every improvement may be sent at once, however small."""
        return not self.min_interval and not self.min_improvement.value

    def wait(self, since_move: float | None, current: Decimal, wanted: Decimal) -> float | None:
        """Return the seconds for which a move of the stop has to wait.

        Args:
            since_move: seconds since the last move; None: there was none.
            current: the price of the live stop, above 0.
            wanted: the price of the wanted stop.

        Returns:
            0.0: the move may be sent now. More: it is deferred, and due in so many seconds. None: it gains too little
            to be sent at all.
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
        initial_stop: the distance from the entry price to the first stop, above 0. It is a percentage of the entry
            price, below 100, or an amount in quote units. `Position.stop_price` overrides it.
        rules: each rule proposes a stop or none. The tightest proposal wins.
        pacing: how often, and for how little, the stop is moved.
        trigger: the kind of price that counts, for peaks, for crossings and as the trigger of the orders.
        native: the exchange trails, by an order of its own beside the plain stop. A plan is refused on a market that
            can't do it. It takes exactly one rule, a `Callback` of a percentage with an `activation` above 0. `pacing`
            counts only while the library trails.
        on_unprotected: the policy for a position without a live stop. ``"retry"`` tries for `retry_for` seconds, and
            then does as `retry_then` says. ``"close"`` closes the position. ``"report"`` publishes it and gives the
            position up.
        retry_for: seconds for which a stop is tried again, at least 0.
        retry_then: ``"close"`` or ``"report"``.
        on_would_trigger: the policy if the price is already beyond the wanted stop. ``"exit"`` closes the position, and
            ``"keep"`` keeps the live stop.
        on_late_order: ``"adopt"`` or ``"cancel"`` a stop that is found live after the deadline.
        on_wave_cancelled: the policy for positions without a stop if their wave is cancelled from outside.
            ``"withdraw"`` cancels their orders and lists the positions, without a task. ``"protect"`` goes on to
            protect them.
        on_entry_cancelled: the policy for the filled part of an entry that is cancelled from outside. ``"protect"`` keeps
            it protected, and ``"close"`` closes it.
        on_stop_cancelled: the policy if a person or another program cancelled the stop. ``"replace"`` places another
            one. ``"release"`` releases the position, which is no longer protected then.
        on_store_failure: the policy if the store does not take an intent. ``"protect"`` places the order and raises an
            alarm. ``"refuse"`` does not place it, unless it closes the position.
        exit_grace: seconds, at least 0, that the exchange has to fill a crossed stop before software closes the
            position.
        max_jump: a price further than this from the last one counts only once the next one agrees and the exchange's
            own price confirms it; above 0 and below 100 percent.
        max_entry_gap: how far the entry price may be from the exchange's own; above 0 and below 100 percent.
        min_stop_ticks: how many ticks the first stop has to be away from the price, at least 1.
        liquidation_buffer: how far a stop is kept from the liquidation price, below 100 percent.
        journal_wait: seconds, at least 0, that the store has to take the intent.
        call_seconds: the deadline of one exchange call, above 0.
        cleanup_seconds: the deadline of a clean-up, above 0 and at least as long as the exchange's read lags.
        stale_after: seconds without a price after which there is an alarm, above 0.
        reconcile_every: seconds, above 0, between two snapshots of the account if no event asks for one. The manager's
            plan counts.
        candle_seconds: how long a candle lasts for the rules that look at candles, above 0.

    Raises:
        UsageError: naming the field, what it got and what it wants.
        TypeError: `initial_stop` is missing. It has no default.
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
    on_entry_cancelled: Literal["protect", "close"] = "protect"
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
        check_one_of("TrailPlan.on_entry_cancelled", self.on_entry_cancelled, ("protect", "close"))
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
        """Return the plan as `encode_plan` encodes it, encoded once.

        Every position under this plan stores the same dict, and nothing changes it.
        """
        return encode_plan(self)

    @cached_property
    def candles_needed(self) -> int:
        """Return how many closed candles the rules look at, at most."""
        return max((rule.candles_needed for rule in self.rules), default=0)

    def first_stop(self, position: Position, market: Market) -> Decimal:
        """Return the initial stop of a position, as a multiple of the market's tick.

        If `Position.stop_price` is set, the stop is that price, which may be on either side of the entry price.
        Otherwise the stop derives from the entry price and lies on its losing side.

        Raises:
            UsageError: the stop is not a possible price.
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
        """Return the tightest stop that a rule wants, as a multiple of the tick.

        None: no rule wants one.

        Raises:
            UsageError: a rule proposes a value that is not a finite Decimal.
        """
        return self.bind(history.side, history.entry_price, tick)(history.best, history.candles)

    def bind(self, side: Side, entry_price: Decimal, tick: Decimal) -> Proposer:
        """Return `propose` for a known side and entry price.

        It is called for every new peak, so this work is done once.
        """
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
    """Return a plan as JSON can hold it.

    Money is text. Each rule has the name of its class in ``"type"``.
    """
    encoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(plan))
    return encoded


def decode_plan(data: dict[str, Any]) -> TrailPlan:
    """Return the plan that `encode_plan` encoded, or that a person wrote.

    A percentage may also be a text such as ``"1.5%"``. All values are checked as when a plan is built.

    Raises:
        UsageError: a value is wrong, a key or the class of a rule is not known, or money is given as a float. The
            message says where.
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
        # Tried second, so that a text of a bot's own rule that happens to end in % stays a text.
        try:
            value = msgspec.convert(_spell_out(data), kind)
        except msgspec.ValidationError as error:
            raise conversion_error(error, data, kind, path) from None
    _check_exact(data, msgspec.to_builtins(value), path)
    return value


def _spell_out(data: Any) -> Any:
    """Return the data with every text that ends in % as an encoded `Percent`."""
    if isinstance(data, str) and data.endswith("%"):
        return {"percent": data.removesuffix("%").strip()}
    if isinstance(data, dict):
        return {key: _spell_out(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_spell_out(value) for value in data]
    return data


def _check_exact(given: Any, encoded: Any, path: str) -> None:
    """Refuse a float for a Decimal, and a further key beside a percentage.

    msgspec lets both pass.
    """
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
