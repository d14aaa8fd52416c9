"""OKX's market: contracts, margin modes, trailing orders, and orders that the venue itself cancels or lets fail.

The market counts base units as the other venues' do. OKX counts contracts, so the wire's figures are converted in `okx_shapes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec
from venue_market import Instrument, Leg, Order, OrderSide, Refusal, Trigger, VenueMarket, Wanted

MarginMode: TypeAlias = Literal["cross", "isolated"]
AccountLevel: TypeAlias = Literal["2", "3", "4"]
"""`acctLv`: futures, multi-currency margin, portfolio margin."""
AlgoType: TypeAlias = Literal["conditional", "trigger", "move_order_stop"]

WHOLE = Decimal(10**9)
"""The quantity of an order with `closeFraction`: more than any position, so that it takes all of it."""

MOST_ALGO_ORDERS: Mapping[AlgoType, int] = {"conditional": 100, "trigger": 500, "move_order_stop": 50}
"""The venue's limits: of take-profits and stop-losses for each instrument, of the others for the account."""


class Contract(Instrument, frozen=True):
    """A linear perpetual contract.

    Args:
        contract_value: `ctVal`, the base units of one contract.
    """

    contract_value: Decimal

    @property
    def index(self) -> str:
        """The id of its index price."""
        return f"{self.base}-USDT"

    def contracts(self, quantity: Decimal) -> Decimal:
        """Return a quantity of base units in contracts."""
        return quantity / self.contract_value

    def quantity(self, contracts: Decimal) -> Decimal:
        """Return a number of contracts in base units."""
        return contracts * self.contract_value


def contract(base: str, price_tick: str, lot_size: str, contract_value: str) -> Contract:
    """Return a contract against USDT. `lot_size` is in contracts; OKX states no minimum notional."""
    value = Decimal(contract_value)
    step = Decimal(lot_size) * value
    return Contract(f"{base}/USDT:USDT", f"{base}-USDT-SWAP", base, Decimal(price_tick), step, Decimal(0), value)


def as_contract(each: Instrument) -> Contract:
    """Return an instrument of another venue's test as a contract of ten steps."""
    if isinstance(each, Contract):
        return each
    value = each.quantity_step * 10
    return Contract(
        each.symbol, f"{each.base}-USDT-SWAP", each.base, each.price_tick, each.quantity_step, Decimal(0), value
    )


CONTRACTS = (contract("BTC", "0.1", "0.01", "0.01"), contract("ETH", "0.01", "0.01", "0.1"))


class Trailing(Trigger, frozen=True):
    """The trigger of a trailing order, behind the best price by a ratio (`callback`, in percent) or by a spread.

    Args:
        spread: the distance in quote units; None: the ratio counts.
        active: it has no activation price, so it follows from the start.
    """

    spread: Decimal | None = None
    active: bool = False

    def is_active(self, price: Decimal) -> bool:
        """Return whether a price activates it. Without an activation price the market sets its best price instead."""
        return not self.active and super().is_active(price)

    def behind(self, best: Decimal) -> Trigger:
        """Return its trigger at its best price."""
        if self.spread is None:
            return super().behind(best)
        return Trigger(best + (self.spread if self.rising else -self.spread), self.source, self.rising)


class OkxWanted(Wanted, frozen=True, kw_only=True):
    """A requested order with OKX's own terms.

    Args:
        margin_mode: `tdMode`.
        algo_type: `ordType` of an algo order; None: it is a plain order.
        takes_profit: of a conditional order, it is the take-profit.
        whole: `closeFraction` is 1.
        ends_with_position: `cxlOnClosePos`.
        sent_id: `clOrdId` of an algo order.
        last: the last price when it was placed.
    """

    margin_mode: MarginMode
    algo_type: AlgoType | None = None
    takes_profit: bool = False
    whole: bool = False
    ends_with_position: bool = False
    sent_id: str = ""
    tag: str = ""
    last: Decimal = Decimal(0)


