"""Folders that are tables of another format, and folders that this package writes itself."""

import polars as pl

from s3pq_dagster.layout.matching import KEY

_MARKS = {
    "a Delta": (KEY.str.contains("_delta_log/", literal=True), r"(?s)^((?:.*/)?)_delta_log/"),
    "a Hudi": (KEY.str.contains(".hoodie/", literal=True), r"(?s)^((?:.*/)?)\.hoodie/"),
    "an Iceberg": (
        KEY.str.ends_with(".metadata.json"),
        r"(?s)^((?:.*/)?)metadata/[^/]*\.metadata\.json$",
    ),
}
"""What only keys of each format have, and an expression that captures the table's folder."""
_OURS = r"(?s)^((?:.*/)?)_s3pq_(?:objects|tables|staged)/"
"""Captures the folder in which a destination of this package keeps tables and ledger."""


def formatted_folders(keys: pl.DataFrame) -> dict[str, str]:
    """Return the folders that are tables of another format, each with its format.

    Their files hold rows that the table has deleted or replaced: which files count is in its log.

    Args:
        keys: All keys of a listing, in a column ``key``.
    """
    found: dict[str, str] = {}
    for name, (may_have, mark) in _MARKS.items():
        folders = keys.filter(may_have).select(folder=KEY.str.extract(mark, 1))["folder"]
        found.update(dict.fromkeys(folders.drop_nulls().unique(), name))
    return {
        folder: name
        for folder, name in found.items()
        if name != "an Iceberg" or keys.select(_is_in(f"{folder}data/").any()).item()
    }


def own_folders(keys: pl.DataFrame) -> list[str]:
    """Return the folders that destinations of this package write; never the whole bucket."""
    ours = keys.filter(KEY.str.contains("_s3pq_", literal=True))
    folders = ours.select(folder=KEY.str.extract(_OURS, 1))["folder"].drop_nulls().unique()
    return [folder for folder in folders if folder]


def is_in_any(folders: list[str]) -> pl.Expr:
    """Return whether a key is in one of some folders."""
    return pl.any_horizontal(pl.lit(value=False), *map(_is_in, folders))


def _is_in(folder: str) -> pl.Expr:
    return KEY.str.starts_with(folder)
