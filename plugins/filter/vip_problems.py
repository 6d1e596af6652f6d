# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``vip_problems``: whether each virtual IP has its one holder."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: vip_problems
short_description: What is wrong with the holders of virtual IPs
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Compares what all hosts of an estate see. Right is that exactly one host holds each virtual IP,
    that it may hold it, and that nobody else answers for it on the network.
options:
  _input:
    description: Virtual IPs, each with C(name), C(address) and C(follows).
    type: list
    elements: dict
    required: true
  members:
    description: Names of the hosts by what a virtual IP follows.
    type: dict
    required: true
  seen:
    description: RV(hosting.failover.host_info#module:host) by name of the host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Assert that each virtual IP has its one holder
  ansible.builtin.assert:
    that: vips | hosting.failover.vip_problems(members, seen) | length == 0
"""

RETURN = r"""
_value:
  description: Sentences, none if all is well.
  type: list
  elements: str
  sample: ["virtual IP site (198.51.100.10) is on www1 and www2 at the same time"]
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.hosting.failover.plugins.plugin_utils import _vips


def vip_problems(
    vips: Sequence[Mapping[str, Any]],
    members: Mapping[str, Sequence[str]],
    seen: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Return in sentences what is wrong with the holders of the virtual IPs."""
    parsed = {name: _vips.parse_seen(host) for name, host in seen.items()}
    return list(_vips.find_problems(vips, members, parsed))


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"vip_problems": vip_problems}
