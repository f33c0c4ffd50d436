"""Other tools' tracking rules on the same day, and how many versions each would read."""

import json
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast

from dagster_aws.s3.sensor import get_objects

from bench.environments import ROOT, environment
from s3pq_dagster_tests.arrivals.plan import Content, Day, table_of
from s3pq_dagster_tests.arrivals.stage import Stage
from s3pq_dagster_tests.buckets import Bucket

Listing = Mapping[str, datetime]
"""``LastModified`` by key."""
Version = tuple[int, int]
"""An object's key and its version."""


@dataclass(frozen=True, slots=True)
class Score:
    """A contender's result of one day."""

    name: str
    code: str
    looks: int
    versions: int
    lost: int
    duplicated: int
    re_read: int
    note: str = ""


class Contender(Protocol):
    """A tool that lists a bucket now and then and reads what its rule calls new."""

    @property
    def name(self) -> str: ...

    @property
    def code(self) -> str:
        """The version of the code that runs, or that the rule was transcribed."""

    @property
    def note(self) -> str: ...

    def look(self, listing: Listing) -> Iterable[str]:
        """Return the keys that it reads from this listing."""

    def rows(self) -> Counter[Version] | None:
        """Return how often its table holds each version's first row, if it keeps a table."""


@dataclass
class Rule:
    """A tracking rule: a function of a listing and of what it remembers."""

    name: str
    code: str
    choose: Callable[[Listing, dict[str, Any]], list[str]]
    note: str = ""
    memory: dict[str, Any] = field(default_factory=dict)

    def look(self, listing: Listing) -> Iterable[str]:
        return self.choose(listing, self.memory)

    def rows(self) -> Counter[Version] | None:
        return None


def latest_strictly(listing: Listing, memory: dict[str, Any]) -> list[str]:
    """Read, per table, objects later than the latest ``LastModified`` seen, as cq-source-s3."""
    chosen = [
        key
        for key, moment in listing.items()
        if table_of(key) not in memory or moment > memory[table_of(key)]
    ]
    for key in chosen:
        memory[table_of(key)] = max(memory.get(table_of(key), listing[key]), listing[key])
    return chosen


def names_seen(listing: Listing, memory: dict[str, Any]) -> list[str]:
    """Read keys never seen, as COPY history, S3Queue, Spark's and Flink's file sources."""
    chosen = [key for key in listing if key not in memory]
    memory.update(dict.fromkeys(chosen))
    return chosen


@dataclass
class DagsterAws:
    """dagster-aws's ``get_objects`` over HTTP, as the sensor in its documentation uses it."""

    bucket: Bucket
    by_key: bool
    note: str = ""
    code: str = f"real: dagster-aws {version('dagster-aws')}"
    cursor: Any = None
    looks: int = 0

    @property
    def name(self) -> str:
        return f"dagster-aws get_objects, {'since_key' if self.by_key else 'since_last_modified'}"

    def look(self, listing: Listing) -> Iterable[str]:
        del listing  # it asks for its own
        self.looks += 1
        since = {"since_key" if self.by_key else "since_last_modified": self.cursor}
        try:
            found = cast(
                "list[dict[str, Any]]",
                get_objects(self.bucket.name, client=self.bucket.client, **since),
            )
        except Exception as error:
            if "since_key" not in str(error):
                raise
            self.note = self.note or (
                f"from look {self.looks} on each one fails: the remembered key was deleted"
            )
            return []
        if found:
            last = max(found, key=lambda o: o["LastModified"])["LastModified"]
            self.cursor = found[-1]["Key"] if self.by_key else last
        return [o["Key"] for o in found]

    def rows(self) -> Counter[Version] | None:
        return None


