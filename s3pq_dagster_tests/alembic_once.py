"""Alembic's hundred revisions, which it executes anew for each storage that Dagster makes."""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic.util import pyfiles

_load: Any = pyfiles.load_module_py
_once = functools.cache(_load)


def load_once(module_id: str, path: str) -> ModuleType:
    """Execute a revision the first time; ``env.py`` each time, since executing it does the work."""
    load = _once if Path(path).parent.name == "versions" else _load
    found: ModuleType = load(module_id, path)
    return found
