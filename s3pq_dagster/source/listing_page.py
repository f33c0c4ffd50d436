"""One page of a listing: asked for, checked, and parsed from XML to columns.

botocore takes 90 µs to parse a key, this module 5. It uses lxml, which keeps no Python object of
an element: with thousands of those a page, Python's collector of cycles takes as long as parsing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import is_
from typing import Any
from urllib.parse import unquote_plus

import polars as pl
from botocore.utils import parse_timestamp
from lxml import etree

from s3pq_dagster.errors import StoreError
from s3pq_dagster.objects import LISTING_COLUMNS
from s3pq_dagster.source.requests import Requests, retry_broken

_MOST_KEYS = 1000
"""Keys on a page at most, by S3's rule."""
_ROOT = "ListBucketResult"
_FIELDS = {"key": "Key", "size": "Size", "e_tag": "ETag", "last_modified": "LastModified"}
"""Column of a listing to XML element."""
_PARSER = {
    # No file is read, and nothing but XML's own entities replaced.
    "resolve_entities": False,
    "no_network": True,
    # Each would end the text it is in.
    "remove_comments": True,
    "remove_pis": True,
}
_TIME = "%Y-%m-%dT%H:%M:%S%.fZ"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing."""

    objects: pl.DataFrame
    """Objects in the bucket's order, in the columns of a :class:`Listing`."""
    prefixes: list[str]
    """With a delimiter: prefixes of further keys, each up to and including the delimiter."""
    next_token: str | None
    """Token of the page that follows; ``None`` on the last page."""


def list_page(
    requests: Requests,
    prefix: str,
    *,
    delimiter: str = "",
    token: str | None = None,
    seen: set[str],
) -> Page:
    """Ask for one page of a listing, again where the answer is broken.

    Args:
        requests: The bucket.
        prefix: Raw string that keys start with; empty lists the bucket.
        delimiter: ``/`` gives prefixes instead of keys with a further slash behind the prefix.
        token: Token of the page, from the page before it; ``None`` asks for the first page.
        seen: Tokens of this listing so far; the next page's is added.

    Returns:
        At most 1,000 objects, their keys exactly as S3 has them.

    Raises:
        BucketNotFoundError: The bucket is not there.
        AccessDeniedError: ``s3:ListBucket`` is missing.
        CredentialsError: Credentials are missing, wrong or expired.
        StoreUnreachableError: Nothing answers.
        StoreError: Anything else, after retries.
    """
    asked: dict[str, Any] = {
        "Prefix": prefix,
        "MaxKeys": _MOST_KEYS,
        "EncodingType": "url",  # XML cannot hold every key
    }
    if delimiter:
        asked["Delimiter"] = delimiter
    if token is not None:
        asked["ContinuationToken"] = token
    page = _ask(requests, asked, seen)
    if page.next_token is not None:
        seen.add(page.next_token)
    return page


@retry_broken
def _ask(requests: Requests, asked: dict[str, Any], seen: set[str]) -> Page:
    answer = requests.send("list_objects_v2", "s3:ListBucket", **asked)
    if (found := _fault(answer, asked["Prefix"], seen)) is not None:
        raise requests.broken(None, found)
    is_last = not answer["IsTruncated"]
    return Page(
        answer["Contents"],
        _prefixes(answer),
        None if is_last else str(answer["NextContinuationToken"]),
    )


def _fault(answer: dict[str, Any], prefix: str, seen: set[str]) -> str | None:
    """Return why an answer is not a page of the listing of a prefix; ``None`` if it is one."""
    # botocore parses an HTML page with status 200 as an empty listing, and an answer that
    # `take_objects` refused as a listing without our columns.
    is_whole = {"IsTruncated", "Name", "Contents"} <= answer.keys()
    if not is_whole or not isinstance(answer["Contents"], pl.DataFrame):
        return "that is no S3 listing"
    token = answer.get("NextContinuationToken")
    if answer["IsTruncated"] and not token:
        return "a listing that goes on, but not where"
    if answer["IsTruncated"] and token in seen:
        return "one page for ever"
    # The listing of another prefix would hide what is under this one.
    keys = answer["Contents"]["key"]
    names = [*keys.filter(~keys.str.starts_with(prefix)), *_prefixes(answer)]
    foreign = next((name for name in names if not name.startswith(prefix)), None)
    return None if foreign is None else f"a listing of {prefix!r} with {foreign!r} in it"


