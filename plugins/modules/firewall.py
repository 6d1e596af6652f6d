#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``firewall``: a packet filter that cannot lock its administrator out."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: firewall
short_description: Loads nftables rules and keeps them only if the host can still be reached
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Compares the file and what the kernel really has in O(table) with what is wanted, and replaces
    the table in one transaction. The wanted state is found by loading the file into a network
    namespace of its own, so a rule that was changed by hand is seen.
  - After loading, the connection is closed and opened anew. Only then the file is written. If the
    host cannot be reached any more, or the controller dies, a timer on the host brings the old
    rules back after O(confirm_seconds).
options:
  src:
    description: Template of the file, below C(templates/) of the role.
    type: str
  content:
    description: The file itself, in place of O(src).
    type: str
  dest:
    description: Path of the file that is loaded at boot.
    type: str
    default: /etc/nftables.conf
  table:
    description: Family and name of the table that the file owns. It must delete and define it.
    type: str
    default: inet failover
  confirm_seconds:
    description: Seconds after which unconfirmed rules are taken back.
    type: int
    default: 30
  confirm:
    description: Set by the action plugin. Keep the rules that were loaded.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reports what would change, with the rules tested by nft where it is installed.
    support: full
  diff_mode:
    description: Shows the file, and the kernel's rules where only these differ.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Filter packets
  hosting.failover.firewall:
    src: etc/nftables.conf.j2
"""

RETURN = r"""
reasons:
  description: Why something changed.
  returned: always
  type: list
  elements: str
  sample: [the file differs]
pending:
  description: Used by the action plugin. Whether the rules wait for their confirmation.
  returned: never outside
  type: bool
"""

import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _config_files as cf
from ansible_collections.hosting.failover.plugins.module_utils import _firewall as fw

FILE_MODE = 0o644


def run(module: AnsibleModule, *command: str, what: str) -> str:
    """Run a command and return its output; ends the module with ``what`` when it fails."""
    code, out, err = module.run_command(list(command))
    if code != 0:
        module.fail_json(msg=f"{what}: {(err.strip() or out.strip())[:4000]}")
    return str(out)


def read_kernel(module: AnsibleModule) -> str:
    """Return the rules of our table as the kernel lists them, empty if there is no such table."""
    command = ["nft", "--stateless", "list", "table", *module.params["table"].split()]
    code, out, _err = module.run_command(command)
    return str(out) if code == 0 else ""


def read_wanted(module: AnsibleModule, staged: Path) -> fw.Rules:
    """Return the wanted rules; ends the module when nft refuses them."""
    file = module.params["content"]
    staged.write_text(file, encoding="utf-8")
    run(module, "nft", "--check", "--file", str(staged), what="nft refuses the new rules, nothing was changed")
    kernel = run(
        module,
        "unshare",
        "--net",
        "--",
        "sh",
        "-c",
        fw.LIST_IN_NAMESPACE,
        "sh",
        str(staged),
        *module.params["table"].split(),
        what="the new rules cannot be loaded on their own, nothing was changed",
    )
    return fw.Rules(file, kernel)


def settle_earlier(module: AnsibleModule) -> None:
    """Finish what a run that broke off left behind: take back rules that nobody confirmed."""
    timer = f"{fw.ROLLBACK_UNIT}.timer"
    code, _out, _err = module.run_command(["systemctl", "is-active", "--quiet", timer])
    if code == 0:
        run(module, "nft", "--file", fw.ROLLBACK, what="the old rules could not be brought back")
        run(module, "systemctl", "stop", timer, what="the rollback timer could not be stopped")


def load(module: AnsibleModule, staged: Path, found: fw.Rules) -> None:
    """Arm the timer, then replace the rules in the kernel."""
    Path(fw.ROLLBACK).write_text(fw.make_rollback(module.params["table"], found.kernel), encoding="utf-8")
    run(
        module,
        "systemd-run",
        f"--unit={fw.ROLLBACK_UNIT}",
        f"--on-active={module.params['confirm_seconds']}s",
        "--timer-property=AccuracySec=1s",
        "--collect",
        shutil.which("nft") or "nft",
        "--file",
        fw.ROLLBACK,
        what="the rollback timer could not be armed, nothing was changed",
    )
    run(module, "nft", "--file", str(staged), what="nft could not load the new rules, nothing was changed")


def write(module: AnsibleModule) -> None:
    """Write the file that is loaded at boot."""
    cf.write_file(module.params["dest"], Path(fw.STAGED).read_bytes(), FILE_MODE, 0, 0)
    shutil.rmtree(fw.FOLDER)


def confirm(module: AnsibleModule) -> None:
    """Keep the rules: stop the timer and write the file."""
    run(
        module,
        "systemctl",
        "stop",
        f"{fw.ROLLBACK_UNIT}.timer",
        what=(
            f"the new rules were taken back, because their confirmation took longer than "
            f"{module.params['confirm_seconds']} s"
        ),
    )
    write(module)
    module.exit_json(changed=True)


def build_diff(module: AnsibleModule, decision: fw.Decision, wanted: fw.Rules, found: fw.Rules) -> dict[str, str]:
    """Return the difference in the file, or in the kernel where only that differs."""
    where = module.params["dest"] if decision.write else f"table {module.params['table']}"
    before, after = (found.file, wanted.file) if decision.write else (found.kernel, wanted.kernel)
    return {"before_header": where, "after_header": where, "before": before, "after": after}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=fw.ARGUMENT_SPEC, supports_check_mode=True)
    if module.params["confirm"]:
        confirm(module)
    state = cf.read_state(module.params["dest"])
    file = (state.content or b"").decode("utf-8", errors="replace")
    if shutil.which("nft") is None:
        if not module.check_mode:
            module.fail_json(msg="nft is not installed on this host; install the package nftables")
        wanted, found = fw.Rules(module.params["content"], "unknown"), fw.Rules(file, "")
    else:
        if not module.check_mode:
            settle_earlier(module)
        folder = Path(fw.FOLDER if not module.check_mode else module.tmpdir)
        folder.mkdir(mode=0o700, exist_ok=True)
        wanted = read_wanted(module, folder / Path(fw.STAGED).name)
        found = fw.Rules(file, read_kernel(module))
    decision = fw.decide(wanted, found)
    result: dict[str, Any] = {"changed": bool(decision.reasons), "reasons": list(decision.reasons), "pending": False}
    if module._diff and decision.reasons:
        result["diff"] = build_diff(module, decision, wanted, found)
    if not module.check_mode:
        if decision.load:
            load(module, Path(fw.STAGED), found)
            result["pending"] = True
        elif decision.write:
            write(module)
        else:
            shutil.rmtree(fw.FOLDER)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
