"""The errors that a venue's codes become, with its real ccxt client and its real address.

The meanings are those of the venues' own lists: https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code,
https://bybit-exchange.github.io/docs/v5/error, and https://www.okx.com/docs-v5/en/#error-code-rest-api.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from captured import open_capture
from ccxt import BaseError, InvalidOrder, OrderNotFound, pro

from trailing import Credentials, StopRequest
from trailing.errors import (
    AuthenticationFailed,
    CallRejected,
    EntryRejected,
    ExchangeUnreachable,
    NoSuchEntry,
    NoSuchPosition,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    TooManyStops,
    TrailingError,
    WouldTrigger,
)
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.errors import WRITES, ClockOff, explain
from trailing.exchanges.ccxt.http_replies import Reply
from trailing.exchanges.ccxt.session import Request
from trailing.exchanges.ccxt.venues import VENUES
from trailing.exchanges.limiter import CALLS

ADDRESSES = {
    "binanceusdm": "https://fapi.binance.com/fapi/v1/algoOrder",
    "bybit": "https://api.bybit.com/v5/order/create",
    "okx": "https://www.okx.com/api/v5/trade/order-algo",
}
UNCHANGED = "The order remains unchanged as the parameters entered match the existing ones."

# The code in the reply to a write, and the error that it becomes. -9999 and 99999 are in no list.
CODES: Mapping[str, Mapping[type[TrailingError], tuple[int, ...]]] = {
    "binanceusdm": {
        WouldTrigger: (-2021, -4142),
        NothingToReduce: (-2022, -2024, -4112, -4118),
        StopRejected: (
            *(-1102, -1111, -1112, -1121, -2010, -2019, -2020, -2023, -2025, -2026, -2027),
            *(-4003, -4004, -4005, -4014, -4023, -4061, -4087, -4088, -4109, -4116, -4120, -4131, -4141),
            *(-4164, -4192, -4210, -4211, -4400, -4401, -4402, -5021, -5022),
        ),
        TooManyStops: (-4045,),
        ExchangeUnreachable: (-1008, -1016, -4117),
        ClockOff: (-1021, -5028),
        RateLimited: (-1003, -1015),
        AuthenticationFailed: (-1002, -1022, -2014, -2015, -2017),
        OutcomeUnknown: (-1000, -1001, -1006, -1007, -1010, -9999),
    },
    "bybit": {
        WouldTrigger: (110092, 110093),
        NoSuchPosition: (110034,),
        NothingToReduce: (110017,),
        StopRejected: (
            *(10001, 10017, 10029, 110003, 110004, 110005, 110007, 110011, 110020, 110021, 110022, 110023),
            *(110040, 110042, 110043, 110064, 110065, 110066, 110067, 110068, 110069, 110072, 110094),
            *(110095, 110097, 110098, 110099, 110100, 110103),
            *(
                30228,
                110074,
                110080,
                110090,
                110118,
                110120,
                110121,
                110123,
                110124,
                110125,
                110132,
                110135,
                110136,
                110137,
            ),
        ),
        TooManyStops: (110009,),
        ExchangeUnreachable: (110063, 110079),
        ClockOff: (10002,),
        RateLimited: (429, 10006, 10018),
        AuthenticationFailed: (10003, 10004, 10005, 10007, 10008, 10009, 10010, 10024, 10027, 33004),
        OutcomeUnknown: (5004, 10000, 10014, 10016, 40004, 99999),
    },
    "okx": {
        WouldTrigger: (51051, 51053, 51277, 51278, 51279, 51280, 51302, 51304, 51306, 51308),
        NothingToReduce: (
            *(51023, 51043, 51058, 51112, 51115, 51148, 51168, 51169, 51170, 51171, 51205, 51206, 51521, 51522),
        ),
        StopRejected: (
            *(50007, 50009, 50012, 50014, 50016, 50027, 50062, 50071, 50072, 51000, 51001, 51005, 51008, 51009, 51010),
            *(51016, 51020, 51022, 51024, 51065, 51068, 51121, 51155, 51250, 51275),
        ),
        TooManyStops: (51025, 51088, 51165, 51174, 51261, 51299),
        ExchangeUnreachable: (50001, 50013, 50017, 50020, 50022, 50023, 51028, 51029, 51030, 51032, 51290, 51513),
        ClockOff: (50102,),
        RateLimited: (50011, 50040, 50061),
        AuthenticationFailed: (50030, 50101, 50103, 50105, 50110, 50111, 50113, 50114, 50119, 50120),
        OutcomeUnknown: (50004, 50026, 50042, 51054, 51149, 51410, 51412),
    },
}
# Replies about an order that is not live: it never existed, was cancelled, or was filled.
GONE = (
    ("binanceusdm", -2011, "Unknown order sent."),
    ("binanceusdm", -2013, "Order does not exist."),
    ("bybit", 110001, "order not exists or too late to cancel"),
    ("bybit", 110008, "Order has been completed or cancelled."),
    ("bybit", 110010, "The order has been cancelled"),
    ("okx", 51400, "Order cancellation failed as the order has been filled, canceled or does not exist."),
    ("okx", 51416, "Order has been triggered and can't be canceled"),
    ("okx", 51503, "Your order has already been filled or canceled."),
    ("okx", 51527, "Order modification unsuccessful. The stop order does not exist."),
    ("okx", 51603, "Order does not exist."),
)
ROWS = [(venue, code, error) for venue, table in CODES.items() for error, codes in table.items() for code in codes]


@functools.cache
def client_of(venue: str) -> Any:
    """Return a client that sends nothing."""
    if venue == "okx":
        return make_client(VENUES[venue], Credentials("key", "secret", "password"))
    return getattr(pro, venue)()


def error_of(
    venue: str, operation: str, code: int, message: str = "x", status: int | None = None
) -> TrailingError | None:
    """Return the error of an operation that the venue answers with a code; None: it succeeds."""
    status = status or (400 if venue == "binanceusdm" else 200)
    if venue == "okx":
        return error_of_reply(venue, operation, of_entry(code, message, "1"), status)
    names = ("code", "msg") if venue == "binanceusdm" else ("retCode", "retMsg")
    return error_of_reply(venue, operation, dict(zip(names, (code, message), strict=True)), status)


def of_entry(code: int, message: str, whole: str) -> dict[str, Any]:
    """Return OKX's reply with the code `whole`, about one order that it refused."""
    entry = {"algoId": "", "algoClOrdId": "mine", "sCode": str(code), "sMsg": message}
    return {"code": whole, "data": [entry], "msg": ""}


