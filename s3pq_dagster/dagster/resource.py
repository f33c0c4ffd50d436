"""The spec as a Dagster resource: a bucket that is opened once a run."""

import logging
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import boto3
import dagster as dg
from pydantic import Field, PrivateAttr, field_validator

from s3pq_dagster.errors import ConfigurationError, StoreUnreachableError
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.logs import line
from s3pq_dagster.memory import RESERVED_BYTES, bound, memory_limit
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.access import identity_of
from s3pq_dagster.source.catalog import Grouping, group_objects
from s3pq_dagster.source.listing import BucketListing
from s3pq_dagster.source.pattern_listing import list_pattern
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource
else:
    S3Resource = Any  # its package takes long to import, and few need it

_INT_ENV_VAR = type(dg.EnvVar.int("S3PQ"))


def _by_memory(name: str, *, share: int) -> Any:
    """Make a field of the spec anew, whose default is at most a part of the memory there is."""
    known = S3ParquetSpec.model_fields[name]
    return Field(default=bound(known.default, share), description=known.description)


def value_by_now(text: str) -> str:
    """Return a field's text; where it is an ``EnvVar``, what the variable holds by now, or ``""``.

    That a variable is not set is told when the resource starts.
    """
    return text.get_value() or "" if isinstance(text, dg.EnvVar) else text


def default_bounds() -> int:
    """Return how many bytes of memory objects may take by default."""
    fields = S3ParquetResource.model_fields
    return sum(int(fields[name].default) for name in ("max_bytes_in_flight", "max_decoded_bytes"))


