"""Opens a resource outside a run: environment variables are read, connections made."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import dagster as dg

_KEY = "resource"

R = TypeVar("R")


@contextmanager
def opened_resource(resource: R, instance: dg.DagsterInstance | None = None) -> Iterator[R]:
    """Open a resource, and close it when the context ends.

    Dagster's own ``process_config_and_initialize_cm`` does that too, and makes an instance of
    Dagster each time: two databases in memory, and a hundred files of migrations.

    Args:
        resource: With environment variables and further resources, as in definitions.
        instance: Dagster's, where there is one.

    Raises:
        DagsterInvalidConfigError: A variable is not set, or not of its field's type.
        Exception: What the resource raised when it was set up, not wrapped.
    """
    with ExitStack() as stack:
        making = dg.build_resources({_KEY: resource}, instance=instance or _stand_in())
        try:
            built = stack.enter_context(making)
        except dg.DagsterResourceFunctionError as error:
            raise error.user_exception from error.user_exception.__cause__
        yield getattr(built, _KEY)


@functools.cache
def _stand_in() -> dg.DagsterInstance:
    """Return the one instance of this process for whoever has none: Dagster asks for one."""
    return dg.DagsterInstance.ephemeral()
