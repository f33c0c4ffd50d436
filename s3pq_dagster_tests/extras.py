"""Install the wheel with each extra alone, and see which destinations can be built then.

``make extras`` runs it; it makes an environment for each extra, in ``.venv-extras``.
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
URLS = {
    "duckdb": "duckdb:///lake.duckdb",
    "postgres": "postgresql://me@host/lake",
    "delta": "delta:///lake",
    "parquet": "parquet:///lake",
}
"""A destination of each extra. What reads and writes Parquet is always installed."""
_TRY = """
import sys
import s3pq_dagster
from s3pq_dagster.errors import ConfigurationError

installed, expected, url = sys.argv[1:]
try:
    s3pq_dagster.build_io_manager(url).check_installed()
except ConfigurationError as error:
    found = str(error)
    assert installed == "no", found
    assert f"pip install 's3pq-dagster[{expected}]'" in found, found
else:
    assert installed == "yes", f"{url} was built without what {expected} installs"
"""


def run(*command: str | Path, folder: Path = ROOT) -> None:
    """Run a command, which must succeed."""
    subprocess.run(list(map(str, command)), cwd=folder, check=True)


def try_extra(extra: str, wheel: Path) -> None:
    """Install the wheel with one extra, and build an IO manager for each destination."""
    folder = ROOT / ".venv-extras" / extra
    venv.create(folder, clear=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "uv", "pip"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    run(*pip, "install", "--quiet", "--python", python, *constraints, f"{wheel}[{extra}]")
    run(*pip, "check", "--quiet", "--python", python)
    for other, url in URLS.items():
        installed = "yes" if other in {extra, "parquet"} else "no"
        # Not in the checkout, whose package would be imported instead of the wheel's.
        run(python, "-I", "-c", _TRY, installed, other, url, folder=folder)
    sys.stdout.write(f"{extra}: installs alone, and works without the others\n")


def main() -> None:
    """Try each extra on the one wheel in ``dist``."""
    wheels = sorted((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"{len(wheels)} wheels in dist/, and one is needed: make build")
    for extra in URLS:
        try_extra(extra, wheels[0])


if __name__ == "__main__":
    main()
