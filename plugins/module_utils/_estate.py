# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge an estate before anything is changed: its inventory, and what its hosts are.

PRIVATE to the collection. Everything here is pure: ``check_inventory`` and ``check_hosts`` take values and return all
problems at once.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible.module_utils.common import validation

GROUP_KINDS = ("web", "database", "witness", "balancer", "backup", "monitor", "dns")

NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,30}")
PLACEHOLDERS = frozenset({"", "changeme", "change_me", "change-me", "password", "secret", "todo", "xxx"})
SECRET_WORDS = ("password", "secret", "passphrase")

ESTATE_SPEC: dict[str, dict[str, Any]] = {
    "failover_estate": {
        "type": "str",
        "required": True,
        "description": "Name of the estate: lower case letters, digits and hyphens, at most 31 characters.",
    },
    "failover_environment": {
        "type": "str",
        "choices": ["lab", "staging", "production"],
        "default": "production",
        "description": "How precious the estate is. Drills are refused where their scenario does not allow them.",
    },
    "failover_profile": {
        "type": "str",
        "choices": ["lan", "vm", "cloud"],
        "default": "lan",
        "description": "How fast failure is noticed. Sets the timing of VRRP, lease, checks and etcd.",
    },
    "failover_engine": {
        "type": "str",
        "choices": ["mariadb", "none"],
        "default": "mariadb",
        "description": "What the primary is primary of: MariaDB, or only the virtual IPs and units that follow it.",
    },
    "failover_vips": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "description": "Virtual IPs, an empty list for none.",
        "options": {
            "name": {"type": "str", "required": True, "description": "Name of the virtual IP."},
            "address": {"type": "str", "required": True, "description": "IPv4 address in the network of its hosts."},
            "vrid": {
                "type": "int",
                "required": True,
                "description": "VRRP router id, 1 to 255, used by nobody else in this network.",
            },
            "follows": {
                "type": "str",
                "required": True,
                "choices": ["primary", "web"],
                "description": "What it follows: the primary, or a web server that works.",
            },
        },
    },
    "failover_objectives": {
        "type": "dict",
        "description": "What the estate promises.",
        "options": {
            "rto_seconds": {"type": "float", "description": "Longest interruption in seconds."},
            "rpo_seconds": {"type": "float", "description": "Most data that may be lost, in seconds."},
        },
    },
    "failover_automatic": {
        "type": "bool",
        "default": True,
        "description": "Whether the estate must be able to fail over by itself, which needs three voters.",
    },
    "failover_replication_port": {
        "type": "int",
        "default": 3307,
        "description": "TCP port of MariaDB for replicas, whose connections clients cannot use up.",
    },
    "failover_address": {
        "type": "str",
        "description": "Address of a host in the estate. By default its ansible_host.",
    },
    "failover_site": {"type": "str", "description": "Site of a host."},
    **{
        f"failover_group_{kind}": {
            "type": "str",
            "default": f"failover_{kind}",
            "description": f"Name of the group that plays the part of failover_{kind}. Give it as an extra variable.",
        }
        for kind in GROUP_KINDS
    },
    "failover_run_id": {"type": "str", "description": "Id of the run, for lock and journal. The command gives it."},
    "failover_lock_kept": {
        "type": "bool",
        "default": False,
        "description": "Whether the run leaves the lock to the run that holds it: a drill. The command gives it.",
    },
    "failover_owner": {"type": "str", "description": "Who runs it, for the lock. The command gives it."},
}
"""Variables of the collection that belong to no role. They are read in defaults of roles only."""

MADE_NAMES = frozenset(
    {
        "failover_host",
        "failover_packages",
        "failover_run",
        "failover_runbook",
        "failover_members",
        "certificates_result",
    }
)
"""Names with our prefixes that plays make themselves, of variables and of a group."""

ROLE_KINDS: dict[str, tuple[str, ...]] = {
    "base": GROUP_KINDS,
    "etcd": ("database", "witness"),
    "mariadb": ("database",),
    "agent": ("database",),
    "keepalived": ("database", "web"),
    "web": ("web",),
}
"""Which groups' hosts get a role, so that a variable it requires must be there."""

DATABASE_ROLE, DATABASE_PORT = "mariadb", 3306
"""What an estate without a database (failover_engine: none) has not."""

PORTS: dict[int, tuple[tuple[str, ...], str]] = {
    80: (("web",), "nginx.service"),
    2379: (("database", "witness"), "etcd.service"),
    2380: (("database", "witness"), "etcd.service"),
    3306: (("database",), "mariadb.service"),
    3307: (("database",), "mariadb.service"),
    8010: (("database",), "failover-agent.service"),
    8011: (("database",), "failover-agent.service"),
}
"""Ports that the estate needs: on hosts of which groups, and the unit that may listen there. One has a variable."""

