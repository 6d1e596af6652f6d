# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that can be wrong with an estate, one case each, and a sound one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _estate
from ansible_collections.hosting.failover.plugins.plugin_utils._role_specs import load_role_options
from hypothesis import given
from hypothesis import strategies as st

ROLES = _estate.Roles(load_role_options())
LIMITS = _estate.Limits(clock_seconds=2.0, disk_bytes=2**30, memory_bytes=2**29)
SHARED: dict[str, Any] = {
    "failover_estate": "lab",
    "failover_profile": "lan",
    "failover_vips": [
        {"name": "site", "address": "198.51.100.10", "vrid": 51, "follows": "primary"},
        {"name": "web", "address": "198.51.100.9", "vrid": 52, "follows": "web"},
    ],
    "failover_objectives": {"rto_seconds": 30, "rpo_seconds": 0},
    "base_client_networks": ["198.51.100.1/32"],
    "mariadb_probe_password": "a good one",
    "web_sites": [
        {
            "domain": "guestbook.example.org",
            "docroot": "/srv/www/guestbook.example.org",
            "php": True,
            "content": "demo",
            "database": {"name": "guestbook", "user": "guestbook", "password": "another good one"},
        }
    ],
}
GROUPS: dict[str, list[str]] = {
    "all": ["www1", "www2", "witness", "vault", "printer"],
    "failover_web": ["www1", "www2"],
    "failover_database": ["www1", "www2"],
    "failover_witness": ["witness"],
    "failover_backup": ["vault"],
}


class Estate:
    """An inventory that a test spoils. ``shared`` are the variables of all hosts."""

    def __init__(self) -> None:
        """Begin with a sound one."""
        self.shared = copy.deepcopy(SHARED)
        self.groups = copy.deepcopy(GROUPS)
        self.hosts: dict[str, dict[str, Any]] = {
            "www1": {"ansible_host": "198.51.100.11"},
            "www2": {"ansible_host": "198.51.100.12"},
            "witness": {"ansible_host": "198.51.100.13"},
            "vault": {"ansible_host": "198.51.100.14"},
            "printer": {"ansible_host": "printer.example.org"},
        }
        self.looks = {name: _estate.Look(host=seen(item)) for name, item in self.hosts.items()}

    def inventory(self) -> _estate.Inventory:
        """Return it as the checks take it."""
        return _estate.Inventory(self.groups, {name: {**self.shared, **item} for name, item in self.hosts.items()})

    def found(self, **extra: Any) -> list[tuple[str, str, str]]:
        """Return code, host and variable of all problems of the inventory."""
        roles = _estate.Roles(ROLES.options, **extra)
        return [(item.code, item.host, item.variable) for item in _estate.check_inventory(self.inventory(), roles)]

    def found_on_hosts(self) -> list[tuple[str, str]]:
        """Return code and host of all problems of the hosts."""
        return [(item.code, item.host) for item in _estate.check_hosts(self.inventory(), self.looks, LIMITS)]

    def see(self, host: str, **changes: Any) -> None:
        """Change what is seen of a host."""
        before = self.looks[host].host
        assert before is not None
        self.looks[host] = _estate.Look(host={**before, **changes})


def seen(variables: dict[str, Any]) -> dict[str, Any]:
    """Return what host_info reports of a sound host."""
    address = variables["ansible_host"]
    return {
        "distribution": "debian",
        "release": 13,
        "pretty_name": "Debian GNU/Linux 13 (trixie)",
        "python": "3.13.5",
        "systemd": True,
        "address": address,
        "network": "198.51.100.0/26",
        "addresses": [{"interface": "eth0", "address": address, "prefix": 26}],
        "macs": [f"02:00:00:00:00:{address[-2:]}"],
        "memory_bytes": 2**31,
        "disk_free_bytes": 2**34,
        "clock": {"offset_seconds": 0.3, "uncertainty_seconds": 0.4},
        "listeners": [],
        "answered": {},
    }


@pytest.fixture
def estate() -> Estate:
    return Estate()


def test_a_sound_estate(estate: Estate) -> None:
    assert estate.found() == []
    assert estate.found_on_hosts() == []


