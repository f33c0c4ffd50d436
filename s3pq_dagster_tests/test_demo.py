"""The demo runs as a user runs it."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]


@pytest.mark.thorough
@pytest.mark.timeout(500)
def test_the_demo_loads_everything_then_one_object_then_nothing(tmp_path: Path) -> None:
    """It succeeds and prints that only the new object was loaded and then nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "demo.run", "--directory", str(tmp_path / "demo")],
        cwd=PROJECT,
        env=os.environ | {"AWS_SESSION_TOKEN": "a user's own", "S3PQ_BUCKET": "a-users-own"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for expected in (
        "95 Parquet objects with 85,498 rows are in s3://nyc",
        "2 listings, 102 object requests",
        "has loaded nyc/flights",
        "74,239 + 978 = 75,217 rows, 83 + 1 = 84 objects; one object request",
        "column 'speed' is new in it",
        "nothing new: 7 of 7 tables up to date, 96 objects listed",
        "no object request, no row written",
        "95 objects, ",
        "flights: gains speed ",
        "nothing pending; a run: 1 LIST + 0 GET, $0.000005",
        "Everything is as expected.",
    ):
        assert expected in done.stdout


@pytest.mark.thorough
def test_the_demo_needs_nothing_that_only_the_tests_install() -> None:
    """`make demo` and `make dev` work without the extras `test` and `dev`."""
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [*extras["optional-dependencies"]["test"], *extras["optional-dependencies"]["dev"]]
    left_out = {Requirement(each).name for each in asked} - {"s3pq-dagster"}
    modules = [module for module, of in packages_distributions().items() if left_out & set(of)]
    assert {"pytest", "moto", "hypothesis"} <= set(modules)
    hide = "import sys; sys.modules.update(dict.fromkeys(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{hide}; import demo.add, demo.dev, demo.run", *modules],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