REPLICATION_PORT = 3307
"""The port of MariaDB for replicas, unless ``failover_replication_port`` says another one."""

PORT_RANGE = (1024, 32767)
"""Where it may be: above are the ports of outgoing connections (``net.ipv4.ip_local_port_range``)."""

VIP_KINDS = {"primary": "database", "web": "web"}
"""Whose hosts may hold a virtual IP, by what it follows."""

RELEASES = (12, 13)
PYTHON_MIN = (3, 11)


@dataclass(frozen=True)
class Problem:
    """Something that must be put right. ``host`` is empty for what is true of the whole estate.

    ``variable`` is a path such as ``failover_vips[0].vrid``, or the name of a group.
    """

    code: str
    message: str
    host: str = ""
    variable: str = ""
    observed: str = ""
    limit: str = ""
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as a result of a task."""
        return asdict(self)


@dataclass(frozen=True)
class Broken:
    """Stands for a value that cannot be evaluated; ``reason`` is what Ansible said."""

    reason: str


@dataclass(frozen=True)
class Inventory:
    """Groups with their hosts, and each host's variables, evaluated."""

    groups: Mapping[str, Sequence[str]]
    hosts: Mapping[str, Mapping[str, Any]]

    def first(self, name: str) -> Any:
        """Return a variable of the estate: that of the first host that has it, else None."""
        return next((variables[name] for variables in self.relevant().values() if name in variables), None)

    def group_name(self, kind: str) -> str:
        """Return the name of the group of a kind such as ``database``."""
        name = f"failover_group_{kind}"
        return str(next((item[name] for item in self.hosts.values() if name in item), f"failover_{kind}"))

    def members(self, *kinds: str) -> tuple[str, ...]:
        """Return the hosts of these kinds, each once, in the order of the inventory."""
        return tuple(dict.fromkeys(name for kind in kinds for name in self.groups.get(self.group_name(kind), ())))

    def relevant(self) -> dict[str, Mapping[str, Any]]:
        """Return the variables of the hosts that have a part in the estate; of all hosts, if none has."""
        members = self.members(*GROUP_KINDS)
        return {name: variables for name, variables in self.hosts.items() if name in members} or dict(self.hosts)

    def address(self, host: str) -> str:
        """Return the address of a host in the estate, as the inventory says it."""
        variables = self.hosts.get(host, {})
        return str(variables.get("failover_address") or variables.get("ansible_host") or host)

    @property
    def with_database(self) -> bool:
        """Whether the estate has a database."""
        return bool(self.first("failover_engine") != "none")

    def vips(self) -> list[Mapping[str, Any]]:
        """Return those virtual IPs that are mappings."""
        found = self.first("failover_vips")
        return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


@dataclass(frozen=True)
class Roles:
    """What the roles take: by role, the options of all its entry points together."""

    options: Mapping[str, Mapping[str, Mapping[str, Any]]]
    extra_names: frozenset[str] = field(default_factory=frozenset)

    def role_of(self, variable: str) -> str | None:
        """Return the role whose prefix a variable has, None for others and for ``failover_``."""
        return next((role for role in self.options if variable.startswith(f"{role}_")), None)

    def spec(self, variable: str) -> Mapping[str, Any] | None:
        """Return the specification of a variable, None if nobody takes it."""
        if variable in ESTATE_SPEC:
            return ESTATE_SPEC[variable]
        role = self.role_of(variable)
        return self.options[role].get(variable) if role else None

    def is_ours(self, variable: str) -> bool:
        """Return whether a variable has one of our prefixes."""
        return variable.startswith("failover_") or self.role_of(variable) is not None

    def names(self) -> tuple[str, ...]:
        """Return every name that is taken."""
        return (*ESTATE_SPEC, *(name for options in self.options.values() for name in options))


