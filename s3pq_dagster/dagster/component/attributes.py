"""The attributes of the component: the spec's fields, and what the builders take."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, get_args

import dagster as dg
from dagster.components import ResolvedDefsStateConfig, Resolver
from dagster.components.utils.defs_state import DefsStateConfigArgs
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError
from pydantic.fields import FieldInfo

from s3pq_dagster.dagster.assets import DEFAULT_RETRY_POLICY
from s3pq_dagster.dagster.component import access, schema
from s3pq_dagster.dagster.component.access import resolve_s3
from s3pq_dagster.dagster.component.destination import resolve_destination
from s3pq_dagster.dagster.component.faults import faults_of
from s3pq_dagster.dagster.component.templates import rendered, required
from s3pq_dagster.dagster.io_manager import S3ParquetIOManager
from s3pq_dagster.dagster.io_managers import DEFAULT_DESTINATION
from s3pq_dagster.dagster.table_specs import GroupBy
from s3pq_dagster.dagster.translator import S3ParquetTableProps
from s3pq_dagster.spec import S3ParquetSpec

_Model = TypeVar("_Model", bound=BaseModel)


class OpAttributes(dg.Model, dg.Resolvable):
    """What Dagster knows of each op."""

    pool: str | None = Field(
        default=None,
        description="Dagster's concurrency pool of each op; it limits how many load at a time, in "
        "all runs and processes.",
    )
    tags: dict[str, str] = Field(default={}, description="Dagster's tags of each op.")


class RetryAttributes(dg.Model, dg.Resolvable):
    """How often an op is tried again, for errors that this may mend."""

    max_retries: int = Field(
        default=DEFAULT_RETRY_POLICY.max_retries, ge=1, description="How often at most."
    )
    delay: float = Field(
        default=float(DEFAULT_RETRY_POLICY.delay or 0),
        ge=0,
        description="Seconds before it is tried again.",
    )
    backoff: Literal["exponential", "linear"] | None = Field(
        default="exponential", description="How the delay grows from one try to the next."
    )
    jitter: Literal["full", "plus_minus"] | None = Field(
        default="plus_minus", description="How the delay is changed by chance."
    )

    def policy(self) -> dg.RetryPolicy:
        """Return Dagster's policy."""
        backoff = dg.Backoff[self.backoff.upper()] if self.backoff else None
        jitter = dg.Jitter[self.jitter.upper()] if self.jitter else None
        return dg.RetryPolicy(self.max_retries, self.delay, backoff, jitter)


class SensorAttributes(dg.Model, dg.Resolvable):
    """How the sensor looks for something to load."""

    enabled: bool = Field(default=False, description="Whether the sensor runs from the start.")
    interval_seconds: int = Field(default=60, ge=1, description="The time between two ticks.")
    run_per_table: bool = Field(
        default=False,
        description="Request one run for each table with something to do, instead of one for all.",
    )
    stale_run_seconds: int = Field(
        default=900,
        ge=1,
        description="A run that has logged no event for so long counts as dead.",
    )
    reload_for_new_tables: bool = Field(
        default=False,
        description="Where tables are listed that the definitions lack: refresh the state and ask "
        "the code location to reload, at most once a minute.",
    )
    webserver_url: str | None = Field(
        default=None,
        description="The Dagster webserver to ask for that where the code server cannot be asked.",
        examples=["http://127.0.0.1:3000"],
    )


def _nested(model: type[_Model], made: Callable[[_Model], Any] = lambda found: found) -> Resolver:
    """Return a resolver of an attribute that has attributes of its own."""

    def resolve(context: dg.ResolutionContext, given: Any) -> Any:
        values = rendered(context, given)
        if values is None or not isinstance(values, dict):
            return values  # none, or what a template stands for
        try:
            return made(model(**values))
        except ValidationError as error:
            raise faults_of(str(context.path[-1]), error) from None

    return Resolver(
        resolve,
        model_field_type=dict[str, Any] | str | None,
        inject_before_resolve=False,
        json_schema_extra=schema.nested(model),
    )


