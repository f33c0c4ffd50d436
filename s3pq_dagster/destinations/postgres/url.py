"""Parses database URLs: the form that libpq gets, and the form that may be shown."""

import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from s3pq_dagster.errors import ConfigurationError

SCHEMES = ("postgresql", "postgres")
FORM = "postgresql://user@host:5432/database"
_SECRET = ("password", "sslpassword")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:@/\[\]]*)(:[0-9]{0,5})?")
_PARAMETER = re.compile(r"[a-z_]+=[^=]*")
_DEFAULTS = {
    # libpq waits for minutes or hours otherwise where a network swallows packets.
    "connect_timeout": "30",
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "application_name": "s3pq_dagster",
}
_OURS = {"client_encoding": "UTF8"}
"""Parameters that override the URL's: rows are sent as UTF-8, whatever the database's encoding."""


@dataclass(frozen=True, slots=True, repr=False)
class PostgresUrl:
    """A parsed URL; neither ``repr`` nor ``str`` shows a secret."""

    text: str
    """The URL for libpq: percent-encoded, with default parameters where the user gave none."""
    shown: str
    """The server and the database, without user and password."""
    database: str
    secrets: tuple[str, ...]
    """Passwords in every spelling, longest first."""

    def __repr__(self) -> str:
        return self.shown

    def masked(self, text: str) -> str:
        """Replace every secret in a text by ``***``."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def parsed(url: str) -> PostgresUrl:
    """Parse a URL.

    Raises:
        ConfigurationError: The URL is malformed. No part of it is in the message.
    """
    # libpq quotes pieces of a URL that it cannot parse in its error, and a password with @, / or #
    # in it makes such a URL. So libpq never gets a URL that was not parsed here first.
    try:
        parts = urlsplit(url)
    except ValueError:
        _refuse("its host is no address")
    if parts.scheme not in SCHEMES:
        _refuse(f"it must begin with {SCHEMES[0]}://")
    if parts.fragment:
        _refuse("it has a # in it")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        _refuse("its host or port is none")
    path = parts.path[1:]
    if not path or "/" in path or "@" in path:
        _refuse("it must name one database behind the host")
    query = _query(parts)
    known = [password, *(value for name, value in query.items() if name in _SECRET)]
    spelled = {each for value in known for each in (value, unquote(value), _encoded(value))}
    return PostgresUrl(
        text=_for_driver(user, password, hosts, path, query),
        shown=f"postgresql://{hosts}/{unquote(path)}"
        + (f"?host={query['host']}" if "host" in query else ""),
        database=unquote(path),
        secrets=tuple(sorted(filter(None, spelled), key=len, reverse=True)),
    )


def _query(parts: SplitResult) -> dict[str, str]:
    if not all(_PARAMETER.fullmatch(each) for each in parts.query.split("&") if parts.query):
        _refuse("what is behind its ? is not name=value")
    return dict(parse_qsl(parts.query, keep_blank_values=True))


def _for_driver(user: str, password: str, hosts: str, path: str, query: dict[str, str]) -> str:
    who = _encoded(user) + (f":{_encoded(password)}" if password else "")
    said = urlencode(_DEFAULTS | query | _OURS, quote_via=quote)
    return f"postgresql://{who}{'@' if who else ''}{hosts}/{_encoded(path)}?{said}"


def _encoded(part: str) -> str:
    """Percent-encode a part that may be encoded already."""
    return quote(unquote(part), safe="")


def _refuse(found: str) -> NoReturn:
    raise ConfigurationError(
        f"the URL of the PostgreSQL database cannot be used: {found}. It looks like {FORM}, or "
        f"postgresql:///database?host=/var/run/postgresql for a socket; in user and password, "
        f"percent-encode @ as %40, / as %2F, # as %23 and ? as %3F. It is not shown here because "
        f"of what may be in it."
    )
