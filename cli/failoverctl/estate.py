"""The estate as the inventory describes it: its hosts, groups, VIPs and how to reach them.

Ansible reads the inventory, in the process `failoverctl.inventory_export`. What is kept here, and in
the cache, is only what the CLI shows or needs to reach a host; secrets are asked for when they are
used and never written anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from failoverctl import sources
from failoverctl.config import Settings, require_inventory
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.paths import cache_directory
from failoverctl.problems import ConfigurationError, Location, Problem
from failoverctl.runner import ansible_config, utf8_locale

#: The cache is used for so long at most: a template may read what no file date shows.
CACHE_SECONDS = 600

#: Reading an inventory takes half a second; one that takes longer than this hangs.
EXPORT_TIMEOUT_SECONDS = 60

#: The variables that make an :class:`Estate`, as regular expressions.
VARIABLES = (
    "failover_(estate|environment|engine|profile|vips|objectives|site|address|group_[a-z]+)",
    "ansible_(connection|host|port|user|become|become_method|become_user|become_password)",
    "ansible_(password|become_pass)",
    "ansible_ssh_(host|port|user|pass|password|private_key_file|common_args|extra_args|args)",
    "ansible_ssh_executable",
    "ansible_private_key_file",
    "web_sites",
)

_SECRETS = (
    "ansible_password",
    "ansible_become_pass",
    "ansible_become_password",
    "ansible_ssh_pass",
    "ansible_ssh_password",
)


@dataclass(frozen=True)
class Host:
    """One host. ``connection`` are its ``ansible_*`` variables, without passwords.

    ``groups`` are in the order in which Ansible lets their variables win, the strongest last.
    ``uses_password`` says that Ansible logs in or becomes root by a password.
    """

    name: str
    groups: tuple[str, ...]
    address: str
    site: str
    connection: Mapping[str, Any]
    uses_password: bool


@dataclass(frozen=True)
class Vip:
    """A virtual IP; ``follows`` is ``primary`` or ``web``."""

    name: str
    address: str
    follows: str


@dataclass(frozen=True)
class Estate:
    """What one inventory describes. ``environment`` is ``lab``, ``staging`` or ``production``.

    ``engine`` is what the primary is primary of: ``mariadb``, or ``none`` where only VIPs and units follow it.
    ``php`` says whether a site runs PHP.
    """

    name: str
    profile: str
    hosts: tuple[Host, ...]
    groups: Mapping[str, tuple[str, ...]]
    vips: tuple[Vip, ...]
    objectives: Mapping[str, Any]
    domains: tuple[str, ...]
    environment: str = "production"
    engine: str = "mariadb"
    php: bool = True

    @property
    def with_database(self) -> bool:
        """Whether there is a database."""
        return self.engine != "none"

    def host(self, name: str) -> Host | None:
        """Return the host of that name."""
        return next((host for host in self.hosts if host.name == name), None)

    def in_role(self, role: str) -> tuple[Host, ...]:
        """Return the hosts of a role such as ``database``, by the group that plays it."""
        members = self.groups.get(role, ())
        return tuple(host for host in self.hosts if host.name in members)


def load(settings: Settings, *, cached: bool = False) -> Estate:
    """Return the estate of the inventory in force.

    :param cached: take it from the cache when no file of the inventory changed since.
    :raises ConfigurationError: when the inventory or its vault cannot be read.
    :raises FailoverctlError: when there is no inventory.
    """
    require_inventory(settings)
    cache = _cache_file(settings)
    mark = _fingerprint(settings)
    if cached and mark is not None:
        found = _from_cache(cache, mark)
        if found is not None:
            return found
    document = export(settings, VARIABLES)
    errors = export_problems(document, settings, sources.Index())
    if errors:
        raise ConfigurationError(errors, Path.cwd())
    estate = build(document)
    if mark is not None:
        _to_cache(cache, mark, estate)
    return estate


def variable(settings: Settings, name: str, host: str) -> Any:
    """Return one variable of one host, decrypted; None when it is not set. It is never cached.

    :raises FailoverctlError: when the inventory cannot be read.
    """
    document = export(settings, [name])
    entry = document["hosts"].get(host)
    return entry["vars"].get(name) if entry else None


def export(settings: Settings, variables: Sequence[str], vaults: Iterable[Path] = ()) -> dict[str, Any]:
    """Return what `failoverctl.inventory_export` prints for the inventory in force.

    :param variables: regular expressions of the names of the variables to export.
    :param vaults: encrypted files to try the vault passwords on.
    :raises FailoverctlError: when the process fails or takes too long.
    """
    request = {
        "inventory": list(settings.inventory.value),
        "vault_ids": list(settings.vault_ids.value),
        "variables": list(variables),
        "vaults": [str(path) for path in vaults],
    }
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "failoverctl.inventory_export", json.dumps(request)],
            capture_output=True,
            text=True,
            cwd=settings.root,
            env={
                **os.environ,
                "PYTHONPATH": _import_path(),
                "ANSIBLE_NOCOLOR": "1",
                **utf8_locale(os.environ),
            },
            timeout=EXPORT_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FailoverctlError(
            f"reading the inventory took more than {EXPORT_TIMEOUT_SECONDS} s.",
            fix="run `ansible-inventory --list` to see what it waits for.",
            exit_code=ExitCode.TIMED_OUT,
        ) from error
    try:
        document = json.loads(finished.stdout)
    except ValueError as error:
        raise FailoverctlError(
            "Ansible could not read the inventory:\n" + finished.stderr.strip()[-2000:],
            fix="run `ansible-inventory --list` to see the same error.",
            exit_code=ExitCode.USAGE,
        ) from error
    return dict(document)


def inventory_sha256(settings: Settings) -> str | None:
    """Return a digest of all files of the inventory in force, encrypted ones as they are; None when it is no file.

    It tells whether the inventory of two runs was the same. Names count as well as contents.
    """
    if not settings.inventory_paths or len(settings.inventory_paths) != len(settings.inventory.value):
        return None
    digest = hashlib.sha256()
    for path in sorted(path for path in sources.watched(settings.inventory_paths) if path.is_file()):
        name = os.path.relpath(path, settings.root)
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            content = "unreadable"
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def export_problems(document: Mapping[str, Any], settings: Settings, found: sources.Index) -> list[Problem]:
    """Return what kept Ansible from reading the inventory, each with its place if it is known.

    :param document: what :func:`export` returned.
    :param found: the index of the sources; an empty one gives no places.
    """
    errors = document.get("errors", [])
    exact = [item for item in errors if item["file"] or item["variable"]]
    problems: dict[tuple[str, str], Problem] = {}
    for item in exact or errors:
        groups = document["hosts"].get(item["host"], {}).get("groups", [])
        place = Location(Path(item["file"])) if item["file"] else None
        if item["variable"]:
            place = found.locate(item["variable"], item["host"], groups)
        problem = Problem(
            code="vault" if item["kind"] == "vault" else "inventory",
            message=item["message"],
            location=place,
            variable=item["variable"],
            host="" if place else item["host"],
        )
        if item["kind"] == "vault":
            problem = _vault_problem(problem, settings)
        problems.setdefault((item["file"] or str(place), item["variable"]), problem)
    return list(problems.values())


def _vault_problem(problem: Problem, settings: Settings) -> Problem:
    given = ", ".join(settings.vault_ids.value)
    source = settings.vault_ids.source
    if "not found" in problem.message:
        return problem
    if given:
        message = f"the vault password does not decrypt it (tried {given}, from {source})"
    else:
        message = "it is encrypted and no vault password is given"
    return Problem(
        code="vault_password",
        message=message,
        location=problem.location,
        host=problem.host,
        variable=problem.variable,
        fix="name the right password file in failover.yml (vault_ids) or with --vault-id.",
    )


def build(document: Mapping[str, Any]) -> Estate:
    """Return the estate of an exported inventory. Nothing is judged here; gaps stay empty."""
    hosts = tuple(_host(name, entry["groups"], entry["vars"]) for name, entry in document["hosts"].items())
    shared: dict[str, Any] = {}
    for entry in document["hosts"].values():
        shared = {**entry["vars"], **shared}
    groups = {
        role: tuple(
            document["groups"].get(str(shared.get(f"failover_group_{role}", f"failover_{role}")), {}).get("hosts", ())
        )
        for role in ("web", "database", "witness", "balancer", "backup", "monitor", "dns")
    }
    objectives = shared.get("failover_objectives")
    return Estate(
        name=str(shared.get("failover_estate", "")),
        profile=str(shared.get("failover_profile", "")),
        hosts=hosts,
        groups=groups,
        vips=tuple(
            Vip(
                name=str(item.get("name", "")),
                address=str(item.get("address", "")),
                follows=str(item.get("follows", "")),
            )
            for item in _mappings(shared.get("failover_vips"))
        ),
        objectives=objectives if isinstance(objectives, dict) else {},
        domains=tuple(str(item["domain"]) for item in _mappings(shared.get("web_sites")) if "domain" in item),
        environment=str(shared.get("failover_environment") or "production"),
        engine=str(shared.get("failover_engine") or "mariadb"),
        php=any(item.get("php") is True for item in _mappings(shared.get("web_sites"))),
    )


def _host(name: str, groups: Sequence[str], variables: Mapping[str, Any]) -> Host:
    address = variables.get("failover_address") or variables.get("ansible_host") or name
    return Host(
        name=name,
        groups=tuple(groups),
        address=str(address),
        site=str(variables.get("failover_site", "")),
        connection={
            key: value for key, value in variables.items() if key.startswith("ansible_") and key not in _SECRETS
        },
        uses_password=any(variables.get(key) for key in _SECRETS),
    )


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _import_path() -> str:
    """Return PYTHONPATH such that the child finds this very package."""
    package = str(Path(__file__).parents[1])
    outer = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([package, outer]) if outer else package


def _cache_file(settings: Settings) -> Path:
    key = json.dumps([settings.inventory.value, settings.vault_ids.value, str(settings.root)])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_directory() / f"estate-{digest}.json"


def _fingerprint(settings: Settings) -> dict[str, Any] | None:
    """Return a value that changes with the inventory; None when no file can tell that it changed."""
    if len(settings.inventory_paths) != len(settings.inventory.value):
        return None
    watched = sources.watched(settings.inventory_paths)
    plain = [path for path in watched if path.is_file()]
    if any(path.suffix not in ("", ".yml", ".yaml", ".json", ".ini", ".cfg") for path in plain):
        return None
    if any(os.access(path, os.X_OK) for path in plain):
        return None  # A script may answer otherwise every time.
    config = ansible_config(settings.root, os.environ)
    vaults = [Path(item.rpartition("@")[2]) for item in settings.vault_ids.value]
    files = [*watched, *vaults, *([config] if config else [])]
    return {
        "failoverctl": _version(),
        "files": {str(path): _stamp(path) for path in files},
    }


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def _from_cache(cache: Path, mark: Mapping[str, Any]) -> Estate | None:
    try:
        document = json.loads(cache.read_text(encoding="utf-8"))
        if document["mark"] != mark or not 0 <= time.time() - document["at"] < CACHE_SECONDS:
            return None
        kept = document["estate"]
        return Estate(
            name=kept["name"],
            profile=kept["profile"],
            hosts=tuple(Host(**{**host, "groups": tuple(host["groups"])}) for host in kept["hosts"]),
            groups={role: tuple(names) for role, names in kept["groups"].items()},
            vips=tuple(Vip(**vip) for vip in kept["vips"]),
            objectives=kept["objectives"],
            domains=tuple(kept["domains"]),
            environment=kept["environment"],
            engine=kept["engine"],
            php=kept["php"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _to_cache(cache: Path, mark: Mapping[str, Any], estate: Estate) -> None:
    """Keep it for the next command; that it cannot be kept is no reason to fail."""
    document = {"at": time.time(), "mark": mark, "estate": asdict(estate)}
    part = cache.with_suffix(f".{os.getpid()}")
    try:
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        part.replace(cache)
    except OSError:
        part.unlink(missing_ok=True)


def _version() -> str:
    from failoverctl.version import version

    return version()
