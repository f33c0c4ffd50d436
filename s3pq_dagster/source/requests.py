"""Requests to the source bucket, and S3's answers in our words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore import exceptions as boto_errors
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from s3pq_dagster.errors import (
    AccessDeniedError,
    BrokenAnswerError,
    BucketNotFoundError,
    CredentialsError,
    MalformedObjectError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreError,
    StoreUnreachableError,
    one_line,
)
from s3pq_dagster.source import listing_page

_BAD_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.ProfileNotFound,
    boto_errors.ConfigParseError,
    boto_errors.CredentialRetrievalError,
    boto_errors.TokenRetrievalError,
    boto_errors.SSOError,
)
"""What botocore has for credentials that are none."""
_UNREACHABLE = (
    boto_errors.EndpointConnectionError,
    boto_errors.ConnectTimeoutError,
    boto_errors.ReadTimeoutError,
    boto_errors.ProxyConnectionError,
    boto_errors.SSLError,
)
_GONE = {"NoSuchKey", "NoSuchVersion"}
_ELSEWHERE = {301, 307}

_ARCHIVED = (
    "it is in an archived storage class; restore it, then run its table with "
    "retry_quarantined: true"
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What one bucket answers."""

    bucket: str
    endpoint: str
    """The URL requests go to."""

    def call(
        self,
        method: Callable[..., dict[str, Any]],
        permission: str,
        key: str | None = None,
        **asked: Any,
    ) -> dict[str, Any]:
        """Send a request, and say in our words what goes wrong.

        Args:
            method: The client's.
            permission: What IAM calls the right to it.
            key: Of the object it is about, if it is about one.
            asked: What the method takes besides.

        Raises:
            StoreError: As :meth:`~s3pq_dagster.source.store.Store.read_piece`, or for a listing as
                :meth:`~s3pq_dagster.source.store.Store.list_pages`.
        """
        if key is not None:
            asked |= {"Bucket": self.bucket, "Key": key}
        try:
            return method(**asked)
        except boto_errors.ClientError as error:
            raise self._translated(error, permission, key) from error
        except NO_CREDENTIALS as error:
            raise CredentialsError(self.bucket, str(error)) from error
        except _UNREACHABLE as error:
            raise StoreUnreachableError(self.endpoint, str(error)) from error
        except (boto_errors.BotoCoreError, HTTPError) as error:  # retried by botocore
            raise StoreError(self.broken(key, error)) from error
        except listing_page.KeyEncodingError as error:
            raise not_utf8(error) from error
        except (ResponseParserError, ValueError) as error:  # a number or time that is none
            raise BrokenAnswerError(self.broken(key, error)) from error

    def broken(self, key: str | None, found: object) -> str:
        """Say that an answer is none of S3's."""
        where = f"s3://{self.bucket}" + ("" if key is None else f"/{key}")
        return (
            f"{self.endpoint} did not answer about {where} as S3 does: {found}. Run again; if it "
            f"stays, look at what lies between here and {self.endpoint}."
        )

    def _translated(
        self, error: boto_errors.ClientError, permission: str, key: str | None
    ) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchBucket" or status in _ELSEWHERE:
            return BucketNotFoundError(self.bucket, self.endpoint)
        if code == "AuthorizationHeaderMalformed":
            region = error.response.get("Error", {}).get("Region")
            wanted = f"signed for region {region!r}" if region else "signed otherwise"
            found = f"S3 wants requests to be {wanted} ({code})"
            return BucketNotFoundError(self.bucket, self.endpoint, found)
        if code in _BAD_CREDENTIALS:
            return CredentialsError(self.bucket, f"S3 answered {code}")
        if code == "InvalidObjectState" and key is not None:
            return MalformedObjectError(key, _ARCHIVED)
        if status == 403:  # noqa: PLR2004 - HTTP
            return AccessDeniedError(self.bucket, permission, key=key)
        # A page of somebody else's is no deletion; the answer to HEAD has no body to tell by.
        if code in _GONE and key is not None:
            return ObjectNotFoundError(key)
        if status == 404 and key is not None:  # noqa: PLR2004 - HTTP
            is_head = error.operation_name == "HeadObject"
            found = "404 without S3's NoSuchKey"
            broken = BrokenAnswerError(self.broken(key, found))
            return ObjectNotFoundError(key) if is_head else broken
        if status == 412 and key is not None:  # noqa: PLR2004 - HTTP
            return ObjectChangedError(key)
        where = one_line(f"s3://{self.bucket}" + ("" if key is None else f"/{key}"))
        return StoreError(
            f"{self.endpoint} answered {status} {code} about {where}: "
            f"{error.response.get('Error', {}).get('Message', 'no message')}. "
            f"Run again; if it stays, ask whoever runs this S3."
        )


def not_utf8(error: listing_page.KeyEncodingError) -> StoreError:
    """Make the error for a listed key that is not UTF-8."""
    return StoreError(
        f"the listing has the key {str(error)!r} (in URL encoding), which is not UTF-8 as S3 "
        f"requires of keys. Rename the object, or narrow `path_prefix` so that it is not listed."
    )
