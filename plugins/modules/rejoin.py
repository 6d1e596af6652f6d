#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``rejoin``: makes a host a replica of the current primary again."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rejoin
short_description: Makes a host a replica of the primary again, and saves what only it has
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Asks the agent of the host to follow the primary. It must run on the host that is to rejoin.
  - The agent takes the gentlest way that works. It attaches a host that has nothing of its own, undoes transactions
    that only this host has where that is possible, and else copies the primary's data anew.
  - Transactions that only this host has are saved as readable SQL, and as they are, before anything is undone or
    discarded.
options:
  run_id:
    description: The run that holds the lock of the estate.
    type: str
    required: true
  reclone:
    description: Copy the primary's data anew even if a gentler way would do.
    type: bool
    default: false
  timeout_seconds:
    description: Seconds to wait for the agent's answer. A new copy of a large database takes long.
    type: float
    default: 7200
  socket:
    description: The agent's command socket.
    type: path
    default: /run/failover-agent/agent.sock
attributes:
  check_mode:
    description: Says which way would be taken, and what only this host has.
    support: full
  diff_mode:
    description: Shows whether the host follows the primary, before and after.
    support: full
  idempotent:
    description: A host that follows the primary is left as it is, unless O(reclone) says otherwise.
    support: full
"""

EXAMPLES = r"""
- name: Rejoin
  hosting.failover.rejoin:
    run_id: 20261123T031500Z-rejoin-7f3a
"""

RETURN = r"""
result:
  description: What happened.
  returned: always
  type: str
  choices: [already, attached, flashed_back, recloned, possible, refused, failed]
  sample: attached
method:
  description: The way that is, or would be, taken.
  returned: always
  type: str
  sample: attach
divergent:
  description: The transactions that only this host has; null when there are none.
  returned: always
  type: dict
  contains:
    transactions:
      description: How many.
      type: int
      sample: 2
    sql:
      description: File on the host with their rows as SQL.
      type: str
      sample: /var/lib/failover-agent/divergent/20261123T031500Z.sql
    raw:
      description: File or folder on the host with the events as they were.
      type: str
      sample: /var/lib/failover-agent/divergent/20261123T031500Z.bin
steps:
  description: The steps with start and length in milliseconds.
  returned: always
  type: list
  elements: dict
  sample: [{name: attach, title: Follow the primary, at: 310.0, ms: 4.1, outcome: ok}]
failover_refused:
  description: True when a gate refused.
  returned: on failure
  type: bool
  sample: true
refusals:
  description: The reasons.
  returned: always
  type: list
  elements: dict
  sample: [{code: already_primary, message: www1 is the primary.}]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _agent

DONE = frozenset({"attached", "flashed_back", "recloned", "possible"})


def judge(outcome: dict[str, t.Any]) -> tuple[bool, dict[str, t.Any]]:
    """Whether the module succeeds, and its result, from the agent's answer."""
    result = {**outcome, "changed": outcome["result"] in {*DONE, "failed"}}
    if outcome["result"] == "already":
        return True, result
    if outcome["result"] in DONE:
        after = f"follows the primary: true\nby: {outcome.get('method')}\n"
        return True, {**result, "diff": {"before": "follows the primary: false\n", "after": after}}
    saved = saved_sentence(outcome.get("divergent"))
    if outcome["result"] == "refused":
        reasons = " ".join(refusal["message"] for refusal in outcome["refusals"])
        return False, {**result, "failover_refused": True, "msg": f"Rejoin refused: {reasons}{saved}"}
    return False, {**result, "msg": f"Not rejoined: {outcome['error']}.{saved} Look at `failoverctl status`."}


def saved_sentence(divergent: dict[str, t.Any] | None) -> str:
    """What only this host has and where it is kept, as a sentence that follows others; empty without any."""
    if not divergent:
        return ""
    where = f" It is saved in {divergent['sql']}." if divergent.get("sql") else ""
    return f" {divergent['transactions']} transactions are on this host only.{where}"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "reclone": {"type": "bool", "default": False},
            "timeout_seconds": {"type": "float", "default": 7200.0},
            **_agent.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    want = module.params
    request = {"command": "rejoin", "run_id": want["run_id"], "reclone": want["reclone"], "check": module.check_mode}
    try:
        outcome = _agent.call(want["socket"], request, want["timeout_seconds"])["rejoin"]
    except _agent.AgentError as error:
        module.fail_json(msg=f"Not rejoined: {error} Look at `failoverctl status` before anything else.")
    good, result = judge(outcome)
    if good:
        module.exit_json(**result)
    module.fail_json(**result)


if __name__ == "__main__":
    main()
