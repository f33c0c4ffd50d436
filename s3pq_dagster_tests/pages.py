"""Pages of `docs/` whose sections are examples: objects, a layout, and the tables that come of it.

A section is played in the order in which it is read, on an empty bucket:

- a `text` block lists objects that are put: a key and, behind two spaces, the columns of its file
  as `name:type=value`, and a number of rows. A line that begins with `-` is an object that is
  deleted;
- a `yaml` block is a layout; from then on rows go to a new destination;
- a table headed ``| table | columns | rows |`` says what a load makes;
- a table headed ``| `name` | `column` | … |`` says what is in a table: each row begins with the
  name of the object that it is of;
- a quotation is part of the message of the load's error.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "layouts.md", *sorted(DOCS.glob("layouts/*.md")), DOCS / "drift.md"]
PLAIN_NUMBER, PLAIN = "id", pa.string()
"""What a column is whose type is not written: `id` is an integer, all others are text."""
_BLOCK = re.compile(
    r"^```text\n(?P<text>.*?)^```$|^```yaml\n(?P<yaml>.*?)^```$"
    r"|(?P<table>(?:^\|[^\n]*\n)+)|(?P<said>(?:^>[^\n]*\n)+)",
    re.MULTILINE | re.DOTALL,
)
_VALUES = {"b": "true", "date": "2024-01-14", "t": "2024-01-14 09:30", "s": "x"}
"""A value for a type whose name begins like this; 1 for all others."""


@dataclass(frozen=True, slots=True)
class Put:
    """An object that appears, or is overwritten."""

    key: str
    body: pa.Table | bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """An object that disappears."""

    key: str


@dataclass(frozen=True, slots=True)
class Use:
    """A layout."""

    layout: object


@dataclass(frozen=True, slots=True)
class Loaded:
    """A table after a load."""

    columns: list[str]
    rows: int
    set_aside: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Makes:
    """All tables after a load."""

    tables: dict[str, Loaded]


@dataclass(frozen=True, slots=True)
class Holds:
    """The rows of a table, each behind the name of its object."""

    table: str
    columns: list[str]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Says:
    """Part of the message of an error."""

    text: str


Step = Put | Delete | Use | Makes | Holds | Says


@dataclass(frozen=True, slots=True)
class Section:
    """An example of a page."""

    page: Path
    title: str
    steps: Sequence[Step]

    def __str__(self) -> str:
        return f"{self.page.stem}: {self.title}"


def sections() -> list[Section]:
    """Find the sections that put an object."""
    found = []
    for page in PAGES:
        for text in re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)[1:]:
            section = Section(page, text.partition("\n")[0], list(_steps(text)))
            if any(isinstance(step, Put) for step in section.steps):
                found.append(section)
    return found


def _steps(text: str) -> Iterator[Step]:
    for found in _BLOCK.finditer(text):
        if found["text"] is not None:
            yield from map(_change, found["text"].splitlines())
        elif found["yaml"] is not None:
            yield Use(yaml.safe_load(found["yaml"]))
        elif found["said"] is not None:
            yield Says(" ".join(found["said"].replace(">", "").split()))
        elif (table := _table(found["table"])) is not None:
            yield table


def _change(line: str) -> Step:
    if line.startswith("- "):
        return Delete(line[2:])
    key, _, rest = line.partition("  ")
    is_parquet = key.endswith(".parquet") or rest
    return Put(key, _file(rest) if is_parquet else b"")


def _file(described: str) -> pa.Table:
    """Make a file of columns such as ``id amount:double=1.5 3 rows``."""
    found = re.search(r"\b(\d+) rows$", described)
    count = int(found[1]) if found else 1
    described = described[: found.start()] if found else described
    words = re.findall(r"(?:[^\s\[(]|\[[^\]]*\]|\([^)]*\))+", described)
    columns = dict(map(_column, words or [PLAIN_NUMBER]))
    return pa.table({name: pa.concat_arrays([each] * count) for name, each in columns.items()})


def _column(word: str) -> tuple[str, pa.Array]:
    found = re.fullmatch(r"([^:=]+)(?::((?:[^\[(=]|\[[^\]]*\]|\([^)]*\))+))?(?:=(.*))?", word)
    assert found is not None, f"{word!r} is no column"
    name, named, value = found.groups()
    kind = type_named(named) if named else plain_type(name)
    value = value or _value(str(kind))
    if value == "null":
        return name, pa.nulls(1, kind)
    return name, pa.array([value]).cast(kind) if kind != pa.null() else pa.nulls(1)


def _value(kind: str) -> str:
    found = [value for begin, value in _VALUES.items() if kind.startswith(begin)]
    return (found[0] if found else "1") + ("Z" if "tz=" in kind else "")


def type_named(name: str) -> pa.DataType:
    """Return the type whose text is ``name``."""
    if found := re.fullmatch(r"decimal128\((\d+), (\d+)\)", name):
        return pa.decimal128(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"timestamp\[(\w+), tz=(\w+)\]", name):
        return pa.timestamp(*found.groups())
    return pa.type_for_alias(name)


def joins() -> list[tuple[pa.DataType, pa.DataType, pa.DataType | None]]:
    """Return each pair of types of `docs/drift.md` with the type that it says holds both."""
    found = []
    for cells in _rows_below("one", "the other", "column"):
        one, other, joined = (cell.strip("`") for cell in cells)
        kind = None if joined == "none" else type_named(joined)
        found.append((type_named(one), type_named(other), kind))
    return found


def drift_modes() -> dict[tuple[str, str], str]:
    """Return what `docs/drift.md` says becomes of a difference, by difference and mode."""
    modes = ("strict", "evolve", "rescue")
    rows = _rows_below("", "`strict`, the default", "`evolve`", "`rescue`")
    return {
        (difference, mode): said
        for difference, *cells in rows
        for mode, said in zip(modes, cells, strict=True)
    }


def _rows_below(*head: str) -> list[list[str]]:
    """Return the cells of the rows of the table of `docs/drift.md` with a head."""
    text = (DOCS / "drift.md").read_text("utf-8")
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    tables = [list(map(_cells, each.splitlines())) for each in found]
    (rows,) = (rows for first, _, *rows in tables if first == list(head))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def value_of(kind: pa.DataType) -> pa.Array:
    """Return an array of one value of a type, as in a column that is written without a value."""
    return pa.nulls(1) if pa.types.is_null(kind) else pa.array([_value(str(kind))]).cast(kind)


def plain_type(name: str) -> pa.DataType:
    """Return the type of a column that is written without one."""
    return pa.int64() if name == PLAIN_NUMBER else PLAIN


def _table(text: str) -> Makes | Holds | None:
    head, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        for line in text.splitlines()
        if not line.startswith("|---")
    ]
    if head == ["table", "columns", "rows"]:
        return Makes({name.strip("`"): _loaded(columns, rest) for name, columns, rest in rows})
    name, *columns = (cell.strip("`") for cell in head)
    if not columns or f"`{name}`" != head[0]:
        return None
    return Holds(name, columns, [tuple(cell.strip("`") for cell in row) for row in rows])


def _loaded(columns: str, rest: str) -> Loaded:
    found = re.fullmatch(r"(\d+)(?:, (\d+) set aside)?(?:, fails: `(\w+)`)?", rest)
    assert found is not None, f"{rest!r} is no number of rows"
    rows, set_aside, error = found.groups()
    return Loaded(re.findall(r"`(.+?)`", columns), int(rows), int(set_aside or 0), error)


def shown(value: Any) -> str:
    """Return a value as a page has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
