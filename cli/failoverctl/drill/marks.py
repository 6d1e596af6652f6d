"""When the agents noticed, fenced and promoted, by their own logs.

journald stamps every message with the wall clock of its host; on the hosts of a lab that is the
clock of this machine, elsewhere it is off by as much as the two clocks differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from failoverctl.drill.phases import Mark

#: How the agent's log begins each line: level and logger.
_PREFIX = re.compile(r"^[A-Z]+ failover-agent[\w.-]*: ")

#: What the agent logs, and the phase it tells of. Most lines begin with the name of what it does.
_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("detect", re.compile(r"^(BeginElection|AcquireLeader|StepDown)\b|^election of term")),
    ("fence", re.compile(r"^Fence\w*\b|^fencing\b")),
    ("promote", re.compile(r"^Promote\b|^(leading|primary) in term")),
)


def log_command(since_epoch: float) -> list[str]:
    """Return the command that prints what the agent logged since a moment, one JSON object a line."""
    unit = ["--unit", "failover-agent.service"]
    return ["journalctl", *unit, "--output", "json", "--no-pager", "--quiet", "--since", f"@{since_epoch:.0f}"]


def parse_log(host: str, text: str, to_probe: Callable[[float], float], uncertain: float = 0.0) -> tuple[Mark, ...]:
    """Return the marks in what :func:`log_command` printed (systemd.journal-fields(7)).

    :param to_probe: turns seconds since the epoch, by the host's clock, into the prober's time.
    """
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            stamp = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError, TypeError):
            continue
        message = _PREFIX.sub("", _message(entry))
        phase = next((word for word, pattern in _WORDS if pattern.search(message)), "")
        if phase:
            found.append(Mark(phase, to_probe(stamp), host, message[:160], uncertain))
    return tuple(found)


def _message(entry: Mapping[str, object]) -> str:
    """The text of an entry; journald prints what is not UTF-8 as a list of numbers."""
    message = entry.get("MESSAGE")
    if isinstance(message, list):
        return bytes(number for number in message if isinstance(number, int) and 0 <= number < 256).decode(
            "utf-8", "replace"
        )
    return str(message or "")


def read(
    run: Callable[[str, Sequence[str]], str],
    hosts: Iterable[str],
    since_epoch: float,
    to_probe: Callable[[str, float], float],
    uncertain: Mapping[str, float],
) -> tuple[Mark, ...]:
    """Return the marks of all hosts; a host that does not answer has none.

    :param run: runs a command on a host and returns what it printed, empty when that failed.
    """
    found: list[Mark] = []
    for host in hosts:
        text = run(host, log_command(since_epoch))
        found += parse_log(host, text, lambda epoch, host=host: to_probe(host, epoch), uncertain.get(host, 0.0))  # type: ignore[misc]
    return tuple(sorted(found, key=lambda mark: mark.at))
