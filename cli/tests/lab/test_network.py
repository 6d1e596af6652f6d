from __future__ import annotations

import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from failoverctl.lab.network import (
    UsedRange,
    bridge_mac,
    bridge_name,
    cut_rules,
    find_overlap,
    nat_rules,
    parse_used,
    port_name,
    replacing,
    table_name,
)
from failoverctl.lab.state import Cut, check_name
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures"
NETWORK = IPv4Network("198.51.100.64/26")
PORTS = {"www1": "vb-dev-11", "www2": "vb-dev-12"}
NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{0,15}\Z")


@settings(deadline=None)  # the machine may be busy with hosts
@given(NAMES, st.integers(min_value=1, max_value=254))
def test_interface_names_fit_into_the_kernels_15_characters(lab: str, offset: int) -> None:
    check_name(lab)
    assert len(bridge_name(lab)) <= 15
    assert len(port_name(lab, offset)) <= 15


@settings(deadline=None)  # the machine may be busy with hosts
@given(st.sets(NAMES, min_size=2, max_size=20))
def test_labs_do_not_share_interfaces(labs: set[str]) -> None:
    assert len({bridge_name(lab) for lab in labs}) == len(labs)
    assert len({bridge_mac(lab) for lab in labs}) == len(labs)


@settings(deadline=None)  # the machine may be busy with hosts
@given(NAMES)
def test_the_bridges_mac_is_unicast_and_locally_administered(lab: str) -> None:
    first = int(bridge_mac(lab).split(":")[0], 16)
    assert first & 0b11 == 0b10


def test_no_cuts_no_rules() -> None:
    assert "drop" not in cut_rules("dev", PORTS, [])


def test_all_links_of_a_host_are_cut_in_both_directions() -> None:
    rules = cut_rules("dev", PORTS, [Cut("www1")])
    assert 'hook prerouting priority -300;\n    iifname "vb-dev-11" drop' in rules
    assert 'hook postrouting priority 300;\n    oifname "vb-dev-11" drop' in rules
    assert rules.count("drop") == 2


def test_two_hosts_are_cut_from_each_other_only() -> None:
    rules = cut_rules("dev", PORTS, [Cut("www1", "www2")])
    assert 'iifname "vb-dev-11" oifname "vb-dev-12" drop' in rules
    assert 'iifname "vb-dev-12" oifname "vb-dev-11" drop' in rules
    assert rules.count("drop") == 2


def test_one_way_drops_only_what_the_first_sends() -> None:
    rules = cut_rules("dev", PORTS, [Cut("www1", "www2", one_way=True)])
    assert 'iifname "vb-dev-11" oifname "vb-dev-12" drop' in rules
    assert rules.count("drop") == 1


def test_vrrp_between_hosts_is_not_translated() -> None:
    assert f"ip daddr != {{ {NETWORK}, 224.0.0.0/4 }}" in nat_rules("dev", NETWORK)


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
@pytest.mark.parametrize("cuts", [[], [Cut("www1")], [Cut("www1", "www2"), Cut("www2", "www1", True)]])
def test_nft_accepts_the_rules(cuts: list[Cut]) -> None:
    text = replacing("ip", "dev", nat_rules("dev", NETWORK))
    text += replacing("bridge", "dev", cut_rules("dev", PORTS, cuts))
    done = subprocess.run(["nft", "--check", "--file", "-"], input=text, capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("nft checks rules for root only")
    assert done.returncode == 0, done.stderr


def test_tables_carry_the_labs_name() -> None:
    assert table_name("dev") == "failoverctl-lab-dev"
    assert replacing("ip", "dev").endswith("delete table ip failoverctl-lab-dev\n")


def _used(ignore: str) -> list[UsedRange]:
    addresses = (FIXTURES / "ip-address.json").read_text(encoding="utf-8")
    routes = (FIXTURES / "ip-route.json").read_text(encoding="utf-8")
    return parse_used(addresses, routes, ignore=ignore)


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ("192.0.2.128/25", "interface eth0"),
        ("127.0.1.0/24", "interface lo"),
        ("198.51.100.0/24", "interface fo-dev"),
        ("198.51.100.192/26", "the route to it (eth0)"),
        ("203.0.113.0/26", "the route to it (blackhole)"),
    ],
)
def test_ranges_in_use_are_found(network: str, what: str) -> None:
    overlap = find_overlap(IPv4Network(network), _used("fo-other"))
    assert overlap is not None
    assert overlap.what == what


def test_free_ranges_are_free_whatever_the_default_route() -> None:
    assert find_overlap(IPv4Network("198.51.100.0/26"), _used("fo-other")) is None


def test_the_labs_own_bridge_is_not_in_its_way() -> None:
    assert find_overlap(NETWORK, _used("fo-dev")) is None


def test_the_halves_of_a_vpns_default_route_are_no_ranges_in_use() -> None:
    assert parse_used("[]", '[{"dst":"0.0.0.0/1","dev":"tun0"},{"dst":"128.0.0.0/1"}]', ignore="") == []


def test_empty_objects_of_ip_are_skipped() -> None:
    assert parse_used("[{},{}]", "", ignore="fo-dev") == []
