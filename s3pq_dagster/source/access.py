"""Who asks the bucket, and what its clock says: for people who look for what is wrong."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore import exceptions as boto_errors
from botocore.config import Config

from s3pq_dagster.errors import CredentialsError, StoreError
from s3pq_dagster.source.client import make_client
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_SECONDS = 3
_SHOWN = 4
"""Letters of a key's id that are shown at each end; the id is no secret, but need not be known."""
_STS, _AWS = "AWS_ENDPOINT_URL_STS", ".amazonaws.com"


def identity_of(
    spec: S3ParquetSpec, session: boto3.session.Session | None, *, signed: bool
) -> str | None:
    """Say whose credentials sign requests to a bucket; no secret is in it.

    AWS is asked by STS's GetCallerIdentity, which needs no permission, unless the bucket is in
    another S3. Where nobody answers, the key's id stands for it.

    Args:
        spec: Region, endpoint and profile.
        session: Where credentials come from, instead of profile and the usual chain.
        signed: Whether requests are signed at all.

    Returns:
        The ARN, or the masked id of the key; ``None`` if there are no credentials.

    Raises:
        CredentialsError: They cannot be had from where they are said to be.
    """
    try:
        client, credentials = make_client(spec, session, signed=signed)
        endpoint = str(client.meta.endpoint_url)
        client.close()
        found = credentials()
    except boto_errors.BotoCoreError as error:
        raise CredentialsError(spec.bucket, str(error)) from error
    if found is UNSIGNED:
        return "nobody: requests are not signed"
    if found is None:
        return None
    frozen = found.get_frozen_credentials()
    key = frozen.access_key
    masked = f"key {key[:_SHOWN]}…{key[-_SHOWN:]}"
    if _AWS not in endpoint and not os.environ.get(_STS):
        return f"{masked}, by {found.method}"
    return _caller(spec.region, frozen) or f"{masked}, by {found.method} (STS does not answer)"


def _caller(region: str, frozen: Any) -> str | None:
    try:
        client = boto3.client(
            "sts",
            region_name=region,
            aws_access_key_id=frozen.access_key,
            aws_secret_access_key=frozen.secret_key,
            aws_session_token=frozen.token,
            config=Config(
                connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 1}
            ),
        )
        return str(client.get_caller_identity()["Arn"])
    except (boto_errors.BotoCoreError, boto_errors.ClientError, KeyError):
        return None


def seconds_ahead(store: Store) -> float | None:
    """Return how far this machine's clock is ahead of the bucket's, to about a second.

    Returns:
        ``None`` if the server says no time, or none that can be read.

    Raises:
        StoreError: The bucket cannot be listed.
    """
    # Unless it is asked for, botocore asks for this encoding itself, and then decodes the keys.
    asked: dict[str, Any] = {"MaxKeys": 1, "EncodingType": "url"}
    answer = store.requests.send("list_objects_v2", "s3:ListBucket", **asked)
    return _seconds_ahead_of(answer)


def seconds_ahead_in(error: StoreError) -> float | None:
    """Return the same by the time that is in S3's refusal, such as that of a clock that is wrong.

    Returns:
        ``None`` as :func:`seconds_ahead`, or if nothing answered.
    """
    if isinstance(error.__cause__, boto_errors.ClientError):
        return _seconds_ahead_of(error.__cause__.response)
    return None


def _seconds_ahead_of(answer: Mapping[str, Any]) -> float | None:
    now = datetime.now(UTC)
    told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        found = parsedate_to_datetime(told)
    except ValueError:
        return None
    return (now - (found if found.tzinfo else found.replace(tzinfo=UTC))).total_seconds()
