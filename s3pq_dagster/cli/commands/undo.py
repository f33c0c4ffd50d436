"""The command `s3pq undo`."""

import click

from s3pq_dagster.cli.options import Asked, target_options


@click.command()
@click.argument("run_id")
@target_options
@click.option("-t", "--table", required=True, help="The table whose load is taken back.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; for scripts. JSON needs it.")
def command(*, run_id: str, table: str, yes: bool, **asked: object) -> int:
    """Take back what a run has loaded into a table.

    In one transaction the rows of the objects that the run loaded are deleted, and the objects are
    set aside: nothing loads them again until they change, or a run is asked for it by `reload`,
    `retry_quarantined` or `full_refresh`. Rows of earlier versions that the run replaced do not
    come back, and the table's columns stay.

    RUN_ID is the id of a run, or its beginning; `s3pq status` has that of the last load. Runs that
    replaced or removed rows are refused. The bucket is listed once; nothing is written before the
    question is answered.

    Exits with 0 when it is done, 1 after an error, a refusal or the answer no.
    """
    # Here and not above: it takes seconds to import, which help and completion have not.
    from s3pq_dagster.cli.show_undo import run  # noqa: PLC0415

    if asked["as_json"] and not yes:
        raise click.UsageError("--json asks nothing, so it needs --yes.")
    return run(Asked(**asked), run_id, table, yes=yes)  # type: ignore[arg-type]
