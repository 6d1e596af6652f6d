"""Settings: where they come from, and everything that can be wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from failoverctl.config import KEYS, Flags, Settings, load, require_inventory
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.problems import ConfigurationError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text("all: {}\n")
    (tmp_path / "pw").write_text("x")
    (tmp_path / "failover.yml").write_text(
        "# pointers\ninventory: inventory/hosts.yml\nvault_ids: [prod@pw]\nstate_directory: state\n"
    )
    (tmp_path / "deep/er").mkdir(parents=True)
    return tmp_path


def settings(cwd: Path, flags: Flags = Flags(), **environ: str) -> Settings:  # noqa: B008
    return load(flags, cwd=cwd, environ=environ)


def test_found_upward_and_relative_to_the_file(project: Path) -> None:
    found = settings(project / "deep/er")
    assert found.root == project
    assert found.inventory.value == (str(project / "inventory/hosts.yml"),)
    assert found.vault_ids.value == (f"prod@{project}/pw",)
    assert found.state_directory.value == project / "state"
    assert found.inventory.source == f"{project}/failover.yml:2"
    assert settings(project).vault_ids.source == "failover.yml:3"


def test_environment_wins_over_file_and_flag_over_environment(project: Path) -> None:
    for name in ("env.yml", "flag.yml"):
        (project / "deep" / name).write_text("all: {}\n")
    found = settings(project / "deep", FAILOVERCTL_INVENTORY="env.yml", FAILOVERCTL_STATE_DIRECTORY="s")
    assert (found.inventory.value, found.inventory.source) == ((f"{project}/deep/env.yml",), "FAILOVERCTL_INVENTORY")
    assert found.state_directory.value == project / "deep/s"
    flags = Flags(inventory=("flag.yml",))
    found = settings(project / "deep", flags, FAILOVERCTL_INVENTORY="env.yml")
    assert (found.inventory.value, found.inventory.source) == ((f"{project}/deep/flag.yml",), "--inventory")


def test_several_inventories_in_the_environment(project: Path) -> None:
    (project / "more.yml").write_text("all: {}\n")
    found = settings(project, FAILOVERCTL_INVENTORY=f"inventory/hosts.yml{os.pathsep}more.yml")
    assert len(found.inventory.value) == 2


def test_a_list_of_hosts_is_an_inventory_too(project: Path) -> None:
    found = settings(project, Flags(inventory=("a,b",)))
    assert found.inventory.value == ("a,b",)
    assert found.inventory_paths == []


def test_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.file is None
    assert found.inventory.value == (f"{tmp_path}/inventory",)
    assert {found.inventory.source, found.vault_ids.source, found.state_directory.source} == {"default"}
    with pytest.raises(FailoverctlError, match="there is no inventory") as caught:
        require_inventory(found)
    assert caught.value.exit_code is ExitCode.USAGE
    (tmp_path / "inventory").mkdir()
    require_inventory(found)


def test_all_problems_at_once_with_file_line_and_nearest_key(project: Path) -> None:
    (project / "failover.yml").write_text(
        "inventroy: x\ninventory: nope.yml\nvault_ids:\n  - a: b\nstate_directory: [a, b]\ncolour: red\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        settings(project)
    assert caught.value.render() == (
        "Error: 5 problems in the configuration.\n"
        "  failover.yml:1: unknown key 'inventroy'\n"
        "    Fix: did you mean 'inventory'?\n"
        f"  failover.yml:2: the inventory does not exist: {project}/nope.yml\n"
        "    Fix: correct the path; it is relative to the file that names it.\n"
        "  failover.yml:3: vault_ids must be a path or a list of paths\n"
        "  failover.yml:5: state_directory must be a path\n"
        "  failover.yml:6: unknown key 'colour'\n"
        "    Fix: valid keys: drills, inventory, state_directory, vault_ids\n"
        "  Docs: docs/howto/setup.md  (exit 2)"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inventory: [\n", "not YAML"),
        ("- a\n", "must hold keys and values"),
        ("inventory: a\ninventory: b\n", "given twice"),
        ("vault_ids: nopw\n", "the vault password file does not exist"),
        ("vault_ids: x@prompt\n", "asks for a password"),
    ],
)
def test_one_problem(project: Path, text: str, message: str) -> None:
    (project / "failover.yml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        settings(project)


def test_an_empty_file_says_nothing(project: Path) -> None:
    (project / "failover.yml").write_text("# nothing\n")
    assert settings(project).inventory.source == "default"


def test_a_flag_that_names_nothing_says_so(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nope\.yml \(from --inventory\)"):
        settings(project, Flags(inventory=("nope.yml",)))
    with pytest.raises(FailoverctlError, match="configuration file does not exist"):
        settings(project, Flags(config="nope.yml"))
    with pytest.raises(ConfigurationError, match="asks for a password"):
        settings(project, Flags(vault_ids=("prompt",)))


def test_config_may_be_a_folder(project: Path) -> None:
    assert settings(Path("/"), Flags(config=str(project))).root == project


def test_every_key_is_explained() -> None:
    assert all(key.meaning for key in KEYS.values())
