"""One page of a listing: asked for, checked, and parsed from XML to columns.

botocore takes 90 µs to parse a key, this module 5. It uses lxml, which keeps no Python object of
an element: with thousands of those a page, Python's collector of cycles takes as long as parsing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from operator import is_
from typing import Any
from urllib.parse import unquote_plus

import polars as pl
from botocore.utils import parse_timestamp
from lxml import etree

from s3pq_dagster.errors import StoreError, StoreRefusedError
from s3pq_dagster.objects import LISTING_COLUMNS
from s3pq_dagster.s3_errors import SENT_AS_200
from s3pq_dagster.source.requests import Requests, retry_broken

_MOST_KEYS = 1000
"""Keys on a page at most, by S3's rule."""
_MOST_KEY_BYTES = 1024
"""Most bytes of a key in UTF-8 (S3 user guide, "Naming Amazon S3 objects")."""
_MOST_SIZE = 2**63 - 1
"""What stands for every larger size; no object can have any of them."""
_SIZE_DIGITS = 19
_BAD_ARGUMENT = "InvalidArgument"
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
    answer = _answer(requests, asked)
    if (found := _fault(answer, asked, seen)) is not None:
        raise requests.broken(None, found)
    is_last = not answer["IsTruncated"]
    return Page(
        answer["Contents"],
        _prefixes(answer) if "Delimiter" in asked else [],
        None if is_last else str(answer["NextContinuationToken"]),
    )


def _answer(requests: Requests, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return requests.send("list_objects_v2", "s3:ListBucket", **asked)
    except StoreRefusedError as error:
        if "ContinuationToken" not in asked or error.code != _BAD_ARGUMENT:
            raise
        # The token came from this S3, and another listing gets another one.
        msg = f"{requests.endpoint} refuses a continuation token that it gave. Run again."
        raise StoreError(msg) from error


def _fault(answer: dict[str, Any], asked: dict[str, Any], seen: set[str]) -> str | None:
    """Return why an answer is not the page that was asked for; ``None`` if it is."""
    prefix = asked["Prefix"]
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
    keys = answer["Contents"]["key"]
    if (long := keys.filter(keys.str.len_bytes() > _MOST_KEY_BYTES)).len():
        found = len(str(long[0]).encode())
        return f"a listing with a key of {found} bytes, of which S3 allows {_MOST_KEY_BYTES}"
    # The listing of another prefix would hide what is under this one.
    foreign = keys.filter(~keys.str.starts_with(prefix)).to_list()
    if (delimiter := asked.get("Delimiter")) is None:
        foreign += [name for name in _prefixes(answer) if name and not name.startswith(prefix)]
    else:
        # A prefix that is not longer than the one asked for would be asked for without end.
        foreign += [
            name
            for name in _prefixes(answer)
            if not (name.startswith(prefix) and name.endswith(delimiter) and name != prefix)
        ]
    return f"a listing of {prefix!r} with {foreign[0]!r} in it" if foreign else None


def _prefixes(answer: dict[str, Any]) -> list[str]:
    """Return the prefixes of further keys; one without a name is an empty string."""
    found = [str(each.get("Prefix") or "") for each in answer.get("CommonPrefixes") or ()]
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
    else:
        customized_response_dict[SENT_AS_200] = True


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
    sizes = pl.Series("size", [_size(text) for text in frame["size"]], pl.Int64)
    return _converted(frame.with_columns(sizes), pl.Series("last_modified", times))


def _size(text: str) -> int:
    """Read a size; one of more digits than an Int64 has is as impossible as the largest."""
    if re.fullmatch(r"-?[0-9]+", text) is None:
        msg = f"an object whose size is no number: {text[:50]!r}"
        raise ValueError(msg)
    return max(-1, min(int(text), _MOST_SIZE)) if len(text) <= _SIZE_DIGITS else _MOST_SIZE


def _converted(frame: pl.DataFrame, times: pl.Expr | pl.Series) -> pl.DataFrame:
    e_tag = pl.col("e_tag")
    return frame.select(
        pl.col("key"),
        pl.col("size").cast(pl.Int64),
        # A weak e_tag keeps its quotes, which tell it from a strong one.
        pl.when(e_tag.str.starts_with('W/"'))
        .then(e_tag)
        .otherwise(e_tag.str.strip_chars('"'))
        .replace("", None)
        .alias("e_tag"),
        times.cast(LISTING_COLUMNS["last_modified"]),
    )
