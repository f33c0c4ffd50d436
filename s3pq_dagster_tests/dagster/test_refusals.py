"""What S3 refuses, and what it only says: the object or the table, and without a retry."""

import dagster as dg
import pytest

from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.proxy import Answer, Request

SSE_C = Answer(
    400,
    b"<Error><Code>InvalidRequest</Code><Message>The object was stored using a form of Server "
    b"Side Encryption. The correct parameters must be provided to retrieve the object.</Message>"
    b"</Error>",
)
KEY_DISABLED = Answer(
    400, b"<Error><Code>KMS.DisabledException</Code><Message>it is disabled</Message></Error>"
)


def refuse(lake: Lake, key: str, answer: Answer) -> None:
    """Answer every read of one object so."""

    def before(request: Request) -> Answer | None:
        return answer if request.is_object and request.key == key else None

    lake.bucket.proxy.before = before


@pytest.fixture(autouse=True)
def _two_objects(lake: Lake) -> None:
    """Put two objects of one table, and let steps be tried again."""
    lake.bucket.put("a/0.parquet", 3)
    lake.bucket.put("a/1.parquet", 4)
    lake.options = {"retry_policy": dg.RetryPolicy(max_retries=2)}


def test_an_object_with_a_customers_key_is_set_aside(lake: Lake) -> None:
    """Nobody but its writer can ever read it; the others load."""
    refuse(lake, "a/1.parquet", SSE_C)
    assert lake.run().success
    assert lake.rows("a") == 3
    (reason,) = [entry["reason"] for entry in lake.ledger("a") if entry["reason"]]
    assert "customer's key (SSE-C)" in reason


def test_a_disabled_key_fails_the_table_once_and_quarantines_nothing(lake: Lake) -> None:
    """Once the key is enabled, the next run loads all, without anybody asking for it."""
    refuse(lake, "a/1.parquet", KEY_DISABLED)
    result = lake.run()
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert not result.filter_events(lambda event: event.is_step_up_for_retry)
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "KMS.DisabledException: it is disabled" in str(data.description)
    lake.bucket.proxy.before = lambda _request: None
    assert lake.run().success
    assert lake.rows("a") == 7


@pytest.mark.first_case
@pytest.mark.parametrize("size", [2**63 - 1, 2**80, -1])
def test_an_object_that_is_listed_with_an_impossible_size_is_set_aside(
    lake: Lake, size: int
) -> None:
    """Whatever number the listing has, the other object loads, and nothing is asked of this one."""
    found = lake.bucket.client.list_objects_v2(Bucket=lake.bucket.name)["Contents"]
    entries = "".join(
        f"<Contents><Key>{each['Key']}</Key><Size>{stated}</Size><ETag>{each['ETag']}</ETag>"
        f"<LastModified>2024-02-14T12:00:00Z</LastModified></Contents>"
        for each, stated in zip(found, (found[0]["Size"], size), strict=True)
    )
    page = (
        f"<ListBucketResult><Name>lake</Name><IsTruncated>false</IsTruncated>{entries}"
        f"</ListBucketResult>"
    )
    lake.bucket.proxy.before = lambda request: (
        Answer(200, page.encode()) if request.is_listing else None
    )
    assert lake.run().success
    assert lake.rows("a") == 3
    (reason,) = [entry["reason"] for entry in lake.ledger("a") if entry["reason"]]
    assert reason.startswith(f"it is listed with {min(size, 2**63 - 1)} bytes")
    assert {request.key for request in lake.bucket.proxy.object_reads} == {"a/0.parquet"}
