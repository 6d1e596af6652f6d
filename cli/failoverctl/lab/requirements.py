"""What the machine must have before a lab is made; checked before anything is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from failoverctl.lab.errors import LabError
from failoverctl.lab.network import UsedRange, find_overlap
from failoverctl.lab.process import run

# program -> Debian package
PROGRAMS: Mapping[str, str] = {
    "ip": "iproute2",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "script": "bsdutils",
    "setsid": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}
_MIB = 1024 * 1024
BASE_DISK_BYTES = 1536 * _MIB  # tree, package lists and package cache of one release
HOST_DISK_BYTES = 1024 * _MIB  # what setup installs and writes
HOST_MEMORY_BYTES = 192 * _MIB  # measured: four hosts with MariaDB, etcd and nginx, under 1 GiB


@dataclass(frozen=True)
class Machine:
    """What matters about this machine."""

    free_disk_bytes: int
    free_memory_bytes: int
    used: tuple[UsedRange, ...]
    overlay: bool
    barriers: tuple[str, ...]


def find_missing(which: Callable[[str], str | None] = shutil.which) -> tuple[str, ...]:
    """Return the Debian packages that have to be installed, sorted."""
    return tuple(sorted({package for name, package in PROGRAMS.items() if not which(name)}))


def require_root() -> None:
    """Demand that we are root.

    :raises LabError: we are not.
    """
    if os.geteuid() != 0:
        raise LabError(
            "the lab needs root",
            why="it makes network interfaces, mounts and processes with their own kernel views",
            fix="run it with sudo",
        )


def read_machine(folder: Path, used: Iterable[UsedRange], bridge: str) -> Machine:
    """Return what the machine has.

    :param folder: the lab's folder, which need not exist.
    :param used: address ranges in use.
    :param bridge: the name the lab's bridge will have.
    """
    while not folder.exists():
        folder = folder.parent
    disk = os.statvfs(folder)
    return Machine(
        free_disk_bytes=disk.f_bavail * disk.f_frsize,
        free_memory_bytes=parse_available(Path("/proc/meminfo").read_text(encoding="ascii")),
        used=tuple(used),
        overlay=run(["stat", "--file-system", "--format=%T", str(folder)]).stdout.strip() == "overlayfs",
        barriers=parse_barriers(run(["nft", "--json", "list", "ruleset"]).stdout, bridge),
    )


def parse_barriers(ruleset: str, bridge: str) -> tuple[str, ...]:
    """Return the chains of `nft --json list ruleset` that would drop what the hosts send.

    These are base chains of hook forward with policy drop in which no rule names `bridge`.
    """
    items: list[dict[str, Any]] = json.loads(ruleset or "{}").get("nftables", [])
    chains = [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in (item["chain"] for item in items if "chain" in item)
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["family"] in ("bridge", "inet", "ip")
    ]
    admitted = {
        f"{rule['family']} {rule['table']} {rule['chain']}"
        for rule in (item["rule"] for item in items if "rule" in item)
        if f'"{bridge}"' in json.dumps(rule)
    }
    return tuple(chain for chain in chains if chain not in admitted)


def parse_available(meminfo: str) -> int:
    """Return MemAvailable of proc_meminfo(5) in bytes."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def require_programs(missing: tuple[str, ...]) -> None:
    """Demand the programs the lab runs.

    :raises LabError: some are missing; it names the command that installs them.
    """
    if missing:
        raise LabError(
            f"packages are missing on this machine: {', '.join(missing)}",
            fix=f"apt-get install --yes {' '.join(missing)}",
        )


def check_machine(
    machine: Machine,
    *,
    network: IPv4Network,
    bridge: str,
    hosts: int,
    base_built: bool,
    where: Path,
) -> None:
    """Demand everything that a new lab with `hosts` hosts needs.

    :param base_built: the release's tree and cache are there already.
    :param where: the lab's state folder, for the message.
    :raises LabError: something is missing; it names all that is.
    """
    overlap = find_overlap(network, machine.used)
    if overlap is not None:
        raise LabError(
            f"the address range {network} is in use: {overlap.what} has {overlap.network}",
            why="the lab's hosts and this machine would not find each other",
            fix="choose another one with --network, for example a /26 of 198.51.100.0/24",
        )
    if machine.barriers:
        rules = [
            f"nft insert rule {chain} {way} {bridge} accept"
            for chain in machine.barriers
            for way in ("iifname", "oifname")
        ]
        raise LabError(
            f"this machine's firewall drops forwarded packets (policy of {machine.barriers[0]})",
            why="the hosts could not reach each other or the package mirror",
            fix="\n".join(["let the lab's bridge through, then try again:", *rules]),
        )
    if machine.overlay:
        raise LabError(
            f"{where} is on overlayfs, which cannot carry the hosts' overlays",
            fix=f"mount a disk (ext4, xfs, btrfs or tmpfs) at {where}",
        )
    disk = hosts * HOST_DISK_BYTES + (0 if base_built else BASE_DISK_BYTES)
    if machine.free_disk_bytes < disk:
        raise LabError(
            f"too little disk: {machine.free_disk_bytes // _MIB} MiB free below {where}, {disk // _MIB} MiB needed",
            fix=f"free some, or mount a larger disk at {where}",
        )
    memory = hosts * HOST_MEMORY_BYTES
    if machine.free_memory_bytes < memory:
        raise LabError(
            f"too little memory: {machine.free_memory_bytes // _MIB} MiB available, "
            f"{memory // _MIB} MiB needed for {hosts} hosts",
            fix="stop something, or use a smaller layout",
        )
