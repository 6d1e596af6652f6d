"""Layouts: which hosts a lab has, which groups they are in and which addresses they get."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import yaml

from failoverctl.lab.errors import LabError

FOLDER = Path(__file__).parent / "layouts"
GATEWAY_OFFSET = 1
ENGINES = ("mariadb", "none")
_HOST_NAME = re.compile(r"^[a-z][a-z0-9-]{0,30}$")


@dataclass(frozen=True)
class HostSpec:
    """One host of a layout; `offset` is its address counted from the start of the network.

    `data_megabytes` is the size of a disk of its own for /var/lib/mysql; 0 leaves that on the machine's disk.
    """

    name: str
    offset: int
    groups: tuple[str, ...]
    data_megabytes: int = 0


@dataclass(frozen=True)
class VipSpec:
    """One virtual address of a layout; `vrid` is its VRRP router id (RFC 9568, 1 to 255)."""

    name: str
    offset: int
    vrid: int
    follows: str


@dataclass(frozen=True)
class SiteSpec:
    """One web site of a layout, with the database it uses; empty for none."""

    domain: str
    docroot: str
    php: bool
    content: str
    database_name: str = ""
    database_user: str = ""


@dataclass(frozen=True)
class Layout:
    """A layout file, read and checked."""

    name: str
    description: str
    hosts: tuple[HostSpec, ...]
    vips: tuple[VipSpec, ...]
    sites: tuple[SiteSpec, ...]
    engine: str = "mariadb"


@dataclass(frozen=True)
class AddressPlan:
    """The addresses of one lab: the machine itself (`gateway`), hosts and virtual addresses."""

    network: IPv4Network
    gateway: IPv4Address
    hosts: dict[str, IPv4Address]
    vips: dict[str, IPv4Address]


def layout_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the layouts that exist, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_layout(name: str, folder: Path = FOLDER) -> Layout:
    """Return the layout called `name`.

    :raises LabError: there is no such layout, or its file is wrong.
    """
    if name not in layout_names(folder):
        raise LabError(
            f"there is no layout {name!r}",
            fix=f"use one of: {', '.join(layout_names(folder))}",
        )
    return parse_layout(name, (folder / f"{name}.yaml").read_text(encoding="utf-8"))


def parse_layout(name: str, text: str) -> Layout:
    """Return the layout that the YAML `text` describes.

    :raises LabError: a key is missing or unknown, or names or offsets repeat.
    """
    try:
        data: Any = yaml.safe_load(text)
        layout = Layout(
            name=name,
            description=str(data.pop("description")),
            hosts=tuple(_host(key, value) for key, value in data.pop("hosts").items()),
            vips=tuple(VipSpec(**vip) for vip in data.pop("vips")),
            sites=tuple(_site(site) for site in data.pop("sites")),
            engine=str(data.pop("engine", "mariadb")),
        )
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise LabError(
            f"layout {name} is wrong: {type(error).__name__}: {error}",
            fix=f"compare it with {FOLDER / 'small.yaml'}",
        ) from error
    problems = [f"unknown key {key!r}" for key in data]
    problems += [
        f"host name {h.name!r} is not of the form {_HOST_NAME.pattern}"
        for h in layout.hosts
        if not _HOST_NAME.match(h.name)
    ]
    offsets = [h.offset for h in layout.hosts] + [v.offset for v in layout.vips] + [GATEWAY_OFFSET]
    problems += [f"offset {o} is used twice" for o in sorted(set(offsets)) if offsets.count(o) > 1]
    # Three digits at most: the offset is part of an interface name, which has 15 characters.
    problems += [f"offset {o} is not within 1 to 254" for o in offsets if not 1 <= o <= 254]
    problems += [
        f"data_megabytes of {h.name} is {h.data_megabytes}, not 0 or from 256 to 65536"
        for h in layout.hosts
        if h.data_megabytes != 0 and not 256 <= h.data_megabytes <= 65536
    ]
    if layout.engine not in ENGINES:
        problems.append(f"engine is {layout.engine!r}, not one of {', '.join(ENGINES)}")
    if layout.engine == "none" and any(site.database_name for site in layout.sites):
        problems.append("a site has a database, and engine none is without one")
    if not layout.hosts:
        problems.append("it has no hosts")
    if problems:
        raise LabError(f"layout {name} is wrong: {'; '.join(problems)}")
    return layout


def plan_addresses(layout: Layout, network: IPv4Network) -> AddressPlan:
    """Return the addresses of `layout` within `network`.

    :raises LabError: the network is too small for the layout.
    """
    needed = max([h.offset for h in layout.hosts] + [v.offset for v in layout.vips])
    if needed > network.num_addresses - 2:
        raise LabError(
            f"{network} is too small for layout {layout.name}: it needs address {needed}, "
            f"the last one there is {max(network.num_addresses - 2, 0)}",
            fix=f"use a /{32 - (needed + 1).bit_length()} or larger",
        )
    first = network.network_address
    return AddressPlan(
        network=network,
        gateway=first + GATEWAY_OFFSET,
        hosts={host.name: first + host.offset for host in layout.hosts},
        vips={vip.name: first + vip.offset for vip in layout.vips},
    )


def _host(name: str, value: dict[str, Any]) -> HostSpec:
    return HostSpec(
        name=name,
        offset=int(value["offset"]),
        groups=tuple(value["groups"]),
        data_megabytes=int(value.get("data_megabytes", 0)),
    )


def _site(value: dict[str, Any]) -> SiteSpec:
    if "database" not in value:
        return SiteSpec(**value)
    database = value.pop("database")
    return SiteSpec(**value, database_name=database["name"], database_user=database["user"])
