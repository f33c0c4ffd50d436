"""The presets: which table a key's folder is, where no rule takes the key."""

import re
from dataclasses import dataclass

from s3pq_dagster.layout.template import SUFFIX, escaped

_HIVE = re.compile(r"[^/=]+=[^/]*/")
_DATED = re.compile(r"(?:(?<=/)|^)([0-9]{4})(?:/([0-9]{2})(?:/([0-9]{2})(?:/([0-9]{2}))?)?)?/$")
"""Matches the year, month, day and hour that a folder's path ends in."""
DATED_COLUMNS = ("year", "month", "day", "hour")
FILES = "*" + SUFFIX


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of keys as a preset sees it."""

    pattern: str
    """The pattern of its table's keys."""
    name: str | None
    """The text that its table's name is made of; ``None`` where nothing is left for one."""


def prefix_folder(folder: str) -> Folder:
    """Return a folder as a table of its own; a root object's folder is its key."""
    name = folder if folder.endswith("/") else folder[: -len(SUFFIX)]
    return Folder(escaped(folder), name)


def hive_folder(folder: str) -> Folder:
    """Take the ``key=value`` segments out of a folder.

    The other segments, before the first of them and behind it, are the table's.
    """
    segments = [part + "/" for part in folder.split("/")[:-1]]
    is_hive = [_HIVE.fullmatch(segment) is not None for segment in segments]
    if not any(is_hive):
        return prefix_folder(folder)
    first = is_hive.index(True)
    head = "".join(segments[:first])
    tail = "".join(
        segment for segment, hive in zip(segments[first:], is_hive[first:], strict=True) if not hive
    )
    return Folder(f"{escaped(head)}{{hive}}/{escaped(tail)}{FILES}", head + tail or None)


def dated_folder(folder: str) -> Folder:
    """Take ``YYYY[/MM[/DD[/HH]]]`` off a folder's end, then go on as :func:`hive_folder`."""
    if (found := _DATED.search(folder)) is None:
        return hive_folder(folder)
    depth = len(dated_values(folder))
    dates = "".join(f"{{{name}}}/" for name in DATED_COLUMNS[:depth])
    rest = hive_folder(folder[: found.start()])
    return Folder(rest.pattern.removesuffix(FILES) + dates + FILES, rest.name or None)


def before_dates(folder: str) -> str | None:
    """Return what comes before the date that a folder's path ends in; ``None`` without one."""
    found = _DATED.search(folder)
    return None if found is None else folder[: found.start()]


def dated_values(folder: str) -> dict[str, str]:
    """Return the year, month, day and hour that a folder's path ends in."""
    if (found := _DATED.search(folder)) is None:
        return {}
    return {name: text for name, text in zip(DATED_COLUMNS, found.groups(), strict=True) if text}


def canonical(pattern: str) -> str:
    """Return one pattern for all that are of one folder: ``P/``, ``P/*.parquet`` and with {hive}.

    A table that was loaded by one of them is the same table by another.
    """
    for tail in ("{hive}/" + FILES, FILES):
        if pattern.endswith("/" + tail):
            return pattern.removesuffix(tail)
    return pattern


def is_same_folder(stored: str, pattern: str) -> bool:
    """Return whether a table that was loaded by one pattern is the same table by another.

    Before there were patterns, a folder was stored as it is, braces and asterisks included.
    """
    return canonical(stored) == canonical(pattern) or escaped(stored) == canonical(pattern)


PRESETS = {"prefix": prefix_folder, "hive": hive_folder, "dated": dated_folder}
