"""Errors of decoding objects on this machine."""

from typing import Self

from s3pq_dagster.errors.base import S3ParquetError

_REASON_CHARACTERS = 500


class MalformedObjectError(S3ParquetError):
    """One object cannot be read as Parquet, whatever is tried."""

    key: str

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(f"object {key!r} cannot be read: {reason}")

    @classmethod
    def of(cls, key: str, error: Exception) -> Self:
        """Make the error for one of the library that decodes; its reason is cut short."""
        return cls(key, f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS])


class RefusedObjectError(MalformedObjectError):
    """One object has a value that the destination cannot hold, so none of its rows is written."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.args = (f"object {key!r} cannot be loaded: {reason}",)


class TrialError(S3ParquetError):
    """The process that was to try decoding an object failed, through no fault of the object."""

    retryable = True

    def __init__(self, key: str, found: str) -> None:
        self.key = key
        super().__init__(
            f"object {key!r} cannot be shown to be harmless, so it was to be decoded in a process "
            f"of its own, and that failed: {found}. Make room for a process and "
            f"a temporary file (TMPDIR), then run again."
        )


class DiskError(S3ParquetError):
    """A temporary file on this machine's disk cannot be made, written or read back."""

    retryable = True

    def __init__(self, held: str, directory: str, found: str) -> None:
        super().__init__(
            f"cannot hold {held} in temporary files under {directory}: {found}. Make room there or "
            f"set TMPDIR to where there is some, then run again."
        )


class UnsteadyObjectError(S3ParquetError):
    """An object could be decoded once, but not again when its rows were to be written."""

    retryable = True

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(
            f"object {key!r} was decoded whole, but not once more when its rows were to be "
            f"written: {reason}. The transaction, which holds rows of other objects too, is rolled "
            f"back. Run again; if it stays, see to this machine, or raise the bound that is named."
        )


class InternalError(S3ParquetError):
    """A bug of this package, or of a library that it uses, showed itself."""

    def __init__(self, doing: str, found: str) -> None:
        super().__init__(
            f"{doing} ended with {found}. This is a bug of s3pq-dagster, or of a library it uses, "
            f"and neither the bucket's fault nor the destination's. Nothing of the transaction "
            f"under way is committed. Please report it, together with the log of this run."
        )


class ReadAbandonedError(S3ParquetError):
    """Reading was stopped from outside; whoever waits for an object gets this error."""
