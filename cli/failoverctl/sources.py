"""The YAML files of an inventory as text: can they be read, and on which line does a thing stand.

Ansible reads the inventory; this module only finds what Ansible passes over with a warning (a file
that is no YAML, a key given twice, a group with a misspelt key) and gives a place to what the
collection found wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from failoverctl.problems import Location, Problem, nearest

VAULT_HEADER = "$ANSIBLE_VAULT;"

_YAML_SUFFIXES = (".yml", ".yaml", ".json")
_GROUP_KEYS = ("children", "hosts", "vars")
_IGNORED = re.compile(r"(^\.|~$|\.(orig|bak|ini|cfg|retry|pyc|pyo|swp)$)")
_STEP = re.compile(r"\[['\"]?(?P<index>[^\]'\"]+)['\"]?\]|(?P<key>[^.\[\]]+)")


@dataclass(frozen=True)
class Scope:
    """What a variable belongs to: a group (`all` included) or a host."""

    kind: str
    name: str


@dataclass
class Index:
    """Where everything stands.

    ``variables`` has the location of each variable and of everything inside it, by its path such as
    ``("failover_vips", "1", "vrid")``; ``names`` that of each group and host; ``vaults`` are the
    encrypted files, and ``encrypted`` the paths of the variables that are encrypted one by one.
    """

    variables: dict[tuple[Scope, tuple[str, ...]], Location] = field(default_factory=dict)
    names: dict[Scope, Location] = field(default_factory=dict)
    vaults: list[Path] = field(default_factory=list)
    encrypted: list[tuple[str, ...]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def locate(self, variable: str, host: str, groups: Sequence[str]) -> Location | None:
        """Return where a variable is set for a host, or where the host or any of it is named.

        The longest known part of the variable's path counts: a missing key is located at the
        mapping that lacks it.

        :param variable: such as ``failover_vips[1].vrid``; it may be empty, or the name of a group.
        :param host: a host name, or empty for what is true of the whole estate.
        :param groups: the groups of the host, the one with the last word last.
        """
        scopes = [Scope("host", host)] if host else []
        scopes += [Scope("group", name) for name in reversed(groups)]
        scopes += [Scope("group", "all")]
        path = split_variable(variable)
        for length in range(len(path), 0, -1):
            for scope in scopes:
                found = self.variables.get((scope, path[:length]))
                if found:
                    return found
            if not host:
                anywhere = sorted(place for (_, known), place in self.variables.items() if known == path[:length])
                if anywhere:
                    return anywhere[0]
        for scope in (Scope("group", variable), Scope("host", variable), Scope("host", host)):
            if scope in self.names:
                return self.names[scope]
        return None


def split_variable(variable: str) -> tuple[str, ...]:
    """Return the path of ``a.b[1]['c']`` as ``("a", "b", "1", "c")``."""
    return tuple(match["index"] or match["key"] for match in _STEP.finditer(variable))


def index(inventory: Iterable[Path]) -> Index:
    """Read all YAML files of the inventory sources, with group_vars and host_vars beside them.

    Nothing is raised: what cannot be read is in ``problems`` of the result.
    """
    found = Index()
    for source in inventory:
        folder = source if source.is_dir() else source.parent
        for path in _inventory_files(source):
            _read_inventory(path, found)
        for kind, directory in (("group", "group_vars"), ("host", "host_vars")):
            for name, path in _variable_files(folder / directory):
                _read_variables(path, Scope(kind, name), found)
    return found


def watched(inventory: Iterable[Path]) -> list[Path]:
    """Return every file and folder whose change may change the inventory."""
    paths: list[Path] = []
    for source in inventory:
        folder = source if source.is_dir() else source.parent
        paths += [source, *_inventory_files(source)]
        for directory in (folder / "group_vars", folder / "host_vars"):
            if directory.is_dir():
                paths += [directory, *directory.rglob("*")]
    return sorted(set(paths))


def read_yaml(path: Path, found: Index) -> yaml.Node | None:
    """Return the root node of a YAML file; None when it is empty, encrypted or no YAML.

    What is wrong with it is added to ``found.problems``: syntax, more than one document, keys that
    are given twice.
    """
    found.files.append(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        found.problems.append(
            Problem(
                code="unreadable_file",
                message=f"cannot be read: {reason}",
                location=Location(path),
                fix="make it readable for this user.",
            )
        )
        return None
    if text.startswith(VAULT_HEADER):
        found.vaults.append(path)
        return None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        found.problems.append(
            Problem(
                code="not_yaml",
                message=f"this is not YAML: {error.problem or error.context}",
                location=Location(path, mark.line + 1 if mark else 0),
                fix="look at the indentation, colons and quotes of this line and the one above.",
            )
        )
        return None
    except yaml.YAMLError as error:
        found.problems.append(Problem(code="not_yaml", message=f"this is not YAML: {error}", location=Location(path)))
        return None
    _find_duplicates(node, path, found)
    return node


def items(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node, int]]:
    """Yield key, value and line of each key of a mapping; nothing for another node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), value, key.start_mark.line + 1