@dataclass
class Worker:
    """A script in another environment that answers each line of JSON with one line."""

    process: subprocess.Popen[str]

    def ask(self, line: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        if not (answer := self.process.stdout.readline()):
            raise RuntimeError(f"{self.process.args!r} ended")
        return json.loads(answer)


@dataclass
class Airbyte:
    """airbyte-source-s3's own cursor class, given each listing."""

    worker: Worker
    code: str
    name: str = "airbyte-source-s3's cursor"
    note: str = "its history holds 10,000 names; beyond, it falls back to three days"

    def look(self, listing: Listing) -> Iterable[str]:
        files = [(key, moment.replace(tzinfo=None).isoformat()) for key, moment in listing.items()]
        return [str(key) for key in self.worker.ask(json.dumps(files))]

    def rows(self) -> Counter[Version] | None:
        return None


@dataclass
class Dlt:
    """dlt's filesystem source, incremental on modification_date, into a DuckDB file of its own."""

    worker: Worker
    code: str
    name: str = "dlt filesystem, incremental on modification_date"
    note: str = (
        "counted by the rows in its DuckDB; a transformer of ours passes over malformed ones"
    )

    def look(self, listing: Listing) -> Iterable[str]:
        del listing  # it asks for its own
        self.worker.ask("look")
        return []

    def rows(self) -> Counter[Version] | None:
        found = self.worker.ask("rows")
        return Counter({(o, v): count for o, v, row, count in found if row == 0})


@contextmanager
def _worker(python: Path, script: str, *arguments: str) -> Iterator[tuple[Worker, str]]:
    path = str(ROOT / "bench" / script)
    said = subprocess.run(
        [python, path, "--version"], check=True, capture_output=True, text=True
    ).stdout.splitlines()[-1]
    with subprocess.Popen(
        [python, path, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield Worker(process), f"real: {said}"


@contextmanager
def contenders(bucket: Bucket, said: list[str]) -> Iterator[list[Contender]]:
    """Return the contenders that can be installed here; print the others."""
    found: list[Contender] = [
        DagsterAws(bucket, by_key=True),
        DagsterAws(bucket, by_key=False),
        Rule(
            "cq-source-s3",
            "transcribed from what its source does: strictly later than the table's latest",
            latest_strictly,
        ),
        Rule(
            "a ledger of names (Snowpipe, Redshift auto-copy, S3Queue, Spark, Flink)",
            "transcribed from their documentation: a name is loaded once",
            names_seen,
        ),
    ]
    with ExitStack() as stack:

        def start(opened: AbstractContextManager[tuple[Worker, str]]) -> tuple[Worker, str]:
            return stack.enter_context(opened)

        if python := environment("airbyte", "airbyte-source-s3"):
            found.append(Airbyte(*start(_worker(python, "peer_airbyte.py"))))
        else:
            said.append("airbyte-source-s3 could not be installed here and is left out.")
        if python := environment("dlt", "dlt[filesystem,duckdb,parquet]", "s3fs"):
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            endpoint = str(bucket.client.meta.endpoint_url)
            arguments = ("peer_dlt.py", bucket.name, endpoint, directory)
            found.append(Dlt(*start(_worker(python, *arguments))))
        else:
            said.append("dlt could not be installed here and is left out.")
        yield found


def scores(day: Day, bucket: Bucket) -> tuple[list[Score], list[str]]:
    """Play a day to all contenders, which list at the same moments, and count what they read.

    Returns:
        Their scores, and what is to be said beside them.
    """
    said: list[str] = []
    stage = Stage(bucket, day)
    sighted: set[tuple[str, Content]] = set()
    read: defaultdict[str, Counter[tuple[str, Content]]] = defaultdict(Counter)
    with contenders(bucket, said) as playing:
        for moment in day.looks:
            stage.advance(moment)
            sighted |= {item for item in stage.there.items() if item[1].is_good}
            listing = _listing(bucket)
            for contender in playing:
                for key in contender.look(listing):
                    read[contender.name][key, stage.there[key]] += 1
        return [_score(c, len(day.looks), sighted, read[c.name]) for c in playing], said


def _score(
    contender: Contender,
    looks: int,
    sighted: set[tuple[str, Content]],
    read: Counter[tuple[str, Content]],
) -> Score:
    """Count versions; a contender without a table holds a version as often as it reads it."""
    if (rows := contender.rows()) is None:
        seen = sighted
        again = sum(read[version] > 1 for version in seen)
        lost = sum(not read[version] for version in seen)
    else:
        seen = {(key, content) for key, content in sighted if content.rows}
        again = sum(rows[content.number, content.version] > 1 for _, content in seen)
        lost = sum(not rows[content.number, content.version] for _, content in seen)
    return Score(
        contender.name, contender.code, looks, len(seen), lost, again, again, contender.note
    )


def _listing(bucket: Bucket) -> dict[str, datetime]:
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    return {
        found["Key"]: found["LastModified"].astimezone(UTC)
        for page in pages
        for found in page.get("Contents", ())
    }
