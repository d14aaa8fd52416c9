"""The bot's own requests: any method of ccxt's, through the client and the rate limiter of the exchange."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import trio
from ccxt.base.types import Entry

from trailing.core.model import refuse
from trailing.errors import LeaseLost, OutcomeUnknown, TrailingError, UsageError, suggest
from trailing.exchanges.ccxt.client import REQUEST_SECONDS
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.venue import Venue

MOST_IDS: Final = 10_000
"""Order ids of ours to remember. An account has far fewer live orders."""

_TAG: Final = re.compile(r"tr[0-9a-f]{20}|0x7472[0-9a-f]{28}", re.IGNORECASE)
"""A client order id of ours, in every form in which a venue writes it."""

_DEEPEST: Final = 20
"""How many levels of lists and mappings arguments may have."""

# Why a method that ccxt has is refused, by a pattern of its name in lower case without underscores.
_REFUSED: Final = (
    (
        re.compile(r"(un)?watch.*|.*ws"),
        "it uses a connection of its own; `exchange.updates()` has the exchange's updates",
    ),
    (re.compile(r"load.*|fetchmarkets.*"), "the markets and the clock are read when the exchange is opened"),
    (re.compile(r"close|signin|authenticate"), "the exchange opens and closes its client by itself"),
    (re.compile(r"setpositionmode"), "the exchange reads the position mode when it is opened; set it before"),
    (
        re.compile(
            r"cancelordersforsymbols|.*(cancelall|cancelsymbol|enablecancelondisconnect).*|.*delete.*(price|stop)orders"
            r"|(?!.*get).*(allopenorders|algoopenorders|masscancel).*"
        ),
        "it would cancel the stops, too; cancel the bot's own orders by their ids",
    ),
    (
        re.compile(r"(?!.*get).*(positionsidedual|switchmode|positionmode|dualmode|setholdmode)"),
        "it would change the position mode in use",
    ),
    (re.compile(r".*(listenkey|listentoken).*"), "it would end the stream of the account's updates"),
)
_READ: Final = re.compile(r"fetch.*")
_KINDS: Final = (
    (re.compile(r".*cancel.*|.*delete.*order.*"), "call_cancel"),
    (re.compile(r"edit.*|.*amend.*|.*(put|modify).*order.*"), "call_amend"),
    (re.compile(r"create.*order.*|closeposition|closeallpositions|.*post.*order.*|.*closeposition"), "call_order"),
)
_IDS: Final = re.compile(r".*ids?(list)?")
"""The name of an argument that names orders, in lower case."""

_LABELS: Final = frozenset({"label"})
"""Names of arguments with client order ids, where the venue doesn't call them so."""

_WORD: Final = re.compile(r"[\w:-]+")
"""An id in a text. A text may contain several of them."""

_REPEATING: Final = frozenset({"maxRetriesOnFailure"})
_WANTED: Final = object()


class Fence(Protocol):
    """Decides whether a request that changes something may be sent. `LeaseFence` implements it."""

    def check_may_send(self, turn: float, call_seconds: float) -> float:
        """Return the time of the decision. Raises LeaseLost or ExchangeUnreachable if the request may not be sent."""

    def extend_busy_until(self, turn_at: float) -> None:
        """Keep the account busy while an abandoned request may still be executed."""


class CcxtMethod(msgspec.Struct, frozen=True):
    """A method of ccxt's client that the bot may call.

    Args:
        name: as the client has it.
        kind: what it is for the rate limiter, one of `CALLS`.
        parameters: the names of its arguments, without `params`, and their defaults; `_WANTED`: it has none.
    """

    name: str
    kind: str
    parameters: Mapping[str, Any] = {}

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.kind != "call_read"


