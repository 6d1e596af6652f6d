# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The addresses of hosts in the estate."""

from __future__ import annotations

from ansible_collections.hosting.failover.plugins.filter.estate_addresses import estate_addresses


def test_the_estate_address_wins_and_the_name_is_the_last_resort() -> None:
    hostvars = {
        "www1": {"failover_address": "198.51.100.11", "ansible_host": "192.0.2.11"},
        "www2": {"ansible_host": "198.51.100.12"},
        "www3": {},
        "other": {"ansible_host": "198.51.100.99"},
    }
    assert estate_addresses(["www1", "www2", "www3"], hostvars) == {
        "www1": "198.51.100.11",
        "www2": "198.51.100.12",
        "www3": "www3",
    }
