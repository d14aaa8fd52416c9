"""OKX's JSON for contracts, prices, orders, fills and positions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from okx_market import AccountLevel, AlgoType, Contract, OkxMarket, OkxWanted, Trailing, algo_type
from venue_candles import MINUTE, Bar
from venue_market import Holding, Leg, Order, OrderStatus, VenueFill, Wanted

from trailing.core.model import Source

USER_ID = "44705892343619584"
ALGO_STATES: Mapping[OrderStatus, str] = {
    "live": "live",
    "triggered": "effective",
    "partial": "effective",
    "filled": "effective",
    "cancelled": "canceled",
    "rejected": "order_failed",
}
STATES: Mapping[OrderStatus, str] = {
    "live": "live",
    "partial": "partially_filled",
    "filled": "filled",
    "cancelled": "canceled",
}
SOURCES: Mapping[AlgoType, str] = {"conditional": "7", "trigger": "6", "move_order_stop": "25"}
POSITION_SIDES: Mapping[str, Leg] = {"net": "both", "long": "long", "short": "short"}
POSITION_SIDE: Mapping[Leg, str] = {leg: name for name, leg in POSITION_SIDES.items()}
_ALGO_IDS, _ORDER_IDS, _BILL_IDS = 706_620_792_746_000_000, 2_497_956_918_703_000_000, 680_800_019_754_000_000
_NO_ID = "~"


def number(value: Decimal) -> str:
    """Return a number as text without an exponent or zeros at its end."""
    return format(value.normalize(), "f")


def algo_id(order: Order) -> str:
    """Return the id of an algo order."""
    return str(_ALGO_IDS + order.number)


def order_id(order: Order) -> str:
    """Return the id of a plain order."""
    return str(_ORDER_IDS + order.number)


def bill_id(fill: VenueFill) -> str:
    """Return the id of a fill's bill."""
    return str(_BILL_IDS + fill.number)


def own_id(order: Order) -> str:
    """Return the client's id of an order; empty if the client sent none."""
    if order.stop is not None:
        return f"{algo_id(order.stop)}_0"
    sent = order.wanted.client_order_id
    return "" if sent.startswith(_NO_ID) else sent


def unnamed(count: int) -> str:
    """Return a client's id for the market, of an order without one."""
    return f"{_NO_ID}{count}"


def margin_mode(wanted: Wanted, market: OkxMarket) -> str:
    """Return the margin mode of an order, or of the position if it states none."""
    return wanted.margin_mode if isinstance(wanted, OkxWanted) else market.margin_modes[wanted.symbol]


def algo_state(order: Order) -> str:
    """Return an algo order's state. While a triggered order isn't placed yet, it is still live."""
    return "live" if order.status == "triggered" and order.execution is None else ALGO_STATES[order.status]


def algo_order(order: Order, market: OkxMarket) -> dict[str, object]:
    """Return an algo order as the lists have it."""
    state = algo_state(order)
    return {
        **_algo(order, market, state),
        **_trailing(order),
        "failCode": {"live": "0", "order_failed": market.fail_codes.get(order.number, "")}.get(state, ""),
        "pxLimit": "",
        "pxSpread": "",
        "pxVar": "",
        "szLimit": "",
        "timeInterval": "",
    }


def pushed_algo_order(order: Order, market: OkxMarket, state: str, request_id: str) -> dict[str, object]:
    """Return an algo order as the stream has it. Trailing orders have a channel of their own, with other fields."""
    shown = {**_algo(order, market, state), "notionalUsd": _notional(order, market)}
    if state == "order_failed":
        shown["failCode"] = market.fail_codes.get(order.number, "")
    if algo_type(order.wanted) == "move_order_stop":
        return {**shown, **_trailing(order), "count": "1", "pTime": str(market.now())}
    return {**shown, "reqId": request_id, "amendResult": "0" if request_id else ""}


