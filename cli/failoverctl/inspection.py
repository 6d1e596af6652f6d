"""What can be said of a configuration without asking a host: all problems at once, with places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from failoverctl import estate as estates
from failoverctl import sources
from failoverctl.config import Settings, require_inventory
from failoverctl.estate import Estate
from failoverctl.problems import ConfigurationError, Location, Problem


@dataclass(frozen=True)
class Inspection:
    """An inventory that Ansible can read, where everything in it stands, and what is odd in it."""

    estate: Estate
    index: sources.Index
    problems: tuple[Problem, ...]

    def locate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a problem that the collection reported, with file and line where they are known."""
        problem = Problem.of(values)
        host = self.estate.host(problem.host)
        place = self.index.locate(problem.variable, problem.host, host.groups if host else ())
        return problem.at(place).as_dict()


def inspect(settings: Settings) -> Inspection:
    """Read the inventory in force as far as it can be read.

    :raises ConfigurationError: when Ansible cannot read it at all: no YAML, a wrong vault password.
    :raises FailoverctlError: when there is no inventory.
    """
    require_inventory(settings)
    found = sources.index(settings.inventory_paths)
    hidden = [*_inline_vaults(found)]
    document = estates.export(settings, [*estates.VARIABLES, *hidden], vaults=found.vaults)
    unreadable = estates.export_problems(document, settings, found)
    if unreadable or any(problem.code == "not_yaml" for problem in found.problems):
        raise ConfigurationError([*found.problems, *unreadable], Path.cwd())
    if not document["hosts"]:
        places = [Location(path) for path in settings.inventory_paths]
        empty = Problem(
            code="no_hosts",
            message="the inventory has no hosts",
            location=places[0] if places else None,
            fix="`failoverctl init` shows what it should look like.",
        )
        raise ConfigurationError([*found.problems, empty], Path.cwd())
    return Inspection(estates.build(document), found, tuple(found.problems))


def problem_of(values: Mapping[str, Any]) -> Problem:
    """Return a problem as result.json has it, its place included."""
    place = values.get("file")
    location = Location(Path(str(place)), int(values.get("line") or 0)) if place else None
    return Problem.of(values).at(location)


def _inline_vaults(found: sources.Index) -> list[str]:
    """Return the names of variables that are encrypted one by one, to see whether they open."""
    return sorted({path[0] for path in found.encrypted})
