"""What is known of the estate while a drill goes on, and the conditions a scenario may ask for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from failoverctl.estate import Estate
from failoverctl.health import Health, Trouble
from failoverctl.probe.model import Sample

#: What a host may be called in a scenario, apart from its own name.
SELECTORS: Mapping[str, str] = {
    "primary": "the host that is primary now",
    "old_primary": "the host that was primary when the drill began",
    "replica": "the first data host, in the order of the inventory, that is not primary now",
    "witness": "the first host that votes and holds no data",
    "all_data": "every data host",
    "all": "every host",
}

#: A sample older than this says nothing about now.
FRESH_SECONDS = 1.5


@dataclass(frozen=True)
class World:
    """One look at everything: what agents say, what hosts were sampled as, what clients see.

    ``health`` is the last complete look at the agents, ``samples`` the latest sample of each host.
    ``steady_seconds`` is for how long every operation of every client has been good,
    ``paused_seconds`` for how long not one has been steady. ``now`` is on the samples' clock.
    """

    estate: Estate
    began_primary: str = ""
    began_term: int | None = None
    health: Health | None = None
    samples: Mapping[str, Sample] = field(default_factory=dict)
    now: float = 0.0
    steady_seconds: float = 0.0
    paused_seconds: float = 0.0
    elapsed_seconds: float = 0.0

    @property
    def data_hosts(self) -> tuple[str, ...]:
        """The names of the data hosts, in the order of the inventory."""
        return tuple(host.name for host in self.estate.in_role("database"))

    @property
    def fresh(self) -> tuple[Sample, ...]:
        """The latest sample of each host, without those that are too old."""
        return tuple(sample for sample in self.samples.values() if self.now - sample.done <= FRESH_SECONDS)

    @property
    def primaries(self) -> tuple[str, ...]:
        """The hosts that say they are primary and writable, by fresh samples, else by their agents."""
        fresh = self.fresh
        if fresh:
            return tuple(sorted(sample.host for sample in fresh if sample.role == "primary" and sample.writable))
        return (self.health.primary,) if self.health is not None and self.health.primary else ()

    @property
    def term(self) -> int | None:
        """The highest term that anybody names."""
        terms = [sample.term for sample in self.samples.values() if sample.term is not None]
        terms += [self.health.term] if self.health is not None and self.health.term is not None else []
        return max(terms, default=None)


def resolve(selector: str, world: World) -> tuple[str, ...]:
    """Return the hosts a selector means now; none when there is no such host at the moment."""
    hosts = world.data_hosts
    primary = next(iter(world.primaries), "")
    match selector:
        case "primary":
            return (primary,) if primary else ()
        case "old_primary":
            return (world.began_primary,) if world.began_primary else ()
        case "replica":
            other = primary or world.began_primary
            return tuple(host for host in hosts if host != other)[:1]
        case "witness":
            return tuple(host.name for host in world.estate.in_role("witness"))[:1]
        case "all_data":
            return hosts
        case "all":
            return tuple(host.name for host in world.estate.hosts)
    return (selector,) if world.estate.host(selector) is not None else ()


@dataclass(frozen=True)
class Condition:
    """A condition of a scenario: its word, and what it was given."""

    word: str
    value: Any = None

    @property
    def text(self) -> str:
        """The condition as a person reads it."""
        if self.value is None:
            return self.word
        if isinstance(self.value, Mapping):
            return f"{self.word} " + ", ".join(f"{key} {value}" for key, value in self.value.items())
        return f"{self.word} {self.value:g}" if isinstance(self.value, float) else f"{self.word} {self.value}"


@dataclass(frozen=True)
class Answer:
    """Whether a condition holds, and what was observed when it does not."""

    holds: bool
    observed: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of condition: what it means, what it is given, and how it is judged.

    ``takes`` is empty for a bare word, ``number``, ``text``, or ``role`` (a host and its role).
    """

    meaning: str
    judge: Callable[[World, Any], Answer]
    takes: str = ""


def judge(condition: Condition, world: World) -> Answer:
    """Return whether a condition holds."""
    return CONDITIONS[condition.word].judge(world, condition.value)


def unmet(conditions: Iterable[Condition], world: World) -> list[str]:
    """Return what was observed of each condition that does not hold; none when all hold."""
    answers = ((condition, judge(condition, world)) for condition in conditions)
    return [f"{condition.text}: {answer.observed}" for condition, answer in answers if not answer.holds]


_NOT_LOOKED = Answer(False, "no agent has answered yet")


def _troubles(world: World) -> tuple[Trouble, ...] | None:
    """What is wrong, without the lock that the drill itself holds; None when nobody was asked."""
    return None if world.health is None else world.health.troubles


def _healthy(world: World, _value: Any) -> Answer:
    troubles = _troubles(world)
    if troubles is None:
        return _NOT_LOOKED
    return Answer(not troubles, "; ".join(trouble.message for trouble in troubles))


def _one_primary(world: World, _value: Any) -> Answer:
    found = world.primaries
    return Answer(len(found) == 1, f"primary is {' and '.join(found) or 'nobody'}")


def _no_primary(world: World, _value: Any) -> Answer:
    return Answer(not world.primaries, f"primary is {' and '.join(world.primaries)}")


def _new_primary(world: World, _value: Any) -> Answer:
    found = [host for host in world.primaries if host != world.began_primary]
    return Answer(len(found) == 1, f"primary is {' and '.join(world.primaries) or 'nobody'}")


