# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``server_id``: MariaDB's server id from an address."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: server_id
short_description: MariaDB's server id from an IPv4 address
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - The 32-bit number of the address, which is unique in an estate because addresses are.
options:
  _input:
    description: An IPv4 address.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the server id
  ansible.builtin.debug:
    msg: "{{ '198.51.100.11' | hosting.failover.server_id }}"
"""

RETURN = r"""
_value:
  description: The server id.
  type: int
  sample: 3325256715
"""

import ipaddress
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError


def server_id(address: str) -> int:
    """Return the number of the address.

    :raises AnsibleFilterError: the text is no IPv4 address.
    """
    try:
        return int(ipaddress.IPv4Address(address))
    except ipaddress.AddressValueError as error:
        raise AnsibleFilterError(f"server_id wants an IPv4 address, not {address!r}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"server_id": server_id}
