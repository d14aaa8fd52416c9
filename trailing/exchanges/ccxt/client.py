"""Creates ccxt's client, and changes it so that no request is sent twice, no reply is lost, and no key is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from ccxt import pro
from ccxt.base.errors import BadResponse, BaseError

from trailing.core.model import refuse
from trailing.exchanges.ccxt import okx_client
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.http_replies import Reply, ReplyLimit, checked_response, is_huge, parse_body
from trailing.exchanges.ccxt.unreadable import UNPARSED, UNREADABLE, reason
from trailing.exchanges.ccxt.venue import ListRequests, Venue

REQUEST_SECONDS: Final = 5.0
"""Timeout of an HTTP request in seconds: half of a manager's `call_seconds`, so that a clean-up sees its end."""

BURST: Final = 200
"""Entries to parse before other tasks run. They take about 20 ms."""

_SILENT = logging.getLogger(f"{__name__}.silent")
_SILENT.disabled = True


ADAPTERS: Final[Mapping[str, Callable[[Any], None]]] = {"okx": okx_client.adapt}
"""Functions that change a new client where a row can't state it, by the venue's name."""


def make_client(venue: Venue, credentials: Credentials | None) -> Any:
    """Return ccxt's client for a venue. It has sent nothing yet.

    Args:
        venue: the venue's row.
        credentials: the keys that sign requests; None: it can send public requests only.
    """
    values = () if credentials is None else credentials.values
    keys = dict(zip(venue.client.credential_names, values, strict=credentials is not None))
    client = getattr(pro, venue.client.class_name)(
        {
            **{name: value for name, value in keys.items() if value is not None},
            "enableRateLimit": False,  # ours has priorities, and refills while idle
            "number": str,  # exact; ccxt loses a Decimal where it parses its own result again
            "timeout": int(REQUEST_SECONDS * 1000),
            # Retries are our decision. 0 is ccxt's default too.
            "options": {"maxRetriesOnFailure": 0, **venue.client.options},
        }
    )
    for method in venue.client.skipped_methods:
        setattr(client, method, _do_nothing)
    _require_lists(client, venue.lists)
    _refuse_unknown_statuses(client)
    if venue.client.backdate_seconds:
        _backdate(client, int(venue.client.backdate_seconds * 1000))
    adapt = ADAPTERS.get(venue.name)
    if adapt is not None:
        adapt(client)
    _parse_entries_one_by_one(client, venue)
    client.logger = _SILENT  # ccxt logs requests with their headers, which contain the key
    return client


def _backdate(client: Any, milliseconds: int) -> None:
    """Set the timestamps of requests back."""
    nonce = client.nonce
    client.nonce = lambda: nonce() - milliseconds


def _require_lists(client: Any, lists: ListRequests) -> None:
    """Raise BadResponse for a reply without the list that it should have. ccxt takes an object for an empty list."""
    fields = {**dict.fromkeys(lists.bare_list_paths, ""), **lists.list_fields}
    handle_errors = client.handle_errors

    def handle(status: int, reason: str, url: str, method: str, headers: Any, body: str, value: Any, *rest: Any) -> Any:
        handled = handle_errors(status, reason, url, method, headers, body, value, *rest)
        path = urlsplit(url).path
        field = next((field for end, field in fields.items() if path.endswith(end)), None)
        if 200 <= status < 300 and field is not None and not isinstance(_value_at(value, field), list):
            raise BadResponse(f"{client.id}: the reply has no list")
        return handled

    client.handle_errors = handle


