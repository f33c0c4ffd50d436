"""What e_tags say: which are weak, which are an MD5, and what follows when the bytes differ."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from s3pq_dagster.errors import BrokenAnswerError, MalformedObjectError
from s3pq_dagster.objects import ObjectMeta

MOST_READS = 4
"""Reads that return the same wrong bytes before the object itself is taken for damaged."""
_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_WEAK = "W/"
"""How a weak e_tag starts (RFC 9110, section 8.8.3)."""
_EXPRESS = "--x-s3"
"""How the names of directory buckets end (S3 user guide, "Directory bucket naming rules")."""


def of_header(text: str) -> str | None:
    """Take an e_tag out of a header as :attr:`ObjectMeta.e_tag` has it; ``None`` if it is empty."""
    return text if text.startswith(f'{_WEAK}"') else text.strip('"') or None


def if_match(e_tag: str | None) -> str | None:
    """Return the value of ``If-Match`` that asks for a version; ``None`` if none can.

    A weak e_tag matches no condition, not even its own (RFC 9110, section 13.1.1), so the answer's
    e_tag alone shows whether the object was overwritten.
    """
    return None if e_tag is None or e_tag.startswith(f'{_WEAK}"') else f'"{e_tag}"'


def is_same(one: str | None, other: str | None) -> bool:
    """Return whether two e_tags are of one version; what lies between may have weakened one."""
    return _opaque(one) == _opaque(other)


def _opaque(e_tag: str | None) -> str | None:
    return None if e_tag is None else e_tag.removeprefix(_WEAK).strip('"')


def expected_md5(found: ObjectMeta, answer: Mapping[str, Any], bucket: str) -> str | None:
    """Return the MD5 of an object's content, where its e_tag is that.

    The e_tag is the MD5 of an object put in one piece, without encryption or with S3's own keys.
    It is something else under a KMS or a customer's key, in S3 Express, and for a multipart upload,
    whose e_tag ends in ``-`` and the number of parts (Amazon S3 API reference, "Object", ETag).

    Args:
        found: The object as listed.
        answer: S3's answer to a read, the only place that says how the object is encrypted.
        bucket: Name of the bucket.

    Returns:
        The MD5 in hex; ``None`` when the e_tag says nothing about the content.
    """
    with_kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    if with_kms or answer.get("SSECustomerAlgorithm") or bucket.endswith(_EXPRESS):
        return None
    if found.e_tag is None or not _MD5.fullmatch(found.e_tag):
        return None
    return found.e_tag.lower()


def md5_hex(pieces: Iterable[bytes]) -> str:
    """Return the MD5 of content that comes in pieces, in hex."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def check(found: ObjectMeta, md5: str, digest: str, seen: list[str]) -> None:
    """Compare the MD5 of the bytes that were read with the one that the e_tag gives.

    Args:
        found: The object.
        md5: Expected MD5, from :func:`expected_md5`.
        digest: MD5 of the bytes that came.
        seen: Digests of earlier reads that did not match; this one is appended.

    Raises:
        BrokenAnswerError: They differ; another read may bring the right bytes.
        MalformedObjectError: They differ, and :data:`MOST_READS` reads gave the very same bytes,
            so that the fault is the object's and not the transfer's.
    """
    if digest == md5:
        return
    seen.append(digest)
    if len(seen) >= MOST_READS and len(set(seen)) == 1:
        raise MalformedObjectError(
            found.key,
            f"the MD5 of its bytes is {digest} while its e_tag says {md5}, {len(seen)} times "
            f"running: it is damaged, or this S3's e_tags are no MD5s. If they are none, set "
            f"verify_e_tags to false and run with retry_quarantined",
        )
    raise BrokenAnswerError(
        f"the bytes of {found.key!r} do not match its e_tag: their MD5 is {digest}, not {md5}. "
        f"Something between here and S3 changes them. Run again; if it stays, look for it there."
    )
