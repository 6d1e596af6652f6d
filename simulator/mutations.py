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

from failover_agent import agent, decide, lease, switchover
from failover_agent.etcd import EtcdError
from failover_agent.model import (
    Action,
    Fence,
    MakeReadOnly,
    RecordSync,
    StartDatabase,
    StopWaiting,
)

Replacement = tuple[object, str, Any]


@dataclass(frozen=True)
class Mutation:
    """One guard less. ``what`` says which, ``guards`` which invariant it serves."""

    name: str
    what: str
    guards: str
    replacements: Callable[[], list[Replacement]]


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

    return [(decide, "must_fence", late), (switchover, "must_fence", late)]


def _no_fence() -> list[Replacement]:
    return [(agent.Agent, "guard", lambda _self: None)]


def _stop_before_record(action: Action) -> tuple[Action, ...]:
    if isinstance(action, RecordSync) and action.mode == "degraded":
        return (StopWaiting(action.why), action)
    return (action,)


def _lease_from_answer() -> list[Replacement]:
    original = lease.Lease._renew

    def renew(self: lease.Lease) -> bool:
        good = original(self)
        if good:
            self._valid_until = self._now() + self._policy.lease_ttl
            if self._id == self._led:
                self._leads_until = self._valid_until
            self._note()
        return good

    return [(lease.Lease, "_renew", renew)]


def _without_expectations() -> list[Replacement]:
    def nothing(_stored: Any, *_keys: str) -> dict[str, int]:
        return {}

    return [(agent, "expected", nothing)]


def _doubtful_commit() -> list[Replacement]:
    def was_committed(self: switchover.Switchover, following: int) -> bool:
        with contextlib.suppress(EtcdError):
            now = self.agent.store.read()
            return now.term is not None and now.term.term >= following
        return False

    return [(switchover.Switchover, "_was_committed", was_committed)]


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("fence_margin", "the guard fences after the end of the lease", "I1", _no_margin),
    Mutation("no_guard", "nobody fences", "I1", _no_fence),
    Mutation("lease_from_answer", "the lease counts from the answer, not from the request", "I1", _lease_from_answer),
    Mutation("sync_after", "the primary stops waiting before sync says so", "I2, I4", _decided(_stop_before_record)),
    Mutation("keep_never", "init_rpl_role is always SLAVE", "no loss", _decided(_keep_in_doubt(False))),
    Mutation("keep_always", "init_rpl_role is always MASTER", "rejoin", _decided(_keep_in_doubt(True))),
    Mutation("no_comparison", "what is written is not compared with what was read", "I2", _without_expectations),
    Mutation("doubtful_commit", "a commit without an answer counts as failed", "I1", _doubtful_commit),
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
