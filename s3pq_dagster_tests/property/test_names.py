"""Names for any key there can be."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from s3pq_dagster.errors import TableNameError
from s3pq_dagster.layout.template import escaped
from s3pq_dagster.source.catalog import group_by_prefix, tables_in
from s3pq_dagster.source.table_names import table_name
from s3pq_dagster_tests.examples import examples
from s3pq_dagster_tests.key_rules import is_parquet, prefix_of
from s3pq_dagster_tests.unit.made import keys, listing, meta

PIECES = [
    *("/", "//", ".", "..", "_", "-", "a", "A", "1", "\n", " ", ".parquet", ".PARQUET"),
    *("_temporary", "_delta_log", "_SUCCESS", "ü", "\U0001f600"),
    *("\u212a", "\u017f", "\u0130", "\u03a3"),  # whose lower case is another length or ASCII
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ANY_KEY = st.one_of(
    ANY_TEXT,
    st.lists(st.one_of(st.sampled_from(PIECES), ANY_TEXT), min_size=1, max_size=8).map("".join),
).map(lambda key: key[:500])
PARQUET_KEY = st.one_of(ANY_KEY.map(lambda key: key + ".parquet"), ANY_KEY)
NAMED_KEY = st.tuples(ANY_KEY, st.sampled_from([".parquet", ".PARQUET", ".Parquet"])).map("".join)
ANY_KEYS = st.lists(PARQUET_KEY, unique=True, max_size=12)


def name_of(key: str) -> str | None:
    """Return the table name of a key; ``None`` if it would be empty."""
    try:
        return table_name(prefix_of(key))
    except TableNameError:
        return None


@given(NAMED_KEY)
def test_every_parquet_key_has_a_name_or_none(key: str) -> None:
    """A name has letters, digits and single underscores between them, and nothing else."""
    name = name_of(key)
    assert name is None or re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", name)
    stem = prefix_of(key) if "/" in key else key[: -len(".parquet")]
    assert (name is None) == (re.search(r"[A-Za-z0-9]", stem) is None)


@given(NAMED_KEY)
def test_a_name_is_its_own_name(key: str) -> None:
    """A prefix that is a table name has that name."""
    name = name_of(key)
    if name is not None:
        assert table_name(f"{name}/") == name
        assert table_name(f"{name}.parquet") == name


@settings(max_examples=examples(400))
@given(ANY_KEYS)
def test_grouping_many_is_grouping_each(names: list[str]) -> None:
    """The vectorised grouping agrees with the rules for one key, whatever the keys."""
    grouping = group_by_prefix(listing(*map(meta, names)))
    kept = [name for name in names if is_parquet(name)]
    expected: dict[str, list[str]] = {}
    for name in kept:
        expected.setdefault(escaped(prefix_of(name)), []).append(name)
    assert {prefix: keys(part) for prefix, part in grouping.by_pattern.items()} == expected
    assert list(grouping.by_pattern) == sorted(expected)
    assert len(kept) + grouping.ignored + grouping.other == len(names)


@settings(max_examples=examples(300))
@given(st.lists(st.text("aA-_/1", min_size=1, max_size=6), unique=True, max_size=8))
def test_tables_have_names_of_their_own_or_name_the_others(stems: list[str]) -> None:
    """A name that others have too, case aside, is a table that says so."""
    names = [f"{stem}.parquet" for stem in stems]
    grouping = group_by_prefix(listing(*map(meta, names)))
    made = [name_of(prefix) for prefix in grouping.by_pattern]
    folded = [name.casefold() for name in made if name is not None]
    try:
        tables = tables_in(grouping, bucket="lake", tables=["*"], skip_tables=[])
    except TableNameError:
        assert None in made
    else:
        assert sorted(table.name for table in tables) == sorted(set(map(str, made)))
        for table in tables:
            is_alone = folded.count(table.name.casefold()) == 1
            assert (table.collision is None) == is_alone
        assert sum(len(table.listing) for table in tables) == sum(map(is_parquet, names))
