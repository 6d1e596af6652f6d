# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Agents with one guard removed: the simulator must find what each guard is there for.

For tests only. A mutation replaces functions of the agent while it is applied; production code has no switches for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

from failover_agent import agent, decide, elect, election, guard, lease, switchover
from failover_agent.etcd import EtcdError
from failover_agent.mariadb import Connection, MariaDB
from failover_agent.model import (
    Action,
    Attach,
    CommitTerm,
    Fence,
    Flashback,
    MakeReadOnly,
    RecordSync,
    Salvage,
    StartApplying,
    StartDatabase,
    StopWaiting,
    View,
)
from failover_agent.policy import Policy

Replacement = tuple[object, str, Any]


@dataclass(frozen=True)
class Mutation:
    """One guard less. ``what`` says which, ``guards`` which invariant it serves.

    ``seed`` is, where it is rare, of a schedule that showed it: tried before all others, and perhaps out of date.
    """

    name: str
    what: str
    guards: str
    replacements: Callable[[], list[Replacement]]
    seed: int = 0


def _decided(change: Callable[[Action], tuple[Action, ...]]) -> Callable[[], list[Replacement]]:
    """Replace actions that the rules decided on."""

    def replacements() -> list[Replacement]:
        original = decide.decide

        def decided(*arguments: Any) -> tuple[Action, ...]:
            return tuple(new for action in original(*arguments) for new in change(action))

        return [(decide, "decide", decided)]

    return replacements


def _keep_in_doubt(keep: bool) -> Callable[[Action], tuple[Action, ...]]:
    return lambda action: (
        (dataclasses.replace(action, keep_in_doubt=keep),) if isinstance(action, StartDatabase) else (action,)
    )


def _no_margin() -> list[Replacement]:
    def late(now: float, lease_valid_until: float, policy: Any, *, writable: bool) -> bool:
        return writable and now >= lease_valid_until + policy.fence_margin

    original = guard.Guard.__init__

    def begin(self: guard.Guard, config: Any, host: Any) -> None:
        original(self, config, host)
        self._margin = -config.policy.fence_margin

    return [(decide, "must_fence", late), (switchover, "must_fence", late), (guard.Guard, "__init__", begin)]


def _blind_guard() -> list[Replacement]:
    return [(guard.Guard, "look", lambda _self: guard.IDLE_SECONDS)]


def _no_fence() -> list[Replacement]:
    return [(agent.Agent, "guard", _nothing)]


def _stop_before_record(action: Action) -> tuple[Action, ...]:
    if isinstance(action, RecordSync) and action.mode == "degraded":
        return (StopWaiting(action.why), action)
    return (action,)


def _renewed(change: Callable[[lease.Lease], None]) -> Callable[[], list[Replacement]]:
    """Change what is known after a good renewal."""

    def replacements() -> list[Replacement]:
        original = lease.Lease._renew

        def renew(self: lease.Lease) -> bool:
            good = original(self)
            if good:
                change(self)
                self._note()
            return good

        return [(lease.Lease, "_renew", renew)]

    return replacements


def _answered(known: lease.Lease) -> None:
    known._valid_until = known._now() + known._policy.lease_ttl
    if known._id == known._led:
        known._leads_until = known._valid_until


def _leads_by_any(known: lease.Lease) -> None:
    known._leads_until = known._valid_until


def _without_expectations() -> list[Replacement]:
    def nothing(_stored: Any, *_keys: str) -> dict[str, int]:
        return {}

    return [(agent, "expected", nothing), (switchover, "expected", nothing), (election, "expected", nothing)]


def _doubtful_commit() -> list[Replacement]:
    def was_committed(self: switchover.Switchover, following: int) -> bool:
        with contextlib.suppress(EtcdError):
            now = self.agent.store.read()
            return now.term is not None and now.term.term >= following
        return False

    return [(switchover.Switchover, "_was_committed", was_committed)]


