#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``host_info``: what a role needs to know about a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_info
short_description: Looks at a host once, for all roles
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Reads release, addresses, clock, disk, memory, listening ports and installed packages in one
    call. It changes nothing.
  - Sets the facts C(failover_host) and C(failover_packages), which the roles use and gather
    themselves where they are missing.
options:
  address:
    description: Address of the host in the estate. Its interface and network are looked up.
    type: str
  vips:
    description:
      - Virtual addresses to ask for on the network of O(address) with ARP, to find one that someone
        else uses.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports whose listeners are reported.
    type: list
    elements: int
    default: []
  vrids:
    description:
      - VRRP router ids whose advertisements are listened for on the network of O(address), to find a stranger who uses
        one of them.
    type: list
    elements: int
    default: []
  arp_timeout_seconds:
    description: Seconds to wait for answers to the ARP questions.
    type: float
    default: 0.5
  vrrp_timeout_seconds:
    description: Seconds to listen for VRRP advertisements. By default longer than VRRP's own interval of a second.
    type: float
    default: 1.2
  traces:
    description: Look for what an estate has left on the host, and for strangers. It is in RV(host.traces).
    type: bool
    default: false
  report_failure:
    description:
      - Report a host on which nothing can be read (no Python, for example) in RV(failure) where the
        task would fail otherwise. The caller must look at it.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Look at the host
  hosting.failover.host_info:
    address: "{{ keepalived_address }}"
  when: "'failover_host' not in ansible_facts"
"""

RETURN = r"""
ansible_facts:
  description: Facts for the roles.
  returned: always
  type: dict
  contains:
    failover_host:
      description: What is in RV(host) and does not change during a run.
      type: dict
      sample: {distribution: debian, release: 13, interface: eth0, prefix: 26}
    failover_packages:
      description: Names of the installed packages and when they were read.
      type: dict
      sample: {gathered_at: 1795400000.0, names: [bash]}
failure:
  description: Why nothing could be read.
  returned: with O(report_failure), when nothing could be read
  type: str
  sample: /usr/bin/python3 is missing
host:
  description: The host.
  returned: always, unless RV(failure) is set
  type: dict
  contains:
    distribution:
      description: ID of /etc/os-release.
      type: str
      sample: debian
    release:
      description: Major number of the release, 0 for one without number.
      type: int
      sample: 13
    codename:
      description: Name of the release.
      type: str
      sample: trixie
    pretty_name:
      description: Name for humans.
      type: str
      sample: Debian GNU/Linux 13 (trixie)
    hostname:
      description: Name of the host as the kernel knows it.
      type: str
      sample: www1
    python:
      description: Version of the Python interpreter that ran the module.
      type: str
      sample: 3.13.5
    systemd:
      description: Whether systemd is the init system.
      type: bool
      sample: true
    sets_clock:
      description: Whether the host may set its clock. A container mostly may not.
      type: bool
      sample: true
    address:
      description: The address of O(address) if an interface carries it, else null.
      type: str
      sample: 198.51.100.11
    interface:
      description: Interface that carries O(address), null if none does.
      type: str
      sample: eth0
    prefix:
      description: Length of the network of O(address) in bits, null if no interface carries it.
      type: int
      sample: 26
    network:
      description: Network of O(address), null if no interface carries it.
      type: str
      sample: 198.51.100.0/26
    addresses:
      description: All IPv4 addresses with interface and prefix.
      type: list
      elements: dict
      sample: [{interface: eth0, address: 198.51.100.11, prefix: 26}]
    macs:
      description: Link layer addresses.
      type: list
      elements: str
      sample: ["02:00:00:00:00:01"]
    memory_bytes:
      description: Memory.
      type: int
      sample: 4294967296
    disk_free_bytes:
      description: Free space for root below /var/lib.
      type: int
      sample: 20000000000
    epoch_seconds:
      description: The host's clock at the moment of reading.
      type: float
      sample: 1795400000.5
    listeners:
      description: Listening sockets on O(ports) with process and systemd unit.
      type: list
      elements: dict
      sample: [{port: 80, address: 0.0.0.0, process: nginx, unit: nginx.service}]
    answered:
      description: Those of O(vips) that another machine answered for, with its link layer address.
      type: dict
      sample: {198.51.100.10: "02:00:00:00:00:09"}
    vrrp:
      description: Who else advertises one of O(vrids).
      type: list
      elements: dict
      sample: [{source: 198.51.100.99, vrid: 51}]
    traces:
      description: What was found with O(traces), else null.
      type: dict
      contains:
        estate:
          description: The estate that the agent of the host is configured for, empty without an agent.
          type: str
          sample: shop
        engine:
          description: What that agent leads, V(mariadb) or V(none); empty without an agent.
          type: str
          sample: mariadb
        etcd_estates:
          description: The estates whose keys the etcd member of the host holds.
          type: list
          elements: str
          sample: [shop]
        sources:
          description: Whom the running database replicates from.
          type: list
          elements: str
          sample: [198.51.100.12]
        overridden:
          description: Settings of the estate's file of MariaDB that are otherwise in force.
          type: list
          elements: dict
          sample: [{name: sync_binlog, wanted: "1", found: "0"}]
    clock:
      description: Offset of the clock to the controller's and its uncertainty, in seconds.
      type: dict
      sample: {offset_seconds: 0.02, uncertainty_seconds: 0.4}
