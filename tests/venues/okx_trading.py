"""OKX's orders: placing, amending and cancelling them, with the code of each refusal."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec
from okx_market import WHOLE, AccountLevel, AlgoType, Contract, OkxMarket, OkxWanted, Trailing, algo_type
from okx_reads import ALGO_TYPES, algo_named, plain_named
from okx_rules import (
    TOO_MANY,
    Params,
    Refused,
    at_market,
    contract_named,
    decimal,
    flag,
    leg,
    own_id,
    source,
    triggered_code,
)
from okx_shapes import algo_id, order_id, unnamed
from okx_shapes import own_id as shown_id
from okx_stream import OkxStream
from venue_market import Order, Refusal, Trigger

_ATTACHED = frozenset({"attachAlgoClOrdId", "slTriggerPx", "slTriggerPxType", "slOrdPx"})


class OkxTrading:
    """The endpoints that change orders. Each method handles one entry of a request."""

    def __init__(self, market: OkxMarket, stream: OkxStream, account_level: AccountLevel) -> None:
        self._market = market
        self._stream = stream
        self._account_level = account_level
        self._unnamed = count(1)

    def _common(self, params: Params, own: str, *, reduces: bool) -> dict[str, Any]:
        """Return what algo orders and others have in common."""
        each, market = contract_named(params, self._market), self._market
        if params.get("tdMode") not in {"cross", "isolated"}:
            raise Refused("51000", "tdMode")
        if params.get("side") not in {"buy", "sell"}:
            raise Refused("51000", "side")
        position_leg = leg(params, hedged=market.hedged)
        if reduces and not market.hedged and self._account_level == "4":
            raise Refused("51205")
        closes = (position_leg, params["side"]) in {("long", "sell"), ("short", "buy")}
        reduces = reduces and (closes or not market.hedged)  # long/short mode ignores it
        of_mode = params["tdMode"] == market.margin_modes[each.symbol]
        if market.is_held(each.symbol) and not of_mode and not (closes or reduces):
            raise Refused("51010")
        return {
            "symbol": each.symbol,
            "side": params["side"],
            "client_order_id": own or unnamed(next(self._unnamed)),
            "leg": position_leg,
            "reduce_only": reduces,
            "margin_mode": params["tdMode"],
            "tag": str(params.get("tag", "")),
            "last": market.prices.get((each.symbol, "last"), Decimal(0)),
        }

    def _size(self, params: Params, name: str) -> Decimal:
        """Return a number of contracts in base units."""
        each, size = contract_named(params, self._market), decimal(params, name)
        lot = each.contracts(each.quantity_step)
        if size < lot:
            raise Refused("51020")
        if size % lot:
            raise Refused("51121")
        return each.quantity(size)

    def _place(self, wanted: OkxWanted) -> Order:
        try:
            return self._market.place(wanted)
        except Refusal as refusal:
            match refusal.reason:
                case "duplicate":
                    raise Refused("51016" if wanted.trigger is None else "51065") from refusal
                case "too many":
                    assert wanted.algo_type is not None
                    code = TOO_MANY[wanted.algo_type]
                    raise Refused(code, self._market.most_algo_orders[wanted.algo_type]) from refusal
                case "would trigger":
                    raise Refused(self._triggered(wanted)) from refusal
                case "nothing to reduce" | "covered":
                    raise Refused(self._nothing_to_reduce(wanted)) from refusal
                case "margin":
                    raise Refused("51008") from refusal
                case "no price":
                    raise Refused("51022") from refusal
                case reason:
                    raise Refused("51000", reason) from refusal

    def _triggered(self, wanted: OkxWanted) -> str:
        assert wanted.trigger is not None
        kind, buys = algo_type(wanted), wanted.side == "buy"
        return triggered_code(kind, wanted.trigger, buys=buys, takes_profit=wanted.takes_profit)

    def _nothing_to_reduce(self, wanted: OkxWanted) -> str:
        held = self._market.holding(wanted.symbol, wanted.leg).quantity
        of_mode = wanted.margin_mode == self._market.margin_modes[wanted.symbol]
        if not held or not of_mode:
            return "51058" if wanted.whole else "51169"
        return "51170" if (held > 0) == (wanted.side == "buy") else "51112"

    def place_algo(self, params: Params) -> Mapping[str, object]:
        """Place an algo order."""
        kind = ALGO_TYPES.get(params.get("ordType", ""))
        if kind is None:
            raise Refused("51000", "ordType")
        sent, named = own_id(params, "clOrdId"), own_id(params, "algoClOrdId")
        reduces, whole = flag(params, "reduceOnly"), str(params.get("closeFraction", "")) == "1"
        common = self._common(params, named or sent, reduces=reduces)
        takes_profit = kind == "conditional" and "slTriggerPx" not in params
        trigger = self._trigger(params, kind, takes_profit=takes_profit)
        if flag(params, "cxlOnClosePos") and not reduces:
            raise Refused("51000", "reduceOnly")
        if whole:
            self._check_whole(common, kind, reduces=reduces)
        wanted = OkxWanted(
            **common,
            quantity=WHOLE if whole else self._size(params, "sz"),
            trigger=trigger,
            algo_type=kind,
            takes_profit=takes_profit,
            whole=whole,
            ends_with_position=flag(params, "cxlOnClosePos"),
            sent_id=sent,
        )
        order = self._place(wanted)
        return {"algoClOrdId": shown_id(order), "algoId": algo_id(order), "clOrdId": sent, "tag": wanted.tag}

    def _check_whole(self, common: Mapping[str, Any], kind: AlgoType, *, reduces: bool) -> None:
        if kind != "conditional":
            raise Refused("51000", "closeFraction")
        if not self._market.hedged and not reduces:
            raise Refused("51328")
        others = (order.wanted for order in self._market.live_stops(common["symbol"]))
        if any(isinstance(other, OkxWanted) and other.whole and other.leg == common["leg"] for other in others):
            raise Refused("51088")

    def _trigger(self, params: Params, kind: AlgoType, *, takes_profit: bool) -> Trigger:
        """Return the trigger of a new algo order."""
        each, buys = contract_named(params, self._market), params["side"] == "buy"
        if kind == "conditional":
            role = "tp" if takes_profit else "sl"
            price = decimal(params, f"{role}TriggerPx", each.price_tick)
            at_market(params, f"{role}OrdPx")
            return Trigger(price, source(params, f"{role}TriggerPxType"), rising=buys != takes_profit)
        if kind == "trigger":
            price, of = decimal(params, "triggerPx", each.price_tick), source(params, "triggerPxType")
            at_market(params, "orderPx")
            return Trigger(price, of, rising=price >= self._market.prices.get((each.symbol, of), Decimal(0)))
        present = self._market.prices.get((each.symbol, "last"), Decimal(0))
        active = not params.get("activePx")
        price = present if active else decimal(params, "activePx", each.price_tick)
        if ("callbackRatio" in params) == ("callbackSpread" in params):
            raise Refused("50015", "callbackRatio", "callbackSpread")
        if "callbackSpread" in params:
            spread = decimal(params, "callbackSpread")
            return Trailing(price, "last", buys, callback=Decimal(0), spread=spread, active=active)
        ratio = decimal(params, "callbackRatio")
        if not Decimal("0.001") <= ratio <= 1:
            raise Refused("51311", "0.1%", "100%")
        return Trailing(price, "last", buys, callback=ratio * 100, active=active)

    def amend_algo(self, params: Params) -> Mapping[str, object]:
        """Change an algo order in place."""
        each, order = contract_named(params, self._market), algo_named(self._market, params, "51527")
        request_id = own_id(params, "reqId")
        wanted, trigger = order.wanted, order.wanted.trigger
        assert trigger is not None
        if order.status != "live" or order.wanted.symbol != each.symbol:
            raise Refused("51503" if order.wanted.symbol == each.symbol else "51527")
        kind, whole = algo_type(wanted), isinstance(wanted, OkxWanted) and wanted.whole
        if kind == "move_order_stop":
            raise Refused("51506")
        takes_profit = isinstance(wanted, OkxWanted) and wanted.takes_profit
        role, other = ("newTp", "newSl") if takes_profit else ("newSl", "newTp")
        if kind == "trigger":
            role = "new"
        elif f"{other}TriggerPx" in params or str(params.get(f"{role}TriggerPx")) == "0":
            raise Refused("51526")
        if whole and "newSz" in params:
            raise Refused("51524")
        quantity = self._size(params, "newSz") if "newSz" in params else wanted.quantity
        changed = self._changed(params, trigger, each, role)
        self._stream.amended(order, request_id)
        try:
            self._market.amend(order, quantity, changed)
        except Refusal as refusal:
            self._stream.amended(order, "")
            if refusal.reason == "would trigger":
                code = triggered_code(kind, changed, buys=wanted.side == "buy", takes_profit=takes_profit)
                raise Refused(code) from refusal
            raise Refused("51521") from refusal
        return {"algoClOrdId": shown_id(order), "algoId": algo_id(order), "reqId": request_id}

    def _changed(self, params: Params, trigger: Trigger, each: Contract, role: str) -> Trigger:
        """Return an amended trigger. What a conditional order's request doesn't state stays as it was."""
        name, kind_name = f"{role}TriggerPx", f"{role}TriggerPxType"
        price = decimal(params, name, each.price_tick) if name in params else trigger.price
        if f"{role}OrdPx" in params:
            at_market(params, f"{role}OrdPx")
        if role == "new":  # of a trigger order, the type of price is the last price if the request doesn't state it
            of = source(params, kind_name) if name in params else trigger.source
            return Trigger(price, of, rising=price >= self._market.prices[each.symbol, of])
        return Trigger(price, source(params, kind_name, trigger.source), rising=trigger.rising)

    def cancel_algo(self, params: Params) -> Mapping[str, object]:
        """Cancel an algo order."""
        each, order = contract_named(params, self._market), algo_named(self._market, params, "51400")
        if order.status != "live" or order.wanted.symbol != each.symbol:
            raise Refused("51400")
        self._market.cancel(order)
        return {"algoClOrdId": "", "algoId": algo_id(order), "clOrdId": "", "tag": ""}

    def place_plain(self, params: Params) -> Mapping[str, object]:
        """Place an order at market or with a limit."""
        kind = params.get("ordType")
        if kind not in {"market", "limit"}:
            raise Refused("51000", "ordType")
        each, own = contract_named(params, self._market), own_id(params, "clOrdId")
        common = self._common(params, own, reduces=flag(params, "reduceOnly"))
        limit = decimal(params, "px", each.price_tick) if kind == "limit" else None
        attached = params.get("attachAlgoOrds") or []
        wanted = OkxWanted(**common, quantity=self._size(params, "sz"), limit=limit)
        if attached:
            wanted = msgspec.structs.replace(wanted, attached=self._attached(attached, wanted, each))
        order = self._place(wanted)
        now = str(self._market.now())
        return {"clOrdId": own, "ordId": order_id(order), "tag": str(params.get("tag", "")), "ts": now}

    def _attached(self, attached: Any, entry: OkxWanted, each: Contract) -> OkxWanted:
        """Return the stop-loss that an entry carries. It reduces, and has the margin mode of the entry."""
        if not isinstance(attached, list) or len(attached) != 1 or not attached[0].keys() <= _ATTACHED:
            raise Refused("51000", "attachAlgoOrds")
        (params,) = attached
        named, buys = own_id(params, "attachAlgoClOrdId"), entry.side == "sell"
        if any(order.is_open and shown_id(order) == named for order in self._market.orders.values()):
            raise Refused("51065")
        price = decimal(params, "slTriggerPx", each.price_tick)
        at_market(params, "slOrdPx")
        trigger = Trigger(price, source(params, "slTriggerPxType"), rising=buys)
        last = self._market.prices.get((each.symbol, "last"), Decimal(0))
        if trigger.is_met(last if entry.limit is None else entry.limit):
            codes = ("51051", "51053") if entry.limit is None else ("51047", "51049")
            raise Refused(codes[buys])
        return OkxWanted(
            symbol=entry.symbol,
            side="buy" if buys else "sell",
            quantity=entry.quantity,
            client_order_id=named or unnamed(next(self._unnamed)),
            leg=entry.leg,
            reduce_only=not self._market.hedged,
            trigger=trigger,
            margin_mode=entry.margin_mode,
            algo_type="conditional",
            last=last,
        )

    def cancel_plain(self, params: Params) -> Mapping[str, object]:
        """Cancel an order with a limit."""
        order = plain_named(self._market, params, "51400")
        if not order.is_open:
            raise Refused("51400")
        self._market.cancel(order)
        return {"clOrdId": shown_id(order), "ordId": order_id(order), "ts": str(self._market.now())}
