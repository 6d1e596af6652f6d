# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Members of etcd: who may start, join or restart, and when that is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _etcd
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures" / "etcd"
ADDRESSES = {"www1": "198.51.100.203", "www2": "198.51.100.204", "witness": "198.51.100.205"}
EMPTY = _etcd.View(has_data=False)


def listed(release: str = "3.5") -> tuple[_etcd.Member, ...]:
    return _etcd.parse_members(json.loads((FIXTURES / f"member_list_{release}.json").read_text()))


GOOD = _etcd.View(has_data=True, active=True, enabled=True, healthy=True, members=listed())
LONELY = replace(GOOD, healthy=False, members=())


@pytest.mark.parametrize("release", ["3.4", "3.5"])
def test_members_of_both_releases(release: str) -> None:
    members = listed(release)
    assert [member.name for member in members] == ["www1", "www2", "witness"]
    assert all(member.has_started for member in members)
    assert _etcd.decide_problems(ADDRESSES, members, dict.fromkeys(ADDRESSES, True)) == ()


def test_a_new_estate_is_bootstrapped_together() -> None:
    assert _etcd.decide_actions(ADDRESSES, dict.fromkeys(ADDRESSES, EMPTY)) == dict.fromkeys(ADDRESSES, "bootstrap")


def test_a_running_cluster_is_left_alone() -> None:
    assert _etcd.decide_actions(ADDRESSES, dict.fromkeys(ADDRESSES, GOOD)) == dict.fromkeys(ADDRESSES, "none")


def test_a_member_that_is_down_is_started() -> None:
    views = {"www1": GOOD, "www2": replace(LONELY, active=False), "witness": replace(GOOD, enabled=False)}
    assert _etcd.decide_actions(ADDRESSES, views) == {"www1": "none", "www2": "start", "witness": "start"}


def test_a_host_without_data_joins() -> None:
    views = {"www1": GOOD, "www2": GOOD, "witness": EMPTY}
    assert _etcd.decide_actions(ADDRESSES, views) == {"www1": "none", "www2": "none", "witness": "join"}


def test_a_host_can_join_when_others_were_not_looked_at() -> None:
    assert _etcd.decide_actions(ADDRESSES, {"www1": GOOD, "witness": EMPTY})["witness"] == "join"


def test_no_new_cluster_without_looking_at_every_host() -> None:
    with pytest.raises(_etcd.EtcdRefusedError, match="does not look at witness"):
        _etcd.decide_actions(ADDRESSES, {"www1": EMPTY, "www2": EMPTY, "witness": None})


def test_no_new_cluster_beside_data() -> None:
    with pytest.raises(_etcd.EtcdRefusedError, match="witness holds the cluster's data"):
        _etcd.decide_actions(ADDRESSES, {"www1": EMPTY, "www2": EMPTY, "witness": LONELY})


def alone(name: str) -> _etcd.View:
    """A healthy member that is a cluster of its own."""
    return replace(GOOD, members=tuple(member for member in listed() if member.name == name))


def test_a_member_whose_cluster_went_on_without_it_rejoins() -> None:
    views = {"www1": LONELY, "www2": alone("www2"), "witness": EMPTY}
    assert _etcd.decide_actions(ADDRESSES, views) == {"www1": "rejoin", "www2": "none", "witness": "join"}


def test_a_member_that_is_only_down_does_not_rejoin() -> None:
    assert _etcd.decide_actions(ADDRESSES, {"www1": LONELY, "www2": GOOD, "witness": GOOD})["www1"] != "rejoin"


def test_two_clusters_are_for_a_person() -> None:
    views = {"www1": GOOD, "www2": alone("www2"), "witness": GOOD}
    with pytest.raises(_etcd.EtcdRefusedError, match="there are two etcd clusters"):
        _etcd.decide_actions(ADDRESSES, views)