def error_of_reply(venue: str, operation: str, value: dict[str, Any], status: int) -> TrailingError | None:
    """Return the error of an operation by the venue's reply; None: it succeeds."""
    request = Request(operation)
    request.parts = 1
    request.reply = Reply(status, {}, json.dumps(value))
    with pytest.raises(BaseError) as caught:
        client_of(venue).handle_errors(status, "", ADDRESSES[venue], "POST", {}, request.reply.body, value, {}, None)
    return explain(VENUES[venue], request, caught.value)


def refused(venue: str, operation: str, error: type[TrailingError], code: int) -> type[TrailingError]:
    """Return what an error of placing a stop is for an operation: a cancel is checked against no price and no position.

    A refused cancellation of an entry says nothing about the entry. A used client order id says that there is an entry.
    """
    if operation == "place_entry" and issubclass(error, StopRejected):
        return OutcomeUnknown if str(code) in VENUES[venue].errors.duplicate else EntryRejected
    if operation == "cancel_entry" and issubclass(error, StopRejected):
        return ExchangeUnreachable
    if operation in CALLS and issubclass(error, StopRejected):
        return CallRejected
    of_placing = operation in {"cancel_stop", "cancel_order", "clear_bridge"} and error in {
        WouldTrigger,
        NoSuchPosition,
        NothingToReduce,
        TooManyStops,
    }
    return StopRejected if of_placing else error


