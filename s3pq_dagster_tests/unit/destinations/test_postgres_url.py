"""Database URLs are parsed or refused, and no secret is shown."""

from urllib.parse import parse_qs, urlsplit

import pytest

from s3pq_dagster.destinations.postgres.url import parsed
from s3pq_dagster.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "shown", "database"),
    [
        ("postgresql://u:canary@h:5432/lake", "postgresql://h:5432/lake", "lake"),
        ("postgres://u:canary@h/lake", "postgresql://h/lake", "lake"),
        ("postgresql://h/lake", "postgresql://h/lake", "lake"),
        ("postgresql:///lake", "postgresql:///lake", "lake"),
        ("postgresql://u@/lake?host=/run/pg", "postgresql:///lake?host=/run/pg", "lake"),
        ("postgresql://u@h1:1,h2:2/a%20b", "postgresql://h1:1,h2:2/a b", "a b"),
        ("postgresql://u@[::1]:5432/lake", "postgresql://[::1]:5432/lake", "lake"),
        ("postgresql://u@%2Frun%2Fpg/lake", "postgresql://%2Frun%2Fpg/lake", "lake"),
        ("postgresql://u:can@ary@h/lake", "postgresql://h/lake", "lake"),
        ("postgresql://u:canary%@h/lake", "postgresql://h/lake", "lake"),
        ("postgresql://h/lake?password=canary&user=u", "postgresql://h/lake", "lake"),
        ("postgresql://h/lake?sslpassword=canary", "postgresql://h/lake", "lake"),
    ],
)
def test_a_url_is_taken_apart(url: str, shown: str, database: str) -> None:
    """The shown form has neither user nor password."""
    found = parsed(url)
    assert (found.shown, found.database) == (shown, database)
    assert f"{found} {found!r} {found!s}" == " ".join([shown] * 3)
    text = "canary can@ary canary% can%40ary canary%25 canary%"
    if "can" in url:
        assert any(secret not in found.masked(text) for secret in found.secrets)
        assert all(secret not in found.masked(text) for secret in found.secrets)


def test_the_driver_gets_everything_encoded() -> None:
    """Every part is percent-encoded, and missing parameters get defaults."""
    found = parsed("postgresql://u%20u:p@s%2Fs%@h:1/a%2Fb?connect_timeout=3&options=-c%20a%3Db")
    parts = urlsplit(found.text)
    assert parts.netloc == "u%20u:p%40s%2Fs%25@h:1"
    assert parts.path == "/a%2Fb"
    query = parse_qs(parts.query)
    assert query["connect_timeout"] == ["3"]
    assert query["options"] == ["-c a=b"]
    assert query["keepalives_idle"] == ["60"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:can/ary@h/lake",
        "postgresql://u:12/canary@h/lake",
        "postgresql://u:can#ary@h/lake",
        "postgresql://u:12#canary@h/lake",
        "postgresql://u:can?ary@h/lake",
        "postgresql://u:12?canary@h/lake",
        "postgresql://u:12?canary=3@h/lake",
        "postgresql://u:[canary@h/lake",
        "postgresql://u:canary@h:port/lake",
        "postgresql://u:canary@h",
        "postgresql://u:canary@h/",
        "postgresql://u:canary@h/a/b",
        "postgresql://u:canary@h/lake?what",
        "postgresql:u:canary@h/lake",
        "postgresql+psycopg2://u:canary@h/lake",
        "host=h password=canary dbname=lake",
        "",
    ],
)
def test_a_url_that_cannot_be_one_is_refused_unseen(url: str) -> None:
    """A password with / or # in it makes such a URL, and libpq would show a piece of it."""
    with pytest.raises(ConfigurationError, match=r"percent-encode @ as %40") as caught:
        parsed(url)
    assert "canary" not in str(caught.value)
    assert "ary" not in str(caught.value).replace("library", "")
    assert caught.value.__context__ is None or "canary" not in str(caught.value.__context__)
