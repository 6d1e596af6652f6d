"""The world as far as a run cares: what each agent tells of its host, and what became of it since. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from failoverctl.health import HostReport

#: What is compared, with the words for it. Positions change all the time, so they are kept and not compared.
COMPARED = {
    "role": "role",
    "term": "term",
    "primary": "primary of the term",
    "leader": "holder of the leader key",
    "writable": "database takes writes",
    "replicates_from": "replicates from",
    "sync": "sync set",
    "vips": "virtual IPs",
    "automation": "automation",
    "lock": "run that holds the lock",
}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was: ``what`` is a key of :data:`COMPARED`, or ``answers``."""

    host: str
    what: str
    before: Any
    now: Any

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"host": self.host, "what": self.what, "before": self.before, "now": self.now}

    def sentence(self) -> str:
        """Return it for people: ``www1: role was primary, is fenced``."""
        words = COMPARED.get(self.what, self.what)
        return f"{self.host}: {words} was {_said(self.before)}, is {_said(self.now)}"


def facts(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of an agent's status; what it does not tell is None."""
    database, leader, sync = (_part(status, key) for key in ("database", "leader", "sync"))
    lock, automation = _part(status, "lock"), _part(status, "automation")
    held = [name for name, vip in _part(status, "vips").items() if isinstance(vip, dict) and vip.get("held") is True]
    members = ", ".join(map(str, sync.get("members") or ())) or "none"
    return {
        "role": status.get("role"),
        "term": status.get("term"),
        "primary": status.get("primary"),
        "leader": leader.get("holder"),
        "writable": (database.get("running") is True and database.get("read_only") is False) if database else None,
        "replicates_from": database.get("replicates_from"),
        "sync": f"{sync.get('mode')}, {members}" if sync else None,
        "vips": sorted(held),
        "automation": automation.get("state"),
        "lock": lock.get("run_id"),
        "position": database.get("gtid_binlog_pos"),
    }


def facts_of(reports: Iterable[HostReport]) -> dict[str, dict[str, Any]]:
    """Return the facts of every host whose agent answered."""
    return {report.host: facts(report.status) for report in reports if report.status is not None}


def diff(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Return what is not as it was, in the order of hosts and of :data:`COMPARED`.

    What was not known before is no difference; a host that no longer answers is one.

    :param before: facts by host, as the journal has them.
    :param now: facts by host, as they are.
    """
    found: list[Difference] = []
    for host, old in sorted(before.items()):
        new = now.get(host)
        if new is None:
            found.append(Difference(host, "answers", True, False))
            continue
        found += [
            Difference(host, key, old[key], new.get(key)) for key in COMPARED if key in old and old[key] != new.get(key)
        ]
    return found


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


def _part(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = status.get(key)
    return part if isinstance(part, dict) else {}
