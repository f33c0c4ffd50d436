"""DuckDB from local files: the best time without a network."""

import duckdb

from bench.contenders.task import Task, contend


def load(task: Task) -> None:
    """Create each table from a glob, with the columns that ours has."""
    with duckdb.connect(task.database) as connection:
        connection.execute("SET enable_progress_bar = false")
        for table in task.tables:
            connection.execute(
                f"""CREATE TABLE {table} AS
                SELECT * EXCLUDE (filename, file_row_number), filename AS _s3_key,
                    (hash(filename)::UHUGEINT * 18446744073709551616
                        + file_row_number::UHUGEINT)::UUID AS _cq_id
                FROM read_parquet('{task.files}/{table}/{task.glob}',
                    filename = true, file_row_number = true,
                    hive_partitioning = {task.is_hive})"""
            )


if __name__ == "__main__":
    contend(f"duckdb {duckdb.__version__}", load)
