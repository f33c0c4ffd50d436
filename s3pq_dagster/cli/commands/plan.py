"""The command `s3pq plan`."""

import click

from s3pq_dagster.cli.options import Asked, table_option, target_options


@click.command()
@target_options
@table_option
@click.option(
    "--footers",
    is_flag=True,
    help="Read the footers of pending objects, up to 10,000 a table: rows, and what becomes of "
    "the schema. One request each, two where a footer is over 64 KiB.",
)
@click.option(
    "--price",
    metavar="list=DOLLARS,get=DOLLARS",
    default="",
    help="Prices of 1,000 requests; by default those of S3 Standard in us-east-1, 0.005 and "
    "0.0004.",
)
def command(*, footers: bool, price: str, **asked: object) -> int:
    """Show what a run would load, and what it would cost.

    For each table: how many objects are pending, their size, the age of the oldest, the requests
    that read them, and why a run would fail. The bucket is listed once, and the destination is
    asked once for each table; nothing is written.

    Exits with 0 where there is nothing to do, 2 where there is something, 1 after an error, or
    where a run of a table would fail.
    """
    # Here and not above: it takes seconds to import, which help and completion have not.
    from s3pq_dagster.cli.prices import Prices  # noqa: PLC0415
    from s3pq_dagster.cli.show_plan import run  # noqa: PLC0415

    return run(Asked(**asked), Prices.of(price), footers=footers)  # type: ignore[arg-type]
