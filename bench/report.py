"""The report: one table of measurements and one of aims."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import aims
from bench.contest import OURS, SYNC, Score

_BEGIN, _END = "<!-- bench -->", "<!-- /bench -->"
_GIB = 1024**3


def table(scores: Sequence[Score]) -> str:
    """Render scores and aims as Markdown, with machine and date below."""
    lines = [
        "| work | who | seconds | times ours | peak MB | requests | |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    lines += [_line(score, scores) for score in scores]
    lines += ["", "The aims, and whether they are reached:", "", aims.table(scores)]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    versions = dict.fromkeys(part for s in scores for part in s.version.split(", ") if part)
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"
    lines += ["", f"{datetime.now(UTC):%Y-%m-%d}; {machine}; {', '.join(versions)}."]
    return "\n".join(lines)


def into(path: Path, table: str) -> None:
    """Put a table between a document's markers."""
    text = path.read_text("utf-8")
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    path.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", "utf-8")


def _line(score: Score, scores: Sequence[Score]) -> str:
    first = next(s for s in scores if s.work == score.work)
    ratio = ""
    if score.seconds is not None and first.seconds:
        ratio = f"{score.seconds / first.seconds:.2f}"
    seconds = "" if score.seconds is None else f"{score.seconds:.1f}"
    peak = max((run.peak for run in score.runs), default=0) / 1e6
    requests = max((run.requests for run in score.runs), default=0)
    note = score.note or ", ".join(filter(None, [_own_part(score, scores), _loading(score)]))
    cells = [score.work, score.name, seconds, ratio, f"{peak:.0f}", f"{requests:,}", note]
    return f"| {' | '.join(cells)} |"


def _own_part(score: Score, scores: Sequence[Score]) -> str:
    """Return how much of a sync is not Dagster's own."""
    own = aims.Measured(scores).own_part(score.work, score.name)
    is_ours = score.name in {OURS.name, SYNC}
    return f"own part {own:.1f} s" if is_ours and own is not None else ""


def _loading(score: Score) -> str:
    """Return how much of a sync was loading; the rest is discovery and Dagster's run."""
    loading = statistics.median([run.said.get("loading", 0) for run in score.runs] or [0])
    return f"{loading:.1f} s of it loading" if loading else ""
