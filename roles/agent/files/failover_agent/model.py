# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The words of the agent: what is stored in etcd, what is seen of the world, what can be done.

Everything here is an immutable value. Times are seconds of ``CLOCK_BOOTTIME`` (it goes on while the machine sleeps and
no administrator can step it) unless a name says otherwise; wall-clock times are UTC ISO 8601 text.
"""

from __future__ import annotations

import calendar
import functools
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from failover_agent import gtid
from failover_agent.policy import DEFAULT_PRIORITY, Engine

Mode = Literal["strict", "degraded"]
Role = Literal["primary", "replica", "fenced", "starting", "stopped", "unseeded"]
Order = Literal["", "rejoin", "reclone"]
#: So many terms are remembered in ``history``.
HISTORY = 20


# ------------------------------------------------------------------------------------------------ what etcd holds


@dataclass(frozen=True)
class Term:
    """Key ``term``: who was made primary last, and at which GTID position. It outlives every lease.

    ``term`` grows by one at every change, so of two claims the one with the larger term is right. ``reason`` is
    bootstrap, switchover, failover, return (the same host leads again) or forced (a person accepted a loss). The key
    ``history`` is a list of the last of these objects, newest last, written with every new term.
    """

    term: int
    primary: str
    gtid: str = ""
    at: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Leader:
    """Key ``leader``, attached to the lease of its holder: exists only while the holder is alive and connected.

    With the number of the key ``term`` its holder leads; with the next number it runs an election, and ``term`` still
    names the old primary: an election that comes to nothing leaves no trace.

    ``lease`` is etcd's own note of the lease the key hangs on; it is read, never stored.
    """

    holder: str
    term: int
    lease: int = 0


@dataclass(frozen=True)
class Sync:
    """Key ``sync``: which replicas the primary waits for. A host outside ``members`` may lack acknowledged writes.

    Invariant I2: it is made smaller before the primary stops waiting, and larger only after it waits. ``strict``
    without members is blocked: the primary waits, and has nobody to wait for (``on_last_replica_loss: block``).
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
class Pause:
    """Key ``pause``, on a lease of its own that ends by itself: until then nothing is decided without a person.

    No election, no step-down, no start of a stopped database, no automatic reclone. A lost lease fences all the same.
    """

    by: str
    reason: str
    at: str
    until: str


@dataclass(frozen=True)
class Acknowledged:
    """Key ``acknowledged``: a person has looked; automatic failovers up to ``term`` count no longer, nor do the times
    that replicas left the sync set until then.
    """

    by: str
    at: str
    term: int = 0


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
    priority: int = 100
    engine: str = "mariadb"
    disk_short: bool = False
    forked: bool = False


@dataclass(frozen=True)
class Stored:
    """One consistent reading of the estate's keys. ``revisions`` are etcd's ``mod_revision`` (0: the key is absent)."""

    term: Term | None = None
    leader: Leader | None = None
    sync: Sync | None = None
    lock: Lock | None = None
    history: tuple[Term, ...] = ()
    pause: Pause | None = None
    acknowledged: Acknowledged | None = None
    members: dict[str, Member] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)


def to_json(value: Term | Leader | Sync | Lock | Pause | Acknowledged | Member) -> str:
    """The JSON text of one of the dataclasses above, keys sorted, as it is stored in etcd."""
    fields = dict(vars(value))  # All are flat, and asdict() copies deeply: most of what an idle agent would do.
    if isinstance(value, Leader):
        del fields["lease"]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def history_json(history: tuple[Term, ...], newest: Term) -> str:
    """The text of the key ``history`` after the term ``newest``."""
    kept = (*(each for each in history if each.term < newest.term), newest)[-HISTORY:]
    return json.dumps([asdict(each) for each in kept], sort_keys=True, separators=(",", ":"))


