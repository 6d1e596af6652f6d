#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``estate``: the first term of an estate."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: estate
short_description: Names the first primary of an estate
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Writes the first term to etcd, once in the life of an estate, and lets the named host adopt its data directory.
  - In an estate that has a term nothing is changed, whatever O(primary) says. The primary is changed by a switchover.
options:
  primary:
    description: The first primary. Its data is kept; the other hosts are seeded from it.
    type: str
    required: true
  host:
    description: Inventory name of the host the module runs on.
    type: str
    required: true
  timeout_seconds:
    description: Seconds to wait for the agent, and on the primary for the writable database.
    type: float
    default: 90
  socket:
    description: The agent's command socket.
    type: path
    default: /run/failover-agent/agent.sock
attributes:
  check_mode:
    description: Reports whether a first term would be written.
    support: full
  diff_mode:
    description: Shows the term before and after.
    support: full
  idempotent:
    description: A second call changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Name the first primary
  hosting.failover.estate:
    primary: www1
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
term:
  description: The term the estate is in; null in check mode on a host without an agent.
  returned: always
  type: int
  sample: 1
primary:
  description: The primary of that term.
  returned: always
  type: str
  sample: www1
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _agent


def decided(path: str, deadline: float) -> dict[str, t.Any]:
    """The agent's status once it has heard from etcd.

    :raises _agent.AgentError: it has not by ``deadline`` (monotonic seconds).
    """
    while True:
        estate = _agent.wait_for_agent(path, max(1.0, deadline - time.monotonic()))
        if estate["etcd"]["reachable"]:
            return estate
        if time.monotonic() > deadline:
            raise _agent.AgentError("quorum_lost", f"etcd gives the agent no answer: {estate['etcd']['unhealthy']}")
        time.sleep(0.2)


def settle(module: AnsibleModule, deadline: float) -> dict[str, t.Any]:
    """Wait until the primary of the term, if it is this host, is writable."""
    while True:
        estate = decided(module.params["socket"], deadline)
        if estate["primary"] != module.params["host"] or estate["role"] == "primary":
            return estate
        if time.monotonic() > deadline:
            words = "; ".join(problem["message"] for problem in estate["problems"]) or estate["database"]["error"]
            raise _agent.AgentError("not_writable", f"the primary is still {estate['role']}: {words}")
        time.sleep(0.2)


def apply(module: AnsibleModule) -> dict[str, t.Any]:
    """Write the first term if there is none; the result of the module."""
    want = module.params
    if module.check_mode:
        estate = _agent.status(want["socket"])
        if not estate["etcd"]["reachable"]:
            module.warn("etcd gives the agent no answer, so whether the estate has a term is not known")
            return {"changed": False, "term": None, "primary": want["primary"]}
        adopts = estate["primary"] == want["host"] and estate["role"] == "unseeded"
        changed = estate["term"] is None or adopts
        return {"changed": changed, "term": estate["term"], "primary": estate["primary"] or want["primary"]}
    deadline = time.monotonic() + want["timeout_seconds"]
    before = decided(want["socket"], deadline)["term"]
    answer = _agent.call(want["socket"], {"command": "bootstrap", "primary": want["primary"]})
    changed = bool(answer["changed"])
    if answer["primary"] == want["host"]:
        while True:
            try:
                changed = bool(_agent.call(want["socket"], {"command": "adopt"}, 150.0)["changed"]) or changed
                break
            except _agent.AgentError as error:
                if error.code != "not_primary" or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
    estate = settle(module, deadline)
    diff = {"before": f"term: {before}\n", "after": f"term: {estate['term']}\nprimary: {estate['primary']}\n"}
    return {"changed": changed, "term": estate["term"], "primary": estate["primary"], "diff": diff if changed else {}}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "primary": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "timeout_seconds": {"type": "float", "default": 90.0},
            **_agent.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply(module))
    except _agent.AgentError as error:
        if module.check_mode and error.code == "absent":
            module.exit_json(changed=True, term=None, primary=module.params["primary"])
        module.fail_json(msg=f"The first term was not settled: {error}")


if __name__ == "__main__":
    main()
