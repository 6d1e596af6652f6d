# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The roles' argument specifications, read from where the collection is."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.hosting.failover.plugins.module_utils import _estate
from ansible_collections.hosting.failover.plugins.plugin_utils._role_specs import ROLES, load_role_options


def test_every_role_is_read_and_keeps_to_its_prefix() -> None:
    options = load_role_options()
    assert set(options) == {path.name for path in ROLES.iterdir() if (path / "meta").is_dir()}
    for role, names in options.items():
        assert all(name.startswith(f"{role}_") for name in names), role


def test_entry_points_are_merged(tmp_path: Path) -> None:
    meta = tmp_path / "x" / "meta"
    meta.mkdir(parents=True)
    (meta / "argument_specs.yml").write_text(
        "argument_specs: {main: {options: {x_a: {type: int}}}, verify: {options: {x_b: {type: str}}}, status: {}}"
    )
    assert load_role_options(tmp_path) == {"x": {"x_a": {"type": "int"}, "x_b": {"type": "str"}}}


def test_the_roles_that_are_checked_for_missing_variables_exist() -> None:
    assert set(_estate.ROLE_KINDS) <= set(load_role_options())
