# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a planned switchover is refused, and why. Pure: facts in, reasons out.

The list joins the pre-flight checks of Patroni, repmgr, MaxScale and replication-manager. Lag is judged by a GTID wait,
never by ``Seconds_Behind_Master``, which jitters under load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from failover_agent import gtid
from failover_agent.model import Database, Lock, Stored
from failover_agent.policy import DEFAULT_PRIORITY, Engine, Policy


@dataclass(frozen=True)
class Refusal:
    """One reason: what was observed, what the limit is, and what to do about it."""

    code: str
    message: str
    observed: str = ""
    limit: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Activity:
    """What runs on the primary: the oldest open transaction (seconds, 0.0 if none), schema changes and backups."""

    oldest_transaction_seconds: float = 0.0
    schema_changes: tuple[str, ...] = ()
    backups: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostFacts:
    """One side of a switchover. ``caught_up`` is the answer to a GTID wait of ``Policy.lag_limit`` seconds."""

    host: str
    reachable: bool = True
    error: str = ""
    database: Database = field(default_factory=lambda: Database(running=False))
    settings: tuple[tuple[str, str], ...] = ()
    disk_free_fraction: float = 1.0
    keepalived_running: bool = True
    caught_up: bool = True
    busy: str = ""


#: Settings without which a replica cannot become primary, and the value each must have.
REQUIRED_SETTINGS = {"log_bin": "1", "log_slave_updates": "1", "gtid_strict_mode": "1"}


@dataclass(frozen=True)
class Request:
    """A switchover as it was asked for. ``to`` is empty when the agent may choose, and finds nobody."""

    to: str
    run_id: str


def choose(stored: Stored, hosts: tuple[str, ...], me: str, priorities: Mapping[str, int]) -> str:
    """The host a switchover without ``--to`` goes to: the first member of the sync set, else the other host that is
    wanted most, of those that are there if any is.
    """
    members = stored.sync.members if stored.sync else ()
    rest = sorted(hosts, key=lambda name: (name not in stored.members, -priorities.get(name, DEFAULT_PRIORITY)))
    others = [name for name in (*members, *rest) if name != me]
    return others[0] if others else ""


def refusals(
    request: Request,
    me: str,
    hosts: tuple[str, ...],
    stored: Stored | None,
    lease_remaining: float,
    old: HostFacts,
    new: HostFacts,
    activity: Activity,
    policy: Policy,
    engine: Engine = "mariadb",
) -> tuple[Refusal, ...]:
    """Every reason not to switch over now; empty when it is safe. Without a database fewer things can be wrong."""
    if stored is None:
        return (
            Refusal(
                "quorum_lost",
                "etcd gave no answer, so no new primary can be recorded.",
                "no quorum",
                "a majority of etcd members",
                "Bring the etcd members back: `failoverctl status` names the ones that do not answer.",
            ),
        )
    found = [*_decision(request, me, hosts, stored, lease_remaining, policy)]
    if new.host in hosts and new.host != me:
        found += _candidate(stored, new)
        if engine != "none":
            found += _candidate_database(stored, old, new, policy) if new.reachable else []
            found += _primary(old, activity, policy)
    return tuple(found)


def lock_refusal(lock: Lock | None, run_id: str) -> Refusal | None:
    """The refusal for an estate lock that another run holds, or None."""
    if lock is None or lock.run_id == run_id:
        return None
    return Refusal(
        "locked",
        f"{lock.runbook} run {lock.run_id} of {lock.owner} holds the estate lock since {lock.acquired_at}.",
        lock.run_id,
        run_id or "no lock",
        "Wait for it, or release the lock: `failoverctl lock release`.",
    )


def _decision(
    request: Request,
    me: str,
    hosts: tuple[str, ...],
    stored: Stored,
    lease_remaining: float,
    policy: Policy,
) -> list[Refusal]:
    found = []
    term, leader = stored.term, stored.leader
    leads = term is not None and leader is not None and (leader.holder, leader.term) == (me, term.term)
    if not request.to:
        found.append(
            Refusal(
                "no_candidate",
                "There is no other database host to hand over to.",
                ", ".join(hosts),
                "two database hosts",
                "Add a database host to the inventory and run setup.",
            )
        )
    elif request.to not in hosts:
        found.append(
            Refusal(
                "unknown_host",
                f"{request.to} is no database host of this estate.",
                request.to,
                ", ".join(hosts),
                "Name one of the database hosts.",
            )
        )
    elif request.to == me and leads:
        found.append(
            Refusal(
                "already_primary",
                f"{me} is the primary already.",
                f"term {term.term if term else 0}",
                "",
                "Nothing to do.",
            )
        )
    if not leads:
        holder = leader.holder if leader else "nobody"
        found.append(
            Refusal(
                "not_leader",
                f"{me} does not hold the leader key.",
                holder,
                me,
                "Look at `failoverctl status`.",
            )
        )
    needed = policy.switchover_limit + policy.fence_margin - policy.renew_interval
    if lease_remaining < needed:
        found.append(
            Refusal(
                "lease_short",
                f"The lease of {me} is not being renewed in time.",
                f"{lease_remaining:.1f} s left",
                f"{needed:.1f} s left",
                "Look at the health and the disk latency of etcd.",
            )
        )
    lock = lock_refusal(stored.lock, request.run_id)
    if lock:
        found.append(lock)
    return found