@dataclass(frozen=True)
class Limits:
    """What a host must at least have."""

    clock_seconds: float
    disk_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class Look:
    """What was seen of a host: ``host`` as module host_info returns it, or why there is nothing."""

    host: Mapping[str, Any] | None = None
    unreachable: str = ""
    failure: str = ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a sentence naming the known word nearest to ``word``, empty if none is near."""
    found = difflib.get_close_matches(word, tuple(known), n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else ""


_CHECKERS: dict[str, Any] = {
    "str": lambda value: validation.check_type_str(value, allow_conversion=True),
    "path": lambda value: validation.check_type_str(value, allow_conversion=False),
    "int": validation.check_type_int,
    "float": validation.check_type_float,
    "bool": validation.check_type_bool,
}


def check_value(spec: Mapping[str, Any], value: Any, path: str) -> Iterator[Problem]:
    """Yield what is wrong with a value by the rules of an argument specification, with the path of each place."""
    kind = str(spec.get("type", "str"))
    if isinstance(value, Broken):
        yield Problem("not_evaluable", f"{path} cannot be evaluated: {value.reason}", variable=path)
    elif value is None:
        yield Problem("wrong_type", f"{path} is empty", variable=path, observed="nothing", limit=kind)
    elif kind in ("list", "dict"):
        yield from _check_container(spec, kind, value, path)
    elif kind in _CHECKERS:
        yield from _check_scalar(spec, kind, value, path)


def _check_scalar(spec: Mapping[str, Any], kind: str, value: Any, path: str) -> Iterator[Problem]:
    observed = "a secret" if spec.get("no_log") or _is_secret(path) else repr(value)[:80]
    fits = not isinstance(value, (list, dict)) and not (isinstance(value, bool) and kind in ("int", "float"))
    if fits:
        try:
            _CHECKERS[kind](value)
        except (TypeError, ValueError):
            fits = False
    if not fits:
        yield Problem("wrong_type", f"{path} is not of the type {kind}", variable=path, observed=observed, limit=kind)
        return
    choices = spec.get("choices")
    if choices and value not in choices:
        allowed = ", ".join(map(str, choices))
        yield Problem(
            "wrong_value",
            f"{path} is {observed}, allowed is {allowed}",
            variable=path,
            observed=observed,
            limit=allowed,
            fix=nearest(str(value), map(str, choices)),
        )


def _check_container(spec: Mapping[str, Any], kind: str, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping if kind == "dict" else list):
        observed = repr(value)[:80]
        yield Problem("wrong_type", f"{path} is not a {kind}", variable=path, observed=observed, limit=kind)
    elif isinstance(value, list):
        element = {**spec, "type": spec.get("elements", "raw"), "elements": None}
        for index, item in enumerate(value):
            yield from check_value(element, item, f"{path}[{index}]")
    elif spec.get("options"):
        yield from _check_keys(spec["options"], value, path)


def _check_keys(options: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for key in value:
        if key not in options:
            hint = nearest(str(key), options) or f"Valid keys: {', '.join(options)}."
            yield Problem("unknown_key", f"{path} has an unknown key {key}", variable=f"{path}.{key}", fix=hint)
    for key, option in options.items():
        if key in value:
            yield from check_value(option, value[key], f"{path}.{key}")
        elif option.get("required"):
            yield Problem("missing_key", f"{path} lacks the key {key}", variable=f"{path}.{key}")


def _is_secret(path: str) -> bool:
    return any(word in path.rpartition(".")[2] for word in SECRET_WORDS)


def find_placeholders(value: Any, path: str) -> Iterator[Problem]:
    """Yield every secret in a value that is empty or a well-known placeholder."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_placeholders(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_placeholders(item, f"{path}[{index}]")
    elif isinstance(value, str) and _is_secret(path) and value.strip().lower() in PLACEHOLDERS:
        yield Problem(
            "placeholder_secret",
            f"{path} is {'empty' if not value.strip() else 'a placeholder'}",
            variable=path,
            fix="Choose a secret and keep it in a file encrypted with ansible-vault.",
        )


def _merge(found: Mapping[str, Sequence[Problem]], hosts: int) -> list[Problem]:
    """Return problems by host as one list, each once.

    One that every host has belongs to the estate. One that several have names the first, so that its place can be
    found, and the others in its message.
    """
    counted: dict[Problem, list[str]] = {}
    for host, problems in found.items():
        for problem in dict.fromkeys(problems):
            counted.setdefault(problem, []).append(host)
    merged = []
    for problem, (first, *others) in counted.items():
        if others and len(others) + 1 == hosts:
            merged.append(problem)
        else:
            also = f" (also on {', '.join(others)})" if others else ""
            merged.append(replace(problem, host=first, message=f"{problem.message}{also}"))
    return merged


def _check_variables(inventory: Inventory, roles: Roles) -> list[Problem]:
    found: dict[str, list[Problem]] = {}
    known = roles.names()
    relevant = inventory.relevant()
    for host, variables in relevant.items():
        problems = found.setdefault(host, [])
        for name, value in variables.items():
            if not roles.is_ours(name) or name in MADE_NAMES or name in roles.extra_names:
                continue
            spec = roles.spec(name)
            if spec is None:
                hint = nearest(name, known)
                problems.append(Problem("unknown_variable", f"nothing takes {name}", variable=name, fix=hint))
                continue
            problems += check_value(spec, value, name)
            problems += find_placeholders(value, name)
    return _merge(found, len(relevant))


