"""A page of a listing, from XML to columns."""

from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from s3pq_dagster.errors import BrokenAnswerError, StoreError
from s3pq_dagster.objects import LISTING_COLUMNS
from s3pq_dagster.source.listing_page import list_page, parse
from s3pq_dagster_tests.unit.broken import http, saying
from s3pq_dagster_tests.unit.made import opened_at

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
NOON = datetime(2024, 2, 14, 12, tzinfo=UTC)


def entry(**fields: str) -> str:
    """Write the XML of an object; an empty field is left out."""
    given = {
        "Key": "a",
        "LastModified": "2024-02-14T12:00:00.000Z",
        "ETag": '"v"',
        "Size": "5",
    } | fields
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in given.items() if text)
    return f"<Contents>{inner}<StorageClass>STANDARD</StorageClass></Contents>"


def page(*entries: str, encoding: str = "url", namespace: str = NAMESPACE) -> bytes:
    """Write the XML of a page."""
    space = f' xmlns="{namespace}"' if namespace else ""
    kind = f"<EncodingType>{encoding}</EncodingType>" if encoding else ""
    return (
        f"<?xml version='1.0'?><ListBucketResult{space}><Name>lake</Name>{''.join(entries)}{kind}"
        "<IsTruncated>false</IsTruncated></ListBucketResult>"
    ).encode()


def test_objects_come_in_order_and_leave_the_page() -> None:
    """Every column has its type, and the rest of the page is still a listing."""
    parsed = parse(page(entry(Key="b"), entry(Key="a", Size=str(2**40), ETag="")))
    assert parsed is not None
    rest, frame = parsed
    assert frame.schema == LISTING_COLUMNS
    assert frame.rows() == [("b", 5, "v", NOON), ("a", 2**40, None, NOON)]
    assert b"Contents" not in rest
    assert b"IsTruncated" in rest


def test_facts_stay_with_their_object() -> None:
    """Fields may be in any order, missing, or mixed with fields that are not used."""
    written = b"""<ListBucketResult xmlns="urn:a">
      <!-- Contents, Key -->
      <Contents> <Size>1</Size> <Key>a</Key> <LastModified>2024-02-14T12:00:00Z</LastModified>
        <Owner><ID>x</ID><Key>not a key</Key></Owner> </Contents>
      <Contents><Key><![CDATA[b & c]]></Key><ETag>&quot;v&quot;</ETag><Size>2</Size>
        <LastModified>2024-02-14T12:00:00Z</LastModified><!-- no more --></Contents>
      <CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>
      <Contents><ETag/><Key>e</Key><LastModified>2024-02-14T12:00:00Z</LastModified>
        <Size>3</Size></Contents>
    </ListBucketResult>"""
    parsed = parse(written)
    assert parsed is not None
    rest, frame = parsed
    assert frame.rows() == [("a", 1, None, NOON), ("b & c", 2, "v", NOON), ("e", 3, None, NOON)]
    assert b"<Prefix>d/</Prefix>" in rest


@pytest.mark.parametrize("within", ["<!-- c -->", "<?p i?>", "<![CDATA[]]>"])
def test_what_is_no_text_cuts_none(within: str) -> None:
    """The text of a field continues behind a comment, an instruction or an empty section."""
    written = page(entry(Key="a|b%20c", Size="1|5", ETag='"v|w"'), encoding="u|rl")
    parsed = parse(written.replace(b"|", within.encode()))
    assert parsed is not None
    assert parsed[1].rows() == [("ab c", 15, "vw", NOON)]


def with_entities(declared: str, **fields: str) -> bytes:
    """Write a page with a document type and an object that uses its entity."""
    written = page(entry(**fields)).replace(b"&amp;", b"&")
    head = f"<!DOCTYPE ListBucketResult [{declared}]><ListBucketResult"
    return written.replace(b"<ListBucketResult", head.encode())


def test_an_entity_cuts_no_key() -> None:
    """A page that declares entities is not parsed here."""
    assert parse(with_entities('<!ENTITY e "b">', Key="a&e;c")) is None