def _candidate(stored: Stored, new: HostFacts) -> list[Refusal]:
    if not new.reachable:
        return [
            Refusal(
                "candidate_unreachable",
                f"The agent of {new.host} does not answer: {new.error}.",
                "no answer",
                "",
                f"Bring {new.host} back, or choose another host with --to.",
            )
        ]
    found = []
    if new.busy:
        found.append(
            Refusal(
                "candidate_busy",
                f"{new.host} is busy: {new.busy}.",
                new.busy,
                "",
                "Wait until it is done.",
            )
        )
    member = stored.members.get(new.host)
    if member is not None and member.priority <= 0:
        found.append(
            Refusal(
                "never_candidate",
                f"{new.host} is never to be primary.",
                "priority 0",
                "a priority above 0",
                f"Name another host, or change agent_priority of {new.host} and run setup.",
            )
        )
    if not new.keepalived_running:
        found.append(
            Refusal(
                "keepalived_down",
                f"keepalived does not run on {new.host}, so the address could not follow.",
                "stopped",
                "running",
                f"Start it: `systemctl start keepalived` on {new.host}.",
            )
        )
    return found


def _candidate_database(stored: Stored, old: HostFacts, new: HostFacts, policy: Policy) -> list[Refusal]:
    found = []
    database = new.database
    replication = database.replication
    if not database.running:
        found.append(
            Refusal(
                "candidate_down",
                f"MariaDB does not run on {new.host}: {database.error or 'stopped'}.",
                "stopped",
                "running",
                f"Look at `journalctl -u failover-agent -u mariadb` on {new.host}.",
            )
        )
    elif replication is None or not (replication.io_running and replication.sql_running):
        why = replication.error if replication and replication.error else "its threads do not run"
        found.append(
            Refusal(
                "replication_broken",
                f"{new.host} does not replicate: {why}.",
                "broken",
                "IO and SQL thread running",
                f"Look at `SHOW REPLICA STATUS` on {new.host}.",
            )
        )
    elif not replication.uses_gtid:
        found.append(
            Refusal(
                "no_gtid",
                f"{new.host} replicates without GTID.",
                "file position",
                "slave_pos",
                f"Run setup again for {new.host}.",
            )
        )
    if database.running and old.database.running:
        ahead = gtid.errant(gtid.parse(database.position), gtid.parse(old.database.position))
        if ahead:
            found.append(
                Refusal(
                    "errant_gtid",
                    f"{new.host} holds transactions that {old.host} does not have.",
                    ", ".join(map(str, ahead)),
                    "none",
                    f"Somebody wrote on {new.host}. Save those rows, then seed it again.",
                )
            )
        elif not new.caught_up:
            found.append(
                Refusal(
                    "replica_lagging",
                    f"{new.host} did not catch up within {policy.lag_limit:g} s.",
                    f"{new.host} at {database.position or 'nothing'}, {old.host} at {old.database.position}",
                    f"{policy.lag_limit:g} s",
                    "Wait until `failoverctl status` shows no lag.",
                )
            )
        wrong = [f"{name}={value}" for name, value in new.settings if REQUIRED_SETTINGS.get(name, value) != value]
        if wrong:
            found.append(
                Refusal(
                    "settings",
                    f"{new.host} is not configured to be a primary.",
                    ", ".join(wrong),
                    ", ".join(f"{k}={v}" for k, v in REQUIRED_SETTINGS.items()),
                    f"Run setup again for {new.host}.",
                )
            )
    sync = stored.sync
    if sync is None or sync.mode != "strict" or new.host not in sync.members:
        found.append(
            Refusal(
                "not_in_sync_set",
                f"{new.host} is not in the sync set, so it may lack acknowledged writes.",
                f"mode {sync.mode}, members {', '.join(sync.members) or 'none'}" if sync else "no sync set",
                f"strict with {new.host}",
                "Wait some seconds after a replica came back; `failoverctl status` shows the sync set.",
            )
        )
    if new.disk_free_fraction < policy.disk_free_fraction:
        found.append(_disk(new, policy))
    return found


def _primary(old: HostFacts, activity: Activity, policy: Policy) -> list[Refusal]:
    found = []
    if not old.database.running or old.database.read_only:
        state = "read-only" if old.database.running else f"down: {old.database.error or 'stopped'}"
        found.append(
            Refusal(
                "primary_not_writable",
                f"MariaDB on {old.host} is not writable, so there is nothing to hand over yet.",
                state,
                "writable",
                f"Look at `failoverctl status`; the agent of {old.host} says what it waits for.",
            )
        )
    if activity.oldest_transaction_seconds > policy.transaction_limit:
        found.append(
            Refusal(
                "long_transaction",
                f"A transaction is open on {old.host}; it would be rolled back.",
                f"{activity.oldest_transaction_seconds:.0f} s",
                f"{policy.transaction_limit:g} s",
                "Wait for it or end it: `SELECT * FROM information_schema.innodb_trx`.",
            )
        )
    for statement in activity.schema_changes:
        found.append(
            Refusal(
                "ddl_running",
                f"A schema change runs on {old.host}.",
                statement,
                "none",
                "Wait until it is done.",
            )
        )
    for backup in activity.backups:
        found.append(
            Refusal(
                "backup_running",
                f"A backup runs on {old.host}.",
                backup,
                "none",
                "Wait until it is done.",
            )
        )
    if old.disk_free_fraction < policy.disk_free_fraction:
        found.append(_disk(old, policy))
    return found


def _disk(facts: HostFacts, policy: Policy) -> Refusal:
    return Refusal(
        "disk_short",
        f"The data disk of {facts.host} is nearly full.",
        f"{facts.disk_free_fraction:.1%} free",
        f"{policy.disk_free_fraction:.0%}",
        "Make room first.",
    )