class S3ParquetAttributes(S3ParquetSpec):
    """The spec's fields, and what the builders take, as attributes of a component."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str | None = Field(
        default=None,
        description="Tells the source from others in the same code location: it is part of the "
        "names of ops, sensor and resource keys. Unset: the source is alone.",
    )
    s3: Annotated[
        Any,
        Resolver(
            resolve_s3,
            model_field_type=dict[str, Any] | str | None,
            inject_before_resolve=False,
            json_schema_extra=access.SCHEMA,
        ),
    ] = Field(
        default=None,
        repr=False,
        description="Access to the bucket, instead of the usual AWS chain: fields of a "
        f"`dagster_aws.s3.S3Resource` ({', '.join(f'`{name}`' for name in access.FIELDS)}), or a "
        "template that stands for such a resource.",
        examples=[{"profile_name": "lake"}, {"use_unsigned_session": True}],
    )
    destination: Annotated[
        # A reference to an environment variable is a text, and would become plain text.
        SkipValidation[S3ParquetIOManager | str],
        Resolver(
            resolve_destination,
            model_field_type=dict[str, Any] | str,
            inject_before_resolve=False,
            json_schema_extra=schema.of_destination(),
        ),
    ] = Field(
        default=DEFAULT_DESTINATION,
        description="Where rows are written: a URL, or `type` (`duckdb`, `postgres`, `delta` or "
        "`parquet`) and the fields of that IO manager.",
        examples=["duckdb:///lake.duckdb", {"type": "duckdb", "database": "lake.duckdb"}],
    )
    granularity: Literal["table", "all"] = Field(
        default="table",
        description="`table`: an op a table, and one that fails leaves the others alone; `all`: "
        "one op for all tables, which ends at the first failure.",
    )
    executor: Literal["in_process", "location"] = Field(
        default="in_process",
        description="`in_process`: one process loads the tables of a run. As Dagster has one "
        "executor a code location, it holds for all of its assets; `location` leaves it alone.",
    )
    shards: dict[str, int] = Field(
        default={},
        description="For tables too large for one machine: the table's name, and the number of "
        "steps that load its pending objects.",
        examples=[{"orders": 4}],
    )
    checks: bool = Field(
        default=True,
        description="Whether each asset has the checks `complete`, `rows_reconciled` and "
        "`no_quarantine`.",
    )
    retry_policy: Annotated[
        dg.RetryPolicy | None,
        _nested(RetryAttributes, RetryAttributes.policy),
    ] = Field(
        default=DEFAULT_RETRY_POLICY,
        description="The retries of each op, for errors that a retry may mend: `max_retries`, "
        "`delay`, `backoff`, `jitter`; null: none.",
    )
    op: Annotated[OpAttributes | None, _nested(OpAttributes)] = Field(
        default=None, description="`pool` and `tags` of each op."
    )
    translation: Annotated[
        TranslationFn[S3ParquetTableProps] | None,
        TranslationFnResolver[S3ParquetTableProps](
            template_vars_for_translation_fn=lambda props: {"props": props, "table": props.table}
        ),
    ] = Field(
        default=None,
        description="Changes each asset: `key`, `group_name`, `tags`, `owners`, "
        "`automation_condition` and so on; templates know `table`, `props` and `spec`.",
        examples=[{"key": "raw/{{ table.name }}", "group_name": "raw"}],
    )
    group_by: GroupBy = Field(
        default="bucket",
        description="`bucket`: one group for all tables; `first_segment`: a group for each first "
        "segment of keys below the folder of `path_prefix`, in which several tables may lie.",
    )
    source_assets: bool = Field(
        default=False,
        description="Whether each table depends on an external asset, of its objects in the "
        "bucket, from which its columns come. No automation condition that waits for all parents "
        "fires for a table then.",
    )
    sensor: Annotated[SensorAttributes | None, _nested(SensorAttributes)] = Field(
        default=SensorAttributes(),
        description="The sensor that requests runs where objects are not loaded: `enabled`, "
        "`interval_seconds`, `run_per_table`, `stale_run_seconds`, `reload_for_new_tables`, "
        "`webserver_url`; null: none.",
    )
    defs_state: ResolvedDefsStateConfig = Field(
        default=DefsStateConfigArgs.local_filesystem(),
        description="Where the tables that discovery finds are kept until the next "
        "`dg utils refresh-defs-state`.",
    )


def _of_spec(name: str) -> Resolver:
    """Return a resolver of a field of the spec: text is taken as it stands."""
    types = get_args(S3ParquetSpec.model_fields[name].annotation)
    annotation = S3ParquetSpec.model_fields[name].annotation
    is_text, is_optional = annotation is str or str in types, type(None) in types

    def resolve(context: dg.ResolutionContext, given: Any) -> Any:
        found = rendered(context, given)
        if is_text and isinstance(found, int | float):
            found = str(found)  # Dagster makes a number of what a variable holds
        return found if is_optional else required(name, given, found)

    return Resolver(resolve, inject_before_resolve=False)


def _describe(name: str, field: FieldInfo) -> None:
    """Give a field's resolver what Dagster does not take from the field itself."""
    found = [each for each in field.metadata if isinstance(each, Resolver)]
    if not found:
        found = [_of_spec(name) if name in S3ParquetSpec.model_fields else Resolver.default()]
        field.metadata = [*field.metadata, *found]
    (resolver,) = found
    resolver.description, resolver.examples = field.description, field.examples
    resolver.json_schema_extra = resolver.json_schema_extra or schema.rule_of(name)


for _name, _field in S3ParquetAttributes.model_fields.items():
    _describe(_name, _field)
