"""The drill matrix: its results file, its table, its page and its exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from failoverctl.drill import scenario
from failoverctl.drill.history import DrillRun

from bench import drills
from bench.beds import BenchError
from bench.drills import Matrix, as_document, exit_code, gone_on, missing, not_passed, page, parse, rows

RUN = DrillRun("r1", "power", "", "2026-11-23T05:00:00Z", "pass", "", 6.4, 6.5, 6.6, 0, 300, 9.8, {"promote": 5.7})
MATRIX = Matrix(
    machine={"cpus": 2, "cpu_model": "X", "memory_bytes": 2**34, "kernel": "6.18", "os": "Debian", "python": "3.11"},
    commit="abc1234",
    started_at="2026-11-23T05:00:00Z",
    finished_at="2026-11-23T06:00:00Z",
    load=(0.5, 1.5),
    layout="drill",
    versions={"mariadb-server": "1:11.8"},
    runs=(
        RUN,
        replace(RUN, run_id="r2", paused_seconds=7.5),
        replace(RUN, run_id="r3", scenario="switch", paused_seconds=0.2),
    ),
)


def test_what_is_written_is_read() -> None:
    document = json.loads(json.dumps(as_document(MATRIX)))
    assert parse(document) == MATRIX
    assert [item["scenario"] for item in document["summaries"]] == ["power", "switch"]


@pytest.mark.parametrize("document", [{}, {"schema": 2}, {"schema": 1}, {**as_document(MATRIX), "runs": [{}]}])
def test_what_is_no_results_file_is_told(document: dict[str, Any]) -> None:
    with pytest.raises(BenchError):
        parse(document)


def test_one_row_a_scenario_and_the_sum() -> None:
    found = rows(replace(MATRIX, others={"switch": {"refused": 2}}))
    assert found[0] == ("power", "2", "2", "0", "0", "0", "7.0 s", "7.5 s", "6.6 s", "0", "9.8 s")
    assert found[1][:6] == ("switch", "3", "1", "0", "0", "2")
    assert found[2][:6] == ("all", "5", "3", "0", "0", "2")


@pytest.mark.parametrize(
    ("verdicts", "others", "code"),
    [
        (["pass"], {}, 0),
        (["pass", "unknown"], {}, 5),
        (["unknown", "fail"], {}, 1),
        (["pass"], {"power": {"refused": 1}}, 5),
        ([], {}, 5),
    ],
)
def test_unknown_is_no_pass(verdicts: list[str], others: dict[str, dict[str, int]], code: int) -> None:
    runs = tuple(replace(RUN, verdict=verdict) for verdict in verdicts)
    assert exit_code(replace(MATRIX, runs=runs, others=others)) == code


def test_the_page_says_what_was_proved_and_what_not() -> None:
    text = page(MATRIX)
    assert "| power | 2 | 2 |" in text
    assert "No acknowledged write was lost in 3 runs: with 95 % confidence fewer than 100.0% of runs lose any" in text
    assert "Not passed" not in text
    bad = replace(
        MATRIX, runs=(*MATRIX.runs, replace(RUN, verdict="fail", reason="2 acknowledged writes are lost", lost=2))
    )
    assert "- power: fail: 2 acknowledged writes are lost" in page(bad)
    assert "No acknowledged write was lost" not in page(bad)
    both = page(bad, replace(MATRIX, runs=(replace(RUN, scenario="wire"),), layout="drill over ssh"))
    assert both.index("2 acknowledged writes are lost") < both.index("## Over ssh") < both.index("| wire | 1 |")
    assert "No acknowledged write was lost in 1 runs" in both
    assert not_passed(replace(MATRIX, others={"power": {"refused": 1}})) == ["power: 1 refused"]


def test_an_unknown_scenario_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        drills.main(["powr"])
    assert ended.value.code == 2


def test_going_on_plays_what_is_missing() -> None:
    assert missing({"power": 3, "switch": 1, "new": 2}, MATRIX) == {"power": 1, "new": 2}
    assert missing({"power": 3}, None) == {"power": 3}


def test_what_needs_a_lab_is_not_played_over_ssh() -> None:
    known = scenario.load([], scenario.vocabulary())
    assert drills.playable(known, over_ssh=False) == list(known)
    left_out = set(known) - set(drills.playable(known, over_ssh=True))
    assert {"primary_power_loss", "host_frozen"} <= left_out
    assert "primary_isolated" not in left_out


def test_going_on_keeps_what_was_measured_of_the_same_things() -> None:
    here = replace(MATRIX, runs=(), started_at="2026-11-24T05:00:00Z")
    assert gone_on(None, here) == here
    assert gone_on(MATRIX, here) == MATRIX
    later = gone_on(MATRIX, replace(here, commit="def5678"))
    assert (later.commit, later.runs) == ("abc1234, def5678", MATRIX.runs)
    assert gone_on(later, here).commit == "abc1234, def5678"
    with pytest.raises(BenchError, match="--go-on or --more: versions in the results file"):
        gone_on(MATRIX, replace(here, versions={"mariadb-server": "1:11.9"}))


def test_the_page_says_when_it_was_measured() -> None:
    assert "Measured 2026-11-23, commit abc1234" in page(MATRIX)
    assert "Measured 2026-11-23 to 2026-12-01," in page(replace(MATRIX, finished_at="2026-12-01T07:00:00Z"))


def test_a_few_pages_of_memory_make_no_other_machine() -> None:
    machine = {"cpus": 2, "memory_bytes": 25276502016}
    here = replace(MATRIX, machine=machine)
    assert gone_on(here, replace(here, machine=machine | {"memory_bytes": 25276510208})) == here
    for other in (machine | {"memory_bytes": 2 * 25276502016}, machine | {"cpus": 4}):
        with pytest.raises(BenchError, match="--go-on or --more: machine in the results file"):
            gone_on(here, replace(here, machine=other))
