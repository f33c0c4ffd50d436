"""Any name in a key or a column is loaded under a documented one, or refused with advice."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from s3pq_dagster import S3ParquetDuckDBIOManager, S3ParquetResource, discover
from s3pq_dagster.errors import TableNameCollisionError, TableNameError
from s3pq_dagster_tests.buckets import Bucket, parquet
from s3pq_dagster_tests.command_line import headless_sync
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.lake import Lake, materialized, messages
from s3pq_dagster_tests.proxy import Answer, Proxy
from s3pq_dagster_tests.servers import admin_client
from s3pq_dagster_tests.unit.made import Lines, logger

TEXTS = {
    "nothing": ("", ""),
    "dot": (".", ""),
    "dots": ("..", ""),
    "statement": ("'; DROP TABLE canary; --", "_DROP_TABLE_canary"),
    "identifier": ('"; DROP TABLE canary; --', "_DROP_TABLE_canary"),
    "quotes": ("'\"`a``b", "_a_b"),
    "backslash": ("a\\b\\", "_a_b"),
    "percent": ("%41%s%", "_41_s"),
    "numbered": ("$1", "_1"),
    "placeholders": ("?:name", "_name"),
    "braces": ("{}{0.__class__}{{", "_0_class"),
    "markup": ("*[a]<x>&amp;<!--", "_a_x_amp"),
    "ARN": ("arn:aws:s3:::lake", "_arn_aws_s3_lake"),
    "tab": ("a\tb\r", "_a_b"),
    "NUL": ("a\x00b", "_a_b"),
    "control": ("\x01\x1b[2J\x7f", "_2J"),
    "C1": ("\x85\x9b2J", "_2J"),
    "line ends": ("a\u2028b\u2029", "_a_b"),
    "emoji": ("\U0001f469\u200d\U0001f4bb", ""),
    "composed": ("caf\u00e9", "_caf"),
    "decomposed": ("cafe\u0301", "_cafe"),
    "right to left": ("a\u202egnp\u200f", "_a_gnp"),
    "no characters": ("\ufeffa\uffff\ufffd", "_a"),
    "spaces": (" a ", "_a"),
    "digit": ("7days", "_7days"),
    "upper": ("ID", "_ID"),
    "lower": ("id", "_id"),
    "long": ("x" * 500, "_" + "x" * 500),
}
"""A text to put into keys and columns, and what its segment adds to a table's name."""
WORDS = [
    *("select", "table", "main", "rowid", "temp", "information_schema", "lake"),
    *("_s3pq_objects", "_s3pq_tables", "_s3pq_batches", "_s3_key", "_cq_id"),
    *("class", "input", "load_select", "__ASSET_JOB"),
]
"""What is reserved somewhere: in SQL, in DuckDB, by us, in Python, in Dagster."""
LONG_PREFIX = "y" * 1000
NO_COLUMN = {"nothing", "NUL"}
"""Texts no column can be named: DuckDB would make others of them."""
CASE_TWIN = {"lower"}
"""A column that another one, ``ID``, leaves no room for."""
FIELDS = [*(t for n, (t, _) in TEXTS.items() if n not in NO_COLUMN | CASE_TWIN), *WORDS]
COLUMNS = [name for name in FIELDS if name != "_s3_key"]


def struct(*names: str) -> pa.Table:
    """Make a table with a struct of these fields."""
    values = [pa.array([number]) for number in range(len(names))]
    return pa.table({"c": pa.StructArray.from_arrays(values, names=list(names))})


def columns(*names: str) -> pa.Table:
    """Make a table of one row with these columns, numbered."""
    return pa.table([pa.array([number]) for number in range(len(names))], names=list(names))


