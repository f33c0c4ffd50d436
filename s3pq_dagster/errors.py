"""Everything that can go wrong, and whether trying again may help.

::

    S3ParquetError
    ├── ConfigurationError            an environment variable or URL that cannot be used
    ├── StoreError                    the source bucket did not answer as it should   (retried)
    │   ├── BucketNotFoundError
    │   ├── AccessDeniedError
    │   ├── CredentialsError
    │   ├── StoreUnreachableError
    │   ├── BrokenAnswerError         an answer broke off or is not what was asked for
    │   ├── ObjectNotFoundError       deleted since it was listed
    │   └── ObjectChangedError        overwritten since it was listed
    ├── MalformedObjectError          one object cannot be read as Parquet: it is quarantined
    ├── TrialError                    no process to decode an object for trial        (retried)
    ├── DiskError                     a temporary file cannot be written or read      (retried)
    ├── UnsteadyObjectError           decoded whole, and then not                     (retried)
    ├── InternalError                 a bug of this package, or of a library it uses
    ├── ReadAbandonedError            reading was stopped from outside
    ├── TableNameError                a prefix gives no table name
    ├── TableNameCollisionError       two prefixes give one table name
    ├── SchemaMismatchError           two objects of a table differ
    ├── UnsupportedSchemaError        a destination cannot hold a column without changing it
    ├── EmptyListingError             nothing is listed, and all rows would go
    ├── QuarantineLimitError          too many objects of a table cannot be read
    ├── DestinationError              the destination did not do as asked             (retried)
    │   ├── DestinationLockedError
    │   ├── DestinationConflictError  another run wrote the table meanwhile
    │   ├── DestinationDeniedError    it answers, and refuses until somebody changes something
    │   ├── TableOwnedElsewhereError
    │   ├── TableNotManagedError
    │   └── LedgerVersionError
    └── UnsupportedValueError         a value this IO manager does not take
"""

from typing import ClassVar


def one_line(text: str) -> str:
    """Escape what is not printable, as ``repr`` does, but without quotes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class S3ParquetError(Exception):
    """Say what was tried, what was found and what to do next."""

    retryable: ClassVar[bool] = False


class ConfigurationError(S3ParquetError):
    """An environment variable or a destination URL cannot be used."""


class StoreError(S3ParquetError):
    """The source bucket did not answer as it should, retries included."""

    retryable = True


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
    """The credentials work but do not allow this."""

    retryable = False

    def __init__(self, bucket: str, permission: str, *, key: str | None = None) -> None:
        self.bucket, self.permission, self.key = bucket, permission, key
        where = one_line(f"s3://{bucket}/{key}" if key is not None else f"s3://{bucket}")
        resource = f"arn:aws:s3:::{bucket}" + ("" if permission == "s3:ListBucket" else "/*")
        super().__init__(
            f"access denied to {where}: the credentials in use lack {permission}. Allow "
            f"{permission} on {resource} (and kms:Decrypt on the key if the bucket is encrypted "
            f"with KMS), or check which credentials and profile are in use."
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
    """An answer broke off or is not what was asked for, again and again."""


class ObjectNotFoundError(StoreError):
    """An object was deleted between listing and reading."""

    retryable = False

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"object {key!r} was deleted between listing and reading")


class ObjectChangedError(StoreError):
    """An object was overwritten between listing and reading, again and again."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"object {key!r} was overwritten while it was being read. Run again once its writer "
            f"is done with it."
        )


class MalformedObjectError(S3ParquetError):
    """One object cannot be read as Parquet, whatever is tried."""

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(f"object {key!r} cannot be read: {reason}")


class TrialError(S3ParquetError):
    """An object could not be decoded in a process of its own, and nothing is wrong with it."""

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
    """An object was decoded whole, and then not when its rows were to be written."""

    retryable = True

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(
            f"object {key!r} was decoded whole, but not once more when its rows were to be "
            f"written: {reason}. The transaction, which holds rows of other objects too, is rolled "
            f"back. Run again; if it stays, see to this machine, or raise the bound that is named."
        )


class InternalError(S3ParquetError):
    """Something happened that only a bug of this package, or of a library it uses, explains."""

    def __init__(self, doing: str, found: str) -> None:
        super().__init__(
            f"{doing} ended with {found}. This is a bug of s3pq-dagster, or of a library it uses, "
            f"and neither the bucket's fault nor the destination's. Nothing of the transaction "
            f"under way is committed. Please report it, together with the log of this run."
        )


class ReadAbandonedError(S3ParquetError):
    """Reading was stopped from outside; nobody who waits for objects sees more of them."""


