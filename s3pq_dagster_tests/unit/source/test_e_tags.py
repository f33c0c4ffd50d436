"""Which e_tags are the MD5 of an object's content, and what follows when the bytes differ."""

import hashlib
from typing import Any

import pytest

from s3pq_dagster.errors import BrokenAnswerError, MalformedObjectError
from s3pq_dagster.source import e_tags
from s3pq_dagster_tests.unit.made import meta

MD5 = hashlib.md5(b"content").hexdigest()


@pytest.mark.parametrize("e_tag", [MD5, MD5.upper()])
@pytest.mark.parametrize("answer", [{}, {"ServerSideEncryption": "AES256"}])
def test_the_e_tag_of_a_plain_put_is_its_md5(e_tag: str, answer: dict[str, Any]) -> None:
    """The e_tag is the MD5 even if S3 encrypts the object with its own keys."""
    assert e_tags.expected_md5(meta("a", e_tag), answer, "lake") == MD5


@pytest.mark.parametrize("e_tag", [None, f"{MD5}-1", f"{MD5}-120", "v1", MD5[:-1], f"{MD5}0", ""])
def test_other_e_tags_say_nothing_of_the_content(e_tag: str | None) -> None:
    """Multipart uploads have e_tags with a dash, and another server may send any or none."""
    assert e_tags.expected_md5(meta("a", e_tag), {}, "lake") is None


@pytest.mark.parametrize(
    "answer",
    [
        {"ServerSideEncryption": "aws:kms"},
        {"ServerSideEncryption": "aws:kms:dsse"},
        {"SSECustomerAlgorithm": "AES256"},
    ],
    ids=str,
)
def test_under_a_key_of_the_users_an_e_tag_is_no_md5(answer: dict[str, Any]) -> None:
    """KMS and customer keys give e_tags that only look like an MD5."""
    assert e_tags.expected_md5(meta("a", MD5), answer, "lake") is None


def test_in_a_directory_bucket_an_e_tag_is_no_md5() -> None:
    """S3 Express has e_tags of another kind."""
    assert e_tags.expected_md5(meta("a", MD5), {}, "lake--use1-az4--x-s3") is None


def test_a_digest_does_not_depend_on_the_pieces() -> None:
    """The pieces of a large object give the MD5 of the whole."""
    assert e_tags.md5_hex([b"con", b"", b"tent"]) == MD5


def test_bytes_that_match_are_taken() -> None:
    """A matching digest is not remembered among the failures."""
    seen: list[str] = []
    e_tags.check(meta("a"), MD5, MD5, seen)
    assert seen == []


def test_the_same_wrong_bytes_again_and_again_are_the_objects() -> None:
    """The reason has both digests, and what to do if the e_tags are no MD5s."""
    seen: list[str] = []
    for _ in range(e_tags.MOST_READS - 1):
        with pytest.raises(BrokenAnswerError, match="do not match its e_tag"):
            e_tags.check(meta("a"), MD5, "f" * 32, seen)
    with pytest.raises(MalformedObjectError) as caught:
        e_tags.check(meta("a"), MD5, "f" * 32, seen)
    assert all(
        word in caught.value.reason
        for word in (MD5, "f" * 32, "verify_e_tags", "retry_quarantined")
    )


def test_wrong_bytes_that_differ_are_the_transfers() -> None:
    """Different wrong bytes never quarantine the object, which may be good."""
    seen: list[str] = []
    for number in range(2 * e_tags.MOST_READS):
        with pytest.raises(BrokenAnswerError):
            e_tags.check(meta("a"), MD5, f"{number:032x}", seen)
