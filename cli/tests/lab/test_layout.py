from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from failoverctl.lab.errors import LabError
from failoverctl.lab.layout import HostSpec, layout_names, parse_layout, plan_addresses, read_layout
from hypothesis import given, settings
from hypothesis import strategies as st

MINIMAL = "description: one\nhosts: {a: {offset: 2, groups: [g]}}\nvips: []\nsites: []\n"


def test_every_layout_that_comes_along_can_be_read() -> None:
    assert layout_names() == ["drill", "pair", "single", "small", "static"]
    for name in layout_names():
        assert read_layout(name).description


def test_small_has_the_addresses_that_the_documentation_names() -> None:
    plan = plan_addresses(read_layout("small"), IPv4Network("198.51.100.0/26"))
    assert plan.gateway == IPv4Address("198.51.100.1")
    assert plan.vips == {"site": IPv4Address("198.51.100.10")}
    assert {name: str(address) for name, address in plan.hosts.items()} == {
        "www1": "198.51.100.11",
        "www2": "198.51.100.12",
        "witness": "198.51.100.13",
        "vault": "198.51.100.14",
    }


def test_minimal_layout() -> None:
    layout = parse_layout("x", MINIMAL)
    assert layout.hosts == (HostSpec("a", 2, ("g",)),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "layout x is wrong"),
        ("description: [", "layout x is wrong"),
        (MINIMAL.replace("description", "descripton"), "KeyError: 'description'"),
        (MINIMAL + "colour: red\n", "unknown key 'colour'"),
        (MINIMAL.replace("{a:", "{A_b:"), "host name 'A_b'"),
        (MINIMAL.replace("offset: 2", "offset: 1"), "offset 1 is used twice"),
        (MINIMAL.replace("offset: 2", "offset: 300"), "offset 300 is not within 1 to 254"),
        (MINIMAL.replace("offset: 2", "offset: 2, data_megabytes: 5"), "data_megabytes of a is 5"),
        ("description: none\nhosts: {}\nvips: []\nsites: []\n", "no hosts"),
        (MINIMAL.replace("vips: []", "vips: [{name: v, offset: 3, vrid: 1, folows: web}]"), "folows"),
    ],
)
def test_a_wrong_layout_is_named(text: str, said: str) -> None:
    with pytest.raises(LabError) as caught:
        parse_layout("x", text)
    assert said in caught.value.what


def test_an_unknown_layout_names_those_there_are() -> None:
    with pytest.raises(LabError) as caught:
        read_layout("smal")
    assert "small" in caught.value.fix


def test_a_network_too_small_names_the_size_needed() -> None:
    with pytest.raises(LabError) as caught:
        plan_addresses(read_layout("small"), IPv4Network("198.51.100.0/29"))
    assert "needs address 14" in caught.value.what
    assert "/28" in caught.value.fix


@settings(deadline=None)  # the machine may be busy with hosts
@given(st.integers(min_value=0, max_value=2**24 - 1), st.integers(min_value=16, max_value=28))
def test_addresses_are_distinct_and_within_the_network(start: int, prefix: int) -> None:
    network = IPv4Network((start << 8, prefix), strict=False)
    plan = plan_addresses(read_layout("small"), network)
    all_ = [plan.gateway, *plan.hosts.values(), *plan.vips.values()]
    assert len(set(all_)) == len(all_)
    assert all(address in network for address in all_)
    assert network.network_address not in all_
    assert network.broadcast_address not in all_