"""

import os
import platform
import select
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _etcd, _host, _traces
from ansible_collections.hosting.failover.plugins.module_utils import _packages as pk

CHANGING_KEYS = ("addresses", "disk_free_bytes", "epoch_seconds", "listeners", "answered", "vrrp", "traces")
DATA_ROOT = "/var/lib"
ODD_SOCKET_SECONDS = 0.5


def read_text(path: str) -> str:
    """Return the text of a file, empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_output(module: AnsibleModule, *command: str) -> str:
    """Return what a command prints, empty if it is missing or fails."""
    if module.get_bin_path(command[0]) is None:
        return ""
    code, out, _err = module.run_command(list(command))
    return str(out) if code == 0 else ""


def read_listeners(module: AnsibleModule) -> list[dict[str, Any]]:
    """Return the listeners on the wanted ports.

    ss(8) reads the processes first and the sockets second, so that a service that starts or ends meanwhile seems to be
    nobody's: such a socket is looked at again.
    """
    listeners = look_at_listeners(module)
    if all(item["unit"] for item in listeners):
        return listeners
    time.sleep(ODD_SOCKET_SECONDS)
    return look_at_listeners(module)


def look_at_listeners(module: AnsibleModule) -> list[dict[str, Any]]:
    """Return the listeners on the wanted ports as they are seen at one moment."""
    text = read_output(module, "ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes")
    return [
        {
            "port": item.port,
            "address": item.address,
            "process": item.process,
            "unit": _host.parse_unit(read_text(f"/proc/{item.pid}/cgroup")) if item.pid else "",
        }
        for item in _host.parse_listeners(text)
        if item.port in module.params["ports"]
    ]


def ask_arp(interface: str, address: str, vips: list[str], timeout: float) -> dict[str, str]:
    """Return the link layer address of whoever answers for each of the addresses within seconds."""
    answers: dict[str, str] = {}
    mac = read_text(f"/sys/class/net/{interface}/address").strip()
    if not vips or not mac:
        return answers
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_host.ETHERTYPE_ARP)) as wire:
        wire.bind((interface, _host.ETHERTYPE_ARP))
        for vip in vips:
            wire.send(_host.build_arp_request(mac, address, vip))
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0 and len(answers) < len(vips):
            if not select.select([wire], [], [], left)[0]:
                break
            reply = _host.parse_arp_reply(wire.recv(2048))
            if reply is not None and reply[0] in vips:
                answers[reply[0]] = reply[1]
    return answers


def read_answers(
    module: AnsibleModule, own: _host.Address | None, addresses: tuple[_host.Address, ...]
) -> dict[str, str]:
    """Ask for the virtual addresses that this host does not hold; nothing without the right to."""
    if own is None:
        return {}
    held = {item.address for item in addresses}
    foreign = [vip for vip in module.params["vips"] if _host.is_ipv4(vip) and vip not in held]
    try:
        return ask_arp(own.interface, own.address, foreign, module.params["arp_timeout_seconds"])
    except OSError as error:
        module.warn(f"virtual addresses could not be asked for with ARP: {error}")
        return {}


