"""What earlier runs allow to say."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from failoverctl import runs
from failoverctl.drill import history
from failoverctl.drill.history import DrillRun, spread, summaries, summarise
from hypothesis import given
from hypothesis import strategies as st


def document(
    run: str, verdict: str = "pass", scenario: str = "power", paused: float = 4.0, lost: int | None = 0
) -> dict[str, Any]:
    """The result.json of a drill, as far as the history reads it."""
    return {
        "run_id": run,
        "estate": "shop",
        "started_at": "2026-11-23T05:00:00.000Z",
        "verdict": verdict,
        "probe": {
            "writes": {"paused_seconds": paused, "lost": lost, "acknowledged": 900},
            "http": {"paused_seconds": 4.2},
        },
        "drill": {
            "scenario": scenario,
            "whole_seconds": 11.0,
            "timeline": {"rto_from_inject_seconds": 4.1, "phases": [{"phase": "promote", "seconds": 3.9}]},
        },
    }


def put(folder: Path, result: dict[str, Any], runbook: str = "drill") -> runs.RunFolder:
    """Write a run folder."""
    run = runs.create(folder, runbook, {"estate": result["estate"]})
    (run.path / "result.json").write_text(json.dumps({**result, "run_id": run.run_id}))
    return run


def test_finished_drills_are_read_and_nothing_else(tmp_path: Path) -> None:
    first = put(tmp_path, document("a"))
    put(tmp_path, document("b", "refused"))
    put(tmp_path, {**document("c"), "estate": "other"})
    put(tmp_path, document("d", scenario="switch"))
    put(tmp_path, {**document("e"), "drill": None}, "switchover")
    runs.create(tmp_path, "drill", {"estate": "shop"})
    found = history.read(tmp_path, estate="shop")
    assert sorted(run.scenario for run in found) == ["power", "switch"]
    assert [run.run_id for run in history.read(tmp_path, estate="shop", scenario="power")] == [first.run_id]
    assert history.read(tmp_path, before=history.read(tmp_path)[0].run_id) == []
    run = history.read(tmp_path, scenario="power", estate="shop")[0]
    assert (run.paused_seconds, run.rto_from_inject, run.http_seconds, run.lost) == (4.0, 4.1, 4.2, 0)
    assert run.phases == {"promote": 3.9}


def test_runs_of_one_scenario_together() -> None:
    listed = [history.of_result(document(str(number), paused=float(number))) for number in range(1, 21)]
    listed += [history.of_result(document("x", "fail", lost=2)), history.of_result(document("y", "unknown", lost=None))]
    found = summarise("power", listed)
    assert (found.runs, found.passed, found.failed, found.unknown) == (22, 20, 1, 1)
    assert found.paused is not None
    assert (found.paused.median, found.paused.p95, found.paused.worst, found.paused.n) == (9.5, 19.0, 20.0, 22)
    assert (found.lost, found.losing_runs, found.measured_runs, found.loss_bound) == (2, 1, 21, None)
    assert [item.scenario for item in summaries(listed)] == ["power"]


def test_three_over_n() -> None:
    listed = [history.of_result(document(str(number))) for number in range(20)]
    assert summarise("power", listed).loss_bound == 0.15
    assert summarise("power", listed[:2]).loss_bound == 1.0
    empty = summarise("power", [])
    assert (empty.loss_bound, empty.paused, empty.last) == (None, None, None)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e4)), max_size=60))
def test_a_spread_is_in_order(values: list[float | None]) -> None:
    numbers = [value for value in values if value is not None]
    found = spread(values)
    if not numbers:
        assert found is None
        return
    assert found is not None
    assert found.n == len(numbers)
    assert min(numbers) - 1e-3 <= found.median <= found.p95 + 1e-3
    assert found.p95 <= found.worst
    assert abs(found.median - median(numbers)) < 1e-3


def test_keys_do_not_depend_on_what_happened() -> None:
    full = summarise("power", [history.of_result(document("a"))]).as_dict()
    assert summarise("power", []).as_dict().keys() == full.keys()
    assert DrillRun("a", "b", "c", "d", "pass").as_dict().keys() == history.of_result(document("a")).as_dict().keys()