@pytest.mark.parametrize(("venue", "code", "error"), ROWS)
def test_a_code_decides_whether_an_order_may_exist(venue: str, code: int, error: type[TrailingError]) -> None:
    for operation in sorted(WRITES):
        assert type(error_of(venue, operation, code)) is refused(venue, operation, error, code), operation


@pytest.mark.parametrize(("venue", "code", "error"), ROWS)
def test_a_read_never_becomes_a_rejection_or_an_unknown_outcome(
    venue: str, code: int, error: type[TrailingError]
) -> None:
    kept = error in {ClockOff, RateLimited, AuthenticationFailed}
    for operation in ("find_stop", "open_stops", "positions", "price"):
        assert type(error_of(venue, operation, code)) is (error if kept else ExchangeUnreachable), operation


@pytest.mark.parametrize(("venue", "code", "error"), ROWS)
def test_a_call_that_reads_is_rejected_or_fails_and_never_has_an_unknown_outcome(
    venue: str, code: int, error: type[TrailingError]
) -> None:
    kept = error in {ClockOff, RateLimited, AuthenticationFailed}
    found = type(error_of(venue, "call_read", code))
    assert found is error if kept else found in {CallRejected, ExchangeUnreachable}
    assert found is CallRejected or not issubclass(error, StopRejected)


@pytest.mark.parametrize(
    ("venue", "code", "message", "error"),
    [
        ("binanceusdm", -2022, "ReduceOnly Order is rejected.", NothingToReduce),
        ("binanceusdm", -2024, "Position is not sufficient.", NothingToReduce),
        *(
            (
                "binanceusdm",
                code,
                "ReduceOnly Order Failed. Please check your existing position and open orders.",
                NothingToReduce,
            )
            for code in (-4112, -4118)
        ),
        ("bybit", 110017, "orderQty will be truncated to zero.", NothingToReduce),
        ("bybit", 110017, "Reduce-only rule not satisfied", NothingToReduce),
        ("bybit", 110017, "current position is zero, cannot fix reduce-only order qty", NoSuchPosition),
        ("bybit", 110034, "There is no net position", NoSuchPosition),
    ],
)
def test_fm50_only_the_words_that_the_position_is_gone_become_no_such_position(
    venue: str, code: int, message: str, error: type[TrailingError]
) -> None:
    for operation in ("place_stop", "amend_stop", "close_position"):
        assert type(error_of(venue, operation, code, message)) is error, operation


@pytest.mark.parametrize(("venue", "code", "message"), GONE)
def test_a_missing_order_becomes_no_such_stop(venue: str, code: int, message: str) -> None:
    for operation in ("amend_stop", "cancel_stop", "cancel_order", "find_stop"):
        assert type(error_of(venue, operation, code, message)) is NoSuchStop, operation
    for operation in ("place_stop", "close_position"):
        assert type(error_of(venue, operation, code, message)) is StopRejected, operation


OKX_CODES = [(code, error) for venue, code, error in ROWS if venue == "okx"]


@pytest.mark.parametrize(("code", "error"), OKX_CODES)
def test_a_code_of_okx_has_one_meaning_whether_it_is_the_reply_s_or_an_order_s(
    code: int, error: type[TrailingError]
) -> None:
    whole = {"code": str(code), "data": [], "msg": "x"}
    for operation in sorted(WRITES):
        for reply in (of_entry(code, "x", "0"), of_entry(code, "x", "2"), whole):
            assert type(error_of_reply("okx", operation, reply, 200)) is refused("okx", operation, error, code), (
                operation,
                reply,
            )


def test_a_reply_of_okx_without_a_list_is_no_success() -> None:
    for operation, error in (("place_stop", OutcomeUnknown), ("open_stops", ExchangeUnreachable)):
        for reply in ({"code": "0", "msg": ""}, {"code": "0", "data": {}}, {"code": "0", "data": None}):
            assert type(error_of_reply("okx", operation, reply, 200)) is error


