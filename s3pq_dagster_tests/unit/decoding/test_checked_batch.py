"""What a decoded batch is checked for."""

import tracemalloc

import pyarrow as pa
import pytest

from s3pq_dagster import schemas
from s3pq_dagster.decoding.checked_batch import RefusedValueError, checked


def test_checking_json_takes_little_memory_beside_the_batch() -> None:
    """Few of its texts are strings of Python at a time, which take up to four times as much."""
    texts = pa.array(['["\U0001f469' + "x" * 10_000 + '"]'] * 1_000)
    batch = pa.record_batch([pa.ExtensionArray.from_storage(pa.json_(), texts)], names=["j"])
    tracemalloc.start()
    try:
        assert checked(batch).num_rows == 1_000
        assert tracemalloc.get_traced_memory()[1] < batch.nbytes // 10
    finally:
        tracemalloc.stop()


def test_the_first_text_that_is_no_json_is_named() -> None:
    """Also behind nulls; the column is named, too."""
    texts = pa.array([None, "{}", "words", "other words"])
    batch = pa.record_batch([pa.ExtensionArray.from_storage(pa.json_(), texts)], names=["j"])
    with pytest.raises(RefusedValueError, match=r"^column 'j' is JSON .*the text 'words', which"):
        checked(batch)


JSONS = pa.list_(pa.struct([("x", pa.json_())]), 2)


@pytest.mark.parametrize("kind", [JSONS, pa.struct([("f", JSONS)])], ids=str)
def test_json_within_lists_that_are_all_null_is_none(kind: pa.DataType) -> None:
    """Arrow 26 cannot flatten such lists, since it has no builder for extension types."""
    column = schemas.retyped(pa.nulls(3, schemas.storage_type(kind)), kind)
    batch = pa.record_batch([column], names=["j"])
    assert checked(batch).column("j").null_count == 3
