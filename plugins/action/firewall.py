# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of ``firewall``: confirms new rules over a new connection."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.hosting.failover.plugins.module_utils._firewall import ARGUMENT_SPEC
from ansible_collections.hosting.failover.plugins.plugin_utils._render import render_template


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible carries no types
    """Renders the file, proposes it, and confirms it if the host can be reached anew."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task for one host and return its result."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        _validation, self._args = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        source = self._args.pop("src")
        if source is not None:
            self._args["content"] = render_template(self, source, self._variables)
        if self._args["content"] is None:
            raise AnsibleActionFail("give one of src and content")
        result = self._call()
        if result.pop("pending", False):
            self._confirm()
        return result

    def _confirm(self) -> None:
        seconds = self._args["confirm_seconds"]
        try:
            self._connection.reset()
            answer = self._call(confirm=True)
        except AnsibleConnectionFailure as error:
            raise AnsibleActionFail(
                f"With the new rules this host does not accept a connection from here: {error}. The old rules come "
                f"back within {seconds} s of loading and the file was not touched. Check base_ssh_networks and "
                "base_ssh_port."
            ) from None
        if answer.get("failed"):
            raise AnsibleActionFail(str(answer.get("msg")))

    def _call(self, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="hosting.failover.firewall", module_args={**self._args, **more}, task_vars=self._variables
        )
        return result
