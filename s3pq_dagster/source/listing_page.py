"""One page of a listing, from XML to columns: botocore makes 90 µs of each key, this makes 5.

By lxml, which keeps no object of an element: thousands of them a page take Python's collector of
cycles as long as it takes to read the page.
"""

from collections.abc import Iterable
from operator import is_
from typing import Any
from urllib.parse import unquote_plus

import polars as pl
from botocore.utils import parse_timestamp
from lxml import etree

from s3pq_dagster.objects import LISTING_COLUMNS

_ROOT = "ListBucketResult"
_FIELDS = {"key": "Key", "size": "Size", "e_tag": "ETag", "last_modified": "LastModified"}
"""What each column is called there."""
_HOW = {
    # No file is read, and nothing but XML's own entities replaced.
    "resolve_entities": False,
    "no_network": True,
    # Each would end the text it is in.
    "remove_comments": True,
    "remove_pis": True,
}
_TIME = "%Y-%m-%dT%H:%M:%S%.fZ"


class KeyEncodingError(ValueError):
    """A listed key is not UTF-8."""


def parse(body: bytes) -> tuple[bytes, pl.DataFrame] | None:
    """Take the objects out of an answer to ListObjectsV2.

    Args:
        body: The XML.

    Returns:
        The XML without its objects, and these in the columns of a :class:`Listing`, in order;
        ``None`` if it is no listing, or one with a document type, which S3 does not send.

    Raises:
        KeyEncodingError: A key is not UTF-8; its URL encoding is the error's text.
        ValueError: An object has no key, no size or no time, or one that is none.
    """
    try:
        root = etree.fromstring(body, etree.XMLParser(**_HOW))
    except etree.XMLSyntaxError:
        return None
    name = etree.QName(root)
    # With a document type come entities, by which a text may be more than is seen of it here.
    if name.localname != _ROOT or root.getroottree().docinfo.internalDTD is not None:
        return None
    space = f"{{{name.namespace}}}" if name.namespace else ""
    texts = _texts(root, space)
    etree.strip_elements(root, f"{space}Contents")
    is_encoded = root.findtext(f"{space}EncodingType") == "url"
    return etree.tostring(root), _columns(texts, is_encoded=is_encoded)


def _texts(root: Any, space: str) -> dict[str, list[str | None]]:
    """Give each object's texts by column, in order; ``None`` where there is none."""
    objects = list(root.iterchildren(f"{space}Contents"))
    texts: dict[str, list[str | None]] = {column: [] for column in _FIELDS}
    if all(_take_each(objects, root.iter(space + _FIELDS[name]), texts[name]) for name in texts):
        return texts
    texts = {column: [] for column in _FIELDS}
    wanted = [(space + field, texts[column]) for column, field in _FIELDS.items()]
    for each in objects:
        found = {child.tag: child.text for child in each}
        for tag, column in wanted:
            column.append(found.get(tag))
    return texts


def _take_each(objects: list[Any], fields: Iterable[Any], texts: list[str | None]) -> bool:
    """Take the text of a field of all objects; tell whether each has just one such field.

    Most listings are so, and then it takes half the time: no field's name is made a string.
    """
    found = list(fields)
    if len(found) != len(objects):
        return False
    texts += [field.text for field in found]
    return all(map(is_, objects, [field.getparent() for field in found]))


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


def _columns(texts: dict[str, list[str | None]], *, is_encoded: bool) -> pl.DataFrame:
    if is_encoded:
        texts["key"] = [key and decoded(key) for key in texts["key"]]
    frame = pl.DataFrame(texts, schema=dict.fromkeys(LISTING_COLUMNS, pl.String))
    if any(frame[column].null_count() for column in ("key", "size", "last_modified")):
        msg = "objects without key, size or time"
        raise ValueError(msg)
    time = pl.col("last_modified")
    try:
        return _converted(frame, time.str.to_datetime(_TIME, time_unit="us", time_zone="UTC"))
    except pl.exceptions.PolarsError:  # another way to write a time
        times = [parse_timestamp(text) for text in frame["last_modified"]]
    try:
        return _converted(frame, pl.Series("last_modified", times))
    except pl.exceptions.PolarsError as error:
        msg = f"an object whose size is no number: {error}"
        raise ValueError(msg) from error


def _converted(frame: pl.DataFrame, times: pl.Expr | pl.Series) -> pl.DataFrame:
    return frame.select(
        pl.col("key"),
        pl.col("size").cast(pl.Int64),
        pl.col("e_tag").str.strip_chars('"').replace("", None),
        times.cast(LISTING_COLUMNS["last_modified"]),
    )
