"""A cache for files that Alembic and botocore read again for every storage and every client."""

import functools
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from botocore.loaders import JSONFileLoader

_directory: Any = ScriptDirectory.from_config
_read = functools.cache(JSONFileLoader().load_file)
_directories: dict[str, Any] = {}


def _directory_once(config: Any) -> Any:
    """Load the hundred revisions of a storage once, instead of whenever one is created."""
    location = str(config.get_main_option("script_location"))
    if location not in _directories:
        _directories[location] = _directory(config)
    return _directories[location]


def read_once(patch: pytest.MonkeyPatch) -> None:
    """Cache Alembic's revisions and botocore's description of S3 for this process."""
    patch.setattr(ScriptDirectory, "from_config", _directory_once)
    patch.setattr(JSONFileLoader, "load_file", lambda _self, path: _read(path))