def _old_primary_back(world: World, _value: Any) -> Answer:
    """The host that was primary in the beginning is primary again, or a replica that replicates."""
    host = world.began_primary
    if host in world.primaries:
        return Answer(True)
    report = world.health.report(host) if world.health is not None else None
    if report is None or report.status is None:
        return Answer(False, f"{host} does not answer")
    database = report.status.get("database")
    database = database if isinstance(database, Mapping) else {}
    runs = database.get("io_running") is True and database.get("sql_running") is True
    whole = runs or not world.estate.with_database
    role = str(report.status.get("role"))
    return Answer(role == "replica" and whole, f"{host} is {role}" + ("" if whole else " and does not replicate"))


def _without(world: World, *codes: str) -> Answer:
    troubles = _troubles(world)
    if troubles is None:
        return _NOT_LOOKED
    found = [trouble.message for trouble in troubles if trouble.code in codes]
    return Answer(not found, "; ".join(found))


def _replicas_whole(world: World, _value: Any) -> Answer:
    return _without(world, "not_replica", "replication_stopped", "not_in_sync_set", "agent_absent", "host_unreachable")


def _quorum(world: World, _value: Any) -> Answer:
    return _without(world, "etcd_unreachable", "etcd_member")


def _no_quorum(world: World, _value: Any) -> Answer:
    troubles = _troubles(world)
    if troubles is None:
        return _NOT_LOOKED
    lost = any(trouble.code == "etcd_unreachable" for trouble in troubles)
    return Answer(lost, "etcd answers")


def _vip_on_primary(world: World, _value: Any) -> Answer:
    primaries = world.primaries
    if len(primaries) != 1:
        return Answer(False, f"primary is {' and '.join(primaries) or 'nobody'}")
    for vip in world.estate.vips:
        if vip.follows != "primary":
            continue
        holders = _holders(world, vip.name)
        if holders != [primaries[0]]:
            return Answer(False, f"{vip.name} is held by {' and '.join(holders) or 'nobody'}")
    return Answer(True)


def _holders(world: World, vip: str) -> list[str]:
    """Who holds an address: by fresh samples, else by the agents."""
    if world.fresh:
        return [sample.host for sample in world.fresh if vip in sample.vips]
    found = []
    for report in world.health.reports if world.health is not None else ():
        vips = report.status.get("vips") if report.status is not None else None
        held = vips.get(vip) if isinstance(vips, Mapping) else None
        if isinstance(held, Mapping) and held.get("held") is True:
            found.append(report.host)
    return found


def _sync(mode: str) -> Callable[[World, Any], Answer]:
    def judge(world: World, _value: Any) -> Answer:
        health = world.health
        if health is None:
            return _NOT_LOOKED
        modes = [
            str(report.status["sync"].get("mode"))
            for report in health.reports
            if report.status is not None and isinstance(report.status.get("sync"), Mapping)
        ]
        return Answer(
            bool(modes) and set(modes) == {mode}, f"sync mode is {', '.join(sorted(set(modes))) or 'unknown'}"
        )

    return judge


def _clients_served(world: World, value: Any) -> Answer:
    wanted = float(value) if value is not None else 1.0
    return Answer(world.steady_seconds >= wanted, f"clients have been served well for {world.steady_seconds:.1f} s")


def _clients_paused(world: World, value: Any) -> Answer:
    wanted = float(value) if value is not None else 0.5
    return Answer(world.paused_seconds >= wanted, f"clients have not been served for {world.paused_seconds:.1f} s")


def _elapsed(world: World, value: Any) -> Answer:
    return Answer(world.elapsed_seconds >= float(value), f"{world.elapsed_seconds:.0f} s have passed")


def _problem(world: World, value: Any) -> Answer:
    troubles = _troubles(world)
    if troubles is None:
        return _NOT_LOOKED
    codes = sorted({trouble.code for trouble in troubles})
    return Answer(value in codes, f"problems are {', '.join(codes) or 'none'}")


def _role(world: World, value: Any) -> Answer:
    wanted = str(value["is"])
    for host in resolve(str(value["host"]), world) or (str(value["host"]),):
        report = world.health.report(host) if world.health is not None else None
        role = str(report.status.get("role")) if report is not None and report.status is not None else "silent"
        if role != wanted:
            return Answer(False, f"{host} is {role}")
    return Answer(True)


#: Every condition a scenario may name.
CONDITIONS: Mapping[str, Kind] = {
    "healthy": Kind("`failoverctl status` finds nothing wrong", _healthy),
    "one_primary": Kind("exactly one host is primary and writable", _one_primary),
    "no_primary": Kind("no host is primary and writable", _no_primary),
    "new_primary": Kind("another host than in the beginning is primary and writable", _new_primary),
    "old_primary_back": Kind("the first primary is primary again, or a replica that replicates", _old_primary_back),
    "replicas_whole": Kind("every other data host is a replica, replicates and is in the sync set", _replicas_whole),
    "sync_strict": Kind("writes wait for a replica", _sync("strict")),
    "sync_degraded": Kind("writes wait for no replica", _sync("degraded")),
    "quorum": Kind("every etcd member answers", _quorum),
    "no_quorum": Kind("a host cannot read etcd", _no_quorum),
    "vip_on_primary": Kind("the addresses that follow the primary are held by it, and by nobody else", _vip_on_primary),
    "clients_served": Kind("clients have been served well for so many seconds (1)", _clients_served, "seconds?"),
    "clients_paused": Kind("clients have not been served for so many seconds (0.5)", _clients_paused, "seconds?"),
    "writes_paused_seconds": Kind(
        "clients have not been served for more than so many seconds", _clients_paused, "seconds"
    ),
    "elapsed_seconds": Kind("so many seconds have passed since the method began", _elapsed, "seconds"),
    "problem": Kind("`failoverctl status` names a problem of this code", _problem, "text"),
    "role": Kind("a host has a role: `{host: old_primary, is: replica}`", _role, "role"),
}
