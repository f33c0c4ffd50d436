"""The command `s3pq tables`."""

import click

from s3pq_dagster.cli.options import Asked, table_option, target_options


@click.command()
@target_options
@table_option
@click.option(
    "--layout",
    metavar="FILE|PRESET",
    help="Try this layout, a YAML file or the name of a preset, instead of the configured one.",
)
def command(layout: str | None, **asked: object) -> int:
    """Show which tables a layout makes of the bucket.

    For each table: an example of its keys, the columns that the key makes with their values in the
    example, the number of its objects and their bytes. Then what is no table's. The bucket is
    listed; no object is read, and no destination is needed.
    """
    # Here and not above: it takes seconds to import, which help and completion have not.
    from s3pq_dagster.cli.show_tables import run  # noqa: PLC0415

    return run(Asked(**asked), layout)  # type: ignore[arg-type]  # click has checked them
