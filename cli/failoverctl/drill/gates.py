"""What a drill may be run on: refusals before anything is touched. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Protocol

from failoverctl.drill.scenario import ENVIRONMENTS, Scenario, WaitForStep, flatten
from failoverctl.estate import Estate


class Limited(Protocol):
    """A fault as far as the gates know it."""

    @property
    def lab_only(self) -> bool:
        """Whether only a lab can do it."""
        ...


@dataclass(frozen=True)
class Refusal:
    """One reason why a drill does not start; the fields of every refusal of a runbook."""

    code: str
    message: str
    observed: str = ""
    limit: str = ""
    fix: str = ""

    def as_dict(self) -> dict[str, str | None]:
        """Return the form used in the journal and in result.json."""
        return {
            "code": self.code,
            "message": self.message,
            "observed": self.observed or None,
            "limit": self.limit or None,
            "fix": self.fix or None,
        }


def refusals(
    scenario: Scenario, estate: Estate, faults: Mapping[str, Limited], *, lab: bool, confirmed: str, today: date
) -> tuple[Refusal, ...]:
    """Return every reason why a scenario may not be run on an estate; none when it may.

    :param lab: whether the hosts are those of a lab on this machine.
    :param confirmed: the name of the estate as the operator typed it.
    """
    found: list[Refusal] = []
    environment = estate.environment
    if environment not in ENVIRONMENTS or ENVIRONMENTS.index(environment) > ENVIRONMENTS.index(scenario.environment):
        found.append(
            Refusal(
                "environment",
                f"{scenario.ident} may not be run on an estate in {environment}",
                f"failover_environment: {environment}",
                f"at most {scenario.environment}",
                "run it on an estate whose failover_environment it allows; a scenario of your own may allow more.",
            )
        )
    elif environment == "production":
        found += _production(scenario, estate, confirmed, today)
    if "database" in scenario.requires and not estate.with_database:
        found.append(
            Refusal(
                "no_database",
                f"{scenario.ident} needs a database, and estate {estate.name} has none",
                f"failover_engine: {estate.engine}",
                "failover_engine: mariadb",
                "choose a scenario that makes sense without one: failoverctl drill list",
            )
        )
    if "php" in scenario.requires and not estate.php:
        found.append(
            Refusal(
                "no_php",
                f"{scenario.ident} needs PHP, and no site of estate {estate.name} runs it",
                "web_sites without php: true",
                "a site with php: true",
                "choose a scenario that makes sense without it: failoverctl drill list",
            )
        )
    for step in scenario.faults:
        if faults[step.fault].lab_only and not lab:
            found.append(
                Refusal(
                    "lab_only",
                    f"fault {step.fault} needs a lab: only the machine that runs the hosts can do that to them",
                    "hosts that are reached over the network",
                    "hosts of `failoverctl lab` on this machine",
                    "run it on a lab, or choose a scenario without this fault: failoverctl drill list",
                )
            )
    if not estate.in_role("database"):
        found.append(
            Refusal("no_data_host", f"estate {estate.name} has no data host, so there is nothing to fail over")
        )
    return tuple(dict.fromkeys(found))


def _production(scenario: Scenario, estate: Estate, confirmed: str, today: date) -> list[Refusal]:
    approval = scenario.approval
    found = []
    if approval is None:
        found.append(
            Refusal(
                "not_approved",
                f"{scenario.ident} has no approval for production",
                fix="copy the scenario into your own folder and add `approval: {by: NAME, until: DATE}`.",
            )
        )
    elif approval.until < today:
        found.append(
            Refusal(
                "approval_expired",
                f"the approval of {scenario.ident} by {approval.by} has expired",
                str(approval.until),
                str(today),
                "have it approved again.",
            )
        )
    if confirmed != estate.name:
        found.append(
            Refusal(
                "not_confirmed",
                f"a drill on the production estate {estate.name} needs its name typed",
                confirmed or "nothing",
                estate.name,
                f"add --confirm {estate.name}.",
            )
        )
    return found


def fitted(scenario: Scenario, estate: Estate) -> Scenario:
    """Return a scenario as it is on an estate: without a database nobody writes, so only requests are measured."""
    if estate.with_database:
        return scenario
    return replace(
        scenario,
        promises=replace(scenario.promises, http_after_write_seconds=None),
        load=replace(scenario.load, direct=False, http=True),
    )


def needs_measurement(scenario: Scenario) -> bool:
    """Return whether a step waits for what only the prober sees."""
    waits = (step for step in flatten(scenario.method) if isinstance(step, WaitForStep))
    return any(step.condition.word.startswith("clients_") for step in waits)
