"""`failoverctl lock`: show or release the estate lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from failoverctl.commands.app import app_of, common_options, out
from failoverctl.commands.conducting import (
    ask,
    carry_out,
    last_words,
    look,
    require_answer,
)
from failoverctl.errors import ExitCode, FailoverctlError

if TYPE_CHECKING:
    from failoverctl.health import HostReport


@click.group()
@common_options
def lock() -> None:
    """Show or release the estate lock.

    A runbook that changes something holds it, so that no two do at once. It ends by itself when
    whoever holds it is gone for long enough.
    """


@lock.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@common_options
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show who holds the lock, for what and since when."""
    from failoverctl import estate as estates
    from failoverctl.render.json import document
    from failoverctl.render.table import lock_line

    app = app_of(ctx)
    settings = app.settings()
    health = look(settings, estates.load(settings, cached=True))
    _require_agent(health.reports)
    if as_json:
        out(document({"schema": 1, "lock": health.lock}))
    elif health.lock:
        out(f"Locked by {lock_line(health.lock, datetime.now(UTC))}.")
    else:
        out("Not locked.")


@lock.command()
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept with the run.")
@click.option("-y", "--yes", is_flag=True, envvar="FAILOVERCTL_YES", help="Do not ask.")
@common_options
@click.pass_context
def release(ctx: click.Context, reason: str, yes: bool) -> None:
    """Take the lock away from whoever holds it.

    Only when that run is certainly dead: it may still be at work on the hosts.
    """
    from failoverctl import estate as estates
    from failoverctl.conduct import Order
    from failoverctl.render.table import lock_line
    from failoverctl.runbooks import CATALOGUE

    app = app_of(ctx)
    settings = app.settings()
    require_answer(yes, "lock release")
    estate = estates.load(settings, cached=True)
    health = look(settings, estate)
    _require_agent(health.reports)
    if not health.lock:
        out("Not locked.")
        return
    if not yes:
        click.echo(f"Locked by {lock_line(health.lock, datetime.now(UTC))}.", err=True)
        ask("Is that run certainly dead? Release its lock?", yes)
    order = Order(
        runbook=CATALOGUE["lock"],
        settings=settings,
        estate=estate,
        parameters={"lock_release": True, "lock_reason": reason},
        verbosity=app.verbosity,
    )
    outcome = carry_out(app, order)
    last_words(outcome, as_json=False)
    ctx.exit(outcome.exit_code)


def _require_agent(reports: Sequence[HostReport]) -> None:
    if any(report.status is not None for report in reports):
        return
    reached = any(report.reached for report in reports)
    said = "; ".join(f"{report.host}: {report.error}" for report in reports) or "there is no data host"
    raise FailoverctlError(
        f"no agent answers: {said}.",
        why="the lock is kept in etcd, and agents are how it is read.",
        fix="failoverctl setup" if reached else "failoverctl doctor",
        exit_code=ExitCode.DEGRADED if reached else ExitCode.UNREACHABLE,
    )
