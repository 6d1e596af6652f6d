"""How an estate is, judged from what its agents say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from failoverctl.errors import ExitCode
from failoverctl.estate import Estate

SCHEMA = 1


@dataclass(frozen=True)
class HostReport:
    """What one data host answered.

    ``status`` is the agent's status object, or None; then ``error`` says why. ``reached`` says
    whether the host itself could be asked: a host without an agent is reached.
    """

    host: str
    status: Mapping[str, Any] | None = None
    error: str = ""
    reached: bool = True


def unreached(reports: Iterable[HostReport]) -> list[str]:
    """Return the hosts that could not be asked."""
    return [report.host for report in reports if not report.reached]


@dataclass(frozen=True)
class Trouble:
    """One thing that is not as it should be."""

    code: str
    host: str
    message: str


@dataclass(frozen=True)
class Automation:
    """Whether the estate acts by itself: ``active``, ``paused`` by a person, or ``held`` back after many failovers.

    ``pause`` is what the agents tell of the pause; without an agent the state is ``unknown``.
    """

    state: str
    why: str = ""
    pause: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"state": self.state, "why": self.why or None, "pause": self.pause}


@dataclass(frozen=True)
class Health:
    """The estate as a whole. ``verdict`` is healthy, degraded or unreachable.

    ``remarks`` are worth knowing and make nothing worse.
    """

    verdict: str
    primary: str
    term: int | None
    troubles: tuple[Trouble, ...]
    remarks: tuple[Trouble, ...]
    automation: Automation
    lock: Mapping[str, Any] | None
    reports: tuple[HostReport, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The exit status of `failoverctl status`."""
        return {
            "healthy": ExitCode.OK,
            "degraded": ExitCode.DEGRADED,
            "unreachable": ExitCode.UNREACHABLE,
        }[self.verdict]

    def report(self, host: str) -> HostReport | None:
        """Return what that host answered, None if it was not asked."""
        return next((report for report in self.reports if report.host == host), None)


def judge(estate: Estate, reports: Sequence[HostReport]) -> Health:
    """Return the health of an estate.

    It is unreachable when no data host answered at all, and degraded when anything is not as the
    inventory and the agents promise it: then it may still serve, but the next fault may not be
    survived. That is so while automation is paused or held back, too.
    """
    statuses = {report.host: report.status for report in reports if report.status is not None}
    primaries = [host for host, status in statuses.items() if status.get("role") == "primary"]
    primaries.sort(key=lambda host: -(_term(statuses[host]) or 0))
    primary = primaries[0] if primaries else ""
    troubles = [
        *_silent(reports),
        *_primary(primaries, statuses),
        *_vips(estate, primary, statuses),
        *_replicas(primary, statuses),
        *_quorum(statuses),
        *_strangers(estate, statuses),
        *_versions(statuses),
    ]
    automation = _automation(statuses)
    troubles += [*_not_active(automation), *_own(statuses)]
    terms = [term for term in map(_term, statuses.values()) if term is not None]
    lock = next((status["lock"] for status in statuses.values() if status.get("lock")), None)
    verdict = "degraded" if troubles else "healthy"
    if not any(report.reached for report in reports):
        verdict = "unreachable"
    return Health(
        verdict=verdict,
        primary=primary,
        term=max(terms, default=None),
        troubles=tuple(dict.fromkeys(troubles)),
        remarks=tuple(_divergent(statuses)),
        automation=automation,
        lock=lock,
        reports=tuple(reports),
    )


def suggestions(estate: Estate, health: Health) -> list[str]:
    """Return the commands worth typing next, the best first, without the name `failoverctl`."""
    codes = {trouble.code for trouble in health.troubles}
    if health.verdict == "unreachable":
        return ["doctor"]
    if "agent_absent" in codes:
        return ["setup"]
    if health.lock:
        return ["lock status"]
    if "no_primary" in codes:
        return ["failover --check"]
    if "paused" in codes or (codes and codes <= {"anti_flap", "hold"}):
        return ["resume-automation"]
    if codes:
        return ["check"]
    others = [host.name for host in estate.in_role("database") if host.name != health.primary]
    return [f"switchover --to {others[0]}"] if others else ["check"]


def as_dict(estate: Estate, health: Health, at: str, following: Sequence[str]) -> dict[str, Any]:
    """Return the document that `failoverctl status --json` prints."""
    return {
        "schema": SCHEMA,
        "estate": estate.name,
        "at": at,
        "verdict": health.verdict,
        "exit_code": int(health.exit_code),
        "primary": health.primary or None,
        "term": health.term,
        "problems": [_trouble(item) for item in health.troubles],
        "remarks": [_trouble(item) for item in health.remarks],
        "automation": health.automation.as_dict(),
        "lock": health.lock,
        "hosts": [
            {
                "host": host.name,
                "site": host.site or None,
                "groups": [role for role, names in estate.groups.items() if host.name in names],
                "asked": health.report(host.name) is not None,
                "reached": report.reached if (report := health.report(host.name)) else None,
                "error": (report.error or None) if report else None,
                "status": report.status if report else None,
            }
            for host in estate.hosts
        ],
        "next": list(following),
    }


