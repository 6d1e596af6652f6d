"""The inventory of a lab: the same file a real estate has, ready to use and explained."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from failoverctl.lab.layout import AddressPlan, Layout

PROBE = "probe"


@dataclass(frozen=True)
class Access:
    """How Ansible reaches the hosts of a lab."""

    key: Path
    known_hosts: Path
    sockets: Path


def new_secrets(layout: Layout) -> dict[str, str]:
    """Return a fresh password for the probe and for the database user of each site that has a database."""
    users = [PROBE, *(site.database_user for site in layout.sites if site.database_user)]
    return {user: secrets.token_hex(16) for user in users}


def inventory_text(lab: str, layout: Layout, plan: AddressPlan, passwords: Mapping[str, str], access: Access) -> str:
    """Return the inventory as YAML text."""
    lines = [
        f"# Inventory of the lab {lab}: {layout.description}.",
        "# Made by `failoverctl lab inventory`; it is the only configuration of the estate.",
        "all:",
        "  vars:",
        f"    failover_estate: {lab}",
        "    failover_environment: lab   # drills may break it as they like; production is the default",
        "    failover_profile: lan   # how fast failure is noticed: lan, vm or cloud",
        *_engine(layout),
        *_vips(layout, plan),
        "    # What the estate promises; a run that misses it has the verdict fail.",
        "    failover_objectives: {rto_seconds: 30, rpo_seconds: 0}",
        "    # Who, besides the estate's hosts, may reach MariaDB and the agents: this machine.",
        f"    base_client_networks: [{plan.gateway}/32]",
        *_probe(layout, passwords),
        *_sites(layout, passwords),
        "    # How Ansible reaches the lab.",
        "    ansible_user: root",
        f"    ansible_ssh_private_key_file: {access.key}",
        "    ansible_ssh_args: >-",
        "      -o ControlMaster=auto -o ControlPersist=10m -o ServerAliveInterval=5",
        f"      -o ControlPath={access.sockets}/%h",
        "    ansible_ssh_common_args: >-",
        "      -o IdentitiesOnly=yes -o StrictHostKeyChecking=no",
        f"      -o UserKnownHostsFile={access.known_hosts} -o GlobalKnownHostsFile=/dev/null",
        "    ansible_pipelining: true",
        "    ansible_python_interpreter: /usr/bin/python3",
        "  hosts:",
        *(f"    {name}: {{ansible_host: {address}}}" for name, address in plan.hosts.items()),
        "  children:",
        *_groups(layout),
    ]
    return "\n".join(lines) + "\n"


def _engine(layout: Layout) -> list[str]:
    if layout.engine == "mariadb":
        return []
    return [
        f"    failover_engine: {layout.engine}   # no database: virtual IPs and units follow one quorum decision",
    ]


def _probe(layout: Layout, passwords: Mapping[str, str]) -> list[str]:
    if layout.engine == "none":
        return []
    return [
        "    # The account that the prober writes with; made only where this is defined.",
        f"    mariadb_probe_password: {passwords[PROBE]}",
    ]


def _vips(layout: Layout, plan: AddressPlan) -> list[str]:
    if not layout.vips:
        return ["    failover_vips: []   # one host has nobody to hand an address to"]
    return [
        "    # Addresses that move. follows: primary = where the primary is; web = where a web",
        "    # server is healthy.",
        "    failover_vips:",
        *(
            f"      - {{name: {vip.name}, address: {plan.vips[vip.name]}, vrid: {vip.vrid}, follows: {vip.follows}}}"
            for vip in layout.vips
        ),
    ]


def _sites(layout: Layout, passwords: Mapping[str, str]) -> list[str]:
    lines = [
        "    # Sites every web host serves. content: demo = the guest book; none = the files are",
        "    # yours and never touched.",
        "    web_sites:",
    ]
    for site in layout.sites:
        lines += [
            f"      - domain: {site.domain}",
            f"        docroot: {site.docroot}",
            f"        php: {'true' if site.php else 'false'}",
            f"        content: {site.content}",
        ]
        if site.database_user:
            lines.append(
                f"        database: {{name: {site.database_name}, user: {site.database_user}, "
                f"password: {passwords[site.database_user]}}}"
            )
    return lines


def _groups(layout: Layout) -> list[str]:
    groups: dict[str, list[str]] = {}
    for host in layout.hosts:
        for group in host.groups:
            groups.setdefault(group, []).append(host.name)
    return [
        f"    {group}: {{hosts: {{{', '.join(f'{host}: {{}}' for host in hosts)}}}}}" for group, hosts in groups.items()
    ]
