"""Cases that are judged in worker processes, which may crash or hang."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from s3pq_dagster_tests.malformed.judge import Verdict

CRASHED, HUNG, FAILED = "crashed", "hung", "failed"
_WORKER = ("-m", "s3pq_dagster_tests.malformed.worker")
_START_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Result:
    """A case and its verdict."""

    case: dict[str, Any]
    name: str
    verdict: Verdict


def run_cases(
    cases: Sequence[dict[str, Any]],
    *,
    hang_seconds: float = 120,
    command: Sequence[str] = _WORKER,
) -> Iterator[Result]:
    """Judge cases in their order; a case that ends its worker is followed by a new worker.

    Args:
        cases: Cases as ``worker`` takes them.
        hang_seconds: Most seconds that one case may take.
        command: Python's arguments that start a worker, which reads and answers lines of JSON.
    """
    left = list(cases)
    while left:
        for result in _one_worker(left, hang_seconds, command):
            left.pop(0)
            yield result


def _one_worker(
    cases: list[dict[str, Any]], hang_seconds: float, command: Sequence[str]
) -> Iterator[Result]:
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()
    errors: list[str] = []
    threads = [
        threading.Thread(target=_listen, args=(process.stdout, lines), daemon=True),
        threading.Thread(target=lambda: errors.append(process.stderr.read()), daemon=True),  # type: ignore[union-attr]
    ]
    for thread in threads:
        thread.start()
    try:
        assert process.stdin is not None
        if not lines.get(timeout=_START_SECONDS):
            process.wait()
            threads[1].join()
            raise RuntimeError(f"the worker did not start: {errors}")
        for case in list(cases):
            process.stdin.write(json.dumps(case) + "\n")
            process.stdin.flush()
            try:
                line = lines.get(timeout=hang_seconds)
            except queue.Empty:
                yield Result(case, str(case), Verdict(HUNG, "", 0, hang_seconds))
                return
            if not line:
                code = process.wait()
                threads[1].join()
                outcome = CRASHED if code < 0 else FAILED
                yield Result(case, str(case), Verdict(outcome, f"{code}: {errors}", 0, 0))
                return
            found = json.loads(line)
            yield Result(case, found.pop("name"), Verdict(**found))
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _listen(output: IO[str], lines: "queue.Queue[str]") -> None:
    """Hand lines on; an empty one is the end."""
    try:
        for line in output:
            lines.put(line)
    except ValueError:
        pass  # closed: nobody listens any more
    lines.put("")
