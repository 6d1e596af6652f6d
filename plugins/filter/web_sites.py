# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter ``web_sites``: the sites of a web host with all that follows from the inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: web_sites
short_description: Sites with their accounts, folders and PHP pools
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Completes a list of sites with what the templates of the role C(web) need, and refuses a list
    that is wrong, with all reasons at once.
options:
  _input:
    description: Sites, each with C(domain), C(docroot) and perhaps C(php), C(content), C(database).
    type: list
    elements: dict
    required: true
  host:
    description: Name that the sites show as the host that serves them.
    type: str
    required: true
  database_host:
    description: Address where the sites find their database.
    type: str
    required: true
  database_port:
    description: Port where the sites find their database.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show the accounts of the sites
  ansible.builtin.debug:
    msg: "{{ sites | hosting.failover.web_sites('www1', '198.51.100.10', 3306) }}"
  vars:
    sites: [{domain: shop.example.org, docroot: /srv/www/shop.example.org, php: true}]
"""

RETURN = r"""
_value:
  description: Sites, in addition with C(user), C(state_directory), C(socket), C(environment) whose
    values are quoted for a PHP pool, and C(directories) and C(files) for
    M(hosting.failover.config_files).
  type: list
  elements: dict
  sample: [{domain: shop.example.org, user: web-shop-example-org}]
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.hosting.failover.plugins.plugin_utils import _web_sites


def web_sites(
    sites: Sequence[Mapping[str, Any]], host: str, database_host: str, database_port: int
) -> list[dict[str, Any]]:
    """Return the sites as dictionaries."""
    try:
        decided = _web_sites.decide_sites(sites, host, database_host, database_port)
    except _web_sites.SitesError as error:
        raise AnsibleFilterError(str(error)) from error
    return [{**asdict(site), "directories": list(site.directories), "files": list(site.files)} for site in decided]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"web_sites": web_sites}