@pytest.mark.parametrize(
    ("without", "answering", "words"),
    [
        (["www1", "witness"], [], []),
        (["www1"], [], ["witness votes too"]),
        ([], [], ["witness, www1 votes too"]),
        (["www1", "witness"], ["www1"], ["www1 is said to be off, but its etcd answers"]),
        (["www1", "www2", "witness"], [], ["www2 is said to be off, but it is the host to go on"]),
    ],
)
def test_who_may_go_on_alone(without: list[str], answering: list[str], words: list[str]) -> None:
    reasons = _etcd.decide_alone(ADDRESSES, "www2", without, answering)
    assert len(reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


def test_a_bootstrap_that_broke_off_goes_on() -> None:
    views = {"www1": replace(LONELY, pending=True), "www2": EMPTY, "witness": EMPTY}
    assert _etcd.decide_actions(ADDRESSES, views) == {"www1": "none", "www2": "bootstrap", "witness": "bootstrap"}


VIEWS = st.builds(
    _etcd.View,
    has_data=st.booleans(),
    pending=st.booleans(),
    active=st.booleans(),
    enabled=st.booleans(),
    healthy=st.booleans(),
    members=st.sampled_from([(), listed()]),
)


@given(st.fixed_dictionaries({name: st.none() | VIEWS for name in ADDRESSES}))
def test_confirmed_data_is_never_outvoted(views: dict[str, _etcd.View | None]) -> None:
    try:
        actions = _etcd.decide_actions(ADDRESSES, views)
    except _etcd.EtcdRefusedError:
        return
    seen = [view for view in views.values() if view is not None]
    if "bootstrap" in actions.values():
        assert len(seen) == len(ADDRESSES)
        assert not any(view.has_data and not view.pending for view in seen)
    if "join" in actions.values():
        assert any(view.healthy and view.members for view in seen)


def test_the_file_of_a_new_cluster_is_the_same_everywhere() -> None:
    text = _etcd.make_initial_cluster(dict(reversed(ADDRESSES.items())))
    assert text == _etcd.make_initial_cluster(ADDRESSES)
    assert text.startswith("witness=https://198.51.100.205:2380,www1=https://198.51.100.203:2380")
    assert "ETCD_INITIAL_CLUSTER_STATE=new\n" in _etcd.make_bootstrap_file(text, "new", "lab")


def test_a_joining_member_names_itself() -> None:
    fresh = _etcd.Member("7", "", ("https://198.51.100.205:2380",), ())
    members = [member for member in listed() if member.name != "witness"]
    assert _etcd.make_joined_cluster([*members, fresh], "witness", fresh.peer_urls[0]) == (
        "witness=https://198.51.100.205:2380,www1=https://198.51.100.203:2380,www2=https://198.51.100.204:2380"
    )


def test_a_member_is_found_by_its_address_before_its_name() -> None:
    assert _etcd.find_member(listed(), "other", "https://198.51.100.204:2380") == listed()[1]
    moved = _etcd.find_member(listed(), "www2", "https://198.51.100.250:2380")
    assert moved == listed()[1]
    assert _etcd.find_member(listed(), "other", "https://198.51.100.250:2380") is None


def test_problems() -> None:
    wanted = {"www1": "198.51.100.203", "www3": "198.51.100.206", "www2": "198.51.100.204"}
    assert _etcd.decide_problems(wanted, listed(), {"www1": True}) == (
        "www2 is not healthy",
        "www3 (https://198.51.100.206:2380) is not a member",
        "member witness (https://198.51.100.205:2380) is not in the inventory; remove it with "
        "etcdctl member remove ca18478f81cb7389",
    )


def test_an_unreachable_member_is_not_healthy(tmp_path: Path) -> None:
    client = _etcd.Client("127.0.0.1", str(tmp_path / "no"), "", "", timeout=0.2, port=9)
    assert not client.is_healthy()
    with pytest.raises(_etcd.EtcdError, match=r"https://127\.0\.0\.1:9/v3"):
        client.list_members()
