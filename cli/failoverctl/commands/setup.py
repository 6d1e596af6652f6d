"""`failoverctl setup`: make the hosts the estate of the inventory."""

from __future__ import annotations

import click

from failoverctl.commands.app import app_of, common_options, talk, tell
from failoverctl.commands.check import run_check, tell_problems
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
from failoverctl.errors import ExitCode


@click.command()
@runbook_options
@common_options
@click.pass_context
def setup(ctx: click.Context, check: bool, diff: bool, plan: bool, yes: bool, as_json: bool) -> None:
    """Make the hosts the estate of the inventory.

    Checks inventory and hosts first and does not start when anything is wrong. A second run changes
    nothing; an interrupted one is finished by running it again.
    """
    from failoverctl.conduct import Order
    from failoverctl.inspection import inspect
    from failoverctl.runbooks import CATALOGUE

    app = app_of(ctx)
    settings = app.settings()
    if plan:
        show_plan(app, settings, "setup", {}, as_json)
        return
    if not check:
        require_answer(yes, "setup")
    found = inspect(settings)
    mention_unfinished(settings, found.estate)
    checked = run_check(app, settings, found)
    if checked.exit_code is not ExitCode.OK:
        tell_problems(checked)
        talk(f"Run:  {checked.folder.path}")
        talk("Nothing was changed: setup starts when check finds nothing.")
        ctx.exit(checked.exit_code)
    estate = found.estate
    if not check and not yes:
        show_state(app, estate, look(settings, estate))
        tell(
            f"setup makes these {len(estate.hosts)} hosts what the inventory says: packages, "
            "configuration and services change.\n"
            "A service that runs is restarted only where its configuration changes."
        )
        ask("Go on?", yes)
    order = Order(
        runbook=CATALOGUE["setup"],
        settings=settings,
        estate=estate,
        check=check,
        diff=diff,
        verbosity=app.verbosity,
        locate=found.locate,
    )
    outcome = carry_out(app, order)
    if not check and outcome.exit_code is ExitCode.OK:
        show_state(app, estate, look(settings, estate))
    last_words(outcome, as_json)
    ctx.exit(outcome.exit_code)
