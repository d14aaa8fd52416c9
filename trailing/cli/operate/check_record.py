"""The requests and frames of each step of a check, as the venue sent them, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
import trio

from trailing.cli.operate.check_cleaner import Cleaner, header_values, parse_json
from trailing.exchanges.ccxt import Credentials
from trailing.exchanges.ccxt.recording import HttpRequest, record_requests
from trailing.exchanges.ccxt.session import Session
from trailing.logs import HIDDEN

SHOWN_OPERATIONS: Final = frozenset(
    {
        *("enter", "place_stop", "amend_stop", "cancel_stop", "find_stop", "open_stops", "positions", "price"),
        *("close_position", "open_orders", "order_fills"),
    }
)
"""Requests for anything else, such as listen keys, permissions and markets, are in no report."""

_MOST_TEXT: Final = 200_000
"""Characters of a reply or frame that are kept."""

_MOST_FRAMES: Final = 500
_MOST_PRICE_FRAMES: Final = 5
"""Frames that are kept of a step. Those of prices are all alike."""


_MARKET_NAMES: Final = ("symbol", "s", "instId", "instrument_name", "contract")
"""The fields in which venues name the market of an order, a position or a trade."""


class RawRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a step and its reply.

    Args:
        milliseconds: from the beginning of the check until it was sent.
        operation: the port's method that sent it; `enter` opens the position.
        path: without the host.
        params: of the query and the body.
        status: of the reply; 0: no reply came.
        headers: those of the reply that tell its time and the rate limit.
        reply: as JSON, or the text that was no JSON.
        took: milliseconds until the reply or the error; None: neither came.
        error: the kind of error that ended it; "": none.
    """

    milliseconds: int
    operation: str
    method: str
    path: str
    params: Any
    status: int
    headers: Mapping[str, str]
    reply: Any
    took: int | None
    error: str


class RawFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A websocket frame.

    Args:
        milliseconds: from the beginning of the check until it arrived.
        of_account: it came over the account's connection.
        frame: as JSON, or the text that was no JSON.
    """

    milliseconds: int
    of_account: bool
    frame: Any


class Recorder:
    """Keeps the requests and frames of each step, and returns them without secrets.

    Args:
        credentials: the keys of the account, which no report shows.

    Attributes:
        cleaner: learns the account's ids from every reply, also from those that no report shows.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.cleaner: Cleaner = Cleaner(credentials)
        self._step = ""
        self._requests: list[tuple[str, HttpRequest]] = []
        self._frames: list[tuple[str, float, bool, str]] = []
        self._unlearned: list[HttpRequest] = []
        self._frames_learned = 0
        self._market_id = ""
        self._counts: dict[tuple[str, bool], int] = {}
        self._began_at = 0.0

    def configure(self, client: Any) -> None:
        """Record the requests of a client: for `open_ccxt(configure=…)`."""
        record_requests(client, self._on_request)

    def begin(self, session: Session, symbol: str) -> None:
        """Record the frames of a session too, and count the time from now on. Only entries of one symbol are shown."""
        self._began_at = trio.current_time()
        self._market_id = str(session.client.market(symbol)["id"])
        session.on_frame = self._on_frame

    def begin_step(self, name: str) -> None:
        """Let what follows belong to a step."""
        self._step = name

    def learn(self) -> None:
        """Note the account's ids in everything that was recorded so far. What is cleaned from now on has none of them."""
        ended = [request for request in self._unlearned if request.seconds is not None]
        self._unlearned = [request for request in self._unlearned if request.seconds is None]
        for request in ended:
            self.cleaner.learn(parse_json(request.reply))
            self.cleaner.learn(_params(request))
        for _, _, _, text in self._frames[self._frames_learned :]:
            self.cleaner.learn(parse_json(text))
        self._frames_learned = len(self._frames)

    def clean_words(self, words: str) -> str:
        """Return a sentence without secrets, such as one with the venue's words."""
        self.learn()
        return self.cleaner.clean_text(words)

    def requests_of(self, step: str) -> list[RawRequest]:
        """Return the requests of a step that a report may show, in the order of sending. Call `learn` before."""
        return [
            self._shown(request)
            for name, request in self._requests
            if name == step and request.operation in SHOWN_OPERATIONS
        ]

    def frames_of(self, step: str) -> list[RawFrame]:
        """Return the frames of a step, in the order of arrival. Call `learn` before."""
        return [
            RawFrame(
                milliseconds=self._since_begin(at),
                of_account=of_account,
                frame=self._clean(text),
            )
            for name, at, of_account, text in self._frames
            if name == step
        ]

    def _on_request(self, request: HttpRequest) -> None:
        self._requests.append((self._step, request))
        self._unlearned.append(request)

    def _on_frame(self, text: str, of_account: bool) -> None:  # noqa: FBT001 - the session's signature
        key = (self._step, of_account)
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] <= (_MOST_FRAMES if of_account else _MOST_PRICE_FRAMES):
            self._frames.append((self._step, trio.current_time(), of_account, text[:_MOST_TEXT]))

    def _shown(self, request: HttpRequest) -> RawRequest:
        return RawRequest(
            milliseconds=self._since_begin(request.at),
            operation=request.operation,
            method=request.method,
            path=self.cleaner.clean_text(urlsplit(request.url).path),
            params=self.cleaner.clean(_params(request)),
            status=request.status,
            headers=self.cleaner.clean(header_values(request.headers)),
            reply=self._clean(request.reply[:_MOST_TEXT]),
            took=None if request.seconds is None else round(request.seconds * 1000),
            error=request.error,
        )

    def _clean(self, text: str) -> Any:
        return self.cleaner.clean(_only_of(self._market_id, parse_json(text)))

    def _since_begin(self, at: float) -> int:
        return round((at - self._began_at) * 1000)


def _only_of(market_id: str, value: Any) -> Any:
    """Return a JSON value without the entries of other markets, which are none of the report's business."""
    if isinstance(value, list):
        return [_only_of(market_id, each) for each in value if not _is_of_other(market_id, each)]
    if isinstance(value, dict):
        return {
            name: HIDDEN if _is_of_other(market_id, each) else _only_of(market_id, each) for name, each in value.items()
        }
    return value


def _is_of_other(market_id: str, value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    names = (value.get(name) for name in _MARKET_NAMES)
    return any(isinstance(name, str) and name and name.lower() != market_id.lower() for name in names)


def _params(request: HttpRequest) -> Any:
    """Return the values of the query and the body of a request."""
    query: dict[str, Any] = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    body = parse_json(request.body) if request.body else {}
    if isinstance(body, str):
        body = dict(parse_qsl(body, keep_blank_values=True))
    return query | body if isinstance(body, dict) else [query, body]
