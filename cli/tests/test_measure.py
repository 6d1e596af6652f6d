"""What the prober is aimed at."""

from __future__ import annotations

from dataclasses import replace

from failoverctl.estate import Estate, Host, Vip
from failoverctl.measure import target
from failoverctl.probe import parse_target

ESTATE = Estate(
    name="shop",
    profile="lan",
    hosts=(
        Host("www1", (), "198.51.100.11", "", {}, False),
        Host("www2", (), "198.51.100.12", "", {}, False),
        Host("witness", (), "198.51.100.13", "", {}, False),
    ),
    groups={"web": ("www1", "www2"), "database": ("www1", "www2"), "witness": ("witness",)},
    vips=(Vip("other", "198.51.100.9", "web"), Vip("site", "198.51.100.10", "primary")),
    objectives={},
    domains=("shop.example.org", "blog.example.org"),
)


def test_writes_and_requests_go_to_the_vip_of_the_primary() -> None:
    found = target(ESTATE, "hunter2", writers=8)
    assert found is not None
    assert found["write"] == {
        "host": "198.51.100.10",
        "port": 3306,
        "user": "failover_probe",
        "password": "hunter2",
        "database": "failover_probe",
    }
    assert found["http"] == {"host": "198.51.100.10", "port": 80, "host_header": "shop.example.org", "path": "/"}
    assert found["sample"][1] == {"host": "www2", "url": "http://198.51.100.12:8010/role"}
    assert [reader["address"] for reader in found["readers"]] == ["198.51.100.11", "198.51.100.12"]
    assert found["writers"] == 8


def test_the_prober_takes_it() -> None:
    found = target(ESTATE, "hunter2")
    assert found is not None
    assert parse_target({"schema": 1, "run_id": "x", **found}).write is not None


def test_web_hosts_of_their_own_have_a_vip_of_their_own() -> None:
    apart = replace(ESTATE, groups={"web": ("witness",), "database": ("www1", "www2")})
    found = target(apart, "x")
    assert found is not None
    assert found["http"]["host"] == "198.51.100.9"


def test_without_a_password_only_requests_are_measured() -> None:
    found = target(ESTATE, "")
    assert found is not None
    assert found["write"] is None


def test_without_a_database_nothing_is_written_and_nobody_read() -> None:
    found = target(replace(ESTATE, engine="none"), "hunter2")
    assert found is not None
    assert (found["write"], found["readers"]) == (None, [])
    assert found["http"]["host"] == "198.51.100.10"
    assert parse_target({"schema": 1, "run_id": "x", **found}).write is None


def test_nothing_to_measure() -> None:
    assert target(replace(ESTATE, vips=()), "x") is None
    assert target(replace(ESTATE, domains=()), "") is None