def _find_duplicates(node: yaml.Node | None, path: Path, found: Index) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _find_duplicates(item, path, found)
        return
    seen: dict[str, int] = {}
    for key, value, line in items(node):
        if key in seen and key != "<<":
            found.problems.append(
                Problem(
                    code="duplicate_key",
                    message=f"key {key!r} is given twice; the first is on line {seen[key]}",
                    location=Location(path, line),
                    fix="remove one; Ansible would silently take the last.",
                )
            )
        seen.setdefault(key, line)
        _find_duplicates(value, path, found)


def _read_inventory(path: Path, found: Index) -> None:
    if path.suffix not in _YAML_SUFFIXES:
        return  # An INI file, a script or a plugin's own format: Ansible's business alone.
    root = read_yaml(path, found)
    if any(key == "plugin" for key, _, _ in items(root)):
        return
    for name, node, line in items(root):
        _read_group(name, node, Location(path, line), found)


def _read_group(name: str, node: yaml.Node, place: Location, found: Index) -> None:
    found.names.setdefault(Scope("group", name), place)
    if _empty(node):
        return
    if not isinstance(node, yaml.MappingNode):
        found.problems.append(_not_a_mapping(f"group {name!r}", node, place))
        return
    for key, value, line in items(node):
        here = Location(place.path, line)
        if key not in _GROUP_KEYS:
            found.problems.append(
                Problem(
                    code="unknown_key",
                    message=f"unknown key {key!r} in group {name!r}",
                    location=here,
                    fix=nearest(key, _GROUP_KEYS),
                )
            )
            continue
        if _empty(value):
            continue
        if not isinstance(value, yaml.MappingNode):
            found.problems.append(_not_a_mapping(f"{key!r} of group {name!r}", value, here))
            continue
        for inner, content, inner_line in items(value):
            inner_place = Location(place.path, inner_line)
            if key == "children":
                _read_group(inner, content, inner_place, found)
            elif key == "hosts":
                found.names.setdefault(Scope("host", inner), inner_place)
                _index_mapping(content, Scope("host", inner), (), place.path, found)
            else:
                _index_value(inner, content, inner_line, Scope("group", name), (), place.path, found)


def _not_a_mapping(what: str, node: yaml.Node, place: Location) -> Problem:
    kind = "a list" if isinstance(node, yaml.SequenceNode) else f"{str(node.value)!r}"
    return Problem(
        code="not_a_mapping",
        message=f"{what} must be a mapping, not {kind}",
        location=place,
        fix="write each name on its own line, followed by a colon.",
    )


def _empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _read_variables(path: Path, scope: Scope, found: Index) -> None:
    root = read_yaml(path, found)
    if root is None or _empty(root):
        return
    if not isinstance(root, yaml.MappingNode):
        found.problems.append(_not_a_mapping("a file of variables", root, Location(path, 1)))
        return
    _index_mapping(root, scope, (), path, found)


def _index_mapping(node: yaml.Node, scope: Scope, above: tuple[str, ...], path: Path, found: Index) -> None:
    for key, value, line in items(node):
        _index_value(key, value, line, scope, above, path, found)


def _index_value(
    key: str,
    node: yaml.Node,
    line: int,
    scope: Scope,
    above: tuple[str, ...],
    path: Path,
    found: Index,
) -> None:
    here = (*above, key)
    found.variables.setdefault((scope, here), Location(path, line))
    if node.tag == "!vault":
        found.encrypted.append(here)
    _index_mapping(node, scope, here, path, found)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            item_line = item.start_mark.line + 1
            _index_value(str(number), item, item_line, scope, here, path, found)


def _inventory_files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        return []
    return [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file()
        and not any(_IGNORED.search(part) for part in path.relative_to(source).parts)
        and path.relative_to(source).parts[0] not in ("group_vars", "host_vars")
    ]


def _variable_files(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name of a group or host and each file with variables of it."""
    if not directory.is_dir():
        return
    for entry in sorted(directory.iterdir()):
        if _IGNORED.search(entry.name):
            continue
        if entry.is_dir():
            for path in sorted(entry.rglob("*")):
                usable = path.suffix in ("", *_YAML_SUFFIXES) and not _IGNORED.search(path.name)
                if path.is_file() and usable:
                    yield entry.name, path
        elif entry.suffix in ("", *_YAML_SUFFIXES):
            yield entry.stem if entry.suffix else entry.name, entry
