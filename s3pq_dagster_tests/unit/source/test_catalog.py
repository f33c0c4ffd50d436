"""Which objects make which table."""

import pytest

from s3pq_dagster.errors import TableNameCollisionError, TableNameError
from s3pq_dagster.source.catalog import group_by_prefix, tables_in
from s3pq_dagster_tests.key_rules import is_parquet
from s3pq_dagster_tests.unit.made import keys, listing, meta


def found(
    *names: str, tables: tuple[str, ...] = ("*",), skip_tables: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """Give the keys of each table of these keys."""
    grouping = group_by_prefix(listing(*map(meta, names)))
    made = tables_in(grouping, tables=list(tables), skip_tables=list(skip_tables))
    return {table.name: keys(table.listing) for table in made}


def test_objects_of_one_prefix_are_one_table() -> None:
    """A prefix is a table; deeper ones are others; root objects are one each."""
    assert found("b/2.parquet", "a/1.parquet", "r.parquet", "a/c/1.parquet", "b/1.parquet") == {
        "a": ["a/1.parquet"],
        "a_c": ["a/c/1.parquet"],
        "b": ["b/2.parquet", "b/1.parquet"],
        "r": ["r.parquet"],
    }


def test_nothing_listed_gives_no_tables() -> None:
    """An empty listing is no error here."""
    assert found() == {}


def test_what_is_left_out_is_counted() -> None:
    """Temporary objects and objects that are not Parquet are counted separately."""
    grouping = group_by_prefix(
        listing(
            *map(
                meta,
                [
                    "a/x.parquet",
                    "a/",
                    "a/_SUCCESS",
                    "a/x.csv",
                    "x",
                    "a/_temporary/x.parquet",
                    "a/.y.parquet",
                ],
            )
        )
    )
    assert list(grouping.by_prefix) == ["a/"]
    assert (grouping.ignored, grouping.other) == (2, 4)


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("a/b/c.parquet", "a/b/"),
        ("c.parquet", "c.parquet"),
        ("/c.parquet", "/"),
        ("a//c.parquet", "a//"),
        ("a\n/c\nd.parquet", "a\n/"),
    ],
)
def test_a_prefix_ends_with_the_last_slash(key: str, prefix: str) -> None:
    """Everything up to the last slash is the prefix; a root object is its own."""
    grouping = group_by_prefix(listing(meta(key)))
    assert {found: keys(part) for found, part in grouping.by_prefix.items()} == {prefix: [key]}


@pytest.mark.parametrize(
    "key",
    [
        "x.parquet",
        "a/x.PARQUET",
        "a/x.ParQuet",
        "_private/x.parquet",
        "a/_x.parquet",
        "a/../x.parquet",
        "a/./x.parquet",
        "a//x.parquet",
        "_SUCCESSES/x.parquet",
        "x_temporary/x.parquet",
        "x.y/z.parquet",
        "_success/x.parquet",
    ],
)
def test_a_parquet_object_is_kept(key: str) -> None:
    """The extension ignores case, and only temporary and hidden places are left out."""
    grouping = group_by_prefix(listing(meta(key)))
    assert [keys(part) for part in grouping.by_prefix.values()] == [[key]]
    assert (grouping.ignored, grouping.other) == (0, 0)
    assert is_parquet(key)  # what the property tests go by


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        "a/",
        "parquet",
        "x.parquet.crc",
        "x.parquet/",
        "x.csv",
        "_temporary/0/x.parquet",
        "a/_temporary/x.parquet",
        "a/_delta_log/x.parquet",
        "a/_spark_metadata/x.parquet",
        "_SUCCESS/x.parquet",
        ".hidden/x.parquet",
        "a/.x.parquet",
        ".parquet",
        "a/.staging/b/x.parquet",
        "a/..x/y.parquet",
        "a/.../y.parquet",
    ],
)
def test_scratch_and_other_objects_are_left_out(key: str) -> None:
    """Temporary, hidden and other objects make no table."""
    grouping = group_by_prefix(listing(meta(key)))
    assert grouping.by_prefix == {}
    assert grouping.ignored + grouping.other == 1
    assert not is_parquet(key)  # what the property tests go by


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a-b/x.parquet", "a_b/x.parquet"),
        ("a/b/x.parquet", "a-b.parquet"),
        ("a//b/x.parquet", "a/b/x.parquet"),
        ("orders.parquet", "orders/x.parquet"),
        ("x.parquet", "x.PARQUET"),
    ],
)
def test_two_prefixes_with_one_name_collide(first: str, second: str) -> None:
    """Tables are never merged silently; the error names both prefixes."""
    with pytest.raises(TableNameCollisionError) as caught:
        found(first, second, "other/x.parquet")
    for prefix in {p for _, prefixes in caught.value.collisions for p in prefixes}:
        assert repr(prefix) in str(caught.value)
    assert "other" not in str(caught.value)


def test_names_that_differ_by_case_collide() -> None:
    """Destinations fold case, so case twins are one name; the error names both."""
    with pytest.raises(TableNameCollisionError, match="differ only by case") as caught:
        found("Orders/x.parquet", "orders/x.parquet")
    assert caught.value.collisions == [("Orders / orders", ["Orders/", "orders/"])]


def test_every_collision_is_named() -> None:
    """One error names all collisions."""
    with pytest.raises(TableNameCollisionError) as caught:
        found("a-b/x.parquet", "a_b/x.parquet", "c-d/x.parquet", "c_d/x.parquet")
    assert [name for name, _ in caught.value.collisions] == ["a_b", "c_d"]


def test_a_name_that_is_filtered_out_cannot_collide() -> None:
    """Filters are applied first, so that skip_tables avoids a collision."""
    names = ("Orders/x.parquet", "orders/x.parquet", "a/x.parquet")
    assert list(found(*names, skip_tables=("Orders",))) == ["a", "orders"]
    assert list(found(*names, tables=("a", "Orders"))) == ["Orders", "a"]


def test_a_prefix_without_a_name_is_an_error() -> None:
    """A prefix without letters or digits stops discovery."""
    with pytest.raises(TableNameError, match="'日本/'"):
        found("日本/x.parquet", "a/x.parquet")


def test_prefixes_without_a_name_can_be_left_out() -> None:
    """An empty name passes `*`, but not `?*`: the error says so."""
    names = ("\u65e5\u672c/x.parquet", "a/x.parquet", "/x.parquet", "b/x.parquet")
    with pytest.raises(TableNameError, match=r"`\?\*` instead of `\*` in `tables`"):
        found(*names)
    assert list(found(*names, tables=("?*",))) == ["a", "b"]
    assert list(found(*names, tables=("a",))) == ["a"]


def test_tables_are_sorted_by_name() -> None:
    """Tables do not depend on the order of the listing."""
    assert list(found("c/x.parquet", "B/x.parquet", "a/x.parquet")) == ["B", "a", "c"]
