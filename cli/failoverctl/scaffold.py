"""What `failoverctl init` writes: an inventory that explains itself. Pure, but for :func:`write`."""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from failoverctl.errors import ExitCode, FailoverctlError

#: Addresses reserved for documentation (RFC 5737), used where none are given.
PLACEHOLDER_HOSTS = {"www1": "192.0.2.11", "www2": "192.0.2.12"}
PLACEHOLDER_WITNESS = ("witness", "192.0.2.13")
PLACEHOLDER_BACKUP = ("vault", "192.0.2.14")
PLACEHOLDER_VIP = "192.0.2.10"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the estate is to be.

    Addresses of hosts may be empty: then their names must resolve. ``client`` is the address of the
    machine that measures, if it is known.
    """

    estate: str
    hosts: Mapping[str, str]
    witness: tuple[str, str] | None
    backup: tuple[str, str] | None
    vip: str
    domain: str
    user: str
    client: str = ""
    engine: str = "mariadb"


def files(wish: Wish, password: str = "") -> dict[str, str]:
    """Return the content of each file by its path.

    :param password: the one for all secrets; empty makes a new random one for each, as it should be.
    """
    group_vars = "inventory/group_vars/all"
    shared = {
        "failover.yml": _FAILOVER,
        "inventory/.gitignore": _GITIGNORE,
        "inventory/hosts.yml": _hosts(wish),
        f"{group_vars}/connection.yml": _CONNECTION.format(user=wish.user),
        f"{group_vars}/estate.yml": _estate(wish),
        f"{group_vars}/vips.yml": _VIPS.format(vip=wish.vip),
    }
    if wish.engine == "none":
        return {**shared, f"{group_vars}/web.yml": _WEB_STATIC.format(domain=wish.domain)}
    return {
        **shared,
        f"{group_vars}/mariadb.yml": _MARIADB,
        f"{group_vars}/web.yml": _WEB.format(domain=wish.domain, site=_word(wish.domain)),
        f"{group_vars}/vault.yml": _VAULT.format(
            probe=password or secrets.token_hex(16),
            site_name=_word(wish.domain),
            site=password or secrets.token_hex(16),
        ),
    }


def write(folder: Path, content: Mapping[str, str]) -> list[Path]:
    """Write the files, and none of them when any is already there.

    Secrets get mode 0600.

    :raises FailoverctlError: when a file exists, naming all that do, or cannot be written.
    """
    taken = [str(folder / name) for name in content if (folder / name).exists()]
    if taken:
        raise FailoverctlError(
            "init overwrites nothing, and these files exist:\n" + "\n".join(taken),
            fix="give another folder, or move them away.",
            exit_code=ExitCode.USAGE,
        )
    written = []
    try:
        for name, text in content.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o600 if path.name == "vault.yml" else 0o644
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            written.append(path)
    except OSError as error:
        raise FailoverctlError(
            f"{folder / name} cannot be written: {error.strerror}.",
            fix="make the folder writable, or give another.",
            exit_code=ExitCode.USAGE,
        ) from error
    return written


def parse_host(text: str) -> tuple[str, str]:
    """Return name and address of ``NAME=ADDRESS`` or ``NAME``.

    :raises ValueError: with a sentence about what is wrong.
    """
    name, _, address = text.partition("=")
    if not name or not all(part.isalnum() for part in name.replace(".", "-").split("-")):
        raise ValueError(f"{name!r} is no host name")
    if address:
        ipaddress.ip_address(address)
    return name, address


def _hosts(wish: Wish) -> str:
    data = list(wish.hosts.items())
    others = [item for item in (wish.witness, wish.backup) if item is not None]
    declared = "".join(
        f"    {name}:\n      ansible_host: {address}\n" if address else f"    {name}:\n"
        for name, address in [*data, *others]
    )
    return _HOSTS.format(
        hosts=declared,
        web=_members(list(wish.hosts)),
        database=_members(list(wish.hosts)),
        witness=_members([wish.witness[0]] if wish.witness else []),
        backup=_members([wish.backup[0]] if wish.backup else []),
    )


def _estate(wish: Wish) -> str:
    text = _ESTATE.format(estate=wish.estate, clients=_clients(wish.client))
    if wish.engine == "none":
        text = text.replace("\n# How precious it is", f"{_ENGINE_NONE}\n# How precious it is")
        text = text.replace("may reach MariaDB\n# and the agents' HTTP", "may reach\n# the agents' HTTP")
    return text


def _members(names: Sequence[str]) -> str:
    return "".join(f"\n        {name}:" for name in names) or " {}"


def _clients(address: str) -> str:
    if not address:
        return " []"
    bits = ipaddress.ip_address(address).max_prefixlen
    return f"\n  - {address}/{bits}  # this machine"


def _word(domain: str) -> str:
    """The first label of a domain, as a name that databases and variables can have."""
    first = "".join(sign if sign.isalnum() else "_" for sign in domain.split(".")[0].lower())
    return first if first[:1].isalpha() else f"site_{first}"


_FAILOVER = """\
---
# Tells failoverctl where things are; it is found from this folder and from
# every folder below it. All configuration of the estate is in the inventory.
inventory: inventory/hosts.yml

