#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``estate_lock``: one runbook at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: estate_lock
short_description: Holds the lock of the estate for one run
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Takes or gives back the lock in etcd that keeps two runbooks from changing the estate at once.
  - The lock ends by itself after O(ttl_seconds). Taking it again in the same run refreshes it.
  - On a host without an agent there is nothing to lock and nothing happens, so that a first setup can start.
options:
  state:
    description: Whether the run holds the lock.
    type: str
    choices: [present, absent]
    default: present
  run_id:
    description: The run that holds the lock. Only the same run can give it back.
    type: str
    required: true
  owner:
    description: Who runs it, as it is shown to others.
    type: str
    default: ""
  runbook:
    description: Name of the runbook.
    type: str
    default: ""
  ttl_seconds:
    description: Seconds after which the lock ends by itself.
    type: float
    default: 900
  quorum_required:
    description:
      - Whether to refuse when etcd gives no answer. The runbook that repairs etcd says V(false), and goes on without
        a lock.
    type: bool
    default: true
  force:
    description: Take the lock away from another run. Only with O(state=absent).
    type: bool
    default: false
  socket:
    description: The agent's command socket.
    type: path
    default: /run/failover-agent/agent.sock
attributes:
  check_mode:
    description: Reports what would happen; a lock held by another run is an error here too.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: A second call changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Take the lock of the estate
  hosting.failover.estate_lock:
    run_id: 20261123T031500Z-switchover-7f3a
    runbook: switchover
    owner: anna@controller
"""

RETURN = r"""
lock:
  description: The lock as it is now or was before it was given back; null where there is none.
  returned: always
  type: dict
  sample: {owner: anna@controller, run_id: 20261123T031500Z-switchover-7f3a, runbook: switchover}
estate:
  description: The agent's status at that moment, for the journal; null without an agent.
  returned: always, but when another run holds the lock
  type: dict
  sample: {host: www1, role: primary, term: 3}
failover_refused:
  description: True when etcd gives no answer and O(quorum_required) is true.
  returned: on failure
  type: bool
  sample: true
failover_locked:
  description: True when another run holds the lock.
  returned: on failure
  type: bool
  sample: true
"""

import typing as t
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _agent

#: How long an agent may take to start, in seconds.
START_SECONDS = 15.0


def with_age(lock: dict[str, t.Any], now: datetime) -> dict[str, t.Any]:
    """The lock and how many seconds ago it was taken."""
    taken = datetime.fromisoformat(str(lock["acquired_at"]).replace("Z", "+00:00"))
    return {**lock, "age_seconds": round(max(0.0, (now - taken).total_seconds()))}


def refusal(lock: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the module fails with when another run holds the lock."""
    held = with_age(lock, datetime.now(UTC))
    text = (
        f"{held['runbook']} run {held['run_id']} of {held['owner']} holds the estate lock since {held['acquired_at']}"
    )
    return {"msg": f"{text} ({held['age_seconds']} s).", "failover_locked": True, "lock": held}


def quorum_lost(observed: str) -> dict[str, str]:
    """The refusal of a run that needs etcd while etcd gives no answer."""
    return {
        "code": "quorum_lost",
        "message": "etcd gives no answer, so neither a lock nor a new primary can be recorded.",
        "observed": observed,
        "limit": "a majority of etcd members",
        "fix": "Bring the etcd members back: `failoverctl status` counts those that answer.",
    }


def patiently(module: AnsibleModule) -> dict[str, t.Any]:
    """:func:`apply`; giving a lock back waits for an agent that is just being started, as the lock stays otherwise.

    Where there never was an agent, its folder is missing.
    """
    path = str(module.params["socket"])
    try:
        return apply(module)
    except _agent.AgentError as error:
        if (error.code, module.params["state"]) != ("absent", "absent") or not Path(path).parent.is_dir():
            raise
    try:
        _agent.wait_for_agent(path, START_SECONDS)
    except _agent.AgentError as error:
        if error.code == "absent":
            module.warn(f"The estate lock, if it was taken, stays until its time is over: {error}")
        raise
    return apply(module)


def apply(module: AnsibleModule) -> dict[str, t.Any]:
    """Take or give back the lock; the result of the module."""
    want = module.params
    estate = _agent.status(want["socket"])
    if not estate["etcd"]["reachable"]:
        raise _agent.AgentError("quorum_lost", f"no answer from {', '.join(estate['etcd']['unhealthy'])}")
    lock = estate["lock"]
    mine = lock is not None and lock["run_id"] == want["run_id"]
    if want["state"] == "absent":
        due = lock is not None and (mine or want["force"])
        if due and not module.check_mode:
            request = {"command": "lock_release", "run_id": want["run_id"], "force": want["force"]}
            due = bool(_agent.call(want["socket"], request)["released"])
        return {"changed": due, "lock": lock, "estate": estate}
    if lock is not None and not mine:
        module.fail_json(**refusal(lock))
    if module.check_mode:
        return {"changed": not mine, "lock": lock, "estate": estate}
    request = {"command": "lock_acquire", **{key: want[key] for key in ("run_id", "owner", "runbook", "ttl_seconds")}}
    answer = _agent.call(want["socket"], request)
    if not answer["acquired"]:
        module.fail_json(**refusal(answer["lock"] or lock or {}))
    return {"changed": not mine, "lock": answer["lock"], "estate": estate}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "run_id": {"type": "str", "required": True},
            "owner": {"type": "str", "default": ""},
            "runbook": {"type": "str", "default": ""},
            "ttl_seconds": {"type": "float", "default": 900.0},
            "quorum_required": {"type": "bool", "default": True},
            "force": {"type": "bool", "default": False},
            **_agent.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**patiently(module))
    except _agent.AgentError as error:
        if error.code == "absent":
            module.exit_json(changed=False, lock=None, estate=None)
        if error.code != "quorum_lost":
            module.fail_json(msg=f"The estate lock cannot be read: {error}")
        if module.params["state"] == "absent" or not module.params["quorum_required"]:
            module.warn(f"The run goes on without the estate lock: {error}")
            module.exit_json(changed=False, lock=None, estate=None)
        module.fail_json(msg=f"Refused: {error}", failover_refused=True, refusals=[quorum_lost(str(error))])


if __name__ == "__main__":
    main()
