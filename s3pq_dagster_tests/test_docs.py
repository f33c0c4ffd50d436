"""The documentation's commands, snippets, tables, names and links, run or looked up.

Run as a script, this module rewrites the generated tables in docs.
"""

import ast
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
from pydantic import BaseModel

import s3pq_dagster
from demo.webserver import Webserver
from s3pq_dagster import (
    S3ParquetIOManager,
    S3ParquetResource,
    S3ParquetSpec,
    build_io_manager,
    build_s3_parquet_definitions,
    errors,
)
from s3pq_dagster.dagster import metadata
from s3pq_dagster.dagster.column_schemas import FROM_TAG
from s3pq_dagster.layout.rules import Layout
from s3pq_dagster.source.catalog import group_objects, tables_in
from s3pq_dagster_tests.buckets import Bucket
from s3pq_dagster_tests.destinations.places.postgres import PostgresPlace
from s3pq_dagster_tests.pages import PAGES
from s3pq_dagster_tests.servers import free_port
from s3pq_dagster_tests.unit.made import listing, meta

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "s3pq_dagster_tests"
PACKAGE = Path(s3pq_dagster.__file__).parent
"""The installed package; it is not beside the tests when they run against the wheel."""
README = ROOT / "README.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
DESTINATIONS = ROOT / "docs" / "destinations.md"
REFERENCE = ROOT / "docs" / "reference.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])
COMPONENT = ROOT / "docs" / "component.md"
"""Its blocks are run by ``component/test_component_document.py``."""
PARTITIONS = ROOT / "docs" / "partitions.md"
"""Its blocks are run by ``dagster/test_partitions_document.py``."""
MOVING = ROOT / "docs" / "duckdb-to-postgresql.md"
"""Its blocks are run by ``dagster/test_moving_document.py``."""
START = "<!-- configuration: "
END = "<!-- end of configuration -->"
MIB = 1024 * 1024
ORDERS = {"orders/2024/a.parquet": 3, "orders/2024/b.parquet": 2}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """One line of a shell block: the variables it sets, and its words."""

    block: Block
    environment: dict[str, str]
    words: list[str]

    def __str__(self) -> str:
        return f"{self.block} {' '.join(self.words[:3])}"


def blocks(language: str) -> list[Block]:
    """Find the fenced blocks of one language in all documents."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(document, line, match[1], match[2]))
    return [block for block in found if block.language == language]


def commands() -> list[Command]:
    """Find every line of every shell block."""
    found = []
    for block in blocks("sh"):
        for text in filter(None, block.text.splitlines()):
            words = shlex.split(text, comments=True)
            environment = {}
            while "=" in words[0]:
                name, _, value = words.pop(0).partition("=")
                environment[name] = value
            found.append(Command(block, environment, words))
    return found


def is_called(*words: str) -> Callable[[Command], bool]:
    """Return a function that recognises commands by their first words."""
    return lambda command: command.words[: len(words)] == list(words)


MAKE = is_called("make")
PIP = is_called("pip", "install")
DEV = is_called("dagster", "dev")
MATERIALIZE = is_called("dagster", "asset", "materialize")
MODULE = is_called(".venv/bin/python", "-m")
PYTEST = is_called(".venv/bin/pytest")
DG = is_called("dg")
"""Such a command is run in a project, by ``component/test_component_document.py``."""
S3PQ = is_called("s3pq")
"""Such a command is run by ``cli/test_document.py``, or here."""
KINDS = [MAKE, PIP, DEV, MATERIALIZE, MODULE, PYTEST, DG, S3PQ]

SNIPPETS = [b for b in blocks("python") if b.document not in (COMPONENT, MOVING)]
OF_NESTED_RESOURCES = "ignore:InitResourceContext.dagster_run is deprecated"
"""Dagster uses its own deprecated property where a resource is in another."""

each = partial(pytest.mark.parametrize, ids=str)


def first_and_rest(found: Sequence[Any]) -> list[Any]:
    """Return the first for every run and the others for thorough runs."""
    return [*found[:1], *(pytest.param(each, marks=pytest.mark.thorough) for each in found[1:])]


def commands_of(kind: Callable[[Command], bool]) -> list[Command]:
    """Find the commands that one test runs; a line that appears twice is run once."""
    unique = {(tuple(c.words), tuple(c.environment)): c for c in commands() if kind(c)}
    return list(unique.values())


HEADLESS = [c for c in commands_of(MATERIALIZE) if c.block.document != PARTITIONS]


def configuration_table() -> str:
    """Render the configuration table from the spec."""
    rows = ["| field | variable | default | description |", "|---|---|---|---|"]
    for name, field in S3ParquetSpec.model_fields.items():
        default = "required" if field.is_required() else _shown(field.default)
        rows.append(f"| `{name}` | `S3PQ_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def _shown(default: Any) -> str:
    if default in (None, "", []):
        return {"None": "unset", "": "empty", "[]": "none"}[str(default)]
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int) and default >= MIB:
        return f"`{default}` ({default // MIB} MiB)"
    return f"`{','.join(default)}`" if isinstance(default, list) else f"`{default}`"


def fields_table(model: type[BaseModel]) -> str:
    """Render the table of the fields of an IO manager, or of another model."""
    rows = ["| field | default | description |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _shown(field.default)
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def with_fields(text: str) -> str:
    """Replace the table of fields after each model's marker."""

    def table(mark: re.Match[str]) -> str:
        model = getattr(s3pq_dagster, mark[1])
        return f"<!-- fields: {mark[1]} -->\n{fields_table(model)}"

    return re.sub(r"<!-- fields: (\w+) -->\n(?:\|.*\n)*", table, text)