def hear_vrrp(own: _host.Address, seconds: float) -> list[_traces.Advert]:
    """Return the VRRP advertisements that come by within some seconds, those to the group included."""
    heard = []
    membership = socket.inet_aton(_traces.VRRP_GROUP) + socket.inet_aton(own.address)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as wire,
    ):
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        _traces.let_only_vrrp_through(wire)
        wire.bind((own.interface, 0x0800))
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and select.select([wire], [], [], left)[0]:
            advert = _traces.parse_vrrp(wire.recv(2048))
            if advert is not None:
                heard.append(advert)
    return heard


def read_vrrp(
    module: AnsibleModule, own: _host.Address | None, addresses: tuple[_host.Address, ...]
) -> list[dict[str, Any]]:
    """Return who else advertises our router ids; nothing without the right to listen."""
    if own is None or not module.params["vrids"]:
        return []
    try:
        heard = hear_vrrp(own, module.params["vrrp_timeout_seconds"])
    except OSError as error:
        module.warn(f"VRRP could not be listened for: {error}")
        return []
    mine = [item.address for item in addresses]
    return [asdict(item) for item in _traces.strangers(heard, module.params["vrids"], mine)]


def read_etcd_estates() -> list[str]:
    """Return the estates in the local etcd; nothing where there is none or it does not answer."""
    pki = Path(_traces.ETCD_PKI)
    if not (pki / "etcd.key").exists():
        return []
    client = _etcd.Client("127.0.0.1", f"{pki}/ca.crt", f"{pki}/etcd.crt", f"{pki}/etcd.key", 2.0)
    try:
        return list(_traces.parse_estates(client.call("POST", "/v3/kv/range", _traces.keys_request())))
    except (OSError, _etcd.EtcdError):
        return []


def read_traces(module: AnsibleModule) -> dict[str, Any]:
    """Return what an estate left here, and whom the database follows."""
    sources = read_output(module, "mariadb", "--batch", "--execute", "SHOW ALL SLAVES STATUS\\G")
    own = _traces.parse_own(read_text(_traces.DATABASE_CONFIG))
    effective = _traces.parse_defaults(read_output(module, "my_print_defaults", "--mysqld")) if own else {}
    return {
        "estate": _traces.parse_agent_estate(read_text(_traces.AGENT_CONFIG)),
        "engine": _traces.parse_agent_engine(read_text(_traces.AGENT_CONFIG)),
        "etcd_estates": read_etcd_estates(),
        "sources": list(_traces.parse_sources(sources)),
        "overridden": [asdict(item) for item in _traces.find_overridden(own, effective)] if effective else [],
    }


def read_host(module: AnsibleModule) -> dict[str, Any]:
    """Return everything of RV(host) but the clock's offset, which only the controller knows."""
    addresses, macs = _host.parse_addresses(read_output(module, "ip", "-json", "address", "show"))
    wanted = module.params["address"]
    own = _host.find_address(addresses, wanted) if wanted else None
    release = _host.parse_os_release(read_text("/etc/os-release"))
    disk = os.statvfs(DATA_ROOT)
    return {
        "distribution": release.distribution,
        "release": release.major,
        "codename": release.codename,
        "pretty_name": release.pretty_name,
        "hostname": platform.node(),
        "python": platform.python_version(),
        "sets_clock": _host.parse_capability(read_text("/proc/self/status"), _host.CAP_SYS_TIME),
        "systemd": Path("/run/systemd/system").is_dir(),
        "address": own.address if own else None,
        "interface": own.interface if own else None,
        "prefix": own.prefix if own else None,
        "network": own.network if own else None,
        "addresses": [asdict(item) for item in addresses],
        "macs": list(macs),
        "memory_bytes": _host.parse_memory_bytes(read_text("/proc/meminfo")),
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "listeners": read_listeners(module) if module.params["ports"] else [],
        "answered": read_answers(module, own, addresses),
        "vrrp": read_vrrp(module, own, addresses),
        "traces": read_traces(module) if module.params["traces"] else None,
        "epoch_seconds": time.time(),
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=_host.ARGUMENT_SPEC, supports_check_mode=True)
    host = read_host(module)
    facts = {key: value for key, value in host.items() if key not in CHANGING_KEYS}
    installed = pk.parse_installed(read_output(module, *pk.QUERY))
    module.exit_json(
        changed=False,
        host=host,
        ansible_facts={"failover_host": facts, pk.FACT: pk.make_fact(installed)},
    )


if __name__ == "__main__":
    main()
