# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``vrrp_instances``: the VRRP instances of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: vrrp_instances
short_description: VRRP instances of a host
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Chooses the virtual IPs that a host may hold, with the priority of the host and its peers.
options:
  _input:
    description: Virtual IPs, each with C(name), C(address), C(vrid) and C(follows).
    type: list
    elements: dict
    required: true
  host:
    description: Name of the host.
    type: str
    required: true
  members:
    description: Names of the hosts by what a virtual IP follows.
    type: dict
    required: true
  addresses:
    description: Estate addresses by name of the host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what this host may hold
  ansible.builtin.debug:
    msg: "{{ vips | hosting.failover.vrrp_instances('www1', {'primary': ['www1', 'www2']}, addresses) }}"
  vars:
    vips: [{name: site, address: 198.51.100.10, vrid: 51, follows: primary}]
    addresses: {www1: 198.51.100.11, www2: 198.51.100.12}
"""

RETURN = r"""
_value:
  description: Instances with C(name), C(vrid), C(address), C(follows), C(priority) and C(peers).
  type: list
  elements: dict
  sample: [{name: site, vrid: 51, address: 198.51.100.10, follows: primary, priority: 254, peers: [198.51.100.12]}]
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.hosting.failover.plugins.plugin_utils import _vips


def vrrp_instances(
    vips: Sequence[Mapping[str, Any]],
    host: str,
    members: Mapping[str, Sequence[str]],
    addresses: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return the VRRP instances of a host as dictionaries."""
    try:
        instances = _vips.decide_instances(vips, host, members, addresses)
    except _vips.VipsError as error:
        raise AnsibleFilterError(str(error)) from error
    return [{**asdict(item), "peers": list(item.peers)} for item in instances]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"vrrp_instances": vrrp_instances}