def _check_required(inventory: Inventory, roles: Roles) -> Iterator[Problem]:
    for name, spec in ESTATE_SPEC.items():
        if spec.get("required") and inventory.first(name) is None:
            yield Problem("missing_variable", f"{name} is not set", variable=name, fix=str(spec["description"]))
    for role, kinds in ROLE_KINDS.items():
        if role == DATABASE_ROLE and not inventory.with_database:
            continue
        for name, option in roles.options.get(role, {}).items():
            lacking = [host for host in inventory.members(*kinds) if name not in inventory.hosts.get(host, {})]
            if option.get("required") and lacking:
                message = f"{name} is not set for {', '.join(lacking)}"
                yield Problem("missing_variable", message, host=lacking[0], variable=name)


def _check_names(inventory: Inventory) -> Iterator[Problem]:
    estate = inventory.first("failover_estate")
    if estate is not None and not NAME_PATTERN.fullmatch(str(estate)):
        yield Problem(
            "bad_estate_name",
            f"failover_estate is {str(estate)!r}",
            variable="failover_estate",
            observed=str(estate)[:80],
            limit="a lower case letter, then up to 30 lower case letters, digits and hyphens",
        )
    wanted = {inventory.group_name(kind): kind for kind in GROUP_KINDS}
    for kind in GROUP_KINDS:
        values = {str(item.get(f"failover_group_{kind}", "")) for item in inventory.hosts.values()}
        if len(values) > 1:
            yield Problem(
                "group_name_differs",
                f"failover_group_{kind} is not the same for all hosts",
                variable=f"failover_group_{kind}",
                observed=", ".join(sorted(value or "not set" for value in values)),
                fix="Give it as an extra variable: plays choose their hosts by it.",
            )
    for group in inventory.groups:
        if group.startswith("failover_") and group not in wanted and group not in MADE_NAMES:
            hint = nearest(group, wanted)
            yield Problem("unknown_group", f"there is no part for the group {group}", variable=group, fix=hint)


def _check_groups(inventory: Inventory) -> Iterator[Problem]:
    database, witness = inventory.members("database"), inventory.members("witness")
    group, witness_group = inventory.group_name("database"), inventory.group_name("witness")
    is_automatic = inventory.first("failover_automatic") is not False
    if not database:
        word = "is empty" if group in inventory.groups else "does not exist"
        yield Problem(
            "missing_group",
            f"the group {group} {word}",
            variable=group,
            observed="0 hosts",
            limit="2 hosts or more",
            fix=f"Put the database hosts into the group {group}.",
        )
    elif len(database) == 1:
        yield Problem(
            "one_data_host",
            f"{database[0]} is the only host in {group}, so there is nobody to take over",
            variable=group,
            observed="1 host",
            limit="2 hosts or more",
            fix=f"Add a second host to {group}.",
        )
    elif is_automatic and len(database) + len(witness) < 3:
        yield Problem(
            "no_witness",
            f"two data hosts cannot tell a dead peer from a cut network, so nothing may fail over by itself: "
            f"the group {witness_group} has no host",
            variable=witness_group,
            observed=f"{len(database)} voters",
            limit="3 voters",
            fix=f"Put a third, small host into {witness_group}, or set failover_automatic: false for planned "
            "switchovers only.",
        )
    elif is_automatic and (len(database) + len(witness)) % 2 == 0:
        count = len(database) + len(witness)
        yield Problem(
            "even_voters",
            f"{count} voters survive no more failures than {count - 1}, and can be split into halves",
            variable=witness_group,
            observed=f"{count} voters",
            limit="an odd number",
            fix=f"Add a host to {witness_group} or take one away.",
        )
    sites = inventory.first("web_sites")
    if sites and not inventory.members("web"):
        name = inventory.group_name("web")
        yield Problem("missing_group", f"web_sites are given, but the group {name} has no host", variable=name)
    for kind, other, why in (
        ("witness", "database", "its vote would die with the data it is to decide about"),
        ("backup", "database", "the backups would be lost with the data"),
    ):
        for host in inventory.members(kind):
            if host in inventory.members(other):
                one, two = inventory.group_name(kind), inventory.group_name(other)
                yield Problem(
                    "wrong_group",
                    f"{host} is in {one} and in {two}: {why}",
                    host=host,
                    variable=one,
                    fix=f"Take it out of one of them, or choose another host for {one}.",
                )


def _as_address(text: Any) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(str(text))
    except ValueError:
        return None


