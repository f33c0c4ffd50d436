"""What a table's schema becomes object by object, and what makes an object's rows the table's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from s3pq_dagster import schemas
from s3pq_dagster.drift.casts import InexactError, exact, may_be_inexact
from s3pq_dagster.drift.fitting import EVOLVE, RESCUE, STRICT, Fit, conversion, fit, inexact, start
from s3pq_dagster.drift.joins import join_types
from s3pq_dagster.errors import RefusedObjectError, SchemaMismatchError
from s3pq_dagster.objects import ObjectMeta
from s3pq_dagster.reading.added_columns import schema_with_added_columns, without_other_ids
from s3pq_dagster.spec import S3ParquetSpec

Convert = Callable[[pa.RecordBatch], pa.RecordBatch]


class ReadObject(Protocol):
    """An object whose columns are known."""

    @property
    def object(self) -> ObjectMeta:
        """The object."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Canonical schema of its own columns, and of those that its key makes."""
        ...


@dataclass(frozen=True, slots=True)
class Reference:
    """The schema of a table, and the object it comes from."""

    schema: pa.Schema
    key: str


class Fitting:
    """The schema of one table while its objects are read, in order."""

    def __init__(self, table: str, spec: S3ParquetSpec, least: pa.Schema | None = None) -> None:
        """Name the table; its schema is not known yet.

        Args:
            table: Its name.
            spec: Says what may differ.
            least: What the table's schema is to hold beside each object's.
        """
        self.reference: Reference | None = None
        """The table's schema after what was read so far."""
        self._table = table
        self._mode = spec.schema_mode
        self._add_cq_ids = spec.add_cq_ids
        self._least = least
        self._last: tuple[pa.Schema, Reference | None, Fit] | None = None
        """Schema of the last object, and how it fits: most often the next one's too."""
        self._same: tuple[pa.Schema, Reference] | None = None
        """Schema of the last object whose columns are exactly the table's."""
        self._checked: tuple[pa.Schema, Reference, list[tuple[int, pa.Field]]] | None = None

    def reference_after(self, opened: ReadObject) -> Reference:
        """Return what the table's schema is with an object; unchanged if it does not fit."""
        reference, after = self.reference, self._fit(opened)
        if reference is not None and (after.differences or after.schema.equals(reference.schema)):
            return reference
        return Reference(after.schema, opened.object.key)

    def changes_table(self, opened: ReadObject) -> bool:
        """Return whether the table's schema changes by an object."""
        return self.reference_after(opened) is not self.reference

    def differs(self, opened: ReadObject) -> bool:
        """Return whether an object's columns are not exactly the table's."""
        return bool(self.deviation(opened))

    def deviation(self, opened: ReadObject) -> list[str]:
        """Describe how an object's columns differ from the table's, one phrase a column."""
        if self.reference is None:
            return []
        return fit(self.reference.schema, self._added(opened), STRICT).differences

    def conversion(self, opened: ReadObject, committed: tuple[int, str | None]) -> Convert:
        """Return what makes an object's own rows those of the table, but for the added columns.

        The function that is returned raises :class:`RefusedObjectError` if a value would change.

        Args:
            opened: The object.
            committed: How many objects are committed, and the last one's key, for the error.

        Raises:
            SchemaMismatchError: The table's columns cannot hold them.
        """
        reference, found = self.reference, self._fit(opened)
        assert reference is not None  # noqa: S101 - the first object gave one
        if found.differences:
            raise SchemaMismatchError(
                self._table,
                expected_key=reference.key,
                found_key=opened.object.key,
                differences=found.differences,
                committed=committed[0],
                last_key=committed[1],
                mode=self._mode,
            )
        if self._is_same(reference, opened):
            return unchanged
        return _refusing(opened.object.key, self._converting(reference.schema, opened))

    def kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the columns of an object's rows that go into the table as they are.

        What becomes JSON is not held against the destination's rules for its own type.
        """
        if self._mode != RESCUE or self.reference is None:
            return batch
        table = fit(self.reference.schema, schemas.canonical(batch.schema), RESCUE).schema
        known = {schemas.folded(each.name): each.type for each in table}
        return batch.select(
            [
                each.name
                for each in batch.schema
                if known.get(schemas.folded(each.name)) == schemas.canonical_type(each.type)
            ]
        )

    def check(self, batch: pa.RecordBatch, key: str) -> None:
        """Hold rows of an object, in some of its columns, against the types they are to have.

        Raises:
            RefusedObjectError: A value would change, and the schema mode keeps no JSON of it.
        """
        if self._mode != EVOLVE or self.reference is None:
            return
        if self._checked is None or self._checked[:2] != (batch.schema, self.reference):
            targets = _targets(self._at_least(self.reference.schema), batch.schema)
            self._checked = batch.schema, self.reference, targets
        for number, target in self._checked[2]:
            try:
                exact(batch.column(number), target.type)
            except InexactError as error:
                raise RefusedObjectError(key, inexact(target, str(error))) from None

    def _fit(self, opened: ReadObject) -> Fit:
        if self._last is None or not (
            self._last[1] is self.reference and opened.schema.equals(self._last[0])
        ):
            self._last = opened.schema, self.reference, self._fit_anew(opened)
        return self._last[2]

    def _fit_anew(self, opened: ReadObject) -> Fit:
        after = self._fit_alone(self._added(opened), opened.object.key)
        return after if after.differences else Fit(self._at_least(after.schema), [])

    def _fit_alone(self, found: pa.Schema, key: str) -> Fit:
        reference = self.reference
        if reference is None:
            return Fit(start(found, self._mode), [])
        where = {"expected_in": repr(reference.key), "found_in": repr(key)}
        return fit(reference.schema, found, self._mode, **where)

    def _at_least(self, schema: pa.Schema) -> pa.Schema:
        return schema if self._least is None else fit(schema, self._least, self._mode).schema

    def _is_same(self, table: Reference, opened: ReadObject) -> bool:
        """Return whether the columns are the table's, in whatever order."""
        known = self._same
        if known is not None and known[1] is table and opened.schema.equals(known[0]):
            return True
        if fit(table.schema, self._added(opened), STRICT).differences:
            return False
        self._same = opened.schema, table
        return True

    def _converting(self, table: pa.Schema, opened: ReadObject) -> Convert:
        own = {schemas.folded(name) for name in opened.schema.names}
        added = [name for name in self._added(opened).names if schemas.folded(name) not in own]
        return conversion(table, opened.schema, added, self._mode)

    def _added(self, opened: ReadObject) -> pa.Schema:
        found = schema_with_added_columns(
            opened.schema, opened.object.key, add_cq_ids=self._add_cq_ids, mode=self._mode
        )
        if self._mode == STRICT or self.reference is None:
            return found
        return without_other_ids(found, opened.schema, self.reference.schema)


def _targets(table: pa.Schema, found: pa.Schema) -> list[tuple[int, pa.Field]]:
    """Return the columns, by number, that a cast may refuse, and what they are cast to."""
    known = {schemas.folded(each.name): each for each in table}
    targets = []
    for number, each in enumerate(found):
        column = known.get(schemas.folded(each.name))
        kind = schemas.canonical_type(each.type)
        joined = None if column is None else join_types(column.type, kind)
        if column is not None and joined is not None and may_be_inexact(kind, joined):
            targets.append((number, pa.field(column.name, joined)))
    return targets


def _refusing(key: str, convert: Convert) -> Convert:
    def convert_or_refuse(batch: pa.RecordBatch) -> pa.RecordBatch:
        try:
            return convert(batch)
        except InexactError as error:
            raise RefusedObjectError(key, str(error)) from None

    return convert_or_refuse


def unchanged(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch as it is: the conversion of an object that has the table's columns."""
    return batch
