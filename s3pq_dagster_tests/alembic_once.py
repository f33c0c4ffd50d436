"""A cache for Alembic's hundred revision files, which it otherwise executes for every storage."""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic.util import pyfiles

_load: Any = pyfiles.load_module_py
_once = functools.cache(_load)


def load_once(module_id: str, path: str) -> ModuleType:
    """Execute a revision file once; ``env.py`` every time, because executing it migrates."""
    load = _once if Path(path).parent.name == "versions" else _load
    found: ModuleType = load(module_id, path)
    return found
