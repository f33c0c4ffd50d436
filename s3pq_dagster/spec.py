"""The spec: what the user configures, and the rules for each field."""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from s3pq_dagster.layout.rules import PRESETS, Layout
from s3pq_dagster.layout.table_rule import rule_of

FILETYPES = ("parquet",)
WRITE_MODES = ("append", "replace", "mirror")
SCHEMA_MODES = ("strict", "evolve", "rescue")
MIB = 1024 * 1024


class S3ParquetSpec(BaseModel):
    """A bucket and how to load it: cq-source-s3's fields under the same names, and ours.

    Raises:
        pydantic.ValidationError: A field breaks its rule, or is not one of these. The message
            names the field, the value and what is allowed.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    bucket: str = Field(description="The bucket to read.", examples=["lake"])
    region: str = Field(description="The bucket's AWS region.", examples=["eu-central-1"])
    local_profile: str | None = Field(
        default=None,
        description="A named profile of the AWS configuration files; unset: the usual AWS chain.",
    )
    path_prefix: str = Field(
        default="",
        description="Only keys that start with this are listed, without bucket and leading slash. "
        "A raw string: `data/20` matches `data/2024/…`.",
    )
    filetype: str = Field(default="parquet", description="Supported: `parquet`.")
    rows_per_record: int = Field(
        default=500, description="Most rows in an Arrow batch of a table's stream; at least 1."
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
    layout: Any = Field(
        default="hive",
        description="Which keys are which table: the preset `hive`, `dated` or `prefix`, or rules.",
    )
    write_mode: str = Field(
        default="replace",
        description="`append`, `replace` or `mirror`: what becomes of overwritten and deleted "
        "objects' rows.",
    )
    schema_mode: str = Field(
        default="strict",
        description="`strict`, `evolve` or `rescue`: what becomes of objects whose columns are not "
        "their table's: an error, a table that grows, or JSON in `_s3pq_rescued`.",
    )
    incremental: bool = Field(
        default=True,
        description="Load only what the ledger does not hold. `false`: every run loads every "
        "table again, in one transaction a table.",
    )
    add_cq_ids: bool = Field(
        default=True, description="Add CloudQuery's `_cq_id` and `_cq_parent_id` columns."
    )
    max_bytes_in_flight: int = Field(
        default=64 * MIB,
        description="Most bytes of objects held in memory at a time while they are read. By "
        "default less than 64 MiB where the machine, or the process's control group, has less than "
        "900 MiB of memory.",
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
    verify_interval: int = Field(
        default=86_400,
        description="Seconds after which the sensor requests a run of a table that is up to date, "
        "to ask the destination's ledger whether that is true; 0: never.",
    )
    verify_e_tags: bool = Field(
        default=True,
        description="Compare the MD5 of an object's bytes with its e_tag, where that is an MD5. "
        "`false` is for an S3 whose e_tags look like MD5s and are none.",
    )

    max_quarantined_fraction: float = Field(
        default=1.0,
        description="A table's run fails when more than this part of its listed objects cannot be "
        "loaded, and in any case when none can; 0 lets none pass.",
    )
    max_decoded_bytes: int = Field(
        default=1024 * MIB,
        description="Most memory that decoding one object may take. By default less than 1 GiB "
        "where the machine, or the process's control group, has less than 2.4 GiB of memory. What "
        "would take more is decoded fewer rows at a time; if that does not help, the object is "
        "quarantined.",
    )
    max_decode_seconds: int = Field(
        default=600,
        description="Longest that decoding one object may take, the destination's time not "
        "counted; one that takes longer is quarantined.",
    )

    @classmethod
    def is_deferred(cls, value: object) -> bool:  # noqa: ARG003 - for subclasses
        """Return whether a value is a placeholder for one that is known only later.

        A subclass may have placeholders, such as the name of an environment variable. The rules are
        then checked when the spec is built again with the real values.
        """
        return False

    @field_validator("*", mode="wrap")
    @classmethod
    def _checked(cls, value: Any, check: Any, info: Any) -> Any:
        """Check a field's type and rule; the message names the value, as pydantic hides it."""
        if cls.is_deferred(value):
            return value
        name = info.field_name
        try:
            checked = check(value)
        except ValidationError as error:
            is_shown = name in S3ParquetSpec.model_fields and name not in _MAY_HOLD_SECRETS
            found = f", got {value!r}" if is_shown else ""
            raise ValueError(f"{name}: {error.errors()[0]['msg']}{found}") from None
        if name in _RULES:
            _RULES[name](name, checked)
        if name in BOUNDS:
            _within(name, checked, *BOUNDS[name])
        return checked

    @field_validator("layout", mode="after")
    @classmethod
    def _as_plain_values(cls, given: Any) -> Any:
        """Check a layout; it is kept as a preset's name or as what YAML would say."""
        if cls.is_deferred(given):
            return given
        layout = Layout.of(given)
        return (
            layout.unmatched
            if not layout.rules and layout.unmatched in PRESETS
            else (layout.model_dump(exclude_defaults=True))
        )

    @property
    def key_layout(self) -> Layout:
        """The layout, ready to match keys."""
        return _read_layout(json.dumps(self.layout))

    def for_table(self, pattern: str) -> Self:
        """Return what is asked for one table, given its pattern: its rule may say more."""
        rule = None if self.is_deferred(self.layout) else rule_of(self.key_layout, pattern)
        said = {name: getattr(rule, name, None) for name in ("schema_mode", "write_mode")}
        own = {name: value for name, value in said.items() if value is not None}
        return self.model_copy(update=own) if own else self


