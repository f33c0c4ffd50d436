"""The process in which files are decoded for trial: nothing of the run is in it.

Started by its path, since importing the package as a whole takes a second and brings Dagster. It
decodes each file in a fork, the memory of which is limited by the system where that can be and
watched where it cannot. It ends with the process that started it, or when nothing is asked of it.
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

from s3pq_dagster.decoding.parquet_file import decode, open_file

_IDLE_SECONDS = 30
_WATCH_SECONDS = 0.005
_OWN_BYTES = 64 * 1024 * 1024
"""What Python may take beside Arrow's buffers."""
_REASON_CHARACTERS = 500
_MOST_BYTES = 16 * 1024
"""Of an answer: twelve for each character of the reason, if JSON escapes all of them."""


def serve(connection: socket.socket) -> None:
    """Answer requests, one by one: a file's descriptor, rows at a time, bytes it may take."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.sendall(b"ready\n")
    while select.select([connection], [], [], _IDLE_SECONDS)[0]:
        request, descriptors, _, _ = socket.recv_fds(connection, _MOST_BYTES, 1)
        if not request:
            return
        rows_at_a_time, max_bytes = json.loads(request)
        answer = _forked(connection, descriptors[0], rows_at_a_time, max_bytes)
        os.close(descriptors[0])
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _forked(
    connection: socket.socket, descriptor: int, rows_at_a_time: int, max_bytes: int
) -> dict[str, Any]:
    """Decode in a fork; whatever happens to that is an answer."""
    answers, to_answer = os.pipe()
    if not (child := os.fork()):
        connection.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        _decode(descriptor, rows_at_a_time, max_bytes, to_answer)
    os.close(to_answer)
    if answers not in select.select([connection.fileno(), answers], [], [])[0]:
        os.kill(child, signal.SIGKILL)  # nobody waits for the answer any more
        sys.exit(1)
    answer = b""
    while more := os.read(answers, _MOST_BYTES):  # a pipe may give it in parts
        answer += more
    os.close(answers)
    _, status = os.waitpid(child, 0)
    if answer:
        found: dict[str, Any] = json.loads(answer)
        return found
    return {"died": os.waitstatus_to_exitcode(status)}


def _decode(descriptor: int, rows_at_a_time: int, max_bytes: int, to_answer: int) -> NoReturn:
    """Decode a file to nothing; no rows at a time means to open it only."""
    ending = threading.Lock()

    def end(**answer: Any) -> NoReturn:
        """Answer once and go, without waiting for threads or destructors."""
        ending.acquire()
        os.write(to_answer, json.dumps(answer).encode())
        os._exit(0)

    threading.Thread(target=_watch, args=(max_bytes, end), daemon=True).start()
    _limit(max_bytes)
    try:
        file = open_file(pa.OSFile(f"/dev/fd/{descriptor}"))
        for _ in decode(file, rows_at_a_time) if rows_at_a_time else ():
            pass
    except MemoryError:
        end(too_large=True)
    except Exception as error:  # noqa: BLE001 - told apart here
        if isinstance(error, OSError) and error.errno:
            end(machine=str(error))
        end(reason=f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS])
    end(too_large=pa.default_memory_pool().max_memory() > max_bytes)


def _watch(max_bytes: int, end: Any) -> None:
    """See to the bound where the system does not."""
    pool = pa.default_memory_pool()
    while pool.bytes_allocated() <= max_bytes:
        time.sleep(_WATCH_SECONDS)
    end(too_large=True)


def _limit(max_bytes: int) -> None:
    """Have the system refuse memory beyond what is taken already and the bound."""
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
