# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which system accounts are missing.

PRIVATE to the collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

ARGUMENT_SPEC: dict[str, Any] = {
    "accounts": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "home": {"type": "path", "default": "/nonexistent"},
            "comment": {"type": "str", "default": ""},
        },
    },
}


def decide_commands(
    accounts: Iterable[Mapping[str, str]], users: Collection[str], groups: Collection[str]
) -> dict[str, list[str]]:
    """Return the useradd(8) command for each account that is missing, by its name.

    A group of the same name is made, or used when it is there already.
    """
    commands = {}
    for account in accounts:
        name = account["name"]
        if name in users:
            continue
        own_group = ["--gid", name] if name in groups else ["--user-group"]
        commands[name] = [
            "useradd",
            "--system",
            *own_group,
            "--no-create-home",
            "--home-dir",
            account["home"],
            "--shell",
            "/usr/sbin/nologin",
            "--comment",
            account["comment"],
            name,
        ]
    return commands
