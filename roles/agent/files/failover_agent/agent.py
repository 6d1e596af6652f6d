# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One host's agent: looks, decides, acts, and answers. Threads and sockets are the daemon's business."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from failover_agent import __version__, decide, elect, gates
from failover_agent.config import Config
from failover_agent.election import Elector, expected, in_background, in_threads
from failover_agent.etcd import Client, Delete, EtcdError, Put
from failover_agent.guard import ARMED, WRITABLE
from failover_agent.host import Host, HostError
from failover_agent.lease import Lease
from failover_agent.mariadb import Connection, DatabaseError, MariaDB, read_database
from failover_agent.model import (
    AbandonElection,
    Acknowledged,
    AcquireLeader,
    Action,
    Attach,
    BeginElection,
    CloseGate,
    CollectBallots,
    CommitTerm,
    Database,
    Expel,
    Fence,
    Flashback,
    HandOver,
    Hold,
    Leader,
    LiftFence,
    Lock,
    MakeReadOnly,
    Member,
    OpenGate,
    Order,
    Pause,
    Promote,
    Reclone,
    RecordSync,
    Role,
    Salvage,
    SaveDivergent,
    StartAcknowledging,
    StartApplying,
    StartDatabase,
    StepDown,
    StopAcknowledging,
    StopWaiting,
    Stored,
    Sync,
    Term,
    View,
    WaitForReplica,
    history_json,
    seconds_of,
    to_json,
    utc,
)
from failover_agent.peer import Peer, PeerError
from failover_agent.policy import Policy
from failover_agent.seed import STAYS, DataDirectory, SeedError, clear, stream_backup

_log = logging.getLogger("failover-agent")
#: A candidate that was prepared for a switchover waits this many seconds for the next word of the old primary.
PREPARED_SECONDS = 10.0
#: The longest pause, in seconds: whoever needs a longer one has to say so again.
_LONGEST_PAUSE = 7 * 86400.0
_LOCK_ATTEMPTS = 5
#: An agent that does not answer the small questions within so long (seconds) is silent.
_ASK_SECONDS = 1.0
#: How long (seconds) the primary may take to look at all its files.
_SIZE_SECONDS = 30.0
#: A new copy that failed is not tried again for so long (seconds).
_RECLONE_SECONDS = 60.0
#: What could not be applied is tried again after so long (seconds), and each time that much later up to the second.
_APPLY_SECONDS, _APPLY_LONGEST = 10.0, 30.0
#: So many times that a replica left the sync set are remembered.
_LEFT_TIMES = 10
#: How often (seconds) connections are looked at while all replicas are well.
_SOCKETS_SECONDS = 5.0
#: How often (seconds) an agent whose host is shut out is asked again.
_SHUT_OUT_SECONDS = 3.0
#: What the status says of divergent transactions that were saved.
_SAVED = ("transactions", "at", "sql")
#: How often (seconds) the agent looks while an election runs, and while nobody leads or the database hangs.
_ELECTION_PACE, _LEADERLESS_PACE = 0.1, 0.25


class CommandError(Exception):
    """A command cannot be carried out; ``code`` is a stable word, the text says why and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Turn(Protocol):
    """A lock that its holder may take again."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; False when it was not free in time."""

    def release(self) -> None:
        """Give it back."""

    def __enter__(self) -> bool:
        """Take it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Give it back."""


class Rejoins(Protocol):
    """What is done with data when things went wrong; implemented by :mod:`failover_agent.rejoin`."""

    def relay_pending(self) -> bool:
        """Whether the relay log holds events that are not applied."""

    def salvage(self, connection: Connection) -> str:
        """Apply them; the GTID position that was reached."""

    def fork(self, history: Sequence[Term], present: str) -> str:
        """Where this host left the estate's history; ``present`` is the primary's position."""

    def divergent(self, fork: str) -> Sequence[Any]:
        """The transactions beyond ``fork``."""

    def save_divergent(self, fork: str) -> Any:
        """Save what lies beyond ``fork``; None when there is nothing."""

    def saved(self) -> Sequence[Any]:
        """What was saved until now."""

    def flashback(self, connection: Connection, saved: Any) -> None:
        """Undo what was saved, and stand at the fork."""


