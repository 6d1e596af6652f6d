# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The action ``estate_assert`` with a real inventory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Play = Callable[..., dict[str, dict[str, Any]]]
TASK = {"hosting.failover.estate_assert": {}, "run_once": True}
SOUND: dict[str, Any] = {
    "all": {
        "vars": {
            "failover_estate": "lab",
            "failover_vips": [{"name": "site", "address": "198.51.100.10", "vrid": 51, "follows": "primary"}],
            "base_client_networks": ["{{ failover_vips[0]['address'] }}/32"],
        },
        "hosts": {f"h{n}": {"ansible_host": f"198.51.100.{10 + n}"} for n in (1, 2, 3)},
        "children": {
            "failover_database": {"hosts": {"h1": None, "h2": None}},
            "failover_witness": {"hosts": {"h3": None}},
        },
    }
}


def test_a_sound_inventory(play: Play) -> None:
    assert play(TASK, SOUND)["h1"]["failover_problems"] == []


def test_all_problems_come_at_once(play: Play) -> None:
    inventory = copy.deepcopy(SOUND)
    inventory["all"]["vars"].update(
        failover_profil="lan", mariadb_max_connections="many", agent_lag_limit_seconds="{{ nowhere_defined }}"
    )
    inventory["all"]["hosts"]["h3"]["ansible_host"] = "198.51.100.11"
    result = play(TASK, inventory)["h1"]
    assert result["failed"]
    assert {(item["code"], item["variable"]) for item in result["failover_problems"]} == {
        ("unknown_variable", "failover_profil"),
        ("wrong_type", "mariadb_max_connections"),
        ("not_evaluable", "agent_lag_limit_seconds"),
        ("duplicate_address", "ansible_host"),
    }
    assert "'nowhere_defined' is undefined" in result["msg"]


def test_hosts_that_were_not_looked_at_are_problems_when_looks_are_wanted(play: Play) -> None:
    task = {"hosting.failover.estate_assert": {"looks": "nothing_registered"}, "run_once": True}
    codes = [item["code"] for item in play(task, SOUND)["h1"]["failover_problems"]]
    assert codes == ["unreadable"] * 3
