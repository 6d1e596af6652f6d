"""Each role says in meta/argument_specs.yml exactly what its defaults and its task files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def specs(role: str) -> dict[str, Any]:
    return dict(read(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"])


def included(role: str) -> set[str]:
    """The task files that other task files of the role include; they are no entry points."""

    def walk(node: Any) -> set[str]:
        if isinstance(node, list):
            return {name for item in node for name in walk(item)}
        if not isinstance(node, dict):
            return set()
        found = {name for item in node.values() for name in walk(item)}
        for word in ("include_tasks", "import_tasks"):
            target = node.get(f"ansible.builtin.{word}")
            target = target.get("file") if isinstance(target, dict) else target
            if target:
                found.add(Path(str(target)).stem)
        return found

    return {
        name
        for path in (ROLES / role / "tasks").glob("*.yml")
        for name in walk(yaml.safe_load(path.read_text("utf-8")))
    }


@pytest.mark.parametrize("role", NAMES)
def test_defaults_are_those_of_the_role(role: str) -> None:
    defaults = read(ROLES / role / "defaults" / "main.yml")
    described: dict[str, Any] = {}
    for entry_point in specs(role).values():
        for name, option in entry_point.get("options", {}).items():
            if "default" in option:
                assert described.setdefault(name, option["default"]) == option["default"]
    assert described == defaults


@pytest.mark.parametrize("role", NAMES)
def test_entry_points_are_task_files(role: str) -> None:
    files = {path.stem for path in (ROLES / role / "tasks").glob("*.yml")}
    assert set(specs(role)) == files - included(role)


@pytest.mark.parametrize("role", NAMES)
def test_inputs_are_described_and_named_after_the_role(role: str) -> None:
    for entry_point in specs(role).values():
        assert entry_point["short_description"]
        for name, option in entry_point.get("options", {}).items():
            assert name.startswith((f"{role}_", "failover_")), name
            assert option["description"], name
            assert option["type"], name
    private = {name for name in read(ROLES / role / "vars" / "main.yml") if not name.startswith(f"__{role}_")}
    assert private == set()
