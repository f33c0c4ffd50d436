"""The spec as a Dagster resource: a bucket, opened once a run."""

import logging
from collections.abc import Iterable
from typing import Any

import boto3
import dagster as dg
from pydantic import PrivateAttr

from s3pq_dagster.errors import StoreUnreachableError
from s3pq_dagster.loading.prefetch import Prefetch
from s3pq_dagster.logs import line
from s3pq_dagster.objects import Listing
from s3pq_dagster.source.catalog import Grouping, group_by_prefix
from s3pq_dagster.source.listing import BucketListing, list_prefix
from s3pq_dagster.source.store import Store
from s3pq_dagster.spec import S3ParquetSpec

_INT_ENV_VAR = type(dg.EnvVar.int("S3PQ"))


class S3ParquetResource(S3ParquetSpec, dg.ConfigurableResource[Any]):
    """A bucket to load from; the fields are those of :class:`S3ParquetSpec`.

    Literal values are checked when it is made, values of ``EnvVar`` when it starts.

    ``s3`` may be a ``dagster_aws.s3.S3Resource``; only its credentials and profile are used, region
    and endpoint are this resource's own. Credentials are never a field here, and ``repr`` shows
    none.
    """

    s3: dg.ResourceDependency[Any] = None  # type: ignore[assignment]  # Dagster's "none given"

    _store: Store | None = PrivateAttr(default=None)
    _grouping: Grouping | None = PrivateAttr(default=None)
    _prefetches: dict[int, Prefetch] = PrivateAttr(default_factory=dict)
    _unlisted: StoreUnreachableError | None = PrivateAttr(default=None)

    @classmethod
    def is_deferred(cls, value: object) -> bool:
        """See :meth:`S3ParquetSpec.is_deferred`: an ``EnvVar`` stands for its value."""
        return isinstance(value, dg.EnvVar | _INT_ENV_VAR)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, value) for name, value in super().__repr_args__() if name != "s3"]

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's
        """Open the bucket; nothing is sent yet."""
        self._store = Store.open(self, self._session())

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's
        """Close the connections."""
        for ahead in self._prefetches.values():
            ahead.close()
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
        """Give what is fetched of the table that comes next into a destination."""
        return self._prefetches.setdefault(id(destination), Prefetch())

    def list_tables(self, log: logging.Logger) -> Grouping:
        """List everything under ``path_prefix``, once between setup and teardown.

        The tables of a run share this listing, and that nothing answered: a run of many tables
        does not wait for a dead server once for each.

        Raises:
            StoreError: As :func:`~s3pq_dagster.source.listing_page.list_page`.
        """
        grouping = self.list_on(BucketListing(self.path_prefix), log)
        assert grouping is not None  # noqa: S101 - it has all the time it takes
        return grouping

    def list_on(
        self, listing: BucketListing, log: logging.Logger, *, seconds: float | None = None
    ) -> Grouping | None:
        """Go on with a listing that may take longer than there is time for.

        Returns:
            What :meth:`list_tables` gives; ``None`` if it is not whole yet.

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
            self._grouping = group_by_prefix(listed)
            log.info(
                line(
                    "bucket_listed",
                    bucket=self.bucket,
                    path_prefix=self.path_prefix or None,
                    objects=len(listed),
                    prefixes=len(self._grouping.by_prefix),
                    ignored=self._grouping.ignored,
                    not_parquet=self._grouping.other,
                )
            )
        return self._grouping

    def list_table(self, prefix: str, log: logging.Logger) -> Listing:
        """List the objects of one prefix, now.

        Raises:
            StoreError: As :func:`~s3pq_dagster.source.listing_page.list_page`.
        """
        delimiter = "/" if prefix.endswith("/") else ""
        # The spec's prefix may end within the last segment of the table's keys.
        asked = self.path_prefix if self.path_prefix.startswith(prefix) else prefix
        listed = list_prefix(self.store, asked, delimiter=delimiter)
        listing = group_by_prefix(listed).by_prefix.get(prefix, Listing.of([]))
        log.info(line("prefix_listed", bucket=self.bucket, prefix=prefix, objects=len(listing)))
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
