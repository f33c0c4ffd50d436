"""The documentation's site: what may go wrong has a page, and nothing comes from elsewhere."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

import mkdocs_hooks
import s3pq_dagster
from s3pq_dagster import errors
from s3pq_dagster.dagster.checks import check_specs
from s3pq_dagster.ledger import Status
from s3pq_dagster_tests.pages import DOCS
from s3pq_dagster_tests.test_docs import DOCUMENTS, README, ROOT, in_code, table_after

MOST_README_LINES = 200
ERRORS = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, errors.S3ParquetError)
}
CHECKS = {spec.name for spec in check_specs(dg.AssetKey("any"))}


def read(path: str) -> str:
    """Return a page, or a file at the top."""
    return (ROOT / path).read_text(encoding="utf-8")


def urls() -> dict[str, str]:
    """Return the addresses of the project, of which `pyproject.toml` is the place."""
    found: dict[str, str] = tomllib.loads(read("pyproject.toml"))["project"]["urls"]
    return found


def test_the_readme_is_short() -> None:
    """What is longer has a page."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


def test_every_error_has_a_page_and_no_other() -> None:
    """A page is found by the name of the class."""
    assert {path.stem for path in DOCS.glob("errors/*.md")} == ERRORS.keys()
    linked = re.findall(
        r"^\| \[`(\w+)`\]\(errors/(\w+)\.md\)", read("docs/errors.md"), re.MULTILINE
    )
    assert all(name == page for name, page in linked)
    assert {name for name, _ in linked} == ERRORS.keys() - {"S3ParquetError"}


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_a_page_of_an_error_begins_with_what_to_do(name: str) -> None:
    """Behind what it is in a sentence, and whether it is retried and waits, as its class says."""
    text = read(f"docs/errors/{name}.md")
    assert text.startswith(f"# {name}\n\n")
    error = ERRORS[name]
    retried, waits = ("yes" if fact else "no" for fact in (error.retryable, error.lasting))
    assert f"\n\nRetried: {retried}. Waits: {waits}. (" in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["What to do", "What it means"]


def test_every_check_has_a_page_that_begins_with_what_to_do() -> None:
    """A page is found by the name of the check."""
    assert {path.stem for path in DOCS.glob("checks/*.md")} == CHECKS
    for name in CHECKS:
        text = read(f"docs/checks/{name}.md")
        assert text.startswith(f"# {name}\n\n")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["What to do", "What it means"]
        assert f"](checks/{name}.md)" in read("docs/checks.md")


def test_every_page_of_a_layout_says_where_its_rules_go() -> None:
    """A reader who comes by the search has not read the page above it."""
    pages = {path.name: path.read_text("utf-8") for path in DOCS.glob("layouts/*.md")}
    assert [name for name, text in pages.items() if "#where-a-layout-goes)" not in text] == []
    assert [name for name in pages if f"](layouts/{name})" not in read("docs/layouts.md")] == []


def test_every_status_of_the_ledger_is_on_its_page() -> None:
    """With what to do about it."""
    rows = table_after(read("docs/ledger.md"), "## Statuses")
    named = {code for row in rows for code in in_code(row[0])}
    assert named == {str(status) for status in Status}
    assert all(todo.strip() for _, _, todo in rows)


def test_addresses_are_those_of_the_project() -> None:
    """Another owner is a change of `pyproject.toml`; this test then says where else."""
    site = read("mkdocs.yml")
    assert f"site_url: {urls()['Documentation']}\n" in site
    assert f"source_url: {urls()['Source']}\n" in site
    assert f"link: {urls()['Source']}\n" in site
    badges = re.findall(r"^\[!\[.*?\]\((.*?)\)\]\((.*?)\)$", read("README.md"), re.MULTILINE)
    name = tomllib.loads(read("pyproject.toml"))["project"]["name"]
    places = (urls()["Source"], urls()["Documentation"], f"https://pypi.org/project/{name}/")
    assert badges
    assert [to for _, to in badges if "://" in to and not to.startswith(places)] == []
    shield = "https://img.shields.io"
    ours = (f"{shield}/badge/", f"{shield}/pypi/v/{name}", f"{shield}/pypi/pyversions/{name}")
    assert [shown for shown, _ in badges if not shown.startswith((*ours, urls()["Source"]))] == []


def test_the_menu_has_every_page_once() -> None:
    """`folder/*.md` stands for the pages of a folder, and a page may have a title of its own."""
    menu = yaml.safe_load(read("mkdocs.yml"))["nav"]
    config = mkdocs_hooks.on_config(SimpleNamespace(nav=menu, docs_dir=str(DOCS)))
    pages = list(in_menu(config.nav))
    assert {"Home": "index.md"} in config.nav
    assert sorted(pages) == sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))


def in_menu(entries: list[Any]) -> Iterator[str]:
    """Yield the pages of a menu."""
    for entry in entries:
        below = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [below] if isinstance(below, str) else in_menu(below)


def test_links_that_leave_the_pages_lead_to_the_repository() -> None:
    """Others stay as they are; all are relative, so they work in the repository too."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri="decisions/0001-a.md"))
    config = SimpleNamespace(extra={"source_url": "https://host.example/it"})
    for written, led_to in {
        "../../bench/README.md#x": "https://host.example/it/blob/main/bench/README.md#x",
        "../../CHANGELOG.md": "https://host.example/it/blob/main/CHANGELOG.md",
        "../drift.md#x": "../drift.md#x",
        "0002-b.md": "0002-b.md",
        "https://elsewhere.example/../x": "https://elsewhere.example/../x",
    }.items():
        found = mkdocs_hooks.on_page_markdown(f"[x]({written})", page=page, config=config)
        assert found == f"[x]({led_to})"


@pytest.mark.parametrize(
    "loaded",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        '<img src="http://img.example/x.png">',
        "<style>@font-face{src:url(https://fonts.example/x.woff2)}</style>",
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(tmp_path: Path, loaded: str) -> None:
    """Links that are only followed are not loaded."""
    page = tmp_path / "index.html"
    page.write_text('<a href="https://elsewhere.example/">x</a><img src="images/x.png">')
    assert mkdocs_hooks.strangers(tmp_path) == []
    page.write_text(loaded)
    assert len(mkdocs_hooks.strangers(tmp_path)) == 1


def test_the_reference_has_what_is_exported() -> None:
    """And nothing else."""
    named = re.findall(r"^::: s3pq_dagster\.(\w+)$", read("docs/reference.md"), re.MULTILINE)
    assert sorted(named) == sorted(s3pq_dagster.__all__)


@pytest.mark.parametrize("page", DOCUMENTS, ids=str)
def test_a_list_begins_behind_an_empty_line(page: Path) -> None:
    """Else the site shows it as part of the paragraph; the repository does not mind."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    item = r"(?:[-*] |\d+\. )"
    assert re.findall(rf"^(?!{item}|\s).+\n({item}.*)$", text, re.MULTILINE) == []


@pytest.mark.thorough
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """As `make check` does, where mkdocs is installed."""
    pytest.importorskip("mkdocs", reason="a tool of development; `make check` builds the site too")
    mkdocs = Path(sys.executable).parent / "mkdocs"
    command = [str(mkdocs), "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
