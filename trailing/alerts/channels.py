"""Channels: where alerts are sent. A plain JSON webhook, and everything that apprise reaches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from trailing.alerts.http import NotSent, Threads, request
from trailing.alerts.messages import Message
from trailing.alerts.secrets import SecretUrl
from trailing.errors import UsageError
from trailing.exchanges.port import escaped

SEND_SECONDS: Final = 30.0
"""Seconds until one message has to be sent. After that the channel tries again."""

NATIVE_HOSTS: Final = frozenset({"discord.com", "discordapp.com", "hooks.slack.com"})
"""Hosts whose webhooks want a body of their own. apprise takes their addresses as the services show them."""

_LOGGERS: Final = ("apprise", "urllib3.connectionpool", "urllib3.util.retry")


class Channel(Protocol):
    """A way to reach a person. A bot can write its own.

    Attributes:
        name: for the log. It holds no credential.
    """

    @property
    def name(self) -> str: ...

    async def send(self, message: Message) -> None:
        """Send a message. An error, or no end within `SEND_SECONDS`, means that it is sent again later.

        Raises:
            NotSent: it was not sent; its `retry_after` is respected.
        """


class WebhookChannel:
    """Send alerts as JSON, with a POST request.

    The body has `title`, `text`, `count` and `alerts`; each alert has the fields of `Alert`.

    Args:
        url: an http or https address.
        name: for the log; empty: the host.

    Raises:
        UsageError: it is no such address.
    """

    def __init__(self, url: str, name: str = "") -> None:
        self._url = SecretUrl(url, "WebhookChannel.url")
        if self._url.scheme not in {"http", "https"}:
            raise UsageError(f"WebhookChannel.url got a {self._url.scheme} address, wants http or https")
        self.name: str = name or f"webhook {self._url.host}"
        self._threads = Threads()

    def __repr__(self) -> str:
        return f"<WebhookChannel {self.name}>"

    async def send(self, message: Message) -> None:
        """See `Channel.send`."""
        headers = {"Content-Type": "application/json"}
        await request(self._threads, self._url, SEND_SECONDS, body=msgspec.json.encode(message), headers=headers)


class AppriseChannel:
    """Send alerts through apprise, which reaches more than a hundred services. It needs the extra ``trailing[alerts]``.

    Args:
        url: an address of apprise, such as ``tgram://…``.
        name: for the log; empty: the name of the service.

    Raises:
        UsageError: apprise can't parse the address, or is not installed.
    """

    def __init__(self, url: str, name: str = "") -> None:
        self._url = SecretUrl(url, "AppriseChannel.url")
        with _own_log() as said:
            apprise = _import_apprise()
            # Without a timeout of its own, apprise sends in the calling thread. Otherwise it would send in a pool of threads that
            # the process waits for at its end, however long a service hangs.
            self._client: Any = apprise.Apprise(asset=apprise.AppriseAsset(service_timeout=0))
            known = self._client.add(self._url.reveal())
        if not known:
            why = f": {self._clean(said[0])}" if said else ""
            raise UsageError(f"{name or 'an alert channel'}: apprise can't use the {self._url.scheme} address{why}")
        self.name: str = name or str(self._client[0].service_name or self._url.scheme)
        self._text: Any = apprise.NotifyFormat.TEXT
        self._threads = Threads()

    def __repr__(self) -> str:
        return f"<AppriseChannel {self.name}>"

    async def send(self, message: Message) -> None:
        """See `Channel.send`."""
        await self._threads.run(partial(self._send, message), SEND_SECONDS)

    def _send(self, message: Message) -> None:
        try:
            with _own_log() as said:
                is_sent = self._client.notify(title=message.title, body=message.text, body_format=self._text)
        except Exception as error:  # a bug of a plugin; its text and traceback may hold the address
            raise NotSent(self._clean(f"{type(error).__name__}: {error}")) from None
        if not is_sent:
            raise NotSent(self._clean(said[-1] if said else "apprise could not send it"))

    def _clean(self, text: str) -> str:
        return escaped(self._url.hide(text))


def make_channel(url: str, name: str = "") -> Channel:
    """Return the channel for an address.

    An http or https address is a plain JSON webhook, except those of Discord and Slack. Any other address is apprise's.

    Args:
        name: for the log and for errors; empty: chosen from the address.

    Raises:
        UsageError: no channel can use the address. The message does not show it.
    """
    secret = SecretUrl(url, f"the alert channel {name}" if name else "an alert channel")
    if secret.scheme in {"http", "https"} and secret.host not in NATIVE_HOSTS:
        return WebhookChannel(url, name)
    return AppriseChannel(url, name)


def _import_apprise() -> Any:
    try:
        import apprise  # noqa: PLC0415 - an extra, and importing it takes 0.2 s
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the package {error.name} is not installed. Install it with: pip install 'trailing[alerts]'"
        ) from None
    return apprise


@contextmanager
def _own_log() -> Iterator[list[str]]:
    """Collect the warnings that apprise logs in this thread, and keep all that it logs from the bot's log.

    apprise and its HTTP client log addresses, which hold credentials.
    """
    own, said = threading.get_ident(), list[str]()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != own:
            return True
        if record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return False

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(collect)
    try:
        yield said
    finally:
        for logger in loggers:
            logger.removeFilter(collect)
