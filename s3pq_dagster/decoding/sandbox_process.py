"""The program of the sandbox process, which decodes suspicious files in forks of itself.

It is started by its path, since importing the whole package takes a second and imports Dagster. It
ends with the process that started it, or when it is idle for half a minute.
"""

import json
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":
    package = types.ModuleType("s3pq_dagster")
    package.__path__ = [str(Path(__file__).parents[1])]
    sys.modules["s3pq_dagster"] = package

import pyarrow as pa

from s3pq_dagster.decoding.checked_batch import reason_of
from s3pq_dagster.decoding.parquet_file import decode, open_file

_IDLE_SECONDS = 30
_WATCH_SECONDS = 0.005
"""Time between two checks of the memory in use."""
_OWN_BYTES = 64 * 1024 * 1024
"""Memory for Python beside Arrow's buffers."""
_REASON_CHARACTERS = 500
_MOST_BYTES = 16 * 1024
"""Most bytes of an answer: twelve for each character of the reason, if JSON escapes them all."""


def serve(connection: socket.socket) -> None:
    """Answer requests one by one: each is a file's descriptor, rows at a time, a memory bound."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.sendall(b"ready\n")
    while select.select([connection], [], [], _IDLE_SECONDS)[0]:
        request, descriptors, _, _ = socket.recv_fds(connection, _MOST_BYTES, 1)
        if not request:
            return
        rows_at_a_time, max_bytes = json.loads(request)
        answer = _decode_in_fork(connection, descriptors[0], rows_at_a_time, max_bytes)
        os.close(descriptors[0])
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _decode_in_fork(
    connection: socket.socket, descriptor: int, rows_at_a_time: int, max_bytes: int
) -> dict[str, Any]:
    """Decode a file in a fork, and return the answer; a fork that dies is an answer as well."""
    # Why a fork and not a new process for each file: it has pyarrow imported and is ready in
    # milliseconds. Whatever a file does to its process ends with the fork: memory that it took,
    # the limit on memory (RLIMIT_DATA), which starts from what is in use then, or a crash.
    answers, to_answer = os.pipe()
    if not (child := os.fork()):
        connection.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        _decode_and_exit(descriptor, rows_at_a_time, max_bytes, to_answer)
    os.close(to_answer)
    if answers not in select.select([connection.fileno(), answers], [], [])[0]:
        os.kill(child, signal.SIGKILL)  # the parent is gone: nobody waits for the answer
        sys.exit(1)
    answer = b""
    while more := os.read(answers, _MOST_BYTES):  # a pipe may deliver it in parts
        answer += more
    os.close(answers)
    _, status = os.waitpid(child, 0)
    if answer:
        found: dict[str, Any] = json.loads(answer)
        return found
    return {"died": os.waitstatus_to_exitcode(status)}


def _decode_and_exit(
    descriptor: int, rows_at_a_time: int, max_bytes: int, to_answer: int
) -> NoReturn:
    """Decode a file, discard the rows, answer and exit; with 0 rows at a time only open it."""
    ending = threading.Lock()

    def end(**answer: Any) -> NoReturn:
        """Answer once and exit, without waiting for threads or destructors."""
        ending.acquire()
        os.write(to_answer, json.dumps(answer).encode())
        os._exit(0)

    threading.Thread(target=_watch, args=(max_bytes, end), daemon=True).start()
    _limit(max_bytes)
    try:
        # Values are checked in the run, which knows the table's units: this is about memory.
        file = open_file(pa.OSFile(f"/dev/fd/{descriptor}"), refuses=False)
        for _ in decode(file, rows_at_a_time) if rows_at_a_time else ():
            pass
    except MemoryError:
        end(too_large=True)
    except Exception as error:  # noqa: BLE001 - classified here
        if isinstance(error, OSError) and error.errno:
            end(machine=str(error))
        end(reason=reason_of(error)[:_REASON_CHARACTERS])
    end(too_large=pa.default_memory_pool().max_memory() > max_bytes)


def _watch(max_bytes: int, end: Any) -> None:
    """End the process once Arrow holds more than the bound, if the system does not enforce it."""
    pool = pa.default_memory_pool()
    while pool.bytes_allocated() <= max_bytes:
        time.sleep(_WATCH_SECONDS)
    end(too_large=True)


def _limit(max_bytes: int) -> None:
    """Make the system refuse memory beyond what is in use now plus the bound."""
    # RLIMIT_DATA counts anonymous memory of the whole process (Linux since 4.7), in use or not,
    # and VmData is the same count. So the limit is what VmData is now, plus what the file may take.
    # Where there is no /proc (macOS), only _watch sees to the bound.
    status = Path("/proc/self/status")
    if not status.exists():
        return
    (taken,) = (line for line in status.read_text().splitlines() if line.startswith("VmData:"))
    limit = int(taken.split()[1]) * 1024 + max_bytes + _OWN_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()))
