#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``packages``: Debian packages that must be installed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: packages
short_description: Installs missing Debian packages
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Asks dpkg, and calls apt-get only when something is missing. Nothing is ever upgraded or
    removed.
  - When C(hosting.failover.host_info) ran earlier in the same run and saw all of O(name), the host
    is not contacted at all.
  - Recommended packages are not installed, and changed configuration files are kept.
options:
  name:
    description: Names of the packages.
    type: list
    elements: str
    required: true
  start_services:
    description:
      - Whether the packages may start their services on installation. Set it to V(false) for
        daemons
        that must not run with the configuration of the distribution.
    type: bool
    default: true
  lists_valid_seconds:
    description: Age in seconds from which the package lists are fetched again before an
      installation.
    type: int
    default: 3600
  lock_timeout_seconds:
    description: Seconds to wait for another process that holds the lock of dpkg.
    type: int
    default: 120
attributes:
  check_mode:
    description: Reports what would be installed.
    support: full
  diff_mode:
    description: Shows the missing packages.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Install etcd
  hosting.failover.packages:
    name: [etcd-server, etcd-client]
    start_services: false
"""

RETURN = r"""
installed:
  description: Packages that were missing and that this task installed, or would in check mode.
  returned: always
  type: list
  elements: str
  sample: [etcd-server]
"""

import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _packages as pk

LISTS = Path("/var/lib/apt/lists")
POLICY = Path("/usr/sbin/policy-rc.d")
APT_ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C.UTF-8",
    "NEEDRESTART_MODE": "l",
}


def read_installed(module: AnsibleModule) -> frozenset[str]:
    """Return the names of all installed packages; ends the module on a host without dpkg."""
    _code, out, _err = module.run_command(list(pk.QUERY), check_rc=True)
    return pk.parse_installed(out)


def read_lists_age() -> float:
    """Return the age of the package lists in seconds, infinite where there are none."""
    if not any(LISTS.glob("*Packages*")):
        return float("inf")
    return time.time() - LISTS.stat().st_mtime


def run_apt(module: AnsibleModule, *arguments: str) -> str | None:
    """Run apt-get. Returns None on success, else the command and its last lines."""
    command = [
        "apt-get",
        "--quiet",
        "--yes",
        f"--option=DPkg::Lock::Timeout={module.params['lock_timeout_seconds']}",
        "--option=Acquire::Retries=3",
        *arguments,
    ]
    code, out, err = module.run_command(command, environ_update=APT_ENVIRONMENT)
    if code == 0:
        return None
    tail = "\n".join((err.strip() or out.strip()).splitlines()[-15:])
    return f"{' '.join(command)} exited with {code}: {tail}"


def update_lists(module: AnsibleModule) -> None:
    """Fetch the package lists; ends the module when that fails."""
    failure = run_apt(module, "update", "--error-on=any")
    if failure is not None:
        module.fail_json(msg=failure)
    # apt leaves the time alone when nothing new came, and then the age would be wrong.
    os.utime(LISTS)


def hold_services(module: AnsibleModule) -> bool:
    """Forbid service starts for the life of this process. Returns whether that was done."""
    if POLICY.exists() and pk.POLICY_MARK not in POLICY.read_text():
        module.warn(f"{POLICY} exists and is not ours, so it decides which services start")
        return False
    POLICY.write_text(pk.POLICY_SCRIPT % os.getpid())
    POLICY.chmod(0o755)
    return True


def install(module: AnsibleModule, names: tuple[str, ...]) -> None:
    """Install packages; ends the module when apt-get fails also with fresh lists."""
    arguments = [
        "--no-install-recommends",
        "--option=Dpkg::Options::=--force-confdef",
        "--option=Dpkg::Options::=--force-confold",
        "install",
        "--",
        *names,
    ]
    held = not module.params["start_services"] and hold_services(module)
    try:
        fresh = read_lists_age() > module.params["lists_valid_seconds"]
        if fresh:
            update_lists(module)
        failure = run_apt(module, *arguments)
        if failure is not None and not fresh:
            update_lists(module)
            failure = run_apt(module, *arguments)
        if failure is not None:
            module.fail_json(msg=failure)
    finally:
        if held:
            POLICY.unlink(missing_ok=True)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=pk.ARGUMENT_SPEC, supports_check_mode=True)
    missing = pk.decide_missing(module.params["name"], read_installed(module))
    if missing and not module.check_mode:
        install(module, missing)
        left = pk.decide_missing(missing, read_installed(module))
        if left:
            module.fail_json(msg=f"apt-get succeeded but these are not installed: {list(left)}")
    after = "".join(f"{name}\n" for name in missing)
    module.exit_json(
        changed=bool(missing),
        installed=list(missing),
        diff={
            "before_header": "packages",
            "after_header": "packages",
            "before": "",
            "after": after,
        },
    )


if __name__ == "__main__":
    main()
