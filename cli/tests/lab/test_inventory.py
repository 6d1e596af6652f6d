from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from failoverctl.lab.inventory import Access, inventory_text, new_secrets
from failoverctl.lab.layout import layout_names, plan_addresses, read_layout

ACCESS = Access(Path("/lab/id"), Path("/lab/known_hosts"), Path("/lab/ssh"))


def _inventory(name: str) -> dict[str, Any]:
    layout = read_layout(name)
    plan = plan_addresses(layout, IPv4Network("198.51.100.0/26"))
    text = inventory_text("failover", layout, plan, new_secrets(layout), ACCESS)
    parsed: dict[str, Any] = yaml.safe_load(text)["all"]
    return parsed


def test_small_is_the_documented_estate() -> None:
    inventory = _inventory("small")
    variables = inventory["vars"]
    assert variables["failover_vips"] == [
        {"name": "site", "address": "198.51.100.10", "vrid": 51, "follows": "primary"}
    ]
    assert variables["failover_objectives"] == {"rto_seconds": 30, "rpo_seconds": 0}
    assert variables["base_client_networks"] == ["198.51.100.1/32"]
    site = variables["web_sites"][0]
    assert site["php"] is True
    assert site["database"]["user"] == "guestbook"
    assert inventory["hosts"]["www2"] == {"ansible_host": "198.51.100.12"}
    assert {group: sorted(value["hosts"]) for group, value in inventory["children"].items()} == {
        "failover_web": ["www1", "www2"],
        "failover_database": ["www1", "www2"],
        "failover_witness": ["witness"],
        "failover_backup": ["vault"],
    }


@pytest.mark.parametrize("name", layout_names())
def test_every_layout_has_a_complete_inventory(name: str) -> None:
    inventory = _inventory(name)
    hosts = set(inventory["hosts"])
    assert hosts == {host for group in inventory["children"].values() for host in group["hosts"]}
    assert inventory["vars"]["ansible_user"] == "root"
    assert inventory["vars"]["ansible_ssh_private_key_file"] == "/lab/id"
    assert "UserKnownHostsFile=/lab/known_hosts" in inventory["vars"]["ansible_ssh_common_args"]
    assert "ControlPath=/lab/ssh/%h" in inventory["vars"]["ansible_ssh_args"]


def test_passwords_are_new_for_each_lab() -> None:
    layout = read_layout("small")
    first, second = new_secrets(layout), new_secrets(layout)
    assert set(first) == {"probe", "guestbook"}
    assert set(first.values()).isdisjoint(second.values())
    assert all(len(password) == 32 for password in first.values())
