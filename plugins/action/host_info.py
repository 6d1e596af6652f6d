# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of ``host_info``: compares the clocks and dates the facts."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.hosting.failover.plugins.module_utils import _host
from ansible_collections.hosting.failover.plugins.module_utils import _packages as pk


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible carries no types
    """Calls the module between two looks at the controller's clock."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task for one host and return the module's result."""
        super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(argument_spec=_host.ARGUMENT_SPEC)
        asked_at = time.time()
        result: dict[str, Any] = self._execute_module(
            module_name="hosting.failover.host_info", module_args=args, task_vars=task_vars or {}
        )
        answered_at = time.time()
        if result.get("failed") and args["report_failure"]:
            said = str(result.get("module_stderr") or result.get("msg") or "no output").strip()
            return {"changed": False, "failure": said.splitlines()[-1]}
        host = result.get("host")
        if isinstance(host, dict):
            clock = _host.decide_clock(asked_at, answered_at, float(host["epoch_seconds"]))
            host["clock"] = asdict(clock)
            result["ansible_facts"][pk.FACT]["gathered_at"] = answered_at
        return result