def _duplicates(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each value that stands in more than one place, with the places."""
    places: dict[str, list[str]] = {}
    for value, place in pairs:
        places.setdefault(value, []).append(place)
    yield from ((value, where) for value, where in places.items() if len(where) > 1)


def _check_addresses(inventory: Inventory) -> Iterator[Problem]:
    hosts = inventory.members(*GROUP_KINDS)
    for host in hosts:
        variables = inventory.hosts.get(host, {})
        name = "failover_address" if "failover_address" in variables else "ansible_host"
        address = inventory.address(host)
        if _as_address(address) is None:
            yield Problem(
                "bad_address",
                f"{host} has no IPv4 address: {address!r} is a name or something else",
                host=host,
                variable=name,
                observed=address[:80],
                limit="an IPv4 address",
                fix="Set failover_address to the address of the host in the estate.",
            )
    for address, names in _duplicates((inventory.address(host), host) for host in hosts):
        yield Problem(
            "duplicate_address",
            f"{' and '.join(names)} have the same address {address}",
            host=names[-1],
            variable="failover_address" if "failover_address" in inventory.hosts[names[-1]] else "ansible_host",
            observed=address,
        )


def _check_vips(inventory: Inventory) -> Iterator[Problem]:
    vips = inventory.vips()
    taken = {inventory.address(host): host for host in inventory.members(*GROUP_KINDS)}
    for index, vip in enumerate(vips):
        path = f"failover_vips[{index}]"
        address, vrid = vip.get("address"), vip.get("vrid")
        if address is not None and _as_address(address) is None:
            yield Problem(
                "bad_address",
                f"virtual IP {vip.get('name')} has no IPv4 address",
                variable=f"{path}.address",
                observed=repr(address)[:80],
                limit="an IPv4 address",
            )
        if str(address) in taken:
            yield Problem(
                "vip_is_host",
                f"virtual IP {vip.get('name')} has the address of {taken[str(address)]}",
                variable=f"{path}.address",
                observed=str(address),
                fix="A virtual IP needs an address of its own.",
            )
        if isinstance(vrid, int) and not isinstance(vrid, bool) and not 1 <= vrid <= 255:
            yield Problem(
                "bad_vrid",
                f"virtual IP {vip.get('name')} has the VRID {vrid}",
                variable=f"{path}.vrid",
                observed=str(vrid),
                limit="1 to 255",
            )
    for key, code, word in (
        ("vrid", "duplicate_vrid", "VRID"),
        ("address", "duplicate_address", "address"),
        ("name", "duplicate_name", "name"),
    ):
        for value, places in _duplicates((str(vip[key]), str(i)) for i, vip in enumerate(vips) if key in vip):
            both = " and ".join(str(vips[int(place)].get("name")) for place in places)
            yield Problem(
                code,
                f"virtual IPs {both} have the same {word} {value}",
                variable=f"failover_vips[{places[-1]}].{key}",
                observed=value,
            )
    for index, vip in enumerate(vips):
        kind = VIP_KINDS.get(str(vip.get("follows")))
        if kind and not inventory.members(kind):
            group = inventory.group_name(kind)
            message = f"virtual IP {vip.get('name')} has no host to be on, because {group} is empty"
            yield Problem("vip_without_hosts", message, variable=f"failover_vips[{index}].follows")


def _check_sites(inventory: Inventory) -> Iterator[Problem]:
    found = inventory.first("web_sites")
    sites = [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []
    for index, site in enumerate(sites):
        path, domain = f"web_sites[{index}]", site.get("domain", f"number {index + 1}")
        docroot = site.get("docroot")
        if isinstance(docroot, str) and not docroot.startswith("/"):
            yield Problem(
                "bad_docroot",
                f"the docroot of {domain} is not absolute",
                variable=f"{path}.docroot",
                observed=docroot[:80],
                limit="an absolute path",
            )
        if site.get("content") == "demo" and not (site.get("php") and site.get("database")):
            message = f"{domain} has content: demo, which needs php: true and a database"
            yield Problem("incomplete_site", message, variable=f"{path}.content")
        elsewhere = inventory.first("web_database_host")
        if site.get("database") and not inventory.with_database and not elsewhere:
            yield Problem(
                "site_without_database",
                f"{domain} wants a database, and this estate has none",
                variable=f"{path}.database",
                observed="failover_engine: none",
                fix="Take it away, or say with web_database_host where the database is.",
            )
    pairs = ((str(site["domain"]), str(i)) for i, site in enumerate(sites) if "domain" in site)
    for domain, places in _duplicates(pairs):
        yield Problem(
            "duplicate_domain",
            f"{domain} is in web_sites {len(places)} times",
            variable=f"web_sites[{places[-1]}].domain",
            observed=domain,
        )


def replication_port(inventory: Inventory) -> int:
    """Return the port of MariaDB for replicas; the default where the inventory has something that is no number."""
    try:
        return int(inventory.first("failover_replication_port") or REPLICATION_PORT)
    except (TypeError, ValueError):
        return REPLICATION_PORT


def _check_ports(inventory: Inventory) -> Iterator[Problem]:
    """The one port that can be chosen."""
    port = replication_port(inventory)
    name = "failover_replication_port"
    _kinds, unit = PORTS.get(port, ((), ""))
    if unit and port != REPLICATION_PORT:
        yield Problem(
            "port_taken",
            f"port {port} is the one of {unit}",
            variable=name,
            observed=str(port),
            fix=f"Leave {name} out, or choose a port that nothing else uses.",
        )
    if not PORT_RANGE[0] <= port <= PORT_RANGE[1]:
        low, high = PORT_RANGE
        yield Problem(
            "port_out_of_range",
            f"port {port} is none for a service",
            variable=name,
            observed=str(port),
            limit=f"{low} to {high}",
            fix="The kernel gives the ports above to programs that go out, and MariaDB could then not start.",
        )


def check_inventory(inventory: Inventory, roles: Roles) -> list[Problem]:
    """Return everything that is wrong with an inventory, without asking a host."""
    return [
        *_check_names(inventory),
        *_check_groups(inventory),
        *_check_required(inventory, roles),
        *_check_variables(inventory, roles),
        *_check_addresses(inventory),
        *_check_vips(inventory),
        *_check_ports(inventory),
        *_check_sites(inventory),
    ]


def _check_system(host: str, seen: Mapping[str, Any]) -> Iterator[Problem]:
    name = str(seen["pretty_name"])
    limit = "Debian 12 or 13"
    if seen["distribution"] != "debian":
        yield Problem("not_debian", f"{host} runs {name}", host=host, observed=name, limit=limit)
    elif seen["release"] not in RELEASES:
        yield Problem("unsupported_release", f"{host} runs {name}", host=host, observed=name, limit=limit)
    if tuple(int(part) for part in str(seen["python"]).split(".")[:2]) < PYTHON_MIN:
        python = str(seen["python"])
        wanted = ".".join(map(str, PYTHON_MIN))
        yield Problem("old_python", f"Python on {host} is {python}", host=host, observed=python, limit=wanted)
    if not seen["systemd"]:
        yield Problem("no_systemd", f"{host} was not started by systemd, which runs all services", host=host)


def _check_resources(host: str, seen: Mapping[str, Any], limits: Limits) -> Iterator[Problem]:
    clock = seen["clock"]
    beyond = abs(clock["offset_seconds"]) - clock["uncertainty_seconds"]
    if beyond > limits.clock_seconds:
        direction = "ahead of" if clock["offset_seconds"] > 0 else "behind"
        observed = f"{abs(clock['offset_seconds']):.1f} s"
        yield Problem(
            "clock_apart",
            f"the clock of {host} is {observed} {direction} the controller's",
            host=host,
            observed=observed,
            limit=f"{limits.clock_seconds:g} s",
            fix="Set both clocks by NTP: timedatectl shows what is in charge.",
        )
    for key, code, word, least in (
        ("disk_free_bytes", "low_disk", "free below /var/lib", limits.disk_bytes),
        ("memory_bytes", "low_memory", "of memory", limits.memory_bytes),
    ):
        if seen[key] < least:
            have, need = f"{seen[key] / 2**20:.0f} MiB", f"{least / 2**20:.0f} MiB"
            yield Problem(code, f"{host} has {have} {word}, needs {need}", host=host, observed=have, limit=need)


def _check_listeners(host: str, seen: Mapping[str, Any], inventory: Inventory) -> Iterator[Problem]:
    reported: set[tuple[int, str]] = set()
    ports = {replication_port(inventory) if port == REPLICATION_PORT else port: use for port, use in PORTS.items()}
    for listener in seen["listeners"]:
        kinds, unit = ports.get(listener["port"], ((), ""))
        owner = listener["unit"] or listener["process"] or "the kernel"
        if listener["port"] == DATABASE_PORT and not inventory.with_database:
            continue
        if host in inventory.members(*kinds) and listener["unit"] != unit and (listener["port"], owner) not in reported:
            reported.add((listener["port"], owner))
            yield Problem(
                "port_in_use",
                f"port {listener['port']} of {host} is in use by {owner}",
                host=host,
                observed=owner,
                limit=unit,
                fix=f"Stop and disable {owner} on {host}; {unit.removesuffix('.service')} needs this port.",
            )


def _check_traces(host: str, seen: Mapping[str, Any], inventory: Inventory) -> Iterator[Problem]:
    """What is on a host of another estate, or of a stranger. Nothing is done about it: a person has to decide."""
    traces = seen.get("traces") or {}
    ours, told = str(inventory.first("failover_estate") or ""), str(traces.get("estate") or "")
    if told and told != ours:
        yield Problem(
            "other_estate",
            f"{host} is a host of the estate {told} already",
            host=host,
            variable="failover_estate",
            observed=told,
            limit=ours,
            fix=f"Call this estate {told} if it is the same one, or use a host that is of no estate.",
        )
    engine, wanted = str(traces.get("engine") or ""), str(inventory.first("failover_engine") or "mariadb")
    if engine and engine != wanted and host in inventory.members("database"):
        yield Problem(
            "engine_changed",
            f"the agent of {host} leads {engine}, and the inventory says {wanted}: an estate keeps its engine",
            host=host,
            variable="failover_engine",
            observed=engine,
            limit=wanted,
            fix=f"Set failover_engine: {engine}, or use hosts that are of no estate.",
        )
    if not inventory.with_database:
        return
    known = {inventory.address(name) for name in inventory.members("database")} | set(inventory.members("database"))
    for source in traces.get("sources") or ():
        if source not in known:
            yield Problem(
                "foreign_primary",
                f"the database of {host} is a replica of {source}, which is no database host of this estate",
                host=host,
                observed=str(source),
                limit="a host of this estate, or nobody",
                fix=f"If {host} is to leave that cluster: STOP ALL SLAVES; RESET SLAVE ALL; else take it out of here.",
            )
    if host in inventory.members("database"):
        for item in traces.get("overridden") or ():
            yield Problem(
                "settings_overridden",
                f"{item['name']} of MariaDB on {host} is {item['found']}: a file wins over the one of the estate",
                host=host,
                observed=str(item["found"]),
                limit=str(item["wanted"]),
                fix="Take it out of /etc/mysql; what may be set is set by mariadb_settings in the inventory.",
            )


def _check_etcd_keys(inventory: Inventory, looks: Mapping[str, Look]) -> Iterator[Problem]:
    """Every member tells the same keys, so that one problem is enough."""
    ours = str(inventory.first("failover_estate") or "")
    for host in inventory.members("database", "witness"):
        look = looks.get(host)
        traces = (look.host.get("traces") if look and look.host else None) or {}
        others = [name for name in traces.get("etcd_estates") or () if name != ours]
        if others:
            yield Problem(
                "etcd_other_estate",
                f"the etcd of {host} holds the data of another estate: {', '.join(others)}",
                host=host,
                variable="failover_estate",
                observed=", ".join(others),
                limit=ours,
                fix="Each estate has an etcd of its own: use other hosts, or the name under which its data is there.",
            )
            return


def _check_vrrp(inventory: Inventory, looks: Mapping[str, Look]) -> Iterator[Problem]:
    """A stranger in the network with one of our VRRP router ids, such as a second site's."""
    known = {inventory.address(name) for name in inventory.members(*GROUP_KINDS)}
    told: set[tuple[str, int]] = set()
    places = {vip.get("vrid"): f"failover_vips[{index}].vrid" for index, vip in enumerate(inventory.vips())}
    for host, look in looks.items():
        for item in (look.host.get("vrrp") if look.host else None) or ():
            source, vrid = str(item["source"]), int(item["vrid"])
            if source not in known and (source, vrid) not in told:
                told.add((source, vrid))
                yield Problem(
                    "vrid_in_use",
                    f"{source} uses the VRID {vrid} in the network of {host}, and is no host of this estate",
                    host=host,
                    variable=places.get(vrid, "failover_vips"),
                    observed=source,
                    limit="nobody else",
                    fix="Choose a VRID that nobody else uses in this network.",
                )


def _check_controller_clock(looks: Mapping[str, Look], limits: Limits) -> Iterator[Problem]:
    """Hosts that agree with each other and not with the controller: it is the controller's clock that is wrong."""
    clocks = [look.host["clock"] for look in looks.values() if look.host and look.host.get("clock")]
    offsets = [float(clock["offset_seconds"]) for clock in clocks]
    apart = [abs(clock["offset_seconds"]) - clock["uncertainty_seconds"] > limits.clock_seconds for clock in clocks]
    if len(clocks) > 1 and all(apart) and max(offsets) - min(offsets) <= limits.clock_seconds:
        offset = sum(offsets) / len(offsets)
        observed = f"{abs(offset):.1f} s"
        yield Problem(
            "controller_clock",
            f"the clock of the controller is {observed} {'behind' if offset > 0 else 'ahead of'} those of all hosts",
            observed=observed,
            limit=f"{limits.clock_seconds:g} s",
            fix="Set the clock of this machine: it dates the certificates that setup makes.",
        )


def _check_network(host: str, seen: Mapping[str, Any], inventory: Inventory, macs: frozenset[str]) -> Iterator[Problem]:
    address = inventory.address(host)
    if seen["address"] is None:
        configured = ", ".join(item["address"] for item in seen["addresses"] if item["interface"] != "lo")
        yield Problem(
            "address_not_configured",
            f"no interface of {host} has the address {address}",
            host=host,
            variable="failover_address",
            observed=configured or "no address",
            limit=address,
            fix="Set failover_address to an address that the host has.",
        )
    for index, vip in enumerate(inventory.vips()):
        vip_address = _as_address(vip.get("address"))
        kind = VIP_KINDS.get(str(vip.get("follows")))
        if vip_address is None or kind is None or host not in inventory.members(kind):
            continue
        path = f"failover_vips[{index}].address"
        if seen["network"] and vip_address not in ipaddress.ip_network(seen["network"]):
            yield Problem(
                "vip_outside_network",
                f"virtual IP {vip.get('name')} ({vip_address}) is not in the network of {host}",
                host=host,
                variable=path,
                observed=str(vip_address),
                limit=str(seen["network"]),
                fix="Choose a free address of that network.",
            )
        mac = seen["answered"].get(str(vip_address))
        if mac and mac not in macs:
            yield Problem(
                "vip_in_use",
                f"another machine ({mac}) already has the virtual IP {vip_address}, as {host} sees it",
                host=host,
                variable=path,
                observed=str(mac),
                fix="Choose a free address, or stop that machine.",
            )


def check_hosts(inventory: Inventory, looks: Mapping[str, Look], limits: Limits) -> list[Problem]:
    """Return everything that is wrong with the hosts in ``looks``: others were left out with --limit.

    A host that could not be looked at is a problem too.
    """
    problems: list[Problem] = []
    known = frozenset(mac for look in looks.values() if look.host for mac in look.host["macs"])
    releases: dict[str, list[str]] = {}
    for host in inventory.members(*GROUP_KINDS):
        look = looks.get(host)
        if look is None:
            continue
        if look.unreachable:
            problems.append(
                Problem(
                    "unreachable",
                    f"{host} cannot be reached: {look.unreachable}",
                    host=host,
                    variable="ansible_host",
                    observed=inventory.address(host),
                    fix="See that it runs, and that ssh to it works from here.",
                )
            )
        elif look.host is None:
            problems.append(
                Problem(
                    "unreadable",
                    f"nothing can be read from {host}: {look.failure}",
                    host=host,
                    fix="It needs Python 3.11 or later, which Debian 12 and 13 bring (package python3).",
                )
            )
        else:
            problems += _check_system(host, look.host)
            problems += _check_resources(host, look.host, limits)
            problems += _check_listeners(host, look.host, inventory)
            problems += _check_network(host, look.host, inventory, known)
            problems += _check_traces(host, look.host, inventory)
            if host in inventory.members("database") and inventory.with_database:
                releases.setdefault(str(look.host["pretty_name"]), []).append(host)
    problems += _check_etcd_keys(inventory, looks)
    problems += _check_vrrp(inventory, looks)
    wrong = list(_check_controller_clock(looks, limits))
    if wrong:
        problems = [*wrong, *(problem for problem in problems if problem.code != "clock_apart")]
    if len(releases) > 1:
        text = "; ".join(f"{', '.join(hosts)}: {name}" for name, hosts in releases.items())
        problems.append(
            Problem(
                "mixed_releases",
                "the database hosts run different releases, and a replica must not be older than its primary",
                variable=inventory.group_name("database"),
                observed=text,
                limit="one release",
            )
        )
    return problems


def render_problems(problems: Sequence[Problem]) -> str:
    """Return all problems as text for humans, one a line, each with what to do."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{count}. Nothing was changed."]
    for problem in problems:
        subject = problem.variable if problem.variable not in problem.message else ""
        head = f"{subject}: " if subject else ""
        limit = f" (allowed: {problem.limit})" if problem.limit and problem.limit not in problem.message else ""
        fix = f" {problem.fix}" if problem.fix else ""
        lines.append(f"- {head}{problem.message}{limit}.{fix}")
    return "\n".join(lines)
