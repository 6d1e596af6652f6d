# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an estate leaves on a host, and what strangers do there."""

from __future__ import annotations

import base64
import socket
import struct

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _traces
from ansible_collections.hosting.failover.plugins.module_utils._traces import Advert, Overridden
from hypothesis import given
from hypothesis import strategies as st

OWN = """\
# Ansible managed
# Starts as a replica that knows nothing of its role = none.
[mariadbd]
sync_binlog = 1
log_slave_updates = ON
skip_slave_start = ON
read_only = ON
ssl_ca = /etc/mysql/failover-pki/ca.crt
"""

DEFAULTS = """\
--socket=/run/mysqld/mysqld.sock
--sync-binlog=0
--sync_binlog=1
--log_slave_updates=1
--skip-slave-start
--loose-read_only=ON
--ssl_ca=/etc/mysql/failover-pki/ca.crt
"""

STATUS = """\
*************************** 1. row ***************************
               Connection_name:
               Slave_SQL_State: Slave has read all relay log; waiting for more updates
                   Master_Host: 203.0.113.9
                   Master_User: repl
*************************** 2. row ***************************
               Connection_name: second
                   Master_Host: db.example.org
"""


def test_the_estate_of_an_agent() -> None:
    assert _traces.parse_agent_estate('{"estate": "shop", "host": "www1"}') == "shop"
    assert [_traces.parse_agent_estate(text) for text in ("", "[1]", "{", "{}")] == ["", "", "", ""]


def test_what_an_agent_leads() -> None:
    assert _traces.parse_agent_engine('{"estate": "shop", "engine": "none"}') == "none"
    assert [_traces.parse_agent_engine(text) for text in ("", "[1]", "{", "{}")] == ["", "", "", ""]


def test_the_estates_in_etcd() -> None:
    request = _traces.keys_request()
    assert base64.b64decode(request["key"]) == b"/failover/"
    assert base64.b64decode(request["range_end"]) == b"/failover0"
    keys = ["/failover/shop/term", "/failover/shop/members/www1", "/failover/lab/term"]
    answer = {"kvs": [{"key": base64.b64encode(key.encode()).decode()} for key in keys]}
    assert _traces.parse_estates(answer) == ("lab", "shop")
    assert _traces.parse_estates({}) == ()


def test_whom_a_database_follows() -> None:
    assert _traces.parse_sources(STATUS) == ("203.0.113.9", "db.example.org")
    assert _traces.parse_sources("") == ()


def test_settings_that_are_in_force_as_written() -> None:
    own, effective = _traces.parse_own(OWN), _traces.parse_defaults(DEFAULTS)
    assert (own["sync_binlog"], effective["sync_binlog"]) == ("1", "1")
    assert _traces.find_overridden(own, effective) == ()


def test_settings_that_another_file_wins() -> None:
    own = _traces.parse_own(OWN)
    effective = _traces.parse_defaults(DEFAULTS + "--sync-binlog=0\n--log-slave-updates=OFF\n")
    assert _traces.find_overridden(own, effective) == (
        Overridden("sync_binlog", "1", "0"),
        Overridden("log_slave_updates", "ON", "OFF"),
    )


def test_a_file_that_is_not_read() -> None:
    assert Overridden("sync_binlog", "1", "nothing") in _traces.find_overridden(_traces.parse_own(OWN), {})


def frame(
    source: str, vrid: int, *, version: int = 3, kind: int = 1, protocol: int = 112, options: bytes = b""
) -> bytes:
    """An Ethernet frame with an advertisement to the group."""
    length = 20 + len(options)
    header = struct.pack("!BBHHHBBH", 0x40 | length // 4, 0xC0, length + 12, 0, 0, 255, protocol, 0)
    addresses = socket.inet_aton(source) + socket.inet_aton("224.0.0.18")
    vrrp = bytes([version << 4 | kind, vrid, 254, 1]) + bytes(8)
    return bytes(12) + b"\x08\x00" + header + addresses + options + vrrp


def test_adverts() -> None:
    assert _traces.parse_vrrp(frame("198.51.100.60", 51)) == Advert("198.51.100.60", 51)
    assert _traces.parse_vrrp(frame("198.51.100.60", 51, version=2, options=bytes(4))) == Advert("198.51.100.60", 51)


@pytest.mark.parametrize(
    "other",
    [
        b"",
        frame("198.51.100.60", 51, protocol=17),
        frame("198.51.100.60", 51, version=4),
        frame("198.51.100.60", 51, kind=2),
        frame("198.51.100.60", 51)[:36],
        frame("198.51.100.60", 51)[:12] + b"\x86\xdd" + bytes(60),
    ],
)
def test_frames_that_are_no_adverts(other: bytes) -> None:
    assert _traces.parse_vrrp(other) is None


@given(st.binary(max_size=80))
def test_no_frame_breaks_the_parser(data: bytes) -> None:
    _traces.parse_vrrp(data)


def test_strangers_are_those_with_our_ids() -> None:
    heard = [Advert("198.51.100.60", 51), Advert("198.51.100.60", 51), Advert("198.51.100.60", 7)]
    heard.append(Advert("198.51.100.11", 51))
    assert _traces.strangers(heard, [51, 52], ["198.51.100.11"]) == (Advert("198.51.100.60", 51),)


def test_the_filter_is_taken_by_the_kernel() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        _traces.let_only_vrrp_through(wire)