def vip(estate: Estate, index: int, **changes: Any) -> None:
    estate.shared["failover_vips"][index].update(changes)


def site(estate: Estate, **changes: Any) -> None:
    estate.shared["web_sites"].append({**estate.shared["web_sites"][0], "domain": "b.example.org", **changes})


CASES: list[tuple[Callable[[Estate], Any], list[tuple[str, str, str]]]] = [
    (lambda e: e.shared.update(failover_profil="lan"), [("unknown_variable", "", "failover_profil")]),
    (lambda e: e.hosts["www2"].update(keepalived_vip=1), [("unknown_variable", "www2", "keepalived_vip")]),
    (lambda e: e.hosts["printer"].update(web_tray="A4"), []),
    (lambda e: e.shared.update(webmail_port=1, failover_host={}, certificates_result={}), []),
    (lambda e: e.shared.update(failover_profile="wan"), [("wrong_value", "", "failover_profile")]),
    (lambda e: e.shared.update(failover_objectives={"rto": 3}), [("unknown_key", "", "failover_objectives.rto")]),
    (lambda e: e.shared.update(failover_vips={}), [("wrong_type", "", "failover_vips")]),
    (lambda e: e.shared.update(mariadb_max_connections="many"), [("wrong_type", "", "mariadb_max_connections")]),
    (lambda e: e.shared.update(mariadb_max_connections="300"), []),
    (lambda e: e.shared.update(failover_replication_port=3317), []),
    (lambda e: e.shared.update(failover_replication_port=8010), [("port_taken", "", "failover_replication_port")]),
    (
        lambda e: e.shared.update(failover_replication_port=33062),
        [("port_out_of_range", "", "failover_replication_port")],
    ),
    (lambda e: e.shared.update(failover_replication_port="mysql"), [("wrong_type", "", "failover_replication_port")]),
    (lambda e: e.shared.update(base_time_enabled="sometimes"), [("wrong_type", "", "base_time_enabled")]),
    (lambda e: e.shared.update(base_ntp_servers=None), [("wrong_type", "", "base_ntp_servers")]),
    (lambda e: e.shared.update(failover_site=_estate.Broken("no x")), [("not_evaluable", "", "failover_site")]),
    (lambda e: e.shared.pop("failover_estate"), [("missing_variable", "", "failover_estate")]),
    (lambda e: e.shared.pop("failover_vips"), [("missing_variable", "", "failover_vips")]),
    (lambda e: e.shared.pop("web_sites"), [("missing_variable", "www1", "web_sites")]),
    (lambda e: e.shared.update(failover_estate="Lab"), [("bad_estate_name", "", "failover_estate")]),
    (lambda e: e.groups.update(failover_wep=["www1"]), [("unknown_group", "", "failover_wep")]),
    (lambda e: e.groups.update(failover_members=["www1"]), []),
    (lambda e: e.groups.update(failover_database=["www1"]), [("one_data_host", "", "failover_database")]),
    (lambda e: e.groups.update(failover_witness=[]), [("no_witness", "", "failover_witness")]),
    (lambda e: (e.groups.pop("failover_witness"), e.shared.update(failover_automatic=False)), []),
    (
        lambda e: e.groups.update(failover_database=["www1", "www2", "vault"], failover_backup=[]),
        [("even_voters", "", "failover_witness")],
    ),
    (lambda e: e.groups["failover_backup"].append("www1"), [("wrong_group", "www1", "failover_backup")]),
    (lambda e: e.hosts["vault"].update(ansible_host="vault.lan"), [("bad_address", "vault", "ansible_host")]),
    (
        lambda e: e.hosts["vault"].update(ansible_host="vault.lan", failover_address="198.51.100.14"),
        [],
    ),
    (
        lambda e: e.hosts["vault"].update(ansible_host="198.51.100.13"),
        [("duplicate_address", "vault", "ansible_host")],
    ),
    (lambda e: vip(e, 1, vrid=51), [("duplicate_vrid", "", "failover_vips[1].vrid")]),
    (lambda e: vip(e, 1, vrid=256), [("bad_vrid", "", "failover_vips[1].vrid")]),
    (lambda e: vip(e, 1, vrid="x"), [("wrong_type", "", "failover_vips[1].vrid")]),
    (lambda e: vip(e, 1, address="198.51.100.10"), [("duplicate_address", "", "failover_vips[1].address")]),
    (lambda e: vip(e, 1, name="site"), [("duplicate_name", "", "failover_vips[1].name")]),
    (lambda e: vip(e, 0, address="198.51.100.13"), [("vip_is_host", "", "failover_vips[0].address")]),
    (lambda e: vip(e, 0, address="fe80::1"), [("bad_address", "", "failover_vips[0].address")]),
    (lambda e: vip(e, 0, follows="master"), [("wrong_value", "", "failover_vips[0].follows")]),
    (lambda e: vip(e, 0, priority=3), [("unknown_key", "", "failover_vips[0].priority")]),
    (lambda e: e.shared["failover_vips"][0].pop("vrid"), [("missing_key", "", "failover_vips[0].vrid")]),
    (lambda e: site(e, domain="guestbook.example.org"), [("duplicate_domain", "", "web_sites[1].domain")]),
    (lambda e: site(e, docroot="srv"), [("bad_docroot", "", "web_sites[1].docroot")]),
    (lambda e: site(e, database={"name": "x", "user": "x"}), [("missing_key", "", "web_sites[1].database.password")]),
    (lambda e: site(e, php=False), [("incomplete_site", "", "web_sites[1].content")]),
    (
        lambda e: e.shared["web_sites"][0]["database"].update(password="changeme"),
        [("placeholder_secret", "", "web_sites[0].database.password")],
    ),
    (lambda e: e.shared.update(mariadb_probe_password=""), [("placeholder_secret", "", "mariadb_probe_password")]),
    (
        lambda e: e.hosts["www1"].update(failover_group_web="nodes"),
        [("group_name_differs", "", "failover_group_web"), ("unknown_group", "", "failover_web")],
    ),
]


