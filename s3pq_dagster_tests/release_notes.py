"""Hold a release's tag against what was built, and print its notes, from the changelog.

The workflow of releases runs ``python -m s3pq_dagster_tests.release_notes v1.2.3 dist``.
"""

import re
import sys
from pathlib import Path

import s3pq_dagster

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def notes_of(tag: str, version: str, built: list[str], changelog: str) -> str:
    """Return the part of the changelog that a version has.

    Args:
        tag: Git's tag, ``v`` and the version.
        version: The package's own.
        built: Names of the files to publish.
        changelog: The text of the changelog.

    Raises:
        SystemExit: Tag, version, files and changelog are not of one release.
    """
    if tag != f"v{version}":
        raise SystemExit(f"the tag is {tag} and the package's __version__ {version}: no release")
    expected = {f"s3pq_dagster-{version}-py3-none-any.whl", f"s3pq_dagster-{version}.tar.gz"}
    if set(built) != expected:
        raise SystemExit(f"built are {sorted(built)} and not {sorted(expected)}: make build")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    part = re.search(rf"{heading}\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if part is None or not part[1].strip():
        raise SystemExit(f"the changelog has no notes under '## [{version}] - YYYY-MM-DD'")
    return part[1].strip() + "\n"


def main(tag: str, folder: str) -> None:
    """Print the notes of the release that a tag names, whose files are in a folder."""
    built = [path.name for path in Path(folder).iterdir()]
    changelog = CHANGELOG.read_text(encoding="utf-8")
    sys.stdout.write(notes_of(tag, s3pq_dagster.__version__, built, changelog))


if __name__ == "__main__":
    main(*sys.argv[1:])
