"""Ways to get Parquet from S3 into a DuckDB file, each run in its own process.

``python -m bench.contenders.<name> TASK`` with the JSON of a :class:`bench.contenders.task.Task`
prints one line of JSON; ``--version`` in place of it prints whose and which version it is. They
run in environments of their own where they need other packages, so none imports ours but ours.
"""
