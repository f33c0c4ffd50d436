"""What the user asks for."""

from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

FILETYPES = ("parquet",)
WRITE_MODES = ("append", "replace", "mirror")
MIB = 1024 * 1024


class S3ParquetSpec(BaseModel):
    """A bucket and how to load it: cq-source-s3's fields under the same names, and ours.

    Raises:
        pydantic.ValidationError: A field breaks its rule, or is not one of these. The message
            names the field, the value and what is allowed.
    """

    model_config = ConfigDict(extra="forbid")

    bucket: str = Field(description="The bucket to read.", examples=["lake"])
    region: str = Field(description="The bucket's AWS region.", examples=["eu-central-1"])
    local_profile: str | None = Field(
        default=None,
        description="A named profile of the AWS configuration files; unset: the usual AWS chain.",
    )
    path_prefix: str = Field(
        default="",
        description="Only keys that start with this are listed. A raw string: `data/20` matches "
        "`data/2024/…`.",
    )
    filetype: str = Field(default="parquet", description="Supported: `parquet`.")
    rows_per_record: int = Field(
        default=500, description="Most rows in an Arrow batch; at least 1."
    )
    concurrency: int = Field(
        default=50,
        description="Most objects read at a time; negative: no limit but `max_bytes_in_flight`.",
    )
    endpoint_url: str | None = Field(
        default=None,
        description="Another S3 API than AWS's. Implies path-style addressing.",
        examples=["http://127.0.0.1:8333"],
    )
    tables: list[str] = Field(
        default=["*"], description="Globs of table names to load (`*`, `?`, `[…]`)."
    )
    skip_tables: list[str] = Field(
        default=[], description="Globs of table names to leave out of those."
    )
    write_mode: str = Field(
        default="replace",
        description="`append`, `replace` or `mirror`: what becomes of overwritten and deleted "
        "objects' rows.",
    )
    incremental: bool = Field(
        default=True,
        description="Load only what the ledger does not hold. `false`: every run loads every "
        "table anew, in one transaction a table.",
    )
    add_cq_ids: bool = Field(
        default=True, description="Add CloudQuery's `_cq_id` and `_cq_parent_id` columns."
    )
    max_bytes_in_flight: int = Field(
        default=64 * MIB,
        description="Most bytes of objects held in memory at a time while they are read.",
    )
    max_object_bytes_in_memory: int = Field(
        default=8 * MIB,
        description="Objects up to this size are read in one request and checked whole; larger "
        "ones are spooled to a temporary file in requests of this size.",
    )
    checkpoint_bytes: int = Field(
        default=64 * MIB,
        description="Rows and ledger are committed together each time objects of this many bytes "
        "are written.",
    )

    @classmethod
    def is_deferred(cls, value: object) -> bool:  # noqa: ARG003 - a subclass looks at it
        """Tell whether a value stands for one that is known only later.

        A subclass may have such values (an environment variable's name, say); the rules are then
        checked when the spec is built again with the real ones.
        """
        return False

    @field_validator("bucket", "region", mode="wrap")
    @classmethod
    def _required_text(cls, value: Any, check: Any, info: Any) -> Any:
        if cls.is_deferred(value):
            return value
        text = check(value)
        if not text or text != text.strip():
            rule = "must be a non-empty string without spaces around it"
            msg = f"{info.field_name} {rule}, got {text!r}"
            raise ValueError(msg)
        return text

    @field_validator("local_profile", "endpoint_url", mode="wrap")
    @classmethod
    def _optional_text(cls, value: Any, check: Any, info: Any) -> Any:
        if cls.is_deferred(value):
            return value
        text = check(value)
        if text is not None and not text.strip():
            msg = f"{info.field_name} must be unset or a non-empty string, got {text!r}"
            raise ValueError(msg)
        if info.field_name == "endpoint_url" and text is not None:
            _check_endpoint(text)
        return text

    @field_validator("path_prefix", mode="wrap")
    @classmethod
    def _deferrable(cls, value: Any, check: Any) -> Any:
        return value if cls.is_deferred(value) else check(value)

    @field_validator("filetype", "write_mode", mode="wrap")
    @classmethod
    def _one_of(cls, value: Any, check: Any, info: Any) -> Any:
        if cls.is_deferred(value):
            return value
        allowed = FILETYPES if info.field_name == "filetype" else WRITE_MODES
        text = check(value)
        if text not in allowed:
            msg = f"{info.field_name} {text!r} is not supported; supported: {', '.join(allowed)}"
            raise ValueError(msg)
        return text

    @field_validator(
        "rows_per_record",
        "max_bytes_in_flight",
        "max_object_bytes_in_memory",
        "checkpoint_bytes",
        mode="wrap",
    )
    @classmethod
    def _positive(cls, value: Any, check: Any, info: Any) -> Any:
        if cls.is_deferred(value):
            return value
        number = check(value)
        if number < 1:
            msg = f"{info.field_name} must be at least 1, got {number}"
            raise ValueError(msg)
        return number

    @field_validator("concurrency", mode="wrap")
    @classmethod
    def _not_zero(cls, value: Any, check: Any) -> Any:
        if cls.is_deferred(value):
            return value
        number = check(value)
        if number == 0:
            msg = "concurrency must be at least 1, or negative for no limit, got 0"
            raise ValueError(msg)
        return number

    @model_validator(mode="after")
    def _some_tables(self) -> Self:
        if not self.tables:
            msg = "tables must hold at least one glob, got []; '*' is every table"
            raise ValueError(msg)
        return self


def _check_endpoint(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        msg = f"endpoint_url must be http://host[:port] or https://host[:port], got {url!r}"
        raise ValueError(msg)
    if parts.username or parts.password or parts.query:
        msg = (
            "endpoint_url must not carry a user name, password or query; credentials come from "
            f"the AWS chain. Found them in the URL for host {parts.hostname!r}"
        )
        raise ValueError(msg)
