"""Run folders: making, finding, judging whether they died, and learning from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from failoverctl import runs
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.runs import Figures, RunFolder

BEGIN = datetime(2026, 11, 23, 5, 0, 0, tzinfo=UTC)


def make(
    directory: Path,
    runbook: str = "switchover",
    minutes: int = 0,
    result: Mapping[str, Any] | None = None,
    **request: Any,
) -> RunFolder:
    now = BEGIN + timedelta(minutes=minutes)
    run = runs.create(directory, runbook, {"estate": "shop", **request}, now=now)
    if result is not None:
        runs.write_json(run.path / "result.json", result)
    return run


def measured(paused: float, lost: int = 0, acknowledged: int = 100, http: float | None = None) -> dict[str, Any]:
    return {
        "verdict": "pass",
        "seconds": 10 + paused,
        "probe": {
            "writes": {"paused_seconds": paused, "lost": lost, "acknowledged": acknowledged},
            "http": None if http is None else {"outage_seconds": http},
        },
    }


def test_a_new_run_has_its_folder_to_itself(tmp_path: Path) -> None:
    run = make(tmp_path / "state/runs", parameters={"switchover_to": "www2"})
    assert run.run_id.startswith("20261123T050000Z-switchover-")
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert (run.path / "request.json").stat().st_mode & 0o777 == 0o600
    assert (run.runbook, run.started_at) == ("switchover", BEGIN)
    request = run.request()
    assert request["run_id"] == run.run_id
    assert request["parameters"] == {"switchover_to": "www2"}
    assert request["process"]["pid"] == os.getpid()


def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailoverctlError, match="cannot be written") as caught:
        make(tmp_path / "file/runs")
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_run_is_running_while_its_process_lives_and_died_after(tmp_path: Path) -> None:
    assert make(tmp_path).verdict() == "running"
    code = (
        "import sys; from pathlib import Path; from failoverctl import runs\n"
        "print(runs.create(Path(sys.argv[1]), 'setup', {'estate': 'shop'}).path)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(runs.__file__).parents[1])}
    finished = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert RunFolder(Path(finished.stdout.strip())).verdict() == "died"


@pytest.mark.parametrize("change", [{"boot_id": "another"}, {"started_ticks": 1}, {"pid": 2**22 + 1}])
def test_a_process_id_that_was_used_again_is_another_process(tmp_path: Path, change: dict[str, Any]) -> None:
    run = make(tmp_path)
    request = dict(run.request())
    request["process"] = {**request["process"], **change}
    runs.write_json(run.path / "request.json", request)
    assert run.verdict() == "died"


def test_torn_files_are_empty(tmp_path: Path) -> None:
    run = make(tmp_path)
    (run.path / "result.json").write_text('{"verdict": ')
    assert run.result() == {}
    (run.path / "request.json").write_text("[]")
    assert run.verdict() == "died"
    assert run.state().run_id == ""


def test_listing_and_finding(tmp_path: Path) -> None:
    second = make(tmp_path, minutes=2)
    first = make(tmp_path, "setup", minutes=1)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "20261123T050000Z-setup-zzzz").mkdir()
    assert [run.run_id for run in runs.list_runs(tmp_path)] == [first.run_id, second.run_id]
    assert runs.find(tmp_path, None) == second
    assert runs.find(tmp_path, first.run_id) == first
    assert runs.find(tmp_path, second.run_id[-4:]) == second
    assert runs.find(tmp_path, "20261123T0501") == first
    with pytest.raises(FailoverctlError, match="fits 2 runs"):
        runs.find(tmp_path, "2026")
    with pytest.raises(FailoverctlError, match="there is no run 'nope'"):
        runs.find(tmp_path, "nope")
    assert runs.list_runs(tmp_path / "nowhere") == []
    with pytest.raises(FailoverctlError, match="no run yet"):
        runs.find(tmp_path / "nowhere", None)


def test_which_run_was_cut_short(tmp_path: Path) -> None:
    assert runs.unfinished(tmp_path, "shop") is None
    cut = make(tmp_path, "setup", minutes=1, result={"verdict": "interrupted"})
    make(tmp_path, "setup", minutes=2, result={"verdict": "failed"}, estate="other")
    make(tmp_path, "check", minutes=3, result={"verdict": "ok"})
    assert runs.unfinished(tmp_path, "shop") == cut
    make(tmp_path, "switchover", minutes=4, result={"verdict": "ok"})
    assert runs.unfinished(tmp_path, "shop") is None


def test_a_run_that_was_seen_to_or_only_checked_is_not_unfinished(tmp_path: Path) -> None:
    cut = make(tmp_path, "setup", minutes=1, result={"verdict": "interrupted"})
    make(tmp_path, "switchover", minutes=2, result={"verdict": "interrupted"}, check=True)
    assert runs.unfinished(tmp_path, "shop") == cut
    assert cut.closed() == {}
    cut.close("resumed", "another")
    assert (cut.closed()["how"], cut.closed()["by"], cut.verdict()) == ("resumed", "another", "interrupted")
    assert runs.unfinished(tmp_path, "shop") is None
    failed = make(tmp_path, "setup", minutes=3, result={"verdict": "failed"})
    assert runs.unfinished(tmp_path, "shop") is None
    assert runs.unfinished(tmp_path, "shop", ("failed",)) == failed


def test_what_earlier_runs_teach(tmp_path: Path) -> None:
    nothing = runs.history(tmp_path, "switchover", "shop")
    assert (nothing.duration, nothing.writes_outage, nothing.lost_writes) == (None, None, None)
    for minute, paused in enumerate([0.3, 0.1, 0.2]):
        make(tmp_path, minutes=minute, result=measured(paused, lost=minute, http=paused / 2))
    make(tmp_path, minutes=10, result={"verdict": "failed", "seconds": 99.0})
    make(tmp_path, minutes=11, result=measured(9.0), check=True)
    make(tmp_path, minutes=12, result=measured(9.0), estate="other")
    make(tmp_path, "setup", minutes=13, result={"verdict": "ok", "seconds": 200.0})
    make(tmp_path, minutes=14, result={"verdict": "ok", "seconds": 8.0, "probe": None})
    past = runs.history(tmp_path, "switchover", "shop")
    assert past.duration == Figures(4, 10.15, 10.3)
    assert past.writes_outage == Figures(3, 0.2, 0.3)
    assert past.http_outage == Figures(3, 0.1, 0.15)
    assert (past.lost_writes, past.acknowledged_writes) == (3, 300)


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    runs.write_json(path, {"a": 1})
    runs.write_json(path, {"b": "ä"})
    assert json.loads(path.read_text()) == {"b": "ä"}
    assert [item.name for item in tmp_path.iterdir()] == ["result.json"]
