# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The configuration file: what the role writes is read, and every mistake is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from failover_agent.config import Config, ConfigError, Vip, load, parse
from failover_agent.policy import Policy

PKI = {"ca": "/pki/ca.crt", "certificate": "/pki/agent.crt", "key": "/pki/agent.key"}
#: As the role writes it.
GOOD: dict[str, Any] = {
    "estate": "dev",
    "etcd_endpoints": ["https://198.51.100.75:2379", "https://198.51.100.77:2379", "https://198.51.100.76:2379"],
    "health_port": 8010,
    "host": "www1",
    "hosts": {"www1": "198.51.100.75", "www2": "198.51.100.76"},
    "peer_port": 8011,
    "pki": PKI,
    "policy": {
        "fence_margin": 1.5,
        "lag_limit": 2,
        "lease_ttl": 6.0,
        "renew_interval": 1.5,
        "replica_loss": 3,
        "switchover_limit": 3,
        "transaction_limit": 5,
    },
    "replication_pki": PKI,
    "vips": [{"address": "198.51.100.74", "follows": "primary", "name": "site", "vrid": 51}],
}


def but(**changes: Any) -> dict[str, Any]:
    """The good configuration with changes; None removes a key."""
    return {key: value for key, value in (GOOD | changes).items() if value is not None}


def test_what_the_role_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    config = load(path)
    assert config.address == "198.51.100.75"
    assert config.prefix == "/failover/dev/"
    assert config.peers == {"www2": "198.51.100.76"}
    assert config.vips == (Vip("site", "198.51.100.74", "primary"),)
    assert config.etcd_endpoints[1] == "https://198.51.100.77:2379"
    assert config.policy == Policy(lease_ttl=6.0, renew_interval=1.5, lag_limit=2.0)
    assert isinstance(config.policy.lag_limit, float)


def test_only_five_keys_are_needed() -> None:
    config = parse(but(vips=None, policy=None, health_port=None, peer_port=None))
    assert config.policy == Policy()
    assert config.vips == ()
    assert config.health_port == Config.health_port


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (but(estate=None), "estate"),
        (but(host=None), "host"),
        (but(hosts=None), "hosts"),
        (but(etcd_endpoints=None), "'etcd_endpoints' is missing"),
        (but(pki=None), "'pki' is missing"),
        (but(replication_pki=None), "'replication_pki' is missing"),
        (but(pki={"ca": "/ca.crt"}), "certificate"),
        (but(host="www9"), "host is 'www9', which hosts does not list"),
        (but(colour="red", shape="round"), "unknown keys colour, shape; known are database_directory"),
        (but(policy={"patience": 3}), "patience"),
        (but(policy={"lease_ttl": "long"}), "long"),
        (but(vips=[{"name": "site", "address": "198.51.100.74"}]), "'follows' is missing"),
        (but(health_port="8010"), "health_port is '8010', not a whole number"),
        (but(health_port=True), "health_port is True, not a whole number"),
        (but(database_socket=5), "database_socket is 5, not text"),
        (but(etcd_endpoints=[]), "etcd_endpoints is [], not a list of https addresses"),
        (but(etcd_endpoints="https://198.51.100.75:2379"), "not a list of https addresses"),
        (but(hosts=["www1"], health_port="x"), "health_port is 'x', not a whole number; hosts is ['www1'], not an"),
        (but(policy={"lease_ttl": 3.0, "renew_interval": 1.5, "fence_margin": 1.5}), "policy.lease_ttl is 3"),
        (but(policy=[]), "has no attribute"),
        (["a", "list"], "not an object"),
        (5, "not an object"),
        ("text", "not an object"),
    ],
)
def test_every_mistake_is_named(raw: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(raw, "/etc/agent.json")
    assert str(caught.value).startswith("/etc/agent.json: ")
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nothing\.json: No such file"):
        load(tmp_path / "nothing.json")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe{}"])
def test_what_is_no_json_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "agent.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="is no JSON"):
        load(path)