EVERYTHING = columns(*COLUMNS).append_column("struct", struct(*FIELDS)["c"])
REFUSED = {
    "twice": (columns("a", "b", "a"), "more than one column named 'a'"),
    "no_name": (columns("a", ""), "column '' has a name ''"),
    "nul": (columns("a\x00b"), r"column 'a\\x00b' has a name 'a\\x00b' in it, empty or with NUL"),
    "case": (columns("ID", "id"), "columns 'ID' and 'id' differ only by case"),
    "key": (columns("_s3_key"), "a column '_s3_key'"),
    "key_case": (columns("_S3_Key"), "a column '_S3_Key': '_s3_key', in any case of letters"),
    "field_twice": (struct("a", "a"), "more than one field 'a'"),
    "field_case": (struct("\n", "a", "A"), "fields 'a' and 'A' differ only by case"),
    "field_no_name": (struct("a", ""), "column 'c' has a name ''"),
    "field_nul": (struct("a\x00"), r"column 'c' has a name 'a\\x00'"),
}
"""What a table cannot have, and what the error says of it."""
KEPT = {
    "cq_id": columns("_cq_id"),
    "cq_id_case": columns("_CQ_Id"),
    "cq_parent": columns("_Cq_Parent_Id"),
    "rowid_case": columns("RowId"),
    "looks_like_ours": columns("_s3_\u212aey", "s3_key", "_s3_key "),
    "looks_alike": columns("k", "\u212a", "\u00e9", "e\u0301", "\u00e4", "\u00c4", "a", "a "),
}
"""Columns that are the file's own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bucket full of hostile names after one run, beside a table that is not this package's."""

    lake: Lake
    definitions: dg.Definitions
    result: dg.ExecuteInProcessResult
    key_of: dict[str, str]
    """The one key of each table that loads, by the table's documented name."""

    def input(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """Read a table as an asset downstream does."""
        manager = S3ParquetDuckDBIOManager(database=str(self.lake.database))
        context = dg.build_input_context(
            asset_key=dg.AssetKey([self.lake.bucket.name, table]),
            dagster_type=dg.PythonObjectDagsterType(pa.Table),
            definition_metadata={"columns": columns} if columns else {},
        )
        return manager.load_input(context)


def keys() -> dict[str, str]:
    """Return a key for each name, by table: as a prefix and as the last segment."""
    made = {
        f"k{n}{name}": f"k{n}/{text}/1{text}.parquet"
        for n, (text, name) in enumerate(TEXTS.values())
    }
    made |= {word.strip("_"): f"{word}/1{word}.parquet" for word in WORDS}
    made |= {LONG_PREFIX: f"{LONG_PREFIX}/1.parquet", "long": f"long/{'z' * 1000}.parquet"}
    made |= {
        "lead": "/lead/1.parquet",
        "up": "../../up/1.parquet",
        "2_slashes": "2_//slashes/1.parquet",
    }
    return made


@pytest.fixture(scope="module")
def loaded(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Load every name in one run; some of them are refused."""
    directory = tmp_path_factory.mktemp("names")
    client = admin_client(moto)
    client.create_bucket(Bucket="names")
    with (
        Proxy(moto) as proxy,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        bucket = Bucket("names", client, proxy)
        lake = Lake(bucket, instance, directory / "lake.duckdb")
        with duckdb.connect(str(lake.database)) as connection:
            connection.execute("CREATE TABLE canary AS SELECT 1 AS alive")
        key_of = keys()
        for key in key_of.values():
            bucket.put(key, 1)
        for name, table in (KEPT | {"columns": EVERYTHING}).items():
            key_of[f"kept_{name}"] = f"kept/{name}/1.parquet"
            bucket.put(key_of[f"kept_{name}"], table)
        for name, (table, _) in REFUSED.items():
            bucket.put(f"refused/{name}/1.parquet", table)
        definitions = lake.definitions()
        yield Loaded(lake, definitions, lake.run(definitions=definitions), key_of)


@pytest.mark.thorough
def test_every_key_is_loaded_under_its_documented_table(loaded: Loaded) -> None:
    """Rows and ledger have exactly that key, asset and table exactly that name."""
    lake = loaded.lake
    ledger = lake.query("SELECT table_name, key, rows FROM _s3pq_objects WHERE status = 'loaded'")
    assert {table: key for table, key, _ in ledger} == loaded.key_of
    assert len(ledger) == len(loaded.key_of)
    for table, key in loaded.key_of.items():
        assert lake.rows_by_key(table) == {key: 1}
    assert set(materialized(loaded.result)) == set(loaded.key_of)


@pytest.mark.thorough
def test_nothing_else_is_in_the_database(loaded: Loaded) -> None:
    """The file has the tables, the two of the ledger, and what was there before."""
    expected = {"canary", "_s3pq_objects", "_s3pq_tables", *loaded.key_of}
    found = loaded.lake.query("SELECT schema_name, table_name FROM duckdb_tables()")
    assert sorted(found) == sorted(("main", name) for name in expected)
    assert loaded.lake.query("SELECT alive FROM canary") == [(1,)]


@pytest.mark.thorough
@pytest.mark.parametrize("name", REFUSED)
def test_an_impossible_column_fails_its_table_alone(loaded: Loaded, name: str) -> None:
    """The error is one line that names object and column and says what to do."""
    message = failure(loaded.result, f"load_refused_{name}")
    assert message.startswith("UnsupportedSchemaError: ")
    assert f"'refused/{name}/1.parquet'" in message
    assert re.search(REFUSED[name][1], message)
    assert "Rename" in message
    assert "`skip_tables`" in message
    assert message.isprintable()
    assert loaded.lake.ledger(f"refused_{name}") == []


@pytest.mark.thorough
def test_every_column_is_read_back_under_its_name(loaded: Loaded) -> None:
    """Columns and struct fields are found by name, in another order than the table's."""
    chosen = ["struct", *reversed(COLUMNS)]
    table = loaded.input("kept_columns", chosen)
    assert table.column_names == chosen
    (row,) = table.to_pylist()
    assert row.pop("struct") == {name: number for number, name in enumerate(FIELDS)}
    assert row == {name: number for number, name in enumerate(COLUMNS)}


@pytest.mark.thorough
@pytest.mark.parametrize("name", KEPT)
def test_a_column_that_only_looks_like_another_is_the_files(loaded: Loaded, name: str) -> None:
    """CloudQuery's ids are kept in any case of letters; names that look alike are others."""
    (row,) = loaded.input(f"kept_{name}").to_pylist()
    (expected,) = KEPT[name].to_pylist()
    assert {column: row.get(column) for column in expected} == expected
    assert row["_s3_key"] == f"kept/{name}/1.parquet"


@pytest.mark.thorough
def test_what_names_do_not_differ_in_is_not_loaded_again(loaded: Loaded) -> None:
    """The keys in the ledger equal the listed ones, byte by byte."""
    chosen = [name for name in loaded.key_of if re.match(r"k(1[1-9]|20)|yyy|up", name)]
    loaded.lake.bucket.proxy.forget()
    assert loaded.lake.run(*chosen, definitions=loaded.definitions).success
    assert loaded.lake.bucket.proxy.object_reads == []
    assert len(loaded.lake.bucket.proxy.listings) == 1


@pytest.mark.thorough
def test_the_sensor_asks_for_what_failed_and_nothing_else(loaded: Loaded) -> None:
    """Loaded tables are up to date under any name, and the tick logs one line."""
    tick = loaded.lake.tick(definitions=loaded.definitions)
    (request,) = tick.run_requests
    assert {key.path[-1] for key in request.asset_selection} == {f"refused_{n}" for n in REFUSED}


@pytest.mark.thorough
def test_every_log_line_is_one_line(loaded: Loaded) -> None:
    """No name breaks a line or the terminal, and each object has its own line."""
    lines = [
        line
        for message in messages(loaded.lake.instance, loaded.result.run_id)
        if re.match("[a-z_]+ table=", message)
        for line in message.split("\n")
    ]
    assert [line for line in lines if not line.isprintable()] == []
    assert sum(line.startswith("object_loaded ") for line in lines) == len(loaded.key_of)
    assert all(re.match("[a-z_]+ table=", line) for line in lines)


@pytest.mark.thorough
def test_every_line_of_discovery_is_one_line(loaded: Loaded) -> None:
    """Each prefix has its own line."""
    lines = Lines()
    found = discover(S3ParquetResource(**loaded.lake.bucket.spec), log=logger(lines))
    assert all(text.isprintable() for text in lines.texts)
    assert len(lines.of("table_found")) == len(found) == len(loaded.key_of) + len(REFUSED)


@pytest.mark.thorough
def test_saved_tables_have_the_names_that_were_found(loaded: Loaded) -> None:
    """Saved tables have the same prefixes, columns and fields when S3 is not reachable."""
    source = S3ParquetResource(**loaded.lake.bucket.spec)
    found = discover(source)
    loaded.lake.bucket.proxy.before = lambda _request: Answer(403)
    try:
        assert discover(source) == found
    finally:
        loaded.lake.bucket.proxy.before = lambda _request: None
    (saved,) = (table.schema for table in found if table.name == "refused_nul")
    assert saved is not None
    assert saved.names == ["a\x00b"]


@pytest.mark.thorough
def test_every_description_is_one_line_of_markdown(loaded: Loaded) -> None:
    """The prefix is a code span that ends where it should."""
    for definition in loaded.definitions.assets or ():
        assert isinstance(definition, dg.AssetsDefinition)
        for spec in definition.specs:
            described = str(spec.description)
            assert described.isprintable()
            assert re.fullmatch(
                r"Rows of the Parquet objects under (?P<fence>`+) ?s3://.*[^`] ?(?P=fence): "
                r"\d+ objects [^`]*",
                described,
            )


def test_names_that_look_alike_are_replaced_apart(lake: Lake) -> None:
    """Overwriting an object replaces the rows of exactly its key, byte by byte."""
    twins = ["caf\u00e9", "cafe\u0301", "a\x00b", "a\x00c", "a", "A", "a ", "%61", "\uff41"]
    keys = {f"t/{name}.parquet": rows for rows, name in enumerate(twins, 1)}
    for key, rows in keys.items():
        lake.bucket.put(key, rows)
    definitions = lake.definitions(write_mode="mirror")
    assert lake.run(definitions=definitions).success
    for key in list(keys)[::2]:
        lake.bucket.put(key, keys[key] + 100)
        keys[key] += 100
    lake.bucket.delete("t/cafe\u0301.parquet")
    lake.bucket.delete("t/A.parquet")
    assert lake.run(definitions=definitions).success
    del keys["t/cafe\u0301.parquet"], keys["t/A.parquet"]
    assert lake.rows_by_key("t") == keys
    assert [entry["key"] for entry in lake.ledger("t") if entry["status"] == "removed"] == [
        "t/A.parquet",
        "t/cafe\u0301.parquet",
    ]


def test_a_newline_in_a_key_is_a_character_like_any_other(weed_lake: Lake) -> None:
    """A key with a newline is listed and loaded, on a server that accepts one."""
    key = "a\nb/object_loaded table=c\nd.parquet"
    weed_lake.bucket.put(key, 2)
    result = weed_lake.run()
    assert result.success
    assert weed_lake.rows_by_key("a_b") == {key: 2}
    assert [entry["key"] for entry in weed_lake.ledger("a_b")] == [key]
    found = messages(weed_lake.instance, result.run_id)
    (said,) = [message for message in found if message.startswith("checkpoint_committed ")]
    assert [line.split()[0] for line in said.split("\n")] == [
        "checkpoint_committed",
        "object_loaded",
    ]


def test_case_twins_stop_discovery_until_one_is_left_out(lake: Lake) -> None:
    """One error has all collisions, and `skip_tables` avoids them."""
    for key in ("Orders/1", "orders/1", "\u00e9/a/1", "\u00fc/a/1", "b/1"):
        lake.bucket.put(f"{key}.parquet", 1)
    with pytest.raises(TableNameCollisionError, match=r"Rename a prefix.*`skip_tables`") as caught:
        lake.definitions()
    assert [name for name, _ in caught.value.collisions] == ["Orders / orders", "a"]
    assert lake.run(skip_tables=["Orders", "a"]).success
    assert lake.tables() == {"orders", "b", "_s3pq_objects", "_s3pq_tables"}


def test_prefixes_without_a_name_stop_discovery_until_they_are_left_out(lake: Lake) -> None:
    """A table needs a name; the error says how to leave the prefix out."""
    for prefix in ("\U0001f600", "", "..", "a"):
        lake.bucket.put(f"{prefix}/1.parquet", 1)
    with pytest.raises(TableNameError, match=r"`\?\*` instead of `\*` in `tables`"):
        lake.definitions()
    assert lake.run(tables=["?*"]).success
    assert lake.tables() == {"a", "_s3pq_objects", "_s3pq_tables"}


def test_a_collision_that_comes_later_stops_no_table_that_is_known(lake: Lake) -> None:
    """Runs and ticks go on and the sensor warns; only a reload fails."""
    lake.bucket.put("a/1.parquet", 1)
    definitions = lake.definitions()
    lake.run(definitions=definitions)
    lake.bucket.put("A/1.parquet", 1)
    lake.bucket.put("a/2.parquet", 2)
    (request,) = lake.tick(definitions=definitions).run_requests
    assert [key.path[-1] for key in request.asset_selection] == ["a"]
    assert lake.run(definitions=definitions).success
    assert lake.rows_by_key("a") == {"a/1.parquet": 1, "a/2.parquet": 2}
    said = str(lake.tick(definitions=definitions).skip_message)
    assert "table 'A / a' would come from prefixes 'A/', 'a/'" in said


def test_a_column_name_that_is_no_utf8_is_quarantined(lake: Lake) -> None:
    """The object is malformed; the other objects of its table are loaded."""
    good = parquet(pa.table({"aXXb": [1]}), store_schema=False)
    lake.bucket.put("a/1.parquet", good.replace(b"aXXb", b"a\xed\xa0b"))
    lake.bucket.put("a/2.parquet", good)
    assert lake.run().success
    assert lake.statuses("a") == {"a/1.parquet": "quarantined", "a/2.parquet": "loaded"}
    assert "UnicodeDecodeError" in lake.ledger("a")[0]["reason"]


@pytest.mark.thorough
def test_the_command_line_takes_hostile_names(bucket: Bucket, tmp_path: Path) -> None:
    """Dagster's database, compute logs and the saved tables hold the names too."""
    keys = {
        LONG_PREFIX: f"{LONG_PREFIX}/1.parquet",
        "a": f"a/{'z' * 1000}.parquet",
        "DROP_TABLE_canary": "'; DROP TABLE canary; --/`'\"\\\x00\u202e\U0001f600.parquet",
        "up": "../../up/1\x1b[2J.parquet",
    }
    for key in keys.values():
        bucket.put(key, EVERYTHING)
    bucket.put("refused/1.parquet", REFUSED["case"][0])
    home = tmp_path / "a" / "b"
    done = headless_sync(bucket, home)
    assert done.returncode == 1
    assert "columns 'ID' and 'id' differ only by case" in done.stderr
    assert "\x1b[2J" not in done.stderr
    with duckdb.connect(str(home / "lake.duckdb")) as connection:
        ledger = connection.execute("SELECT table_name, key FROM _s3pq_objects").fetchall()
    assert dict(ledger) == keys
    assert {path.parent for path in tmp_path.rglob("*") if home not in path.parents} == {
        *(tmp_path, tmp_path / "a")
    }
    files = [str(path.relative_to(home)) for path in home.rglob("*")]
    assert [name for name in files if re.search(r"canary|yyy|zzz|[^ -~]", name)] == []
