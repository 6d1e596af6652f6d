"""Commands within a drill: their environment, their runs, and how they are killed with all they started."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from failoverctl import runs
from failoverctl.config import Setting, Settings
from failoverctl.drill.nested import Command, Done, descendants

#: In the place of Python: notes how it was called, makes a run with a journal, and may start a child and stay.
SCRIPT = """#!/bin/sh
printf '%s\\n' "$*" > {folder}/words
env > {folder}/environment
{first}
run={folder}/commands/runs/20261123T051022Z-switchover-7f3a
mkdir -p "$run"
printf '%s\\n' '{journal}' > "$run/journal.jsonl"
printf '%s\\n' '{result}' > "$run/result.json"
echo "said on stdout"
{rest}
"""
JOURNAL = json.dumps({"schema": 1, "at": "", "t": 0.0, "kind": "phase_started", "phase": "Act", "title": "Hand over"})


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Command]:
    """Start a command whose program does what the test says in the end."""

    def make(
        rest: str = "exit 3", *, first: str = "", kill_at: str = "", kill_entry: int = 0, refusal: str = "locked"
    ) -> Command:
        script = tmp_path / "python"
        result = json.dumps({"refusals": [{"code": refusal}], "problems": [{"code": "x"}]})
        script.write_text(SCRIPT.format(folder=tmp_path, journal=JOURNAL, result=result, first=first, rest=rest))
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        monkeypatch.setenv("FAILOVERCTL_INVENTORY", "elsewhere")
        settings = Settings(
            root=tmp_path,
            file=None,
            inventory=Setting((str(tmp_path / "hosts.yml"),), "test"),
            vault_ids=Setting(("pass",), "test"),
            state_directory=Setting(tmp_path, "test"),
        )
        return Command(
            ["switchover", "--to", "www2"],
            settings,
            "the-drill",
            tmp_path / "commands",
            kill_at=kill_at,
            kill_entry=kill_entry,
        )

    return make


def ended(command: Command, seconds: float = 20.0) -> Done:
    """Poll a command until it has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done = command.poll()
        if done is not None:
            return done
        time.sleep(0.02)
    raise AssertionError("it does not end")


def test_a_command_shares_the_lock_and_keeps_its_runs_apart(start: Callable[..., Command], tmp_path: Path) -> None:
    done = ended(start())
    assert (done.exit_code, done.killed, done.codes) == (3, False, frozenset({"locked", "x"}))
    assert "said on stdout" in done.output
    words = (tmp_path / "words").read_text().split()
    assert words[:5] == ["-m", "failoverctl", "switchover", "--to", "www2"]
    assert words[5:] == [
        *("--inventory", str(tmp_path / "hosts.yml"), "--vault-id", "pass"),
        *("--state-directory", str(tmp_path / "commands")),
    ]
    environment = dict(
        line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line
    )
    assert environment["FAILOVERCTL_WITHIN_RUN"] == "the-drill"
    assert environment["FAILOVERCTL_YES"] == "1"
    assert "FAILOVERCTL_INVENTORY" not in environment
    assert (tmp_path / "commands/001.log").read_text() == "said on stdout\n"
    assert [run.run_id for run in runs.list_runs(tmp_path / "commands/runs")] == ["20261123T051022Z-switchover-7f3a"]


@pytest.mark.parametrize("word", ["Act", "hand over"])
def test_it_is_killed_where_its_journal_says_with_what_it_started(
    start: Callable[..., Command], tmp_path: Path, word: str
) -> None:
    # A session of its own, as ansible-playbook has one: killing the group would not reach it.
    child_first = f"setsid sleep 300 & echo $! > {tmp_path}/child"
    done = ended(start("sleep 300", first=child_first, kill_at=word))
    assert (done.exit_code, done.killed) == (-9, True)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _lives(child)


def test_another_word_does_not_kill_it(start: Callable[..., Command]) -> None:
    done = ended(start("exit 0", kill_at="Verify"))
    assert (done.exit_code, done.killed) == (0, False)


def journal_line(kind: str, title: str) -> str:
    """A line of shell that adds an entry to the journal."""
    fields = {"phase": "Act", "play": "Act: Hand over", "runbook": "switchover", "run_id": "r", "request": {}}
    entry = json.dumps({"schema": 1, "at": "", "t": 0.0, "kind": kind, "title": title, **fields})
    return f"printf '%s\\n' '{entry}' >> \"$run/journal.jsonl\"; sleep 0.2"


def test_it_is_killed_at_an_entry_by_its_number(start: Callable[..., Command], tmp_path: Path) -> None:
    entries = [
        journal_line("run_started", ""),
        journal_line("begun", "Take the lock"),
        journal_line("task_started", "x"),
    ]
    rest = "\n".join([*entries, journal_line("begun", "Hand over"), f"touch {tmp_path}/over", "sleep 300"])
    done = ended(start(rest, kill_entry=3))
    assert (done.exit_code, done.killed, done.killed_at) == (-9, True, "Hand over")
    assert not (tmp_path / "over").exists()
    assert ended(start(rest.replace("sleep 300", "exit 0"), kill_entry=4)).killed is False


def test_a_command_that_is_interrupted_may_end_as_it_likes(start: Callable[..., Command], tmp_path: Path) -> None:
    command = start(f"trap 'exit 130' INT; touch {tmp_path}/ready; while true; do sleep 0.05; done")
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    assert command.poll() is None
    command.interrupt()
    assert ended(command).exit_code == 130
    command.interrupt()
    command.kill()


def test_descendants_of_this_process_and_of_none() -> None:
    assert os.getpid() in descendants(os.getppid())
    assert descendants(2**22 + 1) == []


def _lives(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "Z"
    except OSError:
        return False
