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
    S3ParquetError,
    StoreError,
    StoreUnreachableError,
    one_line,
)
from s3pq_dagster.s3_errors import Meaning, of_answer, of_exception
from s3pq_dagster.source import listing_page

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
            raise self._answered(error, permission, key) from error
        except (boto_errors.BotoCoreError, HTTPError) as error:  # retried by botocore
            raise self._unanswered(error, key) from error
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

    def _unanswered(self, error: Exception, key: str | None) -> StoreError:
        """Make the error for a request without an answer."""
        match of_exception(error):
            case Meaning.MISSING_CREDENTIALS:
                return CredentialsError(self.bucket, str(error))
            case Meaning.UNREACHABLE:
                return StoreUnreachableError(self.endpoint, str(error))
        return StoreError(self.broken(key, error))

    def _answered(
        self, error: boto_errors.ClientError, permission: str, key: str | None
    ) -> S3ParquetError:
        """Make the error for an answer that is an error."""
        said: dict[str, Any] = {**error.response.get("Error", {})}
        code = str(said.get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        meaning = of_answer(code, status)
        match meaning:
            case Meaning.NO_BUCKET:
                return BucketNotFoundError(self.bucket, self.endpoint)
            case Meaning.OTHER_REGION:
                region = f" ({said['Region']!r})" if "Region" in said else ""
                found = f"S3 answered {status} {code}, as for a bucket of another region{region}"
                return BucketNotFoundError(self.bucket, self.endpoint, found)
            case Meaning.REFUSED_CREDENTIALS:
                return CredentialsError(self.bucket, f"S3 answered {code}")
            case Meaning.DENIED:
                return AccessDeniedError(self.bucket, permission, key=key)
        if key is not None and (own := self._about_object(meaning, error, key)) is not None:
            return own
        where = one_line(f"s3://{self.bucket}" + ("" if key is None else f"/{key}"))
        return StoreError(
            f"{self.endpoint} answered {status} {code} about {where}: "
            f"{said.get('Message', 'no message')}. "
            f"Run again; if it stays, ask whoever runs this S3."
        )

    def _about_object(
        self, meaning: Meaning, error: boto_errors.ClientError, key: str
    ) -> S3ParquetError | None:
        match meaning:
            case Meaning.ARCHIVED:
                return MalformedObjectError(key, _ARCHIVED)
            case Meaning.NO_OBJECT:
                return ObjectNotFoundError(key)
            # Only HEAD has no body to carry S3's code; another 404 may come from anybody, and is
            # no deletion.
            case Meaning.NOT_FOUND if error.operation_name == "HeadObject":
                return ObjectNotFoundError(key)
            case Meaning.NOT_FOUND:
                return BrokenAnswerError(self.broken(key, "404 without S3's NoSuchKey"))
            case Meaning.CONDITION_FAILED:
                return ObjectChangedError(key)
        return None


def not_utf8(error: listing_page.KeyEncodingError) -> StoreError:
    """Make the error for a listed key that is not UTF-8."""
    return StoreError(
        f"the listing has the key {str(error)!r} (in URL encoding), which is not UTF-8 as S3 "
        f"requires of keys. Rename the object, or narrow `path_prefix` so that it is not listed."
    )
