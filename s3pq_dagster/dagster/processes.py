"""Which kind of process this is, and the one place for Dagster's private imports."""

import multiprocessing
import sys
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.definitions_load_context import (  # noqa: TID251 - the one place
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.remote_origin import (  # noqa: TID251 - the one place
    GrpcServerCodeLocationOrigin,
)
from dagster_shared.serdes import deserialize_value

_WORKER_COMMANDS = {"execute_run", "execute_step"}
"""Subcommands of ``dagster api`` with which launchers and executors start a process."""
_IN_PROCESS_EXECUTORS = {"in_process", "execute_in_process_executor"}


def is_code_server_start() -> bool:
    """Return whether a code location is being loaded or reloaded.

    Without a load context, as in a notebook or a test, the answer is true.
    """
    return DefinitionsLoadContext.get().load_type is DefinitionsLoadType.INITIALIZATION


def is_worker_process() -> bool:
    """Return whether Dagster started this process for a run or for a step of one.

    Launchers and executors for other machines start ``dagster api execute_run`` and
    ``execute_step``; code servers and the multiprocess executor use ``multiprocessing``.
    """
    return bool(_WORKER_COMMANDS & set(sys.argv)) or multiprocessing.parent_process() is not None


def runs_in_one_process(job: dg.JobDefinition) -> bool:
    """Return whether all steps of a job run in one process and so share its resources."""
    return job.executor_def.name in _IN_PROCESS_EXECUTORS


def remember_for_runs(key: str, value: str) -> None:
    """Hand a short text to the processes that will rebuild these definitions."""
    DefinitionsLoadContext.get().add_to_pending_reconstruction_metadata(key, value)


def remembered(key: str) -> str | None:
    """Return the text that :func:`remember_for_runs` handed over, if there is one."""
    context = DefinitionsLoadContext.get()
    if context.load_type is DefinitionsLoadType.INITIALIZATION:
        return None
    found: Mapping[str, Any] = context.reconstruction_metadata
    return found.get(key)


def has_address(origin: object) -> bool:
    """Return whether a code location's server has an address, at which it can be asked.

    Args:
        origin: What a sensor's context has as ``code_location_origin``.
    """
    return isinstance(origin, GrpcServerCodeLocationOrigin)


def load_error(server: Any) -> str | None:
    """Return why a code server cannot load its definitions; ``None`` if it can.

    Args:
        server: What ``create_client`` of an origin that has an address returned.
    """
    found = deserialize_value(server.list_repositories())
    message = getattr(found, "message", None)
    return None if message is None else str(message)
