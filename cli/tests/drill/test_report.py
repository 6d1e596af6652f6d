"""The report of a drill: the one of every run, with phases, expectations and the runs before it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from failoverctl.report import render_html, summary_lines
from failoverctl.report.charts import runs_over_time
from failoverctl.report.drill import shape
from failoverctl.runs import RunFolder

from .story import Story, healthy, record, write
from .test_engine import SCENARIO, Stage, run, stage

__all__ = ["stage"]


def drill(stage: Stage, story: Story, number: int = 1) -> RunFolder:
    """Play a drill and leave what its prober would have recorded."""
    stage.time.now, stage.reports, stage.steady_since, stage.story = 1010.0, healthy(), 0.0, story
    described = replace(SCENARIO, description="Cuts the power of the primary without a warning.")
    _, folder = run(stage, described, number=number, of=3)
    write(folder.path / "probe", record(story))
    return folder


@pytest.fixture
def folders(stage: Stage) -> list[RunFolder]:
    """Three runs of one scenario; the second one lost something."""
    stories = [
        Story(),
        Story(lost=2, served_after=6.1, promoted_after=5.7, vip_after=5.9),
        Story(served_after=4.9, seed=3),
    ]
    return [drill(stage, story, number) for number, story in enumerate(stories, 1)]


def test_everything_of_a_drill_is_in_its_report(folders: list[RunFolder]) -> None:
    html = render_html(folders[2].path)
    for text in (
        "The primary loses its power: drill of shop",
        "What was drilled",
        "Cuts the power of the primary without a warning.",
        "another than www1",
        "From the fault to steady service",
        "First write",
        "writes paused: ",
        "The outage took at least",
        "Runs of power",
        "95 of 100 within",
        "2 acknowledged writes lost in 2 earlier runs.",
        "(this run)",
        "done to it",
        "Cut the power of www1",
    ):
        assert text in html, text
    assert render_html(folders[2].path) == html


def test_the_first_run_says_that_it_is(folders: list[RunFolder]) -> None:
    html = render_html(folders[0].path)
    assert "This is the first run of this scenario on this estate." in html
    assert "No acknowledged write was lost in 1 earlier run." in render_html(folders[1].path)
    assert "acknowledged writes are lost" in render_html(folders[1].path)


def test_what_hosts_said_of_themselves_is_drawn(folders: list[RunFolder]) -> None:
    lines = [
        {
            "host": "www1",
            "at": 1000.0 + tick / 10,
            "done": 1000.0 + tick / 10,
            "role": "primary" if tick < 50 else "fenced",
            "writable": tick < 50,
            "reachable": True,
        }
        for tick in range(100)
    ]
    (folders[0].path / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{torn")
    html = render_html(folders[0].path)
    assert "fenced" in html


def test_other_runs_have_no_drill() -> None:
    assert shape({"verdict": "ok", "drill": None}) is None
    assert shape({}) is None


def test_a_drill_that_was_refused_has_a_report_too(stage: Stage, tmp_path: Path) -> None:
    stage.steady_since = None
    result, folder = run(stage)
    assert result["verdict"] == "refused"
    assert "clients are not served well" in render_html(folder.path)
    assert summary_lines(result)[-1].startswith("verdict: refused")
    assert tmp_path.exists()


def test_one_run_alone_has_no_chart_of_runs(folders: list[RunFolder]) -> None:
    first, third = (shape(folders[number].result()) for number in (0, 2))
    assert first is not None
    assert third is not None
    assert runs_over_time(first.listed, first.limit) is None
    drawn = runs_over_time(third.listed, 8.0)
    assert drawn is not None
    assert drawn.count("<title>") == 4
    assert "objective 8 s" in drawn
