"""docs/reference/scenarios.md, from what the reader of scenarios knows and from the scenarios themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from failoverctl.drill import scenario
from failoverctl.drill.promised import promised
from failoverctl.drill.world import CONDITIONS, SELECTORS

from scripts.docs.markdown import REFERENCE, DocsError, bullets, code, page, table

#: What stands in the steps of a method, apart from faults.
STEPS = {
    "fault": "break something: [its options](faults.md), `host`, `seconds` (undone after so long), `id` (healed by it)",
    "wait": "so many seconds",
    "wait_for": "a condition, `limit_seconds` at most (60); the drill fails when it does not come about",
    "command": "words of failoverctl, with `{primary}`, `{replica}`, `{old_primary}`, `{witness}` in them; it shares "
    "the lock of the drill. `expect_exit` (0; or a list), `expect_codes` (of refusals and problems), `limit_seconds` "
    "(180), `kill_at` (phase, play, task or step: kill it there with everything it started)",
    "kill_each": "words of failoverctl; run again and again, each time killed one entry of its journal later (or "
    "`every` so many), until it comes to its end. `then`: commands, of which one finishes each killed run, in turn; "
    "`before` and `after`: steps around each run; `limit_seconds` (1800)",
    "heal": "undo the fault of that id, or `all`",
    "repeat": "so often, what stands in `do`",
}

_TAKES = {
    "": "",
    "seconds": "seconds",
    "seconds?": "seconds, or nothing",
    "text": "text",
    "role": "`host` and `is`",
}


def pages() -> Mapping[Path, str]:
    """Return the page.

    :raises DocsError: when there is a kind of step that is not described here.
    """
    if set(STEPS) != set(scenario.VERBS):
        raise DocsError(f"scenarios.md: steps {', '.join(sorted(scenario.VERBS))}, described {', '.join(STEPS)}")
    found = scenario.load([], scenario.vocabulary())
    return {
        REFERENCE / "scenarios.md": page(
            "Scenarios",
            "cli/failoverctl/drill/scenario.py, world.py and scenarios/*.yml",
            "What a drill plays. [How to drill](../howto/drills.md) shows one; `failoverctl drill show` prints what a "
            "scenario will do.",
            "## Keys",
            "`title` and `method` are needed.",
            table(("key", "meaning"), ((code(key), text) for key, text in scenario.KEYS.items())),
            "## Steps",
            table(("step", "meaning"), ((code(key), text) for key, text in STEPS.items())),
            "## Hosts",
            table(("selector", "meaning"), ((code(key), text) for key, text in SELECTORS.items())),
            "Or the name of a host.",
            "## Conditions",
            table(
                ("condition", "value", "it holds when"),
                ((code(key), _TAKES[kind.takes], kind.meaning) for key, kind in CONDITIONS.items()),
            ),
            "## Commands",
            ", ".join(map(code, scenario.COMMANDS)),
            "## Shipped scenarios",
            table(
                ("scenario", "what", "up to"),
                ((f"[`{item.ident}`](#{item.ident})", item.title, item.environment) for item in found.values()),
            ),
            *(part for item in found.values() for part in _scenario(item)),
        )
    }


def _scenario(item: scenario.Scenario) -> Iterator[str]:
    yield f"## {item.ident}"
    yield item.description
    if item.risks:
        yield f"For: {', '.join(item.risks)}."
    yield bullets(promised(item, {}))
