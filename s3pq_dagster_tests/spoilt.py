"""Twenty ways in which one object of a table is spoilt, so that no destination can have it."""

import gzip
import io
import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s3pq_dagster_tests.malformed.bombs import BOMBS
from s3pq_dagster_tests.malformed.good import good_file
from s3pq_dagster_tests.poison import KINDS, rows

_END = 8
"""Bytes behind the footer: its length, and the letters PAR1."""


def _written(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def _footer_begins(body: bytes) -> int:
    return len(body) - _END - int.from_bytes(body[-_END:-4], "little")


def _with_text_that_is_no_utf8(body: bytes) -> bytes:
    table = pq.read_table(io.BytesIO(body))
    text = pc.cast(pa.array([b"\xff\xfe"] * table.num_rows, pa.binary()), pa.string(), safe=False)
    at = table.schema.get_field_index("text")
    return _written(table.set_column(at, "text", text), compression="none", use_dictionary=False)


def _with_value(kind: str) -> Callable[[bytes], bytes]:
    return lambda _: _written(rows([0, 1], KINDS[kind]))


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "words-for-json": _with_value("words-for-json"),
    "half-a-json": _with_value("half-a-json"),
    "nan-in-json": _with_value("nan-in-json"),
    "no-utf8": _with_text_that_is_no_utf8,
    "nothing": lambda _: b"",
    "words": lambda _: b"This is no Parquet.",
    "csv": lambda _: b"id,text\n" + b"1,fine\n" * 100,
    "json": lambda _: json.dumps([{"id": 1}] * 100).encode(),
    "compressed": gzip.compress,
    "half": lambda body: body[: len(body) // 2],
    "without-end": lambda body: body[:-1],
    "without-beginning": lambda body: body[100:],
    "other-letters": lambda body: body[:-4] + b"PARX",
    "encrypted": lambda _: good_file("encrypted"),
    "footer-of-zeros": lambda body: (
        body[: _footer_begins(body)] + bytes(len(body) - _END - _footer_begins(body)) + body[-_END:]
    ),
    "footer-too-long": lambda body: body[:-_END] + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
    "footer-too-short": lambda body: body[:-_END] + (20).to_bytes(4, "little") + b"PAR1",
    "pages-of-zeros": lambda body: (
        b"PAR1" + bytes(_footer_begins(body) - 4) + body[_footer_begins(body) :]
    ),
    "pages-of-noise": lambda body: (
        b"PAR1" + b"\xa5" * (_footer_begins(body) - 4) + body[_footer_begins(body) :]
    ),
    "very-deep": lambda _: BOMBS["a schema that is nested very deeply"].make(),
}
"""Each makes another object of a good one's body."""
