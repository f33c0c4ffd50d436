"""Separate environments for tools whose packages this project does not install."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment(name: str, *requirements: str) -> Path | None:
    """Create an environment once; return its Python, or ``None`` if that fails."""
    directory = ROOT / f".venv-bench-{name}"
    python = directory / "bin" / "python"
    made = directory / ".made"
    if not made.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        except subprocess.CalledProcessError as error:
            print(f"{name} cannot be installed: {error}", file=sys.stderr)
            return None
        made.touch()
    return python
