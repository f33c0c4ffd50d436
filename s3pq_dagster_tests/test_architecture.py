"""The house: the contract holds, and its drawing shows what is there."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import s3pq_dagster

ROOT = Path(__file__).parents[1]
PACKAGE = Path(s3pq_dagster.__file__).parent
DRAWING = ROOT / "docs" / "architecture.md"
PRIVATE = {"processes.py"}
"""Where private parts of Dagster may be imported."""


def drawn() -> list[set[str]]:
    """Give the rooms of each row of the drawing, top layer first."""
    _, _, text = DRAWING.read_text(encoding="utf-8").partition("\n## The house\n")
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", table[0], re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(reversed(range(len(rows))))
    return [set(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows]


def contracts() -> dict[str, configparser.SectionProxy]:
    """Give the contracts of `setup.cfg`, by name."""
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    prefix = "importlinter:contract:"
    return {name.removeprefix(prefix): found[name] for name in found if name.startswith(prefix)}


def contracted(contract: str) -> list[set[str]]:
    """Give the names in each layer of a contract, top layer first."""
    layers = contracts()[contract]["layers"]
    return [set(re.findall(r"\w+", layer)) for layer in layers.splitlines() if layer.strip()]


def inside(package: Path) -> set[str]:
    """Name the modules and packages right under a package."""
    files = {path.stem for path in package.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


def imports_of(module: Path) -> set[str]:
    """Name everything a module imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or ".")
    return found


def test_the_contract_holds() -> None:
    """`lint-imports` keeps every contract of `setup.cfg`."""
    pytest.importorskip("importlinter", reason="a tool of development; `make check` runs it too")
    linter = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(linter, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_drawing_is_the_contract() -> None:
    """Each row of the table of rooms is a layer of the contract, in its order."""
    assert drawn() == contracted("rooms")


def test_the_drawing_names_every_room() -> None:
    """The table has exactly the rooms that exist, each once."""
    rooms = [room for layer in drawn() for room in layer]
    assert sorted(rooms) == sorted(inside(PACKAGE))


def test_every_room_and_every_destination_has_a_contract() -> None:
    """Whatever is a package has layers of its own, which name only what is there."""
    packages = {path.parent for path in PACKAGE.rglob("*/__init__.py")}
    packages.remove(PACKAGE / "dagster" / "io_managers")  # siblings that know `urls`
    inner = {name: found for name, found in contracts().items() if name.startswith("inside_")}
    by_package = {found["containers"].strip(): name for name, found in inner.items()}
    dotted = {str(path.relative_to(PACKAGE.parent)).replace("/", "."): path for path in packages}
    assert by_package.keys() == dotted.keys()
    for package, contract in by_package.items():
        named = set.union(*contracted(contract))
        assert named <= inside(dotted[package]), contract


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_private_parts_of_dagster_are_imported_in_one_module(module: Path) -> None:
    """No module but `processes` imports what Dagster keeps private."""
    private = {name for name in imports_of(module) if re.match(r"dagster\w*\._", name)}
    assert not private or module.name in PRIVATE


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_each_module_says_in_one_line_what_it_knows(module: Path) -> None:
    """Every module begins with a docstring whose first line is a sentence."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring is not None
    assert docstring.splitlines()[0].endswith(".")