def test_an_unknown_code_of_okx_refuses_an_order_but_says_nothing_of_it_for_a_whole_reply() -> None:
    assert type(error_of("okx", "place_stop", 99999)) is StopRejected
    assert type(error_of_reply("okx", "place_stop", {"code": "99999", "data": []}, 200)) is OutcomeUnknown


MISSING = {"binanceusdm": -2013, "bybit": 110001, "okx": 51603}


@pytest.mark.parametrize("venue", MISSING)
def test_only_the_code_of_a_missing_order_says_that_there_is_no_entry(venue: str) -> None:
    for operation in ("find_entry", "cancel_entry"):
        assert type(error_of(venue, operation, MISSING[venue])) is NoSuchEntry
    for error in (OrderNotFound("x"), InvalidOrder("x")):
        found = explain(VENUES[venue], Request("find_entry"), error)
        assert type(found) is ExchangeUnreachable


def test_a_cancel_of_an_entry_that_binance_refuses_for_another_reason_is_not_no_such_entry() -> None:
    refusal = error_of("binanceusdm", "cancel_entry", -2011, "Order was not canceled due to cancel restrictions.")
    assert type(refusal) is ExchangeUnreachable
    assert type(error_of("binanceusdm", "cancel_entry", -2011, "Unknown order sent.")) is NoSuchEntry


def test_a_cancel_that_binance_refuses_for_another_reason_is_not_no_such_stop() -> None:
    refusal = error_of("binanceusdm", "cancel_stop", -2011, "Order was not canceled due to cancel restrictions.")
    assert type(refusal) is StopRejected


@pytest.mark.parametrize(("code", "message"), [(10001, UNCHANGED), (34040, "not modified")])
def test_the_code_unchanged_is_a_success_for_an_amendment_only(code: int, message: str) -> None:
    assert error_of("bybit", "amend_stop", code, message) is None
    for operation in sorted(WRITES - {"amend_stop"}):
        assert error_of("bybit", operation, code, message) is not None, operation
    assert type(error_of("bybit", "amend_stop", 10001, "params error: Qty invalid")) is StopRejected


def test_binance_s_internal_error_is_unreachable_and_its_unknown_error_is_unknown() -> None:
    failed = "Internal error; unable to process your request. Please try again."
    unknown = "Unknown error, please check your request or try again later."
    assert type(error_of("binanceusdm", "place_stop", -1001, failed, 503)) is ExchangeUnreachable
    assert type(error_of("binanceusdm", "place_stop", -1000, unknown, 503)) is OutcomeUnknown
    assert type(error_of("binanceusdm", "place_stop", -1001, "", 503)) is OutcomeUnknown


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("wouldNotReducePosition", NothingToReduce),
        ("clientOrderIdAlreadyExist", StopRejected),
        ("tooManySmallOrders", TooManyStops),
        ("selfFill", StopRejected),
        ("invalidPrice", StopRejected),
        ("marketSuspended", ExchangeUnreachable),
    ],
)
def test_kraken_refuses_by_the_status_of_a_successful_request(status: str, error: type[TrailingError]) -> None:
    request = Request("place_stop")
    request.reply = Reply(200, {}, json.dumps({"result": "success", "sendStatus": {"status": status}}))
    with pytest.raises(BaseError) as caught:
        client_of("krakenfutures").verify_order_action_success(status, "createOrder", ["filled"])
    assert type(explain(VENUES["krakenfutures"], request, caught.value)) is error


@pytest.mark.parametrize("named", [{"order_id": "1"}, {}])
async def test_a_rejected_order_is_a_rejection_with_or_without_an_id(named: dict[str, str]) -> None:
    answer = {"result": "success", "sendStatus": {"status": "rejected", **named}}
    async with open_capture("krakenfutures", lambda _: answer) as capture:
        request = StopRequest(capture.symbol, "long", Decimal("0.03"), Decimal(980), "tr0123456789abcdef0123", "mark")
        with pytest.raises(StopRejected, match="the venue rejected the order"):
            await capture.exchange.place_stop(request)
