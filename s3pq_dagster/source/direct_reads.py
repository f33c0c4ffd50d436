"""Reads of small objects by requests that botocore signs, which spares most of its other work.

Bytes are used only if their MD5 is the e_tag. In all other cases (unusual keys, other e_tags,
errors of any kind, redirects) the caller reads again by botocore, which retries and names the
error. So nothing is retried or translated here, and no redirect is followed.
"""

import re
import ssl
from collections.abc import Callable
from threading import Lock
from typing import Any, Self
from urllib.parse import SplitResult, quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from botocore import UNSIGNED
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from s3pq_dagster.errors import ObjectChangedError, ObjectNotFoundError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.s3_errors import Meaning, code_in, of_answer
from s3pq_dagster.source import e_tags
from s3pq_dagster.spec import S3ParquetSpec

_MOST_BYTES = 1024 * 1024
"""Largest object read here: of a larger one the bytes cost more than the request."""
_SECONDS = 5
"""Time limit of connecting, and of each wait for bytes."""
_MOST_CONNECTIONS = 1024
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*(/[A-Za-z0-9_=-][A-Za-z0-9_.=-]*)*")
_MOST_FAILURES = 3
"""Consecutive failures after which no more reads are tried here."""
_ERROR_BYTES = 16 * 1024
"""Most bytes of an error's body that are looked at."""
_OK, _NOT_FOUND, _PRECONDITION_FAILED = 200, 404, 412


class DirectReads:
    """Reads whole objects from one bucket; safe to use from many threads at a time."""

    def __init__(self, address: SplitResult, spec: S3ParquetSpec, credentials: Any) -> None:
        most = min(spec.concurrency, _MOST_CONNECTIONS)
        is_secure = address.scheme == "https"
        secure: Any = {"ssl_context": ssl.create_default_context()} if is_secure else {}
        pool = urllib3.HTTPSConnectionPool if is_secure else urllib3.HTTPConnectionPool
        self._pool = pool(
            str(address.hostname),
            address.port,
            timeout=urllib3.Timeout(connect=_SECONDS, read=_SECONDS),
            maxsize=most if most > 0 else _MOST_CONNECTIONS,
            **secure,
        )
        self._origin = f"{address.scheme}://{address.netloc}"
        self._path = f"{address.path.rstrip('/')}/{spec.bucket}/"
        self._bucket, self._region = spec.bucket, spec.region
        self._credentials = credentials
        self._lock = Lock()
        self._failures = 0

    @classmethod
    def open(
        cls, spec: S3ParquetSpec, credentials: Callable[[], Any], endpoint: str
    ) -> Self | None:
        """Make a client without sending anything yet.

        Args:
            spec: Bucket, region and endpoint.
            credentials: Returns botocore's credentials, ``None``, or ``UNSIGNED``.
            endpoint: URL that botocore's client sends requests to.

        Returns:
            ``None`` without credentials, for unusual endpoints, behind a proxy, or if e_tags are
            not verified.
        """
        own = f"https://s3.{spec.region}.amazonaws.com"
        usual = {own, "https://s3.amazonaws.com"}
        if not spec.verify_e_tags or (spec.endpoint_url is None and endpoint not in usual):
            return None
        address = urlsplit(spec.endpoint_url or own)
        proxies = getproxies()
        is_proxied = address.scheme in proxies or "all" in proxies
        if is_proxied and not proxy_bypass(str(address.hostname)):
            return None
        try:
            found = credentials()
            return None if found is None else cls(address, spec, found)
        except Exception:  # noqa: BLE001 - botocore meets the same problem and names it
            return None

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def read(self, found: ObjectMeta) -> bytes | None:
        """Read an object in the version that was listed.

        Returns:
            Its bytes; ``None`` if botocore has to read it.

        Raises:
            ObjectNotFoundError: It was deleted since it was listed, as S3 says.
            ObjectChangedError: It was overwritten since it was listed.
        """
        md5 = e_tags.expected_md5(found, {}, self._bucket)
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
            status, body = self._get(found)
        except Exception:  # noqa: BLE001 - botocore meets the same problem and names it
            return None
        if status == _PRECONDITION_FAILED:
            raise ObjectChangedError(found.key)
        if status == _NOT_FOUND:
            # A 404 without S3's code may come from anybody, and is no deletion.
            code = code_in(body.decode(errors="replace"))
            if of_answer(code, 0) is Meaning.NO_OBJECT:
                raise ObjectNotFoundError(found.key)
        return body if status == _OK else None

    def _get(self, found: ObjectMeta) -> tuple[int, bytes]:
        """Send the request; return the status, and as much of the body as can be of use."""
        path = self._path + quote(found.key)
        answer = self._pool.urlopen(
            "GET",
            path,
            headers=self._headers(path, found),
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        most = found.size + 1 if answer.status == _OK else _ERROR_BYTES
        try:
            body = answer.read(most)
        except BaseException:
            answer.close()
            raise
        if len(body) < most:
            answer.release_conn()
        else:  # more may follow, and would be taken for the next answer
            answer.close()
        return answer.status, body

    def _headers(self, path: str, found: ObjectMeta) -> dict[str, str]:
        """Return the headers of a request for one version of an object, signed if it is to be."""
        request = AWSRequest(
            "GET", f"{self._origin}{path}", headers={"If-Match": f'"{found.e_tag}"'}
        )
        if self._credentials is not UNSIGNED:
            keys = self._credentials.get_frozen_credentials()
            S3SigV4Auth(keys, "s3", self._region).add_auth(request)
        return dict(request.headers)
