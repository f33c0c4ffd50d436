"""Names of ops, sensors and resource keys, where one code location may load several sources."""

import re

from s3pq_dagster.errors import ConfigurationError

SOURCE_KEY = "s3_parquet"
IO_MANAGER_KEY = "s3_parquet_io_manager"
SENSOR_NAME = "s3_parquet_sensor"
_INSTANCE = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*")


def named(base: str, instance: str | None) -> str:
    """Return a name that carries the name of a source, where it has one.

    Args:
        base: The name of a source that is alone in its code location.
        instance: The source's name.

    Raises:
        ConfigurationError: The source's name cannot be a part of names.
    """
    if instance is None:
        return base
    # Names of tables have no two `_` in a row, so no two sources and tables give one name.
    if not _INSTANCE.fullmatch(instance):
        msg = (
            f"name must be of ASCII letters, digits and single '_' between them, got {instance!r}: "
            f"it is part of the names of ops, sensors and resource keys"
        )
        raise ConfigurationError(msg)
    return f"{base}__{instance}"


def op_name(verb: str, table: str, instance: str | None) -> str:
    """Return the name of what an op does with a table, such as ``load_orders``."""
    return f"{verb}_{table}" if instance is None else f"{verb}_{instance}__{table}"
