"""The command group, which loads a sub-command only when it is used, and the end of every command."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from failoverctl.commands.app import App, common_options
from failoverctl.errors import ExitCode, FailoverctlError

#: Name, module and attribute of each sub-command, and its line in `failoverctl --help`.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("init", "init", "Write a commented inventory to begin with."),
    "check": ("check", "check", "Check inventory and hosts; change nothing."),
    "setup": ("setup", "setup", "Make the hosts the estate of the inventory."),
    "status": ("status", "status", "Show who is primary and how every host is."),
    "switchover": ("switchover", "switchover", "Make another host the primary, as planned."),
    "failover": ("failover", "failover", "Make a replica the primary, because the primary is gone."),
    "rejoin": ("rejoin", "rejoin", "Make a host a replica of the primary again."),
    "pause": ("automation", "pause", "Pause what the estate does by itself."),
    "resume-automation": ("automation", "resume_automation", "Let the estate act by itself again."),
    "resume": ("resume", "resume", "Finish a run that was cut short."),
    "rollback": ("resume", "rollback", "Undo what can be undone of a run that was cut short."),
    "drill": ("drill", "drill", "Break the estate on purpose, and measure it."),
    "lock": ("lock", "lock", "Show or release the estate lock."),
    "runs": ("runs", "runs", "List, show and replay earlier runs."),
    "doctor": ("doctor", "doctor", "Check this machine: what runbooks need to run."),
    "lab": ("lab", "lab", "Real Debian hosts on this machine, to learn and to break."),
    "completion": ("completion", "completion", "Print a completion script for a shell."),
}

_EXAMPLES = """\b
Examples:
  failoverctl init --host www1=192.0.2.11 --host www2=192.0.2.12 --witness vote=192.0.2.13
  failoverctl check && failoverctl setup
  failoverctl status --watch
  failoverctl switchover --to www2 --plan"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they are used."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None for an unknown name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(import_module(f"failoverctl.commands.{module}"), attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the arguments; an unknown one names the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from failoverctl.problems import nearest

            raise click.UsageError(f"no command {args[0]!r}: {nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit statuses, which all commands share."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from failoverctl.version import version

        click.echo(f"failoverctl {version()}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    name="failoverctl",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@common_options
def cli() -> None:
    """Failover estates on plain Debian hosts: set up, switch over, measure, prove.

    The inventory is the only configuration. Options may stand before or after the command.
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; every error is told here and nowhere else."""
    app = App()
    try:
        status = cli.main(list(arguments), prog_name="failoverctl", standalone_mode=False, obj=app)
        sys.stdout.flush()
        return int(status) if isinstance(status, int) else ExitCode.OK
    except FailoverctlError as error:
        _tell(app, error.render())
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "failoverctl"
        text = error.format_message().rstrip(".")
        usage = FailoverctlError(f"{text}.", fix=f"{command} --help", exit_code=ExitCode.USAGE)
        _tell(app, usage.render())
        return ExitCode.USAGE
    except click.ClickException as error:
        _tell(app, FailoverctlError(error.format_message()).render())
        return ExitCode.FAILED
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted; nothing more is done.", err=True)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does. Nobody is left to tell anything.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:
        _tell(app, _bug(app, error).render())
        return ExitCode.BUG


def _bug(app: App, error: Exception) -> FailoverctlError:
    if app.debug or "--debug" in sys.argv:
        traceback.print_exception(error)
        fix = "report it with the traceback above and `failoverctl doctor --json`."
    else:
        fix = "run the same command with --debug and report what it prints."
    return FailoverctlError(f"a bug in failoverctl: {type(error).__name__}: {error}", fix=fix, exit_code=ExitCode.BUG)


def _tell(app: App, text: str) -> None:
    if text.startswith("Error:") and app.colour_of(sys.stderr):
        text = click.style("Error:", fg="red", bold=True) + text.removeprefix("Error:")
    click.echo(text, err=True, color=app.colour_of(sys.stderr))
