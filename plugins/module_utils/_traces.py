# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an estate left on a host, and what strangers do there: parsers of files and programs.

PRIVATE to the collection. Nothing here changes anything.
"""

from __future__ import annotations

import base64
import ctypes
import json
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

AGENT_CONFIG = "/etc/failover-agent/agent.json"
DATABASE_CONFIG = "/etc/mysql/mariadb.conf.d/90-failover.cnf"
ETCD_PKI = "/etc/etcd/pki"
KEYS = "/failover/"

#: VRRP is IP protocol 112, its group is 224.0.0.18 (RFC 5798, sections 5.1.1.2 and 5.1.1.4).
VRRP_PROTOCOL, VRRP_GROUP = 112, "224.0.0.18"
_IPV4_IN_ETHERNET = 0x0800
_SO_ATTACH_FILTER = 26

_ON, _OFF = frozenset({"on", "true", "yes", "1"}), frozenset({"off", "false", "no", "0"})


@dataclass(frozen=True)
class Overridden:
    """A setting of the estate's file that another file of MariaDB overrides."""

    name: str
    wanted: str
    found: str


@dataclass(frozen=True)
class Advert:
    """A VRRP advertisement: who sent it for which virtual router id."""

    source: str
    vrid: int


def parse_agent_estate(text: str) -> str:
    """Return the estate that the agent of a host is configured for; empty without an agent."""
    return _agent_setting(text, "estate")


def parse_agent_engine(text: str) -> str:
    """Return what the agent of a host leads, such as ``mariadb``; empty without an agent."""
    return _agent_setting(text, "engine")


def _agent_setting(text: str, name: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return str(found.get(name) or "") if isinstance(found, dict) else ""


def keys_request() -> dict[str, Any]:
    """Return the body of a request for the names of all keys of all estates (etcd v3, KV.Range)."""
    end = KEYS[:-1] + chr(ord(KEYS[-1]) + 1)
    return {"key": _base64(KEYS), "range_end": _base64(end), "keys_only": True}


def parse_estates(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the estates whose keys etcd holds, from its answer to :func:`keys_request`."""
    names = set()
    for item in answer.get("kvs") or ():
        key = base64.b64decode(item["key"]).decode("utf-8", errors="replace")
        names.add(key.removeprefix(KEYS).partition("/")[0])
    return tuple(sorted(names))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def parse_sources(text: str) -> tuple[str, ...]:
    r"""Return the hosts that a database replicates from, from ``SHOW ALL SLAVES STATUS\G``."""
    return tuple(dict.fromkeys(re.findall(r"^\s*Master_Host: *(\S+)\s*$", text, re.MULTILINE)))


def parse_own(text: str) -> dict[str, str]:
    """Return the settings of a file of MariaDB by name, with underscores."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.lstrip().startswith(("#", ";", "[")):
            found[_name(name)] = value.strip()
    return found


def parse_defaults(text: str) -> dict[str, str]:
    """Return the settings in force by name, from ``my_print_defaults --mysqld``: of two the last one wins."""
    found = {}
    for line in text.splitlines():
        if line.startswith("--"):
            name, equals, value = line[2:].partition("=")
            found[_name(name.removeprefix("loose-"))] = value.strip() if equals else "ON"
    return found


def _name(text: str) -> str:
    return text.strip().replace("-", "_")


def find_overridden(own: Mapping[str, str], effective: Mapping[str, str]) -> tuple[Overridden, ...]:
    """Return the settings of the estate's file that are otherwise in force.

    One that is not in force at all counts too: then the file is not read.
    """
    return tuple(
        Overridden(name, wanted, effective.get(name, "nothing"))
        for name, wanted in own.items()
        if _plain(effective.get(name, "nothing")) != _plain(wanted)
    )


def _plain(value: str) -> str:
    word = value.strip().strip("'\"").lower()
    return "on" if word in _ON else "off" if word in _OFF else word


def parse_vrrp(frame: bytes) -> Advert | None:
    """Return the advertisement in an Ethernet frame, None for other frames (RFC 5798, section 5.1)."""
    if len(frame) < 14 + 20 or int.from_bytes(frame[12:14]) != _IPV4_IN_ETHERNET:
        return None
    packet = frame[14:]
    length = (packet[0] & 0x0F) * 4
    if packet[9] != VRRP_PROTOCOL or len(packet) < length + 8:
        return None
    version, kind = packet[length] >> 4, packet[length] & 0x0F
    if version not in (2, 3) or kind != 1:
        return None
    return Advert(".".join(map(str, packet[12:16])), packet[length + 1])


def let_only_vrrp_through(wire: socket.socket) -> None:
    """Let the kernel hand over frames of VRRP only (packet(7), socket(7) SO_ATTACH_FILTER): the rest may be plenty."""
    program = (  # load the protocol byte; skip one instruction unless it is VRRP; take all; take nothing
        (0x30, 0, 0, 23),
        (0x15, 0, 1, VRRP_PROTOCOL),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    described = struct.pack("HL", len(program), ctypes.addressof(code))
    wire.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def strangers(adverts: Iterable[Advert], vrids: Iterable[int], own: Iterable[str]) -> tuple[Advert, ...]:
    """Return those who use one of our virtual router ids and are none of our hosts, each once."""
    wanted, known = set(vrids), set(own)
    found = (item for item in adverts if item.vrid in wanted and item.source not in known)
    return tuple(dict.fromkeys(found))
