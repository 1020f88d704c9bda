"""A file server on loopback that does, request after request, what it is told to: also what no server should."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

Act = Callable[["Request"], None]


@dataclass
class Request:
    """One request and the connection it came by. Nothing is kept alive."""

    path: str
    headers: dict[str, str]
    connection: socket.socket
    ended: threading.Event
    """Set when the server closes."""

    def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        self.connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)

    @property
    def first_byte(self) -> int | None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(found[1]) if found else None


@dataclass
class File:
    """A file as a good server serves it; `drop_after`, `length` and the rest make it a bad one."""

    content: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    if_range: bool = True
    drop_after: int | None = None
    """Bytes of the body that are sent before the connection is closed."""
    length: int | None = None
    """What Content-Length says."""
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: Request) -> None:
        headers = {"ETag": self.etag} if self.etag else {}
        headers |= self.headers
        first = request.first_byte if self.ranges else None
        if self.if_range and request.headers.get("if-range") not in (None, self.etag):
            first = None
        if first is not None and first >= len(self.content):
            request.send(416, {**headers, "Content-Range": f"bytes */{len(self.content)}", "Content-Length": "0"})
            return
        body = self.content[first or 0 :]
        if first is not None:
            headers["Content-Range"] = f"bytes {first}-{len(self.content) - 1}/{len(self.content)}"
        headers["Content-Length"] = str(len(body) if self.length is None else self.length)
        request.send(
            200 if first is None else 206, headers, body if self.drop_after is None else body[: self.drop_after]
        )


def of_hub(content: bytes, **more: str) -> dict[str, str]:
    """What the hub says of a large file: the sha256 of its content."""
    digest = hashlib.sha256(content).hexdigest()
    return {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": "c0ffee", **more}


def status(code: int, **headers: str) -> Act:
    return lambda request: request.send(
        code, {"Content-Length": "0", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


def silence(request: Request) -> None:
    request.ended.wait()


def drip(content: bytes, every_s: float) -> Act:
    """A byte now and then, for as long as the client stays."""

    def act(request: Request) -> None:
        request.send(200, {"Content-Length": str(len(content)), "ETag": '"drip"'})
        for value in content:
            if request.ended.wait(every_s):
                return
            request.connection.sendall(bytes([value]))

    return act


class MisbehavingServer:
    """`acts[path]` are done one after the other, the last one for ever; `requests` is what came."""

    def __init__(self) -> None:
        self.acts: dict[str, list[Act]] = {}
        self.requests: list[Request] = []
        self._ended = threading.Event()
        server = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                server._answer(self.request)

        class Server(ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that go away are what this is for."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, path: str, *acts: Act) -> str:
        self.acts[path] = list(acts)
        return self.url + path

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                return
            received += more
        head, *lines = received.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        path = head.split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        request = Request(path, headers, connection, self._ended)
        self.requests.append(request)
        acts = self.acts.get(path, [status(404)])
        (acts.pop(0) if len(acts) > 1 else acts[0])(request)
