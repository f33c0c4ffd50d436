"""Reads of small objects by obstore, which takes a tenth of botocore's processor time.

Bytes are used only if their MD5 is the e_tag. In all other cases (unusual keys, other e_tags,
errors of any kind) the caller reads again by botocore, which retries and names the error. So
nothing is retried or translated here.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Self

from obstore.exceptions import PreconditionError
from obstore.store import S3Store

from s3pq_dagster.errors import ObjectChangedError, ObjectNotFoundError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.s3_errors import Meaning, code_in, of_answer
from s3pq_dagster.source import e_tags
from s3pq_dagster.spec import S3ParquetSpec

_MOST_BYTES = 1024 * 1024
"""Largest object read here: of a larger one the bytes cost more than the request."""
_SECONDS = timedelta(seconds=5)
"""Time limit of a request."""
_KEPT = timedelta(minutes=10)
"""How long obstore keeps credentials; botocore renews those that expire sooner than that."""
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*(/[A-Za-z0-9_=-][A-Za-z0-9_.=-]*)*")
_PANIC = "PanicException"
"""Name of the class of a panic in Rust; it is no ``Exception`` and cannot be imported."""
_MOST_FAILURES = 3
"""Consecutive failures after which no more reads are tried here."""


class ObstoreReads:
    """Reads whole objects from one bucket; safe to use from many threads at a time."""

    def __init__(self, bucket: S3Store, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._lock = Lock()
        self._failures = 0

    @classmethod
    def open(
        cls, spec: S3ParquetSpec, credentials: Callable[[], Any], endpoint: str
    ) -> Self | None:
        """Make a client without sending anything yet.

        Args:
            spec: Bucket, region and endpoint.
            credentials: Returns botocore's credentials, or ``None``.
            endpoint: URL that botocore's client sends requests to.

        Returns:
            ``None`` without credentials, for unusual endpoints, or if e_tags are not verified.
        """
        own = f"https://s3.{spec.region}.amazonaws.com"
        usual = {own, "https://s3.amazonaws.com"}
        if not spec.verify_e_tags or (spec.endpoint_url is None and endpoint not in usual):
            return None
        address = spec.endpoint_url or own
        try:
            if (found := credentials()) is None:
                return None
            bucket = S3Store(
                spec.bucket,
                region=spec.region,
                endpoint=address,
                virtual_hosted_style_request=False,
                # What is not given comes from the environment, which may name other servers.
                config={
                    "aws_endpoint_url_s3": address,
                    "skip_signature": False,
                    "request_payer": False,
                },
                credential_provider=_credential_provider(found),
                client_options={"allow_http": True, "timeout": _SECONDS},
                retry_config={"max_retries": 0, "retry_timeout": _SECONDS},
            )
        except Exception:  # noqa: BLE001 - botocore meets the same problem and names it
            return None
        return cls(bucket, spec.bucket)

    def read(self, found: ObjectMeta) -> bytes | None:
        """Read an object in the version that was listed.

        Returns:
            Its bytes; ``None`` if botocore has to read it.

        Raises:
            ObjectNotFoundError: It was deleted since it was listed, as S3 says.
            ObjectChangedError: It was overwritten since it was listed.
        """
        md5 = e_tags.expected_md5(found, {}, self._name)
        if md5 is None or found.size > _MOST_BYTES or not _PLAIN_KEY.fullmatch(found.key):
            return None
        if self._failures >= _MOST_FAILURES:
            return None
        data = self._fetch(found)
        is_right = data is not None and e_tags.md5_hex([data]) == md5
        with self._lock:
            self._failures = 0 if is_right else self._failures + 1
        return data if is_right else None

    def _fetch(self, found: ObjectMeta) -> bytes | None:
        try:
            answer = self._bucket.get(found.key, options={"if_match": f'"{found.e_tag}"'})
            return bytes(answer.bytes())
        except PreconditionError as error:
            raise ObjectChangedError(found.key) from error
        except Exception as error:
            # A 404 without S3's code may come from anybody, and is no deletion.
            meaning = of_answer(code_in(str(error)), 0)
            if isinstance(error, FileNotFoundError) and meaning is Meaning.NO_OBJECT:
                raise ObjectNotFoundError(found.key) from error
            return None
        except BaseException as error:
            if type(error).__name__ != _PANIC:
                raise  # an interrupt is not ours to swallow
            return None


def _credential_provider(credentials: Any) -> Callable[[], Any]:
    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _KEPT,
        }

    return provide
