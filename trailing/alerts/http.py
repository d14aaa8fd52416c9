"""HTTP requests with Python's own client, each in a worker thread with a deadline.

Alerts and the heartbeat need one small request now and then. A client that runs on trio itself would be one more dependency of
every bot. A request in a thread delays nothing: the caller stops waiting at its deadline, the thread ends by the timeout of its
socket, and a limiter bounds the number of threads that hang.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import trio

from trailing.alerts.secrets import SecretUrl
from trailing.errors import TrailingError

T = TypeVar("T")

SOCKET_SECONDS: Final = 15.0
"""Seconds that one operation on the socket may take."""

MOST_THREADS: Final = 2
"""The most threads for one address. If so many hang, a further request waits for one of them until its deadline."""

MOST_RETRY_AFTER: Final = 3600.0
"""The longest wait that a server can ask for, in seconds. A longer one would silence a channel."""


class NotSent(TrailingError):
    """A message was not sent, or its outcome is unknown.

    Attributes:
        retry_after: seconds that the receiver asks to wait; None: it does not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Threads:
    """Run blocking calls for one address in worker threads, at most `MOST_THREADS` at once."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(MOST_THREADS)

    async def run(self, call: Callable[[], T], seconds: float) -> T:
        """Return the result of a blocking call.

        Raises:
            NotSent: it did not return within `seconds`. Its thread goes on.

        Cancellation: ends the wait. The thread goes on, and ends with the process at the latest.
        """
        with trio.move_on_after(seconds):
            return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
        raise NotSent(f"no answer within {seconds:g} s")


async def request(
    threads: Threads,
    url: SecretUrl,
    seconds: float,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send a GET request, or a POST request with a body. Redirects are not followed.

    Args:
        seconds: until the answer has to be there.

    Raises:
        NotSent: the answer is no success, or there is none. The message holds no part of the address but its host.
    """
    await threads.run(partial(_request, url, min(seconds, SOCKET_SECONDS), body, headers or {}), seconds)


def _request(url: SecretUrl, timeout: float, body: bytes | None, headers: Mapping[str, str]) -> None:
    import urllib.error  # noqa: PLC0415 - importing it takes 30 ms, which a bot without such a channel need not wait for
    import urllib.request  # noqa: PLC0415

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        """Refuse redirects, because a POST would lose its body and the path may be a credential."""

        def redirect_request(self, *_: Any) -> None:
            """Return no further request."""

    address, authorization = _split_login(url.reveal())
    try:
        sent = urllib.request.Request(address, data=body, headers={**headers, **authorization})  # noqa: S310 - http or https: `make_channel`
        with urllib.request.build_opener(NoRedirect).open(sent, timeout=timeout):
            pass
    except urllib.error.HTTPError as error:
        with error:
            retry_after = read_retry_after(error.headers.get("Retry-After")) if error.code in {429, 503} else None
            message = f"{url.host} answered {error.code} {error.reason}"
        raise NotSent(url.hide(message), retry_after=retry_after) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotSent(url.hide(f"{url.host}: {type(reason).__name__}: {reason}")) from None


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date, at most `MOST_RETRY_AFTER`; None: it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(0.0, seconds), MOST_RETRY_AFTER) if seconds == seconds else None  # noqa: PLR0124 - not NaN


def _split_login(address: str) -> tuple[str, dict[str, str]]:
    """Return an address without its user and password, and the header that carries them."""
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return address, {}
    login, _, place = parts.netloc.rpartition("@")
    encoded = base64.b64encode(unquote(login).encode()).decode()
    return urlunsplit(parts._replace(netloc=place)), {"Authorization": f"Basic {encoded}"}
