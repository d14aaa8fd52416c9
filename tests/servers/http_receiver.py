"""An HTTP server on 127.0.0.1 that answers as a test says, on threads of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def refusal(status: str, *headers: str) -> bytes:
    """An answer without a body."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "Connection: close", "", ""]).encode()


@dataclass
class Receiver:
    """The server.

    Attributes:
        url: of the server, with a path that is a secret.
        answers: one for each request, the last one for all further; None: no answer ever comes.
        requests: the head and the body of each.
    """

    port: int
    answers: Sequence[bytes | None]
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    hanging: list[socket.socket] = field(default_factory=list)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/s3cr3t-path"

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many more requests came."""
        for _ in range(count):
            assert self.came.acquire(timeout=20)

    def answer(self, client: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ),
            0,
        )
        while len(body) < length:
            body += client.recv(65536)
        reply = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append((head.decode(), body))
        if reply is None:
            self.hanging.append(client)
        else:
            client.sendall(reply)
            client.close()
        self.came.release()


@contextmanager
def receiver(*answers: bytes | None) -> Iterator[Receiver]:
    """A server that gives these answers, by default always OK. At the end, connections without an answer are closed."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        found = Receiver(server.getsockname()[1], answers or (OK,))

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=found.answer, args=(client,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for client in found.hanging:
                client.close()
