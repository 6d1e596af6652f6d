"""`failoverctl status`: who is primary and how every host is."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import click

from failoverctl.commands.app import App, app_of, common_options, out
from failoverctl.errors import ExitCode


@click.command()
@click.option("--watch", is_flag=True, help="Show it again and again until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Pause between two looks with --watch.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON; with --watch one object a line.")
@common_options
@click.pass_context
def status(ctx: click.Context, watch: bool, interval: float, as_json: bool) -> None:
    """Show who is primary and how every host is.

    Exit status 0 when all is well, 5 when the estate is degraded, 4 when no data host answers. A
    degraded estate may serve, but may not survive the next fault.
    """
    app = app_of(ctx)
    code = show_once(app, as_json=as_json, compact=watch)
    try:
        while watch:
            time.sleep(interval)
            if not as_json and sys.stdout.isatty():
                click.echo("\033[H\033[2J", nl=False, color=True)
            code = show_once(app, as_json=as_json, compact=True)
    except KeyboardInterrupt:
        pass
    ctx.exit(code)


def show_once(app: App, *, as_json: bool, compact: bool = False) -> ExitCode:
    """Ask every data host, print the answer, and return the exit status it stands for."""
    from failoverctl import estate as estates
    from failoverctl import health as healths
    from failoverctl.commands.conducting import look, mention_unfinished, unfinished_run

    settings = app.settings()
    estate = estates.load(settings, cached=True)
    health = look(settings, estate)
    words = healths.suggestions(estate, health)
    unfinished = unfinished_run(settings, estate)
    if unfinished and health.verdict != "unreachable":
        words = ["drill mend" if unfinished.runbook == "drill" else "resume", *words]
    following = [app.command(text) for text in words]
    at = datetime.now(UTC)
    if as_json:
        import json

        from failoverctl.render.json import document

        content = healths.as_dict(estate, health, at.isoformat(timespec="milliseconds"), following)
        out(json.dumps(content, ensure_ascii=False) if compact else document(content))
        return health.exit_code
    from failoverctl.render import table

    out(table.estate(estate, health, at, following, **app.look(sys.stdout)))
    mention_unfinished(settings, estate)
    return health.exit_code
