from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from failoverctl.lab.errors import LabError
from failoverctl.lab.network import UsedRange
from failoverctl.lab.requirements import (
    Machine,
    check_machine,
    find_missing,
    parse_available,
    parse_barriers,
    require_programs,
    require_root,
)

FIXTURES = Path(__file__).parent / "fixtures"
GOOD = Machine(free_disk_bytes=2**35, free_memory_bytes=2**33, used=(), overlay=False, barriers=())


def _check(machine: Machine) -> None:
    check_machine(
        machine,
        network=IPv4Network("198.51.100.0/26"),
        bridge="fo-failover",
        hosts=4,
        base_built=False,
        where=Path("/var/lib/failoverctl-lab"),
    )


def _error(machine: Machine) -> LabError:
    with pytest.raises(LabError) as caught:
        _check(machine)
    assert caught.value.fix
    assert caught.value.exit_code == 2
    return caught.value


def test_a_good_machine_passes() -> None:
    _check(GOOD)


def test_a_range_in_use() -> None:
    used = (UsedRange(IPv4Network("198.51.0.0/16"), "interface tun0"),)
    error = _error(replace(GOOD, used=used))
    assert "198.51.100.0/26 is in use: interface tun0 has 198.51.0.0/16" in error.what
    assert "--network" in error.fix


def test_too_little_disk() -> None:
    error = _error(replace(GOOD, free_disk_bytes=2**30))
    assert "1024 MiB free below /var/lib/failoverctl-lab, 5632 MiB needed" in error.what


def test_too_little_memory() -> None:
    assert "100 MiB available, 768 MiB needed for 4 hosts" in _error(replace(GOOD, free_memory_bytes=100 * 2**20)).what


def test_a_disk_that_cannot_carry_overlays() -> None:
    assert "overlayfs" in _error(replace(GOOD, overlay=True)).what


def test_a_firewall_in_the_way_names_the_rules_that_let_the_lab_through() -> None:
    error = _error(replace(GOOD, barriers=("ip filter FORWARD",)))
    assert "nft insert rule ip filter FORWARD iifname fo-failover accept" in error.fix
    assert "nft insert rule ip filter FORWARD oifname fo-failover accept" in error.fix


def test_barriers_are_forward_chains_that_drop_and_do_not_know_the_bridge() -> None:
    ruleset = (FIXTURES / "nft-ruleset.json").read_text(encoding="utf-8")
    assert parse_barriers(ruleset, "fo-dev") == ("ip filter FORWARD",)
    assert parse_barriers(ruleset, "fo-new") == ("ip filter FORWARD", "inet mine forward")
    assert parse_barriers('{"nftables": []}', "fo-dev") == ()


def test_missing_programs_name_the_command_that_installs_them() -> None:
    missing = find_missing(lambda name: None if name in ("nft", "ssh", "ssh-keygen") else "/bin/x")
    assert missing == ("nftables", "openssh-client")
    with pytest.raises(LabError) as caught:
        require_programs(missing)
    assert caught.value.fix == "apt-get install --yes nftables openssh-client"
    require_programs(())


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError) as caught:
        require_root()
    assert "sudo" in caught.value.fix


def test_memory() -> None:
    text = (FIXTURES / "meminfo.txt").read_text(encoding="ascii")
    assert parse_available(text) > 2**30
    assert parse_available("") == 0
