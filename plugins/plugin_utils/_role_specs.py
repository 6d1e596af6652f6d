# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The argument specifications of the collection's roles.

PRIVATE to the collection.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"


def load_role_options(roles: Path = ROLES) -> dict[str, dict[str, dict[str, Any]]]:
    """Return by role the options of all its entry points together, from meta/argument_specs.yml."""
    options: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        merged = options.setdefault(path.parents[1].name, {})
        for entry in document["argument_specs"].values():
            merged.update(entry.get("options") or {})
    return options