def _seen(**changes: Any) -> Callable[[], list[Replacement]]:
    """Let the rules see something else; a callable gets the view."""

    def replacements() -> list[Replacement]:
        original = decide.decide

        def decided(view: View, policy: Policy) -> tuple[Action, ...]:
            values = {name: value(view) if callable(value) else value for name, value in changes.items()}
            return original(dataclasses.replace(view, **values), policy)

        return [(decide, "decide", decided)]

    return replacements


def _silent_members() -> list[Replacement]:
    original = election.Elector.ballots

    def ballots(self: election.Elector, term: int, hosts: Any) -> Any:
        return original(self, term, hosts)[0], ()

    return [(election.Elector, "ballots", ballots)]


class _Deaf:
    """A connection on which nothing is stopped, and everything says that it has."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, arguments: Any = ()) -> list[dict[str, Any]]:
        if statement.startswith("STOP SLAVE"):
            return []
        rows = self._connection.rows(statement, arguments)
        return [row | {"Slave_IO_Running": "No"} if "Slave_IO_Running" in row else row for row in rows]

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.rows(statement)

    def value(self, statement: str, arguments: Any = ()) -> Any:
        rows = self.rows(statement, arguments)
        return next(iter(rows[0].values())) if rows else None


def _still_receiving() -> list[Replacement]:
    original: Any = MariaDB.stop_receiving
    return [(MariaDB, "stop_receiving", lambda self, connection, *more: original(self, _Deaf(connection), *more))]


def _blind_commit() -> list[Replacement]:
    original = election.Elector.commit

    def commit(self: election.Elector, action: CommitTerm, view: View) -> None:
        store = self.agent.store
        compared = store.commit
        with mock.patch.object(store, "commit", lambda _expected, changes: compared({}, changes)):
            original(self, action, view)

    return [(election.Elector, "commit", commit)]


def _empty_promise() -> list[Replacement]:
    def promise(_self: agent.Agent, _caller: str, _term: int, _primary: str) -> dict[str, Any]:
        return {"promised": True, "why": ""}

    return [(agent.Agent, "_promise", promise)]


def _forgotten_promise() -> list[Replacement]:
    original = agent.Agent._promise

    def promise(self: agent.Agent, caller: str, term: int, primary: str) -> dict[str, Any]:
        answer = original(self, caller, term, primary)
        self.promised_until = 0.0
        return answer

    return [(agent.Agent, "_promise", promise)]


def _step_down_writable() -> list[Replacement]:
    original = agent.Agent.step_down

    def step_down(self: agent.Agent, stored: Any, why: str) -> None:
        with mock.patch.object(self, "_fence"):
            original(self, stored, why)

    return [(agent.Agent, "step_down", step_down)]


def _discard_received() -> list[Replacement]:
    def change(action: Action) -> tuple[Action, ...]:
        if isinstance(action, Attach):
            return (dataclasses.replace(action, keep_received=False),)
        return () if isinstance(action, Salvage) else (action,)

    return _decided(change)()


def _members_at_once() -> list[Replacement]:
    def complete(view: View, _stored: Any, sync: Any) -> tuple[str, ...]:
        return tuple(name for name in view.database.attached if name not in sync.members)

    return [(decide, "_complete", complete)]


def _two_gates() -> list[Replacement]:
    original = switchover.Switchover._move

    def move(self: switchover.Switchover, *arguments: Any) -> None:
        if self.agent.config.engine != "none":
            original(self, *arguments)

    return [(switchover.Switchover, "_move", move)]


def _nothing(*_arguments: Any) -> None:
    """Do nothing."""


def _empty(*_arguments: Any) -> str:
    return ""


def _everybody(view: View) -> tuple[str, ...]:
    return tuple(view.addresses)


def _no_confirmation() -> list[Replacement]:
    return [(agent.Agent, "_confirm_sync", _nothing)]


def _undo_at_once() -> list[Replacement]:
    original = decide._rejoin

    def rejoin(view: View, stored: Any, term: Any, error: str, policy: Policy) -> tuple[Action, ...]:
        return (Flashback(error),) if view.divergence == "saved" else original(view, stored, term, error, policy)

    return [(decide, "_rejoin", rejoin)]


def _any_replica() -> list[Replacement]:
    return [(decide, "well", lambda *_arguments: True)]


def _mute_for_good() -> list[Replacement]:
    return [(decide, "_hear_again", lambda *_arguments: ())]


def _loud() -> list[Replacement]:
    return [(decide, "_may_acknowledge", lambda *_arguments: True)]


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("fence_margin", "the guards fence after the end of the lease", "I1", _no_margin),
    Mutation("no_guard", "the agent does not guard its lease", "I1", _no_fence, 1604),
    Mutation("no_second_guard", "nobody fences for a frozen agent", "I1", _blind_guard),
    Mutation("lease_from_answer", "the lease counts from the answer, not from the request", "I1", _renewed(_answered)),
    Mutation("any_lease", "a new lease counts before the leader key hangs on it", "I1", _renewed(_leads_by_any)),
    Mutation("sync_after", "the primary stops waiting before sync says so", "I2, I4", _decided(_stop_before_record)),
    Mutation("no_confirmation", "a larger set still on its way is not overwritten first", "I2", _no_confirmation, 1797),
    Mutation("early_member", "a replica is recorded before it has received everything", "I2", _members_at_once, 397),
    Mutation("outsider", "a host outside the sync set begins elections", "I2", lambda: [(elect, "lacks", _empty)]),
    Mutation("silent_members", "an election goes on without the members that are silent", "I3", _silent_members, 463),
    Mutation("still_receiving", "a ballot is given without stopping to receive", "I3", _still_receiving, 1817),
    Mutation("loud_outsiders", "with three hosts all replicas acknowledge", "I3", _loud),
    Mutation(
        "no_expulsion",
        "a lost member's word counts after it left the set",
        "I3",
        _seen(silenced=_everybody, shut_out=_everybody),
    ),
    Mutation(
        "mute_for_good", "who was told to be silent, and stays a member, stays silent", "no stop", _mute_for_good, 4329
    ),
    Mutation("blind_commit", "the new term is written without comparison", "I3", _blind_commit, 3092),
    Mutation("empty_promise", "failsafe is promised to everybody at any time", "I1", _empty_promise),
    Mutation("forgotten_promise", "a failsafe promise is not kept", "I1", _forgotten_promise),
    Mutation("writable_step_down", "stepping down does not fence", "I1", _step_down_writable),
    Mutation("discard_received", "what is received and not applied is thrown away", "no loss", _discard_received, 306),
    Mutation("undo_at_once", "a fork is undone while the primary counts on the host", "I2", _undo_at_once),
    Mutation("any_replica", "a replica is taken back although its history forked", "I2", _any_replica, 413),
    Mutation("keep_never", "init_rpl_role is always SLAVE", "no loss", _decided(_keep_in_doubt(False))),
    Mutation("keep_always", "init_rpl_role is always MASTER", "rejoin", _decided(_keep_in_doubt(True))),
    Mutation(
        "apply_once",
        "what could not be applied is not tried again",
        "rejoin",
        _decided(lambda action: () if isinstance(action, StartApplying) else (action,)),
        735,
    ),
    Mutation("no_comparison", "what is written is not compared with what was read", "I2", _without_expectations),
    Mutation("doubtful_commit", "a switchover takes an unknown commit for none", "I1", _doubtful_commit),
    Mutation("two_gates", "without a database, a switchover leaves the old gate open", "I1", _two_gates),
    Mutation(
        "no_kill",
        "a former primary is made read-only instead of being killed",
        "no loss",
        _decided(lambda action: (MakeReadOnly(action.why),) if isinstance(action, Fence) else (action,)),
    ),
)
BY_NAME: Mapping[str, Mutation] = {mutation.name: mutation for mutation in MUTATIONS}


@contextlib.contextmanager
def applied(name: str) -> Iterator[None]:
    """Agents without one guard, until the end of the block. The empty name changes nothing."""
    with contextlib.ExitStack() as stack:
        if name:
            for target, attribute, value in BY_NAME[name].replacements():
                stack.enter_context(mock.patch.object(target, attribute, value))
        yield