def test_no_entity_makes_a_page_read_a_file(tmp_path: Path) -> None:
    """A page from an untrusted server cannot make this machine read a local file."""
    (tmp_path / "secret").write_text("5")
    declared = f'<!ENTITY s SYSTEM "{(tmp_path / "secret").as_uri()}">'
    assert parse(with_entities(declared, Size="&s;")) is None


def test_entities_do_not_multiply() -> None:
    """Nested entities that would expand to gigabytes are not expanded."""
    levels = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 10))
    assert parse(with_entities(f'<!ENTITY e0 "lol">{levels}', Key="&e9;")) is None


@pytest.mark.parametrize("namespace", ["", NAMESPACE, "urn:another"])
def test_any_namespace_will_do(namespace: str) -> None:
    """Some servers send another namespace, or none."""
    parsed = parse(page(entry(), namespace=namespace))
    assert parsed is not None
    assert parsed[1].height == 1


def test_a_weak_e_tag_keeps_its_form() -> None:
    """Its mark and quotes tell it from a strong one."""
    parsed = parse(page(entry(ETag='W/"v"'), entry(ETag='"v"'), entry(ETag="v"), entry(ETag='""')))
    assert parsed is not None
    assert parsed[1]["e_tag"].to_list() == ['W/"v"', "v", "v", None]


@pytest.mark.parametrize(
    ("size", "read"),
    [("9223372036854775807", 2**63 - 1), ("9223372036854775808", 2**63 - 1), ("-1", -1)]
    + [("9" * digits, 2**63 - 1) for digits in (20, 5000)],
)
def test_a_size_beyond_any_number_is_read(size: str, read: int) -> None:
    """One object that cannot be is no reason to refuse the listing."""
    parsed = parse(page(entry(Key="a", Size=size), entry(Key="b")))
    assert parsed is not None
    assert parsed[1]["size"].to_list() == [read, 5]


PREFIXES = {
    "an empty element": "<CommonPrefixes/>",
    "an empty prefix": "<CommonPrefixes><Prefix/></CommonPrefixes>",
    "the prefix itself": "<CommonPrefixes><Prefix>t/</Prefix></CommonPrefixes>",
    "one that does not end": "<CommonPrefixes><Prefix>t/a</Prefix></CommonPrefixes>",
}


@pytest.mark.parametrize("written", PREFIXES.values(), ids=PREFIXES)
def test_prefixes_that_were_not_asked_for_do_not_matter(written: str) -> None:
    """Without a delimiter all keys are listed, so that nothing is missing."""
    body = page(entry(Key="t/a"), written)
    with saying([http(body)]) as server, opened_at(server.endpoint) as store:
        found = list_page(store.requests, "t/", seen=set())
    assert (found.objects["key"].to_list(), found.prefixes) == (["t/a"], [])


@pytest.mark.first_case
@pytest.mark.parametrize("written", PREFIXES.values(), ids=PREFIXES)
def test_a_prefix_that_leads_nowhere_is_no_answer(written: str) -> None:
    """What lies below it would be missed, or listed without end."""
    body = page(entry(Key="t/a"), written)
    with (
        saying([http(body)]) as server,
        opened_at(server.endpoint) as store,
        pytest.raises(BrokenAnswerError, match="a listing of 't/' with"),
    ):
        list_page(store.requests, "t/", delimiter="/", seen=set())


@pytest.mark.parametrize(("token", "may_help"), [("t", True), (None, False)])
def test_a_refused_continuation_token_is_worth_another_listing(
    token: str | None, *, may_help: bool
) -> None:
    """A new listing gets new tokens; an argument that is refused without one stays refused."""
    body = b"<Error><Code>InvalidArgument</Code><Message>m</Message></Error>"
    with (
        saying([http(body, status="400 Bad Request")]) as server,
        opened_at(server.endpoint) as store,
        pytest.raises(StoreError) as caught,
    ):
        list_page(store.requests, "", token=token, seen=set())
    assert caught.value.retryable is may_help


