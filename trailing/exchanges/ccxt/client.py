"""ccxt's client: how it is made, and what of it is changed so that nothing is sent twice, lost or told to a log."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from ccxt import pro
from ccxt.base.errors import BadResponse, BaseError

from trailing.core.model import refuse
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.unreadable import UNPARSED, UNREADABLE, reason
from trailing.exchanges.ccxt.venue import Venue

REQUEST_SECONDS: Final = 5.0
"""Seconds until ccxt gives an HTTP request up. Half of a manager's `call_seconds`, so that a clean-up sees its end."""

_LARGE_EXPONENT = re.compile(r"[+-]?[\d.]+[eE][+-]?\d{3,}")

_SILENT = logging.getLogger(f"{__name__}.silent")
_SILENT.disabled = True


class Reply(msgspec.Struct):
    """An HTTP reply; header names in lower case, status 0: none came."""

    status: int = 0
    headers: Mapping[str, str] = {}
    body: str = ""


def make_client(venue: Venue, credentials: Credentials) -> Any:
    """Ccxt's client for a venue, which has sent nothing yet."""
    keys = dict(zip(venue.credential_names, credentials.values, strict=True))
    client = getattr(pro, venue.client)(
        {
            **{name: value for name, value in keys.items() if value is not None},
            "enableRateLimit": False,  # ours has lanes, and gives credit for idle time
            "number": str,  # exact; a Decimal is lost where ccxt reads back what it has parsed
            "timeout": int(REQUEST_SECONDS * 1000),
            # What is sent again is for us to decide; 0 is ccxt's default too.
            "options": {"maxRetriesOnFailure": 0, **venue.options},
        }
    )
    for method in venue.skips:
        setattr(client, method, _do_nothing)
    _know_lists(client, venue.bare_lists)
    _read_entries_one_by_one(client, venue)
    client.logger = _SILENT  # it gets every request with its headers, and the key is in them
    return client


def _know_lists(client: Any, paths: tuple[str, ...]) -> None:
    """Take an answer that should be a list and is none for what it is. To ccxt an object is an empty list."""
    handle_errors = client.handle_errors

    def handle(status: int, reason: str, url: str, method: str, headers: Any, body: str, value: Any, *rest: Any) -> Any:
        handled = handle_errors(status, reason, url, method, headers, body, value, *rest)
        if 200 <= status < 300 and urlsplit(url).path.endswith(paths) and not isinstance(value, list):
            raise BadResponse(f"{client.id} answered with what is no list")
        return handled

    client.handle_errors = handle


def _read_entries_one_by_one(client: Any, venue: Venue) -> None:
    """Let an order or a position that ccxt can't read cost no list: it stands there with the reason under `UNPARSED`."""
    parse_orders, parse_order, in_list = client.parse_orders, client.parse_order, False

    def guard(parse: Callable[..., Any]) -> Callable[..., Any]:
        def parse_or_say_why(raw: Any, market: Any = None) -> Any:
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

        return parse_or_say_why

    guarded = guard(parse_order)

    def parse_order_of_list(*args: Any) -> Any:
        return guarded(*args) if in_list else parse_order(*args)

    def parse_list_of_orders(*args: Any) -> Any:
        nonlocal in_list
        in_list = True
        try:
            return parse_orders(*args)
        finally:
            in_list = False  # an order that stands alone is the answer to a request, and its error is that request's

    client.parse_orders, client.parse_order = parse_list_of_orders, parse_order_of_list
    client.parse_position = guard(client.parse_position)
    if venue.raw_positions is None:
        return
    method, parser = venue.raw_positions
    parse_position = guard(getattr(client, parser))

    async def fetch_positions(_: Any = None, params: Mapping[str, Any] = {}) -> list[Any]:
        return [parse_position(raw) for raw in await getattr(client, method)(params)]

    client.fetch_positions = fetch_positions


def _check_numbers(raw: Mapping[str, Any]) -> None:
    """Refuse a number that ccxt would write out: an exponent of seven digits keeps it busy for seconds."""
    for name, value in raw.items():
        if isinstance(value, str) and _LARGE_EXPONENT.fullmatch(value):
            raise refuse(name, value, "a number of an ordinary size")


async def _do_nothing(*_: Any, **__: Any) -> None:
    """In place of what a venue's row skips."""


async def open_client(client: Any, leave: Callable[[], object], hear: Callable[[Reply], object]) -> None:
    """Open its connections to be, on the running loop. For asyncio.

    Args:
        leave: called when a request is signed, before any of it is sent; what it raises keeps the request back.
        hear: called with every HTTP reply, before ccxt looks at it.
    """
    client.open()
    await client.session.close()
    # aiohttp's default is a hundred connections: the next request would wait for one of them, signed, while its time runs.
    client.tcp_connector = aiohttp.TCPConnector(ssl=client.ssl_context, limit=0)
    client.session = aiohttp.ClientSession(connector=client.tcp_connector, trust_env=client.aiohttp_trust_env)
    # aiohttp sends a PUT, DELETE or GET again where a connection dies: a cancel that worked would come back as a
    # failure, and an order that is placed by GET would be placed twice.
    client.session._retry_connection = False  # noqa: SLF001 - there is no public way
    open_socks = client.get_socks_proxy_session

    def open_socks_without_resending(url: str) -> Any:
        session = open_socks(url)
        session._retry_connection = False  # noqa: SLF001 - as above
        return session

    client.get_socks_proxy_session = open_socks_without_resending
    fetch = client.fetch

    async def fetch_if_it_may_leave(*args: Any, **kwargs: Any) -> Any:
        leave()
        return await fetch(*args, **kwargs)

    client.fetch = fetch_if_it_may_leave  # called right behind `sign`
    pass_on = client.on_rest_response
    status = 0

    def listen(
        status_now: int, reason: str, url: str, method: str, headers: Mapping[str, str], body: str, *rest: Any
    ) -> Any:
        nonlocal status
        status = status_now
        hear(Reply(status, {name.lower(): value for name, value in headers.items()}, body))
        return pass_on(status, reason, url, method, headers, body, *rest)

    def parse(text: str) -> Any:
        """What a reply says. Else ccxt goes on with a text that is no JSON: a list without positions, for example."""
        try:
            return json.loads(text, parse_float=str)  # as it was written: ccxt makes numbers of texts too
        except ValueError as error:
            if 200 <= status < 300:
                raise BadResponse(f"{client.id} answered with what is no JSON") from error
            return None

    client.on_rest_response = listen
    client.parse_json = parse  # called next, and nothing waits in between
