#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``etcd_member_info``: what a host's etcd member is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: etcd_member_info
short_description: Reads the state of a host's etcd member
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Tells whether the host has data, whether its member runs and is healthy, which members its cluster has, and whether
    files that
    it was started with have changed since.
options:
  name:
    description: Name of the member, the host's name in the inventory.
    type: str
    required: true
  addresses:
    description: Addresses of all hosts that should be members, by name.
    type: dict
    required: true
  data_directory:
    description: Data directory of the member.
    type: str
    required: true
  pki_directory:
    description: Directory with C(ca.crt), C(etcd.crt) and C(etcd.key).
    type: str
    default: /etc/etcd/pki
  bootstrap_file:
    description: Environment file of the member's first start.
    type: str
    default: /etc/etcd/bootstrap.env
  request_timeout_seconds:
    description: Seconds to wait for an answer of etcd.
    type: float
    default: 5.0
  restart_on:
    description: Paths that make a restart necessary when they are new. See M(hosting.failover.systemd_units).
    type: list
    elements: str
    default: []
  changed_files:
    description: Paths that changed in this play.
    type: list
    elements: str
    default: []
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
- name: Look at the member
  hosting.failover.etcd_member_info:
    name: "{{ inventory_hostname }}"
    addresses: {www1: 198.51.100.11, www2: 198.51.100.12, witness: 198.51.100.13}
    data_directory: /var/lib/etcd/failover
"""

RETURN = r"""
member:
  description: The member.
  returned: always
  type: dict
  contains:
    has_data:
      description: Whether the data directory holds a write-ahead log.
      type: bool
      sample: true
    pending:
      description: Whether the first start was prepared and its success not yet confirmed.
      type: bool
      sample: false
    active:
      description: Whether the unit runs or is starting.
      type: bool
      sample: true
    enabled:
      description: Whether the unit starts at boot.
      type: bool
      sample: true
    healthy:
      description: Whether the member serves linearizable reads.
      type: bool
      sample: true
    members:
      description: The members of its cluster with C(id), C(name), C(peer_urls) and C(client_urls).
      type: list
      elements: dict
      sample: [{id: "1", name: www1, peer_urls: ["https://198.51.100.11:2380"], client_urls:
      ["https://198.51.100.11:2379"]}]
    restart_reason:
      description: Why the running member has to be restarted, empty if it need not.
      type: str
      sample: /etc/default/etcd is newer than its start
problems:
  description: What is wrong with the cluster as this member sees it. Only this member's own health is known here.
  returned: always
  type: list
  elements: str
  sample: []
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _etcd, _units


def read_view(module: AnsibleModule, unit: _units.UnitState) -> _etcd.View:
    """Return what the host knows about its member and the cluster."""
    params = module.params
    pki = Path(params["pki_directory"])
    client = _etcd.Client(
        "127.0.0.1",
        str(pki / "ca.crt"),
        str(pki / "etcd.crt"),
        str(pki / "etcd.key"),
        params["request_timeout_seconds"],
    )
    active = unit.active in _units.RUNNING_STATES
    healthy = active and client.is_healthy()
    members: tuple[_etcd.Member, ...] = ()
    if healthy:
        try:
            members = client.list_members()
        except _etcd.EtcdError as error:
            module.warn(str(error))
            healthy = False
    return _etcd.View(
        has_data=any(Path(params["data_directory"], "member", "wal").glob("*.wal")),
        pending=Path(params["bootstrap_file"]).exists(),
        active=active,
        enabled=unit.unit_file in _units.ENABLED_STATES,
        healthy=healthy,
        members=members,
    )


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=_etcd.INFO_SPEC, supports_check_mode=True)
    params = module.params
    try:
        unit = _units.read_states(module, [_etcd.UNIT])[_etcd.UNIT]
    except _units.UnitsError as error:
        module.fail_json(msg=str(error))
    view = read_view(module, unit)
    newer = _units.find_newer(
        params["restart_on"], unit.started_at, params["changed_files"], _units.read_modified(set(params["restart_on"]))
    )
    member: dict[str, Any] = {
        **asdict(view),
        "restart_reason": f"{newer} is newer than its start" if newer and view.active else "",
    }
    problems = _etcd.decide_problems(params["addresses"], view.members, dict.fromkeys(params["addresses"], True))
    module.exit_json(changed=False, member=member, problems=list(problems) if view.healthy else ["it is not healthy"])


if __name__ == "__main__":
    main()
