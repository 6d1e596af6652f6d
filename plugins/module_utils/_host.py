# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host is: parsers of what the system prints, and the ARP question of RFC 5227.

PRIVATE to the collection. Nothing here changes anything.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

ARGUMENT_SPEC: dict[str, Any] = {
    "address": {"type": "str"},
    "vips": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "int", "default": []},
    "vrids": {"type": "list", "elements": "int", "default": []},
    "arp_timeout_seconds": {"type": "float", "default": 0.5},
    "vrrp_timeout_seconds": {"type": "float", "default": 1.2},
    "traces": {"type": "bool", "default": False},
    "report_failure": {"type": "bool", "default": False},
}

CAP_SYS_TIME = 25
ETHERTYPE_ARP = 0x0806
_ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_ARP_REQUEST, _ARP_REPLY = 1, 2
_BROADCAST = b"\xff" * 6


@dataclass(frozen=True)
class Address:
    """An address on an interface; ``prefix`` is the length of its network in bits."""

    interface: str
    address: str
    prefix: int

    @property
    def network(self) -> str:
        """The network in CIDR form."""
        return str(ipaddress.ip_interface(f"{self.address}/{self.prefix}").network)


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket; ``process`` and ``pid`` are empty for a socket of the kernel."""

    address: str
    port: int
    process: str
    pid: int | None


@dataclass(frozen=True)
class Release:
    """The distribution; ``major`` is 0 where the release carries no number (testing, sid)."""

    distribution: str
    major: int
    codename: str
    pretty_name: str


def parse_os_release(text: str) -> Release:
    """Return the release from the text of /etc/os-release (os-release(5))."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, sep, value = line.partition("=")
        if sep and not key.startswith("#"):
            fields[key.strip()] = "".join(shlex.split(value))
    major = fields.get("VERSION_ID", "").partition(".")[0]
    return Release(
        distribution=fields.get("ID", "unknown"),
        major=int(major) if major.isdigit() else 0,
        codename=fields.get("VERSION_CODENAME", ""),
        pretty_name=fields.get("PRETTY_NAME", "an unknown system"),
    )


def parse_addresses(text: str) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    """Return the IPv4 addresses and the link layer addresses from ``ip -json address show``."""
    addresses: list[Address] = []
    macs: list[str] = []
    for link in json.loads(text or "[]"):
        if link.get("link_type") == "ether" and link.get("address"):
            macs.append(link["address"])
        for item in link.get("addr_info", ()):
            if item.get("family") == "inet":
                addresses.append(Address(link["ifname"], item["local"], int(item["prefixlen"])))
    return tuple(addresses), tuple(macs)


def is_ipv4(text: str) -> bool:
    """Return whether a text is an IPv4 address."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def find_address(addresses: Iterable[Address], wanted: str) -> Address | None:
    """Return the entry with this address, or None."""
    return next((item for item in addresses if item.address == wanted), None)


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """Return the sockets from ``ss --no-header --listening --tcp --numeric --processes``.

    The address loses its interface (``%lo``) and its brackets; ``*`` means all addresses.
    """
    listeners: list[Listener] = []
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 5:
            continue
        address, _colon, port = fields[3].rpartition(":")
        user = re.search(r'\("([^"]*)",pid=(\d+)', fields[5] if len(fields) > 5 else "")
        listeners.append(
            Listener(
                address=address.partition("%")[0].strip("[]"),
                port=int(port),
                process=user.group(1) if user else "",
                pid=int(user.group(2)) if user else None,
            )
        )
    return tuple(listeners)


def parse_unit(cgroup: str) -> str:
    """Return the systemd unit from /proc/PID/cgroup, empty where there is none.

    Works with the one line of version 2 and with the ``name=systemd`` line of version 1.
    """
    for line in cgroup.splitlines():
        _number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers in ("", "name=systemd"):
            for part in reversed(path.split("/")):
                if part.endswith((".service", ".scope", ".socket")):
                    return part
    return ""


def parse_memory_bytes(text: str) -> int:
    """Return the memory of the host in bytes from /proc/meminfo, 0 if it does not say."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def parse_capability(status: str, number: int) -> bool:
    """Return whether the bounding set in /proc/PID/status holds a capability (capabilities(7))."""
    found = re.search(r"^CapBnd:\s+([0-9a-f]+)$", status, re.MULTILINE)
    return bool(found and int(found.group(1), 16) >> number & 1)


def build_arp_request(mac: str, address: str, wanted: str) -> bytes:
    """Return the Ethernet frame that asks who has ``wanted`` (RFC 826)."""
    sender = bytes.fromhex(mac.replace(":", ""))
    return _ARP.pack(
        _BROADCAST,
        sender,
        ETHERTYPE_ARP,
        1,
        0x0800,
        6,
        4,
        _ARP_REQUEST,
        sender,
        ipaddress.IPv4Address(address).packed,
        bytes(6),
        ipaddress.IPv4Address(wanted).packed,
    )


def parse_arp_reply(frame: bytes) -> tuple[str, str] | None:
    """Return (address, link layer address) of the sender of an ARP reply, None for other frames."""
    if len(frame) < _ARP.size:
        return None
    fields = _ARP.unpack_from(frame)
    if fields[2] != ETHERTYPE_ARP or fields[7] != _ARP_REPLY:
        return None
    return str(ipaddress.IPv4Address(fields[9])), fields[8].hex(":")


@dataclass(frozen=True)
class Clock:
    """How far a host's clock is ahead of the controller's, in seconds, plus or minus."""

    offset_seconds: float
    uncertainty_seconds: float


def decide_clock(asked_at: float, answered_at: float, host_time: float) -> Clock:
    """Return the offset of a clock that was read at some moment between asking and answering.

    All in seconds since the epoch. The true offset lies within ``offset_seconds`` plus or minus
    ``uncertainty_seconds``: half the round trip, as in Cristian's algorithm (1989).
    """
    middle = (asked_at + answered_at) / 2
    return Clock(round(host_time - middle, 3), round((answered_at - asked_at) / 2, 3))
