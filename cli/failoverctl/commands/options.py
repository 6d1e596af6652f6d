"""Options that several runbooks take: durations, names of data hosts, and how to measure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from failoverctl.commands.app import app_of
from failoverctl.errors import ExitCode, FailoverctlError

if TYPE_CHECKING:
    from failoverctl.config import Settings
    from failoverctl.estate import Estate

F = TypeVar("F", bound=Callable[..., Any])

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>ms|s|m|min|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """A duration such as ``3s``, ``500ms``, ``1m`` or ``2h``; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        matched = _DURATION.fullmatch(str(value).strip())
        if matched is None:
            self.fail(f"{value!r} is no duration; write 3s, 500ms, 1m or 2h", param, ctx)
        return float(matched["number"]) * _UNITS[matched["unit"] or "s"]


def data_hosts(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a data host."""
    from failoverctl import estate

    try:
        hosts = estate.load(app_of(ctx).settings(), cached=True).in_role("database")
    except FailoverctlError:
        return []
    return [CompletionItem(host.name) for host in hosts if host.name.startswith(incomplete)]


def require_data_host(estate: Estate, name: str) -> None:
    """Refuse a name that is no data host of the estate; an empty one is fine.

    :raises FailoverctlError: with the nearest name.
    """
    names = [host.name for host in estate.in_role("database")]
    if name and name not in names:
        from failoverctl.problems import nearest

        raise FailoverctlError(
            f"{name!r} is no data host of estate {estate.name}.",
            fix=nearest(name, names),
            exit_code=ExitCode.USAGE,
        )


def require_voter(estate: Estate, name: str) -> None:
    """Refuse a name that is no host that votes: a data host or a witness.

    :raises FailoverctlError: with the nearest name.
    """
    names = [host.name for role in ("database", "witness") for host in estate.in_role(role)]
    if name not in names:
        from failoverctl.problems import nearest

        raise FailoverctlError(
            f"{name!r} is no data host and no witness of estate {estate.name}.",
            fix=nearest(name, names),
            exit_code=ExitCode.USAGE,
        )


def measure_options(*, unasked: bool, baseline: str) -> Callable[[F], F]:
    """Return a decorator that adds the options of measuring.

    :param unasked: measure without being asked to, where the inventory has a password for it.
    :param baseline: for how long to measure before, unless said otherwise.
    """
    told = "Write and request through the VIP meanwhile, and report what clients saw."
    if unasked:
        told += " By default when the inventory has mariadb_probe_password."

    def decorate(function: F) -> F:
        for option in (
            click.option(
                "--writers",
                type=click.IntRange(1, 1000),
                default=1,
                show_default=True,
                help="Connections that write at the same time while measuring.",
            ),
            click.option(
                "--baseline",
                type=Duration(),
                default=baseline,
                show_default=True,
                metavar="TIME",
                help="How long to measure before the runbook begins.",
            ),
            click.option("--measure/--no-measure", default=None if unasked else False, help=told),
        ):
            function = option(function)
        return function

    return decorate


def measured_target(
    settings: Settings, estate: Estate, writers: int, measure: bool | None, page: str
) -> dict[str, Any] | None:
    """Return what to measure; None when there is nothing and it was not asked for by --measure.

    Unasked, an account for it says that it is wanted; where there is no database, that the estate is a lab.

    :param page: the page that an error names.
    :raises FailoverctlError: when it was asked for and there is nothing.
    """
    if measure is False:
        return None
    from failoverctl import estate as estates
    from failoverctl.measure import target

    hosts = estate.in_role("database")
    secret = "mariadb_probe_password"
    password = estates.variable(settings, secret, hosts[0].name) if hosts else None
    wanted = bool(password) if estate.with_database else estate.environment == "lab"
    if measure is None and not wanted:
        return None
    found = target(estate, str(password or ""), writers=writers)
    if found is None and measure:
        raise FailoverctlError(
            f"there is nothing to measure: no VIP that follows the primary with {secret} set, and no site.",
            fix=f"set {secret} and run setup, or leave out --measure.",
            docs=page,
            exit_code=ExitCode.USAGE,
        )
    return found