def test_a_key_longer_than_s3_has_any_is_no_answer() -> None:
    """S3's limit is 1,024 bytes, in UTF-8."""
    for key, is_right in (("\u00fc" * 512, True), ("\u00fc" * 512 + "x", False)):
        body = page(entry(Key=key), encoding="")
        with saying([http(body)]) as server, opened_at(server.endpoint) as store:
            if is_right:
                assert list_page(store.requests, "", seen=set()).objects["key"].to_list() == [key]
                continue
            with pytest.raises(BrokenAnswerError, match="a key of 1025 bytes"):
                list_page(store.requests, "", seen=set())


def test_a_page_may_be_empty() -> None:
    """An empty page has all columns."""
    parsed = parse(page())
    assert parsed is not None
    assert (parsed[1].height, parsed[1].schema) == (0, LISTING_COLUMNS)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("a%20b", "a b"),
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("%C3%BC%01%22", 'ü\x01"'),
        ("a//..", "a//.."),
    ],
)
def test_keys_are_decoded(written: str, key: str) -> None:
    """Keys are decoded from S3's encoding, and from that of servers that write a space as +."""
    parsed = parse(page(entry(Key=written)))
    assert parsed is not None
    assert parsed[1]["key"].to_list() == [key]


def test_keys_of_a_page_that_is_not_encoded_stay() -> None:
    """In such a page a per cent sign stands for itself."""
    parsed = parse(page(entry(Key="a%20+"), encoding=""))
    assert parsed is not None
    assert parsed[1]["key"].to_list() == ["a%20+"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-02-14T12:00:00Z", NOON),
        ("2024-02-14T12:00:00.123456Z", NOON.replace(microsecond=123_456)),
        ("Wed, 14 Feb 2024 12:00:00 GMT", NOON),
        ("2024-02-14T14:00:00+02:00", NOON),
    ],
)
def test_times_are_read_however_they_are_written(text: str, moment: datetime) -> None:
    """S3's format and every format that botocore reads give the same times."""
    parsed = parse(page(entry(LastModified=text), entry()))
    assert parsed is not None
    assert parsed[1]["last_modified"].to_list() == [moment, NOON]


@pytest.mark.parametrize("field", ["Key", "Size", "LastModified"])
def test_an_object_without_a_fact_is_refused(field: str) -> None:
    """No default takes the place of a missing field."""
    with pytest.raises(ValueError, match="objects without"):
        parse(page(entry(), entry(**{field: ""})))


@pytest.mark.parametrize("field", ["Key", "Size", "LastModified"])
def test_what_an_object_has_twice_is_not_the_next_ones(field: str) -> None:
    """A field that one object has twice is not given to another object without it."""
    twice = entry(Key="b").replace("</Contents>", f"<{field}>7</{field}></Contents>")
    with pytest.raises(ValueError, match="without key, size or time"):
        parse(page(entry(Key="a"), twice, entry(**{"Key": "c", field: ""})))


def test_an_e_tag_that_an_object_has_twice_is_not_the_next_ones() -> None:
    """A second e_tag of one object is not given to the next object without one."""
    twice = entry(Key="a").replace("</Contents>", "<ETag>w</ETag></Contents>")
    parsed = parse(page(twice, entry(Key="b", ETag="")))
    assert parsed is not None
    assert parsed[1]["e_tag"].to_list() == ["w", None]


@pytest.mark.parametrize("fields", [{"Size": "five"}, {"LastModified": "soon"}])
def test_a_fact_that_is_none_is_refused(fields: dict[str, str]) -> None:
    """A size or a time that cannot be read is an error."""
    with pytest.raises(ValueError, match=r"five|soon"):
        parse(page(entry(**fields)))


def test_a_key_that_is_not_utf_8_is_named() -> None:
    """The error shows the key in its URL encoding."""
    with pytest.raises(StoreError, match="'a%FF'"):
        parse(page(entry(Key="a%FF")))


@pytest.mark.parametrize("body", [b"", b"<html><body>hello</body></html>", b"<Error/>", b"{}"])
def test_what_is_no_listing_is_left_to_others(body: bytes) -> None:
    """Other documents are not parsed here, including errors with status 200."""
    assert parse(body) is None