def _algo(order: Order, market: OkxMarket, state: str) -> dict[str, object]:
    wanted, trigger, execution = order.wanted, order.wanted.trigger, order.execution
    assert trigger is not None
    kind, whole = algo_type(wanted), isinstance(wanted, OkxWanted) and wanted.whole
    takes_profit = isinstance(wanted, OkxWanted) and wanted.takes_profit
    role = "" if kind != "conditional" else "tp" if takes_profit else "sl"
    shown: dict[str, object] = {
        "actualPx": "",
        "actualSide": "",
        "actualSz": "0",
        "algoClOrdId": own_id(order),
        "algoId": algo_id(order),
        "amendPxOnTriggerType": "0",
        "attachAlgoOrds": [],
        "cTime": str(order.created_at),
        "ccy": "",
        "chaseType": "",
        "chaseVal": "",
        "clOrdId": wanted.sent_id if isinstance(wanted, OkxWanted) else "",
        "closeFraction": "1" if whole else "",
        "failCode": "",
        "instId": market.instruments[wanted.symbol].id,
        "instType": "SWAP",
        "isTradeBorrowMode": "",
        "last": number(wanted.last) if isinstance(wanted, OkxWanted) else "",
        "lever": "10",
        "linkedOrd": {"ordId": ""},
        "maxChaseType": "",
        "maxChaseVal": "",
        "ordId": "",
        "ordIdList": [],
        "ordPx": "-1" if kind == "trigger" else "",
        "ordType": kind,
        "posSide": POSITION_SIDE[wanted.leg],
        "quickMgnType": "",
        "reduceOnly": _flag(reduces=wanted.reduce_only),
        "side": wanted.side,
        "slOrdPx": "",
        "slTriggerPx": "",
        "slTriggerPxType": "",
        "state": state,
        "sz": "" if whole else contracts(wanted.quantity, wanted, market),
        "tag": wanted.tag if isinstance(wanted, OkxWanted) else "",
        "tdMode": margin_mode(wanted, market),
        "tgtCcy": "",
        "tpOrdPx": "",
        "tpTriggerPx": "",
        "tpTriggerPxType": "",
        "tradeQuoteCcy": "",
        "triggerPx": "",
        "triggerPxType": "",
        "triggerTime": str(order.updated_at) if state == "order_failed" else "",
        "uTime": str(order.updated_at),
    }
    if role:
        trigger_fields = {f"{role}TriggerPx": number(trigger.price), f"{role}TriggerPxType": trigger.source}
        shown |= {**trigger_fields, f"{role}OrdPx": "-1"}
    elif kind == "trigger":
        shown |= {"triggerPx": number(trigger.price), "triggerPxType": trigger.source}
    if execution is not None:
        price = order.average if order.filled else market.prices[wanted.symbol, "last"]
        shown |= {
            "actualPx": number(price),
            "actualSide": role,
            "actualSz": contracts(execution.wanted.quantity, wanted, market),
            "clOrdId": own_id(execution),
            "ordId": order_id(execution),
            "ordIdList": [order_id(execution)],
            "triggerTime": str(execution.created_at),
        }
    return shown


def _trailing(order: Order) -> dict[str, object]:
    trigger = order.wanted.trigger
    empty = {"activePx": "", "callbackRatio": "", "callbackSpread": "", "moveTriggerPx": ""}
    if not isinstance(trigger, Trailing) or trigger.callback is None:
        return dict(empty)
    ratio = number(trigger.callback / 100) if trigger.spread is None else ""
    return {
        "activePx": "" if trigger.active else number(trigger.price),
        "callbackRatio": ratio,
        "callbackSpread": "" if trigger.spread is None else number(trigger.spread),
        "moveTriggerPx": "" if order.best is None else number(trigger.behind(order.best).price),
    }


def contracts(quantity: Decimal, wanted: Wanted, market: OkxMarket) -> str:
    """Return a quantity of base units in contracts, as text."""
    return number(market.contracts[wanted.symbol].contracts(quantity))


def _flag(*, reduces: bool) -> str:
    return "true" if reduces else "false"


def _notional(order: Order, market: OkxMarket) -> str:
    price = market.prices.get((order.wanted.symbol, "last"), Decimal(0))
    held = abs(market.holding(order.wanted.symbol, order.wanted.leg).quantity)
    whole = isinstance(order.wanted, OkxWanted) and order.wanted.whole
    return number((held if whole else order.wanted.quantity) * price)


def plain_order(order: Order, market: OkxMarket) -> dict[str, object]:
    """Return an order at market or with a limit, as the lists have it."""
    fills = [fill for fill in market.fills if fill.order is order]
    last = fills[-1] if fills else None
    return {**_order(order, market), **_filled(last, market)}


