"""A file that nobody can vouch for, decoded first where it cannot take the run down."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from s3pq_dagster.errors import MalformedObjectError, TrialError

_PROGRAM = Path(__file__).with_name("trial_process.py")
_POLL_SECONDS = 1.0
_REASON_CHARACTERS = 500
_FEWER = (1, 64, 65_536)
"""By what rows are divided, one attempt after another."""
_KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
"""Variables of the environment that it gets: none that may be a secret."""


def rows_after_trial(
    key: str,
    body: bytes | IO[bytes],
    rows_at_a_time: int,
    *,
    max_bytes: int,
    max_seconds: float,
    while_waiting: Callable[[], None] = lambda: None,
) -> int:
    """Decode an object to nothing in a process of its own, fewer rows at a time if need be.

    Args:
        key: The object's.
        body: Its bytes, or the file that holds them.
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
    with _as_file(key, body) as descriptor:
        trial = _Trial(key, descriptor, max_bytes, time.monotonic() + max_seconds, while_waiting)
        for rows in attempts if rows_at_a_time else [0]:
            found = trial.decode(rows)
            if found is None:
                reason = _too_slow(max_seconds)
                break
            if found["reason"] is not None:
                raise MalformedObjectError(key, found["reason"][:_REASON_CHARACTERS])
            if not found["too_large"]:
                return rows
            reason = found.get("died") or _too_large(max_bytes, rows)
    raise MalformedObjectError(key, reason)


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
        with self._process(rows) as process:
            while True:
                left = self.deadline - time.monotonic()
                if left <= 0:
                    return None
                try:
                    output, errors = process.communicate(timeout=min(_POLL_SECONDS, left))
                    break
                except subprocess.TimeoutExpired:
                    self.while_waiting()
        ready, _, answer = output.partition(b"\n")
        if ready != b"ready":
            found = errors.decode(errors="replace").strip()[-_REASON_CHARACTERS:]
            raise TrialError(self.key, found or _death(process.returncode))
        if not answer:
            return {"reason": None, "too_large": True, "died": _death(process.returncode)}
        finding: Mapping[str, Any] = json.loads(answer)
        if finding["machine"] is not None:
            raise TrialError(self.key, finding["machine"])
        return finding

    @contextmanager
    def _process(self, rows: int) -> Iterator[subprocess.Popen[bytes]]:
        """Start the process; it is gone when this ends, and when this process does."""
        arguments = [f"/dev/fd/{self.descriptor}", str(rows), str(self.max_bytes)]
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        # This pool reserves nothing ahead, so the limit is about what the file takes.
        environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"
        watched, held = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", str(_PROGRAM), *arguments],
                stdin=watched,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                pass_fds=[self.descriptor],
                start_new_session=True,
            )
        except OSError as error:
            os.close(held)
            raise TrialError(self.key, str(error)) from error
        finally:
            os.close(watched)
        with process:
            try:
                yield process
            finally:
                process.kill()
                os.close(held)


@contextmanager
def _as_file(key: str, body: bytes | IO[bytes]) -> Iterator[int]:
    """Give a descriptor from which another process can read the bytes."""
    if not isinstance(body, bytes):
        yield body.fileno()
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


def _death(code: int) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"it ended the process that decoded it for trial with {how}"


def _too_large(max_bytes: int, rows: int) -> str:
    return (
        f"decoding it takes more memory than max_decoded_bytes allows, a half of which "
        f"({max_bytes} bytes) is for that, even at {rows} rows a time; raise it if this machine "
        f"has the memory"
    )


def _too_slow(max_seconds: float) -> str:
    return f"decoding it takes longer than max_decode_seconds ({max_seconds:g}) allows"
