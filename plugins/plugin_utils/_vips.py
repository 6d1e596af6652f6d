# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which host may hold which virtual IP, and whether what the hosts hold is right.

PRIVATE to the collection. Runs on the controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HIGHEST_PRIORITY = 254
"""255 belongs to the owner of an address (RFC 5798, 5.2.4).

The skew of a takeover is (256 - priority) / 256 of an advert, so priorities start right below.
"""


class VipsError(ValueError):
    """The virtual IPs do not fit the inventory; the text says which and why."""


@dataclass(frozen=True)
class Instance:
    """One VRRP instance (RFC 5798) of one host. ``peers`` are addresses, best priority first."""

    name: str
    vrid: int
    address: str
    follows: str
    priority: int
    peers: tuple[str, ...]


def decide_instances(
    vips: Sequence[Mapping[str, Any]],
    host: str,
    members: Mapping[str, Sequence[str]],
    addresses: Mapping[str, str],
) -> tuple[Instance, ...]:
    """Return the VRRP instances of ``host``, one for each virtual IP that it may hold.

    ``members`` lists the hosts by what a virtual IP follows (``primary``, ``web``), in the order of
    the inventory; ``addresses`` has the estate address of each. Raises ``VipsError`` when a virtual
    IP follows something unknown, or a member has no address.
    """
    instances = []
    for vip in vips:
        if vip["follows"] not in members:
            raise VipsError(f"virtual IP {vip['name']} follows {vip['follows']!r}; known: {sorted(members)}")
        hosts = members[vip["follows"]]
        if host not in hosts:
            continue
        unknown = [name for name in hosts if name not in addresses]
        if unknown:
            raise VipsError(f"virtual IP {vip['name']}: no address of {', '.join(unknown)}")
        if len(hosts) > HIGHEST_PRIORITY:
            raise VipsError(f"virtual IP {vip['name']}: {len(hosts)} hosts for 254 priorities")
        instances.append(
            Instance(
                name=vip["name"],
                vrid=int(vip["vrid"]),
                address=vip["address"],
                follows=vip["follows"],
                priority=HIGHEST_PRIORITY - list(hosts).index(host),
                peers=tuple(addresses[name] for name in hosts if name != host),
            )
        )
    return tuple(instances)


@dataclass(frozen=True)
class Seen:
    """What one host saw: its own addresses and link layer addresses.

    ``answered`` maps addresses to the link layer address that answered for them with ARP.
    """

    addresses: frozenset[str]
    macs: frozenset[str]
    answered: Mapping[str, str]


def parse_seen(host: Mapping[str, Any]) -> Seen:
    """Return what ``hosting.failover.host_info`` saw, from its return value ``host``."""
    return Seen(
        addresses=frozenset(item["address"] for item in host["addresses"]),
        macs=frozenset(mac.lower() for mac in host["macs"]),
        answered={address: mac.lower() for address, mac in host["answered"].items()},
    )


def find_problems(
    vips: Sequence[Mapping[str, Any]],
    members: Mapping[str, Sequence[str]],
    seen: Mapping[str, Seen],
) -> tuple[str, ...]:
    """Return in sentences what is wrong with the holders of the virtual IPs; empty if all is well.

    Right is: exactly one host holds an address, it is one that may, and nobody else answers for it
    on the network. ``members`` is as in ``decide_instances``, ``seen`` has each host of the estate.
    """
    problems = []
    owner_of = {mac: name for name, item in seen.items() for mac in item.macs}
    for vip in vips:
        label = f"virtual IP {vip['name']} ({vip['address']})"
        holders = sorted(name for name, item in seen.items() if vip["address"] in item.addresses)
        allowed = members.get(vip["follows"], ())
        if not holders:
            problems.append(f"{label} is on none of {', '.join(allowed) or 'no host'}")
        elif len(holders) > 1:
            problems.append(f"{label} is on {' and '.join(holders)} at the same time")
        elif holders[0] not in allowed:
            problems.append(f"{label} is on {holders[0]}, which may not hold it")
        answers = {item.answered.get(vip["address"]) for item in seen.values()} - {None}
        for mac in sorted(str(answer) for answer in answers):
            name = owner_of.get(mac, "a machine outside the estate")
            if name not in holders:
                problems.append(f"{name} ({mac}) answers for {label} without holding it")
    return tuple(problems)