@pytest.mark.parametrize(("spoil", "expected"), CASES)
def test_problems_of_the_inventory(
    estate: Estate, spoil: Callable[[Estate], Any], expected: list[tuple[str, str, str]]
) -> None:
    spoil(estate)
    assert [item for item in estate.found() if item[0] not in ("missing_group", "vip_without_hosts")] == expected


def test_an_inventory_without_our_groups(estate: Estate) -> None:
    estate.groups = {"all": GROUPS["all"]}
    codes = estate.found()
    assert ("missing_group", "", "failover_database") in codes
    assert ("missing_group", "", "failover_web") in codes
    assert ("vip_without_hosts", "", "failover_vips[0].follows") in codes


def test_names_that_something_else_takes(estate: Estate) -> None:
    estate.shared["web_proxy"] = "x"
    assert estate.found() == [("unknown_variable", "", "web_proxy")]
    assert estate.found(extra_names=frozenset({"web_proxy"})) == []


def test_the_nearest_key_is_named(estate: Estate) -> None:
    estate.shared["base_client_network"] = []
    (problem,) = _estate.check_inventory(estate.inventory(), ROLES)
    assert problem.fix == "Did you mean base_client_networks?"


def test_no_secret_is_shown(estate: Estate) -> None:
    estate.shared["web_sites"][0]["database"]["password"] = ["hidden value"]
    estate.shared["mariadb_probe_password"] = {"hidden": "value"}
    problems = _estate.check_inventory(estate.inventory(), ROLES)
    assert len(problems) == 2
    assert "hidden" not in _estate.render_problems(problems)
    assert "hidden" not in str([item.as_dict() for item in problems])


OVERRIDDEN = {"name": "sync_binlog", "wanted": "1", "found": "0"}

