"""What `s3pq doctor` shows: the checks of each source, and of this machine."""

from dataclasses import dataclass
from typing import Any

from s3pq_dagster.cli.checks import Check, asked_check, checks_of, home_check
from s3pq_dagster.cli.options import Asked
from s3pq_dagster.cli.output import Output, print_json
from s3pq_dagster.cli.target import Target, targets

_WIDTH = 13


@dataclass(frozen=True, slots=True)
class _Checked:
    target: Target | None
    """The source; ``None`` for this machine."""
    check: Check

    def as_json(self) -> dict[str, Any]:
        check = self.check
        source = None if self.target is None else self.target.name
        return {"source": source, "check": check.name, "ok": check.is_ok, "found": check.found}

    def line(self) -> str:
        mark = "ok  " if self.check.is_ok else "FAIL"
        return f"{mark}  {self.check.name:{_WIDTH}}  {self.check.found}"


def run(asked: Asked, *, with_rows: bool) -> int:
    """Print all checks; return the exit code."""
    found, out = list[_Checked](), Output()

    def add(checked: _Checked) -> None:
        found.append(checked)
        if not asked.as_json:
            out.line(checked.line())

    sources, known = targets(asked), list[list[str]]()
    for target in sources:
        if target.name is not None and not asked.as_json:
            out.heading(target.name)
        for check in checks_of(target, asked, known, with_rows=with_rows):
            add(_Checked(target, check))
    if asked.tables and len(known) == len(sources):  # else a table may be where nobody can look
        add(_Checked(None, asked_check(asked, [name for names in known for name in names])))
    add(_Checked(None, home_check()))
    is_ok = all(each.check.is_ok for each in found)
    if asked.as_json:
        print_json({"ok": is_ok, "checks": [each.as_json() for each in found]})
    return 0 if is_ok else 1
