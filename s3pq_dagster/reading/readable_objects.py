"""A table's readable objects, opened in order; others are quarantined or skipped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from s3pq_dagster.errors import (
    BrokenAnswerError,
    MalformedObjectError,
    ObjectNotFoundError,
    ReadAbandonedError,
    RefusedObjectError,
)
from s3pq_dagster.layout.key_reader import KeyReader
from s3pq_dagster.ledger import Entry, Status
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.fetcher import Fetcher
from s3pq_dagster.reading.key_values import KeyValues
from s3pq_dagster.reading.object_bytes import ObjectBytes
from s3pq_dagster.reading.open_object import CheckRows, OpenObject, open_object
from s3pq_dagster.reading.progress_log import ProgressLog
from s3pq_dagster.reading.transfer import is_same_when_read_again
from s3pq_dagster.source import e_tags

_MOST_QUARANTINED = 1000
"""Entries of quarantined objects that are collected before they have to be committed."""

_MIXED = (
    "its e_tag is loaded with another size, and so are other versions of it, which write_mode "
    "append keeps: the rows that it replaces cannot be told from theirs. Run the table with "
    "full_refresh, which loads the object as it is now"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRules:
    """What a load asks of malformed, refused and overwritten objects."""

    verify: bool = False
    """Whether large objects are decoded once before the first of their rows is handed on."""
    on_quarantine: Callable[[Entry], None] = lambda _entry: None
    """Called with the entry of each quarantined object; may raise to stop reading."""
    is_loaded: Callable[[ObjectMeta], bool] = lambda _found: False
    """Whether this version of an object is loaded already: an object that was overwritten since it
    was listed may have been put back to what it was."""
    is_mixed: Callable[[ObjectMeta], bool] = lambda _found: False
    """Whether an object would replace rows that cannot be told from those of its other versions."""
    check_rows: CheckRows | None = None
    """Raises for rows that the destination cannot hold."""
    refused: Mapping[ObjectMeta, str] = field(default_factory=dict)
    """Objects that the destination has refused in this load already, and why."""


class ReadableObjects:
    """Open a table's objects one by one, and account for those that cannot be opened.

    Not safe to use from several threads at a time, but for :meth:`close`.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        progress: ProgressLog,
        rules: LoadRules | None = None,
        keys: KeyReader | None = None,
    ) -> None:
        """Send nothing yet; requests start with the first :meth:`peek`.

        Args:
            fetcher: Fetches the table's pending objects; closed by :meth:`close`.
            progress: Counts and logs what becomes of each object.
            rules: What the load asks; by default nothing.
            keys: Reads the columns that keys make; by default each key alone.
        """
        self.spec = fetcher.spec
        self.progress = progress
        self.missing: list[str] = []
        """Keys of objects that were deleted since they were listed."""
        self.changed: list[ObjectMeta] = []
        """Objects that were overwritten since they were listed, as they were read."""
        self.quarantined: list[Entry] = []
        """Entries of quarantined objects that no checkpoint has yet."""
        self.wanted: pa.Schema | None = None
        """The table's schema, once it is known; INT96 and ENUM are read as they are there."""
        self.check_fit: CheckRows = lambda _batch, _key: None
        """Raises for rows whose values the table's columns cannot hold."""
        self.kept: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda batch: batch
        """Returns the columns of rows that are stored in their own type."""
        self._rules = rules or LoadRules()
        self._fetcher = fetcher
        keys = keys or KeyReader(self.spec.key_layout)
        self._key_values = KeyValues(keys, self._check_rows)
        self._fetcher.on_wait = progress.report
        self._fetched = iter(fetcher)
        self._next: OpenObject | None = None

    @property
    def is_verified(self) -> bool:
        """Whether large objects, too, are decoded once before they are handed on."""
        return self._rules.verify

    def close(self, *, wait: bool = True) -> None:
        """Stop reading and free everything; see :meth:`Fetcher.close`."""
        opened, self._next = self._next, None
        if opened is not None:
            self._fetcher.release(opened.fetched)
        self._fetcher.close(wait=wait)

    def peek(self) -> OpenObject | None:
        """Open the next readable object, unless one is open that was not taken yet.

        Returns:
            The object; ``None`` at the end, and when a checkpoint's worth of objects was
            quarantined, which has to be taken first: a run that dies would read all of it again.

        Raises:
            StoreError: The store failed.
            S3ParquetError: The disk, this machine or the load's rules stop the reading.
        """
        while self._next is None and not self._is_quarantine_full:
            if (fetched := next(self._fetched, None)) is None:
                break
            self.progress.report()
            if self._is_put_back(fetched):
                self.progress.count_put_back(fetched.object)
                self._fetcher.release(fetched)
            else:
                self._next = self._opened(fetched)
        return self._next

    def take(self) -> None:
        """Let :meth:`peek` go on; whoever took the object releases it."""
        self._next = None

    def take_quarantined(self) -> list[Entry]:
        """Return the entries of :attr:`quarantined`, and clear them."""
        entries, self.quarantined = self.quarantined, []
        return entries

    def release(self, opened: OpenObject) -> None:
        """Close an object and free its bytes."""
        opened.close()
        self._fetcher.release(opened.fetched)

    def quarantine(self, found: ObjectMeta, error: MalformedObjectError) -> Entry:
        """Return the entry of an object that cannot be loaded; count and log it."""
        self.progress.count(found)
        return self.set_aside(found, error)

    def set_aside(self, found: ObjectMeta, error: MalformedObjectError) -> Entry:
        """Return the entry of an object that is counted already; log it, and notify the load."""
        self.progress.log_quarantined(found, error.reason)
        entry = Entry(found, Status.QUARANTINED, 0, error.reason)
        self._rules.on_quarantine(entry)
        return entry

    def check_transfer(self, fetched: ObjectBytes) -> None:
        """Read an object again to see that its transfer is not at fault for what is wrong with it.

        Raises:
            BrokenAnswerError: Other bytes came.
        """
        if not self._is_same_when_read_again(fetched):
            raise _differing(fetched)

    def check_wanted(self) -> None:
        """Log progress now and then, and stop when the reading is abandoned.

        Raises:
            ReadAbandonedError: Closed by another thread.
        """
        if self._fetcher.is_closed:
            raise ReadAbandonedError
        self.progress.report()

    @property
    def _is_quarantine_full(self) -> bool:
        size = sum(entry.object.size for entry in self.quarantined)
        return len(self.quarantined) >= _MOST_QUARANTINED or size >= self.spec.checkpoint_bytes

    def _is_put_back(self, fetched: ObjectBytes) -> bool:
        """Note an object that was overwritten, and return whether it is loaded as it is now."""
        if not fetched.changes or isinstance(fetched.error, ObjectNotFoundError):
            return False
        self.changed.append(fetched.object)
        return fetched.error is None and self._rules.is_loaded(fetched.object)

    def _opened(self, fetched: ObjectBytes) -> OpenObject | None:
        """Open an object; quarantine a malformed one, and skip one that is missing."""
        try:
            return self._open(fetched)
        except MalformedObjectError as error:
            self._fetcher.release(fetched)
            self.quarantined.append(self.quarantine(fetched.object, error))
        except ObjectNotFoundError:
            self._fetcher.release(fetched)
            self.missing.append(fetched.object.key)
            self.progress.count_missing(fetched.object)
        except BaseException:
            self._fetcher.release(fetched)
            raise
        return None

    def _open(self, fetched: ObjectBytes) -> OpenObject:
        """Open an object; one that does not decode is read again before it is called malformed."""
        if self._rules.is_mixed(fetched.object):
            raise MalformedObjectError(fetched.object.key, _MIXED)
        if (reason := self._rules.refused.get(fetched.object)) is not None:
            raise RefusedObjectError(fetched.object.key, reason)
        columns = self._key_values.of(fetched.object.key)
        is_small = fetched.object.size <= self.spec.max_object_bytes_in_memory
        whole = is_small or self._rules.verify
        for _ in range(e_tags.MOST_READS):
            try:
                opened = open_object(
                    fetched,
                    self.spec,
                    whole=whole,
                    wanted=self.wanted,
                    on_batch=self.check_wanted,
                    check_rows=self._check_rows,
                )
            except MalformedObjectError:
                if self._is_same_when_read_again(fetched):
                    raise
                fetched.decoded = None  # of the bytes before
                continue
            self._key_values.add_to(opened, columns, self.wanted)
            return opened
        raise _differing(fetched)

    def _check_rows(self, batch: pa.RecordBatch, key: str) -> None:
        if self._rules.check_rows is not None and (kept := self.kept(batch)).num_columns:
            self._rules.check_rows(kept, key)
        self.check_fit(batch, key)

    def _is_same_when_read_again(self, fetched: ObjectBytes) -> bool:
        part_bytes = self.spec.max_object_bytes_in_memory
        return is_same_when_read_again(self._fetcher.store, fetched, part_bytes, self.check_wanted)


def _differing(fetched: ObjectBytes) -> BrokenAnswerError:
    return BrokenAnswerError(
        f"the bytes of {fetched.object.key!r} differ from one read to the next, and not all of "
        f"them are Parquet of its table. Something between here and S3 changes them. Run again; "
        f"if it happens again, look for the cause there."
    )
