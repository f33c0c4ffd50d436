"""Each example of `docs/layouts.md`, `docs/layouts/` and `docs/drift.md` is as the page says."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from s3pq_dagster import build_io_manager
from s3pq_dagster.drift.joins import join_types
from s3pq_dagster.reading.added_columns import ID_COLUMN, PARENT_COLUMN
from s3pq_dagster.schemas import KEY_COLUMN
from s3pq_dagster_tests.destinations.places import PLACES, Place
from s3pq_dagster_tests.lake import Lake
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.pages import (
    DOCS,
    PAGES,
    Delete,
    Holds,
    Loaded,
    Makes,
    Put,
    Says,
    Section,
    Step,
    Use,
    joins,
    plain_type,
    sections,
    shown,
)

DRIFTING = [section for section in sections() if section.page.stem == "drift"]
LAYOUTS = [section for section in sections() if section.page.stem != "drift"]
NOT_SHOWN = (ID_COLUMN, PARENT_COLUMN, KEY_COLUMN)


@dataclass
class Player:
    """Plays a section; loads before it compares if anything changed."""

    lake: Lake
    places: Callable[[], Place]
    """Makes an empty place."""
    place: Place = field(init=False)
    layout: object = "hive"
    is_changed: bool = False
    errors: dict[str, str] = field(default_factory=dict)
    """The message of each table whose run failed, by the table's name."""

    def __post_init__(self) -> None:
        """Begin with an empty place."""
        self._move()

    def play(self, step: Step) -> None:
        """Make a change, or compare what the page says."""
        if isinstance(step, Put):
            self.lake.bucket.put(step.key, step.body)
        elif isinstance(step, Delete):
            self.lake.bucket.delete(step.key)
        elif isinstance(step, Use):
            self._move()
            self.layout = step.layout
        else:
            self.load()
            self.compare(step)
        self.is_changed = isinstance(step, Put | Delete | Use)

    def load(self) -> None:
        """Run all tables, if anything changed since the last time."""
        if not self.is_changed:
            return
        result = self.lake.run(layout=self.layout)
        self.errors = {
            str(event.step_key).removeprefix("load_"): _told(event)
            for event in result.all_events
            if event.is_step_failure
        }

    def compare(self, step: Makes | Holds | Says) -> None:
        """Compare with what the last load made."""
        if isinstance(step, Makes):
            assert self._tables(step.tables) == step.tables
        elif isinstance(step, Holds):
            assert sorted(self._rows(step)) == sorted(step.rows)
        else:
            said = [" ".join(message.split()) for message in self.errors.values()]
            assert any(step.text in message for message in said), said

    def _move(self) -> None:
        self.place = self.places()
        manager = build_io_manager(self.place.url)
        self.lake = replace(self.lake, options={"destination": manager})

    def _tables(self, named: dict[str, Loaded]) -> dict[str, Loaded]:
        made = {name for name in self.place.tables() if not name.startswith("_s3pq")}
        return {
            name: Loaded(
                self._columns(name) if name in made else [],
                len(self.place.select(name, [KEY_COLUMN])) if name in made else 0,
                self._set_aside(name),
                self._error(name, named),
            )
            for name in made | self.errors.keys()
        }

    def _error(self, table: str, named: dict[str, Loaded]) -> str | None:
        """Return the name of a table's error, as the page has it if that is right."""
        message = self.errors.get(table)
        expected = named[table].error if table in named else None
        return expected if message and expected and expected in message else message

    def _columns(self, table: str) -> list[str]:
        with self.place.open().read(table, None) as reader:
            own = [each for each in reader.schema if each.name not in NOT_SHOWN]
        return [
            each.name if each.type == plain_type(each.name) else f"{each.name}:{each.type}"
            for each in own
        ]

    def _set_aside(self, table: str) -> int:
        """Count the objects of a table that are set aside."""
        entries = self.place.select("_s3pq_objects", ["table_name", "key", "status"])
        return len(
            {key for name, key, status in entries if (name, status) == (table, "quarantined")}
        )

    def _rows(self, step: Holds) -> list[tuple[str, ...]]:
        first = "version" if step.table.startswith("_s3pq") else KEY_COLUMN
        rows = self.place.select(step.table, [first, *step.columns])
        return [(_name(row[0]), *map(shown, row[1:])) for row in rows]


def _name(value: Any) -> str:
    return str(value).rpartition("/")[2]


def _told(event: dg.DagsterEvent) -> str:
    error, told = event.step_failure_data.error, []
    while error is not None:
        told.append(f"{error.cls_name}: {error.message}")
        error = error.cause
    return "\n".join(told)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    """Return what makes places of a kind, each in a directory of its own."""
    with ExitStack() as stack:

        def made(kind: str) -> Place:
            directory = tmp_path / f"place_{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            place: Place = PLACES[kind](directory)
            stack.callback(place.discard)
            return place

        yield made


@pytest.mark.first_case
@pytest.mark.parametrize("section", first_of(DRIFTING, keep=6), ids=str)
@pytest.mark.parametrize("kind", first_of(PLACES))
def test_drift_is_as_its_page_says(
    section: Section, kind: str, lake: Lake, places: Callable[[str], Place]
) -> None:
    """In each destination."""
    _play(Player(lake, partial(places, kind)), section)


@pytest.mark.first_case
@pytest.mark.parametrize("section", first_of(LAYOUTS, keep=4), ids=str)
def test_an_example_is_as_its_page_says(
    section: Section, lake: Lake, places: Callable[[str], Place]
) -> None:
    """Each load makes the tables, columns and rows that stand below its objects."""
    _play(Player(lake, partial(places, "duckdb")), section)


def _play(player: Player, section: Section) -> None:
    for step in section.steps:
        player.play(step)
    assert not player.is_changed, "what is put last is never loaded"


def test_every_rule_of_the_pages_is_run() -> None:
    """Each YAML block belongs to an example."""
    blocks = sum(page.read_text("utf-8").count("```yaml") for page in PAGES)
    used = [step for section in sections() for step in section.steps if isinstance(step, Use)]
    assert len(used) == blocks


def test_every_page_is_in_the_index() -> None:
    """`docs/layouts.md` links each page, and each page has an example."""
    linked = re.findall(r"\(layouts/([\w-]+)\.md\)", PAGES[0].read_text("utf-8"))
    assert sorted(linked) == sorted(page.stem for page in DOCS.glob("layouts/*.md"))
    assert {section.page for section in sections()} == set(PAGES)


def test_the_page_has_the_joins_of_the_package() -> None:
    """Each pair of types in `docs/drift.md` has the join that stands beside it, either way."""
    assert joins()
    for one, other, joined in joins():
        assert join_types(one, other) == joined, (one, other)
        assert join_types(other, one) == joined, (one, other)
