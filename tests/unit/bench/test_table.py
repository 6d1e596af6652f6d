"""The table of the terminal and the page of the documentation."""

from __future__ import annotations

from dataclasses import replace

from bench import results, table
from bench.__main__ import PAGE, PUBLISHED
from bench.figures import SETUP_AGAIN, SWITCHOVER
from bench.results import Move, Part, Results, Seen, Timing

MACHINE = {
    "cpus": 2,
    "cpu_model": "Example",
    "memory_bytes": 8 << 30,
    "kernel": "6.1",
    "os": "Debian",
    "python": "3.11",
}
WRITES = Seen(0.187, 0.2, 160, 155, 3, 2, 0, 0, 1, 0, 0)
PAGES = Seen(0.05, 0.05, 20, 19, 1, 0, 0)
MOVE = Move(
    1, "2026-01-01T00:00:00Z", "www1", "www2", 9.1, "pass", (), WRITES, PAGES, 4.0, detail={"critical_ms": 78.1}
)
PART = Part(
    SWITCHOVER,
    "abc",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:01:00Z",
    (0.1, 0.2),
    {"writers": 8},
    {"etcd": "3"},
    (MOVE,),
)


def test_the_documentation_shows_the_published_results() -> None:
    """When this fails: `python -m bench publish --results docs/reference/benchmarks.json`."""
    assert PAGE.read_text(encoding="utf-8") == table.page(results.read(PUBLISHED))


def test_the_terminal_shows_goal_figure_and_verdict() -> None:
    lines = table.terminal(Results(MACHINE).with_part(PART)).splitlines()
    assert lines[2].split("  ")[0] == "writes paused, switchover"
    assert all(word in lines[2] for word in ("<= 0.25 / 0.5 s", "0.187 s", "yes", "lost 0, hung 0"))
    assert "not measured" in lines[4]
    assert any(line.startswith("failoverctl switchover  1  0.187 s") for line in lines)


def test_columns_are_aligned() -> None:
    lines = table.terminal(Results(MACHINE).with_part(PART)).splitlines()
    column = lines[0].index("goal")
    assert all(line[column - 2 : column] == "  " for line in (lines[0], *lines[2:8]))


def test_failed_and_disturbed_runs_are_named() -> None:
    moves = (MOVE, replace(MOVE, number=2, error="refused", writes=None), replace(MOVE, number=3, prober_late_ms=154.0))
    lines = table.notes(Results(MACHINE).with_part(replace(PART, moves=moves)))
    assert lines[0] == "failoverctl switchover: 1 of 3 runs failed: refused"
    assert "in 1 of 3 runs the machine kept the prober waiting, by up to 154 ms" in lines[1]
    assert "2 of 3" in table.terminal(Results(MACHINE).with_part(replace(PART, moves=moves)))


def test_a_page_has_every_run() -> None:
    again = Part(
        SETUP_AGAIN, "abc", "", "", (0.0, 0.0), timings=(Timing(1, "", 41.0, 9.0, 0), Timing(2, "", 42.0, 9.0, 3))
    )
    text = table.page(Results(MACHINE).with_part(PART).with_part(again))
    writes = "0.187 s | 0.200 s | 155 | 0 | 1 | 0 | 3 | 2"
    assert f"| 1 | www1 to www2 | {writes} | 0.050 s | 0.050 s | 1 | 78 ms | 9.1 s | 4 ms | pass |" in text
    assert "| 2 | 42.00 s | 9.00 s | 3 |  |" in text
    assert "Settings: writers 8." in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert all(len({line.count(" | ") for line in lines}) == 1 for lines in tables)