def _prefixes(answer: dict[str, Any]) -> list[str]:
    found = [str(each["Prefix"]) for each in answer.get("CommonPrefixes", ())]
    is_encoded = answer.get("EncodingType") == "url"
    return [_decoded(prefix) for prefix in found] if is_encoded else found


def take_objects(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_event: Any
) -> None:
    """Parse a page's objects before botocore does; a handler of botocore's events."""
    if response_dict["status_code"] != 200:  # noqa: PLR2004 - HTTP
        return
    parsed = parse(response_dict["body"])
    if parsed is not None:
        response_dict["body"], customized_response_dict["Contents"] = parsed


def parse(body: bytes) -> tuple[bytes, pl.DataFrame] | None:
    """Take the objects out of an answer to ListObjectsV2.

    Args:
        body: The XML.

    Returns:
        The XML without its objects, and the objects in the columns of a :class:`Listing`, in
        order; ``None`` if it is no listing, or one with a document type, which S3 does not send.

    Raises:
        StoreError: A key is not UTF-8.
        ValueError: An object has no key, size or time, or one that cannot be read.
    """
    try:
        root = etree.fromstring(body, etree.XMLParser(**_PARSER))
    except etree.XMLSyntaxError:
        return None
    name = etree.QName(root)
    # A document type may define entities, which can make a text longer than it looks here.
    if name.localname != _ROOT or root.getroottree().docinfo.internalDTD is not None:
        return None
    space = f"{{{name.namespace}}}" if name.namespace else ""
    texts = _texts(root, space)
    etree.strip_elements(root, f"{space}Contents")
    is_encoded = root.findtext(f"{space}EncodingType") == "url"
    return etree.tostring(root), _columns(texts, is_encoded=is_encoded)


def _texts(root: Any, space: str) -> dict[str, list[str | None]]:
    """Return the texts of all objects by column, in order; ``None`` where one is missing."""
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
    """Append the text of one field of all objects; return whether each has exactly one such field.

    Nearly every listing has. It takes half the time of asking each object for its fields, because
    lxml makes no Python string of a field's name.
    """
    found = list(fields)
    if len(found) != len(objects):
        return False
    texts += [field.text for field in found]
    return all(map(is_, objects, [field.getparent() for field in found]))


def _decoded(key: str) -> str:
    """Decode a key; some servers write a space as `+`, which only ``unquote_plus`` reads.

    Raises:
        StoreError: It is not UTF-8.
    """
    if "%" not in key and "+" not in key:
        return key
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        msg = (
            f"the listing has the key {key!r} (in URL encoding), which is not UTF-8 as S3 requires "
            f"of keys. Rename the object, or narrow `path_prefix` so that it is not listed."
        )
        raise StoreError(msg) from error


def _columns(texts: dict[str, list[str | None]], *, is_encoded: bool) -> pl.DataFrame:
    if is_encoded:
        texts["key"] = [key and _decoded(key) for key in texts["key"]]
    frame = pl.DataFrame(texts, schema=dict.fromkeys(LISTING_COLUMNS, pl.String))
    if any(frame[column].null_count() for column in ("key", "size", "last_modified")):
        msg = "objects without key, size or time"
        raise ValueError(msg)
    time = pl.col("last_modified")
    try:
        return _converted(frame, time.str.to_datetime(_TIME, time_unit="us", time_zone="UTC"))
    except pl.exceptions.PolarsError:  # times in another format than S3's
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
