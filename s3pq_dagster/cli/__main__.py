"""Runs the command line where its script is not on the path: ``python -m s3pq_dagster.cli``."""

from s3pq_dagster.cli.group import PROGRAM, main

main(prog_name=PROGRAM)
