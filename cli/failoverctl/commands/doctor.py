"""`failoverctl doctor`: what runbooks need on this machine."""

from __future__ import annotations

import sys

import click

from failoverctl.commands.app import app_of, common_options, out


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for a bug report.")
@common_options
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: what runbooks need to run.

    Looks at versions, PATH, the collection, configuration, inventory, vault, and at every host by
    ssh with its clock. Changes nothing.
    """
    from failoverctl.doctor import as_dict, examine, exit_code

    app = app_of(ctx)
    findings = []
    if as_json:
        from failoverctl.render.json import document

        findings = list(examine(app.settings))
        out(document(as_dict(findings)))
    else:
        styles = {"ok": "green", "warn": "yellow", "fail": "red"}
        colour = app.colour_of(sys.stdout)
        for item in examine(app.settings):
            findings.append(item)
            first, *rest = item.detail.splitlines() or [""]
            word = f"{item.outcome:<5}"
            word = click.style(word, fg=styles[item.outcome]) if colour else word
            out(f"{word} {item.name:<16} {first}")
            for line in [*rest, *([f"Fix: {item.fix}"] if item.fix else [])]:
                out(f"{'':<22} {line}")
    ctx.exit(exit_code(findings))
