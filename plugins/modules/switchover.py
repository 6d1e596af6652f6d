#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``switchover``: hands the primary role to another host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: switchover
short_description: Hands the primary role to another host, as planned
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Asks the agent of the primary to make another host primary, without losing an acknowledged write. It must run on the
    host that is primary.
  - All gates are in the agent. It refuses with every reason at once, and undoes a switchover that fails before its
    commit.
options:
  to:
    description: The new primary. Empty lets the agent choose a member of the sync set.
    type: str
    default: ""
  run_id:
    description: The run that holds the lock of the estate.
    type: str
    required: true
  timeout_seconds:
    description: Seconds to wait for the agent's answer.
    type: float
    default: 60
  socket:
    description: The agent's command socket.
    type: path
    default: /run/failover-agent/agent.sock
attributes:
  check_mode:
    description: Checks all gates and changes nothing.
    support: full
  diff_mode:
    description: Shows the primary before and after.
    support: full
  idempotent:
    description: A host that is the primary already is refused, as there is nothing to hand over.
    support: none
"""

EXAMPLES = r"""
- name: Hand over to www2
  hosting.failover.switchover:
    to: www2
    run_id: 20261123T031500Z-switchover-7f3a
"""

RETURN = r"""
result:
  description: What happened.
  returned: always
  type: str
  choices: [switched, possible, refused, undone, failed]
  sample: switched
from:
  description: The old primary.
  returned: always
  type: str
  sample: www1
to:
  description: The new primary.
  returned: always
  type: str
  sample: www2
critical_ms:
  description: Milliseconds from the fence on the old primary until the new one was writable.
  returned: always
  type: float
  sample: 131.4
steps:
  description: The steps with start and length in milliseconds.
  returned: always
  type: list
  elements: dict
  sample: [{name: fence, title: Stop writes on the old primary, at: 310.0, ms: 4.1, outcome: ok}]
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
  sample: [{code: replica_lagging, message: www2 did not catch up within 2 s.}]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _agent


def judge(outcome: dict[str, t.Any]) -> tuple[bool, dict[str, t.Any]]:
    """Whether the module succeeds, and its result, from the agent's answer."""
    result = {**outcome, "changed": outcome["result"] in {"switched", "possible", "failed"}}
    if outcome["result"] in {"switched", "possible"}:
        result["diff"] = {"before": f"primary: {outcome['from']}\n", "after": f"primary: {outcome['to']}\n"}
        return True, result
    if outcome["result"] == "refused":
        reasons = " ".join(refusal["message"] for refusal in outcome["refusals"])
        return False, {**result, "failover_refused": True, "msg": f"Switchover refused: {reasons}"}
    if outcome["result"] == "undone":
        return False, {
            **result,
            "msg": f"Given up before the commit; {outcome['from']} serves again: {outcome['error']}",
        }
    if outcome["term_after"] == outcome["term_before"]:
        text = f"Nobody knows yet whether {outcome['to']} is primary; the agents settle it: {outcome['error']}"
    else:
        text = f"Past the commit: {outcome['to']} is primary, but not all went well: {outcome['error']}"
    return False, {**result, "msg": f"{text}. Look at `failoverctl status`."}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "to": {"type": "str", "default": ""},
            "run_id": {"type": "str", "required": True},
            "timeout_seconds": {"type": "float", "default": 60.0},
            **_agent.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    want = module.params
    request = {"command": "switchover", "to": want["to"], "run_id": want["run_id"], "check": module.check_mode}
    try:
        outcome = _agent.call(want["socket"], request, want["timeout_seconds"])["switchover"]
    except _agent.AgentError as error:
        module.fail_json(msg=f"No switchover: {error} Look at `failoverctl status` before anything else.")
    good, result = judge(outcome)
    if good:
        module.exit_json(**result)
    module.fail_json(**result)


if __name__ == "__main__":
    main()
