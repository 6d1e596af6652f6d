#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``database_replica``: a replica has its first copy of the data."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: database_replica
short_description: Seeds a replica from the primary
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Gives a host that has no data of the estate a copy of the primary's, made by mariadb-backup and streamed from agent
    to agent. What the data directory held is moved aside, within it, and kept until another copy replaces this one.
  - A host that holds data of its own is refused unless O(discard) is true.
  - On the primary and on a replica that is seeded already nothing happens.
options:
  discard:
    description: Whether data that is no fresh install's may be put aside.
    type: bool
    default: false
  timeout_seconds:
    description: Seconds the copy may take.
    type: float
    default: 3600
  socket:
    description: The agent's command socket.
    type: path
    default: /run/failover-agent/agent.sock
attributes:
  check_mode:
    description: Reports whether the host would be seeded.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: A seeded host is left alone.
    support: full
"""

EXAMPLES = r"""
- name: Seed the replica
  hosting.failover.database_replica:
    discard: false
"""

RETURN = r"""
source:
  description: The host the copy came from; empty when none was made.
  returned: always
  type: str
  sample: www1
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _agent


def apply(module: AnsibleModule) -> dict[str, t.Any]:
    """Seed the host if it is not; the result of the module."""
    want = module.params
    if _agent.status(want["socket"])["role"] != "unseeded":
        return {"changed": False, "source": ""}
    if module.check_mode:
        return {"changed": True, "source": ""}
    answer = _agent.call(want["socket"], {"command": "seed", "discard": want["discard"]}, want["timeout_seconds"])
    return {"changed": answer["changed"], "source": answer.get("from", "")}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "discard": {"type": "bool", "default": False},
            "timeout_seconds": {"type": "float", "default": 3600.0},
            **_agent.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply(module))
    except _agent.AgentError as error:
        if module.check_mode and error.code == "absent":
            module.exit_json(changed=True, source="")
        advice = ""
        if error.code == "foreign_data":
            advice = " Save it, then name the host in agent_discard_data_on; its data directory is moved aside."
        module.fail_json(msg=f"The replica was not seeded: {error}.{advice}", code=error.code)


if __name__ == "__main__":
    main()
