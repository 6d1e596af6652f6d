#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``automation``: whether the estate fails over by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: automation
short_description: Pauses and resumes what the estate does by itself
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - While automation is paused no replica is elected, no primary steps down, no stopped database is started and no host
    is copied anew. A primary that loses its lease is fenced all the same.
  - A pause ends by itself. V(active) ends it at once, and acknowledges earlier failovers, so that they no longer count
    against the next one.
  - It may run on any database host whose agent answers. It takes no lock, since a person must be able to pause an
    estate while a runbook is at work.
options:
  state:
    description: What automation shall be.
    type: str
    choices: [paused, active]
    required: true
  by:
    description: Who says so, as it is shown to others.
    type: str
    required: true
  reason:
    description: Why, as it is shown to others. Only with O(state=paused).
    type: str
    default: ""
  seconds:
    description:
      - How long the pause lasts from now on. Only with O(state=paused).
      - A pause of the same person for the same reason that lasts about as long already is left as it is.
    type: float
    default: 3600
  socket:
    description: The agent's command socket.
    type: path
    default: /run/failover-agent/agent.sock
attributes:
  check_mode:
    description: Reports whether anything would change.
    support: full
  diff_mode:
    description: Shows the pause before and after.
    support: full
  idempotent:
    description: Active automation is left as it is, and so is a pause that lasts about as long as asked for.
    support: full
"""

EXAMPLES = r"""
- name: Pause automation while the kernel is updated
  hosting.failover.automation:
    state: paused
    by: anna@controller
    reason: kernel update
    seconds: 1800

- name: Let the estate fail over by itself again
  hosting.failover.automation:
    state: active
    by: anna@controller
"""

RETURN = r"""
pause:
  description: The pause as it is now, null without one; in check mode as it was found.
  returned: always
  type: dict
  sample: {by: anna@controller, reason: kernel update, until: "2026-11-23T03:45:00.000Z"}
acknowledged:
  description: Who acknowledged the failovers until when.
  returned: when automation was resumed
  type: dict
  sample: {by: anna@controller, at: "2026-11-23T03:15:00.000Z"}
"""

import typing as t
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _agent

#: A pause that ends this much earlier or later than asked for is the one that was asked for.
NEAR_SECONDS = 60.0


def decide_pause(
    pause: dict[str, t.Any] | None, by: str, reason: str, seconds: float, now: datetime
) -> tuple[bool, str]:
    """Whether a pause has to be written, and why."""
    if pause is None:
        return True, "automation is active"
    if (pause.get("by"), pause.get("reason")) != (by, reason):
        return True, "the pause is somebody else's, or for another reason"
    left = (moment(str(pause["until"])) - now).total_seconds()
    if abs(left - seconds) > NEAR_SECONDS:
        return True, f"the pause lasts {left:.0f} s, not {seconds:.0f} s"
    return False, "it is paused so already"


def decide_active(estate: dict[str, t.Any]) -> tuple[bool, str]:
    """Whether automation has to be resumed, and why."""
    automation = estate.get("automation") or {}
    if estate.get("pause"):
        return True, "automation is paused"
    if automation.get("state") == "held":
        return True, f"automation is held back: {automation.get('why')}"
    if automation.get("failovers_last_hour"):
        return True, f"{automation['failovers_last_hour']} failovers count against the next one"
    return False, "automation is active already"


def moment(text: str) -> datetime:
    """A time of the agent, UTC ISO 8601."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def shown(pause: dict[str, t.Any] | None) -> str:
    """A pause as a line of a diff."""
    if pause is None:
        return "automation: active\n"
    return f"automation: paused by {pause.get('by')} until {pause.get('until')}: {pause.get('reason')}\n"


def apply(module: AnsibleModule) -> dict[str, t.Any]:
    """Pause or resume; the result of the module."""
    want = module.params
    estate = _agent.status(want["socket"])
    if not estate["etcd"]["reachable"]:
        raise _agent.AgentError("quorum_lost", "etcd gives no answer, so automation stands still anyway.")
    pause = estate.get("pause")
    # The agent's clock counts, as it is the one that wrote the pause.
    now = moment(str(estate["at"])) if estate.get("at") else datetime.now(UTC)
    if want["state"] == "paused":
        due, why = decide_pause(pause, want["by"], want["reason"], want["seconds"], now)
        request = {"command": "pause", **{key: want[key] for key in ("by", "reason", "seconds")}}
    else:
        due, why = decide_active(estate)
        request = {"command": "resume", "by": want["by"]}
    result: dict[str, t.Any] = {"changed": due, "pause": pause, "why": why}
    if due and not module.check_mode:
        answer = _agent.call(want["socket"], request)
        result["pause"] = answer.get("pause")
        if want["state"] == "active":
            # What the agent calls a change is the end of a pause; acknowledging is one too.
            result["acknowledged"] = answer.get("acknowledged")
        result["diff"] = {"before": shown(pause), "after": shown(answer.get("pause"))}
    elif due:
        after = f"automation: {want['state']}\n"
        result["diff"] = {"before": shown(pause), "after": after}
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["paused", "active"], "required": True},
            "by": {"type": "str", "required": True},
            "reason": {"type": "str", "default": ""},
            "seconds": {"type": "float", "default": 3600.0},
            **_agent.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    if module.params["seconds"] <= 0:
        module.fail_json(msg=f"A pause lasts longer than {module.params['seconds']:g} s.")
    try:
        module.exit_json(**apply(module))
    except _agent.AgentError as error:
        module.fail_json(msg=f"Automation was not changed: {error}")


if __name__ == "__main__":
    main()
