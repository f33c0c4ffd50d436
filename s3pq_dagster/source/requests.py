"""Requests to the source bucket, and the errors for what goes wrong with them."""

from typing import Any

from botocore import exceptions as boto_errors
from botocore.parsers import ResponseParserError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential
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

ATTEMPTS = 4
"""Most attempts at a request; botocore counts failed requests, :data:`retry_broken` answers."""
_ARCHIVED = (
    "it is in an archived storage class; restore it, then run its table with "
    "retry_quarantined: true"
)

retry_broken = retry(
    retry=retry_if_exception_type(BrokenAnswerError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    reraise=True,
)
"""Repeat a function that raises :class:`BrokenAnswerError`.

botocore repeats requests that fail, but not those whose answer's body breaks off or is not what was
asked for.
"""


class Requests:
    """Sends requests to one bucket; safe to use from many threads at a time."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    @property
    def endpoint(self) -> str:
        """The URL requests go to."""
        return str(self._client.meta.endpoint_url)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(
        self, operation: str, permission: str, *, key: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Send a request to the bucket.

        Args:
            operation: Name of the client's method.
            permission: What IAM calls the right to it.
            key: Key of the object that it concerns; ``None`` for a listing.
            parameters: Further parameters of the method.

        Returns:
            botocore's answer, whose body is not read yet.

        Raises:
            BucketNotFoundError: The bucket is not there, or in another region.
            AccessDeniedError: The permission is missing.
            CredentialsError: Credentials are missing, wrong or expired.
            StoreUnreachableError: Nothing answers.
            ObjectNotFoundError: The object is not there.
            ObjectChangedError: The object is not the version that the request asks for.
            MalformedObjectError: The object is in an archived storage class.
            BrokenAnswerError: The answer cannot be read, or cannot come from S3.
            StoreError: Anything else.
        """
        parameters |= {"Bucket": self.bucket} | ({} if key is None else {"Key": key})
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**parameters)
        except boto_errors.ClientError as error:
            raise self._answered(error, permission, key) from error
        except (boto_errors.BotoCoreError, HTTPError) as error:  # retried by botocore
            raise self._unanswered(error, key) from error
        except (ResponseParserError, ValueError) as error:  # a number or time that is none
            raise self.broken(key, error) from error
        return answer

    def broken(self, key: str | None, found: object) -> BrokenAnswerError:
        """Make the error for an answer that cannot come from S3."""
        return BrokenAnswerError(self._not_s3(key, found))

    def _not_s3(self, key: str | None, found: object) -> str:
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
        return StoreError(self._not_s3(key, error))

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
        """Make the error for an answer that concerns one object only."""
        match meaning:
            case Meaning.ARCHIVED:
                return MalformedObjectError(key, _ARCHIVED)
            case Meaning.NO_OBJECT:
                return ObjectNotFoundError(key)
            # Only the answer to HEAD has no body to carry S3's code. Any other 404 without the
            # code may come from something that is not S3, and is no deletion.
            case Meaning.NOT_FOUND if error.operation_name == "HeadObject":
                return ObjectNotFoundError(key)
            case Meaning.NOT_FOUND:
                return self.broken(key, "404 without S3's NoSuchKey")
            case Meaning.CONDITION_FAILED:
                return ObjectChangedError(key)
        return None
