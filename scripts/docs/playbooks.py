"""docs/reference/playbooks.md, from the heads and plays of playbooks/*.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from failoverctl.runbooks import CATALOGUE, phases

from scripts.docs.markdown import REFERENCE, TOP, block, code, page, table


def playbook_paths() -> list[Path]:
    """Return the playbooks of the collection."""
    return sorted((TOP / "playbooks").glob("*.yml"))


def pages() -> Mapping[Path, str]:
    """Return the page."""
    return {
        REFERENCE / "playbooks.md": page(
            "Playbooks",
            "playbooks",
            "A runbook is a playbook of the collection; each play is a phase of it. `failoverctl` runs them, and "
            "plain `ansible-playbook -i inventory hosting.failover.switchover` is exactly as safe: all gates are in "
            "roles and modules. Both know check mode and `--diff`.",
            *_playbooks(),
        )
    }


def _playbooks() -> Iterator[str]:
    for path in playbook_paths():
        runbook = CATALOGUE[path.stem]
        text = path.read_text(encoding="utf-8")
        plays = yaml.safe_load(text)
        yield f"## {path.stem}"
        yield from _head(text)
        rows = (
            (phase.phase, phase.title, ", ".join(map(code, phase.hosts.split(", "))), ", ".join(_roles(play)))
            for phase, play in zip(phases(runbook), plays, strict=True)
        )
        yield table(("phase", "what", "hosts", "roles"), rows)
        used = _with_tasks(text)
        taken = [(code(name), meaning) for name, meaning in runbook.parameters.items() if name in used]
        if taken:
            yield table(("variable", "meaning"), taken)


def _with_tasks(text: str) -> str:
    """Return the text of a playbook and of the files of tasks that it includes."""
    included = {TOP / "playbooks" / name for name in re.findall(r"tasks/\w+\.yml", text)}
    return "\n".join([text, *(path.read_text(encoding="utf-8") for path in sorted(included))])


def _head(text: str) -> Iterator[str]:
    """Yield the comment before the first play: its paragraphs, and its commands as blocks."""
    lines = []
    for line in text.splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    for paragraph in re.split(r"\n\n+", "\n".join(line.rstrip() for line in lines)):
        yield block(paragraph.strip(), "") if paragraph.startswith("  ") else " ".join(paragraph.split())


def _roles(part: object) -> list[str]:
    """Return links to the roles that a play uses, in their order, each once."""
    return list(dict.fromkeys(_role_links(part)))


def _role_links(part: object) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _role_links(item)
    elif isinstance(part, dict):
        if isinstance(part.get("role"), str):
            yield _link(part["role"], "main")
        for key, value in part.items():
            if str(key).endswith((".import_role", ".include_role")):
                yield _link(value["name"], value.get("tasks_from", "main"))
            elif str(key).endswith(".include_tasks") and str(value).startswith("tasks/"):
                yield from _role_links(yaml.safe_load((TOP / "playbooks" / value).read_text(encoding="utf-8")))
            else:
                yield from _role_links(value)


def _link(role: str, entry: Any) -> str:
    name = role.rpartition(".")[2]
    words = name if entry == "main" else f"{name}: {entry}"
    return f"[{words}](roles/{name}.md#{entry})"
