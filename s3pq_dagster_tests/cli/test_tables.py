"""`s3pq tables`: what a layout makes of the bucket."""

from pathlib import Path

from s3pq_dagster_tests.cli.conftest import CommandLine

RULE = "rules:\n  - match: '{table}/{day:date}/*.parquet'\nunmatched: ignore\n"


def test_each_table_is_shown_with_its_objects_and_the_columns_of_its_keys(
    s3pq: CommandLine,
) -> None:
    """A line a table: objects, size, what the example's key gives its rows, the example."""
    for day in (2, 1):
        s3pq.bucket.put(f"orders/day={day}/a.parquet", b"x" * 1024)
    s3pq.bucket.put("users/u.parquet", b"x")
    said = s3pq("tables")
    assert said.code == 0
    head = said.out.splitlines()[1].split()
    assert head == ["table", "objects", "size", "columns", "of", "the", "key", "example"]
    assert said.words("orders") == ["orders", "2", "2", "KiB", "day=1", "orders/day=1/a.parquet"]
    assert said.words("users") == ["users", "1", "1", "bytes", "-", "users/u.parquet"]


def test_what_is_no_tables_is_counted(s3pq: CommandLine) -> None:
    """Files that are not Parquet, hidden places and tables that are not selected have a line."""
    s3pq.bucket.put("orders/a.parquet", b"x")
    s3pq.bucket.put("orders/_temporary/b.parquet", b"x")
    s3pq.bucket.put("notes.txt", b"x")
    s3pq.bucket.put("users/u.parquet", b"x")
    said = s3pq("tables", S3PQ_SKIP_TABLES="users")
    assert "no table's: 1 object, such as notes.txt" in said.out
    assert "in temporary or hidden places: 1 object" in said.out
    assert "left out by `tables` and `skip_tables`: 1 table" in said.out


def test_a_layout_is_tried_without_changing_the_configuration(s3pq: CommandLine) -> None:
    """`--layout` takes a YAML file or a preset; what the keys make is shown by it."""
    s3pq.bucket.put("orders/2024-01-31/a.parquet", b"x")
    Path("layout.yaml").write_text(RULE)
    (by_rule,) = s3pq("tables", "--layout", "layout.yaml", "--json").json["sources"][0]["tables"]
    assert (by_rule["table"], by_rule["pattern"]) == ("orders", "orders/{day:date}/*.parquet")
    day = {"name": "day", "type": "date32[day]", "value": "2024-01-31"}
    assert by_rule["key_columns"] == [day]
    (by_preset,) = s3pq("tables", "--layout", "prefix", "--json").json["sources"][0]["tables"]
    assert by_preset["table"] == "orders_2024_01_31"


def test_a_layout_that_breaks_a_rule_is_an_error_of_one_line(s3pq: CommandLine) -> None:
    """It names what is wrong and where; so does a file that is not there."""
    Path("layout.yaml").write_text("rules:\n  - match: ''\n")
    broken = s3pq("tables", "--layout", "layout.yaml")
    missing = s3pq("tables", "--layout", "no.yaml")
    for said, part in ((broken, "rules.0"), (missing, "'no.yaml' cannot be read")):
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith("error: ConfigurationError: --layout")
        assert part in said.err
        assert said.err.count("\n") == 1


def test_what_cannot_be_loaded_is_told(s3pq: CommandLine) -> None:
    """Prefixes of one name, and the files of a Delta table, have a line of their own."""
    for key in ("a b/1.parquet", "a-b/1.parquet", "d/_delta_log/0.json", "d/1.parquet"):
        s3pq.bucket.put(key, b"x")
    said = s3pq("tables")
    assert "a_b: several prefixes make the name a_b: a b/, a-b/" in said.out
    assert "d: d/ is a Delta table, whose log says which files count" in said.out


def test_the_bucket_is_listed_once_and_nothing_is_read_or_written(s3pq: CommandLine) -> None:
    """It costs one listing; neither destination nor cache is touched, even with a wrong URL."""
    s3pq.bucket.put("orders/a.parquet", 3)
    before = s3pq.files()
    assert s3pq("tables", S3PQ_DESTINATION="nothing://of/the/kind").code == 0
    assert len(s3pq.bucket.proxy.requests) == 1
    assert s3pq.files() == before


def test_only_tables_that_a_glob_names_are_shown(s3pq: CommandLine) -> None:
    """`--table` may be given several times."""
    for table in ("orders", "users", "other"):
        s3pq.bucket.put(f"{table}/a.parquet", b"x")
    found = s3pq("tables", "-t", "ord*", "--table", "users", "--json").json["sources"][0]
    assert [table["table"] for table in found["tables"]] == ["orders", "users"]


def test_an_empty_bucket_has_no_table(s3pq: CommandLine) -> None:
    """It says so, and that is no error."""
    said = s3pq("tables")
    assert (said.code, said.out) == (0, f"s3://{s3pq.bucket.name}/\nno table\n")


def test_hostile_keys_break_neither_lines_nor_a_terminal(s3pq: CommandLine) -> None:
    """Control characters are escaped."""
    s3pq.bucket.put("orders/\x1b[31m.parquet", b"x")
    out = s3pq("tables").out
    assert "orders/\\x1b[31m.parquet" in out
    assert "\x1b" not in out