class BotCalls:
    """Sends the bot's own requests.

    Args:
        session: sends them.
        venue: the venue's row.

    Attributes:
        fence: of the manager that owns the account; None: no manager is open, and nothing that changes something is sent.
    """

    def __init__(self, session: Session, venue: Venue) -> None:
        self.fence: Fence | None = None
        self._session, self._venue = session, venue
        self._own_ids: set[str] = set()
        self._newest_ids: deque[str] = deque()

    def note(self, order_id: str) -> None:
        """Remember the exchange's id of an order of ours."""
        if order_id in self._own_ids:
            return
        self._own_ids.add(order_id)
        self._newest_ids.append(order_id)
        if len(self._newest_ids) > MOST_IDS:
            self._own_ids.discard(self._newest_ids.popleft())

    async def call(self, method: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """Send a request. Arguments, errors and cancellation: as `CcxtExchange.call`."""
        found = find_method(self._session.client, self._venue, method)
        arguments, params = _bound(found, args, named)
        if not found.changes:
            return await self._send(found, (*arguments, params), lambda: None)
        self._check_ids(found, arguments, params)
        fence = self.fence
        if fence is None:
            raise UsageError(f"{found.name} changes something, so it needs an open manager, which owns the account")
        fence.check_may_send(0.0, REQUEST_SECONDS)

        def may_send() -> None:
            if self.fence is not fence:  # the manager ended while the request waited for its turn
                raise LeaseLost(f"{found.name}: not sent, because the manager has ended")
            fence.check_may_send(0.0, REQUEST_SECONDS)

        try:
            return await self._send(found, (*arguments, params), may_send)
        except BaseException as error:
            if not isinstance(error, TrailingError) or isinstance(error, OutcomeUnknown):
                fence.extend_busy_until(trio.current_time())
            raise

    async def _send(self, found: CcxtMethod, args: tuple[Any, ...], may_send: Callable[[], object]) -> Any:
        # Not through `VenueRequests`, which would repeat it.
        return await self._session.call(found.kind, found.name, *args, about=f"call {found.name}", may_send=may_send)

    def _check_ids(self, found: CcxtMethod, arguments: Sequence[Any], params: Mapping[str, Any]) -> None:
        """Raise UsageError if the arguments name an order of ours, or if a call that cancels names none.

        Without an id, some venues cancel all orders of a symbol.
        """
        for value in _texts((*arguments, params)):
            if _TAG.search(value):
                raise UsageError(
                    f"{found.name} got {value!r}, an id of an order that the manager placed and works with"
                )
        given = dict(zip(found.parameters, arguments, strict=False))
        is_any_named = False
        for name, value in _named({**params, **given}):
            if _IDS.fullmatch(name.lower()):
                for own_id in self._own_ids.intersection(_WORD.findall(str(value))):
                    raise UsageError(
                        f"{found.name} got {name} {own_id}, an order that the manager placed and works with"
                    )
            elif name.lower() not in _LABELS:
                continue
            is_any_named = is_any_named or bool(value)
        if found.kind == "call_cancel" and not is_any_named:
            raise UsageError(
                f"{found.name} got no order id, and may cancel the stops, too; cancel the bot's own orders by their ids"
            )


def find_method(client: Any, venue: Venue, method: object) -> CcxtMethod:
    """Return a unified or an implicit method of a client. Raises UsageError if there is none, or if it is refused."""
    if not isinstance(method, str) or not method or method.startswith("_"):
        raise refuse("method", method, "the name of a method of ccxt, such as 'fetch_balance'")
    plain = method.replace("_", "").lower()
    reason = next((reason for pattern, reason in _REFUSED if pattern.fullmatch(plain)), None)
    if reason is not None:
        raise UsageError(f"method got {method!r}, which can't be called: {reason}")
    # ccxt lists endpoints in a base class, and copies some of them into the client's class as plain functions.
    listed = (vars(each).get(method) for each in type(client).__mro__)
    endpoint = next((each for each in listed if isinstance(each, Entry)), None)
    if endpoint is not None:
        # Some venues change something by GET, or read by POST. Whether an unverified one does is not known.
        reads = venue.verified and endpoint.method == "GET"
        return CcxtMethod(method, "call_read" if reads else _kind_of(plain))
    offered = {name.lower(): name for name, has in client.has.items() if has}
    function = getattr(type(client), method, None)
    if plain not in offered or not inspect.iscoroutinefunction(function) or method in venue.client.skipped_methods:
        hint = suggest(method, map(client.un_camel_case, offered.values()))
        raise UsageError(f"method got {method!r}, which is no method of ccxt for {venue.name}.{hint}")
    parameters = list(inspect.signature(function).parameters.values())[1:]
    defaults = {each.name: _WANTED if each.default is each.empty else each.default for each in parameters}
    del defaults["params"]
    return CcxtMethod(method, "call_read" if _READ.fullmatch(plain) else _kind_of(plain), defaults)


def _kind_of(plain: str) -> str:
    return next((kind for pattern, kind in _KINDS if pattern.fullmatch(plain)), "call_change")


def _bound(found: CcxtMethod, args: Sequence[Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments in ccxt's order, and its `params`: a mapping after the arguments, and every other name."""
    names, params = list(found.parameters), dict(named)
    given = params.pop("params", {})
    by_name = {name: params.pop(name) for name in names if name in params}
    beyond = [*args[len(names) :], given]
    if len(beyond) > 2 or not all(isinstance(each, Mapping) for each in beyond):
        raise UsageError(
            f"{found.name} got {args!r}, wants ({', '.join((*names, 'params'))}), of which params is a mapping"
        )
    params = {name: value for each in (*beyond, params) for name, value in each.items()}
    in_order = dict(zip(names, args, strict=False))
    for name in names:
        if name in in_order and name in by_name:
            raise UsageError(f"{found.name} got {name} twice")
        if {**found.parameters, **in_order, **by_name}[name] is _WANTED:
            raise UsageError(f"{found.name} got no {name}, which it needs")
    for name in _REPEATING & params.keys():
        raise UsageError(f"{found.name} got {name}, but a call is never repeated")
    return list({**found.parameters, **in_order, **by_name}.values()), params


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield every text inside of arguments, keys too."""
    if depth > _DEEPEST:
        raise UsageError(f"the arguments have more than {_DEEPEST} levels")
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(key, depth + 1)
            yield from _texts(each, depth + 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _texts(each, depth + 1)


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value with the name of its argument or field. The values of a list have the list's name.

    A text that is JSON counts as what it contains, because some endpoints take lists of orders as text.
    """
    found = _parsed(value) if isinstance(value, str) and value.lstrip()[:1] in {"[", "{"} else value
    if isinstance(found, Mapping):
        for field, each in found.items():
            yield from _named(each, str(field))
    elif isinstance(found, (list, tuple, set, frozenset)):
        for each in found:
            yield from _named(each, name)
    else:
        yield name, found


def _parsed(text: str) -> Any:
    """Return the content of a JSON text; the text itself, if it is none. Raises UsageError if it is nested too deeply."""
    try:
        parsed = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    for _ in _texts(parsed):  # it checks the depth
        pass
    return parsed