def pushed_order(order: Order, market: OkxMarket, fill: VenueFill | None) -> dict[str, object]:
    """Return an order as the stream has it: with the fill of this update."""
    numbers = _filled(fill, market)
    fee = {"fillFee": "0", "fillFeeCcy": "USDT" if fill is not None else "", "fillPnl": "0"}
    notional = number(fill.price * fill.quantity) if fill is not None else ""
    return {
        **_order(order, market),
        **numbers,
        **fee,
        "amendResult": "",
        "amendSource": "",
        "avgPx": number(order.average),
        "code": "0",
        "execType": "T" if fill is not None else "",
        "fillFwdPx": "",
        "fillIdxPx": "",
        "fillMarkPx": "",
        "fillMarkVol": "",
        "fillNotionalUsd": notional,
        "fillPxUsd": "",
        "fillPxVol": "",
        "lastPx": number(market.prices.get((order.wanted.symbol, "last"), Decimal(0))),
        "msg": "",
        "notionalUsd": _notional(order, market),
        "reqId": "",
    }


def _order(order: Order, market: OkxMarket) -> dict[str, object]:
    wanted, stop = order.wanted, order.stop
    limit = wanted.limit
    shown: dict[str, object] = {
        "accFillSz": contracts(order.filled, wanted, market),
        "algoClOrdId": "" if stop is None else own_id(stop),
        "algoId": "" if stop is None else algo_id(stop),
        "attachAlgoClOrdId": "",
        "attachAlgoOrds": _attached(wanted),
        "avgPx": number(order.average) if order.filled else "",
        "cTime": str(order.created_at),
        "cancelSource": market.cancel_sources.get(order.number, "1") if order.status == "cancelled" else "",
        "cancelSourceReason": "",
        "category": "normal",
        "ccy": "",
        "clOrdId": own_id(order),
        "fee": "0",
        "feeCcy": "USDT",
        "instId": market.instruments[wanted.symbol].id,
        "instType": "SWAP",
        "isTpLimit": "false",
        "lever": "10",
        "linkedAlgoOrd": {"algoId": ""},
        "ordId": order_id(order),
        "ordType": "market" if limit is None else "limit",
        "pnl": "0",
        "posSide": POSITION_SIDE[wanted.leg],
        "px": "" if limit is None else number(limit),
        "pxType": "",
        "pxUsd": "",
        "pxVol": "",
        "quickMgnType": "",
        "rebate": "0",
        "rebateCcy": "USDT",
        "reduceOnly": _flag(reduces=wanted.reduce_only),
        "side": wanted.side,
        "slOrdPx": "",
        "slTriggerPx": "",
        "slTriggerPxType": "",
        "source": "" if stop is None else SOURCES[algo_type(stop.wanted)],
        "state": STATES[order.status],
        "stpId": "",
        "stpMode": "cancel_maker",
        "sz": contracts(wanted.quantity, wanted, market),
        "tag": wanted.tag if isinstance(wanted, OkxWanted) else "",
        "tdMode": margin_mode(wanted, market),
        "tgtCcy": "",
        "tpOrdPx": "",
        "tpTriggerPx": "",
        "tpTriggerPxType": "",
        "tradeQuoteCcy": "USDT",
        "uTime": str(order.updated_at),
    }
    if stop is not None and market.as_recorded:
        shown |= {"linkedAlgoOrd": {"algoId": shown.pop("algoId")}, "ordType": "trigger", "source": "algo"}
        del shown["algoClOrdId"]
    return shown


def _attached(wanted: Wanted) -> list[dict[str, object]]:
    """Return the stop-loss that an order carries."""
    stop = wanted.attached
    if stop is None or stop.trigger is None:
        return []
    trigger = {"slTriggerPx": number(stop.trigger.price), "slTriggerPxType": stop.trigger.source, "slOrdPx": "-1"}
    empty = dict.fromkeys(("tpTriggerPx", "tpTriggerPxType", "tpOrdPx", "sz", "attachAlgoId"), "")
    return [{**empty, "attachAlgoClOrdId": stop.client_order_id, **trigger, "amendPxOnTriggerType": "0"}]


def _filled(fill: VenueFill | None, market: OkxMarket) -> dict[str, object]:
    if fill is None:
        return {"fillPx": "", "fillSz": "0", "fillTime": "", "tradeId": ""}
    size = contracts(fill.quantity, fill.order.wanted, market)
    return {"fillPx": number(fill.price), "fillSz": size, "fillTime": str(fill.at), "tradeId": str(fill.number)}


