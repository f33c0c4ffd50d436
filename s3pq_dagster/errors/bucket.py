"""Errors of the source bucket."""

from s3pq_dagster.errors.base import S3ParquetError, one_line


class StoreError(S3ParquetError):
    """The source bucket did not answer as it should, retries included."""

    retryable = True


class StoreRefusedError(StoreError):
    """S3 refuses the request until somebody changes a setting, a key or an address."""

    retryable = False

    def __init__(self, message: str, code: str = "") -> None:
        self.code = code
        super().__init__(message)


class BucketNotFoundError(StoreError):
    """The bucket does not exist at this endpoint."""

    retryable = False

    def __init__(self, bucket: str, endpoint: str, found: str = "") -> None:
        self.bucket = bucket
        why = f": {one_line(found)}" if found else ""
        super().__init__(
            f"bucket {bucket!r} not found at {endpoint}{why}. Check `bucket`, `region` and "
            f"`endpoint_url` for a typo, and that the bucket has not been deleted."
        )


class AccessDeniedError(StoreError):
    """The credentials are accepted but lack a permission."""

    retryable = False

    def __init__(
        self, bucket: str, permission: str, *, key: str | None = None, found: str = ""
    ) -> None:
        self.bucket, self.permission, self.key = bucket, permission, key
        where = one_line(f"s3://{bucket}/{key}" if key is not None else f"s3://{bucket}")
        said = f" (S3 answered {one_line(found)})" if found else ""
        super().__init__(
            f"access denied to {where}: the credentials in use lack {permission}{said}. Allow "
            f"{_allowed(bucket, permission)}, or check which credentials and profile are in use. "
            f"Trying again does not help before that."
        )


def _allowed(bucket: str, permission: str) -> str:
    if permission.startswith("kms:"):
        return f"{permission} on the KMS key, in its key policy and to these credentials"
    resource = f"arn:aws:s3:::{bucket}" + ("" if permission == "s3:ListBucket" else "/*")
    return (
        f"{permission} on {resource} (and kms:Decrypt on the key if the bucket is encrypted with "
        f"KMS; a bucket whose requesters pay refuses in the same way)"
    )


class CredentialsError(StoreError):
    """There are no credentials, or S3 does not accept them."""

    retryable = False

    def __init__(self, bucket: str, found: str) -> None:
        self.bucket = bucket
        super().__init__(
            f"no usable AWS credentials for bucket {bucket!r}: {found}. Set AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY, or `local_profile`, or run where a role gives credentials; "
            f"if they are temporary, renew them."
        )


class StoreUnreachableError(StoreError):
    """Nothing answers at the endpoint."""

    retryable = False

    def __init__(self, endpoint: str, found: str) -> None:
        self.endpoint = endpoint
        super().__init__(
            f"cannot reach S3 at {endpoint}: {found}. Check `endpoint_url`, `region` and the "
            f"network, then run again: what is committed is not read again."
        )


class BrokenAnswerError(StoreError):
    """An answer broke off or was not what was asked for, in several attempts."""


class ObjectNotFoundError(StoreError):
    """An object was deleted between listing and reading."""

    retryable = False

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"object {key!r} was deleted between listing and reading")


class ObjectChangedError(StoreError):
    """An object was overwritten between listing and reading, several times."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"object {key!r} was overwritten while it was being read. Run again once its writer "
            f"is done with it."
        )
