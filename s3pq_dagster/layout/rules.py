"""A layout: the rules that say which keys are which table, in order, and what the rest is."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from s3pq_dagster.layout.partitioning import Partitioning
from s3pq_dagster.layout.template import HIVE, Capture, Template, read_template
from s3pq_dagster.layout.template import Literal as LiteralText
from s3pq_dagster.layout.value_types import TEXT, ValueType

TABLE = "table"
"""Name of the capture that names the table, and makes no column."""
PRESETS = ("hive", "dated", "prefix")
Unmatched = Literal["hive", "dated", "prefix", "ignore", "error"]


class Rule(BaseModel):
    """Which keys are one table, or one table for each value of ``{table}``.

    Raises:
        pydantic.ValidationError: A field breaks its rule, or is not one of these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))

    match: str = Field(
        description="Template of the whole key.", examples=["events/{hive}/*.parquet"]
    )
    table: str | None = Field(
        default=None,
        description="Template of the table's name; unset: `{table}` where it is captured, else the "
        "text before the first capture or wildcard.",
    )
    types: dict[str, str] = Field(
        default={},
        description="Types of key columns: `text`, `int`, `bool`, `date`, `date(format)`, "
        "`timestamp` or `timestamp(format)`.",
    )
    drop: list[str] = Field(default=[], description="Captures that make no column.")
    schema_mode: Literal["strict", "evolve", "rescue"] | None = Field(
        default=None, description="The tables' own `schema_mode`; unset: the source's."
    )
    write_mode: Literal["append", "replace", "mirror"] | None = Field(
        default=None, description="The tables' own `write_mode`; unset: the source's."
    )
    table_format: Literal["refuse", "files"] = Field(
        default="refuse",
        description="`files` loads the files of a Delta Lake, Iceberg or Hudi table all the same, "
        "with the rows that it has deleted.",
    )
    partitions: str | None = Field(
        default=None,
        description="Dagster's partitions of the tables: `daily(day)`, `hourly`, `monthly` or "
        "`static` of captures; times may be followed by `start=2024-01-31` and "
        "`timezone=Europe/Berlin`.",
        examples=["daily(year, month, day)"],
    )

    @field_validator("match")
    @classmethod
    def _match_can_be_read(cls, text: str) -> str:
        read_template(text)
        return text

    @model_validator(mode="after")
    def _names_are_captured(self) -> "Rule":
        names = {capture.name for capture in self.template.captures}
        for field, used in (("types", self.types), ("drop", self.drop)):
            # The segments of {hive} may have any name.
            if HIVE not in names and (unknown := [name for name in used if name not in names]):
                raise ValueError(
                    f"{field} names {unknown[0]!r}, which {self.match!r} does not capture; it "
                    f"captures {_listed(names)}"
                )
        for capture in self.template.captures:
            if capture.name in self.types and capture.type is not None:
                raise ValueError(f"{capture.name!r} has a type in `match` and in `types`")
        for name, kind in self.types.items():
            try:
                ValueType.named(kind)
            except ValueError as error:
                raise ValueError(f"types of {name!r}: {error}") from None
        if unknown := [name for name in self.named_by if name not in names - {HIVE}]:
            raise ValueError(
                f"table {self.table!r} names {unknown[0]!r}, which {self.match!r} does not "
                f"capture; it captures {_listed(names - {HIVE})}"
            )
        self.name_of(dict.fromkeys(self.named_by, "x"))
        return self

    @model_validator(mode="after")
    def _partitions_can_be_told(self) -> "Rule":
        if self.partitioning is None:
            return self
        names = {each.name for each in self.template.captures} - {HIVE}
        segments = any(each.name == HIVE for each in self.template.captures)
        for name in self.partitioning.captures:
            if name in (TABLE, *self.named_by):
                raise ValueError(f"partitions names {name!r}, of which the table's name is made")
            if name == HIVE or (name not in names and not segments):
                raise ValueError(
                    f"partitions names {name!r}, which {self.match!r} does not capture; it "
                    f"captures {_listed(names)}"
                )
        self.partitioning.check_types(self.type_named)
        return self

    @property
    def takes_any_format(self) -> bool:
        """Whether files of another format's table are loaded all the same."""
        return self.table_format == "files"

    @cached_property
    def template(self) -> Template:
        """The template of the keys."""
        return read_template(self.match)

    @cached_property
    def named_by(self) -> list[str]:
        """Names of the captures that the table's name is made of."""
        if self.table is None:
            return [c.name for c in self.template.captures if c.name == TABLE]
        return [c.name for c in read_template(self.table).captures] if self.table else []

    def name_of(self, values: Mapping[str, str]) -> str:
        """Return the text that a table's name is made of, given what was captured."""
        if self.table is not None:
            return _text_of(read_template(self.table).filled(values))
        return values.get(TABLE, self.template.prefix)

    @cached_property
    def partitioning(self) -> Partitioning | None:
        """What the partitions of its tables are; ``None`` where they have none.

        Raises:
            ValueError: They cannot be read.
        """
        return None if self.partitions is None else Partitioning.read(self.partitions)

    def type_named(self, name: str) -> ValueType:
        """Return the type of a key column by its name, which the template has, or a segment."""
        found = (each for each in self.template.captures if each.name == name)
        return self.type_of(name, next(found, None))

    def type_of(self, name: str, capture: Capture | None = None) -> ValueType:
        """Return the type of a key column."""
        if capture is not None and capture.type is not None:
            return capture.type
        return ValueType.named(self.types[name]) if name in self.types else TEXT


class Layout(BaseModel):
    """Rules, of which the first that matches a whole key takes it, and what takes the rest.

    Raises:
        pydantic.ValidationError: A field breaks its rule, or is not one of these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: list[Rule] = Field(default=[], description="The rules, in order.")
    unmatched: Unmatched = Field(
        default="hive",
        description="What takes the keys that no rule takes: the preset `hive`, `dated` or "
        "`prefix`; `ignore` counts them; `error` refuses them.",
    )

    @classmethod
    def of(cls, given: Any) -> "Layout":
        """Return the layout of a preset's name, or of what YAML says.

        Raises:
            ValueError: It is neither.
        """
        if isinstance(given, Layout):
            return given
        if isinstance(given, str):
            if given in PRESETS:
                return cls(unmatched=given)  # type: ignore[arg-type]  # checked right here
            raise ValueError(f"layout {given!r} is no preset; there are {', '.join(PRESETS)}")
        return cls.model_validate(given)


def _text_of(template: Template) -> str:
    parts = template.parts
    if not all(isinstance(part, LiteralText) for part in parts):
        raise ValueError(f"{template.text!r} names a table and cannot have wildcards")
    return "".join(part.text for part in parts)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(map(repr, names))) or "nothing"
