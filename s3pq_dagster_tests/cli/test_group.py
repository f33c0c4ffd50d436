"""The command `s3pq` itself: help, errors, exit codes, completion."""

import importlib.metadata
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import s3pq_dagster
from s3pq_dagster.cli import main
from s3pq_dagster.cli.group import COMMANDS
from s3pq_dagster_tests.cli.conftest import CommandLine
from s3pq_dagster_tests.levels import first_of
from s3pq_dagster_tests.proxy import Request

ROOT = Path(__file__).parents[2]
AS_IN_A_TERMINAL = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
from s3pq_dagster.cli import main
main(sys.argv[1:], prog_name="s3pq")
"""
MODULE = [sys.executable, "-m", "s3pq_dagster.cli"]


def shell(
    *words: str, environ: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [*MODULE, *words],
        env=os.environ | environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.thorough
def test_a_shell_runs_it_with_variables(s3pq: CommandLine) -> None:
    """As a user types it: tables on standard output, exit code 0; an error on the other, and 1."""
    s3pq.bucket.put("orders/a.parquet", b"x")
    done = shell("tables", environ=s3pq.environment, cwd=s3pq.directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert "orders/a.parquet" in done.stdout
    wrong = s3pq.environment | {"S3PQ_BUCKET": "is-not-there"}
    failed = shell("tables", environ=wrong, cwd=s3pq.directory)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert re.fullmatch(r"error: BucketNotFoundError: .*\n", failed.stderr)


def test_the_script_is_declared_and_is_this_command() -> None:
    """`s3pq` is a console script of the package, where the package is installed with it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"s3pq": "s3pq_dagster.cli:main"}
    installed = importlib.metadata.entry_points(group="console_scripts", name="s3pq")
    assert {entry.load() for entry in installed} <= {main}


def test_help_lists_the_commands_and_imports_none(tmp_path: Path) -> None:
    """The help is there at once: neither Dagster nor a command is imported for it."""
    code = (
        "import sys\nfrom s3pq_dagster.cli import main\n"
        "try:\n    main(['--help'], prog_name='s3pq')\n"
        "finally:\n    print([n for n in sys.modules if n in ('dagster', 'polars', 'boto3')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    for name, said in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(said)}$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_that_says_what_it_does(name: str, s3pq: CommandLine) -> None:
    """Its first sentence is its line in the help of `s3pq`, but for what follows a comma."""
    said = s3pq(name, "--help")
    assert said.code == 0
    assert f"Usage: s3pq {name} [OPTIONS]" in said.out
    assert said.out.split("\n\n")[1].strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such"], "error: No such command 'no-such'.* See s3pq --help."),
        (["tables", "--no-such"], "error: No such option:? '?--no-such.* See s3pq tables --help."),
        (["tables", "--table"], "error: Option '--table' requires an argument"),
    ],
)
def test_a_mistake_in_the_arguments_is_a_line_and_exits_with_1(
    words: list[str], message: str, s3pq: CommandLine
) -> None:
    """2 means something else here, so click's code for such mistakes is not used."""
    said = s3pq(*words)
    assert (said.code, said.out) == (1, "")
    assert re.match(message, said.err)
    assert said.err.count("\n") == 1


def test_what_is_not_configured_is_an_error_of_one_line(s3pq: CommandLine) -> None:
    """The message names the variables, as the default code location does."""
    said = s3pq("tables", S3PQ_BUCKET="")
    assert said.code == 1
    assert said.err.startswith("error: ConfigurationError: S3PQ_BUCKET not set: set ")


def test_the_version_is_the_packages(s3pq: CommandLine) -> None:
    """`--version` prints it."""
    assert s3pq("--version").out == f"s3pq, version {s3pq_dagster.__version__}\n"


@pytest.mark.parametrize("kind", first_of(["bash", "zsh", "fish"]))
def test_completion_prints_a_script_for_a_shell(kind: str) -> None:
    """`_S3PQ_COMPLETE=bash_source s3pq` prints what the shell is to read."""
    done = shell(environ={"_S3PQ_COMPLETE": f"{kind}_source"})
    assert done.returncode == 0
    assert "_S3PQ_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("typed", "position", "completed"),
    [("s3pq ta", 1, "plain,tables"), ("s3pq tables --la", 2, "plain,--layout")],
)
def test_completion_knows_commands_and_options(typed: str, position: int, completed: str) -> None:
    """The first letters of a command or an option are enough."""
    done = shell(
        environ={
            "_S3PQ_COMPLETE": "bash_complete",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(position),
        }
    )
    assert done.stdout.split() == [completed]


