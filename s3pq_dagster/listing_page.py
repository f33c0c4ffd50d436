"""One page of a listing, from XML to columns: botocore makes 90 µs of each key, this makes 7."""

import xml.etree.ElementTree as ET
from urllib.parse import unquote_plus

import polars as pl
from botocore.utils import parse_timestamp

from s3pq_dagster.objects import LISTING_COLUMNS

_ROOT = "ListBucketResult"
_TIME = "%Y-%m-%dT%H:%M:%S%.fZ"


class KeyEncodingError(ValueError):
    """A listed key is not UTF-8."""


def parse(body: bytes) -> tuple[bytes, pl.DataFrame] | None:
    """Take the objects out of an answer to ListObjectsV2.

    Args:
        body: The XML.

    Returns:
        The XML without its objects, and these in the columns of a :class:`Listing`, in order;
        ``None`` if it is no listing.

    Raises:
        KeyEncodingError: A key is not UTF-8; its URL encoding is the error's text.
        ValueError: An object has no key, no size or no time, or one that is none.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314 - as botocore does; expat bounds what entities make
    except ET.ParseError:
        return None
    namespace, _, name = root.tag.rpartition("}")
    if name != _ROOT:
        return None
    contents = root.findall(f"{namespace}}}Contents" if namespace else "Contents")
    cut = len(namespace) + 1 if namespace else 0
    found = [{child.tag[cut:]: child.text for child in entry} for entry in contents]
    for entry in contents:
        root.remove(entry)
    is_encoded = any(c.tag[cut:] == "EncodingType" and c.text == "url" for c in root)
    return ET.tostring(root), _columns(found, is_encoded=is_encoded)


def decoded(key: str) -> str:
    """Decode a key; some servers write a space as `+`, which only ``unquote_plus`` reads.

    Raises:
        KeyEncodingError: It is not UTF-8.
    """
    if "%" not in key and "+" not in key:
        return key
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        raise KeyEncodingError(key) from error


def _columns(found: list[dict[str, str | None]], *, is_encoded: bool) -> pl.DataFrame:
    try:
        keys = [entry["Key"] or "" for entry in found]
        raw = {
            "key": [decoded(key) if is_encoded else key for key in keys],
            "size": [entry["Size"] for entry in found],
            "e_tag": [entry.get("ETag") for entry in found],
            "last_modified": [entry["LastModified"] for entry in found],
        }
    except KeyError as error:
        msg = "objects without key, size or time"
        raise ValueError(msg) from error
    frame = pl.DataFrame(raw, schema=dict.fromkeys(LISTING_COLUMNS, pl.String))
    if frame.select("size", "last_modified").null_count().sum_horizontal().item():
        msg = "objects without key, size or time"
        raise ValueError(msg)
    try:
        return frame.select(
            pl.col("key"),
            pl.col("size").cast(pl.Int64),
            pl.col("e_tag").str.strip_chars('"').replace("", None),
            _times(frame["last_modified"]).cast(LISTING_COLUMNS["last_modified"]),
        )
    except pl.exceptions.PolarsError as error:
        msg = f"an object whose size is no number: {error}"
        raise ValueError(msg) from error


def _times(texts: pl.Series) -> pl.Series:
    try:
        return texts.str.to_datetime(_TIME, time_unit="us", time_zone="UTC")
    except pl.exceptions.PolarsError:  # another way to write a time
        return pl.Series(texts.name, [parse_timestamp(text) for text in texts])
