"""The command `s3pq`: its commands, which are modules of their own, and how errors are shown."""

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from s3pq_dagster.cli.output import told
from s3pq_dagster.errors import S3ParquetError, one_line

PROGRAM = "s3pq"
COMMANDS = {
    "plan": "Show what a run would load, and what it would cost.",
    "status": "Show what is loaded, from the ledger.",
    "tables": "Show which tables a layout makes of the bucket.",
    "doctor": "Check access, destination and this machine.",
    "undo": "Take back what a run has loaded into a table.",
}
"""Each command's line in the help. Command ``x`` is ``command`` in ``commands/x.py``, which is
imported when it is asked for."""
FAILED = 1


class _Commands(click.Group):
    """Imports a command when it is asked for, so that the help is shown at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Name the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; ``None`` if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"s3pq_dagster.cli.commands.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands into the help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name, or an option."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        found = [name for name in COMMANDS if name.startswith(incomplete)]
        return [CompletionItem(name, help=COMMANDS[name]) for name in found]

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command, and exit with the code that it returns; 1 after an error.

        click exits with 2 after a mistake in the arguments, which means something else here.
        """
        try:
            code = super().main(*args, **(options | {"standalone_mode": False}))
        except S3ParquetError as error:
            code = _failed(told(error))
        except click.UsageError as error:
            asked = PROGRAM if error.ctx is None else error.ctx.command_path
            told_by_click = error.format_message()
            end = "" if told_by_click.endswith((".", "?", "!")) else "."
            code = _failed(f"{told_by_click}{end} See {asked} --help.")
        except click.ClickException as error:
            code = _failed(error.format_message())
        except click.Abort as error:
            code = _failed("interrupted")
            if isinstance(error.__cause__, KeyboardInterrupt):  # else a question was left alone
                _end_at_once(code)
        except OSError as error:  # of the output, such as a full disk: others have a class of ours
            code = _failed(told(error))
            _drop_output()
        sys.exit(code if isinstance(code, int) else 0)


def _drop_output() -> None:
    """Let what cannot be written go nowhere: Python tries once more at its end, and exits with 120.

    As https://docs.python.org/3/library/signal.html#note-on-sigpipe has it.
    """
    if sys.stdout is not None:
        with suppress(OSError):  # it is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_at_once(code: int) -> None:
    """End without waiting for threads: one may wait minutes for an answer of S3.

    All contexts are left by now, so that nothing is open that would have to be closed.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # it cannot be written, or there is none
            stream.flush()
    os._exit(code)


def _failed(message: str) -> int:
    click.echo(f"error: {one_line(message)}", err=True)
    return FAILED


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="s3pq-dagster", prog_name=PROGRAM)
@click.pass_context
def main(context: click.Context) -> None:
    """Look at what loads Parquet out of S3 into a warehouse.

    The bucket and the destination are those of the S3PQ_* variables, or of a module or a component.
    Only `undo` writes, and it asks before it does. No command needs a Dagster instance.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(FAILED)
