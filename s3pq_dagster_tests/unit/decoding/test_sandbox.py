"""A file decoded first in another process, and what may happen to that."""

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
    """Try bytes under a bound."""
    return decode_in_sandbox("k", body, rows, max_bytes=mib * MIB, max_seconds=seconds)


def children(process: int | str = "self") -> set[int]:
    """Name the processes that a process has started and that are there."""
    found: set[int] = set()
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that ended meanwhile
            found |= set(map(int, (thread / "children").read_text(encoding="ascii").split()))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll for what has to come."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def is_alive(process: int) -> bool:
    """Tell whether a process runs."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] != "Z"


def test_a_good_file_passes() -> None:
    """As many rows at a time as were asked for are safe."""
    assert tried(parquet(numbers(1000)), 500) == 500


def test_a_spooled_file_is_read_where_it_lies() -> None:
    """A large object's bytes are not copied: the process gets the open file."""
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
    """The reason is the decoder's."""
    body = parquet(numbers(1000), compression="none", use_dictionary=False)
    with pytest.raises(MalformedObjectError, match="Invalid UTF8"):
        tried(body.replace(b"row 7", b"\xff" * 5))


def test_what_is_too_large_is_malformed_and_names_the_bound() -> None:
    """Even a row at a time."""
    with pytest.raises(MalformedObjectError, match="max_decoded_bytes"):
        tried(BOMBS["a list of very many values"].make())


def test_a_footer_is_tried_without_the_rows() -> None:
    """A file that says it has many columns is parsed, and no more."""
    with pytest.raises(MalformedObjectError, match="max_decoded_bytes"):
        tried(BOMBS["a schema of very many columns"].make(), 0)


def test_what_takes_too_long_is_malformed_and_names_the_bound() -> None:
    """An object of which nobody sees the end does not hold the run up."""
    with pytest.raises(MalformedObjectError, match="max_decode_seconds"):
        tried(BOMBS["rows without end"].make(), seconds=0.5)


def test_the_next_object_is_tried_after_one_that_was_stopped() -> None:
    """A process that was ended is started again."""
    with pytest.raises(MalformedObjectError):
        tried(BOMBS["rows without end"].make(), seconds=0.2)
    assert tried(parquet(numbers(10)), 500) == 500


def test_the_next_object_is_tried_after_the_process_was_killed() -> None:
    """Whoever kills it, the system short of memory say, does not stop the run."""
    tried(parquet(numbers(10)))
    (process,) = servers()
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: not is_alive(process))
    assert tried(parquet(numbers(10)), 500) == 500


def test_a_cancelled_run_does_not_wait_for_a_trial() -> None:
    """What is raised while it waits ends the trial, and the process is gone."""

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
    """It would be quarantined, and its rows be missing though nothing is wrong with it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(TrialError, match=r"'k'.*No such file"):
        tried(parquet(numbers(10)))


def test_a_process_that_cannot_start_is_not_the_objects_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says what was tried."""
    with pytest.raises(MalformedObjectError):  # so that none is running
        tried(BOMBS["rows without end"].make(), seconds=0.2)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(TrialError, match="/nowhere/python"):
        tried(parquet(numbers(10)))


@pytest.fixture
def run() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that has something tried whose end nobody sees."""
    program = """
from s3pq_dagster_tests.unit.decoding.test_sandbox import BOMBS, tried
tried(BOMBS["rows without end"].make(), seconds=600)
"""
    environment = os.environ | {"AWS_SECRET_ACCESS_KEY": SECRET}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        yield process
        process.kill()


def trial_of(process: int) -> tuple[int, int]:
    """Wait for a process's trial: the process for trials, and its fork."""
    wait_until(lambda: bool(servers(process)))
    (server,) = servers(process)
    wait_until(lambda: bool(children(server)))
    return server, children(server).pop()


def servers(process: int | str = "self") -> set[int]:
    """Name the processes for trials that a process has: others come and go as it starts."""
    return {child for child in children(process) if b"sandbox_process" in command_of(child)}


def command_of(process: int) -> bytes:
    """Give a process's command line; nothing when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def test_no_secret_gets_into_the_process(run: subprocess.Popen[bytes]) -> None:
    """Its environment has what Python needs, and nothing of the run's."""
    for process in trial_of(run.pid):
        environment = Path(f"/proc/{process}/environ").read_bytes()
        assert SECRET.encode() not in environment
        assert b"AWS_" not in environment


def test_the_process_dies_with_the_run(run: subprocess.Popen[bytes]) -> None:
    """A run that is killed leaves nothing behind."""
    processes = trial_of(run.pid)
    run.kill()
    run.wait()
    wait_until(lambda: not any(map(is_alive, processes)))


def test_an_interrupt_is_for_the_run_alone(run: subprocess.Popen[bytes]) -> None:
    """A trial hears no interrupt; the run ends it."""
    server, fork = trial_of(run.pid)
    os.kill(server, signal.SIGINT)
    os.kill(fork, signal.SIGINT)
    assert is_alive(server)
    assert is_alive(fork)
    run.send_signal(signal.SIGINT)
    run.wait()
    wait_until(lambda: not is_alive(server) and not is_alive(fork))


def test_the_bytes_may_be_of_any_size() -> None:
    """More than a pipe or a socket holds."""
    table = pa.table({"c": [os.urandom(MIB) for _ in range(3)]})
    assert tried(parquet(table, compression="none", use_dictionary=False), 5) == 5


def test_a_reason_of_any_length_is_told_in_part() -> None:
    """The reason goes into the ledger, not a book."""
    column = "x" * 100_000
    body = parquet(pa.table({column: ["row 7"] * 9}), use_dictionary=False)
    with pytest.raises(MalformedObjectError) as caught:
        tried(body[:4] + b"\xff" * 60 + body[64:])
    assert len(caught.value.reason) <= 500


def test_a_reason_of_any_characters_is_told() -> None:
    """Also of such as JSON escapes to twelve bytes each, which are more than a pipe's page."""
    column = pa.struct([("\N{GRINNING FACE}" * 1000, pa.int32())])
    metadata = {"ARROW:extension:name": "arrow.bool8", "ARROW:extension:metadata": ""}
    schema = pa.schema([pa.field("c", column, metadata=metadata)])
    with pytest.raises(MalformedObjectError) as caught:
        tried(parquet(pa.table([pa.array([None], column)], schema=schema)))
    assert caught.value.reason.endswith("\N{GRINNING FACE}")
