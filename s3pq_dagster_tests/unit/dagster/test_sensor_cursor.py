"""What the sensor remembers from one tick to the next."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3pq_dagster.dagster.sensor_cursor import Asked, SensorCursor
from s3pq_dagster_tests.examples import ANY_JSON, examples
from s3pq_dagster_tests.unit.made import Lines, logger


def parsed(text: str | None, lines: Lines | None = None) -> SensorCursor:
    """Read the cursor of a sensor named ``s``."""
    return SensorCursor.parse(text, logger(lines or Lines()), sensor="s")


def test_it_is_read_as_it_was_written() -> None:
    """The tables' LastModified cursors are in the text too, but are not read back."""
    cursor = parsed(None)
    cursor.of("a", "f1").ask("f1", now=100.0)
    written = cursor.dump({"s3/bucket/a/last_modified_cursor": "2024-05-06T07:08:09Z"})
    assert json.loads(written)["s3/bucket/a/last_modified_cursor"] == "2024-05-06T07:08:09Z"
    assert parsed(written).tables == {"a": Asked("f1", 1, 100.0)}


def test_a_reload_is_remembered_beside_the_tables() -> None:
    """When it was asked for, and a hash of what for; nothing where there was none."""
    cursor = parsed(None)
    assert "reload" not in json.loads(cursor.dump({}))
    cursor.reload.ask(["new"], now=100.0)
    assert parsed(cursor.dump({})).reload == cursor.reload


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '"a word"',
        '{"v": 2, "tables": {}}',
        '{"v": 1, "tables": {"a": {"a field of a later version": 1}}}',
        '{"v": 1, "tables": ["a"]}',
        '{"v": 1, "tables": {"a": {"attempts": 1e3}}}',
        '{"v": 1, "tables": {"a": {"attempts": true}}}',
        '{"v": 1, "tables": {"a": {"attempts": -1}}}',
        '{"v": 1, "tables": {"a": {"at": NaN}}}',
        '{"v": 1, "tables": {"a": {"at": 1e999}}}',
        '{"v": 1, "tables": {"a": {"at": "now"}}}',
        '{"v": 1, "tables": {"a": {"fingerprint": 5}}}',
        '{"v": 1, "tables": {}, "together": 5}',
        '{"v": 1, "tables": {}, "together": [{"attempts": 1, "at": 5}]}',
        '{"v": 1, "tables": {}, "together": [{"attempts": 1, "at": 5, "digests": "0a"}]}',
        '{"v": 1, "tables": {}, "together": [{"attempts": 1, "at": 5, "digests": null}]}',
        '{"v": 1, "tables": {}, "together": [{"attempts": -1, "at": 5, "digests": ""}]}',
        '{"v": 1, "tables": {}, "reload": 5}',
        '{"v": 1, "tables": {}, "reload": {"attempts": -1}}',
        '{"v": 1, "tables": {}, "reload": {"at": "now"}}',
        '{"v": 1, "tables": {}, "reload": {"tables": []}}',
        '{"a":' * 100_000,
    ],
)
def test_what_cannot_be_read_is_as_good_as_none(text: str) -> None:
    """A cursor that somebody edited, or that a later version wrote, stops no tick."""
    lines = Lines()
    assert parsed(text, lines).tables == {}
    assert bool(text) is bool(lines.of("cursor_ignored"))
    assert all("sensor=s" in warning for warning in lines.texts)


@settings(max_examples=examples(200))
@given(
    st.one_of(
        ANY_JSON,
        st.fixed_dictionaries({"v": st.just(1), "tables": ANY_JSON}),
        st.fixed_dictionaries(
            {
                "v": st.just(1),
                "tables": st.fixed_dictionaries(
                    {"a": st.dictionaries(st.sampled_from(list(asdict(Asked()))), ANY_JSON)}
                ),
            }
        ),
    )
)
def test_any_json_can_be_worked_with(state: Any) -> None:
    """Whatever JSON the cursor is, a tick can ask for a run and write the next cursor."""
    lines = Lines()
    cursor = parsed(json.dumps(state), lines)
    assert cursor.tables or lines.texts or not state["tables"]
    for asked in [*cursor.tables.values(), cursor.of("new", "f")]:
        assert asked.seconds_left("f", now=1000.0) <= 3600
        asked.ask("f", now=1000.0)
        assert 60 <= asked.seconds_left("f", now=1000.0) <= 3600
    assert parsed(cursor.dump({})).tables == cursor.tables


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    """The wait begins at the time the clock now says, so it is no longer than before."""
    asked = Asked()
    asked.ask("f", now=1_000_000.0)
    assert asked.seconds_left("f", now=1_000_000.0 - 86_400) == 60
    assert asked.seconds_left("f", now=1_000_000.0 - 86_400 + 60) <= 0


