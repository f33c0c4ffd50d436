"""Which e_tags are the MD5 of what they name, and what follows when the bytes differ."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from s3pq_dagster.errors import BrokenAnswerError, MalformedObjectError
from s3pq_dagster.objects import ObjectMeta

MOST_READS = 4
"""How often an object is read before its bytes are taken for what they are."""
_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_EXPRESS = "--x-s3"
"""How the names of directory buckets end (S3 user guide, "Directory bucket naming rules")."""


def md5_of(found: ObjectMeta, answer: Mapping[str, Any], bucket: str) -> str | None:
    """Take the MD5 of an object's content from its e_tag, where it is one.

    It is one for an object put in one piece, without encryption or with S3's own keys. It is none
    under a KMS or a customer's key, in S3 Express, and for a multipart upload, whose e_tag ends in
    ``-`` and the number of parts: such content cannot be checked by it (Amazon S3 API reference,
    "Object", ETag).

    Args:
        found: The object as listed.
        answer: What S3 said when it was read; how it is encrypted stands there only.
        bucket: Its bucket's name.

    Returns:
        In hex; ``None`` when the e_tag says nothing of the content.
    """
    with_kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    if with_kms or answer.get("SSECustomerAlgorithm") or bucket.endswith(_EXPRESS):
        return None
    if found.e_tag is None or not _MD5.fullmatch(found.e_tag):
        return None
    return found.e_tag.lower()


def digest_of(pieces: Iterable[bytes]) -> str:
    """Hash content, given in any pieces, as an e_tag does."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def check(found: ObjectMeta, md5: str, digest: str, seen: list[str]) -> None:
    """Hold what was read against what its e_tag says.

    Args:
        found: The object.
        md5: What :func:`md5_of` gave.
        digest: Of the bytes that came.
        seen: The digests of its earlier reads that did not match; gets this one too.

    Raises:
        BrokenAnswerError: They differ; another read may bring the right bytes.
        MalformedObjectError: They differ, and the very same bytes came each of
            :data:`MOST_READS` times: it is no passing fault.
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
