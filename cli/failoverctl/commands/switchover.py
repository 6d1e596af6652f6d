"""`failoverctl switchover`: make another host the primary, as planned, and measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from failoverctl.commands.app import app_of, common_options, tell
from failoverctl.commands.conducting import (
    ask,
    carry_out,
    last_words,
    look,
    mention_unfinished,
    require_answer,
    runbook_options,
    show_plan,
    show_state,
)
from failoverctl.commands.options import data_hosts, measure_options, measured_target, require_data_host

if TYPE_CHECKING:
    from failoverctl.config import Settings
    from failoverctl.estate import Estate
    from failoverctl.health import Health


@click.command()
@click.option(
    "--to",
    default="",
    metavar="HOST",
    shell_complete=data_hosts,
    help="The new primary; without it the agent chooses a member of the sync set.",
)
@measure_options(unasked=True, baseline="3s")
@runbook_options
@common_options
@click.pass_context
def switchover(
    ctx: click.Context,
    to: str,
    measure: bool | None,
    baseline: float,
    writers: int,
    check: bool,
    diff: bool,
    plan: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make another data host the primary, as planned: no acknowledged write is lost.

    Refuses with every reason and exit status 3 when it is not safe. With a measurement the exit
    status is 1 unless the measurement passed: an unknown result is no pass.
    """
    from failoverctl import estate as estates
    from failoverctl.conduct import Order
    from failoverctl.runbooks import CATALOGUE

    app = app_of(ctx)
    settings = app.settings()
    if plan:
        show_plan(app, settings, "switchover", {"switchover_to": to}, as_json)
        return
    if not check:
        require_answer(yes, "switchover")
    estate = estates.load(settings, cached=True)
    require_data_host(estate, to)
    mention_unfinished(settings, estate)
    page = "docs/howto/switchover.md"
    target = None if check else measured_target(settings, estate, writers, measure, page)
    health = None
    if not check and not yes:
        health = look(settings, estate)
        show_state(app, estate, health)
        tell(_consequence(settings, estate, health, to))
        ask("Switch over?", yes)
    order = Order(
        runbook=CATALOGUE["switchover"],
        settings=settings,
        estate=estate,
        parameters={"switchover_to": to},
        check=check,
        diff=diff,
        verbosity=app.verbosity,
        seen=health.reports if health else (),
    )
    outcome = carry_out(app, order, target=target, baseline_seconds=baseline)
    if not check:
        show_state(app, estate, look(settings, estate))
    last_words(outcome, as_json)
    ctx.exit(outcome.exit_code)


def _consequence(settings: Settings, estate: Estate, health: Health, to: str) -> str:
    from failoverctl import runs
    from failoverctl.paths import runs_directory
    from failoverctl.render.table import predicted

    past = runs.history(runs_directory(settings.state_directory.value), "switchover", estate.name)
    old = health.primary or "the primary"
    new = to or ("another member of the sync set" if estate.with_database else "the host that is wanted most")
    if not estate.with_database:
        return (
            f"{old} stops being primary and {new} takes over, with the VIPs and units that follow the primary.\n"
            f"Requests pause meanwhile: {predicted(past.http_outage, 'no earlier run measured it')}."
        )
    return (
        f"{old} stops being primary and {new} takes over, with the VIPs that follow the primary.\n"
        f"Writes pause meanwhile: {predicted(past.writes_outage, 'no earlier run measured it')}. "
        "Open transactions are rolled back; no acknowledged write is lost."
    )
