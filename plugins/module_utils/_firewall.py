# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a host's packet filter is what its file says, and how to go back.

PRIVATE to the collection. One table belongs to us; no other is ever flushed. nft(8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ARGUMENT_SPEC: dict[str, Any] = {
    "src": {"type": "str"},
    "content": {"type": "str"},
    "dest": {"type": "str", "default": "/etc/nftables.conf"},
    "table": {"type": "str", "default": "inet failover"},
    "confirm_seconds": {"type": "int", "default": 30},
    "confirm": {"type": "bool", "default": False},
}

ROLLBACK_UNIT = "failover-firewall-rollback"
FOLDER = "/run/failover-firewall"
STAGED = f"{FOLDER}/new.nft"
ROLLBACK = f"{FOLDER}/rollback.nft"

LIST_IN_NAMESPACE = 'nft --file "$1" && shift && nft --stateless list table "$@"'
"""Loads a file into a network namespace of its own and prints a table: what the kernel makes of it."""


@dataclass(frozen=True)
class Rules:
    """A rule set: the text of its file, and what the kernel lists for our table (empty: no table)."""

    file: str
    kernel: str


@dataclass(frozen=True)
class Decision:
    """Whether to load the rules and to write the file, and why."""

    load: bool
    write: bool
    reasons: tuple[str, ...]


def decide(wanted: Rules, found: Rules) -> Decision:
    """Compare the wanted rules with those on the host.

    A file that differs only in what the kernel does not see (comments) is written without loading.
    """
    load = wanted.kernel.strip() != found.kernel.strip()
    write = wanted.file != found.file
    reasons = []
    if load and not found.kernel.strip():
        reasons.append("the kernel has no such table")
    elif load:
        reasons.append("the kernel's rules differ")
    if write:
        reasons.append("the file differs")
    return Decision(load, write, tuple(reasons))


def make_rollback(table: str, kernel: str) -> str:
    """Return the file that brings our table back to what the kernel listed, or removes it.

    It is one transaction: the table is declared so that deleting it cannot fail.
    """
    return f"table {table}\ndelete table {table}\n{kernel}"
