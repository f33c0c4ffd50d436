"""What `dg scaffold defs s3pq_dagster.S3ParquetComponent` writes."""

from typing import Any

import dagster as dg
from dagster.components import Scaffolder, ScaffoldRequest
from pydantic import BaseModel, Field

from s3pq_dagster.dagster.io_managers import DEFAULT_DESTINATION
from s3pq_dagster.spec import S3ParquetSpec


def _described(name: str) -> Any:
    return S3ParquetSpec.model_fields[name].description


class ScaffoldParams(BaseModel):
    """The options of the command."""

    bucket: str = Field(default="{{ env('S3PQ_BUCKET') }}", description=_described("bucket"))
    region: str = Field(default="{{ env('S3PQ_REGION') }}", description=_described("region"))
    destination: str = Field(
        default=DEFAULT_DESTINATION, description="Where rows are written, as a URL."
    )


class S3ParquetScaffolder(Scaffolder[ScaffoldParams]):
    """Writes a `defs.yaml` with bucket, region and destination."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        """Return the options of the command."""
        return ScaffoldParams

    def scaffold(self, request: ScaffoldRequest[ScaffoldParams]) -> None:
        """Write the file."""
        dg.scaffold_component(request, request.params.model_dump())