HOST_CASES: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("www1", {"distribution": "ubuntu"}, [("not_debian", "www1")]),
    ("witness", {"release": 11}, [("unsupported_release", "witness")]),
    ("witness", {"python": "3.9.2"}, [("old_python", "witness")]),
    ("witness", {"systemd": False}, [("no_systemd", "witness")]),
    ("witness", {"clock": {"offset_seconds": -2.5, "uncertainty_seconds": 0.4}}, [("clock_apart", "witness")]),
    ("witness", {"clock": {"offset_seconds": 2.5, "uncertainty_seconds": 0.6}}, []),
    ("witness", {"disk_free_bytes": 0}, [("low_disk", "witness")]),
    ("witness", {"memory_bytes": 2**28}, [("low_memory", "witness")]),
    ("witness", {"address": None, "network": None}, [("address_not_configured", "witness")]),
    ("witness", {"network": "192.0.2.0/24"}, []),
    ("www2", {"network": "192.0.2.0/24"}, [("vip_outside_network", "www2"), ("vip_outside_network", "www2")]),
    ("www2", {"answered": {"198.51.100.10": "02:00:00:00:00:99"}}, [("vip_in_use", "www2")]),
    ("www2", {"answered": {"198.51.100.10": "02:00:00:00:00:11"}}, []),
    ("www2", {"listeners": [{"port": 80, "unit": "apache2.service", "process": "apache2"}]}, [("port_in_use", "www2")]),
    ("www2", {"listeners": [{"port": 80, "unit": "nginx.service", "process": "nginx"}]}, []),
    ("www2", {"listeners": [{"port": 2379, "unit": "", "process": "x"}] * 2}, [("port_in_use", "www2")]),
    ("www2", {"listeners": [{"port": 3307, "unit": "haproxy.service", "process": "x"}]}, [("port_in_use", "www2")]),
    ("www2", {"listeners": [{"port": 3307, "unit": "mariadb.service", "process": "mariadbd"}]}, []),
    ("www2", {"listeners": [{"port": 3317, "unit": "haproxy.service", "process": "x"}]}, []),
    ("vault", {"listeners": [{"port": 80, "unit": "apache2.service", "process": "apache2"}]}, []),
    ("www1", {"traces": {"estate": "lab"}}, []),
    ("www1", {"traces": {"estate": "shop"}}, [("other_estate", "www1")]),
    ("www1", {"traces": {"sources": ["198.51.100.12"]}}, []),
    ("www1", {"traces": {"sources": ["203.0.113.9"]}}, [("foreign_primary", "www1")]),
    ("www1", {"traces": {"overridden": [OVERRIDDEN]}}, [("settings_overridden", "www1")]),
    ("vault", {"traces": {"overridden": [OVERRIDDEN]}}, []),
    ("witness", {"traces": {"etcd_estates": ["lab"]}}, []),
    ("witness", {"traces": {"etcd_estates": ["lab", "shop"]}}, [("etcd_other_estate", "witness")]),
    ("www1", {"vrrp": [{"source": "198.51.100.60", "vrid": 51}] * 2}, [("vrid_in_use", "www1")]),
    ("www1", {"vrrp": [{"source": "198.51.100.12", "vrid": 51}]}, []),
    ("www2", {"release": 12, "pretty_name": "Debian GNU/Linux 12 (bookworm)"}, [("mixed_releases", "")]),
]