@lru_cache(maxsize=16)
def _read_layout(text: str) -> Layout:
    """Read a layout that has been checked; whoever asks for each of many tables reads it once."""
    return Layout.of(json.loads(text))


def _required_text(name: str, text: str) -> None:
    if not text or text != text.strip():
        rule = "must be a non-empty string without spaces around it"
        raise ValueError(f"{name} {rule}, got {text!r}")


def _bucket_name(name: str, text: str) -> None:
    """Check the characters of a bucket's name, which is part of URLs, asset keys and file names."""
    _required_text(name, text)
    if not re.fullmatch(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,255}", text):
        raise ValueError(
            f"{name} must be a bucket's name, of ASCII letters, digits, '.', '-' and '_', got "
            f"{text!r}. Put prefixes into path_prefix; for an access point give its alias"
        )


def _region_name(name: str, text: str) -> None:
    """Check the characters of a region's name, which is part of a host name."""
    _required_text(name, text)
    if not re.fullmatch(r"[A-Za-z0-9-]{1,63}", text):
        raise ValueError(
            f"{name} must be a region's name, of ASCII letters, digits and '-', got {text!r}"
        )


def _optional_text(name: str, text: str | None) -> None:
    if text is not None and not text.strip():
        raise ValueError(f"{name} must be unset or a non-empty string, got {text!r}")


def _key_prefix(name: str, text: str) -> None:
    """Check that a prefix is one of keys, and neither a URL nor a path."""
    # S3 allows keys that start with a slash, but nearly nobody has any; a URL's slash, typed in
    # front of a key, would list nothing in silence.
    if (url := re.match(r"(?i)s3[an]?://([^/]*)/*(.*)", text, re.DOTALL)) is not None:
        raise ValueError(
            f"{name} must be a prefix of keys, not a URL, got {text!r}. Put the bucket "
            f"{url[1]!r} into bucket, and give {url[2]!r} here"
        )
    if text.startswith("/"):
        raise ValueError(
            f"{name} must not start with a slash, as keys in S3 have none in front, got {text!r}. "
            f"Give {text.lstrip('/')!r}. Keys that really start with a slash are listed with an "
            f"empty {name}; choose their tables with `tables`"
        )


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, str], None]:
    def rule(name: str, text: str) -> None:
        if text not in allowed:
            raise ValueError(f"{name} {text!r} is not supported; supported: {', '.join(allowed)}")

    return rule


def _within(name: str, number: float, least: float, most: float | None) -> None:
    if not (least <= number and (most is None or number <= most)):  # NaN is neither
        rule = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {rule}, got {number}")


def _not_zero(name: str, number: int) -> None:
    if number == 0:
        raise ValueError(f"{name} must be at least 1, or negative for no limit, got 0")


def _some_globs(name: str, globs: list[str]) -> None:
    if not globs:
        raise ValueError(f"{name} must hold at least one glob, got []; '*' is every table")


def _endpoint(name: str, url: str | None) -> None:
    _optional_text(name, url)
    if url is None:
        return
    parts = urlsplit(url)
    if "@" in url or parts.query:
        raise ValueError(
            f"{name} must not carry a user name, password or query: it is printed and logged. "
            f"Credentials come from the AWS chain"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name} must be http://host[:port] or https://host[:port], got {url!r}")


_MAY_HOLD_SECRETS = {"endpoint_url"}
_RULES: dict[str, Callable[[str, Any], None]] = {
    "bucket": _bucket_name,
    "region": _region_name,
    "local_profile": _optional_text,
    "path_prefix": _key_prefix,
    "endpoint_url": _endpoint,
    "filetype": _one_of(FILETYPES),
    "write_mode": _one_of(WRITE_MODES),
    "schema_mode": _one_of(SCHEMA_MODES),
    "concurrency": _not_zero,
    "tables": _some_globs,
}
"""Rules for the fields beyond their types."""
BOUNDS: dict[str, tuple[float, float | None]] = {
    "rows_per_record": (1, None),
    "verify_interval": (0, None),
    "max_bytes_in_flight": (1, None),
    "max_object_bytes_in_memory": (1, None),
    "checkpoint_bytes": (1, None),
    "max_quarantined_fraction": (0, 1),
    "max_decoded_bytes": (1, None),
    "max_decode_seconds": (1, None),
}
"""The least and the most of a number; ``None``: no limit."""
