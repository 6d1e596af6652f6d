# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the system prints about a host."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _host
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures"

TRIXIE = """\
PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
VERSION_CODENAME=trixie
ID=debian
"""


def test_os_release() -> None:
    assert _host.parse_os_release(TRIXIE) == _host.Release("debian", 13, "trixie", "Debian GNU/Linux 13 (trixie)")


def test_os_release_without_number() -> None:
    assert _host.parse_os_release("ID=debian\n# VERSION_ID=9\nPRETTY_NAME='Debian sid'\n").major == 0
    assert _host.parse_os_release("").distribution == "unknown"


def test_addresses() -> None:
    addresses, macs = _host.parse_addresses((FIXTURES / "ip" / "address_show.json").read_text())
    own = _host.find_address(addresses, "198.51.100.203")
    assert own == _host.Address("host0", "198.51.100.203", 26)
    assert own.network == "198.51.100.192/26"
    assert macs == ("0a:59:4d:93:6d:86",)
    assert _host.find_address(addresses, "198.51.100.1") is None
    assert _host.parse_addresses("") == ((), ())


def test_listeners() -> None:
    found = _host.parse_listeners((FIXTURES / "ss" / "listening.txt").read_text())
    assert [(item.port, item.process) for item in found] == [
        (2379, "etcd"),
        (2380, "etcd"),
        (8011, "python3"),
        (3306, "mariadbd"),
        (80, "nginx"),
        (53, ""),
        (22, "sshd"),
    ]
    assert found[5] == _host.Listener("127.0.0.53", 53, "", None)
    assert found[6].address == "::"


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("0::/system.slice/system-getty.slice/getty@tty1.service\n", "getty@tty1.service"),
        ("12:cpu:/x\n1:name=systemd:/system.slice/etcd.service\n", "etcd.service"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope"),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_units(cgroup: str, unit: str) -> None:
    assert _host.parse_unit(cgroup) == unit


def test_memory_and_capabilities() -> None:
    assert _host.parse_memory_bytes("MemTotal:        2048 kB\nMemFree: 1 kB\n") == 2 * 2**20
    assert _host.parse_memory_bytes("") == 0
    assert _host.parse_capability("CapBnd:\t000001ffffffffff\n", _host.CAP_SYS_TIME)
    assert not _host.parse_capability("CapBnd:\t000001fffdffffff\n", _host.CAP_SYS_TIME)
    assert not _host.parse_capability("", _host.CAP_SYS_TIME)


def test_an_arp_request_is_no_reply_and_a_reply_names_its_sender() -> None:
    request = _host.build_arp_request("02:00:00:00:00:01", "198.51.100.11", "198.51.100.10")
    assert len(request) == 42
    assert request[:14].hex() == "ffffffffffff0200000000010806"
    assert _host.parse_arp_reply(request) is None
    reply = request[:20] + b"\x00\x02" + bytes.fromhex("02000000000a") + bytes([198, 51, 100, 10]) + request[32:]
    assert _host.parse_arp_reply(reply + bytes(18)) == ("198.51.100.10", "02:00:00:00:00:0a")


@given(st.binary(max_size=80))
def test_no_frame_breaks_the_reader(frame: bytes) -> None:
    _host.parse_arp_reply(frame)


@given(offset=st.floats(-100, 100), there=st.floats(0, 5), back=st.floats(0, 5), asked=st.floats(1.7e9, 1.8e9))
def test_the_true_offset_is_within_the_uncertainty(offset: float, there: float, back: float, asked: float) -> None:
    clock = _host.decide_clock(asked, asked + there + back, asked + there + offset)
    assert abs(clock.offset_seconds - offset) <= clock.uncertainty_seconds + 0.002


@pytest.mark.parametrize(("text", "answer"), [("198.51.100.1", True), ("www1", False), ("::1", False), ("", False)])
def test_addresses_and_names(text: str, answer: bool) -> None:
    assert _host.is_ipv4(text) is answer
