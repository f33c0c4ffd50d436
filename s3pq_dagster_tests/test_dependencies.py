"""What is installed, what the project declares, and what its documents say of it."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import s3pq_dagster
from s3pq_dagster_tests.release_notes import notes_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
CHANGELOG = ROOT / "CHANGELOG.md"
WORKFLOWS = sorted((ROOT / ".github").glob("workflows/*.yml"))
"""The archive of the sources has none; `make test WHEEL=1` puts them beside the tests."""
OURS = "s3pq-dagster"
BY_PIP = {"pip", "setuptools", "wheel"}
"""What an environment has before anything is installed into it."""
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def declared() -> dict[str, Requirement]:
    """Return every requirement of the package and its extras but those of its own extras."""
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [Requirement(text) for each in lists for text in each]
    return {canonicalize_name(each.name): each for each in found if each.name != OURS}


def pinned() -> dict[str, list[Requirement]]:
    """Return the lines of the constraints by name; a name may have one for some Pythons only."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.thorough
def test_everything_installed_agrees() -> None:
    """`pip check` finds no requirement unmet in this environment."""
    check = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    result = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_constraints_are_exact_versions_without_addresses() -> None:
    """Each constraint is a name and one version, perhaps for some Pythons or systems only."""
    for requirements in pinned().values():
        for requirement in requirements:
            assert re.fullmatch(r"==[^=,*]+", str(requirement.specifier)), requirement
            assert requirement.url is None
            assert not requirement.extras


def test_each_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    """The constraints have every requirement, and none that is not allowed: `make constraints`."""
    pins = pinned()
    for name, requirement in declared().items():
        assert name in pins, f"make constraints UPGRADE= adds {name}"
        for pin in pins[name]:
            (version,) = (each.version for each in pin.specifier)
            assert requirement.specifier.contains(version), pin


def test_each_installed_distribution_is_pinned() -> None:
    """Whatever our requirements brought here is one of the constraints, by name.

    With the lowest or the newest versions it need not be one.
    """
    if re.search(r"/\.venv-(lowest|highest)", sys.prefix):
        pytest.skip("the constraints were not used here")
    needed, found = {OURS}, set()
    while needed:
        name = needed.pop()
        found.add(name)
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            other = canonicalize_name(requirement.name)
            if other not in found and applies(requirement, name) and is_installed(other):
                needed.add(other)
    assert found - pinned().keys() - BY_PIP == {OURS}


def applies(requirement: Requirement, of: str) -> bool:
    """Return whether a requirement holds here: without an extra, or of ours with any."""
    extras = PROJECT["project"]["optional-dependencies"] if of == OURS else [""]
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def is_installed(name: str) -> bool:
    """Return whether there is a distribution of that name."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def test_the_page_says_what_each_requirement_is_for() -> None:
    """The tables have a row for each requirement, in the part of its extra, and no other."""
    project = PROJECT["project"]
    lists = {"always": project["dependencies"], **project["optional-dependencies"]}
    expected = {
        extra: sorted(Requirement(text).name for text in texts if Requirement(text).name != OURS)
        for extra, texts in lists.items()
    }
    parts = re.split(r"^## `?([\w-]+)`?.*$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    documented = {
        heading: sorted(re.findall(r"^\| `([\w.-]+)` \|", text, re.MULTILINE))
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert documented == {extra: names for extra, names in expected.items() if names}


def test_the_changelog_has_notes_of_this_version_or_of_the_next() -> None:
    """A release takes its notes from the part of its version; before it, they are unreleased."""
    headings = re.findall(r"^## \[([^\]]+)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:] in ([], [s3pq_dagster.__version__, *headings[2:]])


NOTES = """\
# Changelog

## [Unreleased]

## [1.2.3] - 2030-01-31

- New.

## [1.2] - 2029-01-01
"""
BUILT = ["s3pq_dagster-1.2.3.tar.gz", "s3pq_dagster-1.2.3-py3-none-any.whl"]


def test_a_release_has_the_notes_of_its_version() -> None:
    """The part of the changelog under the version's heading, and nothing of other versions."""
    assert notes_of("v1.2.3", "1.2.3", BUILT, NOTES) == "- New.\n"


@pytest.mark.parametrize(
    ("tag", "version", "built", "changelog", "said"),
    [
        ("v1.2.4", "1.2.3", BUILT, NOTES, "__version__"),
        ("v1.2.3", "1.2.3", BUILT[:1], NOTES, "make build"),
        ("v1.2.3", "1.2.3", [*BUILT, "s3pq_dagster-1.2.2.tar.gz"], NOTES, "make build"),
        ("v1.2.3", "1.2.3", BUILT, NOTES.replace("1.2.3", "1.2.2"), "no notes"),
        ("v1.2.3", "1.2.3", BUILT, NOTES.replace("- New.", ""), "no notes"),
    ],
    ids=["another tag", "no wheel", "an old file", "no heading", "no line"],
)
def test_what_is_not_one_release_is_refused(
    tag: str, version: str, built: list[str], changelog: str, said: str
) -> None:
    """Nothing is published if tag, version, files and changelog do not agree."""
    with pytest.raises(SystemExit, match=said):
        notes_of(tag, version, built, changelog)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_workflow_is_well_formed(path: Path) -> None:
    """A workflow has permissions, and each job a time limit; each step runs or uses something."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_workflow_makes_targets_that_exist(path: Path) -> None:
    """`make` can make each target that a workflow names."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"run: make ([\w-]+)", path.read_text(encoding="utf-8")))
    assert named <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))


@pytest.mark.skipif(not WORKFLOWS, reason="the archive of the sources has no workflows")
def test_each_python_that_is_promised_is_tested() -> None:
    """The classifiers, and the workflow of each change or night, have the same Pythons."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS]
    tested = {found for text in texts for found in re.findall(r'"(3\.\d+)"', text)}
    assert tested == set(named)
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"
