"""A proxy that makes faults, down to the socket."""

import os
import re
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from random import Random

from s3pq_dagster_tests.faults.plan import Kind, Plan
from s3pq_dagster_tests.proxy import Proxy, Reply, Request

PAGE = 5
"""Keys a page, so that a small bucket has many of them."""
_HTML = b"<!doctype html><html><body><h1>Please log in</h1><p>to use this network<br></body></html>"
_ANSWERS = {
    Kind.INTERNAL_ERROR: (500, "InternalError"),
    Kind.SLOW_DOWN: (503, "SlowDown"),
    Kind.TOO_MANY: (429, "TooManyRequests"),
    Kind.FORBIDDEN: (403, "AccessDenied"),
    Kind.EXPIRED: (400, "ExpiredToken"),
    Kind.TOKEN_REFUSED: (400, "InvalidArgument"),
}
_LIFTED_SECONDS = 90


class FaultyProxy(Proxy):
    """Forwards requests, and breaks the answers of those that a plan hits.

    Its listings have :data:`PAGE` keys a page; so the server behind must not check signatures.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.page_size = PAGE
        self.plan: Plan | None = None
        self.change: Callable[[Request, Random], None] = lambda _request, _chance: None
        """Called to overwrite, add or delete objects during a request."""
        self.slow_seconds = 1.0
        self.stalled_seconds = 15.0
        """Longer than the package's time limit."""
        self.lifted = threading.Event()
        self._first_page = b""

    def __exit__(self, *_exit: object) -> None:
        self.lifted.set()
        super().__exit__(*_exit)

    def lift(self) -> None:
        """Stop making faults, and end stalled requests."""
        self.plan = None
        self.lifted.set()

    def answer(
        self, request: Request, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        plan = self.plan
        changing = plan is not None and plan.kind in (Kind.OVERWRITTEN, Kind.CHANGING)
        if plan is not None and changing and (chance := plan.falls_on(request)) is not None:
            self.change(request, chance)
        return super().answer(request, path, headers, body)

    def deliver(self, request: Request, reply: Reply, handler: BaseHTTPRequestHandler) -> bool:
        plan = self.plan
        if plan is None or plan.kind in (Kind.OVERWRITTEN, Kind.CHANGING):
            return False
        if request.is_listing and "continuation-token" not in request.query:
            self._first_page = reply.body
        if plan.kind is Kind.TOKEN_REFUSED and "continuation-token" not in request.query:
            return False
        if (chance := plan.falls_on(request)) is None:
            return False
        self._break(plan.kind, reply, handler, chance)
        return True

    def _break(
        self, kind: Kind, reply: Reply, handler: BaseHTTPRequestHandler, chance: Random
    ) -> None:
        if kind in (Kind.SLOW, Kind.TOO_SLOW):
            self.lifted.wait(self.slow_seconds if kind is Kind.SLOW else self.stalled_seconds)
        elif kind in _BODIES:
            reply = _BODIES[kind](reply, chance)
        elif kind is Kind.PAGE_AGAIN:
            reply = Reply(reply.status, reply.headers, self._first_page)
        elif kind in _ANSWERS:
            reply = _error(*_ANSWERS[kind])
        head, body = _raw(reply), reply.body
        match kind:
            case Kind.GARBAGE:
                head, body = b"\x16\x03\x01 this is no HTTP\r\n\r\n", b""
            case Kind.RESET_IN_HEADERS:
                head, body = head[: len(head) // 2], b""
            case Kind.TRUNCATED | Kind.RESET_IN_BODY | Kind.STALLED:
                body = body[: len(body) // 2]
            case Kind.SHORT_LENGTH:
                head = _raw(reply, length=len(body) // 2)
        self._send(kind, head + body, handler)

    def _send(self, kind: Kind, data: bytes, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        try:
            handler.wfile.write(data)
        except OSError:  # the client has given up
            return
        if kind is Kind.STALLED:
            self.lifted.wait(self.stalled_seconds)
        if kind in (Kind.RESET_IN_HEADERS, Kind.RESET_IN_BODY):
            _reset(handler.connection)


def _reset(connection: socket.socket) -> None:
    """Close a connection with RST instead of FIN: SO_LINGER of 0 seconds (socket(7))."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def _raw(reply: Reply, length: int | None = None) -> bytes:
    """Write status line and headers."""
    skipped = ("transfer-encoding", "connection", "content-length")
    lines = [f"HTTP/1.1 {reply.status} Said"]
    lines += [f"{name}: {value}" for name, value in reply.headers if name.lower() not in skipped]
    lines += [f"Content-Length: {len(reply.body) if length is None else length}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def _error(status: int, code: str) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>made by a test</Message></Error>".encode()
    return Reply(status, [("Content-Type", "application/xml")], body)


def _html(status: int) -> Callable[[Reply, Random], Reply]:
    return lambda _reply, _chance: Reply(status, [("Content-Type", "text/html")], _HTML)


def _short(reply: Reply, chance: Random) -> Reply:
    return Reply(reply.status, reply.headers, reply.body[: chance.randrange(len(reply.body))])


def _flipped(reply: Reply, chance: Random) -> Reply:
    body = bytearray(reply.body)
    body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    return Reply(reply.status, reply.headers, bytes(body))


def _tokenless(reply: Reply, _chance: Random) -> Reply:
    body = re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", b"", reply.body)
    body = re.sub(rb"<IsTruncated>.*?</IsTruncated>", b"<IsTruncated>true</IsTruncated>", body)
    return Reply(reply.status, reply.headers, body)


def _emptied(reply: Reply, _chance: Random) -> Reply:
    body = re.sub(rb"<Contents>.*</Contents>", b"", reply.body, flags=re.DOTALL)
    body = re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", b"", body)
    body = re.sub(rb"<IsTruncated>.*?</IsTruncated>", b"<IsTruncated>false</IsTruncated>", body)
    body = re.sub(rb"<KeyCount>.*?</KeyCount>", b"<KeyCount>0</KeyCount>", body)
    return Reply(reply.status, reply.headers, body)


_BODIES: dict[Kind, Callable[[Reply, Random], Reply]] = {
    Kind.SHORT: _short,
    Kind.HTML: _html(200),
    Kind.NOT_FOUND: _html(404),
    Kind.FLIPPED: _flipped,
    Kind.FLIPPED_SAME: _flipped,
    Kind.NO_TOKEN: _tokenless,
    Kind.EMPTY_PAGE: _emptied,
}
