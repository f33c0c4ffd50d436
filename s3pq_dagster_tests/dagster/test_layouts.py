"""Tables as people lay them out in buckets, from discovery to rows."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from s3pq_dagster import (
    Layout,
    Rule,
    S3ParquetParquetIOManager,
    S3ParquetResource,
    build_s3_parquet_definitions,
)
from s3pq_dagster_tests.buckets import Bucket, parquet
from s3pq_dagster_tests.command_line import headless_sync
from s3pq_dagster_tests.lake import Lake, materialized, observed, values


def file(**columns: Any) -> bytes:
    """Return a Parquet file of one row; ``id`` is 1 unless it is given."""
    return parquet(pa.table({name: [value] for name, value in ({"id": 1} | columns).items()}))


def table(lake: Lake, name: str) -> list[dict[str, Any]]:
    """Return a table's rows, without CloudQuery's columns, in the order of keys."""
    found = lake.query(
        f"SELECT * EXCLUDE (_cq_id, _cq_parent_id, _s3_key) FROM {name} ORDER BY _s3_key"
    )
    names = [
        column
        for (column,) in lake.query(
            f"SELECT column_name FROM duckdb_columns() WHERE table_name = '{name}' "
            "ORDER BY column_index"
        )
        if column not in ("_cq_id", "_cq_parent_id", "_s3_key")
    ]
    return [dict(zip(names, row, strict=True)) for row in found]


def assets(lake: Lake, **spec: Any) -> set[str]:
    """Name the assets of the definitions."""
    job = lake.definitions(**spec).resolve_implicit_global_asset_job_def()
    return {key.path[-1] for key in job.asset_layer.executable_asset_keys}


def test_hive_partitions_are_one_table_with_their_columns(lake: Lake) -> None:
    """By default: text as it is in the key, zeros included."""
    for day in ("05", "06"):
        lake.bucket.put(f"events/year=2024/month=01/day={day}/p.parquet", file())
    assert assets(lake) == {"events"}
    assert lake.run().success
    common = {"id": 1, "year": "2024", "month": "01"}
    assert table(lake, "events") == [common | {"day": "05"}, common | {"day": "06"}]


@pytest.mark.thorough
def test_the_ui_says_which_columns_are_from_the_key(lake: Lake) -> None:
    """Before any run, and with each materialization."""
    lake.bucket.put("events/year=2024/p.parquet", file())
    definitions = lake.definitions()
    (spec,) = definitions.resolve_all_asset_specs()
    loaded = values(materialized(lake.run(definitions=definitions))["events"])
    for metadata in (spec.metadata, loaded):
        columns = metadata["dagster/column_schema"].columns
        assert {column.name: dict(column.tags or {}) for column in columns} == {
            "id": {},
            "year": {"s3pq/from": "key"},
            **{name: {"s3pq/from": "load"} for name in ("_cq_id", "_cq_parent_id", "_s3_key")},
        }


@pytest.mark.thorough
def test_a_new_partition_needs_no_reload(lake: Lake) -> None:
    """A tick asks for a run of the table, which reads only the new object, and lists one prefix."""
    for day in ("05", "06"):
        lake.bucket.put(f"events/day={day}/p.parquet", file())
    lake.bucket.put("other/x.parquet", file())
    definitions = lake.definitions()
    assert lake.run(definitions=definitions).success
    lake.bucket.put("events/day=07/p.parquet", file())
    tick = lake.tick(definitions=definitions)
    assert [key.path[-1] for request in tick.run_requests for key in request.asset_selection] == [
        "events"
    ]
    lake.bucket.proxy.forget()
    assert lake.run("events", definitions=definitions).success
    assert [request.key for request in lake.bucket.proxy.object_reads] == [
        "events/day=07/p.parquet"
    ]
    assert lake.rows("events") == 3
    assert observed(lake.run(definitions=definitions)).keys() == {"events", "other"}


def test_declared_types_are_the_columns(lake: Lake) -> None:
    """Whatever is first in the bucket."""
    layout = Layout(
        rules=[Rule(match="events/{hive}/*.parquet", types=dict.fromkeys(["year", "day"], "int"))]
    )
    lake.bucket.put("events/year=2024/day=05/p.parquet", file())
    assert lake.run(layout=layout).success
    assert table(lake, "events") == [{"id": 1, "year": 2024, "day": 5}]


@pytest.mark.thorough
def test_values_that_folders_can_have(lake: Lake) -> None:
    """Encoded, empty, null, of any script, and alike but for case: each is a row of its table."""
    keys = {
        "h/country=__HIVE_DEFAULT_PARTITION__/p.parquet": None,
        "h/country=/p.parquet": "",
        "h/country=fr/p.parquet": "fr",
        "r/offset=1/p.parquet": "1",
        "r/offset=-1/p.parquet": "-1",
        "s/country=DE/p.parquet": "DE",
        "s/country=de/p.parquet": "de",
        "v/city=東京/p.parquet": "東京",
        "v/city=大阪/p.parquet": "大阪",
        "w/dt=2024-01-01 00%3A00/p.parquet": "2024-01-01 00:00",
        "w/dt=2024-01-01%2001%3A00/p.parquet": "2024-01-01 01:00",
        "w/dt=a=b/p.parquet": "a=b",
        "w/dt=100%/p.parquet": "100%",
    }
    for key in keys:
        lake.bucket.put(key, file())
    assert lake.run().success
    found: dict[str, Any] = {}
    for name, column in {
        "h": "country",
        "r": '"offset"',
        "s": "country",
        "v": "city",
        "w": "dt",
    }.items():
        found.update(lake.query(f"SELECT _s3_key, {column} FROM {name}"))
    assert found == keys


def test_a_column_of_the_file_counts_and_its_lack_is_filled(lake: Lake) -> None:
    """One object has the partition's column itself, the other does not."""
    layout = Layout(rules=[Rule(match="h/{hive}/*.parquet", types={"dt": "date"})])
    lake.bucket.put("h/dt=2024-01-01/a.parquet", file(dt=dt.date(2024, 1, 1)))
    lake.bucket.put("h/dt=2024-01-02/b.parquet", file())
    lake.bucket.put("k/dt=2024-01-01/a.parquet", file(dt=dt.datetime(2024, 1, 1, 7, 4)))  # noqa: DTZ001
    assert lake.run(layout=layout).success
    assert [row["dt"] for row in table(lake, "h")] == [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]
    assert [row["dt"].time() for row in table(lake, "k")] == [dt.time(7, 4)]