class Agent:
    """The agent without its threads. ``act`` serialises everything that changes a role.

    Everything outside is handed in: ``store`` is etcd, ``connect`` makes a connection to the agent of another host,
    ``rejoin`` handles logs and divergent data, ``together`` runs several small jobs at once and waits for them, and
    ``background`` runs a long one without waiting.
    """

    def __init__(
        self,
        config: Config,
        store: Client,
        database: MariaDB,
        host: Host,
        lease: Lease,
        connect: Callable[[str], Peer],
        rejoin: Rejoins,
        together: Callable[[Sequence[Callable[[], None]]], None] = in_threads,
        background: Callable[[Callable[[], None]], None] = in_background,
    ) -> None:
        self.config = config
        self.store = store
        self.database = database
        self.host = host
        self.lease = lease
        self.connect = connect
        self.rejoin = rejoin
        self.together = together
        self.background = background
        self.directory = DataDirectory(config)
        self.act: Turn = threading.RLock()
        self.promising = threading.Lock()
        self.wake = threading.Event()
        self.elector = Elector(self)
        #: Called when clients may be able to write here from now on: there is a deadline to guard.
        self.rouse_guard: Callable[[], None] = _nobody_sleeps
        self.promised_until = 0.0
        self.prepared_for = ""
        self.prepared_until = 0.0
        self.seeding = ""
        self._seen = Database(running=False)
        self._stored: Stored | None = None
        self._role: Role = "starting"
        self._problems: tuple[tuple[str, str], ...] = ()
        self._detached_since: dict[str, float] = {}
        self._steady_since: dict[str, float] = {}
        self._left_at: dict[str, tuple[float, ...]] = {}
        self._away: set[str] = set()
        self._sockets_seen_at = 0.0
        self._acks = -1
        self._last_words: tuple[str, ...] = ()
        self._followers_run: bool | None = None
        self._events_term = 0
        self._events_marker = Path(config.runtime_directory) / "events-were-on"
        self._writable_marker = Path(config.runtime_directory) / WRITABLE
        #: Before its first look the agent knows it from the one before it.
        self._may_be_writable = self._writable_marker.exists()
        #: The last reading of etcd that succeeded, however long ago.
        self._last: Stored | None = None
        self._known_term = 0
        self._peers_asked = False
        self.at_work_since = self._answered_at = host.now()
        self._leaderless_since: float | None = None
        self._sit_out_until, self._sit_out_term = 0.0, 0
        #: When (``host.now()``) terms began that this agent saw begin, and the last term of which it knows.
        self._terms: dict[int, float] = {}
        self._terms_known = 0
        #: The term in which another host was seen to run an election.
        self._contested = 0
        #: Revisions of the leader key: when this agent tried to give it back, and when it saw it first.
        self._given_back, self._found = -1, -1
        self._divergence = ""
        self._saved: Any = None
        self._copying = False
        self.ordered: Order = ""
        self.copies = 0
        self._clearing = False
        self.copy_error = ""
        self._copy_after = 0.0
        self._apply_again_at, self._apply_wait = 0.0, 0.0
        self._silenced: dict[str, int] = {}
        self._shut_out_next = 0.0
        self._muted = Path(config.state_directory) / "muted"

    @property
    def may_be_writable(self) -> bool:
        """Whether clients may be able to write here; when in doubt they may. A file tells the guard of a dead agent."""
        return self._may_be_writable

    @may_be_writable.setter
    def may_be_writable(self, value: bool) -> None:
        if value and not self._writable_marker.exists():
            self._writable_marker.touch()
        elif not value:
            self._writable_marker.unlink(missing_ok=True)
        began = value and not self._may_be_writable
        self._may_be_writable = value
        if began:
            self.rouse_guard()

    # ------------------------------------------------------------------------------------------------ the loop

    def tick(self) -> None:
        """Look at the world once and do what the rules say."""
        with self.act:
            view = self.look()
            actions = decide.decide(view, self.config.policy)
            self._say(actions)
            problems = [(action.code, action.why) for action in actions if isinstance(action, Hold)]
            for action in actions:
                try:
                    self._apply(action, view)
                except (DatabaseError, EtcdError, HostError, PeerError) as error:
                    _log.error("%s: %s", type(action).__name__, error)
                    problems.append((type(action).__name__, str(error)))
                    break
            lacks = [("restart_needed", self.database.lacks)] if view.database.running and self.database.lacks else []
            self._problems = (*problems, *lacks)
            # What takes its time is not waited for by looking again and again; a copy needs the lock, too.
            if any(not isinstance(action, (Hold, StartDatabase, Reclone)) for action in actions) and not problems:
                self.wake.set()
            if view.database.running and not all(isinstance(action, Hold) for action in actions):
                self._seen = self.database.observe()
            self._publish(view)
            self._align_followers()
            self._align_events()
            self._align_shut_out()
            self._reset_silent(view)
            self._give_room(view)

    def pace(self) -> float:
        """Seconds until the next look, unless something happens before: what changes fast is looked at often."""
        stored = self._stored
        if stored is None or stored.term is None:
            return self.config.policy.tick_interval
        if stored.leader is None or self._seen.hung:
            return _LEADERLESS_PACE
        return _ELECTION_PACE if stored.leader.term > stored.term.term else self.config.policy.tick_interval

    def look(self) -> View:
        """Read everything the rules want to know."""
        try:
            self.learn(self.store.read())
        except EtcdError as error:
            _log.warning("etcd: %s", error)
            self._stored = None
        stored = self._stored
        asked = self.host.now()
        database = self._observe()
        # A server that hangs takes its time to say nothing: what follows is judged by the time it is then.
        now = self.host.now()
        self._seen = database
        if database.running:
            self._answered_at = asked
        replication = database.replication
        if replication is not None and replication.io_running and replication.sql_running and not database.errant:
            self._divergence = ""
        if self.config.engine == "none":
            # What follows this host is what can be "written" here: it counts as soon as the gate is its own.
            self.may_be_writable = self.host.gate_open and not self.host.gate_prepared
        elif database.running:
            self.may_be_writable = not database.read_only and self.directory.seeded
        else:
            self.may_be_writable = self.may_be_writable and database.starting
        self._note_attached(database, now)
        received = self._received(stored, database)
        self._steady_since = {name: self._steady_since.get(name, now) for name in received}
        shut_out = self._peers_at(self.host.shut_out)
        return View(
            now=now,
            host=self.config.host,
            addresses=self.config.hosts,
            stored=stored,
            lease=self.lease.id,
            lease_valid_until=self.lease.valid_until,
            database=database,
            seeded=self.directory.seeded and not self.seeding,
            half_seeded=self.directory.half_seeded and not self.seeding,
            fenced=self.host.fenced,
            gate_open=self.host.gate_open,
            gate_prepared=self.host.gate_prepared,
            held_back_until=self.prepared_until,
            detached_since=dict(self._detached_since),
            received=received,
            steady_since=self._steady_since,
            left_at=self._left_at,
            wall=self.host.wall(),
            began=self._began_at(),
            at_work_since=self.at_work_since,
            leaderless_since=self._leaderless_since,
            answered_at=self._answered_at,
            promised_until=self.promised_until,
            sit_out_until=self._sit_out_until,
            retry_at=self.elector.retry_at,
            abandoned=self.elector.abandoned,
            disk_free_fraction=self.host.disk_free_fraction(),
            priorities=self.config.priorities,
            election=self.elector.election,
            known_term=self._known_term,
            divergence=self._divergence,
            silenced=self._silent_now(stored, shut_out),
            shut_out=shut_out,
            muted_at=self._muted_at(),
            ordered=self.ordered,
            apply_again_at=self._apply_again_at,
            engine=self.config.engine,
        )

    def learn(self, stored: Stored) -> None:
        """Take note of a reading of etcd."""
        if self._last is None:
            self._found = stored.revisions.get("leader", -1)
        self._note_terms(stored)
        if self._last is not None and _looked_at(stored) != _looked_at(self._last):
            self._left_at = {}  # A person has looked: replicas that came and went are forgiven, too.
        self._stored = self._last = stored
        term, leader = stored.term, stored.leader
        if term is None:
            return
        self._known_term = max(self._known_term, term.term)
        if leader is not None:
            self._leaderless_since = None
            if leader.term > term.term and leader.holder != self.config.host:
                self._contested = term.term
            if (leader.holder, leader.term) == (self.config.host, term.term) and term.primary == self.config.host:
                self.lease.lead(leader.lease)
                if term.term > self._sit_out_term:
                    self._sit_out_until = 0.0  # It leads again: what was before does not count, whoever joins.
            return
        if self._leaderless_since is None:
            self._leaderless_since = self.host.now()
        if self._contested == term.term:
            self._sit_out_until = 0.0  # An election came to nothing: nobody else can lead, whatever was wrong here.
            self._contested = 0

    def _note_terms(self, stored: Stored) -> None:
        """Remember when terms began: what is in the future by this host's clock began now, when it is read first."""
        now, wall = self.host.now(), self.host.wall()
        for term in stored.history:
            if term.term > self._terms_known and (self._last is not None or seconds_of(term.at) > wall):
                self._terms[term.term] = now
        self._terms_known = max([self._terms_known, *(term.term for term in stored.history)])
        self._terms = {term.term: self._terms[term.term] for term in stored.history if term.term in self._terms}

    def _began_at(self) -> dict[int, float]:
        """When, by this host's clock as it is now, terms began that it saw begin."""
        ago = self.host.wall() - self.host.now()
        return {term: ago + began for term, began in self._terms.items()}

    def guard(self) -> None:
        """Fence when the lease is about to end. Called at :meth:`fence_at`, by a thread that waits for nothing else."""
        if not decide.must_fence(
            self.host.now(),
            self.lease.leads_until,
            self.config.policy,
            writable=self.may_be_writable,
        ):
            return
        _log.critical(
            "the lease ends in %.1f s and was not renewed: fencing",
            self.lease.leads_until - self.host.now(),
        )
        self._fence()

    def fence_at(self) -> float:
        """When (``host.now()``) :meth:`guard` is due, unless the lease is renewed before; infinity while nothing is
        writable here.
        """
        return decide.fence_at(self.lease.leads_until, self.config.policy) if self.may_be_writable else math.inf

    def failsafe(self) -> None:
        """While etcd is silent: go on being primary as long as every other data host promises to begin no election.

        Called four times a second, while a renewal is overdue, by a thread of its own. A promise holds for a lease from
        when it was given, which is later than when it was asked for. It only ever extends a deadline that has not
        passed (databases.md 5.3, rule 3; the idea is Patroni's).
        """
        policy, now = self.config.policy, self.host.now()
        last = self._last
        if not (policy.failsafe and self.may_be_writable and self.lease.overdue and self.config.peers):
            return
        if last is None or last.term is None or last.term.primary != self.config.host:
            return
        if decide.must_fence(now, self.lease.leads_until, policy, writable=True):
            return
        if self.lease.failsafe_until - now > policy.lease_ttl - 1.0:
            return
        body = {"term": last.term.term, "primary": self.config.host}
        answers = self.ask(tuple(self.config.peers), "/failsafe", body, _ASK_SECONDS / 2)
        refused = {name: why for name, why in ((n, _no_promise(a)) for n, a in answers.items()) if why}
        if not refused:
            self.lease.extend(now + policy.lease_ttl)
            _log.warning("etcd is silent; all data hosts promised to wait for %g s", policy.lease_ttl)
        else:
            _log.warning("etcd is silent, and not all data hosts promise to wait: %s", refused)

    def ask(
        self,
        names: Sequence[str],
        path: str,
        body: dict[str, Any],
        timeout: float,
        also: Sequence[Callable[[], None]] = (),
    ) -> dict[str, dict[str, Any] | PeerError]:
        """Ask the agents of other hosts the same at once, and do ``also`` meanwhile: what each answered, or why not."""
        answers: dict[str, dict[str, Any] | PeerError] = {}

        def job(name: str) -> Callable[[], None]:
            def call() -> None:
                try:
                    with contextlib.closing(self.connect(name)) as peer:
                        answers[name] = peer.call(path, body, timeout=timeout)
                except PeerError as error:
                    answers[name] = error

            return call

        self.together([*(job(name) for name in names), *also])
        return answers

    @contextlib.contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """``act``, for a caller who does not wait for ever.

        :raises PeerError: this host is busy for longer than ``seconds``.
        """
        if not self.act.acquire(timeout=seconds):
            raise PeerError(f"{self.config.host} is busy")
        try:
            yield
        finally:
            self.act.release()

    def _observe(self) -> Database:
        if self.seeding:
            return Database(running=False, starting=True, error=self.seeding)
        if self.config.engine == "none":
            return Database(running=False)
        database = self.database.observe()
        if database.running:
            replication = database.replication
            pending = replication is not None and not replication.sql_running and self.rejoin.relay_pending()
            return dataclasses.replace(database, relay_pending=pending)
        try:
            state = self.host.database_state()
        except HostError as error:
            state = str(error)
        return dataclasses.replace(database, starting=state not in {"inactive", "failed"})

    def _note_attached(self, database: Database, now: float) -> None:
        # A replica that is connected but acknowledges nothing is as good as gone: nobody may wait for it for ever.
        # So are all of them when sessions wait and no acknowledgement comes: a frozen replica stays connected.
        stalled = database.semi_sync_waits > 0 and database.semi_sync_acks == self._acks
        self._acks = database.semi_sync_acks
        silent = database.semi_sync_primary and (database.semi_sync_clients == 0 or stalled)
        sync = self._stored.sync if self._stored else None
        asked = sync.members if sync and sync.mode == "strict" else tuple(self.config.peers)
        attached = set(database.attached) - set(asked if silent else ())
        for name in self.config.peers:
            if not database.running or database.read_only or name in attached:
                self._detached_since.pop(name, None)
            else:
                self._detached_since.setdefault(name, now)

    def _received(self, stored: Stored | None, database: Database) -> dict[str, str]:
        """What the connected replicas have received; asked only while one could become a member, or leave.

        One that is hung would let everything wait that has to be done here now.
        """
        if stored is None or stored.sync is None or stored.sync.primary != self.config.host or database.read_only:
            return {}
        sync = stored.sync
        leaving = set(self._silent_now(stored, self._peers_at(self.host.shut_out))) & set(sync.members)

        def joins(name: str) -> bool:
            outside = name not in sync.members or sync.mode == "degraded"
            return outside and name not in self._detached_since and decide.well(stored, name)

        asked = tuple(name for name in database.attached if leaving or joins(name))
        answers = self.ask(asked, "/position", {}, _ASK_SECONDS) if asked else {}
        return {
            name: str(answer["gtid_io_pos"]) for name, answer in answers.items() if not isinstance(answer, PeerError)
        }

    def _note_left(self, names: Iterable[str]) -> None:
        """A replica is waited for no longer; that counts once, until it is waited for again."""
        now = self.host.now()
        for name in set(names) - self._away:
            self._left_at[name] = (*self._left_at.get(name, ()), now)[-_LEFT_TIMES:]
            self._away.add(name)

    def _say(self, actions: tuple[Action, ...]) -> None:
        words = tuple(f"{type(action).__name__}: {action.why}" for action in actions)
        if words != self._last_words:
            for word in words:
                _log.info("%s", word)
            self._last_words = words

    # ------------------------------------------------------------------------------------------------ actions

    def _apply(self, action: Action, view: View) -> None:
        match action:
            case Hold():
                return
            case StartDatabase():
                if not action.keep_in_doubt:
                    self._keep_what_may_go(view)
                self.host.start_database(keep_in_doubt=action.keep_in_doubt)
            case Fence():
                self._fence()
            case LiftFence():
                self.host.lift_fence()
            case MakeReadOnly():
                with self._connection(self.config.policy.switchover_limit) as connection:
                    self.database.make_read_only(connection, self.config.policy.switchover_limit)
            case AcquireLeader():
                self._acquire(view)
            case Promote():
                self._take_back(view.stored)
                self.promote(action.term, wait_for_replica=action.wait_for_replica)
            case Attach():
                self.attach(action)
            case BeginElection():
                self.elector.begin(action, view)
            case CollectBallots():
                self.elector.collect(action, view)
            case HandOver():
                self.elector.hand_over(action, view)
            case CommitTerm():
                self.elector.commit(action, view)
            case AbandonElection():
                self.elector.abandon(action, view)
            case StepDown():
                self.step_down(view.stored, action.why)
            case StartAcknowledging():
                with self._connection(5.0) as connection:
                    self.database.acknowledge(connection, enabled=True)
            case StopAcknowledging():
                with self._connection(5.0) as connection:
                    self.database.acknowledge(connection, enabled=False, receive=action.receive)
            case StartApplying():
                self._start_applying()
            case Expel():
                self._expel(action, view)
            case Salvage():
                with self._connection(60.0) as connection:
                    _log.warning("applied from the relay log up to %s", self.rejoin.salvage(connection))
            case SaveDivergent():
                self._save_divergent(view)
            case Flashback():
                self._flashback()
            case Reclone():
                self._reclone()
            case WaitForReplica():
                self.database.wait_for_replicas(enabled=True)
                self._away -= set(view.database.attached)
            case StopWaiting():
                self._confirm_sync(view)
                self.database.wait_for_replicas(enabled=False)
                self._note_left(view.detached_since)
            case RecordSync():
                self._record(action, view)
            case OpenGate():
                if not self.may_be_writable:
                    self._take_back(view.stored)
                self.open_gate()
            case CloseGate():
                self.host.close_gate()
            case _:
                raise NotImplementedError(type(action).__name__)

    def _start_applying(self) -> None:
        now = self.host.now()
        again = now < self._apply_again_at + _APPLY_LONGEST
        self._apply_wait = min(self._apply_wait + _APPLY_SECONDS, _APPLY_LONGEST) if again else _APPLY_SECONDS
        self._apply_again_at = now + self._apply_wait
        with self._connection(5.0) as connection:
            self.database.start_applying(connection)

    def _keep_what_may_go(self, view: View) -> None:
        """Before a start that discards what is in doubt: nobody was told of that, unless a person accepted a loss."""
        kept = self.directory.keep_binlog_tail()
        if kept:
            _log.info("kept the newest binary log as %s", kept)
        term = view.stored.term if view.stored else None
        if term is None or term.reason != "forced":
            return
        try:
            self._save_divergent(view)
        except (DatabaseError, PeerError) as error:
            _log.warning("what the start may discard is kept as a binary log only: %s", error)
        self._divergence = ""

    def _fence(self) -> None:
        """Close the gate and the port, kill the database. Runs without ``act``: a stuck statement must not stop it.

        What did not work is tried again by the guard's next round.
        """
        try:
            if self.config.engine != "none":
                self.host.fence()
                self.may_be_writable = False
        finally:
            self.host.close_gate()
        if self.config.engine == "none":
            self.may_be_writable = False
        self.stop_followers()

    def open_gate(self) -> None:
        """Let everything that follows the primary come here. Where there is no database, this is the role itself: the
        guard of a dead agent has to know before, and nothing opens under a lease that is about to end (I1).

        :raises EtcdError: the lease would not outlive it.
        """
        if self.config.engine == "none":
            if decide.must_fence(self.host.now(), self.lease.leads_until, self.config.policy, writable=True):
                raise EtcdError("the lease is about to end: not leading")
            self.may_be_writable = True
        self._followers_run = None  # Whoever closed the gate, perhaps the second guard, has stopped them.
        self.host.open_gate()

    def _align_events(self) -> None:
        """Once a term, let the events run here that replication had left disabled on this host."""
        term = self._stored.term.term if self._stored and self._stored.term else 0
        if self._role != "primary" or self._events_term == term or self.config.engine == "none":
            return
        try:
            with self._connection(5.0) as connection:
                count = self.database.enable_events(connection)
        except DatabaseError as error:
            _log.warning("events: %s", error)
            return
        self._events_term = term
        if count:
            _log.info("enabled %d events that now run here", count)

    def _align_followers(self) -> None:
        """Let the units that run on the primary only run where the primary is; after an error, try again."""
        wanted = self._role == "primary" and self.host.gate_open
        if wanted == self._followers_run:
            return
        try:
            if wanted:
                self.host.start_followers()
            else:
                self.host.stop_followers()
        except HostError as error:
            _log.error("what follows the primary: %s", error)
            self._followers_run = None  # It may have happened all the same.
            return
        self._followers_run = wanted

    def stop_followers(self) -> None:
        """Stop the units that run on the primary only; where this host leads all the same, they start again."""
        self._followers_run = None
        self.host.stop_followers()

    def utc(self) -> str:
        """Now, as text."""
        return utc(self.host.wall())

    def _ask_for_terms(self) -> None:
        """Once in the life of an agent: does a peer know a later term than etcd? Then etcd was put back in time."""
        if self._peers_asked:
            return
        self._peers_asked = True
        for answer in self.ask(
            tuple(self.config.peers), "/knows", {"term": self._known_term}, _ASK_SECONDS / 2
        ).values():
            if not isinstance(answer, PeerError):
                self._known_term = max(self._known_term, int(answer["term"]))

    @contextlib.contextmanager
    def no_promise(self, *, free: bool = False) -> Iterator[None]:
        """What names another primary, or begins to: a promise excludes it, so one waits for the outcome of the other.

        ``free`` says that no promise counts: it was given to this host, or its taker has let go.

        :raises EtcdError: this host has promised that the primary may go on without etcd.
        """
        with self.promising:
            if not free and self.host.now() < self.promised_until:
                raise EtcdError("the primary was promised to go on without etcd, and may still write")
            yield

    def _acquire(self, view: View) -> None:
        stored = view.stored
        assert stored is not None
        assert stored.term is not None
        self._ask_for_terms()
        if stored.term.term < self._known_term:
            raise EtcdError(f"etcd says term {stored.term.term}, but another host knows term {self._known_term}")
        following = stored.term.term + 1
        sync = stored.sync or Sync(term=following, primary=view.host)
        same = stored.term.primary == view.host
        # The position stays that of the reign: what this host must hold before it is written.
        term = Term(
            following, view.host, stored.term.gtid if same else "", self.utc(), "return" if same else "failover"
        )
        changes: list[Put | Delete] = [
            Put("term", to_json(term)),
            Put("leader", to_json(Leader(holder=view.host, term=following)), lease=view.lease),
            Put("sync", to_json(dataclasses.replace(sync, term=following, primary=view.host))),
            Put("history", history_json(stored.history, term)),
        ]
        with self.no_promise(free=same):
            if not self.store.commit(expected(stored, "term", "leader", "sync"), changes):
                raise EtcdError("the leader key was not taken: the estate changed meanwhile")
        _log.info("leading in term %d", following)
        self._answered_at = self.host.now()  # From now on its database has the time that a restart may take.

    def step_down(self, stored: Stored | None, why: str) -> None:
        """Give up the role at once: fence, then give the leader key back, so that nobody has to wait for the lease.

        :raises HostError: the fence did not work; the key is kept then.
        :raises EtcdError: the key was not given back, or nobody knows.
        """
        _log.critical("stepping down: %s", why)
        self._sit_out_until = self.host.now() + self.config.policy.sit_out
        self._sit_out_term = self._known_term
        self._fence()
        if stored is None or stored.leader is None or stored.leader.holder != self.config.host:
            return
        self._given_back = stored.revisions.get("leader", 0)
        if not self.store.commit(expected(stored, "leader", "term"), [Delete("leader")]):
            raise EtcdError("the leader key was not given back: the estate changed meanwhile")

    def _take_back(self, stored: Stored | None) -> None:
        """Before this host leads on under a key that it tried to give back: that may still take place, unless the key
        is written once more. An agent that was just started does not know what the one before it tried.

        :raises EtcdError: it is gone, or nobody knows.
        """
        leader = stored.leader if stored else None
        if stored is None or leader is None or stored.revisions["leader"] not in (self._given_back, self._found):
            return
        again = Put("leader", to_json(Leader(leader.holder, leader.term)), lease=leader.lease)
        if leader.holder != self.config.host or not self.store.commit(expected(stored, "leader", "term"), [again]):
            raise EtcdError("the leader key may have been given back: the estate changed meanwhile")
        self._given_back = self._found = -1

    def promote(self, term: int, *, wait_for_replica: bool) -> None:
        """Become writable in ``term``.

        :raises DatabaseError: the position recorded with the term was not reached; nothing is changed then.
        :raises EtcdError: the lease would not outlive the promotion.
        """
        policy = self.config.policy
        stored = self._stored
        recorded = stored.term.gtid if stored and stored.term and stored.term.term == term else ""
        with self._connection(policy.switchover_limit + 2.0) as connection:
            if decide.must_fence(self.host.now(), self.lease.leads_until, policy, writable=True):
                raise EtcdError("the lease is about to end: not becoming writable")
            self.may_be_writable = True
            self.database.promote(
                connection,
                recorded,
                wait_for_replica=wait_for_replica,
                limit=policy.switchover_limit,
            )
        self.restore_events()

    def attach(self, action: Attach) -> None:
        """Replicate from another host."""
        with self._connection(10.0) as connection:
            self.database.attach(
                connection,
                self.config.hosts[action.primary],
                acknowledge=action.acknowledge,
                keep_received=action.keep_received,
            )
        self.restore_events()

    def pause_events(self) -> None:
        """Stop the event scheduler until :meth:`restore_events`, also across a crash of the agent."""
        with self._connection(2.0) as connection:
            if str(connection.value("SELECT @@event_scheduler")) == "ON":
                self._events_marker.touch()
                self.database.events(connection, enabled=False)

    def restore_events(self) -> None:
        """Start the event scheduler again if :meth:`pause_events` stopped it."""
        if self._events_marker.exists():
            with self._connection(2.0) as connection:
                self.database.events(connection, enabled=True)
            self._events_marker.unlink(missing_ok=True)

    def _record(self, action: RecordSync, view: View) -> None:
        stored = view.stored
        assert stored is not None
        assert stored.term is not None
        sync = Sync(
            term=stored.term.term,
            primary=view.host,
            members=tuple(sorted(action.members)),
            mode=action.mode,
        )
        # What a host that joins said of itself must still be its last word (decide._rejoin).
        joining = [f"members/{name}" for name in sync.members if not stored.sync or name not in stored.sync.members]
        if not self.store.commit(expected(stored, "sync", "term", "leader", *joining), [Put("sync", to_json(sync))]):
            raise EtcdError("the sync set was not recorded: the estate changed meanwhile")
        _log.warning("sync set: %s, members %s", sync.mode, ", ".join(sync.members) or "none")
        if stored.sync is not None and stored.sync.mode == "strict":
            self._note_left(set(stored.sync.members) - set(action.members))
        self._away -= set(action.members)

    def _confirm_sync(self, view: View) -> None:
        """Write ``sync`` once more as it is: a larger set whose writing gave no answer can then no longer arrive."""
        stored = view.stored
        assert stored is not None
        assert stored.sync is not None
        if not self.store.commit(expected(stored, "sync", "term", "leader"), [Put("sync", to_json(stored.sync))]):
            raise EtcdError("the sync set was not confirmed: the estate changed meanwhile")

    # ------------------------------------------------------------------------------- whose acknowledgement counts (I3)

    def _expel(self, action: Expel, view: View) -> None:
        """Make sure that a lost member acknowledges nothing more, before the set goes on without it.

        Its agent gives its word, for this state of the sync set; if it gives none, the firewall shuts it out.
        """
        assert view.stored is not None
        revision = view.stored.revisions["sync"]
        if not self._mute(action.host, revision):
            self.host.set_shut_out(self.host.shut_out | {self.config.hosts[action.host]})
            _log.warning("%s is shut out until its agent answers", action.host)
        self._silenced[action.host] = revision

    def _mute(self, name: str, revision: int) -> bool:
        """Whether the agent of ``name`` gives its word not to acknowledge under ``revision`` of the sync set."""
        try:
            with contextlib.closing(self.connect(name)) as peer:
                answer = peer.call("/acknowledge", {"enabled": False, "sync": revision}, timeout=2 * _ASK_SECONDS)
        except PeerError as error:
            _log.warning("%s", error)
            return False
        return answer.get("muted") == revision

    def _silent_now(self, stored: Stored | None, shut_out: tuple[str, ...]) -> tuple[str, ...]:
        """The replicas that gave their word for the sync set as it is, or are shut out."""
        revision = stored.revisions.get("sync", 0) if stored else -1
        return tuple(name for name in self.config.peers if name in shut_out or self._silenced.get(name) == revision)

    def _peers_at(self, addresses: frozenset[str]) -> tuple[str, ...]:
        return tuple(name for name, address in self.config.peers.items() if address in addresses)

    def _muted_at(self) -> int:
        try:
            return int(self._muted.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return -1

    def _acknowledge(self, revision: int) -> dict[str, Any]:
        """Confirm nothing to the primary under ``revision`` of the sync set, also after a restart.

        :raises DatabaseError: the server cannot be told, and may go on as it was at any moment.
        """
        with self.turn(_ASK_SECONDS):
            fresh = self._muted.with_suffix(".new")
            fresh.write_text(str(max(revision, self._muted_at())), encoding="utf-8")
            fresh.rename(self._muted)
            if self.database.observe().running:
                with self._connection(2.0) as connection:
                    self.database.acknowledge(connection, enabled=False)
            elif self.host.database_state() not in {"inactive", "failed"}:
                raise DatabaseError(f"the database of {self.config.host} runs, and does not answer")
        return {"muted": revision}

    def _align_shut_out(self) -> None:
        """Let hosts in again whose agents give their word; all of them when this host is no primary any more."""
        out = self.host.shut_out
        stored = self._stored
        if not out or stored is None or self.host.now() < self._shut_out_next:
            return
        self._shut_out_next = self.host.now() + _SHUT_OUT_SECONDS
        back = set(out)
        if self._role == "primary":
            revision = stored.revisions.get("sync", 0)
            muted = [name for name in self._peers_at(out) if self._mute(name, revision)]
            self._silenced |= dict.fromkeys(muted, revision)
            back = {self.config.peers[name] for name in muted}
        if back:
            try:
                self.host.set_shut_out(out - back)
            except HostError as error:
                _log.error("%s", error)

    def _reset_silent(self, view: View) -> None:
        """End the connections of replicas that are silent, before they come back.

        When a replica connects while its old connection lives, MariaDB ends that first, and waits until the thread that
        takes acknowledgements has let go of it. That thread waits for its socket: until TCP hears that nobody is there
        any more, half a minute or more after the link is good again, nobody can connect, and no write is acknowledged
        (measured on 11.8.9: ``kill_zombie_dump_threads``, ``Ack_receiver::remove_slave``).

        To look is dear on a host with much memory: the kernel goes through all of its table of connections.
        """
        if self._role == "primary" and self.config.engine == "mariadb":
            all_well = not self._detached_since and set(view.database.attached) >= set(self.config.peers)
            if all_well and view.now < self._sockets_seen_at + _SOCKETS_SECONDS:
                return
            self._sockets_seen_at = view.now
            try:
                silent = self.host.reset_silent(self.config.policy.replica_loss)
            except (HostError, OSError) as error:
                _log.error("%s", error)
                return
            if silent:
                _log.warning("reset the silent connections of %s", ", ".join(map(self._name_of, sorted(silent))))

    # ------------------------------------------------------------------------------------------ histories that forked

    def _save_divergent(self, view: View) -> None:
        """Save what only this host has. Nothing is undone or replaced before that has worked."""
        stored = view.stored
        assert stored is not None
        assert stored.term is not None
        with contextlib.closing(self.connect(stored.term.primary)) as peer:
            present = str(peer.call("/position", timeout=_ASK_SECONDS)["gtid_binlog_pos"])
        self._saved = self.rejoin.save_divergent(self.rejoin.fork(stored.history, present))
        # With nothing to undo the primary has purged what is missing here: only a copy helps.
        self._divergence = "saved" if self._saved is not None else "flashed_back"

    def _flashback(self) -> None:
        """Undo what was saved; where that cannot be done, the next step is a new copy."""
        saved, self._divergence = self._saved, "flashed_back"
        if saved is None:
            return
        with self._connection(600.0) as connection:
            self.rejoin.flashback(connection, saved)
        self.wake.set()

    def _reclone(self) -> None:
        """Fetch a new copy in a thread of its own: it takes as long as the data is large."""

        def copy() -> None:
            try:
                # Divergence that is known was saved; what the primary has is worth nothing here.
                done = self.seed(discard=True, worthless=bool(self._divergence))
                _log.warning("copied anew from %s at %s", done["from"], done["position"])
                self._divergence = ""
                self.copies += 1
            except CommandError as error:
                _log.error("no new copy: %s", error)
                self.copy_error = str(error)
            finally:
                self._copying = False

        if not self._copying and (self.ordered or self.host.now() >= self._copy_after):
            # An order is carried out once.
            self.ordered, self.copy_error = ("rejoin" if self.ordered else ""), ""
            self._copying, self._copy_after = True, self.host.now() + _RECLONE_SECONDS
            self.background(copy)

    def _give_room(self, view: View) -> None:
        """Delete what copies replaced when the disk gets full: a host must not fail for what it only keeps."""
        old = self.directory.aside() if view.disk_free_fraction < self.config.policy.disk_free_fraction else []
        if not old or not view.seeded or self._clearing:
            return

        def delete() -> None:
            clear(old)
            self._clearing = False

        _log.warning("the disk gets full: %s goes, which a copy has replaced", ", ".join(map(str, old)))
        self._clearing = True
        self.background(delete)

    @contextlib.contextmanager
    def _connection(self, timeout: float) -> Iterator[Connection]:
        connection = self.database.connect(timeout)
        try:
            yield connection
        finally:
            connection.close()

    # ------------------------------------------------------------------------------------------------ what others see

    def _publish(self, view: View) -> None:
        """Tell the estate about this host when its key says something else, perhaps because of an earlier word that
        was late.
        """
        self._role = self._role_now()
        if view.stored is None or not self.lease.id:
            return
        replication = self._seen.replication
        member = Member(
            host=self.config.host,
            address=self.config.address,
            version=__version__,
            lease=self.lease.id,
            role=self._role,
            io_running=bool(replication and replication.io_running),
            sql_running=bool(replication and replication.sql_running),
            replicates_from=self._name_of(replication.host) if replication else None,
            semi_sync_replica=self._seen.semi_sync_replica,
            priority=self.config.priority(self.config.host),
            engine=self.config.engine,
            forked=self._seen.forked,
            disk_short=self._seen.disk_full or view.disk_free_fraction < self.config.policy.disk_reserve_fraction,
        )
        if view.stored.members.get(self.config.host) == member:
            return
        try:
            self.store.commit({}, [Put(f"members/{self.config.host}", to_json(member), lease=member.lease)])
        except EtcdError as error:
            _log.warning("not published: %s", error)

    def _role_now(self) -> Role:
        if self.config.engine == "none":
            return "primary" if self.may_be_writable else "replica"
        if not self.directory.seeded or self.seeding:
            return "unseeded"
        if not self._seen.running:
            return "starting" if self._seen.starting else "fenced" if self.host.fenced else "stopped"
        if self.host.fenced:
            return "fenced"
        return "replica" if self._seen.read_only else "primary"

    def _name_of(self, address: str) -> str:
        return next((name for name, known in self.config.hosts.items() if known == address), address)

    @property
    def is_primary(self) -> bool:
        """Whether this host was primary at the last look."""
        return self._role == "primary"

    def role(self) -> dict[str, Any]:
        """The short answer for load balancers and probes; it asks nobody, so it never blocks."""
        term = self._stored.term.term if self._stored and self._stored.term else None
        try:
            vips = self.host.held()
        except HostError:
            vips = {}
        return {
            "schema": 1,
            "host": self.config.host,
            "role": self._role,
            "term": term,
            "writable": self._role == "primary" and self.may_be_writable,
            "vips": vips,
            "at": utc(time.time()),
        }

    def replicates_from(self) -> str:
        """The address that this host was last seen to replicate from; empty when it does not."""
        return self._seen.replication.host if self._seen.replication else ""

    def lag_seconds(self) -> int | None:
        """How far this replica is behind, in seconds; None when unknown or not a replica."""
        replication = self._seen.replication
        return replication.lag_seconds if replication and replication.sql_running else None

    def status(self) -> dict[str, Any]:
        """Everything about this host and what it knows of the estate; fields as in ``docs/reference/agent.md``."""
        now = self.host.now()
        stored, health = self._ask_etcd()
        database = self._seen
        replication = database.replication
        vips = self.host.held()
        return {
            "schema": 1,
            "estate": self.config.estate,
            "host": self.config.host,
            "version": __version__,
            "role": self._role,
            "term": stored.term.term if stored and stored.term else None,
            "primary": stored.term.primary if stored and stored.term else None,
            "leader": {"holder": stored.leader.holder, "term": stored.leader.term}
            if stored and stored.leader
            else None,
            "sync": dataclasses.asdict(stored.sync)
            if stored and stored.sync and self.config.engine != "none"
            else None,
            "engine": self.config.engine,
            "priority": self.config.priority(self.config.host),
            "pause": dataclasses.asdict(stored.pause) if stored and stored.pause else None,
            "automation": automation(stored, self.host.wall(), self._began_at(), self.config.policy),
            "failsafe": {
                "active": self.lease.failsafe_until > now,
                "until_seconds": round(max(0.0, self.lease.failsafe_until - now), 1),
            },
            "election": election_of(stored),
            "history": [dataclasses.asdict(term) for term in stored.history[-5:]] if stored else [],
            "divergent": [{name: getattr(each, name) for name in _SAVED} for each in self.rejoin.saved()],
            "watchdog": "armed" if (Path(self.config.runtime_directory) / ARMED).exists() else "off",
            "lease": {
                "held": self.lease.valid_until > now,
                "remaining_seconds": round(max(0.0, self.lease.valid_until - now), 1),
            },
            "etcd": {
                "reachable": stored is not None,
                "endpoints": len(health),
                "healthy": sum(health.values()),
                "unhealthy": sorted(endpoint for endpoint, good in health.items() if not good),
            },
            "database": {
                "engine": self.config.engine,
                "running": database.running,
                "version": database.version,
                "read_only": database.read_only,
                "gtid_binlog_pos": database.gtid_binlog_pos,
                "gtid_slave_pos": database.gtid_slave_pos,
                "io_running": replication.io_running if replication else None,
                "sql_running": replication.sql_running if replication else None,
                "replicates_from": self._name_of(replication.host) if replication else None,
                "lag_seconds": replication.lag_seconds if replication else None,
                "semi_sync_clients": database.semi_sync_clients,
                "relay_pending": database.relay_pending,
                "error": database.error or (replication.error if replication else ""),
            },
            "vips": {
                vip.name: {
                    "address": vip.address,
                    "follows": vip.follows,
                    "held": vips.get(vip.name, False),
                }
                for vip in self.config.vips
            },
            "members": {
                name: {"role": member.role, "version": member.version} for name, member in stored.members.items()
            }
            if stored
            else {},
            "lock": dataclasses.asdict(stored.lock) if stored and stored.lock else None,
            "problems": [{"code": code, "message": message} for code, message in self._problems],
            "at": utc(time.time()),
        }

    def _ask_etcd(self) -> tuple[Stored | None, dict[str, bool]]:
        """The estate's keys as they are now, and which endpoints answer."""
        client = self.store.clone()
        try:
            health = client.healthy()
            return client.read() if any(health.values()) else None, health
        except EtcdError as error:
            _log.warning("etcd: %s", error)
            return None, health
        finally:
            client.close()

    # ------------------------------------------------------------------------------------------------ peers

    def answer_peer(self, caller: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """The replies of :class:`failover_agent.peer.PeerHandler`."""
        request = body or {}
        try:
            match path:
                case "/position":
                    return self.position()
                case "/size":
                    return {"bytes": self.directory.copy_bytes()}
                case "/facts":
                    return dataclasses.asdict(self.facts(str(request["position"]), str(request["run_id"])))
                case "/prepare":
                    return self._prepare(caller, str(request["run_id"]))
                case "/cancel":
                    return self._cancel(str(request["run_id"]))
                case "/approach" | "/catch_up":
                    return self._catch_up(str(request["run_id"]), str(request["position"]), float(request["limit"]))
                case "/promote":
                    return self._promoted(caller, str(request["run_id"]), int(request["term"]))
                case "/stop_receiving":
                    return dataclasses.asdict(self.elector.stop_receiving(caller, int(request["term"])))
                case "/knows":
                    return {"term": self._known_term}
                case "/failsafe":
                    return self._promise(caller, int(request["term"]), str(request["primary"]))
                case "/acknowledge":
                    return self._acknowledge(int(request["sync"]))
                case "/step_down":
                    return self._told_to_step_down(caller, str(request["run_id"]))
        except (DatabaseError, EtcdError, HostError) as error:
            raise PeerError(str(error)) from error
        raise PeerError(f"{path} is no call of this agent ({__version__})")

    def stream_to_peer(self, caller: str, path: str) -> Iterator[bytes]:
        """A copy of the running database for a host that has to be seeded."""
        if path != "/stream/seed":
            raise PeerError(f"{path} is no stream of this agent ({__version__})")
        if not self._seen.running or self._role != "primary":
            raise PeerError(f"{self.config.host} is {self._role}, not primary: no copy is made from it")
        _log.info("seeding %s", caller)
        try:
            yield from stream_backup(self.database.client_options())
        except SeedError as error:
            _log.error("seeding %s: %s", caller, error)
            raise

    def position(self) -> dict[str, Any]:
        """What the local server holds and whether it can be written, asked now. Without one, only whether it leads."""
        if self.config.engine == "none":
            nothing = {"gtid_io_pos": "", "gtid_binlog_pos": "", "applied": ""}
            return {**nothing, "read_only": not self.may_be_writable, "disk_free_fraction": 1.0}
        with self._connection(1.0) as connection:
            database = read_database(connection, self.config.hosts)
        replication = database.replication
        return {
            "gtid_io_pos": replication.gtid_io_pos if replication else "",
            "gtid_binlog_pos": database.gtid_binlog_pos,
            "applied": database.gtid_slave_pos if database.errant else database.position,
            "read_only": database.read_only,
            "disk_free_fraction": self.host.disk_free_fraction(),
        }

    def _prepare(self, caller: str, run_id: str) -> dict[str, Any]:
        """Expect to be promoted within seconds: keepalived leaves FAULT now, and takes the address when the old
        primary lets go of it. Without a promotion the rules close the gate again.
        """
        with self.act:
            self.prepared_for = run_id
            self.prepared_until = self.host.now() + PREPARED_SECONDS
            self.host.open_gate(prepared=True)
        _log.info("prepared by %s for switchover %s", caller, run_id)
        return {}

    def facts(self, position: str, run_id: str) -> gates.HostFacts:
        """This host as one side of switchover ``run_id``; waits up to ``lag_limit`` seconds for ``position``."""
        policy = self.config.policy
        follows = any(vip.follows == "primary" for vip in self.config.vips)
        prepared = self.prepared_for if self.prepared_for != run_id and self.host.now() < self.prepared_until else ""
        facts = gates.HostFacts(
            host=self.config.host,
            disk_free_fraction=self.host.disk_free_fraction(),
            keepalived_running=not follows or self.host.unit_active("keepalived.service"),
            busy=self.seeding or (f"prepared for switchover {prepared}" if prepared else ""),
        )
        if self.config.engine == "none":
            return facts
        try:
            with self._connection(policy.lag_limit + 1.0) as connection:
                caught_up = self.database.wait_for(connection, position, policy.lag_limit)
                return dataclasses.replace(
                    facts,
                    caught_up=caught_up,
                    database=read_database(connection, self.config.hosts),
                    settings=self.database.settings(connection),
                )
        except DatabaseError as error:
            return dataclasses.replace(facts, database=Database(running=False, error=str(error)))

    def _cancel(self, run_id: str) -> dict[str, Any]:
        with self.act:
            if self.prepared_for == run_id:
                self.prepared_for, self.prepared_until = "", 0.0
                self.wake.set()
        return {}

    def _catch_up(self, run_id: str, position: str, limit: float) -> dict[str, Any]:
        if self.prepared_for != run_id:
            raise PeerError(f"not prepared for {run_id}")
        self.prepared_until = self.host.now() + PREPARED_SECONDS
        with self._connection(limit + 1.0) as connection:
            return {"caught_up": self.database.wait_for(connection, position, limit)}

    def _promoted(self, caller: str, run_id: str, term: int) -> dict[str, Any]:
        if self.prepared_for != run_id:
            raise PeerError(f"not prepared for {run_id}")
        started = time.monotonic()
        with self.act:
            stored = self.store.read()
            self.learn(stored)
            leader = stored.leader
            if leader is None or (leader.holder, leader.term, leader.lease) != (
                self.config.host,
                term,
                self.lease.id,
            ):
                raise PeerError(f"term {term} does not name {self.config.host}: {leader}")
            sync = stored.sync
            if self.config.engine != "none":
                self.promote(
                    term,
                    wait_for_replica=sync is not None and sync.term == term and sync.mode == "strict",
                )
            self.open_gate()
            self._role = "primary"
            _log.warning("primary in term %d, handed over by %s", term, caller)
            self.prepared_for, self.prepared_until = "", 0.0
        self.wake.set()
        return {"promoted": True, "ms": round((time.monotonic() - started) * 1000, 1)}

    def _promise(self, caller: str, term: int, primary: str) -> dict[str, Any]:
        """Promise an isolated primary to begin no election for a lease from now; with the reason if not.

        This host must know it as the leader: it then has begun no election that could still be on its way, as that
        would have needed a reading without a leader.
        """
        if not self.promising.acquire(timeout=_ASK_SECONDS / 4):
            return {"promised": False, "why": "an election is about to begin"}
        try:
            last = self._last
            leader = last.leader if last else None
            known = (
                last is not None and last.term is not None and (last.term.term, last.term.primary) == (term, primary)
            )
            if not known or leader is None or (leader.holder, leader.term) != (primary, term) or caller != primary:
                return {"promised": False, "why": f"{self.config.host} knows {leader} and {last and last.term}"}
            if not self.lease.unanswered:
                return {"promised": False, "why": f"etcd answers {self.config.host}"}
            self.promised_until = self.host.now() + self.config.policy.lease_ttl
            return {"promised": True, "why": ""}
        finally:
            self.promising.release()

    def _told_to_step_down(self, caller: str, run_id: str) -> dict[str, Any]:
        """A person runs a failover elsewhere, and this host still holds the leader key."""
        with self.turn(2 * _ASK_SECONDS):
            stored = self.store.read()
            self.learn(stored)
            self.step_down(stored, f"told by {caller} for run {run_id}")
            self.wake.set()
        return {}

    # ------------------------------------------------------------------------------------------------ commands

    def pause(self, by: str, reason: str, seconds: float) -> dict[str, Any]:
        """Let nothing be decided without a person for ``seconds``: no election, no step-down, no start of a database.

        A planned switchover and a failover by command go on working; a lost lease fences all the same.
        """
        if not 0 < seconds <= _LONGEST_PAUSE:
            raise CommandError("bad_request", f"a pause lasts up to {_LONGEST_PAUSE:.0f} seconds, not {seconds:g}")
        now = self.host.wall()
        value = Pause(by, reason, utc(now), utc(now + seconds))
        client = self.store.clone()
        try:
            put = Put("pause", to_json(value), lease=client.grant(seconds))
            client.commit({}, [put])
        except EtcdError as error:
            raise CommandError("quorum_lost", f"a pause needs etcd: {error}") from error
        finally:
            client.close()
        self.wake.set()
        return {"changed": True, "pause": dataclasses.asdict(value)}

    def resume(self, by: str) -> dict[str, Any]:
        """End a pause, and say that somebody has looked: failovers until now no longer count against the next."""
        client = self.store.clone()
        try:
            stored = client.read()
            paused = stored.pause is not None
            looked = Acknowledged(by, self.utc(), stored.term.term if stored.term else 0)
            client.commit({}, [Delete("pause"), Put("acknowledged", to_json(looked))])
        except EtcdError as error:
            raise CommandError("quorum_lost", f"resuming needs etcd: {error}") from error
        finally:
            client.close()
        self.wake.set()
        return {"changed": paused, "acknowledged": dataclasses.asdict(looked)}

    def bootstrap(self, primary: str) -> dict[str, Any]:
        """Name the first primary of a new estate. Changes nothing when one was named before."""
        if primary not in self.config.hosts:
            raise CommandError(
                "unknown_host",
                f"{primary} is no database host of this estate: {', '.join(self.config.hosts)}",
            )
        client = self.store.clone()
        try:
            stored = client.read()
            if stored.term is not None:
                return {"changed": False, "primary": stored.term.primary, "term": stored.term.term}
            term = Term(term=1, primary=primary, at=self.utc(), reason="bootstrap")
            changes: list[Put | Delete] = [
                Put("term", to_json(term)),
                Put("sync", to_json(Sync(term=1, primary=primary))),
                Put("history", history_json((), term)),
            ]
            changed = client.commit({"term": 0, "leader": 0, "sync": 0}, changes)
            stored = client.read()
        except EtcdError as error:
            raise CommandError("quorum_lost", f"etcd gave no answer: {error}") from error
        finally:
            client.close()
        self.wake.set()
        assert stored.term is not None
        return {"changed": changed, "primary": stored.term.primary, "term": stored.term.term}

    def adopt(self) -> dict[str, Any]:
        """Declare the local data directory to be the estate's: only on the host that the first term names."""
        if self.config.engine == "none":
            return {"changed": False}
        stored = self._stored
        if self.directory.seeded:
            return {"changed": False}
        if stored is None or stored.term is None or stored.term.primary != self.config.host:
            raise CommandError(
                "not_primary",
                f"{self.config.host} is not the primary of the estate; a replica is seeded, not adopted",
            )
        with self.act:
            if self.host.database_state() == "active":
                # It was started by somebody else, without the settings of the estate: the agent starts it again.
                _log.warning("adopting a running database: restarting it once")
                self.database.forget()
                self.host.stop_database()
            self.directory.adopt("adopted")
        self.wake.set()
        return {"changed": True}

    def seed(self, *, discard: bool, worthless: bool = False) -> dict[str, Any]:
        """Give this replica its first copy from the primary.

        ``discard`` allows to put data aside that is no fresh install's, ``worthless`` to delete it for room.
        """
        if self.config.engine == "none":
            raise CommandError("no_database", "this estate has no database (engine none): there is nothing to copy")
        if self.directory.seeded and not discard:
            return {"changed": False}
        with self.act:
            stored = self._stored
            if self.seeding:
                raise CommandError("busy", f"{self.config.host} is busy {self.seeding}")
            if stored is None or stored.term is None or stored.leader is None:
                raise CommandError("no_primary", "no primary leads at the moment, so there is nothing to copy from")
            if stored.term.primary == self.config.host:
                raise CommandError(
                    "already_primary",
                    f"{self.config.host} is the primary; it is what the others are seeded from",
                )
            source = stored.term.primary
            discard = discard or self.directory.half_seeded
            if self.host.database_state() == "active":
                foreign = () if discard else self.database.foreign_data()
                if foreign:
                    raise CommandError(
                        "foreign_data",
                        f"{self.config.host} holds data of its own: {', '.join(foreign[:5])}",
                    )
            elif not discard and not self._fresh():
                raise CommandError(
                    "foreign_data",
                    f"MariaDB does not run on {self.config.host}, so its data cannot be judged",
                )
            self.seeding = f"seeding from {source}"
        try:
            self.database.forget()
            self.host.stop_database()
            with contextlib.closing(self.connect(source)) as peer:
                size = int(peer.call("/size", timeout=_SIZE_SECONDS)["bytes"])
            position = self.directory.replace(
                lambda: self.connect(source).stream("/stream/seed"), source, size=size, worthless=worthless
            )
            self.host.start_database(keep_in_doubt=False)
            self._wait_answering(60.0)
            with self._connection(10.0) as connection:
                self.database.begin_at(connection, position)
            self.directory.adopt(source)
        except (SeedError, PeerError, HostError, DatabaseError, OSError) as error:
            raise CommandError("seed_failed", str(error)) from error
        finally:
            self.seeding = ""
        self.wake.set()
        return {"changed": True, "from": source, "position": position}

    def _fresh(self) -> bool:
        """Whether the stopped database was never more than Debian's fresh install: no schema folder beside its own."""
        own = {"mysql", "performance_schema", "sys"}
        folders = {path.name for path in Path(self.config.database_directory).iterdir() if path.is_dir()}
        return not {name for name in folders - STAYS if not name.startswith(("#", "."))} - own

    def _wait_answering(self, limit: float) -> None:
        deadline = time.monotonic() + limit
        while True:
            try:
                self.database.connect(1.0).close()
            except DatabaseError as error:
                if time.monotonic() > deadline:
                    raise DatabaseError(f"mariadbd did not answer within {limit:g} s: {error}") from error
                time.sleep(0.2)
            else:
                return

    def lock_acquire(self, owner: str, run_id: str, runbook: str, ttl_seconds: float) -> dict[str, Any]:
        """Take the estate lock for ``ttl_seconds``; the holder refreshes it by taking it again."""
        client = self.store.clone()
        try:
            # Another host may take it meanwhile for the very same run, or give it back.
            for _attempt in range(_LOCK_ATTEMPTS):
                stored = client.read()
                if stored.lock is not None and stored.lock.run_id != run_id:
                    return {"acquired": False, "lock": dataclasses.asdict(stored.lock)}
                acquired_at = stored.lock.acquired_at if stored.lock else self.utc()
                lock = Lock(owner=owner, run_id=run_id, runbook=runbook, acquired_at=acquired_at)
                put = Put("lock", to_json(lock), lease=client.grant(ttl_seconds))
                if client.commit(expected(stored, "lock"), [put]):
                    return {"acquired": True, "lock": dataclasses.asdict(lock)}
        except EtcdError as error:
            raise CommandError("quorum_lost", f"the estate lock needs etcd: {error}") from error
        finally:
            client.close()
        raise CommandError("busy", "the estate lock changes hands too fast; try again")

    def lock_release(self, run_id: str, *, force: bool) -> dict[str, Any]:
        """Give the estate lock back; ``force`` takes it from another run."""
        client = self.store.clone()
        try:
            stored = client.read()
            if stored.lock is None:
                return {"released": False, "lock": None}
            if stored.lock.run_id != run_id and not force:
                return {"released": False, "lock": dataclasses.asdict(stored.lock)}
            released = client.commit(expected(stored, "lock"), [Delete("lock")])
        except EtcdError as error:
            raise CommandError("quorum_lost", f"the estate lock needs etcd: {error}") from error
        finally:
            client.close()
        return {"released": released, "lock": dataclasses.asdict(stored.lock)}


def automation(stored: Stored | None, wall: float, began: Mapping[int, float], policy: Policy) -> dict[str, Any]:
    """Whether the agents decide by themselves at the moment: ``active``, ``paused`` or ``held``, and why not."""
    held = elect.held_back(stored, wall, began, policy) if stored else None
    state = "active" if held is None else "paused" if held.code == "paused" else "held"
    count = len(elect.automatic_failovers(stored, wall, began)) if stored else 0
    return {"state": state, "why": held.why if held else "", "failovers_last_hour": count}


def election_of(stored: Stored | None) -> dict[str, Any] | None:
    """Who runs an election, for which term; None when nobody does."""
    leader, term = (stored.leader, stored.term) if stored else (None, None)
    if leader is None or term is None or leader.term <= term.term:
        return None
    return {"holder": leader.holder, "term": leader.term}


def _nobody_sleeps() -> None:
    """No guard has to be roused."""


def _looked_at(stored: Stored) -> int:
    """The revision of the key by which a person says to have looked."""
    return stored.revisions.get("acknowledged", 0)


def _no_promise(answer: dict[str, Any] | PeerError) -> str:
    """Why an answer to ``/failsafe`` is no promise; empty when it is one."""
    if isinstance(answer, PeerError):
        return str(answer)
    return "" if answer.get("promised") is True else str(answer.get("why") or "no reason")
