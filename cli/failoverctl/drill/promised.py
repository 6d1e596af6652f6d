"""What a scenario demands, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from failoverctl.drill.scenario import Scenario


def promised(scenario: Scenario, objectives: Mapping[str, Any], *, with_database: bool = True) -> list[str]:
    """Return everything that must come of a drill, the most important first.

    :param objectives: what the estate promises: ``rto_seconds`` and ``rpo_seconds``.
    """
    expect, promises = scenario.expect, scenario.promises
    found = ["no acknowledged write is lost, no row is unexpected, and never do two hosts take writes"]
    if not with_database:
        found = ["never do two hosts hold an address for longer than a second"]
    limit = objectives.get("rto_seconds") if promises.rto_of_estate else promises.rto_seconds
    if expect.writes == "served" and isinstance(limit, int | float):
        whose = ", the objective of the estate" if promises.rto_of_estate else ""
        found.append(f"clients are not served for {limit:g} s at most{whose}")
    if expect.writes == "stopped":
        found.append("writes stay stopped until it is healed: nobody may be promoted")
    if promises.http_after_write_seconds is not None:
        found.append(f"pages are served {promises.http_after_write_seconds:g} s after the first write at most")
    if not expect.clients_may_hang:
        found.append("no write hangs until its time-out")
    if expect.primary != "any":
        found.append(
            "another host becomes primary" if expect.primary == "moves" else "the primary is the same in the end"
        )
    if expect.terms is not None:
        least, most = expect.terms
        count = str(least) if least == most else f"{least} to {most}"
        found.append(f"{count} new term" + ("" if count == "1" else "s"))
    found += [f"before it is healed: {condition.text}" for condition in expect.holds]
    found += [f"`failoverctl status` names the problem {code}" for code in expect.problems]
    whole = "" if promises.whole_seconds is None else f", {promises.whole_seconds:g} s after the healing at most"
    held = ", ".join(condition.text for condition in scenario.steady_state)
    found.append(f"afterwards everything is as before ({held}){whole}")
    return found
