# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The words of the agent: what is stored in etcd, what is seen of the world, what can be done.

Everything here is an immutable value. Times are seconds of ``CLOCK_BOOTTIME`` (it goes on while the machine sleeps and
no administrator can step it) unless a name says otherwise; wall-clock times are UTC ISO 8601 text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from failover_agent import gtid

Mode = Literal["strict", "degraded"]
Role = Literal["primary", "replica", "fenced", "starting", "stopped", "unseeded"]


# ------------------------------------------------------------------------------------------------ what etcd holds


@dataclass(frozen=True)
class Term:
    """Key ``term``: who was made primary last, and at which GTID position. It outlives every lease.

    ``term`` grows by one at every change, so of two claims the one with the larger term is right.
    """

    term: int
    primary: str
    gtid: str = ""
    at: str = ""


@dataclass(frozen=True)
class Leader:
    """Key ``leader``, attached to the lease of its holder: exists only while the holder is alive and connected.

    ``lease`` is etcd's own note of the lease the key hangs on; it is read, never stored.
    """

    holder: str
    term: int
    lease: int = 0


@dataclass(frozen=True)
class Sync:
    """Key ``sync``: which replicas the primary waits for. A host outside ``members`` may lack acknowledged writes.

    Invariant I2: it is made smaller before the primary stops waiting, and larger only after it waits.
    """

    term: int
    primary: str
    members: tuple[str, ...] = ()
    mode: Mode = "degraded"


@dataclass(frozen=True)
class Lock:
    """Key ``lock``, leased: the runbook that changes the estate at the moment."""

    owner: str
    run_id: str
    runbook: str
    acquired_at: str


@dataclass(frozen=True)
class Member:
    """Key ``members/<host>``, leased: what a data host says of itself. Published on change."""

    host: str
    address: str
    version: str
    lease: int
    role: Role
    io_running: bool = False
    sql_running: bool = False
    replicates_from: str | None = None
    semi_sync_replica: bool = False


@dataclass(frozen=True)
class Stored:
    """One consistent reading of the estate's keys. ``revisions`` are etcd's ``mod_revision`` (0: the key is absent)."""

    term: Term | None = None
    leader: Leader | None = None
    sync: Sync | None = None
    lock: Lock | None = None
    members: dict[str, Member] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)


def to_json(value: Term | Leader | Sync | Lock | Member) -> str:
    """The JSON text of one of the dataclasses above, keys sorted, as it is stored in etcd."""
    fields = asdict(value)
    if isinstance(value, Leader):
        del fields["lease"]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def term_from(raw: dict[str, Any]) -> Term:
    """A :class:`Term` from its stored JSON object; ``KeyError`` or ``ValueError`` when it is not one."""
    return Term(
        term=int(raw["term"]),
        primary=str(raw["primary"]),
        gtid=str(raw.get("gtid", "")),
        at=str(raw.get("at", "")),
    )


def leader_from(raw: dict[str, Any], lease: int) -> Leader:
    """A :class:`Leader` from its stored JSON object and the lease the key hangs on."""
    return Leader(holder=str(raw["holder"]), term=int(raw["term"]), lease=lease)


def sync_from(raw: dict[str, Any]) -> Sync:
    """A :class:`Sync` from its stored JSON object."""
    mode: Mode = "strict" if raw.get("mode") == "strict" else "degraded"
    return Sync(
        term=int(raw["term"]),
        primary=str(raw["primary"]),
        members=tuple(raw.get("members", ())),
        mode=mode,
    )


def lock_from(raw: dict[str, Any]) -> Lock:
    """A :class:`Lock` from its stored JSON object."""
    return Lock(**{name: str(raw[name]) for name in ("owner", "run_id", "runbook", "acquired_at")})


def member_from(raw: dict[str, Any]) -> Member:
    """A :class:`Member` from its stored JSON object; unknown fields of a newer agent are left out."""
    known = {name: raw[name] for name in Member.__dataclass_fields__ if name in raw}
    return Member(**known)


# ------------------------------------------------------------------------------------------------ what is seen


@dataclass(frozen=True)
class Replication:
    """``SHOW REPLICA STATUS``, as far as the rules need it."""

    host: str
    io_running: bool
    io_connecting: bool
    sql_running: bool
    uses_gtid: bool
    gtid_io_pos: str
    lag_seconds: int | None
    error: str = ""


