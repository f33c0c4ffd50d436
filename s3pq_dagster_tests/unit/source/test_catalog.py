"""Which objects make which table."""

import pytest

from s3pq_dagster.errors import (
    TableFormatError,
    TableNameError,
    UnmatchedObjectsError,
)
from s3pq_dagster.layout.rules import Layout, Rule
from s3pq_dagster.source.catalog import TableListing, group_by_prefix, group_objects, tables_in
from s3pq_dagster_tests.key_rules import is_parquet
from s3pq_dagster_tests.unit.made import keys, listing, meta


def found(
    *names: str, tables: tuple[str, ...] = ("*",), skip_tables: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """Give the keys of each table of these keys."""
    grouping = group_by_prefix(listing(*map(meta, names)))
    made = tables_in(grouping, bucket="lake", tables=list(tables), skip_tables=list(skip_tables))
    return {table.name: keys(table.listing) for table in made}


def tables_of(*names: str) -> list[TableListing]:
    """Give the tables of these keys."""
    grouping = group_by_prefix(listing(*map(meta, names)))
    return tables_in(grouping, bucket="lake", tables=["*"], skip_tables=[])


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
    assert list(grouping.by_pattern) == ["a/"]
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
    assert {found: keys(part) for found, part in grouping.by_pattern.items()} == {prefix: [key]}


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
    assert [keys(part) for part in grouping.by_pattern.values()] == [[key]]
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
    assert grouping.by_pattern == {}
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
    """Tables are never merged silently; the name is one table that names both prefixes."""
    tables = tables_of(first, second, "other/x.parquet")
    (collided,) = [table for table in tables if table.name != "other"]
    assert collided.collision is not None
    name, prefixes = collided.collision
    assert (name, len(prefixes)) == (collided.name, 2)
    assert all(
        found.startswith(prefix)
        for found, prefix in zip(sorted([first, second]), sorted(prefixes), strict=True)
    )
    assert sorted(keys(collided.listing)) == sorted([first, second])
    (other,) = [table for table in tables if table.name == "other"]
    assert other.collision is None


def test_names_that_differ_by_case_collide() -> None:
    """Destinations fold case, so case twins are one name; each of them names both."""
    collision = ("Orders / orders", ["Orders/", "orders/"])
    tables = tables_of("Orders/x.parquet", "orders/x.parquet", "orders_1/x.parquet")
    assert [(table.name, table.collision) for table in tables] == [
        ("Orders", collision),
        ("orders", collision),
        ("orders_1", None),
    ]
    assert [keys(table.listing) for table in tables[:2]] == [
        ["Orders/x.parquet"],
        ["orders/x.parquet"],
    ]


def test_a_rules_pattern_of_a_folder_is_not_the_presets() -> None:
    """Where both have keys of one folder, each gets its own; one alone goes by either pattern."""
    layout = Layout(rules=[Rule(match="d/*.parquet")])
    both = group_objects(listing(meta("d/1.parquet"), meta("d/k=1/2.parquet")), layout)
    assert keys(both.listing("d/*.parquet")) == ["d/1.parquet"]
    assert keys(both.listing("d/{hive}/*.parquet")) == ["d/k=1/2.parquet"]
    assert keys(both.listing("d/")) == ["d/1.parquet"]
    (table,) = tables_in(both, bucket="lake", tables=["*"], skip_tables=[])
    assert table.collision == ("d", ["d/*.parquet", "d/{hive}/*.parquet"])
    alone = group_objects(listing(meta("d/k=1/2.parquet")), Layout())
    assert keys(alone.listing("d/*.parquet")) == ["d/k=1/2.parquet"]


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


def grouped(layout: Layout, *names: str) -> dict[str, list[str]]:
    """Give the keys of each pattern under a layout."""
    grouping = group_objects(listing(*map(meta, names)), layout)
    return {group.folder.pattern: keys(group.listing) for group in grouping.groups}


def test_the_first_rule_that_matches_takes_a_key() -> None:
    """What no rule takes is the preset's; a table's pattern has what its name is made of."""
    layout = Layout(
        rules=[
            Rule(match="a/{table}_{n:int}.parquet"),
            Rule(match="a/{x}.parquet", table="rest"),
        ]
    )
    assert grouped(layout, "a/t_1.parquet", "a/u*_2.parquet", "a/v.parquet", "b/k=1/x.parquet") == {
        "a/t_{n:int}.parquet": ["a/t_1.parquet"],
        "a/u{*}_{n:int}.parquet": ["a/u*_2.parquet"],
        "a/{x}.parquet": ["a/v.parquet"],
        "b/{hive}/*.parquet": ["b/k=1/x.parquet"],
    }


def test_a_rule_may_take_any_extension() -> None:
    """But neither a marker nor what lies in a hidden place, unless the template names it."""
    names = ["a/000000_0", "a/_SUCCESS", "a/_x", "a/.x", "a/_temporary/0/y", "b/x.parquet"]
    assert grouped(Layout(rules=[Rule(match="a/**/*")], unmatched="ignore"), *names) == {
        "a/**/*": ["a/000000_0"]
    }
    named = Layout(rules=[Rule(match="a/_temporary/**/*.parquet")], unmatched="ignore")
    assert grouped(named, "a/_temporary/0/y.parquet") == {
        "a/_temporary/**/*.parquet": ["a/_temporary/0/y.parquet"]
    }


@pytest.mark.parametrize("unmatched", ["ignore", "error"])
def test_what_no_rule_takes_is_counted_or_refused(unmatched: str) -> None:
    """The log has one of the keys, the error too."""
    layout = Layout(rules=[Rule(match="a/*.parquet")], unmatched=unmatched)  # type: ignore[arg-type]
    listed = listing(meta("a/x.parquet"), meta("b/y.parquet"))
    if unmatched == "error":
        with pytest.raises(UnmatchedObjectsError, match=r"1 Parquet objects, 'b/y.parquet'"):
            group_objects(listed, layout)
    else:
        grouping = group_objects(listed, layout)
        assert (grouping.other, grouping.example) == (1, "b/y.parquet")


@pytest.mark.parametrize(
    ("mark", "is_one"),
    [
        ("t/_delta_log/00000000000000000000.json", True),
        ("t/.hoodie/hoodie.properties", True),
        ("t/metadata/v1.metadata.json", False),
        ("u/_delta_log/00000000000000000000.json", False),
    ],
)
def test_files_of_another_formats_table_are_refused(mark: str, is_one: bool) -> None:  # noqa: FBT001
    """Iceberg's are below `data/`; a rule may take the files all the same."""
    listed = listing(meta("t/x.parquet"), meta("t/k=1/x.parquet"), meta(mark))
    grouping = group_objects(listed, Layout())
    if is_one:
        with pytest.raises(TableFormatError, match=r"'t/' in the bucket is a (Delta|Hudi) table"):
            grouping.checked_listing("t", "t/")
    else:
        assert len(grouping.checked_listing("t", "t/")) == 2
    files = Layout(rules=[Rule(match="t/{hive}/*.parquet", table_format="files")])
    assert len(group_objects(listed, files).checked_listing("t", "t/{hive}/*.parquet")) == 2


def test_an_iceberg_table_is_known_by_its_metadata_beside_data() -> None:
    """Another folder `data` is not one."""
    listed = listing(
        meta("w/t/data/x.parquet"), meta("w/t/metadata/00001.metadata.json"), meta("data/x.parquet")
    )
    grouping = group_objects(listed, Layout())
    with pytest.raises(TableFormatError, match="'w/t/' in the bucket is an Iceberg table"):
        grouping.checked_listing("w_t_data", "w/t/data/")
    assert len(grouping.checked_listing("data", "data/")) == 1


def test_what_a_destination_of_ours_wrote_is_no_input() -> None:
    """Its folder is left out and counted, though not if that is the whole bucket."""
    names = ["in/x.parquet", "out/in/x.parquet", "out/_s3pq_objects/in.parquet"]
    grouping = group_objects(listing(*map(meta, names)), Layout())
    assert list(grouping.by_pattern) == ["in/"]
    assert grouping.ignored == 2
    whole = listing(meta("in/x.parquet"), meta("_s3pq_tables/in.parquet"))
    assert "in/" in group_objects(whole, Layout()).by_pattern
