"""The command, and the parts of it that need no hosts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import beds, machine, results
from bench.beds import BenchError, Done
from bench.own import changed_tasks, switched
from bench.recorder import Recorder
from bench.results import Part, Results, Timing

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("arguments", [["nothing"], ["--runs", "0"], ["--runs", "many"], ["--unknown"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_show_prints_the_figures_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    results.write(
        path, Results({}).with_part(Part("status", "", "", "", (0.0, 0.0), timings=(Timing(1, "", 0.9, 0.2),)))
    )
    assert command.main(["show", "--results", str(path)]) == 0
    assert "0.900 s" in capsys.readouterr().out


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["show", "--results", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_a_command_is_timed_with_its_children(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(4_000_000))'])"
    done = beds.run(
        [sys.executable, "-c", f"{child}; print('out'); print('err', file=sys.stderr); sys.exit(3)"], tmp_path, {}
    )
    assert (done.status, done.output, done.errors) == (3, "out\n", "err\n")
    assert done.cpu_seconds > 0.02
    assert done.seconds > 0.02


def test_waiting_is_bounded() -> None:
    with pytest.raises(BenchError, match="the moon: not within 0 s"):
        beds.until(lambda: False, 0.0, "the moon", every=0.0)


def test_a_switchover_tells_of_its_steps() -> None:
    output = (FIXTURES / "switchover.json").read_text(encoding="utf-8")
    told = switched(Done(0, output, "", 20.6, 5.0))
    assert told["critical_ms"] == 55.9
    assert [step["name"] for step in told["steps"]][:2] == ["check", "prepare"]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "Error: www1 cannot be reached"),
        ('{"reason": "the estate is locked", "switchover": null}', "the estate is locked"),
        (
            '{"reason": null, "switchover": {"result": "undone", "error": "catch_up took too long"}}',
            "catch_up took too long",
        ),
    ],
)
def test_a_switchover_that_did_not_come_about_says_why(output: str, reason: str) -> None:
    with pytest.raises(BenchError, match=reason):
        switched(Done(4, output, "Error: www1 cannot be reached\n", 1.0, 0.1))


def test_tasks_that_changed_something_are_named() -> None:
    journal = (
        '{"kind": "run_started"}\n'
        '{"kind": "task", "host": "www1", "title": "Run the agent", "outcome": "ok"}\n'
        '{"kind": "task", "host": "www2", "title": "Run the agent", "outcome": "changed"}\n'
    )
    assert changed_tasks(journal) == ["www2: Run the agent"]


def test_runs_are_in_the_file_as_they_come_and_other_parts_stay(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    other = Part("help", "", "", "", (0.0, 0.0))
    results.write(path, Results(machine.facts()).with_part(other))
    said: list[str] = []
    with Recorder(path, said.append).part("status", {"command": "x"}, {"y": "1"}) as part:
        part.timing(Timing(1, "", 1.0, 0.5))
        assert len(results.read(path).parts["status"].timings) == 1
        part.timing(Timing(2, "", 1.0, 0.5, 3, "exit 5"))
    found = results.read(path).parts
    assert found["help"] == other
    assert len(found["status"].timings) == 2
    assert said == ["status 1: 1.00 s (0.500 s CPU)", "status 2: 1.00 s (0.500 s CPU), changed 3  FAILED: exit 5"]


def test_results_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.write(path, Results({"cpus": 128}).with_part(Part("help", "", "", "", (0.0, 0.0))))
    assert Recorder(path, print).results.parts == {}


def test_the_model_of_the_cpu() -> None:
    assert machine.parse_cpu_model("processor\t: 0\nmodel name\t: Example CPU: 2 GHz\n") == "Example CPU: 2 GHz"
    assert machine.parse_cpu_model("processor\t: 0\n") == "?"
