"""The house: the contract holds, and its drawing shows what is there."""

import ast
import configparser
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import s3pq_dagster

ROOT = Path(__file__).parents[1]
PACKAGE = Path(s3pq_dagster.__file__).parent
DRAWING = ROOT / "docs" / "architecture.md"
PRIVATE = {"metadata.py"}
"""Where private parts of Dagster may be imported."""


@dataclass(frozen=True, slots=True)
class House:
    """A package whose layers are drawn and contracted."""

    package: Path
    contract: str
    behind: str
    """The text behind which the drawing is."""

    def __str__(self) -> str:
        return self.package.name

    def drawn(self) -> list[set[str]]:
        """Give the modules of each row of the drawing, top layer first."""
        _, _, text = DRAWING.read_text(encoding="utf-8").partition(self.behind)
        table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
        assert table is not None
        rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", table[0], re.MULTILINE)
        assert [int(number) for number, _ in rows] == list(reversed(range(len(rows))))
        return [set(re.findall(r"`(\w+)`", modules)) for _, modules in rows]

    def contracted(self) -> list[set[str]]:
        """Give the modules of each layer of the contract, top layer first."""
        contracts = configparser.ConfigParser()
        contracts.read(ROOT / "setup.cfg")
        layers = contracts[f"importlinter:contract:{self.contract}"]["layers"]
        return [set(re.findall(r"\w+", layer)) for layer in layers.splitlines() if layer.strip()]

    def modules(self) -> set[str]:
        """Name the modules and packages right under the package."""
        files = {path.stem for path in self.package.glob("*.py")} - {"__init__"}
        return files | {path.parent.name for path in self.package.glob("*/__init__.py")}


HOUSES = [
    House(PACKAGE, "layers", "\n## The house\n"),
    House(PACKAGE / "destinations" / "duckdb", "inside_duckdb", "with layers of its own:\n"),
    House(PACKAGE / "destinations" / "postgres", "inside_postgres", "Inside the PostgreSQL one:\n"),
]


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


@pytest.mark.parametrize("house", HOUSES, ids=str)
def test_the_drawing_names_every_module(house: House) -> None:
    """The table of layers names exactly the modules that exist, each once."""
    drawn = [module for layer in house.drawn() for module in layer]
    assert sorted(drawn) == sorted(house.modules())


@pytest.mark.parametrize("house", HOUSES, ids=str)
def test_the_drawing_is_the_contract(house: House) -> None:
    """Each row of the table is a layer of the contract, in its order."""
    assert house.drawn() == house.contracted()


def test_every_package_of_destinations_is_drawn() -> None:
    """Each destination that is a package has a drawing and a contract of its own."""
    packages = {path.parent for path in PACKAGE.glob("destinations/*/__init__.py")}
    assert packages == {house.package for house in HOUSES} - {PACKAGE}


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_private_parts_of_dagster_are_imported_in_one_module(module: Path) -> None:
    """No module but `metadata` imports what Dagster keeps private."""
    private = {name for name in imports_of(module) if re.match(r"dagster\w*\._", name)}
    assert not private or module.name in PRIVATE


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_each_module_says_in_one_line_what_it_knows(module: Path) -> None:
    """Every module begins with a docstring whose first line is a sentence."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring is not None
    assert docstring.splitlines()[0].endswith(".")
