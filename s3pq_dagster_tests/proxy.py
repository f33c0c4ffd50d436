"""A reverse proxy that counts, delays and replaces answers in front of a real server."""

import http.client
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the proxy received it."""

    method: str
    bucket: str
    key: str
    """The object's key, decoded; empty for a listing."""
    query: dict[str, list[str]]
    range: str | None
    if_match: str | None
    authorization: str | None
    token: str | None
    """The session token."""

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and not self.key

    @property
    def is_object(self) -> bool:
        return self.method == "GET" and bool(self.key) and not self.is_look

    @property
    def is_look(self) -> bool:
        """Whether the request reads one byte to learn whether the object exists."""
        return self.range == "bytes=0-0" and self.if_match is None


@dataclass(slots=True)
class Answer:
    """An answer to send instead of forwarding the request."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Reply:
    """The server's answer, before it is sent to the client."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


Hook = Callable[[Request], Answer | None]


class Proxy:
    """Forward requests to ``upstream``, with their ``Host``, so that signatures stay valid."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        self.before: Hook = lambda _request: None
        """Called in the request's thread before forwarding; may wait or return an answer."""
        self.page_size: int | None = None
        """Most keys in a page of a listing, as S3 may return fewer than asked for; needs a server
        that does not check signatures."""
        self.in_flight = 0
        self.most_in_flight = 0
        """The highest number of concurrent object requests so far."""
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exit: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def listings(self) -> list[Request]:
        return [request for request in self.requests if request.is_listing]

    @property
    def object_reads(self) -> list[Request]:
        return [request for request in self.requests if request.is_object]

    def forget(self) -> None:
        """Forget the requests counted so far."""
        with self._lock:
            self.requests = []
            self.most_in_flight = 0

    def deliver(
        self,
        request: Request,  # noqa: ARG002 - for a proxy that does
        reply: Reply,  # noqa: ARG002
        handler: BaseHTTPRequestHandler,  # noqa: ARG002
    ) -> bool:
        """Send the answer to the client; return ``False`` to have it sent unchanged."""
        return False

    def answer(
        self, request: Request, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Record a request and return its answer."""
        with self._lock:
            self.requests.append(request)
            self.in_flight += request.is_object
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if (own := self.before(request)) is not None:
                length = {"Content-Length": str(len(own.body))}
                return own.status, list((length | own.headers).items()), own.body
            if request.is_listing and self.page_size is not None:
                path = re.sub(r"(?<=[?&]max-keys=)\d+", str(self.page_size), path)
            connection = http.client.HTTPConnection(self._upstream, timeout=60)
            try:
                connection.request(request.method, path, body=body or None, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()
        finally:
            with self._lock:
                self.in_flight -= request.is_object


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up, as they do after a timeout."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler_for(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else b""
            parts = urlsplit(self.path)
            _, bucket, *key = parts.path.split("/", 2)
            request = Request(
                method=self.command,
                bucket=bucket,
                key=unquote(key[0]) if key else "",
                query=parse_qs(parts.query, keep_blank_values=True),
                range=self.headers.get("Range"),
                if_match=self.headers.get("If-Match"),
                authorization=self.headers.get("Authorization"),
                token=self.headers.get("x-amz-security-token"),
            )
            status, headers, answer = proxy.answer(request, self.path, dict(self.headers), body)
            if proxy.deliver(request, Reply(status, headers, answer), self):
                return
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            if not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - http.server's names

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    return Handler
