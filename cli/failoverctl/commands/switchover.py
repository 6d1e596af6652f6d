"""`failoverctl switchover`: make another host the primary, as planned, and measure it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

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
from failoverctl.errors import ExitCode, FailoverctlError

if TYPE_CHECKING:
    from failoverctl.config import Settings
    from failoverctl.estate import Estate
    from failoverctl.health import Health

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Duration(click.ParamType[float]):
    """A duration such as ``3s``, ``500ms`` or ``1m``; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        matched = _DURATION.fullmatch(str(value).strip())
        if matched is None:
            self.fail(f"{value!r} is no duration; write 3s, 500ms or 1m", param, ctx)
        return float(matched["number"]) * _UNITS[matched["unit"] or "s"]


def _data_hosts(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from failoverctl import estate

    try:
        hosts = estate.load(app_of(ctx).settings(), cached=True).in_role("database")
    except FailoverctlError:
        return []
    return [CompletionItem(host.name) for host in hosts if host.name.startswith(incomplete)]


@click.command()
@click.option(
    "--to",
    default="",
    metavar="HOST",
    shell_complete=_data_hosts,
    help="The new primary; without it the agent chooses a member of the sync set.",
)
@click.option(
    "--measure/--no-measure",
    default=None,
    help="Write and request through the VIP meanwhile, and report what clients saw. By default when "
    "the inventory has mariadb_probe_password.",
)
@click.option(
    "--baseline",
    type=Duration(),
    default="3s",
    show_default=True,
    metavar="TIME",
    help="How long to measure before the switchover begins.",
)
@click.option(
    "--writers",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Connections that write at the same time while measuring.",
)
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
    _require_data_host(estate, to)
    mention_unfinished(settings, estate)
    target = None if check or measure is False else _target(settings, estate, writers, measure)
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
    )
    outcome = carry_out(app, order, target=target, baseline_seconds=baseline)
    if not check:
        show_state(app, estate, look(settings, estate))
    last_words(outcome, as_json)
    ctx.exit(outcome.exit_code)


def _require_data_host(estate: Estate, to: str) -> None:
    names = [host.name for host in estate.in_role("database")]
    if to and to not in names:
        from failoverctl.problems import nearest

        raise FailoverctlError(
            f"{to!r} is no data host of estate {estate.name}.",
            fix=nearest(to, names),
            exit_code=ExitCode.USAGE,
        )


def _target(settings: Settings, estate: Estate, writers: int, measure: bool | None) -> dict[str, Any] | None:
    """Return what to measure; None when there is nothing and it was not asked for by --measure."""
    from failoverctl import estate as estates
    from failoverctl.measure import target

    hosts = estate.in_role("database")
    secret = "mariadb_probe_password"
    password = estates.variable(settings, secret, hosts[0].name) if hosts else None
    if measure is None and not password:
        return None
    found = target(estate, str(password or ""), writers=writers)
    if found is None and measure:
        raise FailoverctlError(
            f"there is nothing to measure: no VIP that follows the primary with {secret} set, and no site.",
            fix=f"set {secret} and run setup, or leave out --measure.",
            docs="docs/howto/switchover.md",
            exit_code=ExitCode.USAGE,
        )
    return found


def _consequence(settings: Settings, estate: Estate, health: Health, to: str) -> str:
    from failoverctl import runs
    from failoverctl.paths import runs_directory
    from failoverctl.render.table import predicted

    past = runs.history(runs_directory(settings.state_directory.value), "switchover", estate.name)
    old = health.primary or "the primary"
    new = to or "another member of the sync set"
    return (
        f"{old} stops being primary and {new} takes over, with the VIPs that follow the primary.\n"
        f"Writes pause meanwhile: {predicted(past.writes_outage, 'no earlier run measured it')}. "
        "Open transactions are rolled back; no acknowledged write is lost."
    )
