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
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.command_line import headless_sync
from s3pq_dagster_tests.dagster.hostile_names import (
    COLUMNS,
    EVERYTHING,
    FIELDS,
    KEPT,
    LONG_PREFIX,
    REFUSED,
    keys,
)
from s3pq_dagster_tests.dagster.test_user_stories import failure
from s3pq_dagster_tests.lake import Lake, materialized, messages
from s3pq_dagster_tests.proxy import Answer, Proxy
from s3pq_dagster_tests.servers import admin_client
from s3pq_dagster_tests.unit.made import Lines, logger


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


@pytest.mark.nightly
def test_nothing_else_is_in_the_database(loaded: Loaded) -> None:
    """The file has the tables, the two of the ledger, and what was there before."""
    expected = {"canary", "_s3pq_objects", "_s3pq_tables", "_s3pq_schemas", *loaded.key_of}
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


@pytest.mark.nightly
def test_every_column_is_read_back_under_its_name(loaded: Loaded) -> None:
    """Columns and struct fields are found by name, in another order than the table's."""
    chosen = ["struct", *reversed(COLUMNS)]
    table = loaded.input("kept_columns", chosen)
    assert table.column_names == chosen
    (row,) = table.to_pylist()
    assert row.pop("struct") == {name: number for number, name in enumerate(FIELDS)}
    assert row == {name: number for number, name in enumerate(COLUMNS)}


@pytest.mark.nightly
@pytest.mark.parametrize("name", KEPT)
def test_a_column_that_only_looks_like_another_is_the_files(loaded: Loaded, name: str) -> None:
    """CloudQuery's ids are kept in any case of letters; names that look alike are others."""
    (row,) = loaded.input(f"kept_{name}").to_pylist()
    (expected,) = KEPT[name].to_pylist()
    assert {column: row.get(column) for column in expected} == expected
    assert row["_s3_key"] == f"kept/{name}/1.parquet"


@pytest.mark.nightly
def test_what_names_do_not_differ_in_is_not_loaded_again(loaded: Loaded) -> None:
    """The keys in the ledger equal the listed ones, byte by byte."""
    chosen = [name for name in loaded.key_of if re.match(r"k(1[1-9]|20)|yyy|up", name)]
    loaded.lake.bucket.proxy.forget()
    assert loaded.lake.run(*chosen, definitions=loaded.definitions).success
    assert loaded.lake.bucket.proxy.object_reads == []
    assert len(loaded.lake.bucket.proxy.listings) == 1


@pytest.mark.thorough
def test_the_sensor_names_what_failed_and_asks_for_nothing(loaded: Loaded) -> None:
    """Loaded tables are up to date under any name; what no run can mend waits for a change."""
    tick = loaded.lake.tick(definitions=loaded.definitions)
    assert not tick.run_requests
    said = str(tick.skip_message)
    assert said.startswith("failing until ")
    failing = re.findall(r"(\w+) \(UnsupportedSchemaError\)", said)
    assert set(failing) == {f"refused_{name}" for name in REFUSED}
    assert f"{len(loaded.key_of)} of {len(loaded.key_of) + len(REFUSED)} tables up to date" in said


@pytest.mark.nightly
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


@pytest.mark.nightly
def test_every_line_of_discovery_is_one_line(loaded: Loaded) -> None:
    """Each prefix has its own line."""
    lines = Lines()
    found = discover(S3ParquetResource(**loaded.lake.bucket.spec), log=logger(lines))
    assert all(text.isprintable() for text in lines.texts)
    assert len(lines.of("table_found")) == len(found) == len(loaded.key_of) + len(REFUSED)


@pytest.mark.nightly
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


@pytest.mark.nightly
def test_every_description_is_one_line_of_markdown(loaded: Loaded) -> None:
    """The prefix is a code span that ends where it should, or nothing that Markdown changes."""
    for definition in loaded.definitions.assets or ():
        assert isinstance(definition, dg.AssetsDefinition)
        for spec in definition.specs:
            described = str(spec.description)
            assert described.isprintable()
            assert re.fullmatch(
                r"\d+ objects?, [\d.]+ (bytes|KiB) in "
                r"(s3://[\w./={}*-]+|(?P<fence>`+) ?s3://.*[^`] ?(?P=fence))",
                described,
            )


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
    assert [name for name in files if re.search(r"canary|y{9}|z{9}|[^ -~]", name)] == []
