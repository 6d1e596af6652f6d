"""The catalogue of runbooks: what each does, how dangerous it is, and what it is made of.

Building only: nothing is run and no host is asked here. The phases are read from the playbook
itself, so that a plan cannot describe another runbook than the one that is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from failoverctl.errors import FailoverctlError
from failoverctl.paths import collection_directory
from failoverctl.runs import Figures, History
from failoverctl.transcript import split_name

COLLECTION = "hosting.failover"

#: How a play names a group whose name is a parameter.
_PARAMETER = re.compile(r"\{\{\s*failover_group_\w+\s*\|\s*default\('(\w+)'\)\s*\}\}")

#: How it names hosts by another parameter.
_VARIABLE = re.compile(r"\{\{\s*(\w+)\b[^}]*\}\}")


class Danger(Enum):
    """What may happen to those who use the estate."""

    NONE = "reads only"
    INTERRUPTS = "may interrupt clients for a moment"
    CHANGES = "changes hosts"


@dataclass(frozen=True)
class Runbook:
    """One runbook.

    ``parameters`` are the variables it takes, with what they mean; ``loss`` is what may be lost by
    it and why. Before one that is ``unplanned``, clients are without service already.
    """

    name: str
    summary: str
    danger: Danger
    parameters: Mapping[str, str]
    loss: str = "nothing"
    unplanned: bool = False

    @property
    def playbook(self) -> str:
        """The fully qualified name of its playbook."""
        return f"{COLLECTION}.{self.name}"

    @property
    def command(self) -> str:
        """The word for it on the command line."""
        return self.name.replace("_", "-")


_IDENTITY = {
    "failover_run_id": "the id of the run, for lock and journal",
    "failover_owner": "who runs it, for the lock",
    "failover_lock_kept": "true: leave the lock to the run of that id",
}

_UNREACHED = {"failover_unreached": "hosts that could not be reached just before; they are not waited for again"}

CATALOGUE: dict[str, Runbook] = {
    runbook.name: runbook
    for runbook in (
        Runbook("check", "judge the inventory and the hosts", Danger.NONE, _IDENTITY),
        Runbook(
            "setup",
            "make the hosts the estate of the inventory",
            Danger.CHANGES,
            _IDENTITY,
            "nothing: existing data is kept, unless the inventory names the host that may lose it",
        ),
        Runbook("status", "ask every agent how it is", Danger.NONE, _IDENTITY),
        Runbook(
            "switchover",
            "make another data host the primary, as planned",
            Danger.INTERRUPTS,
            {**_IDENTITY, **_UNREACHED, "switchover_to": "the host to become primary; empty for the best"},
            "no acknowledged write: the new primary proves that it has them all, or it is undone",
        ),
        Runbook(
            "failover",
            "make a replica the primary, because the primary is gone",
            Danger.INTERRUPTS,
            {
                **_IDENTITY,
                **_UNREACHED,
                "failover_to": "the host to become primary; empty for the one with the most",
                "failover_accept_data_loss": "true: go on although acknowledged writes may be lost",
                "failover_confirm_fenced": "hosts that are certainly off, as a person says",
            },
            "no acknowledged write while every member of the sync set answers; else it is refused, "
            "unless the loss is accepted",
            unplanned=True,
        ),
        Runbook(
            "rejoin",
            "make a host a replica of the primary again",
            Danger.CHANGES,
            {
                **_IDENTITY,
                "rejoin_host": "the host",
                "rejoin_reclone": "true: copy the primary's data anew in any case",
            },
            "nothing: transactions that only this host has are saved as SQL before they are undone",
        ),
        Runbook(
            "pause",
            "pause what the estate does by itself",
            Danger.CHANGES,
            {
                **_UNREACHED,
                "failover_owner": "who pauses it",
                "pause_reason": "why, for others to read",
                "pause_seconds": "how long, in seconds; an hour without it",
            },
        ),
        Runbook(
            "resume_automation",
            "let the estate act by itself again",
            Danger.CHANGES,
            {**_UNREACHED, "failover_owner": "who resumes it"},
        ),
        Runbook(
            "lock",
            "show or release the estate lock",
            Danger.CHANGES,
            {**_IDENTITY, "lock_release": "true: release it, whoever holds it"},
        ),
    )
}


@dataclass(frozen=True)
class Phase:
    """A play of a runbook: its kind, its sentence, and the hosts it is for."""

    phase: str
    title: str
    hosts: str


@dataclass(frozen=True)
class Plan:
    """What a run would do, and what earlier runs say it will cost."""

    runbook: Runbook
    parameters: Mapping[str, Any]
    phases: tuple[Phase, ...]
    history: History

    def as_dict(self) -> dict[str, Any]:
        """Return the plan for JSON; a prediction without an earlier run is null."""
        past = self.history
        return {
            "schema": 1,
            "runbook": self.runbook.name,
            "playbook": self.runbook.playbook,
            "danger": self.runbook.danger.value,
            "parameters": dict(self.parameters),
            "phases": [{"phase": item.phase, "title": item.title, "hosts": item.hosts} for item in self.phases],
            "predicted": {
                "duration_seconds": _figures(past.duration),
                "writes_outage_seconds": _figures(past.writes_outage),
                "http_outage_seconds": _figures(past.http_outage),
                "loss": self.runbook.loss,
                "lost_writes": past.lost_writes,
                "acknowledged_writes": past.acknowledged_writes,
            },
        }


def plan(runbook: Runbook, parameters: Mapping[str, Any], past: History) -> Plan:
    """Return the plan of a runbook. No host is contacted.

    :raises FailoverctlError: when the playbook is not there or cannot be read.
    """
    # Hosts that a parameter names are shown by their names.
    named = (replace(item, hosts=str(parameters.get(item.hosts) or item.hosts)) for item in phases(runbook))
    return Plan(runbook, parameters, tuple(named), past)


def phases(runbook: Runbook) -> tuple[Phase, ...]:
    """Return the plays of a runbook in their order, imported playbooks included.

    :raises FailoverctlError: when the collection or the playbook is not there.
    """
    collection = collection_directory()
    if collection is None:
        raise FailoverctlError(
            f"the collection {COLLECTION} was not found on the import path of failoverctl.",
            fix="install failoverctl again; its wheel carries the collection.",
        )
    return tuple(_plays(collection / "playbooks" / f"{runbook.name}.yml"))


def _plays(path: Path) -> list[Phase]:
    try:
        plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise FailoverctlError(
            f"the playbook {path} cannot be read: {error}",
            fix="install failoverctl again; its wheel carries the collection.",
        ) from error
    found: list[Phase] = []
    for play in plays or []:
        imported = play.get("ansible.builtin.import_playbook") or play.get("import_playbook")
        if imported:
            name = str(imported).removeprefix(f"{COLLECTION}.")
            found += _plays(path.parent / (name if name.endswith(".yml") else f"{name}.yml"))
        elif play.get("name"):
            phase, title = split_name(str(play["name"]))
            found.append(Phase(phase, title, _groups(str(play.get("hosts", "")))))
    return found


def _groups(pattern: str) -> str:
    """Return the hosts of a play with the default names of groups that are parameters, and the names of variables."""
    return ", ".join(_VARIABLE.sub(r"\1", _PARAMETER.sub(r"\1", pattern)).split(":")).strip()


def _figures(figures: Figures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {"median": figures.median, "worst": figures.worst, "runs": figures.count}
