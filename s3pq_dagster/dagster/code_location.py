"""How a sensor asks the code location that it runs in to reload."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from s3pq_dagster.dagster.processes import has_address, load_error
from s3pq_dagster.errors import ConfigurationError, one_line

_ANSWER_SECONDS = 10
"""How long a server may take to answer what costs it nothing."""
_RELOAD_SECONDS = 300
"""How long a webserver may take to reload."""
_MOST_SHOWN = 300


class NotReloadedError(Exception):
    """A code location did not reload; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class WebserverAddress:
    """Where a Dagster webserver answers."""

    url: str
    host: str
    port: int | None
    is_https: bool
    path: str

    @classmethod
    def of(cls, url: str) -> "WebserverAddress":
        """Read a URL, such as ``http://dagster.lan:3000/prefix``.

        Raises:
            ConfigurationError: It is no URL of a webserver. The message does not repeat a password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        given = "one with a user or a password" if "@" in url else repr(one_line(url))
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            msg = (
                f"webserver_url is the address of Dagster's UI, such as http://127.0.0.1:3000, "
                f"got {given}"
            )
            raise ConfigurationError(msg)
        path = parts.path.removesuffix("/")
        return cls(url, parts.hostname, port, parts.scheme == "https", path)


def reload_of(origin: Any, webserver: WebserverAddress | None) -> Callable[[], str] | str:
    """Return what asks a code location to reload, or why nothing can.

    What is returned says who loads the tables then. It raises :class:`NotReloadedError` and, for
    causes that nobody foresaw, others.

    Args:
        origin: The code location, as a sensor's context has it.
        webserver: The webserver to ask where the code server cannot be asked.
    """
    if has_address(origin):
        return lambda: _by_code_server(origin, webserver)
    if origin is None:
        return "this tick knows of no code location"
    if webserver is not None:
        return lambda: _by_webserver(webserver, origin.location_name)
    return (
        "its code server cannot be asked: start it by `dagster code-server start`, or give the "
        "sensor a `webserver_url`"
    )


def _by_code_server(origin: Any, webserver: WebserverAddress | None) -> str:
    server = origin.create_client()
    try:
        before = server.get_server_id(timeout=_ANSWER_SECONDS)
    except dg.DagsterError as error:
        if webserver is not None:
            return _by_webserver(webserver, origin.location_name)
        msg = f"the code server does not answer ({reason(error)}); give a `webserver_url`"
        raise NotReloadedError(msg) from error
    server.reload_code(timeout=_RELOAD_SECONDS)
    if server.get_server_id(timeout=_ANSWER_SECONDS) == before:
        # `dagster api grpc` answers, and does nothing.
        msg = "the code server stayed as it was: start it by `dagster code-server start`"
        raise NotReloadedError(msg)
    if (fault := load_error(server)) is not None:
        raise NotReloadedError(f"the definitions cannot be loaded any more: {shortened(fault)}")
    return "the next tick loads them"


def _by_webserver(webserver: WebserverAddress, location: str) -> str:
    try:
        from dagster_graphql import (  # noqa: PLC0415 - comes with the webserver, not with Dagster
            DagsterGraphQLClient,
            DagsterGraphQLClientError,
        )
    except ImportError as error:
        msg = "`webserver_url` needs dagster-graphql: pip install dagster-graphql"
        raise NotReloadedError(msg) from error
    client = DagsterGraphQLClient(
        webserver.host,
        port_number=webserver.port,
        use_https=webserver.is_https,
        timeout=_RELOAD_SECONDS,
        path_prefix=webserver.path,
    )
    try:
        found = client.reload_repository_location(location)
    except DagsterGraphQLClientError as error:
        cause = reason(error.__cause__ or error)
        msg = f"no Dagster webserver answers at webserver_url {webserver.url}: {cause}"
        raise NotReloadedError(msg) from error
    if found.status.value != "SUCCESS":
        told = f"{found.failure_type}: {shortened(found.message or 'no reason given')}"
        raise NotReloadedError(f"the webserver at {webserver.url} did not reload it: {told}")
    # A daemon that has code servers of its own replaces them once a minute.
    return "the next tick after the daemon's own reload, within a minute, loads them"


def reason(error: BaseException) -> str:
    """Return an error's class and message, on one line of limited length."""
    of_ours = isinstance(error, NotReloadedError)
    return shortened(str(error) if of_ours else f"{type(error).__name__}: {error}")


def shortened(text: str) -> str:
    """Return text on one line of limited length."""
    shown = one_line(" ".join(text.split()))
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"
