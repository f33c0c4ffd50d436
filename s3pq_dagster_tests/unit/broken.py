"""A server that says exactly the bytes it is told, and hangs up."""

import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Said:
    """The server's address and how often it was asked."""

    endpoint: str
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def saying(answers: Sequence[bytes]) -> Iterator[Said]:
    """Serve raw answers, one a connection, the last one again and again."""
    said = Said("")

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while line := self.rfile.readline():
                head += line
                if line == b"\r\n":
                    break
            if not head:
                return
            answer = answers[min(len(said.requests), len(answers) - 1)]
            said.requests.append(head)
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        said.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield said
        finally:
            server.shutdown()
            thread.join()


def http(
    body: bytes, *, status: str = "200 OK", length: int | None = None, **headers: str
) -> bytes:
    """Write an HTTP answer; ``length`` may lie about the body."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body
