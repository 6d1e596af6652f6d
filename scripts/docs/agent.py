"""docs/reference/agent.md, from the code of failover-agent. Nothing of it is run but what makes its answers."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from failover_agent import __version__, config, daemon, gates, model, policy
from failover_agent.agent import Agent

from scripts.docs.markdown import REFERENCE, TOP, DocsError, block, code, described, docstring, page, table
from scripts.docs.source import branches, calls, field_rows, request_keys

CODE = TOP / "roles" / "agent" / "files" / "failover_agent"
AT = "2026-11-23T03:15:00.000Z"

#: Fields of the status object.
STATUS = {
    "schema": "version of this format",
    "estate": "name of the estate",
    "host": "name of this host in the inventory",
    "version": "of the agent",
    "role": "`primary`, `replica`, `fenced` (may not take writes), `starting`, `stopped`, `unseeded` (has no data yet)",
    "term": "the current term; null without quorum, and before the first",
    "primary": "the host that the term names",
    "leader": "who holds the leader key; null when nobody does",
    "leader.holder": "name of the host",
    "leader.term": "the term it leads in",
    "sync": "the sync set; null before the first term",
    "sync.term": "the term it was written in",
    "sync.primary": "the host that waits for its members",
    "sync.members": "hosts that have every acknowledged write while the mode is `strict`",
    "sync.mode": "`strict`: the primary waits for a member; `degraded`: it waits for nobody",
    "engine": "what is led: `mariadb` or `none`",
    "priority": "how much this host is wanted as primary; 0 is never",
    "pause": "why nothing is decided without a person at the moment; null when things are",
    "pause.by": "who paused",
    "pause.reason": "and why",
    "pause.at": "since when",
    "pause.until": "when it ends by itself",
    "automation": "whether a failover would take place by itself",
    "automation.state": "`active`, `paused`, or `held`: too many failovers in a short time, so somebody has to look",
    "automation.why": "what holds it; empty when active",
    "automation.failovers_last_hour": "automatic failovers that count against the next",
    "failsafe": "whether this primary goes on without etcd, as all data hosts promised to wait",
    "failsafe.active": "whether it does",
    "failsafe.until_seconds": "for how long they promised",
    "election": "an election that runs; null when none does",
    "history": "the last five terms, newest last",
    "history[].term": "its number",
    "history[].primary": "the host it names",
    "history[].gtid": "position from which this host wrote; empty for the first primary",
    "history[].at": "when it began",
    "history[].reason": "`bootstrap`, `switchover`, `failover`, `return` (the same host again), `forced` (by command)",
    "divergent": "transactions that only this host had, and that were saved before they were undone",
    "divergent[].transactions": "how many",
    "divergent[].at": "when they were saved",
    "divergent[].sql": "file to read",
    "watchdog": "`armed` when the kernel resets this host should its guard fail, else `off`",
    "lease": "the lease of this host in etcd",
    "lease.held": "whether it is valid",
    "lease.remaining_seconds": "for how long it is, by the own clock",
    "etcd": "what this host sees of etcd",
    "etcd.reachable": "whether the keys of the estate could be read",
    "etcd.endpoints": "members that were asked",
    "etcd.healthy": "members that said they are healthy",
    "etcd.unhealthy": "the others, by name",
    "database": "the local MariaDB; without it running the rest is unknown",
    "database.engine": "as above",
    "database.running": "whether it answers",
    "database.version": "its version",
    "database.read_only": "whether it refuses writes",
    "database.gtid_binlog_pos": "last transactions in its binary log",
    "database.gtid_slave_pos": "last transactions it applied as a replica",
    "database.io_running": "whether it receives; null on a primary",
    "database.sql_running": "whether it applies; null on a primary",
    "database.replicates_from": "name of the host it follows; null on a primary",
    "database.lag_seconds": "how far it is behind; null when unknown, and on a primary",
    "database.semi_sync_clients": "replicas that acknowledge to it",
    "database.relay_pending": "whether received transactions wait to be applied while nothing applies them",
    "database.error": "what is wrong with it or with its replication, else empty",
    "vips": "the virtual IPs, by name",
    "vips.site": "one virtual IP",
    "vips.site.address": "its address",
    "vips.site.follows": "`primary` or `web`",
    "vips.site.held": "whether this host has the address",
    "members": "what data hosts say of themselves, by name; who is not here is gone",
    "members.www1": "one host",
    "members.www1.role": "its role",
    "members.www1.version": "of its agent",
    "lock": "the lock of the estate; null when nobody holds it",
    "lock.owner": "who",
    "lock.run_id": "for which run",
    "lock.runbook": "for which runbook",
    "lock.acquired_at": "since when",
    "problems": "what keeps the agent from what it wants",
    "problems[].code": "why it waits: `hold`, `paused`, `anti_flap`, `possible_loss`, `blocked`, `degraded`, "
    "`replication`, `diverged`, `old_etcd`; or the name of the action that failed",
    "problems[].message": "what it waits for, or what went wrong",
    "at": "when this was said",
}

#: Fields of GET /role.
ROLE = {
    "schema": "version of this format",
    "host": "name of this host",
    "role": "as in the status",
    "term": "the last term this host knows of",
    "writable": "whether the database takes writes",
    "vips": "by name of the virtual IP, whether this host has it",
    "vips.site": "one virtual IP",
    "at": "when this was said",
}

#: Paths of the health port.
HEALTH = {
    "/primary": "200 on the writable primary, else 503",
    "/replica": "200 on a replica that replicates, with `?lag=N` at most N seconds behind; else 503",
    "/health": "200 on a primary and on a replica, else 503",
    "/role": "200 with the JSON object below",
    "/metrics": "200 with the metrics below",
}

METRICS = {
    "failover_role": "1 for the role of this host, in the label `role`",
    "failover_writable": "1 when the database takes writes",
    "failover_term": "the last term this host knows of",
    "failover_lease_remaining_seconds": "for how long the lease is valid",
    "failover_vip_held": "1 when this host has the virtual IP in the label `vip`",
}

#: Commands of the socket: what each does, or the method of the agent that says it; and the fields of its answer.
COMMANDS = {
    "status": ("Tell everything about this host and what it knows of the estate.", "`estate`: the status object"),
    "failover": (
        "Make another host primary when the primary is gone, as far as nothing can be lost; with `accept_data_loss` "
        "also when something can, with `check` ask only.",
        "`failover`: `result` (promoted, possible, refused, failed), `from`, `to`, `term_before`, `term_after`, "
        "`position`, `possible_loss`, `steps`, `refusals`, `error`",
    ),
    "pause": (Agent.pause, "`changed`, `pause`"),
    "resume": (Agent.resume, "`changed`, `acknowledged`"),
    "switchover": (
        "Hand the primary role over; with `check` ask every gate only.",
        "`switchover`: what the module [switchover](modules.md#switchover) returns",
    ),
    "rejoin": (
        "Follow the primary again, also while automation is paused; with `check` only say how, and what only this host "
        "has. With `reclone` copy the primary's data anew in any case.",
        "`rejoin`: what the module [rejoin](modules.md#rejoin) returns",
    ),
    "bootstrap": (Agent.bootstrap, "`changed`, `primary`, `term`"),
    "adopt": (Agent.adopt, "`changed`"),
    "seed": (Agent.seed, "`changed`, and if so `from` and `position`"),
    "lock_acquire": (Agent.lock_acquire, "`acquired`, `lock`"),
    "lock_release": (Agent.lock_release, "`released`, `lock`"),
}

CONFIG = {
    "estate": "name of the estate",
    "host": "name of this host",
    "hosts": "addresses of all database hosts by name",
    "etcd_endpoints": "URLs of the members of etcd, the own one first",
    "pki": "`ca`, `certificate` and `key`: paths of this agent's files (PEM)",
    "replication_pki": "the same of MariaDB, for replication",
    "vips": "virtual IPs, each with `name`, `address` and `follows`",
    "health_address": "address of the health port",
    "health_port": "TCP port of the health answers (HTTP)",
    "peer_port": "TCP port for other agents (HTTPS)",
    "database_port": "TCP port of MariaDB for clients",
    "replication_port": "TCP port of MariaDB for replicas, and for the agent when clients hold all other connections",
    "database_user": "account of the agent on that port; elsewhere it is root, by the socket",
    "database_socket": "socket of MariaDB",
    "database_unit": "unit of MariaDB",
    "database_pid_file": "file with the process id of mariadbd",
    "database_directory": "data directory of MariaDB",
    "replication_user": "account that replicas use",
    "runtime_directory": "socket, gate and environment of MariaDB",
    "state_directory": "what outlives a restart",
    "engine": "what is led: `mariadb`, or `none` where only the addresses and units follow",
    "priorities": "how much each host is wanted as primary; 100 where nothing is said, 0 is never",
    "watchdog_device": "device of the watchdog that the guard keeps quiet, where there is one; empty for none",
    "policy": "the knobs below",
}

POLICY = {
    "lease_ttl": "how long a lease lasts that is not renewed",
    "renew_interval": "how often it is renewed",
    "tick_interval": "how often the agent looks and decides when nothing wakes it",
    "fence_margin": "how long before the end of the lease a writable database is fenced",
    "replica_loss": "after how long a replica that is gone leaves the sync set",
    "settle_first": "how long a replica that left the sync set twice has to be well before it is waited for again",
    "settle_most": "the longest such time: it doubles with each further leaving",
    "settle_memory": "for how long a leaving is remembered",
    "switchover_limit": "how long a step of a planned switchover may take",
    "transaction_limit": "age of an open transaction from which a planned switchover is refused",
    "lag_limit": "how long the new primary may need to catch up",
    "disk_free_fraction": "part of the data disk that must be free for a planned switchover (no seconds)",
    "disk_reserve_fraction": "a primary with less free disk than this part hands over by itself (no seconds)",
    "election_step": "how much longer the second-best candidate waits than the best",
    "election_limit": "how long the members of the sync set may be silent before an election is given up",
    "restart_limit": "how long the database of the primary may be silent before the primary steps down",
    "sit_out": "how long a primary that stepped down does not lead",
    "failovers_per_hour": "so many automatic failovers, then somebody has to look (no seconds)",
    "failover_interval": "time between two automatic failovers",
    "on_last_replica_loss": "`degrade`: writes go on when the last replica is gone; `block`: they wait (no seconds)",
    "failsafe": "whether a primary without etcd goes on while all data hosts promise to wait (no seconds)",
    "auto_rejoin": "whether a host whose history forked is repaired without a person (no seconds)",
}


def pages() -> Mapping[Path, str]:
    """Return the page.

    :raises DocsError: when the code knows something that is not described here, or the other way round.
    """
    agent = _example()
    return {
        REFERENCE / "agent.md": page(
            "Agent",
            "roles/agent/files/failover_agent",
            "`failover-agent` runs on every database host. It holds the host's lease in etcd, gives MariaDB its role, "
            "and opens the gate for what follows the primary. [How it decides](../concepts.md).",
            "## Commands",
            "`failover-agent ctl COMMAND [KEY=VALUE ...]` sends one command to the daemon and prints the answer; exit "
            "status 1 when the agent says no. Below it is a socket for root only, `/run/failover-agent/agent.sock`: "
            'one JSON object in, one out, each on a line. An answer has `"ok": true`, or `"ok": false` with `code` and '
            "`error`. Rather use the playbooks: they hold the lock of the estate.",
            table(("command", "fields", "does", "answer"), _commands()),
            "## Status",
            "`failover-agent ctl status`, and `failoverctl status --json` under `hosts[].status`:",
            described(_status(agent), STATUS, "agent.md, status"),
            block(json.dumps(_status(agent), indent=2), "json"),
            "## Health port",
            "Port 8010, plain HTTP, read-only; for load balancers, monitoring and the prober. GET, HEAD and OPTIONS.",
            table(("path", "answer"), _health()),
            "`/role` says:",
            described(_role(agent), ROLE, "agent.md, role"),
            "## Metrics",
            "`/metrics`, in the text format of Prometheus. Every metric has the labels `estate` and `host`.",
            table(("metric", "type", "meaning"), _metrics(agent)),
            "## Configuration",
            "`/etc/failover-agent/agent.json`, written by the role [agent](roles/agent.md) and read at the start. An "
            "unknown key is an error. `failover-agent run --check` reads it and ends.",
            table(("key", "type", "default", "meaning"), _fields(config.Config, CONFIG)),
            "`policy`, in seconds. The role writes those that differ by [profile](inventory.md#profiles), and those "
            "that it has a variable for.",
            table(("key", "type", "default", "meaning"), _fields(policy.Policy, POLICY)),
            "## Keys in etcd",
            "Below `/failover/<estate>/`, each a JSON object.",
            *_keys(),
            "## What it does",
            "Every second, and when something happens, the agent reads etcd and the database, and a pure function says "
            "what to do. `journalctl -u failover-agent` has each of these with its reason.",
            table(("action", "meaning"), _actions()),
            "## Refusals of a planned switchover",
            "What the answers say; [what to do](../howto/switchover.md#gates).",
            table(("code", "message", "limit", "fix"), _refusals("gates.py")),
            "## Refusals of a failover",
            "What the answers say; [what to do](../howto/failover.md#gates). `locked` as above.",
            table(("code", "message", "limit", "fix"), _refusals("failover.py")),
        )
    }


def _compare(what: str, found: set[str], words: set[str]) -> None:
    if found != words:
        unknown, superfluous = sorted(found - words), sorted(words - found)
        raise DocsError(f"agent.md, {what}: not described {unknown or 'none'}, not in the code {superfluous or 'none'}")


def _example() -> Any:
    """Return what :class:`Agent` needs of itself to answer, with a small estate in it."""
    stored = model.Stored(
        term=model.Term(term=3, primary="www1"),
        history=(model.Term(term=3, primary="www1", gtid="0-1-5", at=AT, reason="failover"),),
        pause=model.Pause("anna@controller", "disks are changed", AT, AT),
        leader=model.Leader(holder="www1", term=3),
        sync=model.Sync(term=3, primary="www1", members=("www2",), mode="strict"),
        lock=model.Lock("anna@controller", "20261123T031500Z-switchover-7f3a", "switchover", AT),
        members={"www1": model.Member("www1", "198.51.100.11", __version__, 1, "primary")},
    )
    replication = model.Replication("198.51.100.11", True, False, True, True, "0-1-9", 0)
    database = model.Database(
        running=True,
        version="11.8.6",
        gtid_binlog_pos="0-1-9",
        gtid_slave_pos="0-1-9",
        replication=replication,
        semi_sync_replica=True,
    )
    return SimpleNamespace(
        config=SimpleNamespace(
            estate="shop",
            host="www2",
            vips=(config.Vip("site", "198.51.100.10", "primary"),),
            engine="mariadb",
            priority=lambda _host: 100,
            policy=policy.Policy(),
            runtime_directory="/nonexistent",
        ),
        host=SimpleNamespace(now=lambda: 0.0, wall=lambda: 0.0, held=lambda: {"site": False}),
        lease=SimpleNamespace(valid_until=4.2, failsafe_until=0.0),
        rejoin=SimpleNamespace(saved=lambda: (SimpleNamespace(transactions=2, at=AT, sql="/var/lib/x.sql"),)),
        may_be_writable=False,
        _ask_etcd=lambda: (stored, {"www1": True, "www2": True, "witness": False}),
        _began_at=dict,
        _name_of=lambda _address: "www1",
        _problems=(("hold", "a planned switchover is at work on this host"),),
        _role="replica",
        _seen=database,
        _stored=stored,
    )


def _status(agent: Any) -> dict[str, Any]:
    return {**Agent.status(cast(Agent, agent)), "at": AT}


def _role(agent: Any) -> dict[str, Any]:
    return {**Agent.role(cast(Agent, agent)), "at": AT}


def _commands() -> Iterator[tuple[str, str, str, str]]:
    found = branches(CODE / "daemon.py", "command")
    _compare("commands", set(found), set(COMMANDS))
    for name, branch in found.items():
        needed, optional = request_keys(branch)
        told, answer = COMMANDS[name]
        does = told if isinstance(told, str) else docstring(inspect.getdoc(told))
        keys = [code(key) for key in needed] + [f"perhaps {code(key)}" for key in optional]
        yield code(name), ", ".join(dict.fromkeys(keys)), does, answer


def _health() -> Iterator[tuple[str, str]]:
    _compare("health port", set(branches(CODE / "daemon.py", "do_GET")), set(HEALTH))
    yield from ((code(path), meaning) for path, meaning in HEALTH.items())


def _metrics(agent: Any) -> Iterator[tuple[str, str, str]]:
    text = daemon.metrics(cast(Agent, agent), _role(agent))
    types = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    _compare("metrics", set(types), set(METRICS))
    yield from ((code(name), kind, METRICS[name]) for name, kind in types.items())


def _fields(kind: Any, words: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    _compare(kind.__name__, {item.name for item in dataclasses.fields(kind)}, set(words))
    for name, annotation, default in field_rows(kind):
        yield name, annotation, default, words[name.strip("`")]


def _keys() -> Iterator[str]:
    for kind in (model.Term, model.Leader, model.Sync, model.Lock, model.Pause, model.Acknowledged, model.Member):
        yield docstring(kind.__doc__)
        yield table(("field", "type", "default"), field_rows(kind))


def _actions() -> Iterator[tuple[str, str]]:
    for kind in model.Action.__subclasses__():
        yield code(kind.__name__), docstring(kind.__doc__)


def _refusals(file: str) -> Iterator[tuple[str, str, str, str]]:
    seen: dict[str, tuple[str, str, str, str]] = {}
    for told in calls(CODE / file, "Refusal", _refusal_fields()):
        for name in told.arguments["code"]:
            seen.setdefault(name, (code(name), told.one("message"), told.one("limit"), told.one("fix")))
    yield from seen.values()


def _refusal_fields() -> tuple[str, ...]:
    return tuple(inspect.signature(gates.Refusal).parameters)


def refusal_codes(file: str = "gates.py") -> set[str]:
    """Return the codes of all refusals of a planned switchover, or of those that another file of the agent has."""
    found = calls(CODE / file, "Refusal", _refusal_fields())
    return {name for told in found for name in told.arguments["code"]}
