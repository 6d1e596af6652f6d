# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which host may hold which virtual IP, and what is wrong with the holders."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.plugin_utils import _vips
from hypothesis import example, given, settings
from hypothesis import strategies as st

SITE = {"name": "site", "address": "198.51.100.10", "vrid": 51, "follows": "primary"}
WEB = {"name": "web", "address": "198.51.100.9", "vrid": 52, "follows": "web"}
MEMBERS = {"primary": ["www1", "www2"], "web": ["www2", "www1", "www3"]}
ADDRESSES = {"www1": "198.51.100.11", "www2": "198.51.100.12", "www3": "198.51.100.13"}
MACS = {"www1": "02:00:00:00:00:01", "www2": "02:00:00:00:00:02"}


def see(host: str, *held: str, **answered: str) -> _vips.Seen:
    """Return what a host saw; ``answered`` has a MAC by the name of a virtual IP."""
    by_address = {{"site": "198.51.100.10", "web": "198.51.100.9"}[k]: v for k, v in answered.items()}
    return _vips.Seen(frozenset({ADDRESSES[host], *held}), frozenset({MACS[host]}), by_address)


def test_a_host_gets_the_instances_it_may_hold() -> None:
    instances = _vips.decide_instances([SITE, WEB], "www1", MEMBERS, ADDRESSES)
    assert instances == (
        _vips.Instance("site", 51, "198.51.100.10", "primary", 254, ("198.51.100.12",)),
        _vips.Instance("web", 52, "198.51.100.9", "web", 253, ("198.51.100.12", "198.51.100.13")),
    )


def test_a_host_outside_the_group_gets_none() -> None:
    assert _vips.decide_instances([SITE], "www3", MEMBERS, ADDRESSES) == ()


def test_a_single_host_has_no_peers() -> None:
    (instance,) = _vips.decide_instances([SITE], "www1", {"primary": ["www1"]}, ADDRESSES)
    assert instance.peers == ()


@pytest.mark.parametrize(
    ("vip", "members", "addresses", "text"),
    [
        ({**SITE, "follows": "moon"}, MEMBERS, ADDRESSES, "follows 'moon'"),
        (SITE, MEMBERS, {"www1": "198.51.100.11"}, "no address of www2"),
        (SITE, {"primary": [f"h{n}" for n in range(255)] + ["www1"]}, None, "256 hosts"),
    ],
)
def test_what_does_not_fit_is_refused(
    vip: dict[str, Any],
    members: dict[str, list[str]],
    addresses: dict[str, str] | None,
    text: str,
) -> None:
    known = addresses or dict.fromkeys(members["primary"], "198.51.100.1")
    with pytest.raises(_vips.VipsError, match=text):
        _vips.decide_instances([vip], "www1", members, known)


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=30))
@example(254)
def test_priorities_differ_and_are_allowed(count: int) -> None:
    """RFC 5798, 5.2.4: 1 to 254 for hosts that do not own the address."""
    hosts = [f"h{n}" for n in range(count)]
    addresses = {host: f"192.0.2.{n + 1}" for n, host in enumerate(hosts)}
    found = [_vips.decide_instances([SITE], host, {"primary": hosts}, addresses)[0] for host in hosts]
    assert sorted({item.priority for item in found}, reverse=True) == list(range(254, 254 - count, -1))
    assert all(len(item.peers) == count - 1 for item in found)


@pytest.mark.parametrize(
    ("seen", "problems"),
    [
        ({"www1": see("www1", "198.51.100.10"), "www2": see("www2", site=MACS["www1"])}, ()),
        (
            {"www1": see("www1"), "www2": see("www2")},
            ("virtual IP site (198.51.100.10) is on none of www1, www2",),
        ),
        (
            {"www1": see("www1", "198.51.100.10"), "www2": see("www2", "198.51.100.10")},
            ("virtual IP site (198.51.100.10) is on www1 and www2 at the same time",),
        ),
        (
            {"www1": see("www1", "198.51.100.10"), "www2": see("www2", site="02:00:00:00:00:99")},
            (
                "a machine outside the estate (02:00:00:00:00:99) answers for virtual IP site"
                " (198.51.100.10) without holding it",
            ),
        ),
        (
            {"www1": see("www1", "198.51.100.10", site=MACS["www2"]), "www2": see("www2")},
            ("www2 (02:00:00:00:00:02) answers for virtual IP site (198.51.100.10) without holding it",),
        ),
    ],
)
def test_holders(seen: dict[str, _vips.Seen], problems: tuple[str, ...]) -> None:
    assert _vips.find_problems([SITE], MEMBERS, seen) == problems


def test_a_holder_that_may_not_hold_it() -> None:
    seen = {"www1": see("www1", "198.51.100.10"), "www2": see("www2")}
    assert _vips.find_problems([SITE], {"primary": ["www2"]}, seen) == (
        "virtual IP site (198.51.100.10) is on www1, which may not hold it",
    )


def test_parse_seen_takes_what_host_info_returns() -> None:
    host = {
        "addresses": [{"interface": "host0", "address": "198.51.100.11", "prefix": 26}],
        "macs": ["02:00:00:00:00:0A"],
        "answered": {"198.51.100.10": "02:00:00:00:00:0B"},
    }
    assert _vips.parse_seen(host) == _vips.Seen(
        frozenset({"198.51.100.11"}),
        frozenset({"02:00:00:00:00:0a"}),
        {"198.51.100.10": "02:00:00:00:00:0b"},
    )
