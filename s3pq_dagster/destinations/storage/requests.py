"""Requests to the bucket of a destination, and the errors for what S3 answers."""

import functools
from collections.abc import Callable
from typing import Any

import boto3
import botocore.loaders
import botocore.session
from botocore import exceptions as boto_errors
from botocore.config import Config
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from s3pq_dagster.errors import DestinationDeniedError, DestinationError
from s3pq_dagster.s3_errors import ErrorAnswer, Meaning, follow_one_redirect, of_exception

_ATTEMPTS = 4
CONNECT_SECONDS = 5
_READ_SECONDS = 30
_CONNECTIONS = 64
_DEFAULT_REGION = "us-east-1"


_PERMANENT = {
    Meaning.KMS_KEY: "Enable the KMS key that encrypts it and allow its use, or change the key",
    Meaning.CUSTOMER_KEY: (
        "It is encrypted with a customer's key (SSE-C): move it away, keep such objects out of "
        "what is below `root`"
    ),
    Meaning.REQUESTER_PAYS: "Its requesters pay: have that turned off, or use another bucket",
    Meaning.REFUSED: "Look the code up in the documentation of this S3, and change what it names",
}
"""What to do about refusals that stand until somebody changes something."""


@functools.cache
def _models() -> Any:
    """Return a loader that reads botocore's description of S3 once, which takes long."""
    return botocore.loaders.create_loader()


class PreconditionFailedError(Exception):
    """A condition of a request did not hold: the object has another e_tag, or exists."""


class Requests:
    """Requests to one bucket; botocore retries those that fail on the way."""

    def __init__(self, bucket: str, client: Any, session: boto3.session.Session) -> None:
        self.bucket, self.client, self._session = bucket, client, session

    @classmethod
    def open(
        cls, bucket: str, *, endpoint_url: str | None, region: str | None, profile: str | None
    ) -> "Requests":
        """Create a client; nothing is sent yet.

        Raises:
            DestinationDeniedError: The profile does not exist, or it or the endpoint is invalid.
        """
        try:
            core = botocore.session.Session()
            core.register_component("data_loader", _models())
            session = boto3.session.Session(profile_name=profile, botocore_session=core)
            client = session.client(
                "s3",
                region_name=region,
                endpoint_url=endpoint_url,
                config=Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=_READ_SECONDS,
                    max_pool_connections=_CONNECTIONS,
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    s3={"addressing_style": "path" if endpoint_url else "auto"},
                ),
            )
        except (boto_errors.BotoCoreError, ValueError) as error:
            msg = (
                f"cannot ask S3 for bucket {bucket!r} of the destination: {error}. Check "
                f"`local_profile`, `region` and `endpoint_url`."
            )
            raise DestinationDeniedError(msg) from error
        client.meta.events.register_last("before-parameter-build.s3", follow_one_redirect)
        return cls(bucket, client, session)

    @property
    def endpoint(self) -> str:
        """The URL that requests go to."""
        return str(self.client.meta.endpoint_url)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        found = self.client.meta.region_name
        return _DEFAULT_REGION if found in {None, "aws-global"} else str(found)

    def credentials(self) -> Any:
        """Return botocore's credentials as they are now; ``None`` if there are none."""
        found = self._session.get_credentials()
        return None if found is None else found.get_frozen_credentials()

    def ask(self, method: str, permission: str, **asked: Any) -> dict[str, Any]:
        """Send one request.

        Args:
            method: The client's method.
            permission: The IAM permission it takes, for the error.
            asked: The method's parameters, without the bucket.

        Returns:
            The answer, as boto3 parses it.

        Raises:
            FileNotFoundError: The key does not exist.
            PreconditionFailedError: A condition did not hold.
            DestinationError: It failed otherwise, after retries.
        """
        answer: dict[str, Any] = self.translated(
            lambda: getattr(self.client, method)(Bucket=self.bucket, **asked),
            permission,
            asked.get("Key", ""),
        )
        return answer

    def translated(self, do: Callable[[], Any], permission: str, key: str) -> Any:
        """Call a function that uses the client; errors as of :meth:`ask`."""
        try:
            return do()
        except boto_errors.ClientError as error:
            raise self._answered(error, permission, key) from error
        except (boto_errors.BotoCoreError, HTTPError, ResponseParserError) as error:
            if of_exception(error) is Meaning.MISSING_CREDENTIALS:
                raise self._no_credentials(error) from error
            msg = (
                f"cannot reach S3 at {self.endpoint} for {self._where(key)}: "
                f"{error}. Check `endpoint_url`, `region` and the network, then run again: what "
                f"is committed is not read again."
            )
            raise DestinationError(msg) from error

    def _answered(self, error: boto_errors.ClientError, permission: str, key: str) -> Exception:
        answer = ErrorAnswer.of(error.response)
        match answer.meaning:
            case Meaning.NO_BUCKET:
                return self._no_bucket()
            case Meaning.OTHER_REGION:
                region = f" ({answer.region!r})" if answer.region else ""
                points = f", and points to {answer.points_to}" if answer.points_to else ""
                found = f": S3 answered {answer}, as for another region{region}{points}"
                return self._no_bucket(found)
            case Meaning.REFUSED_CREDENTIALS:
                return self._no_credentials(answer.code or answer.status)
            case Meaning.DENIED:
                return DestinationDeniedError(
                    f"access denied to {self._where(key)}: the credentials in use lack "
                    f"{permission} (S3 answered {answer}). Allow {permission} on the bucket, or "
                    f"check which credentials and profile are in use."
                )
            case Meaning.ARCHIVED:
                return DestinationDeniedError(
                    f"{self._where(key)} is in an archived storage class. Restore it, keep what "
                    f"is below `root` out of such classes, then run again."
                )
            case Meaning.NO_OBJECT | Meaning.NOT_FOUND:
                return FileNotFoundError(key)
            case Meaning.CONDITION_FAILED:
                return PreconditionFailedError(key)
        return self._other(answer, key)

    def _other(self, answer: ErrorAnswer, key: str) -> DestinationError:
        """Make the error for an answer that no class or message of its own explains."""
        told = f"{self.endpoint} answered {answer} about {self._where(key)}."
        if answer.meaning in _PERMANENT:
            advice = _PERMANENT[answer.meaning]
            return DestinationDeniedError(
                f"{told} {advice}. Trying again does not help before that."
            )
        advice = "; if it stays, ask whoever runs this S3"
        if answer.meaning is Meaning.CLOCK:
            advice = " once this machine's clock is right (NTP)"
        return DestinationError(f"{told} Trying again may help: run again{advice}.")

    def _no_bucket(self, found: str = "") -> DestinationError:
        return DestinationDeniedError(
            f"bucket {self.bucket!r} of the destination not found at {self.endpoint}{found}. Check "
            f"`root`, `region` and `endpoint_url`, or create the bucket."
        )

    def _no_credentials(self, found: object) -> DestinationError:
        return DestinationDeniedError(
            f"no usable AWS credentials for bucket {self.bucket!r} of the destination: {found}. "
            f"Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `local_profile`, or run where a "
            f"role gives credentials; if they are temporary, renew them."
        )

    def _where(self, key: str) -> str:
        return f"s3://{self.bucket}" + (f"/{key}" if key else "")