class OkxMarket(VenueMarket):
    """The market with one account.

    Args:
        margin_mode: of positions that a test enters.
        most_stops: the most live algo orders of each kind; None: the venue's limits.

    Attributes:
        margin_modes: of each symbol's position.
        fails_triggered: the code with which triggered algo orders fail; empty: they don't.
        cancels_triggered: a triggered algo order becomes an order that the venue cancels before it is filled.
        as_recorded: triggered algo orders and their orders have the states and fields of the recorded frames, which the
            documentation doesn't list: `order_placed` and `filled`, and the algo order's id in `linkedAlgoOrd` only.
        fail_codes: of failed algo orders, by number; `cancel_sources`: of cancelled plain orders.
    """

    def __init__(
        self,
        contracts: tuple[Contract, ...],
        now: Callable[[], int],
        *,
        margin_mode: MarginMode = "cross",
        most_stops: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(contracts, now, most_stops=10**9, executions_named=True, **settings)
        self.contracts: Mapping[str, Contract] = {each.symbol: each for each in contracts}
        self.margin_modes: dict[str, MarginMode] = {each.symbol: margin_mode for each in contracts}
        self.most_algo_orders: dict[AlgoType, int] = {
            kind: limit if most_stops is None else most_stops for kind, limit in MOST_ALGO_ORDERS.items()
        }
        self.fails_triggered: str = ""
        self.cancels_triggered: bool = False
        self.as_recorded: bool = False
        self.fail_codes: dict[int, str] = {}
        self.cancel_sources: dict[int, str] = {}

    def place(self, wanted: Wanted) -> Order:
        """Accept an order. Raises Refusal."""
        if isinstance(wanted, OkxWanted) and not self.is_held(wanted.symbol) and not self.reduces(wanted):
            self.margin_modes[wanted.symbol] = wanted.margin_mode
        order = super().place(wanted)
        trigger = wanted.trigger
        if isinstance(trigger, Trailing) and trigger.active:
            order.best = self.prices[wanted.symbol, trigger.source]
        return order

    def is_held(self, symbol: str) -> bool:
        """Return whether a symbol has a position on any leg."""
        return any(holding.quantity for (each, _), holding in self.holdings.items() if each == symbol)

    def resting_reducers(self, symbol: str, leg: Leg, side: OrderSide) -> list[Order]:
        """Return the open limit orders that can only reduce a position."""
        return [
            order
            for order in self.resting(symbol)
            if (order.wanted.leg, order.wanted.side) == (leg, side)
            and self.reduces(order.wanted)
            and order.filled < order.wanted.quantity
        ]

    def check_new(self, wanted: Wanted) -> None:
        super().check_new(wanted)
        if not isinstance(wanted, OkxWanted) or wanted.algo_type is None:
            return
        symbol = wanted.symbol if wanted.algo_type == "conditional" else None
        alike = [order for order in self.live_stops(symbol) if algo_type(order.wanted) == wanted.algo_type]
        if len(alike) >= self.most_algo_orders[wanted.algo_type]:
            raise Refusal("too many")

    def check(self, wanted: Wanted) -> None:
        trigger = wanted.trigger
        if trigger is not None and not self.reduces(wanted) and (wanted.symbol, trigger.source) not in self.prices:
            raise Refusal("no price")
        super().check(wanted)

    def _part_to_take(self, wanted: Wanted) -> Decimal:
        """Return what an order can take. It finds only a position of its own margin mode."""
        another = isinstance(wanted, OkxWanted) and wanted.margin_mode != self.margin_modes[wanted.symbol]
        if another and self.reduces(wanted):
            return Decimal(0)
        return super()._part_to_take(wanted)

    def _part_left_by_others(self, wanted: Wanted) -> Decimal:
        """Return what an order can take beside the open limit orders that reduce the same position.

        In net mode all: an order at market has the better price, so the venue cancels the others. In long/short mode their
        quantity is bound, and a larger order isn't truncated but refused.
        """
        part = super()._part_left_by_others(wanted)
        if not self.hedged:
            return self._part_to_take(wanted)
        return part if wanted.trigger is not None or part == wanted.quantity else Decimal(0)

    def book(self, wanted: Wanted, stop: Order | None = None) -> Order:
        """Book an order. The one that a triggered algo order becomes has the size of what it can take."""
        if stop is not None:
            wanted = msgspec.structs.replace(wanted, quantity=self._part_left_by_others(stop.wanted))
        return super().book(wanted, stop)

    def execute(self, stop: Order) -> None:
        if not self.fills_triggered:
            super().execute(stop)
        elif self.fails_triggered:
            self.fail_codes[stop.number] = self.fails_triggered
            self._order_changed(stop, "rejected")
        else:
            bound = self.hedged and self._part_to_take(stop.wanted)
            self.fail_codes[stop.number] = "51112" if bound else "51169"  # shown only if it is rejected
            super().execute(stop)

    def fill(self, order: Order, quantity: Decimal, stop: Order | None = None) -> None:
        if stop is not None and self.cancels_triggered:
            self.cancel_sources[order.number] = "27"
            self._order_changed(order, "cancelled")
            self._order_changed(stop, "filled")
            return
        if not self.hedged and order.wanted.limit is None and self.reduces(order.wanted):
            self._cancel_worse(order.wanted, quantity)
        super().fill(order, quantity, stop)

    def cancel_rest(self, order: Order) -> None:
        self._cancel(order, "14")

    def _cancel_worse(self, wanted: Wanted, quantity: Decimal) -> None:
        """Cancel the limit orders that would reduce what an order at market takes."""
        left = abs(self.holding(wanted.symbol, wanted.leg).quantity) - quantity
        for order in self.resting_reducers(wanted.symbol, wanted.leg, wanted.side):
            left -= order.wanted.quantity - order.filled
            if left < 0:
                self._cancel(order, "23")

    def _change_position(self, symbol: str, leg: Leg, quantity: Decimal, price: Decimal) -> None:
        super()._change_position(symbol, leg, quantity, price)
        if self.holding(symbol, leg).quantity:
            return
        for order in (*self.resting_reducers(symbol, leg, "sell"), *self.resting_reducers(symbol, leg, "buy")):
            self._cancel(order, "17")
        for order in self.live_stops(symbol):
            wanted = order.wanted
            tied = isinstance(wanted, OkxWanted) and (wanted.ends_with_position or wanted.whole)
            if tied and wanted.leg == leg and order.status == "live":
                self.cancel(order)

    def _cancel(self, order: Order, source: str) -> None:
        self.cancel_sources[order.number] = source
        self.cancel(order)


def algo_type(wanted: Wanted) -> AlgoType:
    """Return an algo order's kind. One that a test placed without OKX's terms is a conditional order."""
    kind = wanted.algo_type if isinstance(wanted, OkxWanted) else None
    return kind or "conditional"
