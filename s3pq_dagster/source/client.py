"""The boto3 client: its time limits, retries and connections, and its own parser of listings."""

import functools
from collections.abc import Callable
from typing import Any

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.loaders import Loader, create_loader

from s3pq_dagster.s3_errors import follow_no_redirect
from s3pq_dagster.source import listing_page
from s3pq_dagster.source.requests import ATTEMPTS
from s3pq_dagster.spec import S3ParquetSpec

_CONNECT_SECONDS = 5
_READ_SECONDS = 10
"""With four attempts, a server that accepts connections and never answers is given up within a
minute, even if it first fell silent within a body, which costs one more attempt."""
_MOST_CONNECTIONS = 1024


def make_client(
    spec: S3ParquetSpec, session: boto3.session.Session | None, *, signed: bool = True
) -> tuple[Any, Callable[[], Any]]:
    """Make a client without sending anything yet.

    Args:
        spec: Region, endpoint, profile and concurrency.
        session: Where credentials come from instead of ``local_profile`` and the usual chain.
        signed: Whether requests are signed. What is not is read as anybody may read it.

    Returns:
        The client, and a function that returns the credentials it signs with: ``None`` if there
        are none, ``UNSIGNED`` if none are wanted.

    Raises:
        botocore.exceptions.BotoCoreError: There is no such profile, or AWS's configuration files
            cannot be read.
        ValueError: The endpoint is no URL.
    """
    opened: Any = session or _session(spec.local_profile)
    make = opened.client if session else opened.create_client
    most = min(spec.concurrency, _MOST_CONNECTIONS) if spec.concurrency > 0 else _MOST_CONNECTIONS
    client = make(
        "s3",
        region_name=spec.region,
        endpoint_url=spec.endpoint_url,
        config=Config(
            signature_version=None if signed else UNSIGNED,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            # One more, to ask about an object that changed while the others are read.
            max_pool_connections=most + 1,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            s3={"addressing_style": "path" if spec.endpoint_url else "auto"},
        ),
    )
    # Because of the star it runs before botocore's own handlers, one of which parses the body.
    client.meta.events.register_first("before-parse.*.ListObjectsV2", listing_page.take_objects)
    client.meta.events.register_last("before-parameter-build.s3", follow_no_redirect)
    return client, opened.get_credentials if signed else lambda: UNSIGNED


def _session(profile: str | None) -> botocore.session.Session:
    session = botocore.session.Session(profile=profile)
    path = session.get_config_variable("data_path")
    session.register_component("data_loader", _descriptions(path))
    return session


@functools.cache
def _descriptions(path: str | None) -> Loader:
    """Cache the API descriptions: reading them takes most of the time of making a client."""
    return create_loader(path)
