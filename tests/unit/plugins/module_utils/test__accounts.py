# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which system accounts are missing."""

from __future__ import annotations

from ansible_collections.hosting.failover.plugins.module_utils import _accounts

ACCOUNTS = [
    {"name": "web-a", "home": "/nonexistent", "comment": "a.example.org"},
    {"name": "web-b", "home": "/nonexistent", "comment": "b.example.org"},
]


def test_only_missing_accounts_are_made() -> None:
    commands = _accounts.decide_commands(ACCOUNTS, users={"root", "web-a"}, groups=set())
    assert list(commands) == ["web-b"]
    assert "--user-group" in commands["web-b"]
    assert commands["web-b"][-1] == "web-b"


def test_a_group_of_the_name_is_used() -> None:
    commands = _accounts.decide_commands(ACCOUNTS[:1], users=set(), groups={"web-a"})
    assert "--user-group" not in commands["web-a"]
    at = commands["web-a"].index("--gid")
    assert commands["web-a"][at + 1] == "web-a"


def test_nothing_is_made_twice() -> None:
    assert _accounts.decide_commands(ACCOUNTS, users={"web-a", "web-b"}, groups=set()) == {}
