"""ansible-runner for real, on this machine: events, stopping, killing, dying."""

from __future__ import annotations

import json
import os
import signal
import site
import subprocess
import sys
import time
from pathlib import Path

import pytest
from failoverctl import runner
from failoverctl.runner import (
    Ended,
    Event,
    PlayStarted,
    Recap,
    Request,
    Run,
    TaskEnded,
    TaskStarted,
    Tick,
    ansible_config,
    command_options,
    environment,
    host_key_checking,
    stop_file,
    user_setting,
    utf8_locale,
)


def request(fixtures: Path, folder: Path, playbook: str, inventory: str = "hosts.yml", **more: object) -> Request:
    playbooks = fixtures / "playbooks"
    values = {
        "playbook": str(playbooks / playbook),
        "inventory": [str(playbooks / inventory)],
        "folder": folder,
        "ident": "run",
        "directory": folder,
        **more,
    }
    return Request(**values)  # type: ignore[arg-type]


def without_ticks(run: Run) -> list[Event]:
    return [event for event in run if not isinstance(event, Tick)]


def test_a_playbook_as_typed_events(fixtures: Path, tmp_path: Path) -> None:
    events = without_ticks(Run(request(fixtures, tmp_path, "good.yml")))
    assert isinstance(events[0], PlayStarted)
    assert events[-1] == Ended(0, stopped=False, killed=False)
    ended = [event for event in events if isinstance(event, TaskEnded)]
    assert ended[-1].result["result"] == "switched"
    assert all(event.host == "localhost" for event in ended)
    assert any(isinstance(event, Recap) for event in events)
    assert (tmp_path / "run" / "job_events").is_dir()


def test_check_mode_reaches_the_modules(fixtures: Path, tmp_path: Path) -> None:
    variables = {"slow_seconds": 60}
    run = Run(request(fixtures, tmp_path, "slow.yml", check=True, variables=variables))
    ended = [event for event in run if isinstance(event, TaskEnded)]
    assert [event.outcome for event in ended] == ["ok", "skipped", "ok"]


def test_what_ansible_prints_comes_too_when_it_is_asked_for(fixtures: Path, tmp_path: Path) -> None:
    quiet = Run(request(fixtures, tmp_path, "refused.yml", ident="quiet"))
    assert not [event for event in quiet if isinstance(event, runner.Output)]
    run = Run(request(fixtures, tmp_path, "refused.yml", verbosity=1))
    text = "\n".join(event.text for event in run if isinstance(event, runner.Output) and event.level == "raw")
    assert "PLAY [Preflight: check that it is safe]" in text
    assert "failed=1" in text


def test_stopping_lets_the_current_task_finish(fixtures: Path, tmp_path: Path) -> None:
    run = Run(request(fixtures, tmp_path, "slow.yml", variables={"slow_seconds": 1}))
    done = []
    for event in run:
        if isinstance(event, TaskStarted) and event.name == "Wait a little":
            run.stop()
        if isinstance(event, TaskEnded):
            done.append((event.name, event.outcome))
    assert done == [("First", "ok"), ("Wait a little", "changed")]
    assert isinstance(event, Ended)
    assert (event.return_code, event.stopped, event.killed) == (99, True, False)


def test_killing_ends_the_workers_too(fixtures: Path, tmp_path: Path) -> None:
    run = Run(request(fixtures, tmp_path, "slow.yml", variables={"slow_seconds": 4711}))
    for event in run:
        if isinstance(event, TaskStarted) and event.name == "Wait a little":
            _wait_for_process("4711")
            run.kill()
    assert isinstance(event, Ended)
    assert event.killed
    assert event.stopped
    assert event.return_code != 0
    _wait_for_no_process("4711")