def configuration_block(text: str) -> tuple[int, int]:
    """Find where the configuration table starts and ends."""
    start = text.index("\n", text.index(START)) + 1
    return start, text.index(END)


def table_after(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table after a heading, without its header row."""
    _, _, rest = text.partition(f"\n{heading}\n")
    rows = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert rows is not None, f"no table behind {heading!r}"
    return [
        [cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[0].splitlines()[2:]
    ]


def in_code(text: str) -> list[str]:
    """Return every text in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


@pytest.fixture
def folder(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make the buckets that the documentation uses, and an empty working directory.

    There are tables in ``lake``, and nothing in ``scratch``.

    The snippets and commands name neither endpoint nor credentials: both come from variables that
    boto3 reads, so every text runs as it is written.
    """
    named, scratch = (Bucket(n, bucket.client, bucket.proxy) for n in ("lake", "scratch"))
    for made in (named, scratch):
        made.client.create_bucket(Bucket=made.name)
    for key, rows in ORDERS.items():
        columns = {"customer": [f"c{i}" for i in range(rows)], "amount": [float(rows)] * rows}
        named.put(key, pa.table(columns))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.proxy.endpoint)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("S3PQ_BUCKET", "lake")
    monkeypatch.setenv("S3PQ_REGION", "eu-central-1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for made in (named, scratch):
        for found in made.client.list_objects_v2(Bucket=made.name).get("Contents", []):
            made.delete(found["Key"])
        made.client.delete_bucket(Bucket=made.name)


def loaded(database: Path) -> dict[str, int]:
    """Count the rows of ``orders_2024`` by key."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return dict(
            connection.execute("SELECT _s3_key, count(*) FROM orders_2024 GROUP BY 1").fetchall()
        )


def executed(block: Block) -> dg.Definitions:
    """Execute a Python snippet, and return the definitions that it makes."""
    namespace: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), namespace)
    found = [value for value in namespace.values() if isinstance(value, dg.Definitions)]
    (definitions,) = found  # Dagster loads no module that has two
    return definitions


def run_snippet(block: Block, run_config: dict[str, Any] | None = None) -> None:
    """Execute a Python snippet and materialize everything it defines."""
    definitions = executed(block)
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.instance_for_test() as instance:
        result = job.execute_in_process(instance=instance, run_config=run_config)
    keys = job.asset_layer.executable_asset_keys
    assert keys
    events = result.get_asset_materialization_events()
    assert {event.asset_key for event in events} == keys


def test_every_command_is_of_a_kind_that_a_test_runs() -> None:
    """Every line of every shell block is checked by a test."""
    unknown = [str(c) for c in commands() if not any(kind(c) for kind in KINDS)]
    assert unknown == []


