# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The agent's configuration: one JSON file, written by the role, read once at start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from failover_agent.policy import DEFAULT_PRIORITY, Engine, LastReplicaLoss, Policy


class ConfigError(Exception):
    """The configuration file cannot be used; the text names the file, the key and what was expected."""


@dataclass(frozen=True)
class Vip:
    """One virtual IP of the estate. ``follows`` is ``primary`` or ``web``."""

    name: str
    address: str
    follows: str


@dataclass(frozen=True)
class Pki:
    """Paths of the estate CA certificate and of this host's certificate and key (PEM)."""

    ca: str
    certificate: str
    key: str


@dataclass(frozen=True)
class Config:
    """Who this host is, who the others are, and where things lie. Ports are TCP, paths absolute."""

    estate: str
    host: str
    hosts: dict[str, str]
    etcd_endpoints: tuple[str, ...]
    pki: Pki
    replication_pki: Pki
    vips: tuple[Vip, ...] = ()
    engine: Engine = "mariadb"
    priorities: dict[str, int] = field(default_factory=dict)
    health_address: str = "0.0.0.0"
    health_port: int = 8010
    peer_port: int = 8011
    database_port: int = 3306
    replication_port: int = 3307
    database_socket: str = "/run/mysqld/mysqld.sock"
    database_pid_file: str = "/run/mysqld/mysqld.pid"
    database_unit: str = "mariadb.service"
    database_directory: str = "/var/lib/mysql"
    replication_user: str = "failover_repl"
    database_user: str = "failover_agent"
    runtime_directory: str = "/run/failover-agent"
    state_directory: str = "/var/lib/failover-agent"
    watchdog_device: str = "/dev/watchdog"
    policy: Policy = field(default_factory=Policy)

    @property
    def address(self) -> str:
        """The address of this host in the estate."""
        return self.hosts[self.host]

    def priority(self, host: str) -> int:
        """How much ``host`` is wanted as primary: the highest is taken first, 0 never."""
        return self.priorities.get(host, DEFAULT_PRIORITY)

    @property
    def witnesses(self) -> tuple[str, ...]:
        """Addresses of the members of etcd that are no data hosts."""
        addresses = [urlsplit(endpoint).hostname or "" for endpoint in self.etcd_endpoints]
        return tuple(address for address in addresses if address not in self.hosts.values())

    @property
    def prefix(self) -> str:
        """The etcd prefix of the estate."""
        return f"/failover/{self.estate}/"

    @property
    def database_ports(self) -> tuple[int, int]:
        """All ports of MariaDB: the one for clients, and the one for replicas, which clients cannot use up."""
        return self.database_port, self.replication_port

    @property
    def peers(self) -> dict[str, str]:
        """The other database hosts and their addresses."""
        return {name: address for name, address in self.hosts.items() if name != self.host}


def load(path: str | Path) -> Config:
    """Read the configuration.

    :raises ConfigError: the file is missing, is no JSON, or a key is missing, unknown or of the wrong kind.
    """
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    return parse(raw, str(path))


def parse(raw: Any, where: str = "agent.json") -> Config:
    """A :class:`Config` from its JSON object; ``where`` names the source in errors.

    :raises ConfigError: as :func:`load`.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: not an object")
    known = {f.name for f in fields(Config)}
    unknown = sorted(set(raw) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    values = dict(raw)
    try:
        values["pki"] = Pki(**raw["pki"])
        values["replication_pki"] = Pki(**raw["replication_pki"])
        values["vips"] = tuple(Vip(vip["name"], vip["address"], vip["follows"]) for vip in raw.get("vips", ()))
        values["etcd_endpoints"] = tuple(raw["etcd_endpoints"])
        values["policy"] = Policy(**dict(_knobs(raw.get("policy", {}))))
        config = Config(**values)
    except KeyError as error:
        raise ConfigError(f"{where}: {error} is missing") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error
    mistakes = list(_mistakes(config))
    if mistakes:
        raise ConfigError(f"{where}: {'; '.join(mistakes)}")
    return config


def _knobs(raw: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The knobs in the types of :class:`Policy`; what is none of them is left to be refused."""
    defaults = {each.name: each.default for each in fields(Policy)}
    for name, value in raw.items():
        default = defaults.get(name)
        if isinstance(default, (bool, str)):
            if type(value) is not type(default):
                kind = "text" if isinstance(default, str) else "true or false"
                raise ValueError(f"policy.{name} is {value!r}, not {kind}")
            yield name, value
        elif isinstance(default, int):
            yield name, int(value)
        else:
            yield name, float(value)


def _mistakes(config: Config) -> Iterator[str]:
    kinds = {"int": (int, "a whole number"), "str": (str, "text")}
    for each in fields(Config):
        kind, words = kinds.get(str(each.type), (object, ""))
        value = getattr(config, each.name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            yield f"{each.name} is {value!r}, not {words}"
    if not isinstance(config.hosts, dict):
        yield f"hosts is {config.hosts!r}, not an object of names and addresses"
    elif config.host not in config.hosts:
        yield f"host is {config.host!r}, which hosts does not list"
    if not config.etcd_endpoints or not all(str(each).startswith("https://") for each in config.etcd_endpoints):
        yield f"etcd_endpoints is {list(config.etcd_endpoints)!r}, not a list of https addresses"
    if config.engine not in get_args(Engine):
        yield f"engine is {config.engine!r}, not one of {', '.join(get_args(Engine))}"
    numbers = config.priorities.values() if isinstance(config.priorities, dict) else (None,)
    # True is an int for Python.
    if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in numbers):
        yield f"priorities is {config.priorities!r}, not an object of names and whole numbers from 0"
    if config.database_port == config.replication_port:
        yield f"replication_port is {config.replication_port}, which is database_port too"
    policy = config.policy
    if policy.on_last_replica_loss not in get_args(LastReplicaLoss):
        yield (
            f"policy.on_last_replica_loss is {policy.on_last_replica_loss!r},"
            f" not one of {', '.join(get_args(LastReplicaLoss))}"
        )
    if policy.lease_ttl <= policy.fence_margin + policy.renew_interval:
        yield (
            f"policy.lease_ttl is {policy.lease_ttl:g}: no renewal fits before the fence,"
            f" which takes more than {policy.fence_margin + policy.renew_interval:g} s"
        )
