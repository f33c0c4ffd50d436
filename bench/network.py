"""A simulated network to a server on this machine: requests are delayed, bytes are paced.

A process of its own, and the bytes never enter it: the kernel moves them from socket to socket, so
that a contender is measured and not what stands between it and S3.
"""

import ctypes
import multiprocessing
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from urllib.parse import urlsplit

BYTES_PER_SECOND = 85_000_000
"""Bytes per second of one connection; AWS's guidelines say 85 to 90 MB/s per request."""
_MOVED_AT_ONCE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Network:
    """The simulated network, and the requests it carried."""

    endpoint: str
    _latency: "Synchronized[float]"
    _requests: "Synchronized[int]"

    def set(self, latency_seconds: float) -> None:
        """Set the delay of each request, and reset the count."""
        self._latency.value = latency_seconds
        with self._requests.get_lock():
            self._requests.value = 0

    @property
    def requests(self) -> int:
        """The number of requests since :meth:`set`."""
        return self._requests.value


@contextmanager
def network(server: str) -> Iterator[Network]:
    """Forward connections from a free port to ``server`` until the block ends."""
    context = multiprocessing.get_context("spawn")
    latency = context.Value(ctypes.c_double, 0.0)
    requests = context.Value(ctypes.c_long, 0)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_listen, args=(urlsplit(server).netloc, latency, requests, sender), daemon=True
    )
    process.start()
    try:
        yield Network(f"http://127.0.0.1:{receiver.recv()}", latency, requests)
    finally:
        process.kill()  # SIGTERM may be ignored here, and a child inherits that
        process.join()


def _listen(
    server: str,
    latency: "Synchronized[float]",
    requests: "Synchronized[int]",
    started: "Connection[int, None]",
) -> None:
    host, port = server.split(":")
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        started.send(listener.getsockname()[1])
        while True:
            client, _ = listener.accept()
            way = _Way(client, (host, int(port)), latency, requests)
            threading.Thread(target=way.run, daemon=True).start()


class _Way:
    """A connection through the network."""

    def __init__(
        self,
        client: socket.socket,
        server: tuple[str, int],
        latency: "Synchronized[float]",
        requests: "Synchronized[int]",
    ) -> None:
        self._client = client
        self._address = server
        self._latency = latency
        self._requests = requests
        self._due = 0.0
        """The earliest time at which the bytes so far may arrive."""

    def run(self) -> None:
        read, write = os.pipe()
        with suppress(OSError), self._client, socket.create_connection(self._address) as server:
            for one in (self._client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._relay(server, read, write)
        os.close(read)
        os.close(write)

    def _relay(self, server: socket.socket, read: int, write: int) -> None:
        ready = select.poll()
        ready.register(self._client, select.POLLIN)
        ready.register(server, select.POLLIN)
        asked = False
        while True:
            for number, _ in ready.poll():
                if number == self._client.fileno():
                    if not asked and self._client.recv(1, socket.MSG_PEEK):
                        self._wait()
                    asked = True
                    moved = _move(self._client, server, read, write)
                else:
                    asked = False
                    moved = _move(server, self._client, read, write)
                    self._pace(moved)
                if not moved:
                    return

    def _wait(self) -> None:
        """Delay a new request."""
        with self._requests.get_lock():
            self._requests.value += 1
        time.sleep(self._latency.value)
        self._due = time.monotonic()

    def _pace(self, moved: int) -> None:
        self._due += moved / BYTES_PER_SECOND
        if (early := self._due - time.monotonic()) > 0:
            time.sleep(early)


def _move(source: socket.socket, target: socket.socket, read: int, write: int) -> int:
    """Move the bytes that are ready; return how many, 0 at the end."""
    moved = os.splice(source.fileno(), write, _MOVED_AT_ONCE)
    left = moved
    while left:
        left -= os.splice(read, target.fileno(), left)
    return moved
