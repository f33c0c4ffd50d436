"""`docs/command-line.md`: its examples run one after the other, and print what it shows."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from s3pq_dagster_tests.cli.conftest import CommandLine
from s3pq_dagster_tests.cli.loads import load
from s3pq_dagster_tests.test_docs import ORDERS, Block

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
RUN = "4c0f6a1e"
"""Stands for the id of the run that loads the bucket."""
ANYTHING = "…"
"""Stands in an example for what is different each time."""


def examples() -> list[tuple[Block, Block | None]]:
    """Return each block of commands, with the one that shows what the last of them prints."""
    text = PAGE.read_text(encoding="utf-8")
    found = [
        Block(PAGE, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    return [
        (block, after if after is not None and after.language == "text" else None)
        for block, after in pairwise([*found, None])
        if block is not None and block.language == "sh"
    ]


def is_shown(line: str, printed: str) -> bool:
    """Return whether a line of an example shows one that is printed, whatever its spaces."""
    words = [
        ".+?".join(map(re.escape, word.split(ANYTHING))) if word != ANYTHING else ".+?"
        for word in line.split()
    ]
    return re.fullmatch(r"\s+".join(words), printed.strip()) is not None


def test_the_examples_print_what_the_page_shows(
    s3pq: CommandLine, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a bucket that nobody has loaded to one that is up to date."""
    bucket = s3pq.bucket
    for key, rows in ORDERS.items():
        bucket.put(key, orders(rows))
    (s3pq.directory / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(s3pq.directory / "home"))
    variables = {
        "S3PQ_DESTINATION": "duckdb:///s3pq.duckdb",
        "S3PQ_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL_STS": moto,
    }
    for commands, shown in examples():
        printed = ""
        for text in commands.text.splitlines():
            program, *words = shlex.split(text)
            if program == "dagster":
                load(bucket, "duckdb:///s3pq.duckdb")
            elif program == "s3pq":
                words = ["run" if word == RUN else word for word in words]
                said = s3pq(*words, **variables)
                assert said.err == "", str(commands)
                printed = said.out.replace(bucket.name, "lake")
        if shown is not None:
            wanted, got = shown.text.splitlines(), printed.splitlines()
            assert len(wanted) == len(got), printed
            for line, found in zip(wanted, got, strict=True):
                assert is_shown(line, found), f"{shown}: {line!r} is no {found!r}"


def orders(rows: int) -> Any:
    """Return the rows of the documentation's table."""
    return pa.table({"customer": [f"c{i}" for i in range(rows)], "amount": [float(rows)] * rows})


def test_the_fields_are_those_that_are_printed(s3pq: CommandLine) -> None:
    """Each name that a script finds in the JSON is on the page."""
    s3pq.bucket.put("orders/a.parquet", 1)
    s3pq.bucket.put("orders/bad.parquet", b"no parquet, though it is long enough")
    load(s3pq.bucket, s3pq.environment["S3PQ_DESTINATION"])
    s3pq.bucket.put("orders/b.parquet", 1)
    page = set(re.findall(r"`(\w+)`", PAGE.read_text(encoding="utf-8")))
    undo = ["undo", "run", "--table", "orders", "--yes"]
    for words in (["plan", "--footers"], ["tables"], ["status"], ["doctor"], undo):
        assert names(s3pq(*words, "--json").json) - page <= {"name", "type", "from", "to"}


def names(found: Any) -> set[str]:
    """Return all names in a value of JSON."""
    if isinstance(found, list):
        return set().union(*map(names, found))
    if isinstance(found, dict):
        return set(found).union(*map(names, found.values()))
    return set()
