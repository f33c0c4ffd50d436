"""A project as `create-dagster` makes one, whose definitions are components in YAML."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from dagster.components.testing import DefsFolderSandbox, create_defs_folder_sandbox

from s3pq_dagster_tests.buckets import Bucket

TYPE = "s3pq_dagster.S3ParquetComponent"
_PROJECT = """\
[project]
name = "{name}"
requires-python = ">=3.11"
version = "0.1.0"
dependencies = ["dagster", "s3pq-dagster"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "{name}"
registry_modules = ["{name}.components.*"]
"""
_DEFINITIONS = """\
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A project on disk, driven by `dg`."""

    root: Path
    name: str = "my_project"

    @classmethod
    def make(cls, root: Path) -> "Project":
        """Write the files that `create-dagster project` writes, but for those of tests."""
        project = cls(root)
        package = root / "src" / project.name
        for folder in (package / "defs", package / "components", root / "home"):
            folder.mkdir(parents=True)
        for module in (package, package / "defs", package / "components"):
            (module / "__init__.py").touch()
        (package / "definitions.py").write_text(_DEFINITIONS)
        (root / "pyproject.toml").write_text(_PROJECT.format(name=project.name))
        settings = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"
        (root / "home" / "dagster.yaml").write_text(settings)
        return project

    def write(self, attributes: str, *, folder: str = "lake") -> Path:
        """Write a component's YAML, from its attributes on."""
        path = self.root / "src" / self.name / "defs" / folder / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"type: {TYPE}\n\nattributes:\n{attributes}")
        return path

    def state(self) -> Path:
        """Return the only state that a component keeps."""
        (found,) = (self.root / "src" / self.name / "defs").glob(".local_defs_state/*/state")
        return found

    def dg(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `dg` in the project; standard error is with the output."""
        paths = [str(self.root / "src"), os.environ.get("PYTHONPATH", "")]
        return subprocess.run(
            [str(Path(sys.executable).parent / "dg"), *arguments],
            cwd=self.root,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "DAGSTER_HOME": str(self.root / "home"),
                "NO_COLOR": "1",
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=170,
            check=False,
        )


def attributes_of(bucket: Bucket, database: Path, **more: Any) -> dict[str, Any]:
    """Return attributes that load a bucket into a DuckDB file."""
    destination = {"type": "duckdb", "database": str(database), "lock_timeout_seconds": 5}
    return bucket.spec | {"destination": destination, "retry_policy": None} | more


@contextmanager
def sandbox() -> Iterator[DefsFolderSandbox]:
    """Make a project whose components are loaded in this process."""
    with create_defs_folder_sandbox() as made:
        yield made


def write(
    made: DefsFolderSandbox,
    attributes: Mapping[str, Any],
    *,
    folder: str = "lake",
    kind: str = TYPE,
    **more: Any,
) -> Path:
    """Write a component's YAML into a sandbox."""
    path = made.defs_folder_path / folder / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"type": kind, "attributes": dict(attributes), **more}))
    return path


def definitions(made: DefsFolderSandbox) -> dg.Definitions:
    """Build the definitions of all components in a sandbox."""
    importlib.invalidate_caches()
    with made.build_all_defs() as defs:
        defs.get_repository_def()
        return defs