def on_a_terminal(
    *words: str,
    environ: dict[str, str],
    cwd: Path,
    watch: Callable[[bytes], None] = lambda _drawn: None,
) -> str:
    """Run the command line on a terminal, and return all that it draws there.

    ``watch`` is called with what is drawn so far, each time there is more.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*MODULE, *words],
        env=os.environ | environ | {"TERM": "xterm", "COLUMNS": "100"},
        cwd=cwd,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    with suppress(OSError):  # Linux says so at the end
        while some := os.read(ours, 65_536):
            drawn += some
            watch(drawn)
    os.close(ours)
    assert process.wait(60) == 0
    return drawn.decode()


@pytest.mark.thorough
def test_a_terminal_sees_a_table_and_how_far_a_slow_listing_is(s3pq: CommandLine) -> None:
    """Progress is drawn while the listing is waited for, with what is done; then the table."""
    s3pq.bucket.put("orders/a.parquet", b"x")
    is_drawn = threading.Event()

    def slow(request: Request) -> None:
        if request.is_listing:
            is_drawn.wait(30)

    def watch(drawn: bytes) -> None:
        if b"0 objects" in drawn:
            is_drawn.set()

    s3pq.bucket.proxy.before = slow
    drawn = on_a_terminal("tables", environ=s3pq.environment, cwd=s3pq.directory, watch=watch)
    assert is_drawn.is_set()
    assert f"listing s3://{s3pq.bucket.name}/" in drawn
    assert "0 objects" in drawn
    assert "\u2500" in drawn  # the line below the names of the columns
    assert "orders/a.parquet" in drawn


@pytest.mark.thorough
def test_a_terminal_sees_no_progress_of_what_is_quick(s3pq: CommandLine) -> None:
    """Nothing is drawn that is gone before it is read."""
    s3pq.bucket.put("orders/a.parquet", b"x")
    drawn = on_a_terminal("tables", environ=s3pq.environment, cwd=s3pq.directory)
    assert "listing" not in drawn


def test_without_a_command_the_help_is_shown_and_it_is_a_mistake(s3pq: CommandLine) -> None:
    """Line by line on standard error, with the commands; the exit code is 1."""
    said = s3pq()
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("Usage: s3pq [OPTIONS] COMMAND [ARGS]...\n")
    assert "\n  plan " in said.err


@pytest.mark.parametrize("name", ["plan", "tables", "status"])
def test_a_table_that_is_not_there_is_an_error(name: str, s3pq: CommandLine) -> None:
    """A mistyped name is no table that is up to date; each that is given has to be one's."""
    s3pq.bucket.put("orders/a.parquet", 1)
    said = s3pq(name, "--table", "orders", "--table", "ordres", "--json")
    assert (said.code, said.out) == (1, "")
    expected = "there is no table 'ordres' in the bucket; there is orders"
    assert said.err == f"error: ConfigurationError: {expected}\n"


@pytest.mark.parametrize(
    ("redirected", "error"),
    first_of([(">/dev/full", r"error: OSError: .*No space left on device\n"), (">&-", "")]),
)
def test_output_that_cannot_be_written_is_no_traceback(
    redirected: str, error: str, s3pq: CommandLine
) -> None:
    """A full disk is an error of a line; what is not to be seen at all is not written."""
    s3pq.bucket.put("orders/a.parquet", b"x")
    command = f"{sys.executable} -m s3pq_dagster.cli tables {redirected}"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env=os.environ | s3pq.environment,
        cwd=s3pq.directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == (1 if error else 0)
    assert re.fullmatch(error, done.stderr)


@pytest.mark.parametrize("name", first_of(["plan", "status", "tables", "doctor"]))
def test_an_interrupt_ends_a_slow_listing_at_once(name: str, s3pq: CommandLine) -> None:
    """Ctrl-C while S3 has not answered: a line and 1, before the answer; nothing is written."""
    s3pq.bucket.put("orders/a.parquet", b"x")
    is_asked, is_over = threading.Event(), threading.Event()

    def slow(request: Request) -> None:
        if request.is_listing:
            is_asked.set()
            is_over.wait(60)

    s3pq.bucket.proxy.before = slow
    before = s3pq.files()
    process = subprocess.Popen(
        [sys.executable, "-c", AS_IN_A_TERMINAL, name],
        env=os.environ | s3pq.environment,
        cwd=s3pq.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert is_asked.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        is_over.set()
        process.kill()
    assert (process.returncode, err.strip()) == (1, "error: interrupted")
    assert "Traceback" not in out
    assert s3pq.files() == before
