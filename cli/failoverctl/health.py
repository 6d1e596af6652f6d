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


@dataclass(frozen=True)
class Trouble:
    """One thing that is not as it should be."""

    code: str
    host: str
    message: str


@dataclass(frozen=True)
class Health:
    """The estate as a whole. ``verdict`` is healthy, degraded or unreachable."""

    verdict: str
    primary: str
    term: int | None
    troubles: tuple[Trouble, ...]
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
    survived.
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
        *_own(statuses),
    ]
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
        "problems": [
            {"code": item.code, "host": item.host or None, "message": item.message} for item in health.troubles
        ],
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


def _silent(reports: Iterable[HostReport]) -> Iterable[Trouble]:
    for report in reports:
        if report.status is None:
            code = "agent_absent" if report.reached else "host_unreachable"
            what = "no agent answers" if report.reached else "cannot be reached"
            yield Trouble(code, report.host, f"{report.host}: {what}: {report.error}")


def _primary(primaries: Sequence[str], statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    if statuses and not primaries:
        yield Trouble("no_primary", "", "no host is primary; nothing can be written")
    if len(primaries) > 1:
        claims = ", ".join(f"{host} (term {_term(statuses[host])})" for host in primaries)
        yield Trouble("two_primaries", "", f"more than one host says it is primary: {claims}")
    for host in primaries[:1]:
        if _part(statuses[host], "database").get("read_only") is not False:
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
    if primary and sync.get("mode") == "degraded":
        yield Trouble("sync_degraded", primary, "no replica confirms writes; losing the primary loses data")
    for host, status in statuses.items():
        if host == primary or status.get("role") == "primary":
            continue
        database = _part(status, "database")
        if status.get("role") != "replica":
            yield Trouble("not_replica", host, f"{host} is {status.get('role')}, not a replica")
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


def _own(statuses: Mapping[str, Mapping[str, Any]]) -> Iterable[Trouble]:
    for host, status in statuses.items():
        for problem in status.get("problems") or ():
            if isinstance(problem, dict):
                message = str(problem.get("message", ""))
                named = message if host in message else f"{host}: {message}"
                yield Trouble(str(problem.get("code", "unspecified")), host, named)


def _term(status: Mapping[str, Any]) -> int | None:
    term = status.get("term")
    return term if isinstance(term, int) else None


def _part(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = status.get(key)
    return part if isinstance(part, dict) else {}
