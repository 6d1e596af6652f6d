"""Prints an inventory as JSON, with its variables templated; run as a process of its own.

`ansible-inventory --list` does not template what it prints, and connection variables are templates
often enough. So this asks ansible-core itself, in a separate process: importing it takes half a
second, binds its configuration to the working directory, and it talks to the terminal as it likes.

Usage: ``python -m failoverctl.inventory_export REQUEST`` where REQUEST is a JSON object with
``inventory``; ``vault_ids``; ``variables``, a list of regular expressions that the name of a
variable must match as a whole; ``vaults``, encrypted files to try the passwords on. stdout gets one
JSON object: ``hosts`` (name: groups, vars), ``groups`` (name: depth, hosts), ``errors`` (kind,
message, file, host, variable).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def export(
    inventory: Sequence[str],
    vault_ids: Sequence[str],
    variables: Sequence[str],
    vaults: Sequence[str],
) -> dict[str, Any]:
    """Return what the module's description says; errors of Ansible are in ``errors``."""
    from ansible import constants
    from ansible.cli import CLI
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.template import Templar
    from ansible.vars.manager import VariableManager

    init_plugin_loader()
    loader = DataLoader()
    document: dict[str, Any] = {"schema": 1, "hosts": {}, "groups": {}, "errors": []}
    wanted = [re.compile(pattern) for pattern in variables]

    def complain(error: BaseException, *, file: str = "", host: str = "", variable: str = "") -> None:
        text = " ".join(str(error).split())
        kind = "vault" if re.search("decrypt|vault", text, re.IGNORECASE) else "ansible"
        entry = {"kind": kind, "message": text, "file": file, "host": host, "variable": variable}
        if entry not in document["errors"]:
            document["errors"].append(entry)

    try:
        secrets = CLI.setup_vault_secrets(
            loader,
            vault_ids=[*constants.DEFAULT_VAULT_IDENTITY_LIST, *vault_ids],
            auto_prompt=False,
        )
        loader.set_vault_secrets(secrets)
        manager = InventoryManager(loader=loader, sources=list(inventory))
        variable_manager = VariableManager(loader=loader, inventory=manager)
    except AnsibleError as error:
        complain(error)
        return document

    for vault in vaults:
        try:
            loader.load_from_file(vault)
        except AnsibleError as error:
            complain(error, file=vault)
    for name, group in manager.groups.items():
        document["groups"][name] = {
            "depth": group.depth,
            "hosts": [host.name for host in group.get_hosts()],
        }
    for host in manager.get_hosts():
        groups = sorted(host.get_groups(), key=lambda item: (item.depth, item.priority, item.name))
        entry: dict[str, Any] = {"groups": [group.name for group in groups], "vars": {}}
        document["hosts"][host.name] = entry
        try:
            values = variable_manager.get_vars(host=host, include_hostvars=True)
        except AnsibleError as error:
            complain(error)
            continue
        templar = Templar(loader=loader, variables=values)
        for variable in sorted(values):
            if any(pattern.fullmatch(variable) for pattern in wanted):
                try:
                    entry["vars"][variable] = plain(templar.template(values[variable]))
                except AnsibleError as error:
                    complain(error, host=host.name, variable=variable)
    return document


def plain(value: Any) -> Any:
    """Return a value of Ansible as plain JSON types; encrypted strings are decrypted by it.

    :raises AnsibleError: when a string cannot be decrypted.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


def main() -> None:
    """Answer the request of the command line; what Ansible prints goes to stderr."""
    request = json.loads(sys.argv[1])
    answer = sys.stdout
    sys.stdout = sys.stderr
    document = export(**request)
    json.dump(document, answer)
    answer.flush()


if __name__ == "__main__":
    main()
