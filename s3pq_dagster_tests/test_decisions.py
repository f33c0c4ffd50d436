"""The map and the decisions: short, of one form, and all of them linked."""

import re
from pathlib import Path

import pytest

import s3pq_dagster

ROOT = Path(__file__).parents[1]
PACKAGE = Path(s3pq_dagster.__file__).parent
MAP = ROOT / "docs" / "architecture.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
MOST_LINES = 150


def test_the_map_is_read_in_ten_minutes() -> None:
    """`docs/architecture.md` has at most 150 lines."""
    assert len(MAP.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_question_options_answer_and_cost(decision: Path) -> None:
    """Each record has the four parts, in their order, below a title with its number."""
    text = decision.read_text(encoding="utf-8")
    number = int(decision.name.partition("-")[0])
    assert text.startswith(f"# {number}. ")
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert parts == ["Question", "Options", "Answer", "What it costs"]


def test_decisions_are_numbered_without_a_gap() -> None:
    """Numbers count up from 1."""
    numbers = [int(decision.name.partition("-")[0]) for decision in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_map_links_every_decision_by_its_title() -> None:
    """The list in `docs/architecture.md` has each record, with the title the record has."""
    linked = re.findall(r"^- \[(.+)\]\(decisions/(.+)\)$", MAP.read_text("utf-8"), re.MULTILINE)
    titles = {
        path.name: path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        for path in DECISIONS
    }
    assert {name: title for title, name in linked} == titles


def test_every_module_the_map_names_exists() -> None:
    """A path such as `loading/plan.py` in the map is a module of the package."""
    named = re.findall(r"`(\w+(?:/\w+)*\.py)`", MAP.read_text("utf-8"))
    assert named
    for path in named:
        assert (PACKAGE / path).is_file(), path
