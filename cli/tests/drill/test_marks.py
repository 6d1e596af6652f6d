"""What the agents logged, in the prober's time."""

from __future__ import annotations

import json
from collections.abc import Sequence

from failoverctl.drill.marks import log_command, parse_log, read


def line(message: object, epoch: float) -> str:
    """One line of `journalctl --output json`."""
    return json.dumps({"MESSAGE": message, "__REALTIME_TIMESTAMP": str(int(epoch * 1e6)), "_PID": "1"})


def test_phases_are_known_by_their_words() -> None:
    text = "\n".join(
        [
            line("INFO failover-agent: failover-agent 0.1.0 of estate shop on www2", 1000.0),
            line("INFO failover-agent: BeginElection: nobody leads in term 3", 1012.5),
            line(list(b"CRITICAL failover-agent: Fence: the lease is over"), 1013.0),
            line("INFO failover-agent: leading in term 4", 1014.25),
            "not json",
            "{}",
        ]
    )
    found = parse_log("www2", text, lambda epoch: epoch - 1000.0, 0.01)
    assert [(mark.phase, mark.at, mark.host, mark.uncertain) for mark in found] == [
        ("detect", 12.5, "www2", 0.01),
        ("fence", 13.0, "www2", 0.01),
        ("promote", 14.25, "www2", 0.01),
    ]


def test_each_host_has_its_own_clock_and_silent_ones_have_no_marks() -> None:
    def run(host: str, argv: Sequence[str]) -> str:
        assert argv == log_command(995.0)
        return "" if host == "www1" else line("Hold: somebody leads in term 4", 1010.0)

    def to_probe(host: str, epoch: float) -> float:
        return epoch - 1000.0 - (0.5 if host == "www2" else 0.0)

    assert read(run, ["www1", "www2"], 995.0, to_probe, {}) == ()
    told = line("INFO failover-agent: primary in term 4, handed over by www1", 1010.0)
    (mark,) = read(lambda host, _: told if host == "www2" else "", ["www1", "www2"], 995.0, to_probe, {"www2": 0.2})
    assert (mark.phase, mark.at, mark.uncertain) == ("promote", 9.5, 0.2)
