# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of ``config_files``.

Render everything here, ship everything in one module call.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.hosting.failover.plugins.module_utils._config_files import ARGUMENT_SPEC
from ansible_collections.hosting.failover.plugins.plugin_utils._render import (
    find_source,
    render_template,
)

IGNORED_PARTS = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


def list_tree(folder: Path) -> Iterator[Path]:
    """Yield the paths below a folder, relative to it, parents first, caches left out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if IGNORED_PARTS.isdisjoint(relative.parts):
            yield relative


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible carries no types
    """Renders the templates and hands plain contents to the module."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task for one host and return the module's result."""
        super().run(tmp, task_vars)
        variables = dict(task_vars or {})
        _validation, args = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        contents: dict[str, str] = {}
        for item in args["files"]:
            contents[item["dest"]] = base64.b64encode(self._read_item(item, variables)).decode()
            for key in ("src", "file", "content", "variables"):
                item.pop(key)
        for tree in args.pop("trees"):
            self._expand_tree(tree, args, contents)
        args["contents"] = json.dumps(contents)
        try:
            result: dict[str, Any] = self._execute_module(
                module_name="hosting.failover.config_files", module_args=args, task_vars=variables
            )
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _read_item(self, item: dict[str, Any], variables: dict[str, Any]) -> bytes:
        if item["src"] is not None:
            text = render_template(self, item["src"], {**variables, **(item["variables"] or {})})
            return text.encode("utf-8")
        if item["file"] is not None:
            return Path(find_source(self, "files", item["file"])).read_bytes()
        if item["content"] is not None:
            return str(item["content"]).encode("utf-8")
        raise AnsibleActionFail(f"{item['dest']}: give one of src, file and content")

    def _expand_tree(self, tree: dict[str, Any], args: dict[str, Any], contents: dict[str, str]) -> None:
        folder = Path(find_source(self, "files", tree["src"]))
        owner = {"owner": tree["owner"], "group": tree["group"]}
        directory = {"mode": tree["directory_mode"], "prune": "*", **owner}
        args["directories"].append({"path": tree["dest"], **directory})
        for relative in list_tree(folder):
            dest = f"{tree['dest']}/{relative}"
            if (folder / relative).is_dir():
                args["directories"].append({"path": dest, **directory})
            else:
                args["files"].append({"dest": dest, "mode": tree["mode"], **owner})
                contents[dest] = base64.b64encode((folder / relative).read_bytes()).decode()
