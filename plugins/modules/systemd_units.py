#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``systemd_units``: several units in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: systemd_units
short_description: Brings several systemd units to their state in one call
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Enables, starts, stops, restarts and reloads units, and reloads systemd itself when a unit file
    changed on disk. Units are handled in the given order.
  - Restart and reload follow from files. A unit is restarted when one of its O(units[].restart_on)
    changed in this play (O(changed_files)) or is younger than the unit's last start. So a run that
    was interrupted between file and restart is made good by the next one, which a handler is not.
options:
  units:
    description: The units, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the unit. The suffix C(.service) may be left out.
        type: str
        required: true
      enabled:
        description: Whether it starts at boot. Left alone if not given.
        type: bool
      state:
        description: Whether it runs. Left alone if not given.
        type: str
        choices: [started, stopped]
      restart_on:
        description:
          - Absolute paths of files or directories. If one is new, a running unit is restarted. A directory is as new as
            the youngest file below it, and counts when a path below it is in O(changed_files).
        type: list
        elements: str
        default: []
      reload_on:
        description: Like O(units[].restart_on), but the unit is reloaded.
        type: list
        elements: str
        default: []
  changed_files:
    description: The C(changed_files) of the tasks that wrote the configuration. Needed in check
      mode.
    type: list
    elements: str
    default: []
  timeout_seconds:
    description: Seconds after which a call of systemctl is a failure.
    type: int
    default: 90
attributes:
  check_mode:
    description: Reports the steps that would be taken. A unit that is not installed yet counts as
      one.
    support: full
  diff_mode:
    description: Shows the steps.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Run the daemon
  hosting.failover.systemd_units:
    units:
      - name: example
        enabled: true
        state: started
        restart_on: [/etc/default/example, /etc/example/pki]
        reload_on: [/etc/example/example.conf]
    changed_files: "{{ __example_files['changed_files'] }}"
"""

RETURN = r"""
steps:
  description: What was done, or would be done in check mode, in order.
  returned: always
  type: list
  elements: dict
  contains:
    verb:
      description: The verb of systemctl.
      type: str
      sample: restart
    unit:
      description: The unit, empty for C(daemon-reload).
      type: str
      sample: example.service
    reason:
      description: Why.
      type: str
      sample: /etc/default/example is newer than its start
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _units


def run_step(module: AnsibleModule, step: _units.Step) -> None:
    """Run one step; ends the module with the unit's last messages when it fails."""
    command = ["timeout", str(module.params["timeout_seconds"]), "systemctl", step.verb]
    command += ["--", step.unit] if step.unit else []
    code, _out, err = module.run_command(command)
    if code == 0:
        return
    what = f"systemctl {step.verb} {step.unit}".strip()
    why = f"took longer than {module.params['timeout_seconds']} s" if code == 124 else err.strip()
    journal = ""
    if step.unit:
        _code, journal, _err = module.run_command(
            ["journalctl", "--no-pager", "--lines=20", "--output=cat", f"--unit={step.unit}"]
        )
    module.fail_json(msg=f"{what} failed: {why}\n{journal.strip()}".strip())


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=_units.ARGUMENT_SPEC, supports_check_mode=True)
    wanted = [
        _units.WantedUnit(
            name=_units.full_name(item["name"]),
            enabled=item["enabled"],
            running=None if item["state"] is None else item["state"] == "started",
            restart_on=tuple(item["restart_on"]),
            reload_on=tuple(item["reload_on"]),
        )
        for item in module.params["units"]
    ]
    watched = {path for item in wanted for path in (*item.restart_on, *item.reload_on)}
    try:
        states = _units.read_states(module, [item.name for item in wanted])
    except _units.UnitsError as error:
        module.fail_json(msg=str(error))
    missing = [name for name, state in states.items() if state.load == "not-found"]
    needed = [item.name for item in wanted if item.name in missing and (item.enabled or item.running)]
    if needed and not module.check_mode:
        module.fail_json(msg=f"systemd knows no unit {', '.join(needed)} on this host")
    steps = _units.decide_steps(
        wanted, states, module.params["changed_files"], _units.read_modified(watched), _units.read_drop_ins(states)
    )
    if not module.check_mode:
        for step in steps:
            run_step(module, step)
    after = "".join(f"systemctl {step.verb} {step.unit}  # {step.reason}\n" for step in steps)
    module.exit_json(
        changed=bool(steps),
        steps=[dataclasses.asdict(step) for step in steps],
        diff={"before_header": "units", "after_header": "units", "before": "", "after": after},
    )


if __name__ == "__main__":
    main()
