"""One tick of s3pq_dagster's sensor with nothing new."""

from importlib.metadata import version

import dagster as dg

from bench.contenders.ours import definitions
from bench.contenders.task import Task, contend


def load(task: Task) -> dict[str, float]:
    """Evaluate the sensor as the daemon does; loading the code location is not timed."""
    sensor = definitions(task).get_repository_def().get_sensor_def("s3_parquet_sensor")
    with (
        dg.DagsterInstance.get() as instance,
        dg.build_sensor_context(instance=instance) as context,
    ):
        task.begin()
        said = sensor.evaluate_tick(context)
    return {"requests": len(said.run_requests or [])}


if __name__ == "__main__":
    contend(f"s3pq_dagster {version('s3pq-dagster')}", load)
