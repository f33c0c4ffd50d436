"""What a load logs: each commit and each object, in few messages."""

from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster.errors import (
    QuarantineLimitError,
    SchemaMismatchError,
)
from s3pq_dagster_tests.unit.loading.loaded_table import Table


def test_each_checkpoint_is_logged(table: Table) -> None:
    """Each commit has a line with its objects and rows."""
    for key in "ab":
        table.bucket.put(f"t/{key}", 10)
    table.load(checkpoint_bytes=1)
    assert (
        table.lines.of("checkpoint_committed")
        == ["checkpoint_committed table=t objects=1 rows=10"] * 2
    )


def test_a_refresh_logs_what_it_committed_at_its_end(table: Table) -> None:
    """One transaction has one line, and each object has its own."""
    for key in "ab":
        table.bucket.put(f"t/{key}", 10)
    table.load(options={"full_refresh": True}, checkpoint_bytes=1)
    (committed,) = table.lines.of("checkpoint_committed")
    assert committed == "checkpoint_committed table=t objects=2 rows=20"
    loaded = table.lines.of("object_loaded")
    assert sorted(line.split()[2] for line in loaded) == ["key=t/a", "key=t/b"]


@pytest.mark.first_case
@pytest.mark.parametrize("how", [{"options": {"full_refresh": True}}, {"incremental": False}])
def test_a_refresh_that_fails_calls_nothing_committed(table: Table, how: dict[str, Any]) -> None:
    """Neither log nor errors speak of committed objects, since all is rolled back."""
    table.bucket.put("t/a", 10)
    table.bucket.put("t/b", pa.table({"other": [1]}))
    with pytest.raises(SchemaMismatchError, match="Nothing of this load"):
        table.load(**how, checkpoint_bytes=1)
    table.bucket.put("t/b", b"bad")
    with pytest.raises(QuarantineLimitError, match="stays as it was") as caught:
        table.load(**how, checkpoint_bytes=1, max_quarantined_fraction=0.1)
    assert "committed" not in str(caught.value)
    assert table.lines.of("object_loaded") == table.lines.of("checkpoint_committed") == []


def test_every_object_is_logged_with_size_and_rows(table: Table) -> None:
    """Each committed object has a line with key, size and rows."""
    table.bucket.put("t/with space", 7)
    report = table.load()
    (logged,) = table.lines.of("object_loaded")
    assert logged == f'object_loaded table=t key="t/with space" size={report.bytes} rows=7'


@pytest.mark.thorough
def test_a_checkpoint_is_few_messages(table: Table) -> None:
    """Many lines share a message: Dagster stores each message, which is slow."""
    for number in range(200):
        table.bucket.put(f"t/{number}", 1)
    table.load()
    said = [text.splitlines() for text in table.lines.texts if "object_loaded " in text]
    assert said[0][0].startswith("checkpoint_committed ")
    assert [len(lines) for lines in said] == [128, 73]
