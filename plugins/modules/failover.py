#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``failover``: makes a replica primary when the primary is gone."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: failover
short_description: Makes a replica primary when the primary is gone
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Asks the agent of this host for an unplanned failover. It may run on any database host whose agent answers.
  - All gates are in the agent. It refuses while the primary is alive, and while a host is silent that may hold the only
    copy of an acknowledged write. RV(possible_loss) then says exactly what may be lost.
  - A replica is promoted only after every member of the sync set that answers has stopped receiving, so that the old
    primary can acknowledge nothing any more.
options:
  to:
    description: The new primary. Empty lets the agents elect the replica with the most advanced position.
    type: str
    default: ""
  run_id:
    description: The run that holds the lock of the estate.
    type: str
    required: true
  accept_data_loss:
    description: Go on although a silent member of the sync set may hold acknowledged writes that nobody else has.
    type: bool
    default: false
  confirm_fenced:
    description:
      - Hosts that are certainly off, said by a person who has seen to it. Without a majority of etcd nothing else can
        prove it.
      - A host named here that still runs makes two primaries.
    type: list
    elements: str
    default: []
  since_term:
    description:
      - The term that is to be left. If the estate is in a later one by now, with a primary that is alive (and is O(to),
        if that is given), automation was faster, and nothing is done.
    type: int
  timeout_seconds:
    description: Seconds to wait for the agent's answer. A replica that has much to apply takes minutes.
    type: float
    default: 420
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
    description: With O(since_term). Without it a primary that is alive is a reason to refuse.
    support: partial
"""

EXAMPLES = r"""
- name: Fail over to the best replica
  hosting.failover.failover:
    run_id: 20261123T031500Z-failover-7f3a

- name: Fail over without the member that burnt
  hosting.failover.failover:
    to: www2
    accept_data_loss: true
    run_id: 20261123T031500Z-failover-7f3a
"""

RETURN = r"""
result:
  description: What happened.
  returned: always
  type: str
  choices: [promoted, already, possible, refused, failed]
  sample: promoted
engine:
  description: What the primary is primary of, V(mariadb) or V(none).
  returned: always
  type: str
  sample: mariadb
from:
  description: The old primary.
  returned: always
  type: str
  sample: www1
to:
  description: The new primary; null when none was found.
  returned: always
  type: str
  sample: www2
term_before:
  description: The term before.
  returned: always
  type: int
  sample: 3
term_after:
  description: The term after. The same as before when nobody was promoted.
  returned: always
  type: int
  sample: 4
position:
  description: The GTID position at which the new primary began; null without a database.
  returned: always
  type: str
  sample: 0-1-4711
possible_loss:
  description: What may be lost and why; null when every acknowledged write is on a host that answers.
  returned: always
  type: dict
  contains:
    why:
      description: The reason in a sentence.
      type: str
      sample: www3 is a member of the sync set and does not answer.
    silent:
      description: Hosts that may hold acknowledged writes that no other host has.
      type: list
      elements: str
      sample: [www3]
    mode:
      description: Mode of the sync set.
      type: str
      sample: strict
    last_known:
      description: The last position that is known of the silent hosts or of the old primary.
      type: str
      sample: 0-1-4711
steps:
  description: The steps with start and length in milliseconds.
  returned: always
  type: list
  elements: dict
  sample: [{name: stop_receiving, title: Stop receiving on every member, at: 310.0, ms: 4.1, outcome: ok}]
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
  sample: [{code: member_silent, message: www3 does not answer.}]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _agent


def judge(outcome: dict[str, t.Any]) -> tuple[bool, dict[str, t.Any]]:
    """Whether the module succeeds, and its result, from the agent's answer."""
    result = {**outcome, "changed": outcome["result"] in {"promoted", "possible", "failed"}}
    if outcome["result"] == "already":
        return True, result
    if outcome["result"] in {"promoted", "possible"}:
        before, after = f"primary: {outcome['from']}\n", f"primary: {outcome['to']}\n"
        return True, {**result, "diff": {"before": before, "after": after}}
    if outcome["result"] == "refused":
        reasons = " ".join(refusal["message"] for refusal in outcome["refusals"])
        text = f"Failover refused: {reasons}{loss_sentence(outcome.get('possible_loss'))}"
        return False, {**result, "failover_refused": True, "msg": text}
    if outcome["term_after"] == outcome["term_before"]:
        text = f"Nobody was promoted, as far as is known: {outcome['error']}"
    else:
        text = f"{outcome['to']} is primary in term {outcome['term_after']}, but not all went well: {outcome['error']}"
    return False, {**result, "msg": f"{text}. Look at `failoverctl status`."}


def loss_sentence(loss: dict[str, t.Any] | None) -> str:
    """What may be lost, as a sentence that follows others; empty when nothing can be."""
    if not loss:
        return ""
    known = f" The last position known is {loss['last_known']}." if loss.get("last_known") else ""
    return f" What may be lost: {str(loss['why']).rstrip('.')}.{known}"


def outrun(outcome: dict[str, t.Any], estate: dict[str, t.Any], to: str, since_term: int) -> dict[str, t.Any] | None:
    """The outcome when another host was made primary meanwhile, None when that is not why it was refused.

    :param estate: the agent's status after the refusal.
    """
    codes = [refusal["code"] for refusal in outcome["refusals"]]
    term, primary = estate.get("term"), estate.get("primary")
    if codes != ["primary_alive"] or not isinstance(term, int) or term <= since_term or to not in ("", primary):
        return None
    found = {"result": "already", "to": primary, "term_before": since_term, "term_after": term}
    return {**outcome, **found, "refusals": [], "possible_loss": None, "steps": []}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "to": {"type": "str", "default": ""},
            "run_id": {"type": "str", "required": True},
            "accept_data_loss": {"type": "bool", "default": False},
            "confirm_fenced": {"type": "list", "elements": "str", "default": []},
            "since_term": {"type": "int"},
            "timeout_seconds": {"type": "float", "default": 420.0},
            **_agent.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    want = module.params
    wanted = {key: want[key] for key in ("run_id", "to", "accept_data_loss", "confirm_fenced")}
    request = {"command": "failover", **wanted, "check": module.check_mode}
    try:
        outcome = _agent.call(want["socket"], request, want["timeout_seconds"])["failover"]
        if outcome["result"] == "refused" and want["since_term"] is not None:
            outcome = outrun(outcome, _agent.status(want["socket"]), want["to"], want["since_term"]) or outcome
    except _agent.AgentError as error:
        module.fail_json(msg=f"No failover: {error} Look at `failoverctl status` before anything else.")
    good, result = judge(outcome)
    if good:
        module.exit_json(**result)
    module.fail_json(**result)


if __name__ == "__main__":
    main()
