#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action ``estate_assert``, which runs on the controller only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: estate_assert
short_description: Fails with all problems of an inventory and its hosts at once
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Judges groups, variables of all hosts, virtual IPs, sites and secrets, and what M(hosting.failover.host_info) saw of
    the hosts. Nothing is changed and no host is contacted.
  - Variables with a prefix of the collection (C(failover_) or that of a role) that nothing takes are named with the
    nearest one that is taken.
options:
  looks:
    description:
      - Name of the variable in which each host registered M(hosting.failover.host_info). Without it only the inventory
        is judged.
    type: str
  extra_variables:
    description: Names with a prefix of the collection that are not mistakes, because something else takes them.
    type: list
    elements: str
    default: []
  clock_limit_seconds:
    description: How far a host's clock may be from the controller's, in seconds.
    type: float
    default: 2.0
  disk_min_bytes:
    description: Free space below /var/lib that a host must have.
    type: int
    default: 2147483648
  memory_min_bytes:
    description: Memory that a host must have.
    type: int
    default: 536870912
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
- name: Insist on a sound inventory and sound hosts
  hosting.failover.estate_assert:
    looks: __preflight_look
  run_once: true
"""

RETURN = r"""
failover_problems:
  description: All problems. The task fails if there is one.
  returned: always
  type: list
  elements: dict
  contains:
    code:
      description: Stable name of the kind of problem.
      type: str
      sample: duplicate_vrid
    host:
      description: The host, empty for the whole estate.
      type: str
      sample: www1
    variable:
      description: Path of the variable, or name of the group.
      type: str
      sample: failover_vips[1].vrid
    message:
      description: What is wrong.
      type: str
      sample: virtual IPs site and db have the same VRID 51
    observed:
      description: What was found.
      type: str
      sample: "51"
    limit:
      description: What is allowed.
      type: str
      sample: 1 to 255
    fix:
      description: What to do.
      type: str
      sample: Choose a free address of that network.
"""
