"""The lab's network: one bridge, NAT through the machine's uplink, and cuts.

Cuts are nftables rules of the bridge family, so they catch every frame (ARP and VRRP too) and the
links stay up: the hosts see silence, not a pulled cable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_interface, ip_network
from pathlib import Path
from typing import Any

from failoverctl.errors import ExitCode
from failoverctl.lab.errors import LabError
from failoverctl.lab.layout import AddressPlan
from failoverctl.lab.process import run
from failoverctl.lab.state import Cut, tag


@dataclass(frozen=True)
class UsedRange:
    """An address range this machine already uses, and what for."""

    network: IPv4Network
    what: str


def bridge_name(lab: str) -> str:
    """Return the name of the lab's bridge."""
    return f"fo-{tag(lab)}"


def machine_name(lab: str, offset: int) -> str:
    """Return the name systemd-nspawn knows a host by; it decides the name of its link."""
    return f"{tag(lab)}-{offset}"


def port_name(lab: str, offset: int) -> str:
    """Return the name of the machine's end of a host's link; systemd-nspawn makes it."""
    return f"vb-{machine_name(lab, offset)}"


def table_name(lab: str) -> str:
    """Return the name of the lab's nftables tables (one of family ip, one of family bridge)."""
    return f"failoverctl-lab-{lab}"


def bridge_mac(lab: str) -> str:
    """Return a fixed, locally administered MAC address for the bridge.

    Without one the bridge takes over the lowest address of its ports, and so changes its own
    whenever a host is switched off: the hosts would lose their gateway for a while.
    """
    digest = hashlib.sha256(lab.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def nat_rules(lab: str, network: IPv4Network) -> str:
    """Return the nftables text that lets the hosts out through the machine's uplink.

    Multicast stays as it is, because bridged frames pass here too where br_netfilter is loaded,
    and keepalived would not know its peers' VRRP by another address.
    """
    bridge = bridge_name(lab)
    return f"""\
table ip {table_name(lab)} {{
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {network} ip daddr != {{ {network}, 224.0.0.0/4 }} oifname != "{bridge}" masquerade
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    ip saddr {network} oifname != "{bridge}" tcp flags syn tcp option maxseg size set rt mtu
  }}
}}
"""


def cut_rules(lab: str, ports: Mapping[str, str], cuts: Iterable[Cut]) -> str:
    """Return the nftables text for `cuts`; `ports` maps each host to its `port_name`."""
    prerouting: list[str] = []
    forward: list[str] = []
    postrouting: list[str] = []
    for cut in cuts:
        a = ports[cut.a]
        if cut.b is None:
            prerouting.append(f'iifname "{a}" drop')
            postrouting.append(f'oifname "{a}" drop')
            continue
        b = ports[cut.b]
        forward.append(f'iifname "{a}" oifname "{b}" drop')
        if not cut.one_way:
            forward.append(f'iifname "{b}" oifname "{a}" drop')

    def chain(name: str, hook: str, priority: int, rules: list[str]) -> str:
        lines = [f"  chain {name} {{", f"    type filter hook {hook} priority {priority};"]
        return "\n".join([*lines, *(f"    {rule}" for rule in rules), "  }"])

    chains = [
        chain("from", "prerouting", -300, prerouting),
        chain("between", "forward", -200, forward),
        chain("to", "postrouting", 300, postrouting),
    ]
    return "\n".join([f"table bridge {table_name(lab)} {{", *chains, "}"]) + "\n"


def replacing(family: str, lab: str, rules: str = "") -> str:
    """Return nftables text that puts `rules` in place of the lab's table, in one transaction."""
    table = f"{family} {table_name(lab)}"
    return f"table {table} {{\n}}\ndelete table {table}\n{rules}"


def parse_used(addresses: str, routes: str, *, ignore: str) -> list[UsedRange]:
    """Return the IPv4 ranges in use, from `ip -j address` and `ip -j route show table all`.

    :param ignore: the interface which is the lab's own.
    """
    used: list[UsedRange] = []
    for link in _rows(addresses):
        for info in link.get("addr_info", []):
            if info.get("family") == "inet" and link["ifname"] != ignore:
                network = ip_interface(f"{info['local']}/{info['prefixlen']}").network
                if isinstance(network, IPv4Network):
                    used.append(UsedRange(network, f"interface {link['ifname']}"))
    for route in _rows(routes):
        where = route.get("dst", "default")
        if where == "default" or ":" in where or route.get("dev") == ignore:
            continue
        network = ip_network(where, strict=False)
        # A VPN that takes over the default route does it with two halves, 0.0.0.0/1 and 128.0.0.0/1.
        if isinstance(network, IPv4Network) and network.prefixlen >= 8:
            device = route.get("dev", route.get("type", "?"))
            used.append(UsedRange(network, f"the route to it ({device})"))
    return used


def find_overlap(network: IPv4Network, used: Iterable[UsedRange]) -> UsedRange | None:
    """Return the first of `used` that shares addresses with `network`, or None."""
    return next((each for each in used if each.network.overlaps(network)), None)


def read_used(lab: str) -> list[UsedRange]:
    """Return the IPv4 ranges this machine uses, without those of the lab itself."""
    return parse_used(
        run(["ip", "-j", "-4", "address"]).stdout,
        run(["ip", "-j", "-4", "route", "show", "table", "all"]).stdout,
        ignore=bridge_name(lab),
    )


def link_exists(name: str) -> bool:
    """Say whether the machine has a network interface called `name`."""
    return Path("/sys/class/net", name).exists()


def ensure_network(lab: str, plan: AddressPlan) -> None:
    """Make the lab's bridge and NAT where they are not there yet."""
    bridge = bridge_name(lab)
    if not link_exists(bridge):
        run(["ip", "link", "add", bridge, "address", bridge_mac(lab), "type", "bridge"])
    # Snooping without a querier may stop VRRP; and a new port must not listen for 15 s first.
    options = ["mcast_snooping", "0", "forward_delay", "0"]
    run(["ip", "link", "set", bridge, "type", "bridge", *options])
    address = f"{plan.gateway}/{plan.network.prefixlen}"
    run(["ip", "address", "replace", address, "brd", "+", "dev", bridge])
    run(["ip", "link", "set", bridge, "up"])
    run(["nft", "-f", "-"], stdin=replacing("ip", lab, nat_rules(lab, plan.network)))


def apply_cuts(lab: str, ports: Mapping[str, str], cuts: Iterable[Cut]) -> None:
    """Make the kernel drop exactly what `cuts` say, replacing earlier cuts in one step."""
    rules = cut_rules(lab, ports, cuts)
    run(["nft", "-f", "-"], stdin=replacing("bridge", lab, rules))


def remove_network(lab: str) -> None:
    """Remove the lab's links, bridge and nftables tables, whichever of them exist."""
    prefix = f"vb-{tag(lab)}-"
    for link in sorted(path.name for path in Path("/sys/class/net").iterdir()):
        is_port = link.startswith(prefix) and link[len(prefix) :].isdigit()
        if is_port or link == bridge_name(lab):
            done = run(["ip", "link", "delete", link], check=False)
            if done.returncode != 0 and link_exists(link):
                raise LabError(
                    f"the interface {link} cannot be removed",
                    why=done.stderr.strip(),
                    exit_code=ExitCode.FAILED,
                )
    for family in ("ip", "bridge"):
        run(["nft", "-f", "-"], stdin=replacing(family, lab))


def _rows(text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(text or "[]")
    # `ip -j` prints empty objects for what it filtered out.
    return [row for row in rows if row]