def transaction(fill: VenueFill, market: OkxMarket) -> dict[str, object]:
    """Return a fill of the account."""
    wanted = fill.order.wanted
    codes = {("both", "buy"): "1", ("both", "sell"): "2", ("long", "buy"): "3", ("short", "sell"): "4"}
    codes |= {("long", "sell"): "5", ("short", "buy"): "6"}
    return {
        **_filled(fill, market),
        "billId": bill_id(fill),
        "clOrdId": own_id(fill.order),
        "execType": "T",
        "fee": "0",
        "feeCcy": "USDT",
        "feeRate": "-0.0005",
        "fillFwdPx": "",
        "fillIdxPx": "",
        "fillMarkPx": "",
        "fillMarkVol": "",
        "fillPnl": "0",
        "fillPxUsd": "",
        "fillPxVol": "",
        "instId": market.instruments[wanted.symbol].id,
        "instType": "SWAP",
        "ordId": order_id(fill.order),
        "posSide": POSITION_SIDE[wanted.leg],
        "side": wanted.side,
        "subType": codes[wanted.leg, wanted.side],
        "tag": wanted.tag if isinstance(wanted, OkxWanted) else "",
        "tradeQuoteCcy": "USDT",
        "ts": str(fill.at),
    }


def position_id(symbol: str, leg: Leg, market: OkxMarket) -> str:
    """Return the id of a position."""
    index = list(market.contracts).index(symbol)
    return str(1_752_810_569_801_498_000 + index * 3 + list(POSITION_SIDE).index(leg))


def position(symbol: str, leg: Leg, holding: Holding, market: OkxMarket) -> dict[str, object]:
    """Return a position: in net mode below 0 for a short, in long/short mode always above 0."""
    each, held = market.contracts[symbol], holding.quantity
    prices = {source: market.prices.get((symbol, source), Decimal(0)) for source in SOURCE_NAMES}
    profit, isolated = (prices["mark"] - holding.entry_price) * held, market.margin_modes[symbol] == "isolated"
    size = each.contracts(held if leg == "both" else abs(held))
    margin = number(abs(held) * holding.entry_price / 10)
    fills = [fill for fill in market.fills if fill.order.wanted.symbol == symbol]
    algos = [order for order in market.live_stops(symbol) if isinstance(order.wanted, OkxWanted) and order.wanted.whole]
    empty = (
        *("availPos", "baseBal", "baseBorrowed", "baseInterest", "bizRefId", "bizRefType", "clSpotInUseAmt", "deltaBS"),
        *("deltaPA", "gammaBS", "gammaPA", "hedgedPos", "interest", "liab", "liabCcy", "liqPx", "maxSpotInUseAmt"),
        *("mgnRatio", "mmr", "nonSettleAvgPx", "optVal", "pendingCloseOrdLiabVal", "posCcy", "quoteBal"),
        *("quoteBorrowed", "quoteInterest", "settledPnl", "spotInUseAmt", "spotInUseCcy", "thetaBS", "thetaPA"),
        *("usdPx", "vegaBS", "vegaPA"),
    )
    return {
        **dict.fromkeys(empty, ""),
        "adl": "1",
        "avgPx": number(holding.entry_price) if held else "",
        "bePx": number(holding.entry_price) if held else "",
        "cTime": str(market.now()),
        "ccy": "USDT",
        "closeOrderAlgo": [_closing_algo(order) for order in algos if order.wanted.leg == leg],
        "fee": "0",
        "fundingFee": "0",
        "idxPx": number(prices["index"]),
        "imr": "" if isolated else margin,
        "instId": each.id,
        "instType": "SWAP",
        "last": number(prices["last"]),
        "lever": "10",
        "liqPenalty": "0",
        "margin": margin if isolated else "",
        "markPx": number(prices["mark"]),
        "mgnMode": market.margin_modes[symbol],
        "notionalUsd": number(abs(held) * prices["mark"]),
        "pnl": "0",
        "pos": number(size),
        "posId": position_id(symbol, leg, market),
        "posSide": POSITION_SIDE[leg],
        "realizedPnl": "0",
        "tradeId": str(fills[-1].number) if fills else "",
        "uTime": str(market.now()),
        "upl": number(profit),
        "uplLastPx": number((prices["last"] - holding.entry_price) * held),
        "uplRatio": "0",
        "uplRatioLastPx": "0",
    }


SOURCE_NAMES: tuple[Source, ...] = ("last", "mark", "index")


def _closing_algo(order: Order) -> dict[str, object]:
    row = {"algoId": algo_id(order), "closeFraction": "1", "tpTriggerPx": "", "tpTriggerPxType": ""}
    trigger = order.wanted.trigger
    assert trigger is not None
    return {**row, "slTriggerPx": number(trigger.price), "slTriggerPxType": trigger.source}


