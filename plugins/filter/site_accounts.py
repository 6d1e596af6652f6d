# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``site_accounts``: database accounts of sites."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: site_accounts
short_description: Database accounts of sites, as mariadb_objects wants them
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Each account gets all privileges on the site's own database and on nothing else.
options:
  _input:
    description: Databases of sites, each with C(name), C(user) and C(password).
    type: list
    elements: dict
    required: true
  hosts:
    description: Host patterns that the accounts may come from.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Provide the accounts of the sites
  hosting.failover.mariadb_objects:
    accounts: "{{ databases | hosting.failover.site_accounts(['198.51.100.11']) }}"
"""

RETURN = r"""
_value:
  description: The accounts.
  type: list
  elements: dict
  sample: [{name: shop, hosts: [198.51.100.11], password: secret, grants: {shop.*: [ALL PRIVILEGES]}}]
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def site_accounts(databases: Iterable[Mapping[str, str]], hosts: list[str]) -> list[dict[str, Any]]:
    """Return one account for each database."""
    return [
        {
            "name": database["user"],
            "hosts": hosts,
            "password": database["password"],
            "grants": {f"{database['name']}.*": ["ALL PRIVILEGES"]},
        }
        for database in databases
    ]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"site_accounts": site_accounts}
