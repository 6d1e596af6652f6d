"""`failoverctl completion`: a completion script for a shell."""

from __future__ import annotations

import click

from failoverctl.commands.app import common_options, out

_VARIABLE = "_FAILOVERCTL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for a shell.

    \b
    bash:  failoverctl completion bash > ~/.local/share/bash-completion/completions/failoverctl
    zsh:   failoverctl completion zsh > "${fpath[1]}/_failoverctl"
    fish:  failoverctl completion fish > ~/.config/fish/completions/failoverctl.fish
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None  # click has all three since 8.0
    out(script(ctx.find_root().command, {}, "failoverctl", _VARIABLE).source())
