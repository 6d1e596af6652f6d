# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``nft_source``: an nftables match for packets from a network."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: nft_source
short_description: nftables match for packets from a network
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Returns the expression of nft that matches the source of a packet, for either family.
options:
  _input:
    description: A network in CIDR form or an address. Everything (V(0.0.0.0/0), V(::/0)) matches the family.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show a rule
  ansible.builtin.debug:
    msg: "{{ '198.51.100.0/26' | hosting.failover.nft_source }} tcp dport 22 accept"
"""

RETURN = r"""
_value:
  description: The expression.
  type: str
  sample: ip saddr 198.51.100.0/26
"""

import ipaddress
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError


def nft_source(network: str) -> str:
    """Return the match for a network. Raises ``AnsibleFilterError`` for a text that is none."""
    try:
        parsed = ipaddress.ip_network(network, strict=False)
    except ValueError as error:
        raise AnsibleFilterError(f"{network!r} is not a network: {error}") from error
    if parsed.prefixlen == 0:
        return f"meta nfproto ipv{parsed.version}"
    family = "ip" if parsed.version == 4 else "ip6"
    return f"{family} saddr {parsed.network_address if parsed.prefixlen == parsed.max_prefixlen else parsed}"


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"nft_source": nft_source}
