"""docs/reference/roles/*.md and the tables in the roles' READMEs, from meta/argument_specs.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from scripts.docs.markdown import REFERENCE, TOP, DocsError, ansible, code, default_of, kind_of, page, table

BEGIN = "<!-- Variables: written by `make docs` from meta/argument_specs.yml -->"
END = "<!-- End of variables -->"
_MARKED = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def role_paths() -> list[Path]:
    """Return the folders of all roles."""
    return sorted(path.parents[1] for path in (TOP / "roles").glob("*/meta/argument_specs.yml"))


def specification(role: Path) -> dict[str, dict[str, Any]]:
    """Return the entry points of a role."""
    text = (role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["argument_specs"]
    return found


def pages() -> Mapping[Path, str]:
    """Return a page for each role, and each role's README with its table.

    :raises DocsError: when a README has no place for the table.
    """
    files: dict[Path, str] = {}
    for role in role_paths():
        entries = specification(role)
        files[REFERENCE / "roles" / f"{role.name}.md"] = _page(role, entries)
        readme = role / "README.md"
        if readme.exists():
            files[readme] = _readme(readme, entries)
    return files


def option_rows(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and description of options, those inside them as ``name[].key``."""
    for name, option in options.items():
        path = f"{prefix}{name}"
        yield code(path), kind_of(name, option), default_of(name, option), ansible(option.get("description"))
        inner = option.get("options") or option.get("suboptions")
        if inner:
            yield from option_rows(inner, f"{path}[]." if option.get("type") == "list" else f"{path}.")


def _page(role: Path, entries: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [f"What it does, and why so: [roles/{role.name}](../../../roles/{role.name}/README.md)."]
    if len(entries) > 1:
        rows = ((code(name), str(entry["short_description"])) for name, entry in entries.items())
        parts.append(table(("entry point", "does"), rows))
    shown: dict[str, Mapping[str, Any]] = {}
    for name, entry in entries.items():
        parts += [f"## {name}", f"{entry['short_description']}.", ansible(entry.get("description"))]
        options = entry.get("options") or {}
        same = next((other for other, known in shown.items() if known == options), None)
        if not options:
            parts.append("Takes no variables.")
        elif same:
            parts.append(f"Takes the variables of [{same}](#{same}).")
        else:
            parts.append(table(("variable", "type", "default", "meaning"), option_rows(options)))
            shown[name] = options
    return page(f"Role `{role.name}`", f"roles/{role.name}/meta/argument_specs.yml", *parts)


def _readme(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> str:
    text = path.read_text(encoding="utf-8")
    options: dict[str, Any] = {}
    for entry in entries.values():
        options.update(entry.get("options") or {})
    if not _MARKED.search(text):
        raise DocsError(f"{path.relative_to(TOP)}: no lines '{BEGIN}' and '{END}' for the table of variables")
    rows = ((name, default, text) for name, _, default, text in option_rows(options))
    marked = f"{BEGIN}\n{table(('variable', 'default', 'meaning'), rows)}\n{END}"
    return _MARKED.sub(lambda _: marked, text)
