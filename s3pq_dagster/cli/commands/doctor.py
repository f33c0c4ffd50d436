"""The command `s3pq doctor`."""

import click

from s3pq_dagster.cli.options import Asked, table_option, target_options


@click.command()
@target_options
@table_option
@click.option(
    "--no-rows",
    is_flag=True,
    help="Do not count the rows of each table, which reads one column of it.",
)
def command(*, no_rows: bool, **asked: object) -> int:
    """Check access, destination and this machine.

    Each line is ok, or says what to do: credentials and who they are of, listing and reading one
    object, the clock, the destination and whether it could be written, who writes which table,
    tables that fail, rows against the ledger, memory against the bounds, whether there are tables
    that --table names, DAGSTER_HOME. Nothing is written: what only writing would tell is said. No
    secret is printed.

    Exits with 0 if all is ok, else 1.
    """
    # Here and not above: it takes seconds to import, which help and completion have not.
    from s3pq_dagster.cli.show_doctor import run  # noqa: PLC0415

    return run(Asked(**asked), with_rows=not no_rows)  # type: ignore[arg-type]
