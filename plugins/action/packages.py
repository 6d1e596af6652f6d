# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of ``packages``: no connection when the facts of this run answer already."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.hosting.failover.plugins.module_utils import _packages as pk


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible carries no types
    """Answers from the facts, or calls the module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task for one host and return the module's result."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, args = self.validate_argument_spec(argument_spec=pk.ARGUMENT_SPEC)
        known = pk.read_fact(variables.get("ansible_facts", {}), time.time())
        if known is not None and not pk.decide_missing(args["name"], known):
            return {"changed": False, "installed": []}
        result: dict[str, Any] = self._execute_module(
            module_name="hosting.failover.packages", module_args=args, task_vars=variables
        )
        return result
