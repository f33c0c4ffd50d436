"""The spec, and how wrong values are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from s3pq_dagster.spec import S3ParquetSpec
from s3pq_dagster_tests.unit.made import spec

MIB = 1024 * 1024
DEFAULTS: dict[str, Any] = {
    "layout": "hive",
    "bucket": "lake",
    "region": "us-east-1",
    "local_profile": None,
    "path_prefix": "",
    "filetype": "parquet",
    "rows_per_record": 500,
    "concurrency": 50,
    "endpoint_url": None,
    "tables": ["*"],
    "skip_tables": [],
    "write_mode": "replace",
    "schema_mode": "strict",
    "incremental": True,
    "add_cq_ids": True,
    "verify_interval": 86_400,
    "max_bytes_in_flight": 64 * MIB,
    "max_object_bytes_in_memory": 8 * MIB,
    "checkpoint_bytes": 64 * MIB,
    "max_quarantined_fraction": 1.0,
    "verify_e_tags": True,
    "max_decoded_bytes": 1024 * MIB,
    "max_decode_seconds": 600,
}


def refusal(**fields: Any) -> str:
    """Return the error message of a spec with these fields."""
    with pytest.raises(ValidationError) as caught:
        spec(**fields)
    return str(caught.value)


def test_every_field_has_its_default() -> None:
    """Bucket and region are enough, and there are no other fields than these."""
    assert spec().model_dump() == DEFAULTS


def test_every_field_is_described() -> None:
    """Every field has a description."""
    assert all(field.description for field in S3ParquetSpec.model_fields.values())


@pytest.mark.parametrize("missing", ["bucket", "region"])
def test_bucket_and_region_are_required(missing: str) -> None:
    """A spec without one of them is refused, and the error names it."""
    given = {"bucket": "lake", "region": "us-east-1"}
    del given[missing]
    with pytest.raises(ValidationError, match=rf"{missing}\n\s+Field required"):
        S3ParquetSpec(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("bucket", "", "non-empty"),
        ("bucket", " lake", "without spaces around it"),
        ("bucket", "../../x", "access point give its alias"),
        ("bucket", "lake/raw", "Put prefixes into path_prefix"),
        ("bucket", "..", "a bucket's name"),
        ("bucket", "arn:aws:s3:eu-central-1:123456789012:accesspoint/x", "give its alias"),
        ("bucket", "l" * 256, "a bucket's name"),
        ("bucket", "la\nke", "a bucket's name"),
        ("bucket", "l\u00e4ke", "of ASCII letters"),
        ("region", "", "non-empty"),
        ("region", "us-east-1 ", "without spaces around it"),
        ("region", "eu central", "of ASCII letters, digits and '-'"),
        ("region", "eu_central", "of ASCII letters, digits and '-'"),
        ("local_profile", " ", "unset or a non-empty string"),
        ("endpoint_url", "", "unset or a non-empty string"),
        ("endpoint_url", "127.0.0.1:9000", "http://host[:port] or https://host[:port]"),
        ("endpoint_url", "ftp://host", "http://host[:port] or https://host[:port]"),
        ("endpoint_url", "http://", "http://host[:port] or https://host[:port]"),
        ("filetype", "csv", "supported: parquet"),
        ("filetype", "Parquet", "supported: parquet"),
        ("write_mode", "upsert", "supported: append, replace, mirror"),
        ("rows_per_record", 0, "at least 1"),
        ("rows_per_record", -1, "at least 1"),
        ("concurrency", 0, "at least 1, or negative for no limit"),
        ("verify_interval", -1, "at least 0"),
        ("max_bytes_in_flight", 0, "at least 1"),
        ("max_object_bytes_in_memory", 0, "at least 1"),
        ("checkpoint_bytes", -5, "at least 1"),
        ("max_quarantined_fraction", -0.1, "from 0 to 1"),
        ("max_quarantined_fraction", 1.5, "from 0 to 1"),
        ("max_decoded_bytes", 0, "at least 1"),
        ("max_decode_seconds", 0, "at least 1"),
        ("tables", [], "at least one glob"),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: object, allowed: str) -> None:
    """The error names the field, the value and what is allowed."""
    message = refusal(**{field: value})
    assert field in message
    assert repr(value) in message
    assert allowed in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bucket", None),
        ("region", 5),
        ("rows_per_record", "many"),
        ("rows_per_record", 1.5),
        ("concurrency", None),
        ("max_quarantined_fraction", "few"),
        ("tables", "orders"),
        ("skip_tables", None),
        ("incremental", "perhaps"),
        ("add_cq_ids", 7),
        ("verify_e_tags", "maybe"),
        ("path_prefix", None),
        ("path_prefix", 3),
        ("filetype", None),
        ("endpoint_url", 1),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(field: str, value: object) -> None:
    """The error names the field and shows the value."""
    message = refusal(**{field: value})
    assert field in message
    assert str(value) in message


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("/x", "Give 'x'"),
        ("//raw/20", "Give 'raw/20'"),
        ("/", "Give ''"),
        ("s3://b/x", "Put the bucket 'b' into bucket, and give 'x' here"),
        ("S3A://b//raw/", "Put the bucket 'b' into bucket, and give 'raw/' here"),
        ("s3n://b", "Put the bucket 'b' into bucket, and give '' here"),
    ],
)
def test_a_prefix_that_lists_nothing_says_what_was_meant(given: str, meant: str) -> None:
    """A path or URL would match no key, which looked like an empty bucket."""
    message = refusal(path_prefix=given)
    assert "path_prefix must" in message
    assert repr(given) in message
    assert meant in message


def test_unknown_fields_are_refused() -> None:
    """An unknown field is an error that names it."""
    message = refusal(rows_per_recrod=100)
    assert "rows_per_recrod" in message
    assert "not permitted" in message


def test_every_wrong_field_is_named_at_once() -> None:
    """Two mistakes are reported in one error."""
    message = refusal(filetype="csv", concurrency=0)
    assert "filetype 'csv'" in message
    assert "concurrency must be" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", -1),
        ("concurrency", 1),
        ("rows_per_record", 1),
        ("write_mode", "append"),
        ("write_mode", "mirror"),
        ("endpoint_url", "http://127.0.0.1:8333"),
        ("endpoint_url", "https://s3.example.com/base"),
        ("endpoint_url", "http://[::1]:9000"),
        ("path_prefix", "raw/20"),
        ("path_prefix", " "),
        ("path_prefix", "a//b"),
        ("path_prefix", "https://example.org/"),
        ("local_profile", "dev"),
        ("verify_e_tags", False),
    ],
)
def test_an_allowed_value_is_kept(field: str, value: object) -> None:
    """An allowed value is kept as it was given."""
    assert getattr(spec(**{field: value}), field) == value


@pytest.mark.parametrize(
    "url",
    [
        "http://user:canary-password@host:9000",
        "https://canary-password@host",
        "http://host/?X-Amz-Signature=canary-password",
        "user:canary-password@host",
        "s3://user:canary-password@host",
    ],
)
def test_credentials_in_the_endpoint_are_refused_without_showing_them(url: str) -> None:
    """A password in the URL is an error, and the error does not repeat it."""
    assert "canary-password" not in refusal(endpoint_url=url)