def account_config(market: OkxMarket, level: AccountLevel) -> dict[str, object]:
    """Return the account's configuration."""
    return {
        "acctLv": level,
        "acctStpMode": "cancel_maker",
        "autoLoan": False,
        "ctIsoMode": "automatic",
        "enableSpotBorrow": False,
        "feeType": "0",
        "greeksType": "PA",
        "ip": "127.0.0.1",
        "kycLv": "3",
        "label": "loopback",
        "level": "Lv1",
        "levelTmp": "",
        "liquidationGear": "-1",
        "mainUid": USER_ID,
        "mgnIsoMode": "automatic",
        "opAuth": "0",
        "perm": "read_only,trade",
        "posMode": "long_short_mode" if market.hedged else "net_mode",
        "roleType": "0",
        "settleCcy": "USDC",
        "settleCcyList": ["USD", "USDC", "USDG"],
        "spotBorrowAutoRepay": False,
        "spotOffsetType": "",
        "spotRoleType": "0",
        "spotTraderInsts": [],
        "stgyType": "0",
        "traderInsts": [],
        "type": "0",
        "uid": USER_ID,
    }


def balance(market: OkxMarket) -> dict[str, object]:
    """Return the account's balance, which no trade changes here."""
    now = str(market.now())
    coin = {"ccy": "USDT", "cashBal": "100000", "eq": "100000", "availBal": "100000", "availEq": "100000", "uTime": now}
    return {"adjEq": "", "availEq": "", "details": [coin], "imr": "", "mgnRatio": "", "totalEq": "100000", "uTime": now}


def ticker(each: Contract, market: OkxMarket) -> dict[str, object]:
    """Return the last price."""
    last = number(market.prices.get((each.symbol, "last"), Decimal(0)))
    prices = dict.fromkeys(("last", "askPx", "bidPx", "open24h", "high24h", "low24h", "sodUtc0", "sodUtc8"), last)
    sizes = dict.fromkeys(("lastSz", "askSz", "bidSz", "volCcy24h", "vol24h"), "1")
    return {"instType": "SWAP", "instId": each.id, **prices, **sizes, "ts": str(market.now())}


def mark_price(each: Contract, market: OkxMarket) -> dict[str, object]:
    """Return the mark price."""
    price = number(market.prices.get((each.symbol, "mark"), Decimal(0)))
    return {"instType": "SWAP", "instId": each.id, "markPx": price, "ts": str(market.now())}


def index_ticker(each: Contract, market: OkxMarket) -> dict[str, object]:
    """Return the index price, which has the id of the index."""
    price = number(market.prices.get((each.symbol, "index"), Decimal(0)))
    others = dict.fromkeys(("high24h", "low24h", "open24h", "sodUtc0", "sodUtc8"), price)
    return {"instId": each.index, "idxPx": price, **others, "ts": str(market.now())}


def candle(each: Bar, now: int, length: int = MINUTE, *, traded: bool) -> list[str]:
    """Return a candle. Those of mark and index prices have no volumes; the last entry states whether the minute is over."""
    prices = [number(price) for price in (each.open, each.high, each.low, each.close)]
    volumes = ["0", "0", "0"] if traded else []
    return [str(each.opened_at), *prices, *volumes, "1" if each.opened_at + length <= now else "0"]


def shown_contract(each: Contract) -> dict[str, object]:
    """Return a contract."""
    lot = number(each.contracts(each.quantity_step))
    empty = ("alias", "auctionEndTime", "baseCcy", "contTdSwTime", "expTime", "maxMktAmt", "openType", "optType")
    more = ("maxPlatOILmt", "posLmtAmt", "posLmtPct", "preMktSwTime", "quoteCcy", "stk")
    return {
        **dict.fromkeys((*empty, *more), ""),
        "category": "1",
        "ctMult": "1",
        "ctType": "linear",
        "ctVal": number(each.contract_value),
        "ctValCcy": each.base,
        "futureSettlement": False,
        "groupId": "1",
        "instCategory": "1",
        "instFamily": each.index,
        "instId": each.id,
        "instIdCode": 10459,
        "instType": "SWAP",
        "lever": "100",
        "listTime": "1573557408000",
        "lotSz": lot,
        "maxIcebergSz": "100000000.0000000000000000",
        "maxLmtAmt": "20000000",
        "maxLmtSz": "100000000",
        "maxMktSz": "1000000",
        "maxStopSz": "1000000",
        "maxTriggerSz": "100000000.0000000000000000",
        "maxTwapSz": "100000000.0000000000000000",
        "minSz": lot,
        "ruleType": "normal",
        "settleCcy": "USDT",
        "state": "live",
        "tickSz": number(each.price_tick),
        "tradeQuoteCcyList": [],
        "upcChg": [],
        "uly": each.index,
    }
