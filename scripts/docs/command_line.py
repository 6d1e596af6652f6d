"""docs/reference/cli.md: what the command line says of itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from failoverctl import config
from failoverctl.commands.app import common_options
from failoverctl.commands.root import cli
from failoverctl.errors import ExitCode

from scripts.docs.markdown import REFERENCE, block, code, docstring, page, table

WIDTH = 100


def pages() -> Mapping[Path, str]:
    """Return the page."""
    root = click.Context(cli, info_name="failoverctl", terminal_width=WIDTH)
    return {
        REFERENCE / "cli.md": page(
            "Command line",
            "the help of `failoverctl` (cli/failoverctl/commands)",
            "Data goes to standard output, everything else to standard error. Without a terminal nothing is asked: "
            "a command that would ask wants `--yes` or ends with 2. Times in files and JSON are UTC.",
            "## Exit status",
            "The same for every command.",
            table(("status", "meaning"), ((code(int(item)), item.meaning) for item in ExitCode)),
            "## Common options",
            "Every command but `lab` takes them, before or after its name.",
            block(_options(_with_common_options(), root)),
            "## Where settings come from",
            docstring(config.__doc__),
            table(("key of failover.yml", "a list", "meaning"), _keys()),
            "## failoverctl",
            block(_help(cli, root)),
            *_commands(cli, root),
        )
    }


def commands(group: click.Command, ctx: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield path, command and context of each command below a group, groups before their commands."""
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is not None:
            inner = click.Context(command, parent=ctx, info_name=name, terminal_width=WIDTH)
            yield inner.command_path, command, inner
            yield from commands(command, inner)


def _keys() -> Iterator[tuple[str, str, str]]:
    for name, key in config.KEYS.items():
        yield code(name), "yes" if key.several else "", f"{key.meaning}; also {code(f'FAILOVERCTL_{name.upper()}')}"


def _commands(group: click.Command, ctx: click.Context) -> Iterator[str]:
    for path, command, inner in commands(group, ctx):
        yield f"## {path}"
        yield block(_help(command, inner))


def _with_common_options() -> click.Command:
    @click.command(add_help_option=False)
    @common_options
    def command() -> None:
        """Take all of them."""

    return command


def _common_names() -> set[str]:
    return {parameter.name or "" for parameter in _with_common_options().params}


def _help(command: click.Command, ctx: click.Context) -> str:
    """Return the help of a command without the common options and --help."""
    own = copy.copy(command)
    own.params = [parameter for parameter in command.params if parameter.name not in _common_names()]
    own.add_help_option = False
    return own.get_help(ctx)


def _options(command: click.Command, ctx: click.Context) -> str:
    formatter = ctx.make_formatter()
    formatter.write_dl([record for item in command.params if (record := item.get_help_record(ctx))])
    return formatter.getvalue()
