# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Render a role's templates inside an action plugin, as ``ansible.builtin.template`` does.

PRIVATE to the collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

MANAGED = "Managed by Ansible, collection hosting.failover. Local changes are overwritten."


def find_source(action: ActionBase, kind: str, name: str) -> str:
    """Return the path of a file of the role; ``kind`` is ``templates`` or ``files``.

    Raises ``AnsibleActionFail`` with the places that were searched.
    """
    try:
        return str(action._find_needle(kind, name))
    except AnsibleError as error:
        raise AnsibleActionFail(str(error)) from error


def render_template(action: ActionBase, name: str, variables: Mapping[str, Any]) -> str:
    """Return the text of a template of the role for the task's host.

    ``ansible_managed`` is defined unless the variables define it; includes and imports are found
    beside the template and in the role. Errors of the template come as Ansible raises them.
    """
    source = find_source(action, "templates", name)
    folders = [str(Path(source).parent)]
    for root in [*variables.get("ansible_search_path", []), action._loader.get_basedir()]:
        folders += [str(Path(root) / "templates"), str(root)]
    templar = action._templar.copy_with_new_env(
        searchpath=folders, available_variables={"ansible_managed": MANAGED, **variables}
    )
    text = trust_as_template(action._loader.get_text_file_contents(source))
    overrides = {"trim_blocks": True, "lstrip_blocks": True, "newline_sequence": "\n"}
    rendered = templar.template(text, escape_backslashes=False, overrides=overrides)
    return "" if rendered is None else str(rendered)
