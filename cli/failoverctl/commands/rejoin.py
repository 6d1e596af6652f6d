"""`failoverctl rejoin`: make a host a replica of the primary again."""

from __future__ import annotations

from typing import Any

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
from failoverctl.commands.options import data_hosts, require_data_host
from failoverctl.errors import ExitCode


@click.command()
@click.argument("host", shell_complete=data_hosts)
@click.option("--reclone", is_flag=True, help="Copy the primary's data anew, even if a gentler way would do.")
@runbook_options
@common_options
@click.pass_context
def rejoin(
    ctx: click.Context,
    host: str,
    reclone: bool,
    check: bool,
    diff: bool,
    plan: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make HOST a replica of the primary again.

    Agents do it by themselves; this is for a host that waits for a person, and for one that has to
    be copied anew. Transactions that only HOST has are saved there as SQL before they are undone.
    """
    from dataclasses import replace

    from failoverctl import estate as estates
    from failoverctl.conduct import Order
    from failoverctl.report.text import divergent_sentence
    from failoverctl.runbooks import CATALOGUE

    app = app_of(ctx)
    settings = app.settings()
    parameters: dict[str, Any] = {"rejoin_host": host}
    if reclone:
        parameters["rejoin_reclone"] = True
    if plan:
        show_plan(app, settings, "rejoin", parameters, as_json)
        return
    if not check:
        require_answer(yes, "rejoin")
    estate = estates.load(settings, cached=True)
    require_data_host(estate, host)
    mention_unfinished(settings, estate)
    health = look(settings, estate)
    show_state(app, estate, health)
    order = Order(
        runbook=CATALOGUE["rejoin"],
        settings=settings,
        estate=estate,
        parameters=parameters,
        check=check,
        diff=diff,
        verbosity=app.verbosity,
        seen=health.reports,
    )
    if not check and not yes:
        tell("Asking first how it can rejoin; nothing is changed yet.")
        checked = carry_out(app, replace(order, check=True, diff=False))
        answer = checked.result["rejoin"] or {}
        if checked.exit_code is not ExitCode.OK or answer.get("result") == "already":
            last_words(checked, as_json)
            ctx.exit(checked.exit_code)
        only = divergent_sentence(answer.get("divergent"), host)
        tell(f"{host} follows the primary again, by: {answer.get('method') or 'what its agent finds'}.\n{only}")
        if answer.get("method") == "reclone":
            tell(f"Its data directory is replaced by a copy of the primary's; the old one is kept aside on {host}.")
        ask("Rejoin?", yes)
    outcome = carry_out(app, order)
    if not check:
        show_state(app, estate, look(settings, estate))
    last_words(outcome, as_json)
    ctx.exit(outcome.exit_code)
