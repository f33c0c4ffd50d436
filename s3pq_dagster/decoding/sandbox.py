"""Decoding a suspicious file in a separate process first, where it cannot end the run."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from s3pq_dagster.errors import MalformedObjectError, TrialError

_PROGRAM = Path(__file__).with_name("sandbox_process.py")
_POLL_SECONDS = 1.0
"""Time between two calls of ``while_waiting``."""
_START_SECONDS = 60.0
_REASON_CHARACTERS = 500
_MOST_BYTES = 16 * 1024
"""Most bytes of an answer: twelve for each character of the reason, if JSON escapes them all."""
_DIVISORS = (1, 64, 65_536)
"""The number of rows is divided by these, one attempt after another."""
_KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
"""Environment variables that the process inherits: none that may hold a secret."""


def decode_in_sandbox(
    key: str,
    body: bytes | int,
    rows_at_a_time: int,
    *,
    max_bytes: int,
    max_seconds: float,
    while_waiting: Callable[[], None] = lambda: None,
) -> int:
    """Decode an object in another process and discard the rows; find out how many fit at a time.

    Args:
        key: The object's key.
        body: Its bytes, or the descriptor of the file that holds them.
        rows_at_a_time: Rows to decode at a time in the first attempt; 0 only opens the file.
        max_bytes: Most bytes of memory that decoding may take.
        max_seconds: Most seconds that all attempts together may take.
        while_waiting: Called about every second; what it raises ends the attempt.

    Returns:
        How many rows can be decoded at a time within the bound.

    Raises:
        MalformedObjectError: The object cannot be decoded, exceeds the bounds in every attempt, or
            killed the process.
        TrialError: The process or a temporary file could not be made. That says nothing about the
            object.
    """
    attempts = sorted({max(1, rows_at_a_time // by) for by in _DIVISORS}, reverse=True)
    with _as_file(key, body) as descriptor, _process_locked(while_waiting):
        deadline = time.monotonic() + max_seconds
        sandbox = _SandboxedDecode(key, descriptor, max_bytes, deadline, while_waiting)
        rows, reason = _first_that_fits(sandbox, attempts if rows_at_a_time else [0], max_seconds)
    if reason:
        raise MalformedObjectError(key, reason)
    return rows


def _first_that_fits(
    sandbox: "_SandboxedDecode", attempts: Sequence[int], max_seconds: float
) -> tuple[int, str]:
    """Try one number of rows after another; return the last, and why it failed if it did."""
    rows, reason = 0, ""
    for rows in attempts:
        found = sandbox.decode(rows)
        if found is None:
            return rows, reason_too_slow(max_seconds)
        if (reason := found.get("reason", "")) or not _is_too_large(found):
            break
        reason = (
            _reason_died(found["died"])
            if "died" in found
            else reason_too_large(sandbox.max_bytes, rows)
        )
    return rows, reason


def reason_too_large(max_bytes: int, rows: int) -> str:
    """Word the reason for an object that exceeds the bound of memory."""
    return (
        f"decoding it takes more memory than max_decoded_bytes allows, a half of which "
        f"({max_bytes} bytes) is for that, even at {rows} rows a time; raise it if this machine "
        f"has the memory"
    )


def reason_too_slow(max_seconds: float) -> str:
    """Word the reason for an object that exceeds the bound of time."""
    return f"decoding it takes longer than max_decode_seconds ({max_seconds:g}) allows"


def _is_too_large(found: Mapping[str, Any]) -> bool:
    return bool("died" in found or found.get("too_large"))


def _reason_died(code: int) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"it ended a process, the memory of which max_decoded_bytes limits, with {how}"


@dataclass(frozen=True, slots=True)
class _SandboxedDecode:
    """An object, and the bounds of decoding it in the sandbox."""

    key: str
    descriptor: int
    max_bytes: int
    deadline: float
    while_waiting: Callable[[], None]

    def decode(self, rows: int) -> Mapping[str, Any] | None:
        """Make one attempt, and return the answer; ``None`` if there is none by the deadline."""
        try:
            answer = self._request(rows)
        except OSError:  # the process has just ended, idle for too long perhaps: start another one
            try:
                answer = self._request(rows)
            except OSError as error:
                raise TrialError(self.key, str(error)) from error
        if answer is None:
            return None
        found: Mapping[str, Any] = json.loads(answer)
        if "machine" in found:
            raise TrialError(self.key, found["machine"])
        return found

    def _request(self, rows: int) -> bytes | None:
        """Send one request, and return the answer; a process that is late is ended."""
        answer = None
        try:
            connection = _SandboxProcess.connection(self.key)
            request = json.dumps([rows, self.max_bytes]).encode()
            socket.send_fds(connection, [request], [self.descriptor])
            answer = self._receive(connection)
        finally:
            if answer is None:
                _SandboxProcess.stop()
        return answer

    def _receive(self, connection: socket.socket) -> bytes | None:
        """Wait for the answer until the deadline.

        Raises:
            ConnectionError: The process has ended.
        """
        answer = b""
        while (left := self.deadline - time.monotonic()) > 0:
            connection.settimeout(min(_POLL_SECONDS, left))
            with suppress(TimeoutError):
                if not (more := connection.recv(_MOST_BYTES)):
                    raise ConnectionError("the process is gone")
                answer += more
                if answer.endswith(b"\n"):
                    return answer
                continue
            self.while_waiting()
        return None


class _SandboxProcess:
    """The one sandbox process, started when it is first needed and again when it has ended."""

    lock = threading.Lock()
    """Held while the process decodes: one object at a time."""
    _running: tuple[subprocess.Popen[bytes], socket.socket, int] | None = None
    """The process, the connection to it, and the process that started it."""

    @classmethod
    def connection(cls, key: str) -> socket.socket:
        """Return the connection to the process; start the process if none runs.

        Raises:
            TrialError: The process does not start.
        """
        if cls._running is not None:
            process, connection, owner = cls._running
            if owner == os.getpid() and process.poll() is None:
                return connection
            cls.stop()
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as errors:
            try:
                process = _start_process(theirs, errors)
            except BaseException:
                ours.close()
                raise
            cls._running = process, ours, os.getpid()
            ours.settimeout(_START_SECONDS)
            with suppress(TimeoutError):
                if ours.recv(_MOST_BYTES):
                    return ours
            cls.stop()
            errors.seek(0)
            found = errors.read().decode(errors="replace").strip()[-_REASON_CHARACTERS:]
        raise TrialError(key, f"the process did not start: {found or 'it wrote no error'}")

    @classmethod
    def stop(cls) -> None:
        """End the process and its fork, unless a parent of this process started it."""
        if cls._running is None:
            return
        (process, connection, owner), cls._running = cls._running, None
        connection.close()
        if owner != os.getpid():
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


atexit.register(_SandboxProcess.stop)


def _start_process(theirs: socket.socket, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # The system pool reserves no memory in advance, and there is one thread, so one stack: the
        # limit on memory then bounds what the file takes and little else.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(  # noqa: S603 - a file of this package
        [sys.executable, "-P", str(_PROGRAM)],
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
        start_new_session=True,
    )


@contextmanager
def _process_locked(while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the process for this thread, after waiting for other threads to finish with it."""
    while not _SandboxProcess.lock.acquire(timeout=_POLL_SECONDS):
        while_waiting()
    try:
        yield
    finally:
        _SandboxProcess.lock.release()


@contextmanager
def _as_file(key: str, body: bytes | int) -> Iterator[int]:
    """Yield a descriptor from which another process can read the bytes."""
    if isinstance(body, int):
        yield body
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(prefix="s3pq-", buffering=0))
            left = memoryview(body)
            while left:  # one write to a nearly full disk may write only a part
                left = left[file.write(left) :]
        except OSError as error:
            raise TrialError(key, str(error)) from error
        yield file.fileno()
