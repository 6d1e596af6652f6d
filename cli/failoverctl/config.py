"""Where `failoverctl` finds the inventory, and where each such setting came from.

The inventory is the only configuration of an estate. ``failover.yml`` only points: inventory, vault
ids, state directory. It is looked for in the working directory and upward. A flag wins over
``FAILOVERCTL_*``, that over ``failover.yml``, that over the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import yaml

from failoverctl import sources
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.paths import state_directory
from failoverctl.problems import ConfigurationError, Location, Problem, nearest

FILE_NAME = "failover.yml"

T = TypeVar("T")


@dataclass(frozen=True)
class Key:
    """A key of failover.yml: whether it takes several values, and what it means."""

    several: bool
    meaning: str


#: All keys that failover.yml may have.
KEYS: dict[str, Key] = {
    "inventory": Key(True, "inventory file or folder, relative to this file"),
    "vault_ids": Key(True, "vault passwords as [label@]path of a file or program"),
    "state_directory": Key(False, "where runs are kept, instead of ~/.local/state/failoverctl"),
    "drills": Key(True, "folder with scenarios of your own; by default drills/ beside the inventory"),
}


@dataclass(frozen=True)
class Setting(Generic[T]):
    """A value and where it came from: a flag, a variable, a line of failover.yml, the default."""

    value: T
    source: str


@dataclass(frozen=True)
class Settings:
    """What is in force. ``root`` is the folder of failover.yml, or the working directory."""

    root: Path
    file: Path | None
    inventory: Setting[tuple[str, ...]]
    vault_ids: Setting[tuple[str, ...]]
    state_directory: Setting[Path]
    drills: Setting[tuple[Path, ...]] = Setting((), "default")

    @property
    def inventory_paths(self) -> list[Path]:
        """The inventory sources that are files or folders; ``host1,host2`` is neither."""
        return [Path(source) for source in self.inventory.value if "," not in source]


@dataclass(frozen=True)
class Flags:
    """What the command line said; empty means nothing."""

    config: str = ""
    inventory: tuple[str, ...] = ()
    vault_ids: tuple[str, ...] = ()
    state_directory: str = ""


def load(flags: Flags, *, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in force.

    :param cwd: where the search for failover.yml begins; by default the working directory.
    :param environ: by default the environment of this process.
    :raises ConfigurationError: with everything that is wrong, when anything is.
    """
    here = (cwd or Path.cwd()).absolute()
    variables = os.environ if environ is None else environ
    file = _find_file(here, flags.config or variables.get("FAILOVERCTL_CONFIG", ""))
    root = file.parent if file else here
    problems: list[Problem] = []
    pointers = _read_file(file, problems) if file else {}

    def choose(key: str, flag: str, flagged: Sequence[str]) -> tuple[list[str], str, Path]:
        """Return the values of a setting, where they came from, and what they are relative to."""
        variable = f"FAILOVERCTL_{key.upper()}"
        if flagged:
            return list(flagged), flag, here
        if variables.get(variable):
            return variables[variable].split(os.pathsep), variable, here
        if key in pointers:
            values, place = pointers[key]
            return values, place.relative_to(here), root
        return [], "default", root

    inventory, inventory_from, base = choose("inventory", "--inventory", flags.inventory)
    sources_found = tuple(
        item if "," in item else str(_absolute(item, base)) for item in inventory or [_default_inventory(root)]
    )
    vaults, vaults_from, base = choose("vault_ids", "--vault-id", flags.vault_ids)
    vault_ids = tuple(_vault_id(item, base) for item in vaults)
    state, state_from, state_base = choose(
        "state_directory", "--state-directory", [flags.state_directory] * bool(flags.state_directory)
    )
    folders, folders_from, base = choose("drills", "", [])
    drills = tuple(_absolute(item, base) for item in folders) or _beside(sources_found)
    settings = Settings(
        root=root,
        file=file,
        inventory=Setting(sources_found, inventory_from),
        vault_ids=Setting(vault_ids, vaults_from),
        state_directory=Setting(_absolute(state[0], state_base) if state else state_directory(), state_from),
        drills=Setting(drills, folders_from),
    )
    problems += _missing_files(settings, pointers)
    if problems:
        raise ConfigurationError(problems, here)
    return settings


def require_inventory(settings: Settings) -> None:
    """Say that there is no inventory, when the default one is not there.

    :raises FailoverctlError: naming every way to give one.
    """
    if settings.inventory.source != "default":
        return
    if not all(path.exists() for path in settings.inventory_paths):
        raise FailoverctlError(
            f"there is no inventory: no {FILE_NAME} in {settings.root} or above, and no folder inventory/.",
            why="the inventory is the only configuration of an estate.",
            fix="`failoverctl init` writes one; or name one with -i PATH.",
            docs="docs/howto/setup.md",
            exit_code=ExitCode.USAGE,
        )


