"""The sources that a user's definitions, or a component of a dg project, load."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
from dagster.components.definitions import LazyDefinitions

from s3pq_dagster.cli.output import told
from s3pq_dagster.dagster.component.s3_parquet import S3ParquetComponent
from s3pq_dagster.dagster.discovery import looking
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.names import IO_MANAGER_KEY, SOURCE_KEY, named
from s3pq_dagster.dagster.resource import S3ParquetResource
from s3pq_dagster.errors import ConfigurationError, S3ParquetError

Found = tuple[str | None, S3ParquetResource, S3ParquetIOManager | None]
"""A source's name, the source, and what its tables go through."""


def sources_in_module(module: str) -> list[Found]:
    """Return the sources of the definitions in a module.

    Nothing is saved of what the definitions find when they are built.

    Raises:
        ConfigurationError: It cannot be imported, or has no definitions, or they have no source.
    """
    with _imported(f"module {module!r}"):
        resources = _definitions_in(import_module(module)).resources or {}
    if not (found := list(_sources_among(resources))):
        msg = f"the definitions in {module!r} have no S3ParquetResource among their resources"
        raise ConfigurationError(msg)
    return found


def sources_in_component(path: str) -> list[Found]:
    """Return the sources of a component of the dg project in the working directory.

    The component is loaded, and no definitions are built of it.

    Args:
        path: The component's, below the project's ``defs``.

    Raises:
        ConfigurationError: There is no project, no such component, or it is another one.
    """
    with _imported(f"component {path!r}"):
        loaded: Any = dg.ComponentTree.for_project(Path.cwd()).load_component(path)
        parts = getattr(loaded, "components", [loaded])
        ours = [part for part in parts if isinstance(part, S3ParquetComponent)]
        found: list[Found] = [(each.name, each.source, each.io_manager) for each in ours]
    if not found:
        raise ConfigurationError(f"component {path!r} is no S3ParquetComponent")
    return found


def _definitions_in(module: ModuleType) -> dg.Definitions:
    kinds = (dg.Definitions, LazyDefinitions)
    found = {id(value): value for value in vars(module).values() if isinstance(value, kinds)}
    if len(found) != 1:
        msg = f"{module.__name__!r} has {len(found)} Definitions: Dagster loads a module with one"
        raise ConfigurationError(msg)
    (value,) = found.values()
    loaded = value() if isinstance(value, LazyDefinitions) else value
    if not isinstance(loaded, dg.Definitions):
        msg = f"{module.__name__!r} has a repository: give a module with Definitions"
        raise ConfigurationError(msg)
    return loaded


def _sources_among(resources: Mapping[str, Any]) -> Iterator[Found]:
    """Yield each source with the IO manager whose key has the same name."""
    for key, value in sorted(resources.items()):
        if isinstance(value, S3ParquetResource):
            base, _, name = key.partition("__")
            instance = (name or None) if base == SOURCE_KEY else key
            manager = resources.get(named(IO_MANAGER_KEY, instance)) or _only_one(resources)
            is_ours = isinstance(manager, S3ParquetIOManager)
            yield instance, value, manager if is_ours else None


def _only_one(resources: Mapping[str, Any]) -> S3ParquetIOManager | None:
    found = [each for each in resources.values() if isinstance(each, S3ParquetIOManager)]
    return found[0] if len(found) == 1 else None


@contextmanager
def _imported(what: str) -> Iterator[None]:
    """Import from the working directory, as Dagster does; write nothing, and tell what fails.

    Raises:
        ConfigurationError: Something fails, in whatever way users' code may.
    """
    before, writes = list(sys.path), sys.dont_write_bytecode
    sys.path[:0] = [str(Path.cwd()), str(Path.cwd() / "src")]
    sys.dont_write_bytecode = True
    try:
        with looking():
            yield
    except S3ParquetError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{what} cannot be loaded: {_cause(error)}") from error
    finally:
        sys.path[:], sys.dont_write_bytecode = before, writes


def _cause(error: BaseException) -> str:
    """Return the first error of a chain, which the others only wrap, in one line."""
    while (inner := error.__cause__) is not None:
        error = inner
    if isinstance(error, S3ParquetError):
        return told(error)
    first = next(iter(str(error).splitlines()), "")  # what follows may be lines of a file
    return f"{type(error).__name__}: {first}"