def term_from(raw: dict[str, Any]) -> Term:
    """A :class:`Term` from its stored JSON object; ``KeyError`` or ``ValueError`` when it is not one."""
    return Term(
        term=int(raw["term"]),
        primary=str(raw["primary"]),
        gtid=str(raw.get("gtid", "")),
        at=str(raw.get("at", "")),
        reason=str(raw.get("reason", "")),
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


def pause_from(raw: dict[str, Any]) -> Pause:
    """A :class:`Pause` from its stored JSON object."""
    return Pause(**{name: str(raw[name]) for name in ("by", "reason", "at", "until")})


def acknowledged_from(raw: dict[str, Any]) -> Acknowledged:
    """An :class:`Acknowledged` from its stored JSON object."""
    return Acknowledged(by=str(raw["by"]), at=str(raw["at"]), term=int(raw.get("term", 0)))


def history_from(raw: Any) -> tuple[Term, ...]:
    """The terms of the key ``history``, newest last; ``KeyError``, ``TypeError`` or ``ValueError`` when it is none."""
    if not isinstance(raw, list):
        raise ValueError("not a list")
    return tuple(term_from(each) for each in raw)


def member_from(raw: dict[str, Any]) -> Member:
    """A :class:`Member` from its stored JSON object; unknown fields of a newer agent are left out."""
    known = {name: raw[name] for name in Member.__dataclass_fields__ if name in raw}
    return Member(**known)


def utc(seconds: float) -> str:
    """A time (seconds since 1970) as UTC ISO 8601 with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


@functools.lru_cache(maxsize=64)
def seconds_of(at: str) -> float:
    """Seconds since 1970 of a time written by :func:`utc`; 0.0 when it is none."""
    try:
        return float(calendar.timegm(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return 0.0


# ------------------------------------------------------------------------------------------------ what is seen


@dataclass(frozen=True)
class Replication:
    """``SHOW REPLICA STATUS``, as far as the rules need it. ``io_errno`` and ``sql_errno`` are MariaDB's numbers.

    ``turned_away`` says that the other server had no connection left for it.
    """

    host: str
    io_running: bool
    io_connecting: bool
    sql_running: bool
    uses_gtid: bool
    gtid_io_pos: str
    lag_seconds: int | None
    error: str = ""
    io_errno: int = 0
    sql_errno: int = 0
    turned_away: bool = False

    @property
    def diverged(self) -> bool:
        """Whether the primary's history is no continuation of ours.

        1236: it lacks our position, or no longer has what follows. 1950: our own binary log is out of order with it.
        """
        return self.io_errno == 1236 or self.sql_errno == 1950


@dataclass(frozen=True)
class Database:
    """The local MariaDB. With ``running`` false the rest is unknown and keeps its defaults.

    ``hung`` says that it exists and took a connection, but did not answer (a stopped process, a disk that hangs).
    ``disk_full`` says that a thread waits for space; a primary goes on answering then, and writes nothing.
    ``semi_sync_waits`` counts the sessions that wait for an acknowledgement, ``semi_sync_acks`` those that came: where
    there are waits and the acks stand still, no replica acknowledges, connected or not (frozen, or its disk full).
    ``relay_pending`` says that the relay log holds events that are not applied, while nothing applies them: the next
    START SLAVE would throw them away (databases.md, finding 6). ``errant`` names the newest transaction that a replica
    wrote itself beyond all that it has applied: somebody wrote on it by hand.
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
    errant: str = ""
    attached: tuple[str, ...] = ()
    caught_up: tuple[str, ...] = ()
    relay_pending: bool = False
    error: str = ""

    @property
    def forked(self) -> bool:
        """Whether its history is no part of the primary's: nothing that was received can be applied on top."""
        return bool(self.errant) or (self.replication is not None and self.replication.diverged)

    @property
    def position(self) -> str:
        """Everything this server holds: what it wrote and what it applied (a seeded server has written nothing)."""
        return str(gtid.merge(gtid.parse(self.gtid_binlog_pos), gtid.parse(self.gtid_slave_pos)))


@dataclass(frozen=True)
class Ballot:
    """What one member of the sync set holds, told after its IO thread was seen stopped.

    ``received`` is ``Gtid_IO_Pos``, ``applied`` what is in its tables of that. ``error`` says why it cannot be primary:
    it cannot apply the rest, or somebody wrote there.
    """

    host: str
    io_stopped: bool
    received: str
    applied: str
    sql_running: bool = True
    error: str = ""
    priority: int = 100
    disk_free_fraction: float = 1.0

    @property
    def position(self) -> gtid.Position:
        """Everything it holds, applied or not."""
        return gtid.merge(gtid.parse(self.received), gtid.parse(self.applied))


@dataclass(frozen=True)
class Election:
    """What this host knows in an election that it runs under ``revision`` of the leader key, since ``began``.

    ``silent`` names the members without a ballot, each with the reason.
    """

    revision: int
    began: float
    ballots: tuple[Ballot, ...] = ()
    silent: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class View:
    """All that :func:`failover_agent.decide.decide` may look at.

    ``stored`` is None when etcd gave no answer in this round. ``seeded`` says that the data directory belongs to this
    estate. ``gate_prepared`` says that the gate was opened for a planned switchover, and is not this host's yet.
    ``held_back_until`` is the time up to which a planned switchover owns this host, unless the term names it
    already: then the switchover is past its commit, and may have died. ``detached_since`` names the replicas that are
    not connected and since when. ``received`` is what each connected replica that is no member says it has received
    (``Gtid_IO_Pos``), asked after ``database`` was read; ``steady_since`` is since when it has said so at every look.
    ``left_at`` tells when replicas left the sync set, oldest first.

    ``wall`` is seconds since 1970, ``began`` when, by that, terms began that this host saw begin.

    ``at_work_since`` is when this agent began, ``leaderless_since`` when it first saw the leader key gone,
    ``answered_at`` when the database last answered. Until ``promised_until`` this host has given
    its word to an isolated primary; until ``sit_out_until`` it does not lead because it stepped down; until
    ``retry_at`` it begins no election, as it has given one up for the reason ``abandoned``. ``known_term`` is the
    highest term that this agent, or a peer it asked, has ever seen. ``divergence`` is how far the rejoin has come:
    nothing, ``saved``, ``flashed_back``. ``silenced`` names the lost replicas that certainly no longer acknowledge,
    ``shut_out`` those of them of which the firewall makes sure; ``muted_at`` is the revision of ``sync`` up to which
    this host gave its word not to. ``ordered`` is what a person has just asked of this host: to ``rejoin`` in spite of
    a pause and of the policy, or to ``reclone`` in any case.
    Before ``apply_again_at`` what could not be applied is not tried again.
    ``half_seeded`` says that a copy was begun here and never made ready.
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
    gate_prepared: bool = False
    held_back_until: float = 0.0
    detached_since: dict[str, float] = field(default_factory=dict)
    received: dict[str, str] = field(default_factory=dict)
    steady_since: dict[str, float] = field(default_factory=dict)
    left_at: dict[str, tuple[float, ...]] = field(default_factory=dict)
    wall: float = 0.0
    began: Mapping[int, float] = field(default_factory=dict)
    at_work_since: float = 0.0
    leaderless_since: float | None = None
    answered_at: float = 0.0
    promised_until: float = 0.0
    sit_out_until: float = 0.0
    retry_at: float = 0.0
    abandoned: str = ""
    disk_free_fraction: float = 1.0
    priorities: dict[str, int] = field(default_factory=dict)
    election: Election | None = None
    known_term: int = 0
    divergence: str = ""
    silenced: tuple[str, ...] = ()
    shut_out: tuple[str, ...] = ()
    muted_at: int = -1
    engine: Engine = "mariadb"
    ordered: Order = ""
    half_seeded: bool = False
    apply_again_at: float = 0.0

    def priority(self, host: str) -> int:
        """How much ``host`` is wanted as primary; 0 is never."""
        return self.priorities.get(host, DEFAULT_PRIORITY)


# ------------------------------------------------------------------------------------------------ what can be done


@dataclass(frozen=True)
class Action:
    """One change of the world with the reason for it, in words an operator reads in the log."""

    why: str


@dataclass(frozen=True)
class Hold(Action):
    """Change nothing, knowingly. ``code`` is a stable word for the list of problems."""

    code: str = "hold"


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
    """Replicate from ``primary``; with ``keep_received`` only after everything received is applied."""

    primary: str = ""
    keep_received: bool = True
    acknowledge: bool = True


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


@dataclass(frozen=True)
class BeginElection(Action):
    """Take the free leader key with the number of the next term; the term itself stays as it is."""

    term: int = 0


@dataclass(frozen=True)
class CollectBallots(Action):
    """Let every member of the sync set stop receiving, and say what it holds (invariant I3)."""

    term: int = 0


@dataclass(frozen=True)
class HandOver(Action):
    """Give the election to a member that holds more; it collects its own ballots."""

    term: int = 0
    to: str = ""


@dataclass(frozen=True)
class CommitTerm(Action):
    """Write the term that names this host: the point of no return of an election."""

    term: int = 0
    gtid: str = ""
    members: tuple[str, ...] = ()
    mode: Mode = "degraded"


@dataclass(frozen=True)
class AbandonElection(Action):
    """Give the leader key back; the estate is as it was before the election."""

    term: int = 0


@dataclass(frozen=True)
class StepDown(Action):
    """Fence, then give the leader key back, so that a member of the sync set can take over at once."""


@dataclass(frozen=True)
class StopAcknowledging(Action):
    """Confirm nothing to the primary: this host is no member of the sync set (three and more data hosts).

    Without ``receive`` it receives nothing more either: its history forked, and where nothing is applied any more, to
    begin receiving anew would throw away what was received.
    """

    receive: bool = True


@dataclass(frozen=True)
class StartAcknowledging(Action):
    """Confirm what was received: this host is a member of the sync set now."""


@dataclass(frozen=True)
class Expel(Action):
    """Make sure that a lost member acknowledges nothing any more: its agent says so, or the firewall shuts it out."""

    host: str = ""


@dataclass(frozen=True)
class Salvage(Action):
    """Apply from the relay log what was received and not applied, before a START SLAVE would throw it away."""


@dataclass(frozen=True)
class StartApplying(Action):
    """Apply again what is received: what stopped it may be over."""


@dataclass(frozen=True)
class SaveDivergent(Action):
    """Save what this host has and the primary has not, as SQL that a person can read."""


@dataclass(frozen=True)
class Flashback(Action):
    """Undo the saved transactions, so that this host can follow without a new copy."""


@dataclass(frozen=True)
class Reclone(Action):
    """Fetch a new copy from the primary; the old data directory is kept aside."""
