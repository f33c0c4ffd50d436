"""Decoding a file in a separate process first, and what may happen to that process."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from s3pq_dagster.decoding.sandbox import decode_in_sandbox
from s3pq_dagster.errors import MalformedObjectError, ReadAbandonedError, TrialError
from s3pq_dagster_tests.buckets import numbers, parquet
from s3pq_dagster_tests.malformed.bombs import BOMBS

MIB = 1024 * 1024
SECRET = "canary-secret-in-the-environment"
SECONDS = 60.0


def tried(body: bytes, rows: int = 65_536, *, mib: int = 32, seconds: float = SECONDS) -> int:
    """Decode bytes in the sandbox under a bound of memory."""
    return decode_in_sandbox("k", body, rows, max_bytes=mib * MIB, max_seconds=seconds)


def children(process: int | str = "self") -> set[int]:
    """Return the ids of a process's children that still exist."""
    found: set[int] = set()
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that ended meanwhile
            found |= set(map(int, (thread / "children").read_text(encoding="ascii").split()))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def is_alive(process: int) -> bool:
    """Return whether a process runs."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] != "Z"


def test_a_good_file_passes() -> None:
    """The requested number of rows at a time is returned."""
    assert tried(parquet(numbers(1000)), 500) == 500


def test_a_spooled_file_is_read_where_it_lies() -> None:
    """A large object's bytes are not copied: the sandbox process gets the open file."""
    with tempfile.TemporaryFile() as spool:
        spool.write(parquet(numbers(1000)))
        spool.flush()
        assert (
            decode_in_sandbox("k", spool.fileno(), 7, max_bytes=32 * MIB, max_seconds=SECONDS) == 7
        )


def test_fewer_rows_are_tried_when_many_are_too_many() -> None:
    """A prefix that each value repeats fits one row at a time."""
    assert tried(BOMBS["a long prefix repeated"].make()) == 1


def test_what_cannot_be_decoded_is_malformed_for_that_reason() -> None:
    """The reason is pyarrow's error."""
    body = parquet(numbers(1000), compression="none", use_dictionary=False)
    with pytest.raises(MalformedObjectError, match="Invalid UTF8"):
        tried(body.replace(b"row 7", b"\xff" * 5))


def test_what_is_too_large_is_malformed_and_names_the_bound() -> None:
    """The object exceeds the bound even one row at a time."""
    with pytest.raises(MalformedObjectError, match="max_decoded_bytes"):
        tried(BOMBS["a list of very many values"].make())


def test_a_footer_is_tried_without_the_rows() -> None:
    """With 0 rows at a time, only the footer is parsed."""
    with pytest.raises(MalformedObjectError, match="max_decoded_bytes"):
        tried(BOMBS["a schema of very many columns"].make(), 0)


def test_what_takes_too_long_is_malformed_and_names_the_bound() -> None:
    """An object that never ends does not hold the run up."""
    with pytest.raises(MalformedObjectError, match="max_decode_seconds"):
        tried(BOMBS["rows without end"].make(), seconds=0.5)


def test_the_next_object_is_tried_after_one_that_was_stopped() -> None:
    """A process that was ended is started again."""
    with pytest.raises(MalformedObjectError):
        tried(BOMBS["rows without end"].make(), seconds=0.2)
    assert tried(parquet(numbers(10)), 500) == 500


def test_the_next_object_is_tried_after_the_process_was_killed() -> None:
    """The run goes on when the process was killed, by a system short of memory for example."""
    tried(parquet(numbers(10)))
    (process,) = servers()
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: not is_alive(process))
    assert tried(parquet(numbers(10)), 500) == 500


def test_a_cancelled_run_does_not_wait_for_the_sandbox() -> None:
    """An exception from `while_waiting` ends the process."""

    def cancelled() -> None:
        raise ReadAbandonedError

    body = BOMBS["rows without end"].make()
    with pytest.raises(ReadAbandonedError):
        decode_in_sandbox(
            "k", body, 9999, max_bytes=MIB, max_seconds=SECONDS, while_waiting=cancelled
        )
    assert servers() == set()