@pytest.mark.parametrize(("host", "changes", "expected"), HOST_CASES)
def test_problems_of_hosts(estate: Estate, host: str, changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    estate.see(host, **changes)
    assert estate.found_on_hosts() == expected


def test_a_stranger_that_several_hosts_see_is_named_once(estate: Estate) -> None:
    for host in ("www1", "www2", "witness"):
        traces = {"etcd_estates": ["lab", "shop"]}
        estate.see(host, vrrp=[{"source": "198.51.100.60", "vrid": 52}], traces=traces)
    assert estate.found_on_hosts() == [("etcd_other_estate", "www1"), ("vrid_in_use", "www1")]
    problems = _estate.check_hosts(estate.inventory(), estate.looks, LIMITS)
    assert [item.variable for item in problems] == ["failover_estate", "failover_vips[1].vrid"]


def test_when_all_hosts_agree_the_clock_of_the_controller_is_wrong(estate: Estate) -> None:
    for number, host in enumerate(estate.looks):
        estate.see(host, clock={"offset_seconds": 3600.0 + number / 10, "uncertainty_seconds": 0.4})
    problems = _estate.check_hosts(estate.inventory(), estate.looks, LIMITS)
    assert [item.code for item in problems] == ["controller_clock"]
    assert "is 3600.2 s behind those of all hosts" in problems[0].message
    estate.see("www2", clock={"offset_seconds": -3600.0, "uncertainty_seconds": 0.4})
    assert {code for code, _ in estate.found_on_hosts()} == {"clock_apart"}


def test_hosts_that_cannot_be_looked_at(estate: Estate) -> None:
    estate.looks["www1"] = _estate.Look(unreachable="no route to host")
    estate.looks["www2"] = _estate.Look(failure="python3: not found")
    assert estate.found_on_hosts() == [("unreachable", "www1"), ("unreadable", "www2")]


def test_hosts_left_out_with_limit_are_not_judged(estate: Estate) -> None:
    estate.looks = {"www1": estate.looks["www1"]}
    assert estate.found_on_hosts() == []


def test_what_several_hosts_have_is_named_once_with_the_first(estate: Estate) -> None:
    for host in ("www1", "www2"):
        estate.hosts[host]["mariadb_bufer"] = 1
    (problem,) = _estate.check_inventory(estate.inventory(), ROLES)
    assert (problem.host, problem.message) == ("www1", "nothing takes mariadb_bufer (also on www2)")


def test_all_problems_at_once(estate: Estate) -> None:
    estate.shared["failover_profil"] = "lan"
    estate.hosts["vault"]["ansible_host"] = "198.51.100.13"
    vip(estate, 1, vrid=51)
    assert len(estate.found()) == 3
    text = _estate.render_problems(_estate.check_inventory(estate.inventory(), ROLES))
    assert text.startswith("3 problems. Nothing was changed.\n- ")
    assert len(text.splitlines()) == 4


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(name=st.sampled_from(sorted(ROLES.names())), value=ANYTHING)
def test_no_value_breaks_the_checks(name: str, value: Any) -> None:
    estate = Estate()
    estate.shared[name] = value
    estate.found()
    estate.found_on_hosts()


STATIC = {"domain": "static.example.org", "docroot": "/srv/www/static.example.org", "php": False, "content": "none"}


class TestWithoutDatabase:
    """Engine ``none``: nothing of a database is wanted, looked at, or in the way."""

    @pytest.fixture
    def static(self, estate: Estate) -> Estate:
        """An estate of a static site."""
        estate.shared.update(failover_engine="none", web_sites=[dict(STATIC)])
        del estate.shared["mariadb_probe_password"]
        return estate

    def test_a_sound_estate(self, static: Estate) -> None:
        assert static.found() == []
        assert static.found_on_hosts() == []

    def test_no_other_engine(self, static: Estate) -> None:
        static.shared["failover_engine"] = "mysql"
        assert static.found() == [("wrong_value", "", "failover_engine")]

    def test_a_site_that_wants_one(self, static: Estate) -> None:
        static.shared["web_sites"] = copy.deepcopy(SHARED["web_sites"])
        assert static.found() == [("site_without_database", "", "web_sites[0].database")]
        static.shared["web_database_host"] = "198.51.100.60"
        assert static.found() == [], "one that is elsewhere is fine"

    def test_a_database_that_is_there_is_nobodys_business(self, static: Estate) -> None:
        static.see(
            "www1",
            listeners=[{"port": 3306, "unit": "mysql.service", "process": "mysqld"}],
            traces={"sources": ["203.0.113.9"], "overridden": [OVERRIDDEN], "engine": "none"},
            release=12,
            pretty_name="Debian GNU/Linux 12 (bookworm)",
        )
        assert static.found_on_hosts() == []
        static.shared["failover_engine"] = "mariadb"
        assert ("port_in_use", "www1") in static.found_on_hosts()

    def test_its_voters_are_judged_all_the_same(self, static: Estate) -> None:
        static.groups["failover_witness"] = []
        assert static.found() == [("no_witness", "", "failover_witness")]

    @pytest.mark.parametrize(("told", "wanted"), [("mariadb", "none"), ("none", "mariadb")])
    def test_an_estate_keeps_its_engine(self, estate: Estate, told: str, wanted: str) -> None:
        estate.shared["failover_engine"] = wanted
        estate.see("www2", traces={"engine": told})
        estate.see("vault", traces={"engine": told})
        assert estate.found_on_hosts() == [("engine_changed", "www2")]
