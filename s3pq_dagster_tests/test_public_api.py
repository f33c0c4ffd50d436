"""The package's public names, and which of them need an extra."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from dagster_shared.libraries import DagsterLibraryRegistry

import s3pq_dagster
from s3pq_dagster import errors
from s3pq_dagster_tests.buckets import Bucket

ROOT = Path(__file__).parents[1]
DRIVERS = {
    "duckdb": ("duckdb", "duckdb:///lake.duckdb"),
    "postgres": ("psycopg", "postgresql://me@h/lake"),
}
"""Extra: the driver module it installs, and a destination URL that needs it."""
_WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
import s3pq_dagster
"""
_BUILD = """
from s3pq_dagster.errors import ConfigurationError
try:
    s3pq_dagster.build_s3_parquet_definitions(
        s3pq_dagster.S3ParquetResource(
            bucket=sys.argv[2], region="us-east-1", endpoint_url=sys.argv[3]
        ),
        destination=sys.argv[4],
    )
except ConfigurationError as error:
    print(error)
else:
    print("built")
"""
_LOAD = """
import dagster as dg
from s3pq_dagster.errors import ConfigurationError
component = s3pq_dagster.S3ParquetComponent(
    bucket="lake", region="us-east-1", destination=sys.argv[2]
)
try:
    component.build_defs(dg.ComponentTree.for_test().load_context)
except ConfigurationError as error:
    print(error)
"""


def run(code: str, without: str, *arguments: str, directory: Path) -> str:
    """Run code in a new interpreter that cannot import some modules."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT + code, without, *arguments],
        capture_output=True,
        text=True,
        cwd=directory,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_public_is_importable_and_sorted() -> None:
    """`__all__` is sorted and names only what the package defines."""
    assert s3pq_dagster.__all__ == sorted(s3pq_dagster.__all__)
    for name in s3pq_dagster.__all__:
        assert getattr(s3pq_dagster, name).__module__.startswith("s3pq_dagster.")


def test_nothing_else_is_public() -> None:
    """Every importable name that is not a module is in `__all__`."""
    modules = {name.partition(".")[2] for name in sys.modules if name.startswith("s3pq_dagster.")}
    public = {name for name in dir(s3pq_dagster) if not name.startswith("_")} - modules
    assert public == set(s3pq_dagster.__all__)


def test_importing_the_package_does_not_import_dagster(tmp_path: Path) -> None:
    """What a public name needs is imported when it is asked for, so help is shown at once."""
    code = "print('dagster' in sys.modules); s3pq_dagster.Rule; s3pq_dagster.LoadConfig"
    said = run(f"{code}; print('dagster' in sys.modules)", "none", directory=tmp_path)
    assert said.split() == ["False", "True"]


def test_everything_public_is_documented() -> None:
    """Every public name has a docstring."""
    assert [name for name in s3pq_dagster.__all__ if not getattr(s3pq_dagster, name).__doc__] == []


def test_dagster_knows_the_version() -> None:
    """The package tells Dagster its version, which is the one that is installed."""
    assert DagsterLibraryRegistry.get()["s3pq-dagster"] == s3pq_dagster.__version__
    assert importlib.metadata.version("s3pq-dagster") == s3pq_dagster.__version__


def test_the_package_says_that_it_is_typed() -> None:
    """The package has `py.typed`, without which type checkers ignore its annotations."""
    assert (Path(s3pq_dagster.__file__).parent / "py.typed").exists()


def test_the_package_imports_without_a_driver(tmp_path: Path) -> None:
    """Importing the package needs none of its extras."""
    drivers = ",".join(driver for driver, _ in DRIVERS.values())
    assert run("print('imported')", drivers, directory=tmp_path) == "imported\n"


@pytest.mark.thorough
@pytest.mark.parametrize("extra", DRIVERS)
def test_building_without_a_driver_says_what_to_install(
    bucket: Bucket, tmp_path: Path, extra: str
) -> None:
    """Building definitions without the driver fails with the command that installs it."""
    driver, url = DRIVERS[extra]
    said = run(_BUILD, driver, bucket.name, bucket.proxy.endpoint, url, directory=tmp_path)
    assert f"pip install 's3pq-dagster[{extra}]'" in said


@pytest.mark.thorough
@pytest.mark.parametrize("extra", DRIVERS)
def test_a_component_without_a_driver_says_what_to_install(tmp_path: Path, extra: str) -> None:
    """The component names the same command, before it lists the bucket."""
    driver, url = DRIVERS[extra]
    said = run(_LOAD, driver, url, directory=tmp_path)
    assert f"pip install 's3pq-dagster[{extra}]'" in said


@pytest.mark.parametrize("extra", DRIVERS)
def test_the_extras_named_in_errors_exist(extra: str) -> None:
    """The extra in the error's command is one of the project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert extra in project["project"]["optional-dependencies"]


def drawn(text: str) -> dict[str, str]:
    """Parse the drawn tree into each name's parent."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in text.splitlines():
        found = re.match(r"^    (?P<indent>[│ ]*)(?P<branch>[├└]── )?(?P<name>\w+Error)\b", line)
        if found is None:
            continue
        depth = len(found["indent"]) // 4 + bool(found["branch"])
        path[depth:] = [found["name"]]
        if depth:
            parents[found["name"]] = path[depth - 1]
    return parents


def test_the_error_tree_is_drawn_as_it_is() -> None:
    """The tree at the top of `errors` shows every error under its base class."""
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.S3ParquetError)
    ]
    is_so = {c.__name__: c.__bases__[0].__name__ for c in classes if c is not errors.S3ParquetError}
    assert drawn(str(errors.__doc__)) == is_so


@pytest.mark.parametrize("base", [errors.StoreError, errors.DestinationError])
def test_only_what_may_mend_itself_is_retried(base: type[errors.S3ParquetError]) -> None:
    """Errors of S3 and of destinations are retried; the others are not."""
    assert base.retryable
    assert not errors.S3ParquetError.retryable
    for name in (
        "InternalError",
        "MalformedObjectError",
        "SchemaMismatchError",
        "TableNameCollisionError",
    ):
        assert not getattr(errors, name).retryable
