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
    StoreRefusedError,
    StoreUnreachableError,
    one_line,
)
from s3pq_dagster.s3_errors import ErrorAnswer, Meaning, of_exception

_OK = 200
ATTEMPTS = 4
"""Most attempts at a request; botocore counts failed requests, :data:`retry_broken` answers."""
_ARCHIVED = (
    "it is in an archived storage class; restore it, then run its table with "
    "retry_quarantined: true"
)
_CUSTOMER_KEY = (
    "it is encrypted with a customer's key (SSE-C), which this package never has; write it again "
    "with another encryption"
)
_ADVICE = {
    Meaning.KMS_KEY: (
        "Enable the KMS key that encrypts it, or encrypt it with another; nothing is quarantined, "
        "so run again then"
    ),
    Meaning.REQUESTER_PAYS: (
        "Its requesters pay, and this package does not agree to that: have the bucket's owner turn "
        "it off, or copy the objects into a bucket of your own"
    ),
    Meaning.REFUSED: ("Look the code up in the documentation of this S3, and change what it names"),
}
"""What to do about refusals that no class of error of their own explains."""

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
            StoreRefusedError: S3 redirects elsewhere, or refuses for good for another reason.
            AccessDeniedError: The permission is missing.
            CredentialsError: Credentials are missing, wrong or expired.
            StoreUnreachableError: Nothing answers.
            ObjectNotFoundError: The object is not there.
            ObjectChangedError: The object is not the version that the request asks for.
            MalformedObjectError: The object is in an archived storage class, or encrypted with a
                customer's key.
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
        answer = ErrorAnswer.of(error.response)
        match answer.meaning:
            case Meaning.NO_BUCKET:
                return BucketNotFoundError(self.bucket, self.endpoint)
            case Meaning.OTHER_REGION:
                return self._elsewhere(answer)
            case Meaning.REFUSED_CREDENTIALS:
                return CredentialsError(self.bucket, f"S3 answered {answer.code or answer.status}")
            case Meaning.DENIED:
                return AccessDeniedError(self.bucket, permission, key=key, found=str(answer))
            case Meaning.KMS_KEY if "AccessDenied" in answer.code:
                return AccessDeniedError(self.bucket, "kms:Decrypt", key=key, found=str(answer))
        if key is not None and (own := self._about_object(answer, error, key)) is not None:
            return own
        return self._other(answer, key)

    def _elsewhere(self, answer: ErrorAnswer) -> StoreError:
        """Make the error for a redirect, which is not followed wherever it points."""
        region = f"in region {answer.region!r}" if answer.region else "of another region"
        if answer.points_to is None:
            found = f"S3 answered {answer}, as for a bucket {region}"
            return BucketNotFoundError(self.bucket, self.endpoint, found)
        set_region = f"Set `region` to {answer.region!r}" if answer.region else "Check `region`"
        return StoreRefusedError(
            f"{self.endpoint} answered {answer.status} about s3://{self.bucket} and points to "
            f"{one_line(answer.points_to)}. Redirects are not followed, since credentials would go "
            f"there. {set_region} and `endpoint_url`, so that requests go where the bucket is; "
            f"trying again does not help before that."
        )

    def _other(self, answer: ErrorAnswer, key: str | None) -> StoreError:
        """Make the error for an answer that no class of its own explains."""
        if answer.status == _OK:  # sent with 200, where it ought to have been a listing
            return StoreError(self._not_s3(key, f"it sent 200 with {answer.code or 'broken XML'}"))
        where = one_line(f"s3://{self.bucket}" + ("" if key is None else f"/{key}"))
        told = f"{self.endpoint} answered {one_line(str(answer))} about {where}."
        if answer.meaning in _ADVICE:
            advice = _ADVICE[answer.meaning]
            msg = f"{told} {advice}. Trying again does not help before that."
            return StoreRefusedError(msg, answer.code)
        if answer.meaning is Meaning.CLOCK:
            return StoreError(f"{told} Set this machine's clock (NTP), then run again.")
        return StoreError(
            f"{told} Trying again may help: run again; if it stays, ask whoever runs this S3."
        )

    def _about_object(
        self, answer: ErrorAnswer, error: boto_errors.ClientError, key: str
    ) -> S3ParquetError | None:
        """Make the error for an answer that concerns one object only."""
        match answer.meaning:
            case Meaning.ARCHIVED:
                return MalformedObjectError(key, _ARCHIVED)
            case Meaning.CUSTOMER_KEY:
                return MalformedObjectError(key, _CUSTOMER_KEY)
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
