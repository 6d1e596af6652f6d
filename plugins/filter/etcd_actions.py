# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``etcd_actions``: what each host has to do to be a member."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: etcd_actions
short_description: What each host has to do to be a member of etcd
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Compares what every host knows about its member. Fails where a new cluster could be made beside an old one.
options:
  _input:
    description: Addresses of all hosts that should be members, by name.
    type: dict
    required: true
  hostvars:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  variable:
    description: Name of the variable in which each host registered M(hosting.failover.etcd_member_info).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ addresses | hosting.failover.etcd_actions(hostvars, '__etcd_info') }}"
"""

RETURN = r"""
_value:
  description: V(none), V(bootstrap), V(join), V(rejoin) or V(start) by name of the host.
  type: dict
  sample: {www1: none, www2: none, witness: join}
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.hosting.failover.plugins.module_utils import _etcd


def read_view(result: Any) -> _etcd.View | None:
    """Return the view from a registered result, None if the host was not looked at."""
    if not isinstance(result, Mapping) or "member" not in result:
        return None
    member = result["member"]
    return _etcd.View(
        has_data=bool(member["has_data"]),
        pending=bool(member["pending"]),
        active=bool(member["active"]),
        enabled=bool(member["enabled"]),
        healthy=bool(member["healthy"]),
        members=tuple(
            _etcd.Member(item["id"], item["name"], tuple(item["peer_urls"]), tuple(item["client_urls"]))
            for item in member["members"]
        ),
    )


def etcd_actions(
    addresses: Mapping[str, str], hostvars: Mapping[str, Mapping[str, Any]], variable: str
) -> dict[str, str]:
    """Return the action of each host. Raises ``AnsibleFilterError`` where it would not be safe."""
    views = {name: read_view(hostvars[name].get(variable)) for name in addresses}
    try:
        return dict(_etcd.decide_actions(addresses, views))
    except _etcd.EtcdRefusedError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"etcd_actions": etcd_actions}
