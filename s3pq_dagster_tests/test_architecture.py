"""The architecture: contracts between modules, their table in the docs, and limits on size."""

import ast
import configparser
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import s3pq_dagster

ROOT = Path(__file__).parents[1]
PACKAGE = Path(s3pq_dagster.__file__).parent
DRAWING = ROOT / "docs" / "architecture.md"
PRIVATE = {"processes.py"}
"""The modules that may import private parts of Dagster."""

MODULE_LINES, CLASS_LINES, FUNCTION_LINES, MEDIAN_LINES = 300, 200, 40, 7
LONG = "# Long"
"""Begins the comment, above a longer definition or first in it, that gives the reason."""
OURS = {"s3pq_dagster", "bench", "demo"}
"""The packages whose names no test replaces."""
RIDDLES = ("Do so", "Be ", "Say it", "It,", "Of ")
"""Beginnings of docstrings that need another docstring to be understood."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def drawn() -> list[set[str]]:
    """Return the rooms in each row of the documented table, top layer first."""
    _, _, text = DRAWING.read_text(encoding="utf-8").partition("\n## The house\n")
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", table[0], re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(reversed(range(len(rows))))
    return [set(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows]


def contracts() -> dict[str, configparser.SectionProxy]:
    """Return the contracts of `setup.cfg` by name."""
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    prefix = "importlinter:contract:"
    return {name.removeprefix(prefix): found[name] for name in found if name.startswith(prefix)}


def contracted(contract: str) -> list[set[str]]:
    """Return the names in each layer of a contract, top layer first."""
    layers = contracts()[contract]["layers"]
    return [set(re.findall(r"\w+", layer)) for layer in layers.splitlines() if layer.strip()]


def inside(package: Path) -> set[str]:
    """Return the names of the modules and packages directly in a package."""
    files = {path.stem for path in package.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


def imports_of(module: Path) -> set[str]:
    """Return the names of all modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or ".")
    return found


def test_the_contract_holds() -> None:
    """`lint-imports` finds no breach of the contracts in `setup.cfg`."""
    pytest.importorskip("importlinter", reason="a tool of development; `make check` runs it too")
    linter = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(linter, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_drawing_is_the_contract() -> None:
    """The table in `docs/architecture.md` has the contract's layers, in the same order."""
    assert drawn() == contracted("rooms")


def test_the_drawing_names_every_room() -> None:
    """The table names every room exactly once, and no other."""
    rooms = [room for layer in drawn() for room in layer]
    assert sorted(rooms) == sorted(inside(PACKAGE))


def test_every_room_and_every_destination_has_a_contract() -> None:
    """Every package has a contract for its modules, which names only existing ones."""
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
    """Every module has a docstring whose first line is a sentence."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring is not None
    assert docstring.splitlines()[0].endswith(".")


def definitions(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[tuple[str, int, bool]]:
    """Yield name, lines and whether a reason for the length is given, of each such definition."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, kind) and isinstance(node, Definition):
                size = (node.end_lineno or 0) - node.lineno + 1
                yield f"{path.relative_to(PACKAGE)}: {node.name}", size, gives_reason(node, text)


def gives_reason(node: Definition, text: str) -> bool:
    """Return whether a comment above a definition, or before its first statement, gives one."""
    lines = text.splitlines()
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    statement = body[0].lineno if body else node.lineno
    return any(
        lines[number].strip().startswith(LONG)
        for number in (first - 2, *range(node.lineno, statement))
    )


def is_of_the_package(patched: ast.expr, imported: set[str]) -> bool:
    """Return whether the first argument of a patch is a module or class of ours."""
    if isinstance(patched, ast.Constant):
        return str(patched.value).partition(".")[0] in OURS
    while isinstance(patched, ast.Attribute):
        patched = patched.value
    return isinstance(patched, ast.Name) and patched.id in imported


def patches(module: Path) -> Iterator[int]:
    """Yield the lines of a test module that replace an attribute of ours."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    imported = set(OURS)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            imported |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in {"setattr", "delattr", "patch"} and is_of_the_package(
                node.args[0], imported
            ):
                yield node.lineno


def test_no_module_is_too_long() -> None:
    """A module has at most 300 lines."""
    lines = {p: len(p.read_text("utf-8").splitlines()) for p in PACKAGE.rglob("*.py")}
    assert {str(path): count for path, count in lines.items() if count > MODULE_LINES} == {}


def test_no_class_is_too_long() -> None:
    """A class has at most 200 lines, unless a comment says why."""
    found = definitions(ast.ClassDef)
    assert [(name, size) for name, size, why in found if size > CLASS_LINES and not why] == []


def test_no_function_is_too_long() -> None:
    """A function has at most 40 lines, unless a comment says why; half have at most seven."""
    found = list(definitions((ast.FunctionDef, ast.AsyncFunctionDef)))
    assert [(name, size) for name, size, why in found if size > FUNCTION_LINES and not why] == []
    assert statistics.median(size for _, size, _ in found) <= MEDIAN_LINES


def test_no_docstring_leans_on_another() -> None:
    """A docstring does not begin with words that refer to the definition before it."""
    leaning = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and str(node.value.value).startswith(RIDDLES)
    ]
    assert leaning == []


def test_no_test_replaces_a_name_of_ours() -> None:
    """Tests pass arguments; they set no attribute of our modules and classes."""
    tests = Path(__file__).parent
    found = {str(path.relative_to(tests)): list(patches(path)) for path in tests.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}