class TableNameError(S3ParquetError):
    """A prefix holds no ASCII letter or digit to make a table name of."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        super().__init__(
            f"prefix {prefix!r} gives an empty table name: it has no ASCII letter or digit. "
            f"Rename the prefix, narrow `path_prefix` so that it is not listed, or leave out all "
            f"that have no name: with `?*` instead of `*` in `tables`."
        )


class TableNameCollisionError(S3ParquetError):
    """Several prefixes give one table name, or names that differ only by case."""

    def __init__(self, collisions: list[tuple[str, list[str]]]) -> None:
        self.collisions = collisions
        lines = "; ".join(
            f"table {name!r} would come from prefixes {', '.join(map(repr, prefixes))}"
            for name, prefixes in collisions
        )
        super().__init__(
            f"{lines}. Destinations fold case, so names that differ only by case are one name. "
            f"Rename a prefix, leave the name out with `skip_tables`, or narrow `path_prefix`."
        )


class SchemaMismatchError(S3ParquetError):
    """An object's schema is not its table's."""

    def __init__(
        self,
        table: str,
        *,
        expected_key: str,
        found_key: str,
        differences: list[str],
        committed: int = 0,
        last_key: str | None = None,
    ) -> None:
        self.table, self.expected_key, self.found_key = table, expected_key, found_key
        self.differences = differences
        upto = (
            f" {committed} objects are committed, up to {last_key!r}; none of this object's rows."
            if committed
            else " Nothing of this load is written to the table."
        )
        super().__init__(
            f"schemas differ in table {table!r}: {found_key!r} does not match {expected_key!r}: "
            f"{'; '.join(differences)}.{upto} Repair or move one of the two objects; if the new "
            f"schema is the right one, run the table with full_refresh after all its objects "
            f"have it."
        )


class UnsupportedSchemaError(S3ParquetError):
    """A destination cannot hold a column without changing it."""


class EmptyListingError(S3ParquetError):
    """A listing came back empty, which is never taken for "all deleted"."""

    def __init__(self, table: str, prefix: str, objects: int) -> None:
        self.table = table
        super().__init__(
            f"the listing of {prefix!r} is empty while {objects} objects of it are loaded into "
            f"table {table!r}; to mirror or refresh it now would remove every row. Nothing is "
            f"removed. If all objects really were deleted, run the table with "
            f"allow_empty_listing: true."
        )


class QuarantineLimitError(S3ParquetError):
    """More of a table's objects cannot be read than the spec allows."""

    def __init__(
        self,
        table: str,
        *,
        quarantined: int,
        listed: int,
        fraction: float,
        example: str,
        refresh: bool = False,
    ) -> None:
        self.table, self.quarantined, self.listed = table, quarantined, listed
        undone = (
            "The table stays as it was." if refresh else "The checkpoint under way is rolled back."
        )
        super().__init__(
            f"{quarantined} of {listed} listed objects of table {table!r} cannot be read as "
            f"Parquet, more than max_quarantined_fraction {fraction} allows: {example}. {undone} "
            f"Repair or remove those objects, or raise max_quarantined_fraction, and run again"
            f"{'' if refresh else ': what is committed is not read again'}."
        )


class DestinationError(S3ParquetError):
    """The destination did not do as asked; its transaction is rolled back."""

    retryable = True


class DestinationLockedError(DestinationError):
    """Another process holds the destination's lock."""


class DestinationConflictError(DestinationError):
    """Another run wrote the table meanwhile, where nothing can be locked."""


class DestinationDeniedError(DestinationError):
    """The destination answers, and refuses what is asked until somebody changes something."""

    retryable = False


class TableOwnedElsewhereError(DestinationError):
    """The table in the destination belongs to another bucket or prefix."""

    retryable = False

    def __init__(self, table: str, *, owner: str, asked: str) -> None:
        self.table = table
        super().__init__(
            f"table {table!r} in the destination is loaded from {one_line(owner)}, not from "
            f"{one_line(asked)}. Use another namespace or database for one of them, or drop the "
            f"table and its rows in _s3pq_objects and _s3pq_tables to hand it over."
        )


class TableNotManagedError(DestinationError):
    """Table and ledger do not belong together: one is there without the other."""

    retryable = False


class LedgerVersionError(DestinationError):
    """A newer release wrote this ledger."""

    retryable = False

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the ledger has format version {found}; this release knows up to {known}. Upgrade "
            f"s3pq-dagster, or use the release that wrote it."
        )


class UnsupportedValueError(S3ParquetError):
    """An IO manager was handed a value, or asked for a type, it does not take."""
