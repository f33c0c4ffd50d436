"""The process in which a file is decoded for trial: nothing of the run is in it.

Started by its path, since importing the package as a whole takes a second and brings Dagster. Its
memory is limited by the system where that can be and watched where it cannot; it ends when the
process that started it does.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
import types
from pathlib import Path
from typing import NoReturn

_WATCH_SECONDS = 0.005
_OWN_BYTES = 64 * 1024 * 1024
"""What Python may take beside Arrow's buffers."""

package = types.ModuleType("s3pq_dagster")
package.__path__ = [str(Path(__file__).parent)]
if __name__ == "__main__":
    sys.modules["s3pq_dagster"] = package

import pyarrow as pa  # noqa: E402 - the stand-in above has to be first

from s3pq_dagster.parquet_file import decode, open_file  # noqa: E402


def main(path: str, rows_at_a_time: int, max_bytes: int) -> None:
    """Decode a file to nothing; the last line on stdout is the finding, as JSON.

    Args:
        path: Where the file can be opened.
        rows_at_a_time: As for :func:`decode`; 0 only opens it.
        max_bytes: Arrow's buffers may take this much at a time.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_watch, args=(max_bytes,), daemon=True).start()
    _limit(max_bytes)
    print("ready", flush=True)  # noqa: T201 - stdout is how it answers
    try:
        file = open_file(pa.OSFile(path))
        for _ in decode(file, rows_at_a_time) if rows_at_a_time else ():
            pass
    except MemoryError:
        _end(too_large=True)
    except Exception as error:  # noqa: BLE001 - told apart below
        if isinstance(error, OSError) and error.errno:
            _end(machine=str(error))
        _end(reason=f"{type(error).__name__}: {error}")
    _end(too_large=pa.default_memory_pool().max_memory() > max_bytes)


def _end(
    *, too_large: bool = False, reason: str | None = None, machine: str | None = None
) -> NoReturn:
    """Answer and go, without waiting for threads or destructors."""
    answer = json.dumps({"too_large": too_large, "reason": reason, "machine": machine})
    os.write(1, answer.encode())
    os._exit(0)


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def _watch(max_bytes: int) -> None:
    """See to the bound where the system does not, and before a machine swaps."""
    pool = pa.default_memory_pool()
    while pool.bytes_allocated() <= max_bytes:
        time.sleep(_WATCH_SECONDS)
    _end(too_large=True)


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
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
