"""What all commands share: the common options, and how they speak to the operator."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from failoverctl.conduct import View
    from failoverctl.config import Settings

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class App:
    """One invocation: what the common options said, before and after the command together."""

    config: str = ""
    inventory: tuple[str, ...] = ()
    vault_ids: tuple[str, ...] = ()
    state_directory: str = ""
    no_color: bool = False
    debug: bool = False
    verbosity: int = 0

    def settings(self) -> Settings:
        """Return the settings in force.

        :raises ConfigurationError: when failover.yml, or what it points at, is wrong.
        """
        from failoverctl.config import Flags, load

        return load(
            Flags(
                config=self.config,
                inventory=self.inventory,
                vault_ids=self.vault_ids,
                state_directory=self.state_directory,
            )
        )

    def colour_of(self, stream: TextIO) -> bool:
        """Return whether to colour what goes to a stream."""
        from failoverctl.render.terminal import colour_wanted

        return colour_wanted(stream, os.environ, refused=self.no_color)

    def look(self, stream: TextIO) -> dict[str, Any]:
        """Return colour and width of a stream, as the functions of `render` take them."""
        from failoverctl.render.terminal import width_of

        return {"colour": self.colour_of(stream), "width": width_of(stream)}

    def view(self) -> View:
        """Return how to show a run on stderr: a live block on a terminal, else lines."""
        from failoverctl.render.terminal import is_live

        if is_live(sys.stderr, os.environ):
            from failoverctl.render.live import LiveView

            return LiveView(sys.stderr, verbosity=self.verbosity, **self.look(sys.stderr))
        from failoverctl.render.plain import PlainView

        return PlainView(lambda line: click.echo(line, err=True), self.verbosity)

    def command(self, text: str) -> str:
        """Return a command to type, with the flags that this one was given to find the estate."""
        flags = [part for path in self.inventory for part in ("-i", path)]
        flags += [part for item in self.vault_ids for part in ("--vault-id", item)]
        flags += ["--config", self.config] if self.config else []
        flags += ["--state-directory", self.state_directory] if self.state_directory else []
        return " ".join(["failoverctl", text, shlex.join(flags)]).rstrip()


def out(text: str) -> None:
    """Print data: to stdout."""
    click.echo(text, color=True)


def talk(text: str) -> None:
    """Print talk: to stderr."""
    click.echo(text, err=True, color=True)


def tell(text: str) -> None:
    """Print prose to stderr, each paragraph wrapped to the terminal between words."""
    from failoverctl.render.terminal import width_of

    for paragraph in text.splitlines():
        talk(textwrap.fill(paragraph, width_of(sys.stderr), break_long_words=False, break_on_hyphens=False))


def common_options(function: F) -> F:
    """Add the options that every command takes, before or after its name."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def app_of(ctx: click.Context) -> App:
    """Return what is shared by all commands of this invocation."""
    found = ctx.find_root().obj
    if not isinstance(found, App):
        found = ctx.find_root().obj = App()
    return found


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that keeps an option if it was given, and adds to those given several times."""

    def keep(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if not value:
            return
        app = app_of(ctx)
        if isinstance(value, tuple):
            value = (*getattr(app, name), *value)
        setattr(app, name, value)

    return keep


def _option(*names: str, to: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, expose_value=False, callback=_keep(to), **attributes)


_OPTIONS = (
    _option(
        "-i",
        "--inventory",
        to="inventory",
        multiple=True,
        metavar="PATH",
        help="Inventory file or folder.  [env: FAILOVERCTL_INVENTORY]",
    ),
    _option(
        "--vault-id",
        to="vault_ids",
        multiple=True,
        metavar="[LABEL@]PATH",
        help="File or program with a vault password.  [env: FAILOVERCTL_VAULT_IDS]",
    ),
    _option(
        "--config",
        to="config",
        metavar="PATH",
        help="failover.yml, else looked for upward.  [env: FAILOVERCTL_CONFIG]",
    ),
    _option(
        "--state-directory",
        to="state_directory",
        metavar="PATH",
        help="Where runs are kept.  [env: FAILOVERCTL_STATE_DIRECTORY]",
    ),
    _option("-v", "--verbose", to="verbosity", count=True, help="Show each task; -vv: Ansible's."),
    _option("--no-color", to="no_color", is_flag=True, help="No colour.  [env: NO_COLOR]"),
    _option("--debug", to="debug", is_flag=True, help="Show the traceback of a bug."),
)