def test_the_playbook_dies_with_its_parent(fixtures: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from failoverctl.runner import Request, Run\n"
        "playbooks, folder = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "request = Request(playbook=str(playbooks / 'slow.yml'), inventory=[str(playbooks / 'hosts.yml')],\n"
        "    folder=folder, ident='run', directory=folder, variables={'slow_seconds': 4712})\n"
        "for event in Run(request): pass\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(fixtures / "playbooks"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(runner.__file__).parents[1])},
    )
    _wait_for_process("4712")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _wait_for_no_process("4712")


def test_each_task_is_in_the_journal_before_it_is_sent(fixtures: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.touch()
    wanted = request(fixtures, tmp_path, "good.yml", journal=journal, journal_zero=time.monotonic())
    begun: list[str] = []
    for event in Run(wanted):
        records = [json.loads(line) for line in journal.read_text().splitlines()]
        begun = [record["title"] for record in records]
        if isinstance(event, TaskEnded):
            assert event.name in begun
    assert begun == [
        "Take the lock",
        "Fail and be rescued",
        "Rescue it",
        "Fail and be ignored",
        "Skip this",
        "Switch over",
    ]
    assert {record["kind"] for record in records} == {"begun"}
    assert records[0]["play"] == "Lock: take the estate lock"
    assert 0.0 <= records[0]["t"] < 60.0
    assert records[0]["at"].endswith("Z")


def test_the_next_run_in_the_same_folder_is_not_stopped(fixtures: Path, tmp_path: Path) -> None:
    wanted = request(fixtures, tmp_path, "refused.yml")
    stop_file(wanted).touch()
    assert without_ticks(Run(wanted))[-1] == Ended(2, stopped=False, killed=False)


def test_no_playbook_of_that_name(fixtures: Path, tmp_path: Path) -> None:
    events = without_ticks(Run(request(fixtures, tmp_path, "nope.yml")))
    assert isinstance(events[-1], Ended)
    assert events[-1].return_code != 0
    assert any(isinstance(event, runner.Output) and "could not be found" in event.text for event in events)


def test_options_of_ansible_playbook(tmp_path: Path) -> None:
    wanted = Request(
        playbook="x",
        inventory=["i"],
        folder=tmp_path,
        ident="run",
        directory=tmp_path,
        vault_ids=["prod@/etc/pw file"],
        check=True,
        diff=True,
    )
    assert command_options(wanted) == ["--vault-id", "prod@/etc/pw file", "--check", "--diff"]


def plain_request(folder: Path) -> Request:
    return Request(playbook="x", inventory=["i"], folder=folder, ident="run", directory=folder)


def test_environment_of_ansible_playbook(tmp_path: Path) -> None:
    added = environment(plain_request(tmp_path), {"PATH": "/bin", "LANG": "C"})
    assert added["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert added["ANSIBLE_PIPELINING"] == "True"
    assert added["LC_ALL"] == "C.UTF-8"
    assert added["FAILOVERCTL_PARENT_PID"] == str(os.getpid())


def test_what_the_user_set_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[connection]\npipelining = False\n[defaults]\nforks = 3 ; few\n")
    added = environment(plain_request(tmp_path), {"LANG": "en_GB.UTF-8"})
    assert not {"ANSIBLE_PIPELINING", "ANSIBLE_FORKS", "LC_ALL"} & set(added)
    outer = {"ANSIBLE_FORKS": "7", "ANSIBLE_COLLECTIONS_PATH": "/mine"}
    assert not {"ANSIBLE_FORKS", "ANSIBLE_COLLECTIONS_PATH"} & set(environment(plain_request(tmp_path), outer))
    assert user_setting("ANSIBLE_FORKS", "defaults", "forks", tmp_path, {}) == "3"


def test_a_collection_that_ansible_does_not_find_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "ansible_collections/hosting/failover"
    monkeypatch.setattr("failoverctl.paths.collection_directory", lambda: place)
    given = environment(plain_request(tmp_path), {"LANG": "C.UTF-8"})["ANSIBLE_COLLECTIONS_PATH"].split(":")
    assert given == [str(tmp_path), f"{Path.home()}/.ansible/collections", "/usr/share/ansible/collections"]
    (tmp_path / "ansible.cfg").write_text("[defaults]\ncollections_path = /mine\n")
    assert "ANSIBLE_COLLECTIONS_PATH" not in environment(plain_request(tmp_path), {})
    installed = Path(site.getsitepackages()[0]) / "ansible_collections/hosting/failover"
    monkeypatch.setattr("failoverctl.paths.collection_directory", lambda: installed)
    (tmp_path / "ansible.cfg").unlink()
    assert "ANSIBLE_COLLECTIONS_PATH" not in environment(plain_request(tmp_path), {})


def test_which_ansible_cfg_counts(tmp_path: Path) -> None:
    assert ansible_config(tmp_path, {}) is None
    own = tmp_path / "ansible.cfg"
    own.write_text("")
    assert ansible_config(tmp_path, {}) == own
    assert ansible_config(tmp_path, {"ANSIBLE_CONFIG": str(tmp_path)}) == own
    tmp_path.chmod(0o777)
    assert ansible_config(tmp_path, {}) is None


@pytest.mark.parametrize(
    ("said", "checked"),
    [(None, True), ("True", True), ("yes", True), ("False", False), ("no", False), ("0", False)],
)
def test_host_keys_are_checked_unless_the_user_said_otherwise(tmp_path: Path, said: str | None, checked: bool) -> None:
    outer = {} if said is None else {"ANSIBLE_HOST_KEY_CHECKING": said}
    assert host_key_checking(tmp_path, outer) is checked


def test_ansible_runner_does_not_switch_host_keys_off(fixtures: Path, tmp_path: Path) -> None:
    for _ in Run(request(fixtures, tmp_path, "refused.yml")):
        pass
    assert "ANSIBLE_HOST_KEY_CHECKING" not in (tmp_path / "run" / "command").read_text()


def test_locale() -> None:
    assert utf8_locale({"LANG": "de_DE.UTF-8"}) == {}
    assert utf8_locale({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}) == {"LC_ALL": "C.UTF-8"}
    assert utf8_locale({}) == {"LC_ALL": "C.UTF-8"}


def _processes_with(argument: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if arguments[:2] == [b"sleep", argument.encode()]:
                found.append(entry.name)
    return found


def _wait_for_process(argument: str) -> None:
    deadline = time.monotonic() + 30
    while not _processes_with(argument):
        assert time.monotonic() < deadline, "the task did not start"
        time.sleep(0.05)


def _wait_for_no_process(argument: str) -> None:
    deadline = time.monotonic() + 10
    while _processes_with(argument):
        assert time.monotonic() < deadline, "the task outlived its playbook"
        time.sleep(0.05)
