"""`failoverctl pause` and `failoverctl resume-automation`: whether the estate acts by itself."""

from __future__ import annotations

from typing import Any

import click

from failoverctl.commands.app import app_of, common_options, tell
from failoverctl.commands.conducting import (
    ask,
    carry_out,
    last_words,
    look,
    require_answer,
    runbook_options,
    show_plan,
    show_state,
)
from failoverctl.commands.options import Duration


@click.command()
@click.option(
    "--for",
    "seconds",
    type=Duration(),
    default="1h",
    show_default=True,
    metavar="TIME",
    help="When the pause ends by itself: 30m, 2h.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; everybody sees it in the status.")
@runbook_options
@common_options
@click.pass_context
def pause(
    ctx: click.Context,
    seconds: float,
    reason: str,
    check: bool,
    diff: bool,
    plan: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Pause what the estate does by itself, for work on its hosts.

    No replica is elected, no primary steps down, no stopped database is started, no host is copied
    anew. A primary that loses its lease is fenced all the same. Switchover, failover and rejoin by
    hand go on working.
    """
    if seconds <= 0:
        raise click.UsageError("--for: a pause has to last for some time")
    parameters: dict[str, Any] = {"pause_seconds": round(seconds), "pause_reason": reason}
    told = (
        f"For {_words(seconds)} nothing fails over by itself: should the primary die meanwhile, writes wait "
        "until you come back or the pause ends."
    )
    _run(ctx, "pause", parameters, (told, "Pause automation?"), check, diff, plan, yes, as_json)


@click.command("resume-automation")
@runbook_options
@common_options
@click.pass_context
def resume_automation(ctx: click.Context, check: bool, diff: bool, plan: bool, yes: bool, as_json: bool) -> None:
    """Let the estate act by itself again.

    Ends a pause, and acknowledges earlier failovers, so that they no longer hold the next one back.
    """
    told = "The estate fails over by itself again, at once if its primary is gone."
    _run(ctx, "resume_automation", {}, (told, "Resume automation?"), check, diff, plan, yes, as_json)


def _run(
    ctx: click.Context,
    name: str,
    parameters: dict[str, Any],
    words: tuple[str, str],
    check: bool,
    diff: bool,
    plan: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from failoverctl import estate as estates
    from failoverctl.conduct import Order
    from failoverctl.runbooks import CATALOGUE

    app = app_of(ctx)
    settings = app.settings()
    runbook = CATALOGUE[name]
    if plan:
        show_plan(app, settings, name, parameters, as_json)
        return
    if not check:
        require_answer(yes, runbook.command)
    estate = estates.load(settings, cached=True)
    health = look(settings, estate)
    if not check and not yes:
        show_state(app, estate, health)
        tell(words[0])
        ask(words[1], yes)
    order = Order(
        runbook=runbook,
        settings=settings,
        estate=estate,
        parameters=parameters,
        check=check,
        diff=diff,
        verbosity=app.verbosity,
        seen=health.reports,
    )
    outcome = carry_out(app, order)
    if not check:
        show_state(app, estate, look(settings, estate))
    last_words(outcome, as_json)
    ctx.exit(outcome.exit_code)


def _words(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    parts = [f"{hours} h"] if hours else []
    parts += [f"{rest // 60} min"] if rest >= 60 else []
    return " ".join(parts) or f"{round(seconds)} s"