@dataclass(frozen=True)
class Database:
    """The local MariaDB. With ``running`` false the rest is unknown and keeps its defaults.

    ``hung`` says that it exists and took a connection, but did not answer (a stopped process, a disk that hangs).
    ``disk_full`` says that a thread waits for space; a primary goes on answering then, and writes nothing.
    ``semi_sync_waits`` counts the sessions that wait for an acknowledgement, ``semi_sync_acks`` those that came: where
    there are waits and the acks stand still, no replica acknowledges, connected or not (frozen, or its disk full).
    """

    running: bool
    starting: bool = False
    hung: bool = False
    version: str = ""
    read_only: bool = True
    gtid_binlog_pos: str = ""
    gtid_slave_pos: str = ""
    replication: Replication | None = None
    semi_sync_primary: bool = False
    semi_sync_replica: bool = False
    semi_sync_clients: int = 0
    semi_sync_waits: int = 0
    semi_sync_acks: int = 0
    disk_full: bool = False
    attached: tuple[str, ...] = ()
    caught_up: tuple[str, ...] = ()
    error: str = ""

    @property
    def position(self) -> str:
        """Everything this server holds: what it wrote and what it applied (a seeded server has written nothing)."""
        return str(gtid.merge(gtid.parse(self.gtid_binlog_pos), gtid.parse(self.gtid_slave_pos)))


@dataclass(frozen=True)
class View:
    """All that :func:`failover_agent.decide.decide` may look at.

    ``stored`` is None when etcd gave no answer in this round. ``seeded`` says that the data directory belongs to this
    estate. ``held_back_until`` is the time up to which a planned switchover owns this host, unless the term names it
    already: then the switchover is past its commit, and may have died. ``detached_since`` names the replicas that are
    not connected and since when. ``received`` is what each connected replica that is no member says it has received
    (``Gtid_IO_Pos``), asked after ``database`` was read.
    """

    now: float
    host: str
    addresses: dict[str, str]
    stored: Stored | None
    lease: int
    lease_valid_until: float
    database: Database
    seeded: bool
    fenced: bool
    gate_open: bool
    held_back_until: float = 0.0
    detached_since: dict[str, float] = field(default_factory=dict)
    received: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """The knobs of the rules, in seconds. ``fence_margin`` is the time a fence needs at most."""

    lease_ttl: float = 6.0
    renew_interval: float = 1.5
    tick_interval: float = 1.0
    fence_margin: float = 1.5
    replica_loss: float = 3.0
    switchover_limit: float = 3.0
    transaction_limit: float = 5.0
    lag_limit: float = 2.0
    disk_free_fraction: float = 0.05


# ------------------------------------------------------------------------------------------------ what can be done


@dataclass(frozen=True)
class Action:
    """One change of the world with the reason for it, in words an operator reads in the log."""

    why: str


@dataclass(frozen=True)
class Hold(Action):
    """Change nothing, knowingly."""


@dataclass(frozen=True)
class StartDatabase(Action):
    """Start mariadbd. ``keep_in_doubt`` keeps binlogged but unacknowledged transactions (``init_rpl_role=MASTER``)."""

    keep_in_doubt: bool = False


@dataclass(frozen=True)
class Fence(Action):
    """Drop the database port and kill mariadbd; the only demotion that is right under blocked semi-sync."""


@dataclass(frozen=True)
class MakeReadOnly(Action):
    """``read_only=1`` on a database that waits for no acknowledgement (there it would block)."""


@dataclass(frozen=True)
class LiftFence(Action):
    """Let the database port in again; mariadbd is down or read-only at this moment."""


@dataclass(frozen=True)
class AcquireLeader(Action):
    """Take the free leader key with the next term."""


@dataclass(frozen=True)
class Promote(Action):
    """Stop replicating, wait for acknowledgements if ``wait_for_replica``, and become writable."""

    term: int = 0
    wait_for_replica: bool = False


@dataclass(frozen=True)
class Attach(Action):
    """Replicate from ``primary``."""

    primary: str = ""


@dataclass(frozen=True)
class WaitForReplica(Action):
    """Switch semi-sync on; ``sync`` is recorded only once a replica has acknowledged (next round)."""


@dataclass(frozen=True)
class StopWaiting(Action):
    """Switch semi-sync off. Only after ``sync`` says so (invariant I4)."""


@dataclass(frozen=True)
class RecordSync(Action):
    """Write ``sync`` by compare-and-swap."""

    members: tuple[str, ...] = ()
    mode: Mode = "degraded"


@dataclass(frozen=True)
class OpenGate(Action):
    """Let everything that follows the primary come here: address, units."""


@dataclass(frozen=True)
class CloseGate(Action):
    """Send everything that follows the primary away from here."""