def _value_at(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _refuse_unknown_statuses(client: Any) -> None:
    """Raise BadResponse for every status outside of 2xx. ccxt takes one that it does not list for a success."""
    handle_status = client.handle_http_status_code

    def handle(status: int, *args: Any) -> None:
        handle_status(status, *args)
        if not 200 <= status < 300:
            raise BadResponse(f"{client.id}: the reply has the status {status}")

    client.handle_http_status_code = handle


def _parse_entries_one_by_one(client: Any, venue: Venue) -> None:
    """Keep a list when ccxt can't parse one of its entries: the entry is listed with the reason under `UNPARSED`."""
    parse_orders, parse_order, in_list = client.parse_orders, client.parse_order, False

    def guard(parse: Callable[..., Any]) -> Callable[..., Any]:
        def parse_or_mark(raw: Any, market: Any = None) -> Any:
            try:
                _check_numbers(raw)
                return parse(raw, market)
            except (*UNREADABLE, BaseError) as error:
                found = raw if isinstance(raw, dict) else {}
                return {
                    "info": found,
                    "symbol": market and market["symbol"],
                    "timestamp": None,
                    UNPARSED: reason(error),
                }

        return parse_or_mark

    guarded = guard(parse_order)

    def parse_order_of_list(*args: Any) -> Any:
        return guarded(*args) if in_list else parse_order(*args)

    def parse_list_of_orders(*args: Any) -> Any:
        nonlocal in_list
        in_list = True
        try:
            return parse_orders(*args)
        finally:
            in_list = False  # a single order is the reply to a request, and its error is that request's

    client.parse_orders, client.parse_order = parse_list_of_orders, parse_order_of_list
    client.parse_position = guard(client.parse_position)
    if venue.lists.raw_position_methods is None:
        return
    method, parser = venue.lists.raw_position_methods
    parse_position = guard(getattr(client, parser))

    async def fetch_positions(_: Any = None, params: Mapping[str, Any] = {}) -> list[Any]:
        positions = []
        rows = _value_at(await getattr(client, method)(params), venue.lists.raw_position_list)
        for number, raw in enumerate(rows):
            if number % BURST == 0:
                await asyncio.sleep(0)
            positions.append(parse_position(raw))
        return positions

    client.fetch_positions = fetch_positions


def _check_numbers(raw: Mapping[str, Any]) -> None:
    """Refuse a number with a large exponent."""
    for name, value in raw.items():
        if is_huge(value):
            raise refuse(name, value, "a number of an ordinary size")


async def _do_nothing(*_: Any, **__: Any) -> None:
    """Replace a method that the venue's row skips."""


async def open_client(
    client: Any,
    before_send: Callable[[], object],
    limit: Callable[[], ReplyLimit],
    on_response: Callable[[Reply], object],
) -> None:
    """Open the client's HTTP session on the running asyncio loop.

    Args:
        client: ccxt's client.
        before_send: called when a request is signed, before any of it is sent. If it raises, nothing is sent.
        limit: returns what is read of the reply to the running request.
        on_response: called with every HTTP reply, before ccxt parses it.
    """
    response_class = checked_response(limit)
    client.open()
    await client.session.close()
    # aiohttp opens 100 connections by default. A further request would wait, already signed, while its validity runs.
    client.tcp_connector = aiohttp.TCPConnector(ssl=client.ssl_context, limit=0)
    client.session = aiohttp.ClientSession(
        connector=client.tcp_connector, trust_env=client.aiohttp_trust_env, response_class=response_class
    )
    # aiohttp repeats a PUT, DELETE or GET when a connection breaks. A cancel that worked would return as a failure, and an
    # order that is placed by GET would be placed twice.
    client.session._retry_connection = False  # noqa: SLF001 - there is no public way
    open_socks = client.get_socks_proxy_session

    def open_checked_socks(url: str) -> Any:
        session = open_socks(url)
        session._retry_connection, session._response_class = False, response_class  # noqa: SLF001 - as above
        return session

    client.get_socks_proxy_session = open_checked_socks
    fetch = client.fetch

    async def fetch_after_check(*args: Any, **kwargs: Any) -> Any:
        before_send()
        return await fetch(*args, **kwargs)

    client.fetch = fetch_after_check  # called right after `sign`
    ccxt_on_response = client.on_rest_response
    status = 0

    def on_rest_response(
        status_now: int, reason: str, url: str, method: str, headers: Mapping[str, str], body: str, *rest: Any
    ) -> Any:
        nonlocal status
        status = status_now
        on_response(Reply(status, {name.lower(): value for name, value in headers.items()}, body))
        return ccxt_on_response(status, reason, url, method, headers, body, *rest)

    def parse(text: str) -> Any:
        """Parse a reply. By itself ccxt takes a text that is no JSON for a reply, for example for an empty list."""
        try:
            return parse_body(text, limit().entries)
        except ValueError as error:
            if 200 <= status < 300:
                raise BadResponse(f"{client.id}: the reply can't be read: {error}") from error
            return None

    client.on_rest_response = on_rest_response
    client.parse_json = parse  # called next, without an await in between
