"""The command `s3pq status`."""

import click

from s3pq_dagster.cli.options import Asked, table_option, target_options


@click.command()
@target_options
@table_option
def command(**asked: object) -> int:
    """Show what is loaded, from the ledger.

    For each table: its objects and rows, what is set aside, the cursor, the lag behind the bucket,
    the last load with its run, and the versions of its schema. With --table, each object that is
    set aside and each version has a line. The bucket is listed once; nothing is written.

    Exits with 0, or 1 after an error, or where the ledger of a table cannot be read.
    """
    # Here and not above: it takes seconds to import, which help and completion have not.
    from s3pq_dagster.cli.show_status import run  # noqa: PLC0415

    return run(Asked(**asked))  # type: ignore[arg-type]  # click has checked them