class S3ParquetResource(S3ParquetSpec, dg.ConfigurableResource[Any]):
    """A bucket to load from; the fields are those of :class:`S3ParquetSpec`.

    Literal values are checked when the resource is created, those of an ``EnvVar`` when it starts.

    ``s3`` may be a ``dagster_aws.s3.S3Resource``, or such a resource that is bound to a key. Its
    keys, session token and profile are used, and with ``use_unsigned_session`` requests are not
    signed. Nothing else of it is used: region and endpoint are fields of this resource. Credentials
    are never a field here, and ``repr`` shows none.
    """

    max_bytes_in_flight: int = _by_memory("max_bytes_in_flight", share=8)
    max_decoded_bytes: int = _by_memory("max_decoded_bytes", share=2)
    s3: dg.ResourceDependency[S3Resource] = None  # type: ignore[assignment]  # Dagster's "none given"

    _store: Store | None = PrivateAttr(default=None)
    _grouping: Grouping | None = PrivateAttr(default=None)
    _prefetches: dict[int, Prefetch] = PrivateAttr(default_factory=dict)
    _unlisted: StoreUnreachableError | None = PrivateAttr(default=None)

    @classmethod
    def is_deferred(cls, value: object) -> bool:
        """Return whether a value is an ``EnvVar``, which stands for another value."""
        return isinstance(value, dg.EnvVar | _INT_ENV_VAR)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, value) for name, value in super().__repr_args__() if name != "s3"]

    @field_validator("s3", mode="before", check_fields=False)
    @classmethod
    def _is_s3_resource(cls, value: Any) -> Any:
        # What is bound to a key may be anything by now; it is looked at when it is used.
        if value is None or isinstance(value, dg.ResourceDefinition):
            return value
        return _checked_s3(value)

    def identity(self) -> str | None:
        """Say whose credentials sign requests to the bucket; see :func:`identity_of`."""
        s3 = self.s3 and _checked_s3(self.s3)
        signed = s3 is None or not s3.use_unsigned_session
        return identity_of(self, self._session(), signed=signed)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Open the bucket; no request is sent yet. Warn a run whose bounds are beyond memory.

        Raises:
            ConfigurationError: ``s3`` is bound to something else than an ``S3Resource``.
        """
        s3 = self.s3 and _checked_s3(self.s3)
        signed = s3 is None or not s3.use_unsigned_session
        self._store = Store.open(self, self._session(), signed=signed)
        if context.run is not None and context.log is not None:
            self._check_memory(context.log)

    def _check_memory(self, log: logging.Logger) -> None:
        """Warn if the bounds allow a run more memory than there is."""
        needed = RESERVED_BYTES + self.max_decoded_bytes + self.max_bytes_in_flight
        if needed > (limit := memory_limit()):
            advice = "lower max_decoded_bytes and max_bytes_in_flight, or give it more memory"
            log.warning(line("memory_short", may_take=needed, there_is=limit, next=advice))

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's
        """Close the connections, and drop what tables of the run shared."""
        for prefetch in self._prefetches.values():
            prefetch.close()
        self._prefetches.clear()
        if self._store is not None:
            self._store.close()
        self._store = self._grouping = self._unlisted = None

    @property
    def store(self) -> Store:
        """The bucket, between setup and teardown."""
        if self._store is None:
            msg = "S3ParquetResource is used outside a run: open it with a `with` block first"
            raise RuntimeError(msg)
        return self._store

    def prefetch(self, destination: object) -> Prefetch:
        """Return what is prefetched of the next table that goes into a destination."""
        return self._prefetches.setdefault(id(destination), Prefetch())

    def list_tables(self, log: logging.Logger) -> Grouping:
        """List everything under ``path_prefix``, once between setup and teardown.

        The tables of a run share this listing. They also share the error that the server cannot be
        reached, so that a run of many tables waits for it only once.

        Raises:
            StoreError: As :func:`~s3pq_dagster.source.listing_page.list_page`.
        """
        grouping = self.list_on(BucketListing(self.path_prefix), log)
        assert grouping is not None  # noqa: S101 - its time is not limited
        return grouping

    def list_on(
        self, listing: BucketListing, log: logging.Logger, *, seconds: float | None = None
    ) -> Grouping | None:
        """Go on with a listing for a limited time.

        Returns:
            The objects by prefix, as :meth:`list_tables`; ``None`` if the listing is not complete.

        Raises:
            StoreError: As :func:`~s3pq_dagster.source.listing_page.list_page`.
        """
        if self._unlisted is not None:
            raise self._unlisted
        if self._grouping is None:
            try:
                listed = listing.go_on(self.store, concurrency=self.concurrency, seconds=seconds)
            except StoreUnreachableError as error:
                self._unlisted = error
                raise
            if listed is None:
                return None
            self._grouping = group_objects(listed, self.key_layout)
            log.info(
                line(
                    "bucket_listed",
                    bucket=self.bucket,
                    path_prefix=self.path_prefix or None,
                    objects=len(listed),
                    prefixes=len(self._grouping.groups),
                    ignored=self._grouping.ignored,
                    not_parquet=self._grouping.other,
                    such_as=self._grouping.example,
                )
            )
        return self._grouping

    def list_table(self, pattern: str, log: logging.Logger, table: str) -> Listing:
        """List the objects of one table, without the listing that tables share.

        Raises:
            StoreError: As :func:`~s3pq_dagster.source.listing_page.list_page`.
            TableFormatError: The table's folder is a table of another format.
        """
        listed = list_pattern(self.store, pattern, within=self.path_prefix)
        listing = group_objects(listed, self.key_layout).checked_listing(table, pattern)
        log.info(line("prefix_listed", bucket=self.bucket, prefix=pattern, objects=len(listing)))
        return listing

    def _session(self) -> boto3.session.Session | None:
        if self.s3 is None:
            return None
        return boto3.session.Session(
            profile_name=self.local_profile or self.s3.profile_name,
            aws_access_key_id=self.s3.aws_access_key_id,
            aws_secret_access_key=self.s3.aws_secret_access_key,
            aws_session_token=self.s3.aws_session_token,
        )


def _checked_s3(value: Any) -> Any:
    """Return a value that is an ``S3Resource``, which whoever made it has imported.

    Raises:
        ConfigurationError: It is none.
    """
    made_by = sys.modules.get("dagster_aws.s3")
    kind = getattr(value, "resource_cls", type(value))  # of one that is configured at launch
    if made_by is None or not issubclass(kind, made_by.S3Resource):
        msg = (
            f"s3 must be a dagster_aws.s3.S3Resource, got {kind.__module__}.{kind.__qualname__}: "
            f"give S3Resource(…), or leave it out to use the usual AWS credentials"
        )
        raise ConfigurationError(msg)
    return value
