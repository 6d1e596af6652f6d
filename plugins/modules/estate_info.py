#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``estate_info``: what the agent of a host knows of the estate."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: estate_info
short_description: Reads the state of the estate from the agent of a host
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Asks the failover agent of the host it runs on for role, term, sync set, database, addresses and lock.
  - A host without an agent is no error; O(wait_for) is what insists.
options:
  wait_for:
    description:
      - Wait until the host is what is asked for. V(settled) is a writable primary, or a replica that replicates and
        is in the sync set. V(quorum) is an agent that reads etcd.
    type: str
    choices: [nothing, settled, quorum]
    default: nothing
  timeout_seconds:
    description: Seconds to wait at most.
    type: float
    default: 60
  socket:
    description: The agent's command socket.
    type: path
    default: /run/failover-agent/agent.sock
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Read the state of the estate
  hosting.failover.estate_info:
  register: status
"""

RETURN = r"""
available:
  description: Whether an agent answered.
  returned: always
  type: bool
  sample: true
estate:
  description: The agent's status; null when none answered.
  returned: always
  type: dict
  sample: {host: www1, role: primary, term: 3}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _agent


def quorum_problem(estate: dict[str, t.Any]) -> str:
    """Why the agent cannot read etcd; empty when it can."""
    etcd = estate["etcd"]
    return "" if etcd["reachable"] else f"etcd gives it no answer: {', '.join(etcd['unhealthy'])}"


PROBLEMS = {"settled": _agent.serving_problem, "quorum": quorum_problem}


def wait(path: str, wanted: str, timeout_seconds: float) -> tuple[dict[str, t.Any] | None, str]:
    """The last status and why the host is not as it is wanted; an empty reason when it is."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            estate = _agent.status(path)
            problem = PROBLEMS[wanted](estate)
        except _agent.AgentError as error:
            estate, problem = None, str(error)
        if not problem or time.monotonic() > deadline:
            return estate, problem
        time.sleep(0.2)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "wait_for": {"type": "str", "choices": ["nothing", *PROBLEMS], "default": "nothing"},
            "timeout_seconds": {"type": "float", "default": 60.0},
            **_agent.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    path = module.params["socket"]
    if module.params["wait_for"] in PROBLEMS:
        estate, problem = wait(path, module.params["wait_for"], module.params["timeout_seconds"])
        if problem:
            limit = module.params["timeout_seconds"]
            module.fail_json(msg=f"The host did not settle within {limit:g} s: {problem}", estate=estate)
        module.exit_json(available=True, estate=estate)
    try:
        module.exit_json(available=True, estate=_agent.status(path))
    except _agent.AgentError as error:
        module.exit_json(available=False, estate=None, reason=str(error))


if __name__ == "__main__":
    main()
