"""One websocket connection: dialled again whenever it is lost, and subscribed to what is wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Set
from typing import Any, Final, TypeAlias

import aiohttp
import msgspec
import trio

from trailing.errors import TrailingError
from trailing.exchanges.ccxt.backoffs import backoffs
from trailing.exchanges.ccxt.dialect import Answer, Dialect, Expired, Heard, read_frame
from trailing.exchanges.ccxt.errors import without_queries
from trailing.exchanges.ccxt.listener import Listener
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.unreadable import Unreadable

SILENCE_SECONDS: Final = 10.0
"""Seconds without any frame, pongs included, after which a connection is taken for dead. A ping is sent after half of it."""

DIAL_SECONDS: Final = 5.0
"""Seconds within which a connection has to stand."""

_CLOSE_SECONDS = 0.5
"""Seconds that the other side may take to say goodbye."""

_BURST = 100
"""Frames that are read before other tasks get their turn, where so many are there."""

_SPACING = 0.15
"""Seconds between two requests over a connection: Binance takes 10 frames a second, and ends a connection for more."""

_OVERDUE_SECONDS = 0.5
"""Seconds between two looks at what was kept back."""

_LATE_SECONDS = 1.0
"""How late the look at a silent connection may be. Where it is later, we did not listen ourselves; nobody was silent."""

_STEADY_SECONDS = 60.0
"""Seconds that a connection has to stand until the next one is dialled without delay."""

_FRAME_BYTES = 10 * 2**20

_BROKEN = (aiohttp.ClientError, OSError, asyncio.TimeoutError, TrailingError, trio.TooSlowError)

Socket: TypeAlias = aiohttp.ClientWebSocketResponse

_log = logging.getLogger(__name__)


class LineLost(Exception):
    """The connection is of no use any more."""


class Line:
    """A connection that is kept up.

    Args:
        address: gives the URL to dial.
        account: whether it is the account's: with signing in, and renewed where the venue wants that.

    Attributes:
        wanted: the topics to be subscribed to; without any, nothing is dialled, save for the account.
        is_up: subscribed to what was wanted when it came up.
    """

    def __init__(
        self,
        session: Session,
        dialect: Dialect,
        listener: Listener,
        address: Callable[[], Awaitable[str]],
        *,
        account: bool = False,
    ) -> None:
        self._session, self._dialect, self._listener = session, dialect, listener
        self._address = address
        self._account = account
        self.wanted: Set[str] = frozenset(dialect.account_topics) if account else frozenset()
        self.is_up: bool = False
        self._silence = SILENCE_SECONDS
        self._changed = trio.Event()
        self._dialled_at = 0.0
        self._heard_at = 0.0
        self._requests = 0
        self._answer: Answer | None = None
        self._answered = trio.Event()
        self._refused: set[str] = set()
        self._scope: trio.CancelScope | None = None
        self._why = ""

    def __repr__(self) -> str:
        kind, state = "account" if self._account else "prices", "up" if self.is_up else "down"
        return f"<Line of {kind}: {state}, {len(self.wanted)} topics>"

    def want(self, topics: Set[str]) -> None:
        """Subscribe to these, as a whole."""
        if topics != self.wanted:
            self.wanted = topics
            self._refused.clear()
            self._changed.set()
            self._changed = trio.Event()

    def redial(self, why: str) -> None:
        """Give the connection up that is there, and dial another one."""
        self._give_up(why)

    async def run(self) -> None:
        """Keep it up for ever."""
        waits = backoffs()
        while True:
            if not self._is_wanted:
                self._listener.up(self, 0.0)  # nothing is wanted, and so nothing is missing
                await self._changed.wait()
                continue
            self._dialled_at = trio.current_time()
            why = await self._live()
            self.is_up = False
            if not self._is_wanted:
                continue
            self._listener.lost(self, why)
            if trio.current_time() - self._dialled_at > _STEADY_SECONDS:
                waits = backoffs()
            await trio.sleep(next(waits))

    @property
    def _is_wanted(self) -> bool:
        return self._account or bool(self.wanted)

    async def _live(self) -> str:
        """Dial, and stay until it is lost. Returns why it was."""
        try:
            socket = await self._dial()
        except _BROKEN as error:
            return _told(error)
        self._heard_at = trio.current_time()
        self._why = ""
        tasks = (self._receive, self._look_for_silence, self._keep_subscribed, self._renew, self._tell_overdue)
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                for task in tasks:
                    nursery.start_soon(self._until_lost, task, socket)
        finally:
            self._scope = None
            with trio.move_on_after(2 * _CLOSE_SECONDS, shield=True) as scope:
                await self._close(socket)
            if scope.cancelled_caught:
                _log.warning("%s could not be closed", self)
        return self._why

    async def _until_lost(self, task: Callable[[Socket], Awaitable[None]], socket: Socket) -> None:
        try:
            await task(socket)
        except (LineLost, *_BROKEN) as error:
            self._give_up(_told(error))

    def _give_up(self, why: str) -> None:
        self._why = self._why or why
        if self._scope is not None:
            self._scope.cancel()

    async def _dial(self) -> Socket:
        client = self._session.client
        with trio.fail_after(DIAL_SECONDS):
            address = await self._address()
            http, https, socks = client.check_ws_proxy_settings()
            through = client.session if socks is None else client.get_socks_proxy_session(socks)
            connecting = through.ws_connect(
                address,
                proxy=http or https,
                autoping=False,  # a ping is a frame too
                max_msg_size=_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
            return await self._session.run(connecting)  # type: ignore[no-any-return]

    async def _close(self, socket: Socket) -> None:
        try:
            await self._session.run(socket.close())
        except _BROKEN:
            return  # it is closed

    async def _receive(self, socket: Socket) -> None:
        await self._session.run(self._pump(socket))

    async def _pump(self, socket: Socket) -> None:
        """Take frame after frame. For asyncio."""
        read = 0
        while True:
            message = await socket.receive()
            self._heard_at = trio.current_time()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    self._take(message.data)
                case aiohttp.WSMsgType.PING:
                    await socket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    pass
                case _:
                    raise LineLost(f"the venue ended it: {message.type.name} {message.data or ''}".rstrip())
            read += 1
            if read % _BURST == 0:
                await asyncio.sleep(0)

    def _take(self, text: str) -> None:
        try:
            heard = read_frame(self._dialect, text, self._heard_at)
        except msgspec.DecodeError as error:
            raise LineLost("a frame that is no JSON object") from error
        self._hear(heard)

    def _hear(self, heard: Iterable[Heard]) -> None:
        for each in heard:
            match each:
                case Answer():
                    self._answer = each
                    self._answered.set()
                case Expired():
                    raise LineLost(each.detail)
                case Unreadable():
                    self._listener.skip(each.detail, of_account=self._account)
                case _:
                    self._listener.hear(each)

    async def _look_for_silence(self, socket: Socket) -> None:
        pinged_at = self._heard_at
        while True:
            heard_at = self._heard_at
            pinged = pinged_at > heard_at
            due = heard_at + (self._silence if pinged else self._silence / 2)
            await trio.sleep_until(due)
            now = trio.current_time()
            if now - due > _LATE_SECONDS:
                self._heard_at = max(self._heard_at, now - self._silence / 2)
            if self._heard_at > heard_at:
                continue
            if pinged:
                raise LineLost(f"no frame for {self._silence:g} s")
            pinged_at = now
            beat = socket.ping() if self._dialect.heartbeat is None else socket.send_str(self._dialect.heartbeat)
            with trio.move_on_after(self._silence / 2) as scope:
                await self._session.run(beat)
            if scope.cancelled_caught:
                raise LineLost(f"no frame for {self._silence:g} s, and none could be sent")

    async def _keep_subscribed(self, socket: Socket) -> None:
        hello = self._dialect.sign_in() if self._account else None
        if hello is not None:
            self._expect(await self._ask(socket, hello))
        subscribed: set[str] = set()
        while True:
            changed, wanted = self._changed, self.wanted - self._refused
            for topics in self._batches(subscribed - wanted):
                self._expect(await self._ask(socket, self._request(topics, wanted=False)))
                subscribed.difference_update(topics)
            for topics in self._batches(wanted - subscribed):
                subscribed.update(await self._subscribe(socket, topics))
            if not self.is_up:
                self.is_up = True
                self._listener.up(self, trio.current_time() - self._dialled_at)
            await changed.wait()

    async def _subscribe(self, socket: Socket, topics: Sequence[str]) -> Sequence[str]:
        """Subscribe, and where that is refused to each half: nobody is to go without prices for another one's sake."""
        refusal = await self._ask(socket, self._request(topics, wanted=True))
        if not refusal:
            return topics
        if self._account:
            raise LineLost(refusal)
        if len(topics) == 1:
            _log.warning("%s is not pushed here: %s", topics[0], refusal)
            self._refused.update(topics)
            return ()
        middle = len(topics) // 2
        return [topic for half in (topics[:middle], topics[middle:]) for topic in await self._subscribe(socket, half)]

    def _batches(self, topics: Set[str]) -> Iterator[Sequence[str]]:
        ordered, size = sorted(topics), self._dialect.topics_per_request
        return (ordered[start : start + size] for start in range(0, len(ordered), size))

    def _request(self, topics: Sequence[str], *, wanted: bool) -> str:
        self._requests += 1
        return self._dialect.request(self._requests, topics, wanted=wanted)

    async def _ask(self, socket: Socket, text: str) -> str:
        """Send a request and wait for its answer; one at a time. Returns why it was refused; "": it was not."""
        self._answer, self._answered = None, trio.Event()
        await self._session.run(socket.send_str(text))
        with trio.move_on_after(self._silence) as scope:
            await self._answered.wait()
        if scope.cancelled_caught or self._answer is None:
            raise LineLost(f"no answer within {self._silence:g} s")
        await trio.sleep(_SPACING)
        return self._answer.error

    def _expect(self, refusal: str) -> None:
        if refusal:
            raise LineLost(refusal)

    async def _renew(self, socket: Socket) -> None:  # noqa: ARG002 - as the others
        seconds = self._dialect.renewal_seconds if self._account else None
        while seconds is not None:
            await trio.sleep(seconds)
            await self._dialect.renew()

    async def _tell_overdue(self, socket: Socket) -> None:  # noqa: ARG002 - as the others
        while self._account:
            await trio.sleep(_OVERDUE_SECONDS)
            self._hear(self._dialect.overdue(trio.current_time()))
            self._listener.look_overdue()


def _told(error: BaseException) -> str:
    said: Any = str(error)
    return without_queries(said if isinstance(error, LineLost) else f"{type(error).__name__} {said}".rstrip())