#: What to do about a trouble, by its code: a command to type, or a sentence.
REMEDIES: dict[str, str] = {
    "agent_absent": "failoverctl setup",
    "host_unreachable": "bring the host back; it rejoins by itself.",
    "no_primary": "failoverctl failover --check says whether a replica can take over.",
    "two_primaries": "look at both hosts at once: the one with the larger term is right; stop the agent of the other.",
    "sync_degraded": "bring a replica back; it joins the sync set by itself.",
    "restart_needed": "make it a replica if it is none; then `systemctl stop mariadb` there: its agent starts it.",
    "not_replica": "failoverctl rejoin HOST, if its agent does not bring it back by itself.",
    "replication_stopped": "failoverctl rejoin HOST, if it lasts.",
    "etcd_unreachable": "bring a majority of etcd members back.",
    "etcd_member": "bring the member back; one that a failover left behind joins by failoverctl setup.",
    "other_estate": "the host or the inventory is another estate's: compare failover_estate with /etc/failover-agent.",
    "foreign_primary": "find out who made it a replica of a stranger; then failoverctl rejoin HOST.",
    "foreign_term": "etcd holds the data of another estate, or the inventory lost a host: put that right first.",
    "agent_versions": "failoverctl setup brings all agents to one version.",
    "agent_format": "use the failoverctl that belongs to these agents, or run failoverctl setup.",
    "paused": "failoverctl resume-automation, when the work is done.",
    "anti_flap": "find out why primaries fail, then failoverctl resume-automation.",
    "divergent_saved": "look at the rows that were saved; bring back by hand what is wanted, then move the files away.",
    "settings": "failoverctl setup writes the settings of the estate again.",
}


def remedy(trouble: Trouble) -> str:
    """Return what to do about a trouble; empty when nothing more than its message is known."""
    return REMEDIES.get(trouble.code, "").replace("HOST", trouble.host or "HOST")


def _trouble(item: Trouble) -> dict[str, Any]:
    return {"code": item.code, "host": item.host or None, "message": item.message, "fix": remedy(item) or None}


def _silent(reports: Iterable[HostReport]) -> Iterable[Trouble]:
    for report in reports:
        if report.status is None:
            code = "agent_absent" if report.reached else "host_unreachable"
            what = "no agent answers" if report.reached else "cannot be reached"
            yield Trouble(code, report.host, f"{report.host}: {what}: {report.error}")


def _with_database(status: Mapping[str, Any]) -> bool:
    return status.get("engine") != "none"