def test_dated_folders_are_columns(lake: Lake) -> None:
    """Firehose writes year, month, day and hour without their names."""
    lake.bucket.put("fire/clicks/2024/01/14/09/x.parquet", file())
    lake.bucket.put("fire/clicks/2024/01/14/10/y.parquet", file())
    assert assets(lake, layout="dated") == {"fire_clicks"}
    assert lake.run(layout="dated").success
    day = {"id": 1, "year": "2024", "month": "01", "day": "14"}
    assert table(lake, "fire_clicks") == [day | {"hour": "09"}, day | {"hour": "10"}]


def test_a_table_a_date_is_warned_of(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    """Five or more tables that differ only in the date: the log names the layout for them."""
    for day in range(1, 6):
        lake.bucket.put(f"fire/clicks/2024/01/0{day}/x.parquet", file())
    assert len(assets(lake)) == 5
    said = 'partitions_as_tables prefix=fire/clicks/ tables=5 next="layout: dated"'
    assert said in caplog.text
    assert assets(lake, layout="dated") == {"fire_clicks"}
    assert caplog.text.count("partitions_as_tables") == 1


@pytest.mark.thorough
def test_an_export_of_rds(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    """The table's name comes from within a segment; what no rule takes is counted and shown."""
    rule = Rule(match="rds/{export}/{db}/{schema}.{table}/*/*.parquet", table="{schema}_{table}")
    for part in ("1", "2"):
        lake.bucket.put(f"rds/e1/shop/public.orders/{part}/part-0.parquet", file(amount=5))
    lake.bucket.put("rds/e1/_success", b"")
    lake.bucket.put("rds/e1/tables.json", b"{}")
    assert lake.run(layout=Layout(rules=[rule])).success
    row = {"id": 1, "amount": 5, "export": "e1", "db": "shop", "schema": "public"}
    assert table(lake, "public_orders") == [row, row]
    assert "not_parquet=2 such_as=rds/e1/_success" in caplog.text


def previews(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says of each rule since this was asked last."""
    said = [r.getMessage() for r in caplog.records if "rule_preview" in r.getMessage()]
    caplog.clear()
    return [text.removeprefix("rule_preview ") for text in said]


@pytest.mark.thorough
def test_the_log_shows_what_each_rule_takes(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    """Tables, objects, a key and its captures; of what no rule takes, too."""
    for name in ("orders_2024-01-01", "orders_2024-01-02", "customers_2024-01-01"):
        lake.bucket.put(f"mixed/{name}.parquet", file())
    lake.bucket.put("events/year=2024/p.parquet", file())
    lake.bucket.put("plain/a b.parquet", file())
    rules = [
        Rule(match="mixed/{table}_{day:date}.parquet"),
        Rule(match="none/*.parquet"),
        Rule(match="events/{hive}/*.parquet"),
    ]
    assets(lake, layout=Layout(rules=rules))
    mixed = [
        (
            "rule=1 match=mixed/{table}_{day:date}.parquet tables=2 objects=3 "
            'named="customers orders" such_as=mixed/customers_2024-01-01.parquet '
            'captures="table=customers day=2024-01-01"'
        ),
        "rule=2 match=none/*.parquet tables=0 objects=0",
    ]
    events = (
        'tables=1 objects=1 named=events such_as="events/year=2024/p.parquet" '
        'captures="hive=year=2024/"'
    )
    assert previews(caplog) == [
        *mixed,
        f"rule=3 match=events/{{hive}}/*.parquet {events}",
        'unmatched=hive tables=1 objects=1 named=plain such_as="plain/a b.parquet"',
    ]
    assets(lake, layout=Layout(rules=rules[:2], unmatched="ignore"))
    assert previews(caplog) == [
        *mixed,
        'unmatched=ignore objects=2 such_as="events/year=2024/p.parquet"',
    ]
    assets(lake)
    assert previews(caplog) == []
    many = [Rule(match=f"r{number}/*.parquet") for number in range(60)]
    assets(lake, layout=Layout(rules=many))
    assert previews(caplog)[-2:-1] == ["more_rules=10"]


@pytest.mark.thorough
def test_tables_and_dates_in_the_names_of_files(lake: Lake) -> None:
    """The typed capture parts name and date; a third file of a known table needs no reload."""
    layout = Layout(rules=[Rule(match="mixed/{table}_{day:date}.parquet")])
    for name in ("orders_2024-01-01", "customers_2024-01-01", "orders_2024-01-02"):
        lake.bucket.put(f"mixed/{name}.parquet", file())
    definitions = lake.definitions(layout=layout)
    assert lake.run(definitions=definitions).success
    assert [row["day"].day for row in table(lake, "orders")] == [1, 2]
    assert lake.rows("customers") == 1
    lake.bucket.put("mixed/orders_2024-01-03.parquet", file())
    assert lake.run("orders", definitions=definitions).success
    assert lake.rows("orders") == 3


@pytest.mark.thorough
def test_a_table_goes_on_under_another_rule_for_the_same_keys(lake: Lake) -> None:
    """Its folder by any pattern is the same table; other keys are not, until it is refreshed."""
    for day in (1, 2):
        lake.bucket.put(f"daily/sales_2024-01-0{day}.parquet", file())
    assert lake.run(layout="prefix").success
    lake.bucket.proxy.forget()
    same = Layout(rules=[Rule(match="daily/*.parquet")])
    definitions = lake.definitions(layout=same)
    lake.bucket.proxy.forget()
    assert observed(lake.run(definitions=definitions)).keys() == {"daily"}
    assert lake.bucket.proxy.object_reads == []
    other = Layout(rules=[Rule(match="daily/sales_{day:date}.parquet", table="daily")])
    failed = lake.run(layout=other)
    assert not failed.success
    assert "LayoutChangedError" in str(failed.all_events)
    assert table(lake, "daily") == [{"id": 1}, {"id": 1}]
    assert lake.run(layout=other, config={"full_refresh": True}).success
    assert [row["day"].day for row in table(lake, "daily")] == [1, 2]
    assert observed(lake.run(layout=other)).keys() == {"daily"}


@pytest.mark.thorough
def test_other_columns_of_the_same_keys_are_another_table(lake: Lake) -> None:
    """Types, `drop` and captures count; without a request for an object, and until a refresh."""
    lake.bucket.put("e/day=05/p.parquet", file())
    assert lake.run().success
    lake.bucket.proxy.forget()
    for fields in ({"types": {"day": "int"}}, {"drop": ["day"]}):
        other = Layout(rules=[Rule(match="e/{hive}/*.parquet", **fields)])
        failed = lake.run(layout=other)
        assert not failed.success
        assert "makes other columns of them" in str(failed.all_events)
        assert "full_refresh: true" in str(failed.all_events)
    assert table(lake, "e") == [{"id": 1, "day": "05"}]
    same = Layout(rules=[Rule(match="e/{hive}/*.parquet", types={"day": "text"})])
    assert observed(lake.run(layout=same)).keys() == {"e"}
    typed = Layout(rules=[Rule(match="e/{hive}/*.parquet", types={"day": "int"})])
    assert lake.run(layout=typed, config={"full_refresh": True}).success
    assert table(lake, "e") == [{"id": 1, "day": 5}]
    assert observed(lake.run(layout=typed)).keys() == {"e"}


@pytest.mark.thorough
def test_a_tick_asks_for_a_table_whose_columns_are_others(lake: Lake) -> None:
    """The fingerprint has what the layout makes of the keys, so that the run can say it."""
    lake.bucket.put("e/day=05/p.parquet", file())
    definitions = lake.definitions()
    assert lake.run(definitions=definitions).success
    assert not lake.tick(definitions=definitions).run_requests
    typed = Layout(rules=[Rule(match="e/{hive}/*.parquet", types={"day": "int"})])
    definitions = lake.definitions(layout=typed)
    assert len(lake.tick(definitions=definitions).run_requests) == 1
    assert lake.run(definitions=definitions, config={"full_refresh": True}).success
    assert not lake.tick(definitions=definitions).run_requests
    lake.bucket.put("e/day=06/p.parquet", file())
    assert lake.run(definitions=definitions).success
    lake.bucket.delete("e/day=06/p.parquet")
    assert observed(lake.run(definitions=definitions)).keys() == {"e"}
    assert not lake.tick(definitions=definitions).run_requests


@pytest.mark.thorough
def test_a_rule_has_modes_of_its_own(lake: Lake) -> None:
    """One table grows and mirrors the bucket, another appends, the rest is as the source says."""
    layout = Layout(
        rules=[
            Rule(match="m/*.parquet", write_mode="mirror", schema_mode="evolve"),
            Rule(match="a/*.parquet", write_mode="append"),
        ]
    )
    for name in "mar":
        lake.bucket.put(f"{name}/1.parquet", file(id=1))
        lake.bucket.put(f"{name}/2.parquet", file(id=2))
    definitions = lake.definitions(layout=layout)
    assert lake.run(definitions=definitions).success
    assert not lake.tick(definitions=definitions).run_requests
    for name in "mar":
        lake.bucket.delete(f"{name}/1.parquet")
        lake.bucket.put(f"{name}/2.parquet", file(id=3))
    assert lake.run(definitions=definitions).success
    rows = {name: sorted(row["id"] for row in table(lake, name)) for name in "mar"}
    assert rows == {"m": [3], "a": [1, 2, 3], "r": [1, 3]}
    lake.bucket.put("m/3.parquet", file(id=4, more="x"))
    assert lake.run("m", definitions=definitions).success
    assert [row["more"] for row in table(lake, "m")] == [None, "x"]
    lake.bucket.put("r/3.parquet", file(id=4, more="x"))
    assert "SchemaMismatchError" in str(lake.run("r", definitions=definitions).all_events)


@pytest.mark.thorough
def test_a_mirror_of_a_rule_is_watched_and_checked(lake: Lake) -> None:
    """The sensor asks for a run after a deletion, and the check `complete` fails until then."""
    layout = Layout(rules=[Rule(match="m/*.parquet", write_mode="mirror")])
    for key in ("m/1", "m/2", "r/1", "r/2"):
        lake.bucket.put(f"{key}.parquet", file())
    definitions = lake.definitions(layout=layout)
    assert lake.run(definitions=definitions).success
    assert not lake.tick(definitions=definitions).run_requests
    lake.bucket.delete("m/1.parquet")
    lake.bucket.delete("r/1.parquet")
    (request,) = lake.tick(definitions=definitions).run_requests
    assert [key.path[-1] for key in request.asset_selection] == ["m"]
    for name, passes in (("m", False), ("r", True)):
        (check,) = lake.check(
            name, "complete", definitions=definitions
        ).get_asset_check_evaluations()
        assert check.passed == passes
    lake.bucket.delete("m/2.parquet")
    failed = lake.run("m", definitions=definitions)
    assert "EmptyListingError" in str(failed.all_events)


@pytest.mark.thorough
def test_what_another_rule_takes_leaves_a_mirror(lake: Lake) -> None:
    """No question is asked of its key: the bucket has it, and it is another table's now."""
    for name in ("a_1", "b_1"):
        lake.bucket.put(f"d/{name}.parquet", file())
    assert lake.run(write_mode="mirror").success
    layout = Layout(rules=[Rule(match="d/b_{n}.parquet", table="b"), Rule(match="d/*.parquet")])
    definitions = lake.definitions(layout=layout, write_mode="mirror")
    assert lake.run(definitions=definitions).success
    assert (lake.rows("d"), lake.rows("b")) == (1, 1)
    assert observed(lake.run(definitions=definitions)).keys() == {"d", "b"}


@pytest.mark.thorough
def test_what_another_rule_takes_stays_and_the_check_says_so(lake: Lake) -> None:
    """Outside `mirror` its rows stay in the old table too, until that is loaded anew."""
    for name in ("a_1", "b_1", "c_1"):
        lake.bucket.put(f"d/{name}.parquet", file())
    assert lake.run().success
    lake.bucket.delete("d/c_1.parquet")
    layout = Layout(rules=[Rule(match="d/b_{n}.parquet", table="b"), Rule(match="d/*.parquet")])
    definitions = lake.definitions(layout=layout)
    assert lake.run(definitions=definitions).success
    assert (lake.rows("d"), lake.rows("b")) == (3, 1)
    (check,) = lake.check("d", "complete", definitions=definitions).get_asset_check_evaluations()
    assert not check.passed
    assert values(check)["s3pq/objects_elsewhere"] == 1
    shown = check.metadata["s3pq/sample"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert [record.data for record in shown.records] == [
        {"key": "d/b_1.parquet", "what": "loaded, of another table now"}
    ]
    assert lake.run("d", definitions=definitions, config={"full_refresh": True}).success
    (check,) = lake.check("d", "complete", definitions=definitions).get_asset_check_evaluations()
    assert check.passed
    assert (lake.rows("d"), lake.rows("b")) == (1, 1)


@pytest.mark.thorough
def test_a_table_is_taken_over_by_a_pattern_of_other_keys(lake: Lake) -> None:
    """A full refresh replaces its rows; it says so if the bucket has objects that no rule takes."""
    lake.bucket.put("old/x.parquet", file())
    lake.bucket.put("new/y.parquet", file(id=2))
    rules = [Rule(match=f"{folder}/*.parquet", table="t") for folder in ("old", "new")]
    assert lake.run(layout=Layout(rules=rules[:1], unmatched="ignore")).success
    other = Layout(rules=rules[1:], unmatched="ignore")
    assert not lake.run(layout=other).success
    refresh = {"full_refresh": True}
    assert not lake.run(layout=other, config=refresh).success
    assert lake.run(layout=other, config=refresh | {"allow_unlisted": True}).success
    assert table(lake, "t") == [{"id": 2}]


@pytest.mark.first_case
@pytest.mark.parametrize("together", [True, False], ids=["a run of all", "a run of one"])
def test_a_delta_table_in_the_bucket_is_refused(lake: Lake, *, together: bool) -> None:
    """Its files have rows that it has deleted; other tables load, and a rule takes all files."""
    lake.bucket.put("data/x.parquet", file())
    for number in range(3):
        lake.bucket.put(f"events/part-{number}.parquet", file(id=number))
    lake.bucket.put("events/_delta_log/00000000000000000000.json", b"{}")
    definitions = lake.definitions()
    result = lake.run(*(() if together else ("events",)), definitions=definitions)
    assert not result.success
    assert "'events/' in the bucket is a Delta table" in str(result.all_events)
    assert not lake.database.exists() or "events" not in lake.tables()
    if together:
        assert lake.rows("data") == 1
    rule = Rule(match="events/*.parquet", table_format="files")
    assert lake.run(layout=Layout(rules=[rule])).success
    assert lake.rows("events") == 3


@pytest.mark.first_case
@pytest.mark.parametrize("folder", ["db/t/", ""])
def test_an_iceberg_table_is_refused_in_a_run_of_it_alone(lake: Lake, folder: str) -> None:
    """Its metadata is beside its data, and asked for in one request."""
    lake.bucket.put(f"{folder}data/p.parquet", file())
    lake.bucket.put(f"{folder}data/more/p.parquet", file())
    definitions = lake.definitions()
    lake.bucket.put(f"{folder}metadata/v1.metadata.json", b"{}")
    name = f"{folder}data".replace("/", "_")
    result = lake.run(name, definitions=definitions)
    assert not result.success
    assert "is an Iceberg table" in str(result.all_events)
    result = lake.run(f"{name}_more", definitions=definitions)
    assert not result.success


@pytest.mark.thorough
def test_own_output_is_no_input(lake: Lake, instance: dg.DagsterInstance) -> None:
    """The destination is a folder of the bucket itself; three runs load the one table once."""
    lake.bucket.put("in/x.parquet", file())
    for number in range(3):
        definitions = build_s3_parquet_definitions(
            S3ParquetResource(**lake.bucket.spec),
            destination=S3ParquetParquetIOManager(
                root=f"s3://{lake.bucket.name}/out",
                region="us-east-1",
                endpoint_url=lake.bucket.proxy.endpoint,
            ),
        )
        job = definitions.resolve_implicit_global_asset_job_def()
        assert {k.path[-1] for k in job.asset_layer.executable_asset_keys} == {"in"}
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        assert result.success
        assert bool(materialized(result)) == (number == 0)


@pytest.mark.thorough
def test_the_default_code_location_reads_a_layout_from_a_file(
    bucket: Bucket, tmp_path: Path
) -> None:
    """S3PQ_LAYOUT is a preset or the path of a YAML file; what is wrong with it is one line."""
    bucket.put("e/day=05/p.parquet", file())
    bucket.put("e/day=xx/p.parquet", file())
    layout = tmp_path / "layout.yaml"
    layout.write_text("rules:\n  - match: 'e/{hive}/*.parquet'\n    types: {day: int}\n")
    done = headless_sync(bucket, tmp_path / "home", S3PQ_LAYOUT=str(layout))
    assert done.returncode == 0, done.stderr
    assert "column 'day' the value 'xx', which is no int" in done.stderr
    layout.write_text("rules:\n  - match: 'e/{hive/*.parquet'\n")
    done = headless_sync(bucket, tmp_path / "home", S3PQ_LAYOUT=str(layout))
    assert done.returncode == 1
    assert "S3PQ_LAYOUT: rules.0.match: template 'e/{hive/*.parquet'" in done.stderr