def test_every_block_is_of_a_language_that_a_test_reads() -> None:
    """Every fenced block is tested, except plain drawings."""
    fences = [
        fence
        for document in DOCUMENTS
        for fence in re.findall(r"^```(.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert set(fences) <= {"sh", "python", "yaml", "sql", "text"}


@pytest.mark.filterwarnings(OF_NESTED_RESOURCES)
@each("block", first_and_rest(SNIPPETS))
def test_each_python_snippet_loads_the_bucket(block: Block, folder: Path) -> None:
    """Every Python snippet runs unchanged and loads each object's rows once."""
    run_snippet(block)
    assert loaded(folder / "lake.duckdb") == ORDERS


AUTOMATED = [b for b in blocks("python") if "AutomationCondition" in b.text]
IN_FOLDER = 'destination="duckdb:///lake.duckdb"'


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of Dagster about itself
@each("block", first_and_rest([b for b in AUTOMATED if b.document != COMPONENT]))
def test_each_automation_example_fires_after_a_load(block: Block, folder: Path) -> None:
    """What is downstream of a table is asked for once it is loaded, with `source_assets` on."""
    text = block.text
    if "source_assets=True" not in text:
        text = text.replace(IN_FOLDER, f"{IN_FOLDER}, source_assets=True")
    namespace: dict[str, Any] = {}
    exec(compile(text, str(block), "exec"), namespace)
    defs: dg.Definitions = namespace["defs"]
    orders = dg.AssetKey(["lake", "orders_2024"])
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.instance_for_test() as instance:
        before = dg.evaluate_automation_conditions(defs, instance)
        assert before.total_requested == 0
        assert job.execute_in_process(instance=instance, asset_selection=[orders]).success
        after = dg.evaluate_automation_conditions(defs, instance, cursor=before.cursor)
    assert after.total_requested == 1
    assert after.get_num_requested(orders) == 0
    assert loaded(folder / "lake.duckdb") == ORDERS


RUN_CONFIGS = [b for b in blocks("yaml") if b.document not in (*PAGES, COMPONENT, PARTITIONS)]
"""Rules of a layout are run by ``dagster/test_layouts_document.py``."""
COUNTS = "WHERE _s3_key = key)"
"""What a statement has that counts an object's rows beside the ledger's number."""
ASKED = [b for b in blocks("sql") if b.document != MOVING]


def test_commands_of_dg_are_on_the_page_that_a_test_runs() -> None:
    """No other document has a command that nobody runs."""
    assert {command.block.document for command in commands_of(DG)} == {COMPONENT}


def test_each_yaml_snippet_is_run_config_of_a_run(folder: Path) -> None:
    """Every other YAML snippet is run config of the first Python snippet's job; one is run."""
    block = blocks("python")[0]
    definitions = executed(block)
    job = definitions.resolve_implicit_global_asset_job_def()
    for config in (dict(dg.config_from_yaml_strings([b.text])) for b in RUN_CONFIGS):
        assert dg.validate_run_config(job, config)
    run = next(b for b in RUN_CONFIGS if b.document == CONFIGURATION)
    run_snippet(block, dict(dg.config_from_yaml_strings([run.text])))
    assert loaded(folder / "lake.duckdb") == ORDERS


def test_each_sql_snippet_answers(folder: Path) -> None:
    """Every statement runs on a loaded bucket; one that counts shows that rows and ledger agree."""
    run_snippet(blocks("python")[0])
    load_into("parquet:///lake")
    assert any(COUNTS in block.text for block in ASKED)
    with duckdb.connect(str(folder / "lake.duckdb"), read_only=True) as connection:
        for block in ASKED:
            statements = duckdb.extract_statements(block.text)
            answers = [connection.execute(statement).fetchall() for statement in statements]
            assert COUNTS not in block.text or sorted(answers[-1]) == [
                (key, rows, rows) for key, rows in sorted(ORDERS.items())
            ], block


@pytest.mark.thorough
@each("command", HEADLESS)
def test_each_headless_command_loads_the_bucket(command: Command, folder: Path) -> None:
    """Run twice, each headless command exits with 0 and leaves each object's rows once."""
    for _ in range(2):
        subprocess.run(command.words, env=os.environ | command.environment, check=True, cwd=folder)
    assert loaded(folder / "s3pq.duckdb") == ORDERS


@pytest.mark.thorough
@each("command", HEADLESS)
def test_each_headless_command_exits_with_1_when_a_table_failed(
    command: Command, folder: Path, bucket: Bucket
) -> None:
    """The exit code is 1 when a table fails; the other tables are loaded."""
    other = Bucket("lake", bucket.client, bucket.proxy)
    other.put("other/1.parquet", 1)
    other.put("other/2.parquet", pa.table({"id": ["not a number"]}))
    try:
        done = subprocess.run(
            command.words, env=os.environ | command.environment, check=False, cwd=folder
        )
    finally:
        other.delete("other/1.parquet")
        other.delete("other/2.parquet")
    assert done.returncode == 1
    assert loaded(folder / "s3pq.duckdb") == ORDERS


@pytest.mark.thorough
@each("command", commands_of(DEV))
def test_each_ui_command_serves_the_tables(command: Command, folder: Path) -> None:
    """`dagster dev` starts, and its GraphQL API lists the bucket's table."""
    port = str(free_port())
    process = subprocess.Popen(
        [*command.words, "--host", "127.0.0.1", "--port", port],
        env=os.environ | command.environment,
        cwd=folder,
        start_new_session=True,
    )
    try:
        webserver = Webserver(f"http://127.0.0.1:{port}", process)
        assert ["lake", "orders_2024"] in webserver.wait(folder / "dagster.log")
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_clone_needs_no_module_name() -> None:
    """`workspace.yaml` names the default code location."""
    assert "python_module: s3pq_dagster.definitions" in (ROOT / "workspace.yaml").read_text("utf-8")


@each("command", commands_of(MAKE))
def test_each_make_target_exists(command: Command) -> None:
    """`make` can make every target that a shell block names."""
    outer = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    dry = ["make", "--dry-run", *command.words[1:]]
    subprocess.run(dry, cwd=ROOT, env=environment, check=True)


def test_each_make_target_in_prose_exists() -> None:
    """`make` can make every target that a sentence names."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        target
        for document in DOCUMENTS
        for code in in_code(document.read_text(encoding="utf-8"))
        for target in re.findall(r"^make ([\w-]+)", code)
    }
    assert named - set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE)) == set()


@each("command", commands_of(PIP))
def test_each_requirement_is_one_of_ours(command: Command) -> None:
    """`pip install` lines name this distribution with one of its extras, or a package in use."""
    ours = importlib.metadata.metadata("s3pq-dagster")
    for requirement in command.words[2:]:
        found = re.fullmatch(r"([\w.-]+)(?:\[(\w+)\])?", requirement)
        assert found is not None
        name, extra = found.groups()
        if name in (".", ours["Name"]):
            assert extra in ours.get_all("Provides-Extra", [])
        else:
            assert importlib.metadata.version(name)


def test_each_other_s3pq_command_answers(folder: Path) -> None:
    """What other pages than its own show of `s3pq` runs, and finds nothing wrong."""
    for command in commands_of(S3PQ):
        if command.block.document.name != "command-line.md":
            words = [sys.executable, "-m", "s3pq_dagster.cli", *command.words[1:]]
            done = subprocess.run(
                words, env=os.environ | command.environment, check=False, cwd=folder
            )
            assert done.returncode in {0, 2}, command


_COLLECT = """
import json, sys, pytest
for words in json.loads(sys.argv[1]):
    assert not pytest.main(["--collect-only", "-q", *words]), words
"""


@pytest.mark.thorough
def test_each_pytest_command_finds_tests() -> None:
    """Every selection of tests in a shell block finds tests."""
    selections = [command.words[1:] for command in commands_of(PYTEST)]
    assert selections
    subprocess.run([sys.executable, "-c", _COLLECT, json.dumps(selections)], cwd=ROOT, check=True)


@each("command", commands_of(MODULE))
def test_each_module_command_names_a_module(command: Command) -> None:
    """Every module run with `python -m` can be imported."""
    assert importlib.util.find_spec(command.words[2])


def test_the_hooks_of_pre_commit_run_what_check_runs() -> None:
    """The hooks before a commit are the tools of `make check`."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    checked = re.findall(r"\$\(BIN\)/([\w-]+)", recipe[1])
    assert re.findall(r"entry: \.venv/bin/([\w-]+)", hooks) == checked


def test_the_configuration_table_is_the_specs() -> None:
    """The page's table has every field with its variable, default and description."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    start, end = configuration_block(text)
    assert text[start:end] == configuration_table()


def load_into(url: str) -> S3ParquetIOManager:
    """Load the bucket into a destination."""
    manager = build_io_manager(url)
    source = S3ParquetResource(bucket="lake", region="eu-central-1")
    definitions = build_s3_parquet_definitions(source, destination=manager)
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.instance_for_test() as instance:
        assert job.execute_in_process(instance=instance).success
    return manager


@each("row", first_and_rest(table_after(CONFIGURATION.read_text("utf-8"), "## Destination")))
def test_each_destination_url_loads_the_bucket(
    row: list[str], folder: Path, bucket: Bucket
) -> None:
    """Each URL on the page loads the bucket, with the named extra; servers are the tests' own."""
    (url,), (requirement,) = in_code(row[0]), in_code(row[1])
    extras = importlib.metadata.metadata("s3pq-dagster").get_all("Provides-Extra", [])
    assert requirement.partition("[")[2].rstrip("]") in extras
    place = PostgresPlace(folder) if url.startswith("postgresql") else None
    url = place.url if place else url
    name = f"warehouse-{uuid.uuid4().hex}"
    bucket.client.create_bucket(Bucket=name)
    manager = load_into(url.replace("//bucket/", f"//{name}/"))
    with manager.destination(logging.getLogger(__name__)).read("orders_2024", None) as reader:
        keys = reader.read_all().column("_s3_key").to_pylist()
    assert Counter(keys) == ORDERS
    if place:
        place.discard()


def test_the_fields_of_the_io_managers_are_theirs() -> None:
    """The tables of fields list every field with its default and description."""
    text = DESTINATIONS.read_text(encoding="utf-8")
    assert with_fields(text) == text
    managers = {name for name in s3pq_dagster.__all__ if name.endswith("IOManager")}
    shown = set(re.findall(r"<!-- fields: (\w+) -->", text))
    assert shown == managers - {"S3ParquetIOManager"}
    reference = REFERENCE.read_text(encoding="utf-8")
    assert with_fields(reference) == reference


def test_the_error_table_names_every_error() -> None:
    """The table lists each public error, and whether it is retried or waits."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = {in_code(row[0])[0]: row[2] for row in table_after(page, "## All of them")}
    known = {
        name: "yes" if found.retryable else "no, waits" if found.lasting else "no"
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.S3ParquetError)
    }
    del known["S3ParquetError"]
    assert documented == known


def test_the_page_of_metadata_names_every_key() -> None:
    """Each key of ours, and no other, is on the page; those of tags too."""
    page = (ROOT / "docs" / "metadata.md").read_text(encoding="utf-8")
    known = {value for value in vars(metadata).values() if str(value).startswith("s3pq/")}
    assert set(re.findall(r"`(s3pq/\w+)`", page)) == known | {FROM_TAG}


def test_the_log_table_names_every_event() -> None:
    """The table lists exactly the events that the package logs above debug, and what to do."""
    rows = table_after((ROOT / "docs" / "logs.md").read_text(encoding="utf-8"), "## Events")
    assert all(todo.strip() for _, _, todo in rows)
    documented = {event for row in rows for event in in_code(row[0])}
    logged = {
        call.args[0].value
        for module in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "line"
        and isinstance(call.args[0], ast.Constant)
    }
    assert documented == logged - {"not_prefetched", "rollback"}


@each("document", [README, ROOT / "docs" / "tables.md"])
def test_the_table_of_names_is_what_naming_gives(document: Path) -> None:
    """Each key in the table becomes the table name beside it."""
    rows = table_after(document.read_text(encoding="utf-8"), "## How tables are named")
    for key, name in ((in_code(row[0])[0], in_code(row[1])[0]) for row in rows):
        grouping = group_objects(listing(meta(key)), Layout())
        (found,) = tables_in(grouping, bucket="lake", tables=["*"], skip_tables=[])
        assert found.name == name


@each("document", DOCUMENTS)
def test_every_link_to_a_file_resolves(document: Path) -> None:
    """Relative links and images point at existing files."""
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    local = [target.partition("#")[0] for target in targets if "://" not in target]
    assert [t for t in local if t and not (document.parent / t).exists()] == []


@each("document", DOCUMENTS)
def test_every_path_that_is_named_exists(document: Path) -> None:
    """Files and folders of the repository that a sentence names exist."""
    named = [
        code
        for code in in_code(document.read_text(encoding="utf-8"))
        if re.fullmatch(r"(s3pq_dagster|s3pq_dagster_tests|docs|demo|bench|\.ci)/[\w./-]*", code)
    ]
    roots = [ROOT, PACKAGE.parent]
    assert [path for path in named if not any((root / path).exists() for root in roots)] == []


def test_every_test_that_is_named_exists() -> None:
    """Each test id in the documents is a test function of the file it names."""
    named = {
        code
        for document in DOCUMENTS
        for code in in_code(document.read_text(encoding="utf-8"))
        if "::" in code
    }
    assert named
    assert sorted(id_ for id_ in named if not _is_test(id_)) == []


def _is_test(node_id: str) -> bool:
    path, _, name = node_id.partition("::")
    if not (TESTS / path).is_file():
        return False
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def test_every_difference_names_a_test() -> None:
    """Every row of `docs/differences.md` names a test."""
    text = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("|") and "---" not in row]
    heads = [row for row in rows if row.endswith("| shown by |")]
    assert heads
    assert [row for row in rows if row not in heads and "::" not in row.split("|")[-2]] == []


if __name__ == "__main__":
    before = CONFIGURATION.read_text(encoding="utf-8")
    first, last = configuration_block(before)
    written = before[:first] + configuration_table() + before[last:]
    CONFIGURATION.write_text(written, encoding="utf-8")
    for page in (DESTINATIONS, REFERENCE):
        page.write_text(with_fields(page.read_text("utf-8")), encoding="utf-8")