Pointers = dict[str, tuple[list[str], Location]]


def _find_file(here: Path, named: str) -> Path | None:
    if named:
        path = _absolute(named, here)
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise FailoverctlError(
                f"the configuration file does not exist: {path}.",
                fix=f"name an existing {FILE_NAME}, or leave out --config.",
                exit_code=ExitCode.USAGE,
            )
        return path
    candidates = (folder / FILE_NAME for folder in (here, *here.parents))
    return next((path for path in candidates if path.is_file()), None)


def _read_file(file: Path, problems: list[Problem]) -> Pointers:
    """Return what failover.yml points at, and add what is wrong with it to `problems`."""
    found = sources.Index()
    root = sources.read_yaml(file, found)
    problems += found.problems
    if root is None or root.tag == "tag:yaml.org,2002:null":
        return {}
    if not isinstance(root, yaml.MappingNode):
        problems.append(
            Problem(
                code="not_a_mapping",
                message=f"{FILE_NAME} must hold keys and values",
                location=Location(file, 1),
                fix=nearest("", KEYS),
            )
        )
        return {}
    pointers: Pointers = {}
    for key, node, line in sources.items(root):
        place = Location(file, line)
        if key not in KEYS:
            problems.append(
                Problem(
                    code="unknown_key",
                    message=f"unknown key {key!r}",
                    location=place,
                    fix=nearest(key, KEYS),
                )
            )
            continue
        values = _texts(node)
        if values and (KEYS[key].several or len(values) == 1):
            pointers[key] = (values, place)
        else:
            expected = "a path or a list of paths" if KEYS[key].several else "a path"
            problems.append(Problem(code="wrong_value", message=f"{key} must be {expected}", location=place))
    return pointers


def _texts(node: yaml.Node) -> list[str]:
    """Return the texts of a scalar or of a list of scalars; none when it is something else."""
    if isinstance(node, yaml.ScalarNode) and str(node.value).strip():
        return [str(node.value)]
    if isinstance(node, yaml.SequenceNode):
        inner = [_texts(item) for item in node.value]
        return [text for texts in inner for text in texts] if all(inner) else []
    return []


def _missing_files(settings: Settings, pointers: Pointers) -> list[Problem]:
    """Return a problem for each named file that is not there."""
    problems = []

    def check(path: Path, what: str, key: str, source: str, usable: Callable[[Path], bool]) -> None:
        if usable(path):
            return
        place = pointers[key][1] if key in pointers and source not in _OUTSIDE else None
        named = "" if place else f" (from {source})"
        problems.append(
            Problem(
                code="missing_file",
                message=f"{what} does not exist: {path}{named}",
                location=place,
                fix="correct the path; it is relative to the file that names it.",
            )
        )

    if settings.inventory.source != "default":
        for path in settings.inventory_paths:
            source = settings.inventory.source
            check(path, "the inventory", "inventory", source, Path.exists)
    if settings.drills.source != "default":
        for path in settings.drills.value:
            check(path, "the folder of scenarios", "drills", settings.drills.source, Path.is_dir)
    for vault_id in settings.vault_ids.value:
        _, _, name = vault_id.rpartition("@")
        source = settings.vault_ids.source
        if name.startswith("prompt"):
            problems.append(
                Problem(
                    code="vault_prompt",
                    message=f"vault id {vault_id!r} asks for a password (from {source})",
                    location=pointers["vault_ids"][1] if source not in _OUTSIDE else None,
                    fix="name a file, or an executable that prints the password.",
                )
            )
        else:
            check(Path(name), "the vault password file", "vault_ids", source, Path.is_file)
    return problems


_OUTSIDE = ("--inventory", "--vault-id", "FAILOVERCTL_INVENTORY", "FAILOVERCTL_VAULT_IDS", "FAILOVERCTL_DRILLS")


def _beside(inventory: Sequence[str]) -> tuple[Path, ...]:
    """Return the folders ``drills`` that there are beside the sources of the inventory."""
    found = (Path(source).parent / "drills" for source in inventory if "," not in source)
    return tuple(dict.fromkeys(folder for folder in found if folder.is_dir()))


def _default_inventory(root: Path) -> str:
    return str(root / "inventory")


def _absolute(name: str, base: Path) -> Path:
    path = Path(name).expanduser()
    return path if path.is_absolute() else base / path


def _vault_id(item: str, base: Path) -> str:
    """Return ``label@path`` with an absolute path; the path may be a program, too."""
    label, at, name = item.rpartition("@")
    if name.startswith("prompt"):
        return item
    return f"{label}{at}{_absolute(name, base)}"