def test_the_same_listing_is_asked_for_less_and_less_often() -> None:
    """The backoff is a minute, doubles with each failed run, and is an hour at most."""
    asked = Asked()
    waits = []
    for _ in range(9):
        asked.ask("f1", now=1000.0)
        waits.append(asked.seconds_left("f1", now=1000.0))
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert asked.seconds_left("f1", now=1000.0 + 3600) <= 0


def test_another_listing_is_asked_for_at_once() -> None:
    """Failed runs for one listing do not delay a run for another one."""
    asked = Asked()
    for _ in range(5):
        asked.ask("f1", now=1000.0)
    assert asked.seconds_left("f2", now=1000.0) <= 0
    asked.ask("f2", now=1000.0)
    assert asked.attempts == 1


def test_tables_that_are_gone_are_forgotten() -> None:
    """The cursor does not grow with every table there ever was."""
    cursor = SensorCursor({"a": Asked(), "gone": Asked()})
    cursor.keep({"a", "b"})
    assert set(cursor.tables) == {"a"}


def test_a_cursor_of_many_tables_fits_a_screen() -> None:
    """It has entries where something is remembered, and the latest of the LastModified cursors."""
    names = [f"public_events_of_system_{number:03}" for number in range(200)]
    cursor = SensorCursor({name: Asked() for name in names})
    cursor.of(names[7], "f" * 32).ask("f" * 32, now=1000.5)
    less = cursor.of(names[8], "f" * 32)
    less.accepted, less.accepted_for = "a" * 32, "b" * 32
    keys = [f"s3/a-lake-of-a-company/{name}/last_modified_cursor" for name in names]
    shown = dict(
        zip(keys, (f"2024-05-{n % 28:02}T00:00:{n % 60:02}Z" for n in range(200)), strict=True)
    )
    shown[keys[199]] = "2025-01-01T00:00:00.000001Z"
    written = cursor.dump(shown)
    assert len(written) < 3000
    state = json.loads(written)
    assert state["tables"].keys() == {names[7], names[8]}
    assert state["tables"][names[7]] == {"fingerprint": "f" * 32, "attempts": 1, "at": 1000.5}
    assert state[keys[199]] == "2025-01-01T00:00:00.000001Z"
    left = [key for key in keys if key in state]
    assert min(shown[key] for key in left) >= max(shown[k] for k in keys if k not in state)
    assert state["cursors_not_shown"] == 200 - len(left)
    assert parsed(written).tables == {name: cursor.tables[name] for name in names[7:9]}


def test_one_run_of_many_tables_fits_a_screen() -> None:
    """What is remembered of them is the same: each waits for its listing, and for no other."""
    names = [f"public_events_of_system_{number:03}" for number in range(200)]
    cursor = SensorCursor({})
    for number, name in enumerate(names):
        cursor.of(name, f"{number:032x}").ask(f"{number:032x}", now=1_700_000_000.123456)
    cursor.of(names[7], "").accepted = "a" * 32  # of this one more is remembered
    written = cursor.dump({})
    assert len(written) < 2000
    assert json.loads(written)["tables"].keys() == {names[7]}
    assert json.loads(written)["together"][0]["tables"] == 199
    later = parsed(written)
    for number, name in enumerate(names):
        assert later.of(name, f"{number:032x}") == cursor.tables[name]
    assert parsed(later.dump({})) == parsed(written)
    changed = parsed(written)
    assert changed.of(names[8], "another") == Asked()
    assert changed.of(names[9], f"{8:032x}") == Asked(), "it is another table's listing"


def test_tables_of_one_run_that_failed_are_remembered_apart_from_those_that_did_not() -> None:
    """Where many were asked for and few fail, these have entries by their names again."""
    first = SensorCursor({})
    names = [f"t{number}" for number in range(50)]
    for name in names:
        first.of(name, "f").ask("f", now=100.0)
    second = parsed(first.dump({}))
    for name in names:
        asked = second.of(name, "f")
        if name in names[3:]:
            asked.note_report(110.0)
        elif asked.seconds_left("f", now=170.0) <= 0:
            asked.ask("f", now=170.0)
    assert json.loads(second.dump({}))["tables"] == {
        name: {"fingerprint": "f", "attempts": 2, "at": 170.0} for name in names[:3]
    }


def test_a_cursor_of_an_earlier_release_is_read() -> None:
    """It has an entry by name for each of many tables."""
    names = [f"t{number}" for number in range(50)]
    entry = {"fingerprint": "f", "attempts": 2, "at": 100.0}
    cursor = parsed(json.dumps({"v": 1, "tables": dict.fromkeys(names, entry)}))
    assert cursor.of("t7", "f") == Asked("f", 2, 100.0)
    assert len(cursor.dump({})) < 600


def test_a_request_is_forgotten_once_a_run_has_reported() -> None:
    """Then it did not fail, and nothing of it is remembered."""
    asked = Asked()
    asked.ask("f", now=1000.0)
    asked.note_report(999.0)
    assert asked.attempts == 1
    asked.note_report(1000.0)
    assert asked == Asked()
