"""docs/reference/index.md: what there is to look up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from failoverctl.commands.root import cli

from scripts.docs.command_line import commands
from scripts.docs.markdown import REFERENCE, ansible, code, page, table
from scripts.docs.playbooks import playbook_paths
from scripts.docs.plugins import plugin_paths
from scripts.docs.roles import role_paths, specification


def pages() -> Mapping[Path, str]:
    """Return the page."""
    names = [path for path, _, _ in commands(cli, click.Context(cli, info_name="failoverctl"))]
    listed = ", ".join(f"[{name.removeprefix('failoverctl ')}](cli.md#{name.replace(' ', '-')})" for name in names)
    roles = (
        (f"[{role.name}](roles/{role.name}.md)", ansible(specification(role)["main"]["short_description"]))
        for role in role_paths()
    )
    return {
        REFERENCE / "index.md": page(
            "Reference",
            "the code",
            "All but what was measured is generated from the code, and `make test` fails when it is not up to date.",
            table(
                ("page", "what is in it"),
                [
                    ("[Command line](cli.md)", f"exit status, common options, `failover.yml`, and {listed}"),
                    ("[Inventory](inventory.md)", "groups, variables, profiles, ports, and what `check` judges"),
                    ("[Playbooks](playbooks.md)", ", ".join(code(path.stem) for path in playbook_paths())),
                    ("[Modules](modules.md)", _names("modules")),
                    ("[Filters](filters.md)", _names("filter")),
                    ("[Agent](agent.md)", "commands, HTTP, status, configuration, metrics, keys in etcd, refusals"),
                    ("[Scenarios](scenarios.md)", "keys, steps and conditions of drills, and those that are shipped"),
                    ("[Faults](faults.md)", "what a drill can do to hosts, and how it is undone"),
                    ("[Files and JSON](formats.md)", "run folder, journal, result, probe, what `--json` prints"),
                    *([("[Drills, measured](drills.md)", "what came of every scenario")] if _measured() else []),
                    ("[Benchmarks](benchmarks.md)", "what was measured, on which machine"),
                ],
            ),
            "## Roles",
            table(("role", "what it does"), roles),
        )
    }


def _measured() -> bool:
    """Whether the results of a drill matrix are part of the documentation."""
    return (REFERENCE / "drills.md").exists()


def _names(kind: str) -> str:
    return ", ".join(code(path.stem) for path in plugin_paths(kind))