def test_no_room_for_a_temporary_file_is_not_the_objects_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A good object is not quarantined because the disk is full."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(TrialError, match=r"'k'.*No such file"):
        tried(parquet(numbers(10)))


def test_a_process_that_cannot_start_is_not_the_objects_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names the program that could not be started."""
    with pytest.raises(MalformedObjectError):  # so that no sandbox process is running
        tried(BOMBS["rows without end"].make(), seconds=0.2)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(TrialError, match="/nowhere/python"):
        tried(parquet(numbers(10)))


@pytest.fixture
def run() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process whose sandbox decodes an object that never ends."""
    program = """
import signal
from s3pq_dagster_tests.unit.decoding.test_sandbox import BOMBS, tried
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
tried(BOMBS["rows without end"].make(), seconds=600)
"""
    environment = os.environ | {"AWS_SECRET_ACCESS_KEY": SECRET}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        yield process
        process.kill()


def sandbox_of(process: int) -> tuple[int, int]:
    """Wait until a process's sandbox decodes; return the sandbox process and its fork."""
    wait_until(lambda: bool(servers(process)))
    (server,) = servers(process)
    wait_until(lambda: bool(children(server)))
    return server, children(server).pop()


def servers(process: int | str = "self") -> set[int]:
    """Return the ids of a process's sandbox processes; it has other children while it starts."""
    return {child for child in children(process) if b"sandbox_process" in command_of(child)}


def command_of(process: int) -> bytes:
    """Return a process's command line; empty if the process has ended."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def test_no_secret_gets_into_the_process(run: subprocess.Popen[bytes]) -> None:
    """The sandbox inherits what Python needs, and none of the run's credentials."""
    for process in sandbox_of(run.pid):
        environment = Path(f"/proc/{process}/environ").read_bytes()
        assert SECRET.encode() not in environment
        assert b"AWS_" not in environment


@pytest.mark.thorough
def test_the_process_dies_with_the_run(run: subprocess.Popen[bytes]) -> None:
    """A run that is killed leaves no process behind."""
    processes = sandbox_of(run.pid)
    run.kill()
    run.wait()
    wait_until(lambda: not any(map(is_alive, processes)))


def test_an_interrupt_is_for_the_run_alone(run: subprocess.Popen[bytes]) -> None:
    """The sandbox ignores interrupts; the run ends it."""
    server, fork = sandbox_of(run.pid)
    os.kill(server, signal.SIGINT)
    os.kill(fork, signal.SIGINT)
    assert is_alive(server)
    assert is_alive(fork)
    run.send_signal(signal.SIGINT)
    run.wait()
    wait_until(lambda: not is_alive(server) and not is_alive(fork))


def test_the_bytes_may_be_of_any_size() -> None:
    """Objects larger than the buffer of a pipe or a socket are decoded."""
    table = pa.table({"c": [os.urandom(MIB) for _ in range(3)]})
    assert tried(parquet(table, compression="none", use_dictionary=False), 5) == 5


def test_a_long_reason_is_cut() -> None:
    """A long reason is cut, since it is stored in the ledger."""
    column = "x" * 100_000
    body = parquet(pa.table({column: ["row 7"] * 9}), use_dictionary=False)
    with pytest.raises(MalformedObjectError) as caught:
        tried(body[:4] + b"\xff" * 60 + body[64:])
    assert len(caught.value.reason) <= 500


def test_a_reason_may_have_any_characters() -> None:
    """Characters that JSON escapes to twelve bytes make an answer larger than a pipe's page."""
    column = pa.struct([("\N{GRINNING FACE}" * 1000, pa.int32())])
    metadata = {"ARROW:extension:name": "arrow.bool8", "ARROW:extension:metadata": ""}
    schema = pa.schema([pa.field("c", column, metadata=metadata)])
    with pytest.raises(MalformedObjectError) as caught:
        tried(parquet(pa.table([pa.array([None], column)], schema=schema)))
    assert caught.value.reason.endswith("\N{GRINNING FACE}")
