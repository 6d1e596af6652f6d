#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``config_files``: a set of files in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_files
short_description: Lands a set of configuration files in one call
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Renders templates on the controller, compares all of them with the host in one module call,
    validates what differs, and writes it atomically. A role with ten files costs one task.
  - Nothing lands before every O(files[].validate) command has accepted its file. When an O(verify)
    command refuses the landed set, everything is put back as it was and the task fails.
  - In check mode the validations run on staged copies. A refusal is then a failure for a file that
    exists, and a warning for one that does not, because what it refers to may come with the same
    play.
options:
  files:
    description: Files to land. Each has exactly one of O(files[].src), O(files[].file) and
      O(files[].content).
    type: list
    elements: dict
    default: []
    suboptions:
      src:
        description: Template below C(templates/) of the role or playbook. C(ansible_managed) is
          defined.
        type: str
      file:
        description: File below C(files/) that is shipped as it is.
        type: str
      content:
        description: The content itself.
        type: str
      variables:
        description: Variables for this template only.
        type: dict
      dest:
        description: Absolute path on the host.
        type: str
        required: true
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      mode:
        description: Permissions as a quoted octal number.
        type: str
        default: "0644"
      validate:
        description: Command that must exit with 0 before anything lands. V(%s) stands for the
          staged copy. No shell.
        type: str
      secret:
        description: Keep the content out of C(--diff) and of verbose output.
        type: bool
        default: false
      block:
        description:
          - Land the content as a block between two marker lines that start with C(#), and leave the
            rest of the file as it is.
        type: bool
        default: false
  trees:
    description: Folders below C(files/) that are shipped as they are, without C(__pycache__).
    type: list
    elements: dict
    default: []
    suboptions:
      src:
        description: Folder below C(files/) of the role.
        type: str
        required: true
      dest:
        description: Absolute path of the folder on the host. Files in it that are not in
          O(trees[].src) are removed.
        type: str
        required: true
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      mode:
        description: Permissions of files.
        type: str
        default: "0644"
      directory_mode:
        description: Permissions of folders.
        type: str
        default: "0755"
  directories:
    description: Directories, in the order in which they are made. Missing parents are made with
      mode 0755.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      mode:
        description: Permissions as a quoted octal number.
        type: str
        default: "0755"
      prune:
        description: Shell pattern. Files and links directly in the directory that match it and are
          not named in this task are removed.
        type: str
  links:
    description: Symbolic links.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the link.
        type: str
        required: true
      target:
        description: What it points to, as written.
        type: str
        required: true
  absent:
    description: Files and links that must not exist. A directory is refused.
    type: list
    elements: str
    default: []
  contents:
    description: Set by the action plugin, not for tasks. JSON object of base64 texts by
      O(files[].dest).
    type: str
  verify:
    description: Commands that must exit with 0 after the set has landed; else it is put back. They
      run only after a change. No shell.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Predicts exactly what would change.
    support: full
  diff_mode:
    description: Shows each file before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Configure the daemon
  hosting.failover.config_files:
    directories:
      - {path: /etc/example, mode: "0750"}
    files:
      - src: etc/example/example.conf.j2
        dest: /etc/example/example.conf
        mode: "0640"
        validate: /usr/sbin/exampled --check %s
  register: __example_files
"""

RETURN = r"""
changed_files:
  description: Absolute paths of files and links that were written, whose attributes changed, or
    that were removed.
  returned: always
  type: list
  elements: str
  sample: [/etc/example/example.conf]
changed_directories:
  description: Absolute paths of directories that were made or whose attributes changed.
  returned: always
  type: list
  elements: str
  sample: [/etc/example]
"""

import base64
import json
import shlex
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _config_files as cf


def read_wanted(params: dict[str, Any]) -> cf.Wanted:
    """Turn the parameters into the wanted set.

    Raises ConfigFilesError for a bad mode or missing content.
    """
    contents: dict[str, str] = json.loads(params["contents"] or "{}")
    files = []
    for item in params["files"]:
        if item["dest"] not in contents:
            raise cf.ConfigFilesError(f"{item['dest']}: no content came; call this module as an action of a task")
        content = base64.b64decode(contents[item["dest"]])
        if item["block"]:
            content = cf.merge_block(cf.read_state(item["dest"]).content or b"", content)
        files.append(
            cf.WantedFile(
                path=item["dest"],
                content=content,
                mode=cf.parse_mode(item["mode"]),
                uid=cf.find_uid(item["owner"]),
                gid=cf.find_gid(item["group"]),
            )
        )
    directories = tuple(
        cf.WantedDirectory(
            path=item["path"],
            mode=cf.parse_mode(item["mode"]),
            uid=cf.find_uid(item["owner"]),
            gid=cf.find_gid(item["group"]),
            prune=item["prune"],
        )
        for item in params["directories"]
    )
    links = tuple(cf.WantedLink(item["path"], item["target"]) for item in params["links"])
    return cf.Wanted(directories, tuple(files), links, tuple(params["absent"]))


def run_check(module: AnsibleModule, command: list[str]) -> str | None:
    """Run a validating command. Returns None when it accepts, else what it said."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    code, out, err = module.run_command(command)
    if code == 0:
        return None
    return f"{shlex.join(command)} exited with {code}: {(err.strip() or out.strip())[:4000]}"


def validate_staged(module: AnsibleModule, changes: tuple[cf.Change, ...]) -> None:
    """Run every ``validate`` on a staged copy of its file.

    Ends the module at the first refusal that counts.
    """
    commands = {item["dest"]: item["validate"] for item in module.params["files"] if item["validate"]}
    with tempfile.TemporaryDirectory(prefix="failover-stage-") as stage:
        for change in changes:
            want = change.want
            if not isinstance(want, cf.WantedFile) or want.path not in commands:
                continue
            staged = Path(stage) / want.path.lstrip("/")
            staged.parent.mkdir(parents=True, exist_ok=True)
            staged.touch(mode=0o600)
            staged.write_bytes(want.content)
            command = [part.replace("%s", str(staged)) for part in shlex.split(commands[want.path])]
            refusal = run_check(module, command)
            if refusal is None:
                continue
            if module.check_mode and change.before.kind == "absent":
                module.warn(f"{want.path} could not be validated in check mode: {refusal}")
                continue
            module.fail_json(msg=f"{want.path} was not changed, its new content is invalid: {refusal}")


def land(module: AnsibleModule, changes: tuple[cf.Change, ...]) -> None:
    """Apply all changes, then ``verify``; on a refusal put everything back and end the module."""
    done: list[cf.Change] = []
    refusal: str | None = None
    try:
        for change in changes:
            cf.apply_change(change)
            done.append(change)
        for line in module.params["verify"]:
            refusal = run_check(module, shlex.split(line))
            if refusal is not None:
                break
    except (cf.ConfigFilesError, OSError) as error:
        refusal = str(error)
    if refusal is not None:
        for change in reversed(done):
            cf.undo_change(change)
        module.fail_json(msg=f"Nothing was changed, the new files were put back: {refusal}")


def build_diff(module: AnsibleModule, changes: tuple[cf.Change, ...]) -> list[dict[str, str]]:
    """Return before and after of every change."""
    secrets = {item["dest"] for item in module.params["files"] if item["secret"]}
    return [cf.describe_change(change, secret=change.path in secrets) for change in changes]


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=cf.ARGUMENT_SPEC, supports_check_mode=True)
    try:
        wanted = read_wanted(module.params)
        cf.check_wanted(wanted)
        pruned = cf.decide_prunes(
            wanted,
            {item.path: cf.read_names(item.path) for item in wanted.directories if item.prune},
        )
        wanted = replace(wanted, absent=(*wanted.absent, *pruned))
        changes = cf.decide_changes(wanted, {path: cf.read_state(path) for path in cf.list_paths(wanted)})
    except (cf.ConfigFilesError, OSError) as error:
        module.fail_json(msg=str(error))
    validate_staged(module, changes)
    if changes and not module.check_mode:
        land(module, changes)
    result: dict[str, Any] = {
        "changed": bool(changes),
        "changed_files": [item.path for item in changes if not isinstance(item.want, cf.WantedDirectory)],
        "changed_directories": [item.path for item in changes if isinstance(item.want, cf.WantedDirectory)],
    }
    if module._diff:
        result["diff"] = build_diff(module, changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
