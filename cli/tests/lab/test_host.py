from __future__ import annotations

from ipaddress import IPv4Interface, ip_address
from pathlib import Path

import pytest
from failoverctl.lab.errors import LabError
from failoverctl.lab.host import Host, command, hosts_text, interfaces_text, nspawn_options


def _host(folder: Path) -> Host:
    gateway = ip_address("198.51.100.1")
    assert gateway.version == 4
    return Host(
        name="www1",
        interface=IPv4Interface("198.51.100.11/26"),
        gateway=gateway,
        machine="failover-11",
        port="vb-failover-11",
        bridge="fo-failover",
        folder=folder,
        group=folder / "no-cgroup",
    )


def test_interfaces() -> None:
    text = interfaces_text(IPv4Interface("198.51.100.11/26"), _host(Path("/x")).gateway)
    assert "iface host0 inet static\n    address 198.51.100.11/26\n    gateway 198.51.100.1\n" in text


def test_hosts_file_is_that_of_a_fresh_debian() -> None:
    assert "127.0.1.1\twww1\n" in hosts_text("www1")


def test_the_machines_clock_is_out_of_reach(tmp_path: Path) -> None:
    options = nspawn_options(_host(tmp_path), fuse=False)
    assert "--drop-capability=CAP_SYS_TIME" in options
    assert "--register=no" in options
    assert "--bind=/dev/fuse" not in options
    assert "--bind=/dev/fuse" in nspawn_options(_host(tmp_path), fuse=True)


def test_a_command_for_a_host_that_is_off_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        command(_host(tmp_path), ["true"])
    assert "power-on www1" in caught.value.fix
    assert caught.value.exit_code == 4
