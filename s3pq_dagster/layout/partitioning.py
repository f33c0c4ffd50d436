"""The partitions of a rule's tables, as a rule declares them: ``daily(day, start=2024-01-31)``."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa

from s3pq_dagster.layout.value_types import ValueType

STATIC = "static"
_PARTS = {
    "hourly": ("year", "month", "day", "hour"),
    "daily": ("year", "month", "day"),
    "monthly": ("year", "month"),
}
"""By kind, the parts of a time that tell its partitions apart, each a capture of its own."""
_DECLARATION = re.compile(r"\s*(\w+)\s*\(([^()]*)\)\s*")
_OPTIONS = ("start", "timezone")
_NUMBER = ValueType.named("int")
_UNSHOWABLE = re.compile(r"\.\.\.|[\a\b\f\n\r\t\v\0]|^$")
"""Matches texts that Dagster takes for no name of a partition."""


@dataclass(frozen=True, slots=True)
class Partitioning:
    """Which captures of a key say what its partition is."""

    kind: str
    """``hourly``, ``daily``, ``monthly`` or ``static``."""
    captures: tuple[str, ...]
    start: date | None = None
    """The first partition is the one of this day; ``None`` takes the least that is found."""
    timezone: str = "UTC"
    """The time zone of the captured times, by its IANA name."""

    @classmethod
    def read(cls, text: str) -> "Partitioning":
        """Read a declaration.

        Raises:
            ValueError: It is none.
        """
        found = _DECLARATION.fullmatch(text)
        kinds = (*_PARTS, STATIC)
        if found is None or found[1] not in kinds:
            raise ValueError(
                f"partitions {text!r} is none of {', '.join(f'{kind}(…)' for kind in kinds)}, with "
                f"the names of captures in the parentheses"
            )
        arguments = [each.strip() for each in found[2].split(",")]
        captures = tuple(each for each in arguments if "=" not in each)
        options = dict(_option(text, each) for each in arguments if "=" in each)
        if not all(captures) or not captures:
            raise ValueError(f"partitions {text!r} names no capture, as in daily(day)")
        if found[1] == STATIC and (options or len(captures) > 1):
            raise ValueError(f"partitions {text!r}: static takes one capture and nothing else")
        start = _start(text, options["start"]) if "start" in options else None
        return cls(found[1], captures, start, _timezone(text, options.get("timezone", "UTC")))

    def check_types(self, type_of: Callable[[str], ValueType]) -> None:
        """Check that the captures together say of a partition what they have to.

        Args:
            type_of: Returns the type of a capture.

        Raises:
            ValueError: They do not.
        """
        if self.kind == STATIC:
            return
        allowed = [f"{self.kind}({', '.join(_PARTS[self.kind])})"]
        allowed += [f"{self.kind}(x) of one date or timestamp"]
        if self.kind == "hourly":
            allowed = [allowed[0], "hourly(x) of one timestamp", "hourly(x, hour) of one date"]
        first = type_of(self.captures[0]).arrow
        parts = len(_PARTS[self.kind])
        if pa.types.is_temporal(first):
            is_short = self.kind == "hourly" and pa.types.is_date(first)
            parts = 2 if is_short else 1
        if len(self.captures) != parts:
            raise ValueError(
                f"{self.kind} partitions of {', '.join(map(repr, self.captures))}: give "
                f"{', or '.join(allowed)}; types are declared in `types` or in `match`"
            )

    def partition(self, texts: Sequence[str | None], types: Sequence[ValueType]) -> str | None:
        """Return the partition of a key, by its name in Dagster.

        Args:
            texts: What the captures have captured; ``None`` for NULL.
            types: The types of the captures.

        Returns:
            The name; ``None`` where the texts are no time, or no name that Dagster could show.
        """
        known = [text for text in texts if text is not None]
        if len(known) < len(texts):
            return None
        if self.kind == STATIC:
            return None if _UNSHOWABLE.search(known[0]) else known[0]
        try:
            return self.name_of(_moment(known, types))
        except (ValueError, OverflowError):
            return None

    def name_of(self, moment: datetime) -> str:
        """Name the partition of a time as Dagster does."""
        day = moment.date().replace(day=1) if self.kind == "monthly" else moment.date()
        return f"{day}-{moment:%H}:00" if self.kind == "hourly" else str(day)

    @property
    def first(self) -> str | None:
        """The name of the partition that ``start`` asks for."""
        if self.start is None:
            return None
        return self.name_of(datetime.combine(self.start, datetime.min.time()))


def _option(text: str, argument: str) -> tuple[str, str]:
    name, _, value = (part.strip() for part in argument.partition("="))
    if name not in _OPTIONS:
        raise ValueError(f"partitions {text!r}: {name!r} is none of {', '.join(_OPTIONS)}")
    return name, value


def _start(text: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"partitions {text!r}: start {value!r} is no day as 2024-01-31") from None


def _timezone(text: str, value: str) -> str:
    try:
        return ZoneInfo(value).key
    except (ValueError, OSError, LookupError):
        raise ValueError(
            f"partitions {text!r}: {value!r} is no time zone as Europe/Berlin"
        ) from None


def _moment(texts: Sequence[str], types: Sequence[ValueType]) -> datetime:
    """Read a time of what was captured.

    Raises:
        ValueError: It is none.
    """
    if not pa.types.is_temporal(types[0].arrow):
        rest = ("1", "0")[len(texts) - 2 :]  # day and hour
        return datetime(*map(_NUMBER.parse, (*texts, *rest)))  # noqa: DTZ001 - as a key's time
    found = types[0].parse(texts[0])
    if isinstance(found, datetime):
        return found
    hour = _NUMBER.parse(texts[1]) if len(texts) > 1 else 0
    return datetime(found.year, found.month, found.day, hour)  # noqa: DTZ001 - likewise
