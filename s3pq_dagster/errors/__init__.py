"""The tree of errors: everything that can go wrong, and whether trying again may help.

::

    S3ParquetError
    ├── ConfigurationError            an environment variable or URL that cannot be used
    ├── StoreError                    the source bucket did not answer as it should   (retried)
    │   ├── StoreRefusedError         it answers, and refuses until somebody changes something
    │   ├── BucketNotFoundError
    │   ├── AccessDeniedError
    │   ├── CredentialsError
    │   ├── StoreUnreachableError
    │   ├── BrokenAnswerError         an answer broke off or is not what was asked for
    │   ├── ObjectNotFoundError       deleted since it was listed
    │   └── ObjectChangedError        overwritten since it was listed
    ├── MalformedObjectError          one object cannot be read as Parquet: it is quarantined
    │   └── RefusedObjectError        … has a value that the destination cannot hold: likewise
    ├── TrialError                    no process to decode an object for trial        (retried)
    ├── DiskError                     a temporary file cannot be written or read      (retried)
    ├── UnsteadyObjectError           decoded whole, and then not                     (retried)
    ├── InternalError                 a bug of this package, or of a library it uses
    ├── ReadAbandonedError            reading was stopped from outside
    ├── TableNameError                a prefix gives no table name
    ├── TableNameCollisionError       two prefixes give one table name
    ├── TooManyPartitionsError        a table's rule makes more partitions than Dagster is made for
    ├── TableFormatError              a table's files belong to a Delta, Iceberg or Hudi table
    ├── UnmatchedObjectsError         no rule takes an object, and the layout refuses that
    ├── SchemaMismatchError           two objects of a table differ
    ├── UnsupportedSchemaError        a destination cannot hold a column without changing it
    │   └── RefusedRowsError         … a value in a checkpoint: its objects are tried one by one
    ├── EmptyListingError             nothing is listed, and all rows would go
    ├── UnlistedObjectsError          rows of objects would go that the bucket still has
    ├── QuarantineLimitError          too many objects of a table cannot be read
    ├── NoReadableObjectError         … none can
    ├── NothingToReloadError          a pattern of `reload` takes no listed object
    ├── UndoRefusedError              a run cannot be taken back
    ├── DestinationError              the destination did not do as asked             (retried)
    │   ├── DestinationLockedError
    │   ├── DestinationConflictError  another run wrote the table meanwhile
    │   ├── DestinationDeniedError    it answers, and refuses until somebody changes something
    │   ├── TableOwnedElsewhereError  the table is loaded from another bucket
    │   ├── LayoutChangedError        … from other keys of the bucket
    │   ├── TableNotManagedError
    │   └── LedgerVersionError
    └── UnsupportedValueError         a value this IO manager does not take
"""

from s3pq_dagster.errors.base import ConfigurationError, S3ParquetError, one_line
from s3pq_dagster.errors.bucket import (
    AccessDeniedError,
    BrokenAnswerError,
    BucketNotFoundError,
    CredentialsError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreError,
    StoreRefusedError,
    StoreUnreachableError,
)
from s3pq_dagster.errors.corrections import NothingToReloadError, UndoRefusedError
from s3pq_dagster.errors.destination import (
    DestinationConflictError,
    DestinationDeniedError,
    DestinationError,
    DestinationLockedError,
    LayoutChangedError,
    LedgerVersionError,
    TableNotManagedError,
    TableOwnedElsewhereError,
    UnsupportedValueError,
)
from s3pq_dagster.errors.partitions import TooManyPartitionsError
from s3pq_dagster.errors.reading import (
    DiskError,
    InternalError,
    MalformedObjectError,
    ReadAbandonedError,
    RefusedObjectError,
    TrialError,
    UnsteadyObjectError,
)
from s3pq_dagster.errors.table import (
    EmptyListingError,
    NoReadableObjectError,
    QuarantineLimitError,
    RefusedRowsError,
    SchemaMismatchError,
    TableFormatError,
    TableNameCollisionError,
    TableNameError,
    UnlistedObjectsError,
    UnmatchedObjectsError,
    UnsupportedSchemaError,
)

__all__ = [
    "AccessDeniedError",
    "BrokenAnswerError",
    "BucketNotFoundError",
    "ConfigurationError",
    "CredentialsError",
    "DestinationConflictError",
    "DestinationDeniedError",
    "DestinationError",
    "DestinationLockedError",
    "DiskError",
    "EmptyListingError",
    "InternalError",
    "LayoutChangedError",
    "LedgerVersionError",
    "MalformedObjectError",
    "NoReadableObjectError",
    "NothingToReloadError",
    "ObjectChangedError",
    "ObjectNotFoundError",
    "QuarantineLimitError",
    "ReadAbandonedError",
    "RefusedObjectError",
    "RefusedRowsError",
    "S3ParquetError",
    "SchemaMismatchError",
    "StoreError",
    "StoreRefusedError",
    "StoreUnreachableError",
    "TableFormatError",
    "TableNameCollisionError",
    "TableNameError",
    "TableNotManagedError",
    "TableOwnedElsewhereError",
    "TooManyPartitionsError",
    "TrialError",
    "UndoRefusedError",
    "UnlistedObjectsError",
    "UnmatchedObjectsError",
    "UnsteadyObjectError",
    "UnsupportedSchemaError",
    "UnsupportedValueError",
    "one_line",
]
