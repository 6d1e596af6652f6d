"""`failoverctl failover`: make a replica the primary, because the primary is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from failoverctl.commands.app import App, app_of, common_options, tell
from failoverctl.commands.conducting import (
    ask,
    ask_name,
    carry_out,
    last_words,
    look,
    mention_unfinished,
    require_answer,
    require_name,
    runbook_options,
    show_plan,
    show_state,
)
from failoverctl.commands.options import data_hosts, measure_options, measured_target, require_data_host, require_voter
from failoverctl.errors import ExitCode

PAGE = "docs/howto/failover.md"


@click.command()
@click.option(
    "--to",
    default="",
    metavar="HOST",
    shell_complete=data_hosts,
    help="The new primary; without it the replica with the most is elected.",
)
@click.option(
    "--accept-data-loss",
    is_flag=True,
    help="Go on although acknowledged writes may be lost. Asks for the name of the estate.",
)
@click.option(
    "--confirm-fenced",
    multiple=True,
    metavar="HOST",
    shell_complete=data_hosts,
    help="This host is certainly off. Without a majority of etcd nothing else can prove it; then name every data host "
    "and witness that is off.  [repeatable]",
)
@click.option(
    "--confirm-estate",
    default="",
    metavar="NAME",
    help="The name of the estate, where nobody can type it: --accept-data-loss asks for it.",
)
@measure_options(unasked=False, baseline="0s")
@runbook_options
@common_options
@click.pass_context
def failover(
    ctx: click.Context,
    to: str,
    accept_data_loss: bool,
    confirm_fenced: tuple[str, ...],
    confirm_estate: str,
    measure: bool | None,
    baseline: float,
    writers: int,
    check: bool,
    diff: bool,
    plan: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make a replica the primary, because the primary is gone.

    Refuses with exit status 3 while the primary is alive, and while a host is silent that may hold
    the only copy of an acknowledged write; then it says exactly what may be lost.
    """
    from failoverctl import estate as estates
    from failoverctl.conduct import Order
    from failoverctl.runbooks import CATALOGUE

    app = app_of(ctx)
    settings = app.settings()
    parameters: dict[str, Any] = {"failover_to": to}
    if accept_data_loss:
        parameters["failover_accept_data_loss"] = True
    if confirm_fenced:
        parameters["failover_confirm_fenced"] = list(confirm_fenced)
    if plan:
        show_plan(app, settings, "failover", parameters, as_json)
        return
    if not check:
        require_answer(yes, "failover")
        if accept_data_loss and yes:
            require_name(confirm_estate, "--accept-data-loss", "--confirm-estate")
    estate = estates.load(settings, cached=True)
    require_data_host(estate, to)
    for name in confirm_fenced:
        require_voter(estate, name)
    if accept_data_loss and confirm_estate:
        ask_name("", estate.name, confirm_estate)
    mention_unfinished(settings, estate)
    target = None if check else measured_target(settings, estate, writers, measure, PAGE)
    health = look(settings, estate)
    show_state(app, estate, health)
    order = Order(
        runbook=CATALOGUE["failover"],
        settings=settings,
        estate=estate,
        parameters=parameters,
        check=check,
        diff=diff,
        verbosity=app.verbosity,
        seen=health.reports,
    )
    if not check and not yes:
        _ask(ctx, app, order, confirm_estate, as_json)
    outcome = carry_out(app, order, target=target, baseline_seconds=baseline)
    if not check:
        show_state(app, estate, look(settings, estate))
    last_words(outcome, as_json)
    ctx.exit(outcome.exit_code)


def _ask(ctx: click.Context, app: App, order: Any, confirm_estate: str, as_json: bool) -> None:
    """Ask every gate first, so that what is asked for is known exactly; a refusal ends the command."""
    from dataclasses import replace

    tell("Asking every gate first; nothing is changed yet.")
    checked = carry_out(app, replace(order, check=True, diff=False))
    if checked.exit_code is not ExitCode.OK:
        last_words(checked, as_json)
        ctx.exit(checked.exit_code)
    answer = checked.result["failover"] or {}
    tell(consequence(answer, with_database=order.estate.with_database))
    if answer.get("possible_loss"):
        if not confirm_estate:
            ask_name("Acknowledged writes may be lost", order.estate.name, "")
    else:
        ask("Fail over?", yes=False)


def consequence(answer: Mapping[str, Any], *, with_database: bool = True) -> str:
    """Return what a failover would do, from what the agents answered to its check."""
    from failoverctl.report.text import loss_sentence

    old, new = answer.get("from") or "the old primary", answer.get("to") or "the best replica"
    if not with_database:
        return f"{new} becomes primary in place of {old}, with the VIPs and units that follow the primary."
    return (
        f"{new} becomes primary in place of {old}, with the VIPs that follow the primary. "
        f"What {old} still runs is shut out first; it rejoins as a replica when it comes back.\n"
        f"{loss_sentence(answer.get('possible_loss'))}"
    )
