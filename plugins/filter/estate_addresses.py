# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``estate_addresses``: the addresses of hosts in the estate."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: estate_addresses
short_description: Addresses of hosts in the estate
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Maps names of hosts to C(failover_address), else C(ansible_host), else the name itself.
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: Variables of the hosts, usually the magic variable C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show who is in the estate
  ansible.builtin.debug:
    msg: "{{ groups['failover_database'] | hosting.failover.estate_addresses(hostvars) }}"
"""

RETURN = r"""
_value:
  description: Addresses by name of the host.
  type: dict
  sample: {www1: 198.51.100.11, www2: 198.51.100.12}
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def estate_addresses(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the address of each host, its name where the inventory gives none."""
    return {
        name: str(hostvars[name].get("failover_address") or hostvars[name].get("ansible_host") or name)
        for name in hosts
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"estate_addresses": estate_addresses}
