# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which Debian packages are there and which are missing.

PRIVATE to the collection.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "list", "elements": "str", "required": True},
    "start_services": {"type": "bool", "default": True},
    "lists_valid_seconds": {"type": "int", "default": 3600},
    "lock_timeout_seconds": {"type": "int", "default": 120},
}
FACT = "failover_packages"
FACT_VALID_SECONDS = 900
"""How long the list of packages that ``host_info`` left in the facts is believed.

Long enough for one run, short enough that a fact cache cannot hide a package removed since.
"""

QUERY = ("dpkg-query", "--show", "--showformat=${binary:Package} ${db:Status-Status}\n")

POLICY_MARK = "# Made by hosting.failover.packages"
POLICY_SCRIPT = f"""#!/bin/sh
{POLICY_MARK}: no service starts while the package installation with this process id runs.
kill -0 %d 2>/dev/null && exit 101
exit 0
"""
"""Body of /usr/sbin/policy-rc.d (Debian Policy 9.3.3.1). 101: the action is forbidden.

It looks at the installing process, so that one left behind by a crash forbids nothing.
"""


def parse_installed(text: str) -> frozenset[str]:
    """Return the names of installed packages from the output of ``QUERY``, without architecture."""
    return frozenset(
        name.partition(":")[0]
        for name, _space, status in (line.partition(" ") for line in text.splitlines())
        if status == "installed"
    )


def decide_missing(wanted: Iterable[str], installed: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted packages that are not installed, in their given order, each once."""
    present = set(installed)
    return tuple(dict.fromkeys(name for name in wanted if name not in present))


def make_fact(installed: Iterable[str], now: float | None = None) -> dict[str, Any]:
    """Return the fact that spares later tasks the question; ``now`` is seconds since the epoch."""
    return {"gathered_at": time.time() if now is None else now, "names": sorted(installed)}


def read_fact(facts: Mapping[str, Any], now: float) -> frozenset[str] | None:
    """Return the packages from the fact, or None if there is no fact, or one that is too old.

    ``now`` is the controller's time in seconds since the epoch; the fact carries it too.
    """
    fact = facts.get(FACT)
    if not isinstance(fact, Mapping):
        return None
    age = now - float(fact.get("gathered_at", 0.0))
    if not 0 <= age <= FACT_VALID_SECONDS:
        return None
    return frozenset(str(name) for name in fact.get("names", ()))
