"""What is left to do for a run that was cut short, and what can be undone of it. Pure.

What counts is the world as it is, never how far the journal says a run had come: what was begun on a host may have gone
on there, or may never have arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from failoverctl.health import Health
from failoverctl.journal import RunState

Facts = Mapping[str, Mapping[str, Any]]

#: Runbooks that name another primary.
MOVING = ("switchover", "failover")


@dataclass(frozen=True)
class Choice:
    """What to do about a run.

    ``kind`` is ``nothing`` (it is done, or nothing was moved), ``run`` (run ``runbook`` with ``parameters``), ``wait``
    (nobody can tell yet) or ``by_hand`` (a person decides; ``command`` is what to type).
    """

    kind: str
    why: str
    runbook: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class Before:
    """What the journal knows of the estate before the run changed it; empty and None when it knows nothing."""

    primary: str
    term: int | None


def before_of(facts: Facts) -> Before:
    """Return the primary of the latest term among the facts of a journal."""
    terms = [(fact.get("term"), str(fact.get("primary") or "")) for fact in facts.values()]
    known = [(term, primary) for term, primary in terms if isinstance(term, int)]
    term, primary = max(known, default=(None, ""))
    return Before(primary, term)


def moved(before: Before, health: Health) -> bool:
    """Return whether another host is primary by a later term than before the run."""
    if before.term is None or health.term is None or not before.primary or not health.primary:
        return False
    return health.term > before.term and health.primary != before.primary


def resume(runbook: str, parameters: Mapping[str, Any], entry: Facts, health: Health) -> Choice:
    """Return what is left to do for a run.

    :param entry: the facts of its journal from before it changed anything.
    :param health: the estate as it is now.
    """
    again = Choice("run", "", runbook, dict(parameters))
    if runbook == "setup":
        return _because(again, "every step of setup finds out what is left of it")
    if runbook in MOVING:
        return _resume_move(again, before_of(entry), health)
    if runbook == "rejoin":
        host = str(parameters.get("rejoin_host") or "")
        if follows(host, health):
            return Choice("nothing", f"{host} follows the primary and is in the sync set")
        if busy(host, health):
            return Choice("wait", f"{host} is being copied anew")
        return _because(again, f"{host} does not follow the primary yet")
    if runbook == "pause":
        if health.automation.state == "paused":
            return Choice("nothing", "automation is paused")
        return _because(again, "automation is not paused")
    if runbook == "resume_automation":
        if health.automation.state == "active":
            return Choice("nothing", "automation is active")
        return _because(again, f"automation is {health.automation.state}")
    if runbook == "lock":
        if health.lock is None:
            return Choice("nothing", "nobody holds the lock of the estate")
        return Choice("by_hand", "whose lock is to be released is for a person to say", command="lock status")
    return Choice("nothing", f"{runbook} changes nothing")


def _resume_move(again: Choice, before: Before, health: Health) -> Choice:
    runbook, parameters = again.runbook, again.parameters
    if moved(before, health):
        took = f"{health.primary} is primary in term {health.term}; before the run it was {before.primary}"
        return Choice("nothing", f"{took} in term {before.term}: the {runbook} took place")
    if runbook == "failover":
        if health.primary:
            return Choice("nothing", f"{health.primary} is primary and takes writes: there is nothing to fail over")
        if parameters.get("failover_accept_data_loss") or parameters.get("failover_confirm_fenced"):
            why = "no host is primary, and what the run was told by a person has to be said again"
            return Choice("by_hand", why, command="failover --check")
        return _because(again, "no host is primary")
    if not health.primary:
        return Choice("wait", "no host is primary")
    if parameters.get("switchover_to") == health.primary:
        return Choice("nothing", f"{health.primary} is primary, as it was to be")
    return _because(again, f"{health.primary} is still primary: nothing was moved")


def rollback(runbook: str, parameters: Mapping[str, Any], entry: Facts, health: Health) -> Choice:
    """Return what can be undone of a run; parameters as for :func:`resume`."""
    if runbook in MOVING:
        return _undo_move(runbook, before_of(entry), health)
    if runbook == "pause":
        if health.automation.state == "paused":
            return Choice("run", "automation is paused", "resume_automation")
        return Choice("nothing", "automation is not paused")
    if runbook == "resume_automation":
        if health.automation.state == "active":
            return Choice("by_hand", "a pause is undone only by a new one", command="pause --reason again")
        return Choice("nothing", f"automation is {health.automation.state}, as it was")
    if runbook == "setup":
        why = "setup moves nothing; what it wrote on the hosts stays, and it is finished by running it again"
        return Choice("nothing", why)
    if runbook == "rejoin":
        host = str(parameters.get("rejoin_host") or "the host")
        return Choice("nothing", f"nothing was moved; what only {host} had is saved there, see `failoverctl doctor`")
    return Choice("nothing", f"{runbook} cannot be undone, and moves nothing")


def _undo_move(runbook: str, before: Before, health: Health) -> Choice:
    if not health.primary:
        return Choice("wait", "no host is primary")
    if not moved(before, health):
        where = f" in term {health.term}" if health.term is not None else ""
        return Choice("nothing", f"nothing was moved: {health.primary} is primary{where}")
    took = f"the {runbook} took place: {health.primary} is primary in term {health.term}"
    if follows(before.primary, health):
        return Choice("run", f"{took}, and {before.primary} can take over again", "switchover", _to(before.primary))
    why = f"{took}, and {before.primary} is not ready to take over again"
    return Choice("by_hand", why, command=f"rejoin {before.primary}")


def _to(host: str) -> dict[str, Any]:
    return {"switchover_to": host}


def follows(host: str, health: Health) -> bool:
    """Return whether a host replicates and the primary waits for it; without a database, whether it stands by."""
    report = health.report(host)
    primary = health.report(health.primary)
    if report is None or report.status is None or primary is None or primary.status is None:
        return False
    if report.status.get("engine") == "none":
        return report.status.get("role") == "replica"
    database, sync = report.status.get("database"), primary.status.get("sync")
    runs = isinstance(database, dict) and database.get("io_running") is True and database.get("sql_running") is True
    waited_for = isinstance(sync, dict) and host in (sync.get("members") or ()) and sync.get("mode") == "strict"
    return report.status.get("role") == "replica" and runs and waited_for


def busy(host: str, health: Health) -> bool:
    """Return whether the agent of a host is giving it a new copy of the data."""
    report = health.report(host)
    return report is not None and report.status is not None and report.status.get("role") == "unseeded"


def last_entry(state: RunState) -> str:
    """Return what the journal of a run says last, as a sentence."""
    if state.begun is None:
        return "nothing was begun on any host"
    where = f"{state.begun.title!r} of {state.begun.play!r} was begun at {state.begun.at[11:19]}Z"
    if state.ended_on:
        return f"{where} and has ended on {', '.join(state.ended_on)}"
    return f"{where}, and no entry says that it ended"


def _because(choice: Choice, why: str) -> Choice:
    return Choice(choice.kind, why, choice.runbook, choice.parameters, choice.command)
