#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``accounts``: system accounts that must exist."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: accounts
short_description: Makes missing system accounts in one call
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Makes accounts that nobody logs in to, each with a group of its own name, for daemons and sites.
  - An account that exists is left as it is. Nothing is ever removed.
options:
  accounts:
    description: The accounts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the account and of its group.
        type: str
        required: true
      home:
        description: Home directory. It is not made.
        type: path
        default: /nonexistent
      comment:
        description: What the account is for.
        type: str
        default: ""
attributes:
  check_mode:
    description: Reports what would be made.
    support: full
  diff_mode:
    description: Shows the missing accounts.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Make the account that runs the checks
  hosting.failover.accounts:
    accounts:
      - {name: keepalived_script, comment: Scripts of keepalived}
"""

RETURN = r"""
created:
  description: Accounts that were missing and that this task made, or would in check mode.
  returned: always
  type: list
  elements: str
  sample: [keepalived_script]
"""

import grp
import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _accounts


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=_accounts.ARGUMENT_SPEC, supports_check_mode=True)
    commands = _accounts.decide_commands(
        module.params["accounts"],
        users={entry.pw_name for entry in pwd.getpwall()},
        groups={entry.gr_name for entry in grp.getgrall()},
    )
    if not module.check_mode:
        for command in commands.values():
            module.run_command(command, check_rc=True)
    after = "".join(f"{name}\n" for name in commands)
    module.exit_json(
        changed=bool(commands),
        created=list(commands),
        diff={
            "before_header": "accounts",
            "after_header": "accounts",
            "before": "",
            "after": after,
        },
    )


if __name__ == "__main__":
    main()
