# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Action ``estate_assert``: all problems of an inventory and its hosts at once, on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.hosting.failover.plugins.module_utils import _estate
from ansible_collections.hosting.failover.plugins.plugin_utils._role_specs import load_role_options

ARGUMENT_SPEC: dict[str, Any] = {
    "looks": {"type": "str"},
    "extra_variables": {"type": "list", "elements": "str", "default": []},
    "clock_limit_seconds": {"type": "float", "default": 2.0},
    "disk_min_bytes": {"type": "int", "default": 2 * 2**30},
    "memory_min_bytes": {"type": "int", "default": 512 * 2**20},
}


def read_variables(variables: Mapping[str, Any], roles: _estate.Roles) -> dict[str, Any]:
    """Return those variables of a host that matter, evaluated; one that cannot be is ``Broken``."""
    found: dict[str, Any] = {}
    for name in variables:
        if name != "ansible_host" and not roles.is_ours(name):
            continue
        try:
            found[str(name)] = variables[name]
        except AnsibleError as error:
            found[str(name)] = _estate.Broken(str(error).splitlines()[0])
    return found


def read_look(result: Any) -> _estate.Look:
    """Return what a host's registered result of M(hosting.failover.host_info) says."""
    if not isinstance(result, Mapping):
        return _estate.Look(failure="it was not looked at")
    if result.get("unreachable"):
        said = str(result.get("msg", "no answer")).strip().removeprefix("Task failed: ")
        return _estate.Look(unreachable=said.splitlines()[-1] if said else "no answer")
    if not isinstance(result.get("host"), Mapping):
        return _estate.Look(failure=str(result.get("failure") or result.get("msg") or "no output"))
    return _estate.Look(host=result["host"])


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible carries no types
    """Collects what is known of all hosts and asks the pure checks."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task, usually with ``run_once``, and return all problems."""
        super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        variables = task_vars or {}
        hostvars, groups = variables["hostvars"], variables["groups"]
        roles = _estate.Roles(load_role_options(), frozenset(args["extra_variables"]))
        names = list(groups.get("all", ()))
        inventory = _estate.Inventory(
            groups={name: list(hosts) for name, hosts in groups.items()},
            hosts={name: read_variables(hostvars[name], roles) for name in names},
        )
        problems = _estate.check_inventory(inventory, roles)
        if args["looks"] is not None:
            looks = {name: read_look(hostvars[name].get(args["looks"])) for name in variables["ansible_play_hosts_all"]}
            limits = _estate.Limits(args["clock_limit_seconds"], args["disk_min_bytes"], args["memory_min_bytes"])
            problems += _estate.check_hosts(inventory, looks, limits)
        result: dict[str, Any] = {"changed": False, "failover_problems": [item.as_dict() for item in problems]}
        if problems:
            result.update(failed=True, msg=_estate.render_problems(problems))
        return result
