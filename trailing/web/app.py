"""The page's application, from starlette: its files, the stream of frames, charts, metrics and health."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trailing.web.access import App, Message, Receive, Send, answer
from trailing.web.hub import Full, encode_frame
from trailing.web.metrics import CONTENT_TYPE, Metrics
from trailing.web.sources import Source

RENDER_SECONDS: Final = 1.0
"""For so long a rendering of the metrics is used again, so that many readers take little of the bot's processor time."""

_KINDS: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "uPlot.min.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "uPlot.iife.min.js": "text/javascript; charset=utf-8",
    "uPlot-LICENSE.txt": "text/plain; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The page's files. Nothing else on the disk can be requested, because they are read once, by these names."""


def make_app(source: Source, metrics: Metrics) -> App:
    """Return the application that shows a source."""
    folder = files("trailing.web") / "static"
    contents = {name: (folder / name).read_bytes() for name in _KINDS}
    rendered: tuple[float, bytes] | None = None

    async def page(_: Request) -> Response:
        return _file("index.html")

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        return _file(name) if name in contents else Response("no such file", 404)

    def _file(name: str) -> Response:
        return Response(contents[name], headers={"content-type": _KINDS[name]})

    async def chart(request: Request) -> Response:
        found = source.chart(request.path_params["key"])
        return Response("no such position", 404) if found is None else _json(found)

    async def show_metrics(_: Request) -> Response:
        nonlocal rendered
        now = trio.current_time()
        if rendered is None or now >= rendered[0] + RENDER_SECONDS:
            rendered = now, metrics.render(source.values())
        return Response(rendered[1], headers={"content-type": CONTENT_TYPE})

    async def health(_: Request) -> Response:
        problems = source.problems()
        return JSONResponse({"ok": not problems, "problems": problems}, 503 if problems else 200)

    return Starlette(
        routes=[
            Route("/", page, methods=["GET"]),
            Route("/static/{name}", static, methods=["GET"]),
            Route("/stream", _Stream(source)),
            Route("/chart/{key}", chart, methods=["GET"]),
            Route("/metrics", show_metrics, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
        ]
    )


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), headers={"content-type": "application/json"})


class _Stream:
    """The stream of frames, as server-sent events, until the client has gone."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def __call__(self, _: Message, receive: Receive, send: Send) -> None:
        try:
            async with self._source.hub.connect() as frames:
                first = encode_frame("whole", self._source.whole())  # at once, so that no frame is before it
                kind = (b"content-type", b"text/event-stream; charset=utf-8")
                await send({"type": "http.response.start", "status": 200, "headers": [kind]})
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_send_all, first, frames, send, nursery.cancel_scope)
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    nursery.cancel_scope.cancel()
        except Full:
            await answer(send, 503, "too many pages are open")


async def _send_all(first: bytes, frames: trio.MemoryReceiveChannel[bytes], send: Send, stop: trio.CancelScope) -> None:
    await send({"type": "http.response.body", "body": first, "more_body": True})
    async for frame in frames:
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    await send({"type": "http.response.body", "body": b""})  # it reads too slowly, and connects again
    stop.cancel()
