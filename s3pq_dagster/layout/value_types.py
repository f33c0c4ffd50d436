"""The types of key columns: which text has a type's shape, and what value it is."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

_DIGITS = {
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "m": "[0-9]{2}",
    "d": "[0-9]{2}",
    "j": "[0-9]{3}",
    "H": "[0-9]{2}",
    "M": "[0-9]{2}",
    "S": "[0-9]{2}",
    "f": "[0-9]{1,6}",
    "%": "%",
}
"""The directives of strptime that a format may have, and the shape of each."""
_TIME = "[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6})?)?"
_ISO_TIMESTAMP = f"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_TIME}"
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class ValueType:
    """A type that a key column may have."""

    name: str
    """The name as it is written in a layout, such as ``date(%Y/%m/%d)``."""
    shape: str
    """A regular expression without groups, in the syntax that Python and Rust share."""
    arrow: pa.DataType
    parse: Callable[[str], Any]
    """Makes a value of a text; raises ``ValueError`` if the text has none."""

    @classmethod
    def named(cls, name: str) -> "ValueType":
        """Return the type of a name.

        Raises:
            ValueError: There is no such type, or its format cannot be read.
        """
        if name in _PLAIN:
            return _PLAIN[name]
        if (found := re.fullmatch(r"(date|timestamp)\((.*)\)", name, re.DOTALL)) is None:
            raise ValueError(
                f"{name!r} is no type of a key column; there are {', '.join(_PLAIN)}, "
                f"date(format) and timestamp(format)"
            )
        kind, fmt = found.groups()
        shape = _shape_of(fmt)
        if kind == "date":
            return cls(name, shape, pa.date32(), lambda text: _strptime(text, fmt).date())
        return cls(name, shape, pa.timestamp("us"), lambda text: _strptime(text, fmt))


def _shape_of(fmt: str) -> str:
    """Return the shape of texts that a format of strptime reads.

    Raises:
        ValueError: It has no year, or a directive that is not one of :data:`_DIGITS`.
    """
    directives = re.findall(r"%(.?)", fmt, re.DOTALL)
    if unknown := [each for each in directives if each not in _DIGITS]:
        allowed = " ".join(f"%{each}" for each in _DIGITS)
        raise ValueError(f"format {fmt!r} has %{unknown[0]}; there are {allowed}")
    if not {"Y", "y"} & set(directives):
        raise ValueError(f"format {fmt!r} has no year: it needs %Y or %y")
    parts = re.split(r"%(.)", fmt, flags=re.DOTALL)
    return "".join(
        _DIGITS[part] if index % 2 else re.escape(part) for index, part in enumerate(parts)
    )


def _strptime(text: str, fmt: str) -> datetime:
    return datetime.strptime(text, fmt)  # noqa: DTZ007 - a key's time has no zone


def _int(text: str) -> int:
    if re.fullmatch("-?[0-9]+", text) is None:
        raise ValueError("it is no integer")
    # Python refuses to read more than some thousand digits; a key has 1,024 bytes at most.
    if (number := int(text)) not in _INT64:
        raise ValueError("it is beyond 64 bits")
    return number


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("it is neither true nor false")
    return text == "true"


def _date(text: str) -> date:
    if re.fullmatch(_DATE_SHAPE, text) is None:
        raise ValueError("it is no date of the form 2024-01-31")
    return date.fromisoformat(text)


def _timestamp(text: str) -> datetime:
    if re.fullmatch(_ISO_TIMESTAMP, text) is None:
        raise ValueError("it is no timestamp of the form 2024-01-31T23:59:59")
    return datetime.fromisoformat(text)


_DATE_SHAPE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
TEXT = ValueType("text", "[^/]+", pa.string(), str)
"""The type of a key column that nothing else is said of."""
_PLAIN = {
    each.name: each
    for each in (
        TEXT,
        ValueType("int", "-?[0-9]+", pa.int64(), _int),
        ValueType("bool", "true|false", pa.bool_(), _bool),
        ValueType("date", _DATE_SHAPE, pa.date32(), _date),
        ValueType("timestamp", _ISO_TIMESTAMP, pa.timestamp("us"), _timestamp),
    )
}
