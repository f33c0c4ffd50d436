"""A file that nobody can vouch for, decoded first where it cannot take the run down."""

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from s3pq_dagster.errors import MalformedObjectError, TrialError

_PROGRAM = Path(__file__).with_name("sandbox_process.py")
_POLL_SECONDS = 1.0
_START_SECONDS = 60.0
_REASON_CHARACTERS = 500
_MOST_BYTES = 16 * 1024
"""Of an answer: twelve for each character of the reason, if JSON escapes all of them."""
_FEWER = (1, 64, 65_536)
"""By what rows are divided, one attempt after another."""
_KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
"""Variables of the environment that the process gets: none that may be a secret."""


def rows_after_trial(
    key: str,
    body: bytes | int,
    rows_at_a_time: int,
    *,
    max_bytes: int,
    max_seconds: float,
    while_waiting: Callable[[], None] = lambda: None,
) -> int:
    """Decode an object to nothing in another process, fewer rows at a time if need be.

    Args:
        key: The object's.
        body: Its bytes, or the descriptor of the file that holds them.
        rows_at_a_time: How many rows to decode at a time; 0 only opens it.
        max_bytes: What decoding may take.
        max_seconds: How long all attempts together may take.
        while_waiting: Called every second or so; what it raises ends the trial.

    Returns:
        How many rows at a time are safe.

    Raises:
        MalformedObjectError: It cannot be decoded, takes more than the bounds whatever is tried, or
            killed the process.
        TrialError: No process could be started, or no file be made: nothing is wrong with the
            object.
    """
    attempts = sorted({max(1, rows_at_a_time // by) for by in _FEWER}, reverse=True)
    reason = ""
    with _as_file(key, body) as descriptor, _turn(while_waiting):
        trial = _Trial(key, descriptor, max_bytes, time.monotonic() + max_seconds, while_waiting)
        for rows in attempts if rows_at_a_time else [0]:
            found = trial.decode(rows)
            if found is None:
                reason = too_slow(max_seconds)
                break
            if (reason := found.get("reason", "")) or not _is_too_large(found):
                break
            reason = _death(found["died"]) if "died" in found else too_large(max_bytes, rows)
    if reason:
        raise MalformedObjectError(key, reason)
    return rows


def too_large(max_bytes: int, rows: int) -> str:
    """Say which bound of memory an object breaks."""
    return (
        f"decoding it takes more memory than max_decoded_bytes allows, a half of which "
        f"({max_bytes} bytes) is for that, even at {rows} rows a time; raise it if this machine "
        f"has the memory"
    )


def too_slow(max_seconds: float) -> str:
    """Say which bound of time an object breaks."""
    return f"decoding it takes longer than max_decode_seconds ({max_seconds:g}) allows"


def _is_too_large(found: Mapping[str, Any]) -> bool:
    return bool("died" in found or found.get("too_large"))


def _death(code: int) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"it ended a process, the memory of which max_decoded_bytes limits, with {how}"


@dataclass(frozen=True, slots=True)
class _Trial:
    """An object and what its decoding may take."""

    key: str
    descriptor: int
    max_bytes: int
    deadline: float
    while_waiting: Callable[[], None]

    def decode(self, rows: int) -> Mapping[str, Any] | None:
        """Make one attempt; ``None`` when it is not over by the deadline."""
        try:
            answer = self._asked(rows)
        except OSError:  # it went just now, for want of work say: a new one is asked
            try:
                answer = self._asked(rows)
            except OSError as error:
                raise TrialError(self.key, str(error)) from error
        if answer is None:
            return None
        found: Mapping[str, Any] = json.loads(answer)
        if "machine" in found:
            raise TrialError(self.key, found["machine"])
        return found

    def _asked(self, rows: int) -> bytes | None:
        """Ask a process that runs; one that does not answer in time is ended."""
        answer = None
        try:
            connection = _Server.connection(self.key)
            request = json.dumps([rows, self.max_bytes]).encode()
            socket.send_fds(connection, [request], [self.descriptor])
            answer = self._answer(connection)
        finally:
            if answer is None:
                _Server.stop()
        return answer

    def _answer(self, connection: socket.socket) -> bytes | None:
        """Wait until the deadline.

        Raises:
            ConnectionError: The process is gone.
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


class _Server:
    """The process, started when it is first needed, and again when it went for want of work."""

    lock = threading.Lock()
    _running: tuple[subprocess.Popen[bytes], socket.socket, int] | None = None

    @classmethod
    def connection(cls, key: str) -> socket.socket:
        """Give the connection to a process that runs.

        Raises:
            TrialError: It does not start.
        """
        if cls._running is not None:
            process, connection, owner = cls._running
            if owner == os.getpid() and process.poll() is None:
                return connection
            cls.stop()
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as errors:
            try:
                process = _started(theirs, errors)
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
        raise TrialError(key, f"it did not start: {found or 'no word of it'}")

    @classmethod
    def stop(cls) -> None:
        """End the process and its fork; one that another process started is left to that."""
        if cls._running is None:
            return
        (process, connection, owner), cls._running = cls._running, None
        connection.close()
        if owner != os.getpid():
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


atexit.register(_Server.stop)


def _started(theirs: socket.socket, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # This pool reserves nothing ahead, so the limit is about what the file takes; nor does one
        # thread, of which each takes its stack.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", str(_PROGRAM)],
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
        start_new_session=True,
    )


@contextmanager
def _turn(while_waiting: Callable[[], None]) -> Iterator[None]:
    """Wait until no other thread has something tried."""
    while not _Server.lock.acquire(timeout=_POLL_SECONDS):
        while_waiting()
    try:
        yield
    finally:
        _Server.lock.release()


@contextmanager
def _as_file(key: str, body: bytes | int) -> Iterator[int]:
    """Give a descriptor from which another process can read the bytes."""
    if isinstance(body, int):
        yield body
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(prefix="s3pq-", buffering=0))
            left = memoryview(body)
            while left:  # a disk that is nearly full takes less than all
                left = left[file.write(left) :]
        except OSError as error:
            raise TrialError(key, str(error)) from error
        yield file.fileno()