def _primary(primaries: Sequence[str], statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    if statuses and not primaries:
        written = any(_with_database(status) for status in statuses.values())
        what = "nothing can be written" if written else "what follows the primary is nowhere"
        yield Trouble("no_primary", "", f"no host is primary; {what}")
    if len(primaries) > 1:
        claims = ", ".join(f"{host} (term {_term(statuses[host])})" for host in primaries)
        yield Trouble("two_primaries", "", f"more than one host says it is primary: {claims}")
    for host in primaries[:1]:
        if _with_database(statuses[host]) and _part(statuses[host], "database").get("read_only") is not False:
            yield Trouble("read_only", host, f"{host} is primary, but its database is read-only")


def _vips(estate: Estate, primary: str, statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    for vip in estate.vips:
        holders = [
            host for host, status in statuses.items() if _part(_part(status, "vips"), vip.name).get("held") is True
        ]
        if len(holders) > 1:
            yield Trouble("vip_twice", "", f"VIP {vip.name} ({vip.address}) is held by {', '.join(holders)}")
        elif vip.follows == "primary" and primary and holders != [primary]:
            where = holders[0] if holders else "nobody"
            yield Trouble(
                "vip_astray",
                primary,
                f"VIP {vip.name} ({vip.address}) is held by {where}, not by {primary}",
            )


def _replicas(primary: str, statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    sync = _part(statuses.get(primary, {}), "sync")
    if primary and sync.get("mode") == "degraded" and _with_database(statuses[primary]):
        yield Trouble("sync_degraded", primary, "no replica confirms writes; losing the primary loses data")
    for host, status in statuses.items():
        if host == primary or status.get("role") == "primary":
            continue
        database = _part(status, "database")
        if status.get("role") != "replica":
            yield Trouble("not_replica", host, f"{host} is {status.get('role')}, not a replica")
        elif not _with_database(status):
            continue
        elif database.get("io_running") is not True or database.get("sql_running") is not True:
            error = str(database.get("error") or "no reason given")
            yield Trouble("replication_stopped", host, f"{host} does not replicate: {error}")
        elif sync and host not in (sync.get("members") or ()):
            yield Trouble("not_in_sync_set", host, f"{host} is not in the sync set")


def _quorum(statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    for host, status in statuses.items():
        etcd = _part(status, "etcd")
        if etcd.get("reachable") is not True:
            yield Trouble("etcd_unreachable", host, f"{host} cannot read etcd")
            continue
        healthy, endpoints = etcd.get("healthy"), etcd.get("endpoints")
        if isinstance(healthy, int) and isinstance(endpoints, int) and healthy < endpoints:
            names = ", ".join(map(str, etcd.get("unhealthy") or ())) or "unknown"
            message = f"{healthy} of {endpoints} etcd members are healthy; not: {names}"
            yield Trouble("etcd_member", "", message)


def _strangers(estate: Estate, statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    """What belongs to another estate: an agent, a primary that is replicated from, a term in etcd."""
    known = {host.name for host in estate.in_role("database")}
    for host, status in statuses.items():
        told = status.get("estate")
        if isinstance(told, str) and estate.name and told != estate.name:
            message = f"the agent of {host} is of estate {told}, not of {estate.name}"
            yield Trouble("other_estate", host, message)
        source = _part(status, "database").get("replicates_from")
        if isinstance(source, str) and source and source not in known:
            yield Trouble("foreign_primary", host, f"{host} replicates from {source}, which is no host of this estate")
    named = {str(status["primary"]) for status in statuses.values() if status.get("primary")}
    for host in sorted(named - known):
        yield Trouble("foreign_term", "", f"the term in etcd names {host}, which is no database host of the inventory")


def _versions(statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    """Agents that are not of one version, also those that only others know of, and formats that are not known here."""
    found: dict[str, str] = {}
    for host, status in statuses.items():
        for name, member in _part(status, "members").items():
            if isinstance(member, dict) and member.get("version"):
                found.setdefault(name, str(member["version"]))
        if status.get("version"):
            found[host] = str(status["version"])
        if status.get("schema") not in (None, SCHEMA):
            message = f"the agent of {host} tells its state in format {status['schema']}; known here is {SCHEMA}"
            yield Trouble("agent_format", host, message)
    if len(set(found.values())) > 1:
        told = ", ".join(f"{host} {version}" for host, version in sorted(found.items()))
        yield Trouble("agent_versions", "", f"the agents are of different versions: {told}")


def _automation(statuses: Mapping[str, Mapping[str, Any]]) -> Automation:
    if not statuses:
        return Automation("unknown")
    pause = next((status["pause"] for status in statuses.values() if isinstance(status.get("pause"), dict)), None)
    if pause is not None:
        return Automation("paused", str(pause.get("reason") or ""), pause)
    for status in statuses.values():
        told = _part(status, "automation")
        if told.get("state") in ("held", "paused"):
            return Automation(str(told["state"]), str(told.get("why") or ""))
    return Automation("active")


def _not_active(automation: Automation) -> Iterable[Trouble]:
    if automation.state == "paused":
        pause = automation.pause or {}
        until = str(pause.get("until") or "?")[:19] + ("Z" if pause.get("until") else "")
        why = f": {automation.why}" if automation.why else ""
        yield Trouble("paused", "", f"automation is paused by {pause.get('by') or 'somebody'} until {until}{why}")
    elif automation.state == "held":
        yield Trouble("anti_flap", "", f"automation is held back: {automation.why or 'too many failovers'}")


def _divergent(statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    """Rows that were on one host only and are saved there in files, for a person to look at."""
    for host, status in statuses.items():
        for saved in status.get("divergent") or ():
            if isinstance(saved, dict):
                count, where = saved.get("transactions", "?"), saved.get("sql") or saved.get("raw") or "?"
                message = f"{host} has saved {count} transactions that only it had, in {where}"
                yield Trouble("divergent_saved", host, message)


def _own(statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    for host, status in statuses.items():
        for problem in status.get("problems") or ():
            if isinstance(problem, dict):
                message = str(problem.get("message", ""))
                if problem.get("code") in ("paused", "anti_flap"):
                    continue  # Told once for the estate.
                named = message if host in message else f"{host}: {message}"
                yield Trouble(str(problem.get("code", "unspecified")), host, named)


def _term(status: Mapping[str, Any]) -> int | None:
    term = status.get("term")
    return term if isinstance(term, int) else None


def _part(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = status.get(key)
    return part if isinstance(part, dict) else {}
