"""A real Celery: its workers, each a process, and a run whose steps they execute."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import not_
from pathlib import Path

from tenacity import stop_after_delay

from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import DAGSTER, environment
from s3pq_dagster_tests.destinations.places import Place
from s3pq_dagster_tests.waiting import again_while

HERE = Path(__file__).parent
LOCATION = "s3pq_dagster_tests.scaling.location"
SECONDS = 120


def environ_of(bucket: Bucket, place: Place, directory: Path) -> dict[str, str]:
    """Return the environment of the run and the workers: bucket, destination, broker."""
    root = HERE.parent.parent
    return environment(
        bucket,
        directory / "home",
        S3PQ_DESTINATION=place.url,
        # Each of them waits for the others: SQLite lets one write at a time.
        SCALING_BROKER=f"sqla+sqlite:///{directory}/broker.sqlite?timeout={SECONDS}",
        SCALING_RESULTS=f"db+sqlite:///{directory}/results.sqlite?timeout={SECONDS}",
        PYTHONPATH=f"{HERE}:{root}",
    )


@contextmanager
def working(
    environ: dict[str, str], directory: Path, names: str = "vw"
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the workers, each a process that takes one step at a time, one after another.

    If two were the first to ask for the queue, both would make it, and one would die of that.
    """
    command = [sys.executable, "-m", "celery", "-A", "dagster_celery.app", "worker"]
    command += ["--pool", "solo", "-Q", "dagster", "--loglevel", "INFO"]
    command += ["--without-mingle", "--without-gossip"]
    workers = []
    with ExitStack() as all_of_them:
        for name in names:
            log = directory / f"{name}.log"
            worker = subprocess.Popen(
                [*command, "-n", f"{name}@localhost"],
                cwd=directory,
                env=environ,
                stdout=all_of_them.enter_context(log.open("wb")),
                stderr=subprocess.STDOUT,
            )
            workers.append(all_of_them.enter_context(worker))
            all_of_them.callback(worker.kill)
            again_while(not_, stop_after_delay(SECONDS))(_is_ready, log)
        yield workers


def _is_ready(log: Path) -> bool:
    return b" ready." in log.read_bytes()


@contextmanager
def started(environ: dict[str, str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run all tables, as a cron job would; the run ends with the block."""
    asked = ("asset", "materialize", "-m", LOCATION, "--select", "*")
    with subprocess.Popen([*DAGSTER, *asked], cwd=directory, env=environ) as run:
        try:
            yield run
        finally:
            run.kill()