# Files, or programs, with the passwords of encrypted files, as [label@]path.
# Keep them out of version control.
# vault_ids:
#   - ~/.config/failoverctl/vault-password

# Where runs, their journals and reports are kept.
# state_directory: ~/.local/state/failoverctl
"""

_GITIGNORE = """\
# The private certificate authority of the estate: back it up, but not here.
.failover/
"""

_HOSTS = """\
---
# The hosts of the estate and what each is for. A host may be in several groups.
all:
  hosts:
{hosts}
  children:
    # Serve the sites.
    failover_web:
      hosts:{web}
    # Keep the data: one of them is primary. With two of them a witness must
    # make the third vote.
    failover_database:
      hosts:{database}
    # Votes, and holds no data. Put it where it does not fail together with a
    # data host.
    failover_witness:
      hosts:{witness}
    # Keeps the backups.
    failover_backup:
      hosts:{backup}
"""

_CONNECTION = """\
---
# How Ansible reaches the hosts. Another account than root needs sudo without a
# password.
ansible_user: {user}
ansible_python_interpreter: /usr/bin/python3
# ansible_ssh_private_key_file: ~/.ssh/id_ed25519
"""

_ESTATE = """\
---
# The name of the estate, in lower case; it is part of every key and
# certificate. Never change it.
failover_estate: {estate}

# How precious it is: lab, staging or production. Drills that may not break it
# are refused.
failover_environment: production

# How fast a failure is noticed, and how much jitter is forgiven: lan, vm or
# cloud.
failover_profile: vm

# What the estate promises. A measured run that misses it has the verdict fail.
failover_objectives:
  rto_seconds: 30
  rpo_seconds: 0

# Hosts and networks, besides the hosts of the estate, that may reach MariaDB
# and the agents' HTTP: monitoring, and the machine that measures a switchover.
base_client_networks:{clients}
"""

_ENGINE_NONE = """
# There is no database: virtual IPs, and units under failover-primary.target,
# follow one quorum decision. The hosts that may lead are in failover_database.
failover_engine: none
"""

_WEB_STATIC = """\
---
# The sites that every web host serves. Their files are yours: put them on
# every web host.
web_sites:
  - domain: {domain}
    docroot: /srv/www/{domain}
"""

_MARIADB = """\
---
# The account by which a switchover is measured. Without this line it is not
# made, and nothing is measured.
mariadb_probe_password: "{{ vault_mariadb_probe_password }}"
"""

_VIPS = """\
---
# Addresses that move between hosts. They must be free, and in the network of
# the hosts.
failover_vips:
  - name: site
    address: {vip}
    # A number from 1 to 255 that no other VRRP router in this network uses.
    vrid: 51
    # primary: always where the primary database is.
    # web: where a web server is healthy.
    follows: primary
"""

_WEB = """\
---
# The sites that every web host serves.
web_sites:
  - domain: {domain}
    docroot: /srv/www/{domain}
    php: true
    # demo: a small guest book. none: the files are yours, and never touched.
    content: demo
    database:
      name: {site}
      user: {site}
      password: "{{{{ vault_{site}_password }}}}"
"""

_VAULT = """\
---
# Secrets, made at random by `failoverctl init`. Encrypt this file before it
# goes anywhere:
#   ansible-vault encrypt inventory/group_vars/all/vault.yml
# and name the password file under vault_ids in failover.yml.
vault_mariadb_probe_password: {probe}
vault_{site_name}_password: {site}
"""
