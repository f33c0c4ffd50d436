"""A writer to S3 in a child process, killed before or after one of its requests."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

import botocore.client

from s3pq_dagster.destinations.parquet import ParquetDestination
from s3pq_dagster_tests.destinations.tables import OWNER, commit
from s3pq_dagster_tests.servers import REGION, use_credentials
from s3pq_dagster_tests.unit.made import meta

LEASE_SECONDS = 1
"""S3 stamps whole seconds."""
CHECKPOINTS = [(0, 3), (1, 4), (2, 5)]
_LOOKS = ("GetObject", "HeadObject", "ListObjectsV2")
_SECONDS = 120


def requests_of(root: str, endpoint: str, kill: str, *, refresh: bool) -> int | None:
    """Load what is pending of the second versions of six objects, in three checkpoints.

    Args:
        root: The destination's root.
        endpoint: The endpoint URL of the destination's S3.
        kill: The request at which the writer is killed, such as ``"3 before"`` or ``"3 after"``;
            only requests that change something count. Empty: it is not killed.
        refresh: Whether the whole table is replaced.

    Returns:
        The number of requests that changed something; ``None`` if the writer was killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["s3pq_dagster_tests.crashes.preload", __name__])
    heard, said = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(root, endpoint, kill, refresh, said))
    process.start()
    said.close()
    try:
        count: int = heard.recv()
    except EOFError:
        process.join(_SECONDS)
        if process.exitcode != -signal.SIGKILL:
            raise AssertionError(f"exit code {process.exitcode}") from None
        return None
    finally:
        process.join(_SECONDS)
        heard.close()
    return count


def _work(root: str, endpoint: str, kill: str, refresh: bool, said: Connection) -> None:  # noqa: FBT001 - a process takes no keywords here
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    use_credentials()
    asked = _watch(kill)
    destination = ParquetDestination(
        root, endpoint_url=endpoint, region=REGION, lease_seconds=LEASE_SECONDS
    )
    with destination.write(OWNER, run_id="r", append=False, refresh=refresh) as writer:
        known = writer.state().ledger
        for numbers in CHECKPOINTS:
            objects = [meta(f"orders/{number}", "v2") for number in numbers]
            if pending := [(found, 2) for found in objects if not known.holds(found)]:
                commit(writer, *pending, start=10)
    said.send(len(asked))


def _watch(kill: str) -> list[str]:
    """Record the requests that change something, and kill the process at one of them."""
    client: Any = botocore.client.BaseClient
    call = client._make_api_call  # noqa: SLF001 - where all of them pass
    asked: list[str] = []

    def watched(self: Any, name: str, arguments: dict[str, Any]) -> Any:
        # The lease is renewed by the clock, so its requests have no place in the sequence.
        if name in _LOOKS or (arguments["Key"].endswith(".lock") if "Key" in arguments else False):
            return call(self, name, arguments)
        number = len(asked)
        asked.append(name)
        _reached(f"{number} before", kill)
        answer = call(self, name, arguments)
        _reached(f"{number} after", kill)
        return answer

    client._make_api_call = watched  # noqa: SLF001 - as above
    return asked


def _reached(point: str, kill: str) -> None:
    if point == kill:
        os.kill(os.getpid(), signal.SIGKILL)
