"""check, setup, switchover and lock, with ansible-playbook, agents and prober faked at the edge."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from failoverctl import conduct, runs
from failoverctl.errors import ExitCode
from failoverctl.probe import ProbeError
from failoverctl.runner import Output, Request, Run, TaskEnded

from .conftest import Operator, Playbooks, Prober


def only_run(operator: Operator) -> runs.RunFolder:
    (found,) = runs.list_runs(operator.folder / "state/runs")
    return found


def test_check_that_finds_nothing(operator: Operator, playbooks: Playbooks) -> None:
    answer = operator.types("check")
    assert answer.code == 0
    assert answer.out == "Inventory and 3 hosts are as they must be.\n"
    assert playbooks.names() == ["check"]
    request = playbooks.requests[0]
    assert request.inventory == (str(operator.folder / "inventory/hosts.yml"),)
    assert request.directory == operator.folder
    assert request.variables["failover_run_id"] == only_run(operator).run_id
    assert request.journal == only_run(operator).journal_path
    assert answer.err.splitlines()[-2:] == [f"Run:  {only_run(operator).path}", "Next: failoverctl setup"]


def test_check_names_all_problems_with_their_places(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.does("check", "problems", 2)
    text = (operator.folder / "inventory/hosts.yml").read_text()
    (operator.folder / "inventory/hosts.yml").write_text(text + "    failover_backup: {hots: {}}\n")
    answer = operator.types("check")
    assert answer.code == ExitCode.USAGE
    assert answer.out == ""
    assert "Error: 3 problems in the configuration.\n" in answer.err
    assert "inventory/hosts.yml:4: failover_vips[1].vrid: VRID 51 is used twice" in answer.err
    assert "inventory/hosts.yml:9: www1 is not Debian" in answer.err
    assert "inventory/hosts.yml:16: unknown key 'hots' in group 'failover_backup'\n    Fix: did you mean 'hosts'?" in (
        answer.err
    )
    found = operator.types("check", "--json")
    assert found.code == ExitCode.USAGE
    document = found.json()
    assert (document["schema"], document["verdict"], len(document["problems"])) == (1, "invalid", 3)
    assert {problem["line"] for problem in document["problems"]} == {4, 9, 16}


def test_what_is_odd_makes_check_fail_even_if_the_playbook_does_not(operator: Operator, playbooks: Playbooks) -> None:
    text = (operator.folder / "inventory/hosts.yml").read_text()
    (operator.folder / "inventory/hosts.yml").write_text(text + "    failover_backup: {hots: {}}\n")
    assert operator.types("check").code == ExitCode.USAGE
    assert operator.types("setup", "-y").code == ExitCode.USAGE
    assert playbooks.names() == ["check", "check"]


def test_an_inventory_that_cannot_be_read_starts_nothing(operator: Operator, playbooks: Playbooks) -> None:
    (operator.folder / "inventory/hosts.yml").write_text("all: [\n")
    answer = operator.types("check")
    assert answer.code == ExitCode.USAGE
    assert "inventory/hosts.yml:2: this is not YAML" in answer.err
    assert operator.types("check", "--json").json()["problems"][0]["code"] == "not_yaml"
    assert playbooks.requests == []
    assert runs.list_runs(operator.folder / "state/runs") == []


def test_a_host_that_does_not_answer(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.does("check", "unreachable", 4)
    answer = operator.types("check")
    assert answer.code == ExitCode.UNREACHABLE
    assert "inventory/hosts.yml" not in answer.err
    assert "www1 cannot be reached: " in answer.err
    document = operator.types("check", "--json").json()
    assert (document["verdict"], document["exit_code"]) == ("unreachable", 4)
    assert [problem["code"] for problem in document["problems"]] == ["unreachable"]


def test_setup_does_not_start_when_check_fails(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.does("check", "problems", 2)
    answer = operator.types("setup", "--yes")
    assert answer.code == ExitCode.USAGE
    assert playbooks.names() == ["check"]
    assert "Nothing was changed" in answer.err


def test_setup_asks_and_takes_no_for_an_answer(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any]
) -> None:
    assert agents
    answer = operator.types("setup", answer="n\n")
    assert answer.code == ExitCode.INTERRUPTED
    assert playbooks.names() == ["check"]
    assert "setup makes these 3 hosts what the inventory says" in answer.err
    assert " Estate cli · primary www2 " in answer.err


def test_setup_with_yes_shows_the_state_and_what_to_type_next(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any]
) -> None:
    assert agents
    playbooks.does("setup", "good", 0)
    answer = operator.types("setup", answer="y\n")
    assert answer.code == 0
    assert playbooks.names() == ["check", "setup"]
    assert answer.out == "verdict: ok\n"
    assert "healthy" in answer.err
    assert answer.err.splitlines()[-1] == "Next: failoverctl status"


@pytest.mark.parametrize("command", [["setup"], ["switchover"], ["lock", "release", "--reason", "x"]])
def test_nobody_to_ask_is_wrong_usage(operator: Operator, playbooks: Playbooks, command: list[str]) -> None:
    answer = operator.types(*command)
    assert answer.code == ExitCode.USAGE
    assert "--yes" in answer.err
    assert playbooks.requests == []


def test_the_environment_can_answer(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agents
    monkeypatch.setenv("FAILOVERCTL_YES", "1")
    assert operator.types("setup").code == 0
    assert playbooks.names() == ["check", "setup"]


def test_check_mode_and_diff_reach_ansible(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], prober: Prober
) -> None:
    assert agents
    assert operator.types("setup", "--check", "--diff").code == 0
    assert [(request.check, request.diff) for request in playbooks.requests] == [(False, False), (True, True)]
    answer = operator.types("switchover", "--check")
    assert answer.code == 0
    assert playbooks.requests[-1].check
    assert prober.targets == []
    assert answer.err.splitlines()[-1] == "Next: failoverctl switchover"


def test_a_diff_is_shown_and_shown_again(operator: Operator, playbooks: Playbooks, agents: dict[str, Any]) -> None:
    assert agents
    result = {"changed": True, "diff": {"before": "a\n", "after": "b\n"}}
    playbooks.events["setup"] = ([TaskEnded("Write it", "x", "www1", "changed", 0.1, False, result)], 0)
    answer = operator.types("setup", "--check", "--diff")
    assert "changed     www1: Write it (0.1 s)\n" in answer.err
    assert "    -a\n" in answer.err
    assert "    +b\n" in operator.types("runs", "replay", "--last").out


def test_what_ansible_prints_is_shown_on_demand(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any]
) -> None:
    assert agents
    playbooks.events["check"] = ([Output("raw", "PLAY [x] ***\nok: [www1]")], 0)
    assert "PLAY [x] ***\nok: [www1]\n" in operator.types("check", "-vv").err
    assert playbooks.requests[0].verbosity == 1


@pytest.mark.parametrize("command", ["setup", "switchover"])
def test_a_plan_contacts_nobody(operator: Operator, playbooks: Playbooks, command: str) -> None:
    answer = operator.types(command, "--plan")
    assert answer.code == 0
    assert "no earlier run" in answer.out
    assert "Preflight" in answer.out
    document = operator.types(command, "--plan", "--json").json()
    assert document["runbook"] == command
    assert document["predicted"]["lost_writes"] is None
    assert playbooks.requests == []


def test_a_switchover_that_passes(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], prober: Prober
) -> None:
    assert agents
    playbooks.does("switchover", "good", 0)
    began = time.monotonic()
    answer = operator.types("switchover", "--to", "www1", "--writers", "8", answer="y\n")
    assert answer.code == 0
    assert "www2 stops being primary and www1 takes over" in answer.err
    assert answer.out.splitlines() == [
        "writes paused 187 ms, 0 of 118 acknowledged writes lost",
        "verdict: pass",
    ]
    assert playbooks.requests[0].variables["switchover_to"] == "www1"
    (target,) = prober.targets
    assert target.writers == 8
    assert target.write.password == "hunter2"
    assert prober.stopped == 1
    assert prober.hung_allowed is False
    assert prober.broken_at is not None
    assert began < prober.broken_at < time.monotonic()
    run = only_run(operator)
    assert run.result()["probe"]["verdict"] == "pass"
    kinds = [json.loads(line)["kind"] for line in run.journal_path.read_text().splitlines()]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    assert kinds.count("probe") == 2
    assert "hunter2" not in "".join(path.read_text() for path in run.path.rglob("*") if path.is_file())


@pytest.mark.parametrize(("verdict", "reason"), [("fail", "3 acknowledged writes lost"), ("unknown", "idle probe")])
def test_a_measurement_that_does_not_pass_decides(
    operator: Operator,
    playbooks: Playbooks,
    agents: dict[str, Any],
    prober: Prober,
    verdict: str,
    reason: str,
) -> None:
    assert agents
    prober.result.verdict, prober.result.reasons = verdict, [reason]
    playbooks.does("switchover", "good", 0)
    answer = operator.types("switchover", "-y")
    assert answer.code == ExitCode.FAILED
    assert f"verdict: {verdict}, {reason}" in answer.out
    result = operator.types("runs", "show", "--last", "--json").json()
    assert (result["verdict"], result["exit_code"], result["reason"]) == (verdict, 1, reason)


def test_a_refused_switchover(operator: Operator, playbooks: Playbooks, agents: dict[str, Any], prober: Prober) -> None:
    assert agents
    assert prober.stopped == 0
    playbooks.does("switchover", "refused", 2)
    answer = operator.types("switchover", "-y")
    assert answer.code == ExitCode.REFUSED
    assert "Error: switchover refused: replication lag on www2 is 42 s (limit 5).\n  Why: " in answer.err
    assert "  Fix: wait\n" in answer.err
    assert "  Docs: docs/howto/switchover.md#gates  (exit 3)" in answer.err
    assert only_run(operator).result()["refusals"][0]["code"] == "lag"


def test_a_locked_estate(operator: Operator, playbooks: Playbooks, agents: dict[str, Any]) -> None:
    assert agents
    playbooks.does("switchover", "locked", 2)
    answer = operator.types("switchover", "-y", "--no-measure")
    assert answer.code == ExitCode.LOCKED
    assert "Error: the estate is locked by setup of anna@desk since " in answer.err
    assert answer.err.splitlines()[-1] == "Next: failoverctl lock status"


def test_what_clients_see_says_nothing_about_a_run_that_was_locked_out(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], prober: Prober
) -> None:
    assert agents
    prober.result.verdict, prober.result.reasons = "fail", ["www1 lacks 289 acknowledged writes"]
    playbooks.does("switchover", "locked", 2)
    answer = operator.types("switchover", "-y")
    assert answer.code == ExitCode.LOCKED
    assert "lacks" not in answer.out
    assert (prober.stopped, prober.final_reads) == (1, 0)


@pytest.mark.parametrize(
    ("verdict", "advice"),
    [("", "it is at work on this machine"), ("interrupted", "failoverctl resume 20261123T040000Z-setup-aaaa")],
)
def test_a_lock_of_a_run_of_this_machine_is_known(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], verdict: str, advice: str
) -> None:
    assert agents
    holder = runs.create(operator.folder / "state/runs", "setup", {"estate": "another"})
    if verdict:
        runs.write_json(holder.path / "result.json", {"verdict": verdict})
    (operator.folder / "state/runs/20261123T040000Z-setup-aaaa").symlink_to(holder.path)
    playbooks.does("switchover", "locked", 2)
    assert advice in operator.types("switchover", "-y", "--no-measure").err


def test_to_must_be_a_data_host(operator: Operator, playbooks: Playbooks) -> None:
    answer = operator.types("switchover", "--to", "ww1", "-y")
    assert answer.code == ExitCode.USAGE
    assert "'ww1' is no data host of estate cli.\n  Fix: did you mean 'www1'?" in answer.err
    assert playbooks.requests == []


def test_what_can_be_measured_is(operator: Operator, playbooks: Playbooks, agents: dict[str, Any]) -> None:
    assert agents
    path = operator.folder / "inventory/hosts.yml"
    path.write_text(path.read_text().replace("mariadb_probe_password", "other").replace("web_sites", "others"))
    answer = operator.types("switchover", "-y", "--measure")
    assert answer.code == ExitCode.USAGE
    assert "there is nothing to measure" in answer.err
    assert operator.types("switchover", "-y").code == 0
    assert playbooks.names() == ["switchover"]


def test_a_prober_that_does_not_start_keeps_the_switchover_from_starting(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], prober: Prober
) -> None:
    assert agents
    prober.error = ProbeError("no route to host")
    answer = operator.types("switchover", "-y")
    assert answer.code == ExitCode.FAILED
    assert "the measurement cannot start: no route to host" in answer.err
    assert playbooks.requests == []


def test_interrupting_once_gives_the_lock_back_and_says_what_to_do(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any]
) -> None:
    assert agents
    playbooks.does("setup", "good", 0)

    def interrupt() -> None:
        if playbooks.names()[-1] == "setup":
            os.kill(os.getpid(), signal.SIGINT)

    playbooks.during = interrupt
    answer = operator.types("setup", "-y")
    assert answer.code == ExitCode.INTERRUPTED
    assert "interrupted: the current task is let finish" in answer.err
    assert "the estate lock of this run was given back" in answer.err
    assert answer.err.splitlines()[-1] == "Next: failoverctl resume"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    playbooks.during = lambda: None
    again = operator.types("setup", "-y")
    assert again.code == 0
    assert "was interrupted in phase Lock (take the estate lock)" in again.err


def test_interrupting_twice_kills_and_keeps_the_lock(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any]
) -> None:
    assert agents
    playbooks.does("switchover", "good", 0)

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    playbooks.during = interrupt
    answer = operator.types("switchover", "-y", "--no-measure")
    assert answer.code == ExitCode.INTERRUPTED
    assert "interrupted again: killing ansible-playbook" in answer.err
    assert "given back" not in answer.err
    assert answer.err.splitlines()[-1] == "Next: failoverctl resume"


def test_a_run_that_died_is_listed_and_mentioned(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any]
) -> None:
    assert agents
    assert playbooks.requests == []
    died = runs.create(operator.folder / "state/runs", "setup", {"estate": "cli", "process": {"pid": 1}})
    assert f"{died.run_id}   " in operator.types("runs", "list").out
    assert operator.types("runs", "list", "--json").json()["runs"][0]["verdict"] == "died"
    assert f"the last run, {died.run_id}, died before its first phase" in operator.types("status").err
    answer = operator.types("runs", "show")
    assert "The process of this run was killed" in answer.err
    document = operator.types("runs", "show", "--json").json()
    assert (document["verdict"], document["exit_code"]) == ("died", None)


def test_a_bug_in_the_middle_leaves_a_run_that_ended(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any]
) -> None:
    assert agents

    def fail() -> None:
        raise ZeroDivisionError("oops")

    playbooks.during = fail
    answer = operator.types("switchover", "-y", "--no-measure")
    assert answer.code == ExitCode.BUG
    result = only_run(operator).result()
    assert (result["verdict"], result["exit_code"]) == ("failed", 70)


def test_the_document_of_a_run_has_the_same_keys_whatever_happened(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], prober: Prober
) -> None:
    assert agents
    assert prober.targets == []
    keys = set()
    for captured, code in (("good", 0), ("refused", 2), ("locked", 2), ("unreachable", 4)):
        playbooks.does("switchover", captured, code)
        answer = operator.types("switchover", "-y", "--json")
        keys.add(tuple(answer.json()))
        assert answer.json()["schema"] == 1
    assert len(keys) == 1
    (found,) = keys
    assert {"run_id", "runbook", "started_at", "verdict", "exit_code", "steps", "probe", "switchover", "next"} <= {
        *found
    }


def test_flags_are_repeated_in_what_to_type_next(operator: Operator, playbooks: Playbooks) -> None:
    assert playbooks.requests == []
    answer = operator.types("-i", "inventory/hosts.yml", "check", "--state-directory", "elsewhere")
    assert answer.err.splitlines()[-1] == ("Next: failoverctl setup -i inventory/hosts.yml --state-directory elsewhere")
    assert (operator.folder / "elsewhere/runs").is_dir()


def test_lock_status(operator: Operator, agents: dict[str, Any]) -> None:
    assert operator.types("lock", "status").out == "Not locked.\n"
    lock = {"owner": "anna", "run_id": "x", "runbook": "setup", "acquired_at": "2026-11-23T05:00:00.000Z"}
    agents["www1"]["lock"] = lock
    assert operator.types("lock", "status").out.startswith("Locked by setup of anna since 05:00:00Z, ")
    assert operator.types("lock", "status", "--json").json() == {"schema": 1, "lock": lock}


def test_lock_release(operator: Operator, playbooks: Playbooks, agents: dict[str, Any]) -> None:
    assert operator.types("lock", "release", "--reason", "x", "-y").out == "Not locked.\n"
    agents["www1"]["lock"] = {"owner": "anna", "run_id": "x", "runbook": "setup"}
    refused = operator.types("lock", "release", "--reason", "x", answer="n\n")
    assert refused.code == ExitCode.INTERRUPTED
    assert "Locked by setup of anna" in refused.err
    assert playbooks.requests == []
    assert operator.types("lock", "release", "--reason", "it is dead", "-y").code == 0
    assert playbooks.requests[0].variables["lock_release"] is True
    assert only_run(operator).request()["parameters"]["lock_reason"] == "it is dead"


@pytest.mark.parametrize(("error", "code"), [("off", ExitCode.UNREACHABLE)])
def test_a_lock_that_cannot_be_read(operator: Operator, agents: dict[str, Any], error: str, code: ExitCode) -> None:
    agents.update(www1=error, www2=error)
    answer = operator.types("lock", "status")
    assert answer.code == code
    assert "no agent answers: www1: off; www2: off." in answer.err


def test_status(operator: Operator, agents: dict[str, Any]) -> None:
    answer = operator.types("status")
    assert answer.code == 0
    assert " Estate cli · primary www2 " in answer.out
    assert answer.out.splitlines()[-1] == " Next: failoverctl switchover --to www1"
    document = operator.types("status", "--json").json()
    assert (document["schema"], document["verdict"], document["primary"]) == (1, "healthy", "www2")
    agents["www1"] = "off"
    assert operator.types("status").code == ExitCode.DEGRADED
    agents["www2"] = "off"
    answer = operator.types("status", "--json")
    assert answer.code == ExitCode.UNREACHABLE
    assert answer.json()["exit_code"] == 4


def test_watching(operator: Operator, agents: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    agents["www1"] = "off"
    answer = operator.types("status", "--watch", "--interval", "0.5", "--json")
    assert answer.code == ExitCode.DEGRADED
    assert [json.loads(line)["verdict"] for line in answer.out.splitlines()] == ["degraded"] * 3
    assert looks == [0.5] * 3


def test_slow_hosts_are_asked_by_the_playbook(operator: Operator, playbooks: Playbooks, fixtures: Path) -> None:
    path = operator.folder / "inventory/hosts.yml"
    path.write_text(path.read_text().replace("failover_estate: cli", "failover_estate: cli\n    ansible_password: x"))
    status = json.loads((fixtures / "status.json").read_text())
    silent = {"unreachable": True, "msg": "no route"}
    playbooks.events["status"] = (
        [
            TaskEnded("Ask", "hosting.failover.estate_info", "www2", "ok", 0.1, False, {"estate": status["www2"]}),
            TaskEnded("Ask", "hosting.failover.estate_info", "www1", "unreachable", 0.1, True, silent),
        ],
        0,
    )
    answer = operator.types("status")
    assert answer.code == ExitCode.DEGRADED
    assert playbooks.names() == ["status"]
    assert "www1: cannot be reached: no route" in answer.out


def test_runs_replay_prints_what_the_run_printed(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.does("check", "good", 0)
    first = operator.types("check")
    replayed = operator.types("runs", "replay", "--last")
    assert replayed.code == 0
    assert replayed.out.splitlines() == first.err.splitlines()[: len(replayed.out.splitlines())]
    verbose = operator.types("runs", "replay", "-v").out
    assert "Fail and be rescued" in verbose
    shown = operator.types("runs", "show")
    assert "✓ Lock" in shown.out
    (only_run(operator).journal_path).unlink()
    assert operator.types("runs", "replay").code == ExitCode.USAGE


def test_runs_that_are_not_there(operator: Operator) -> None:
    assert operator.types("runs", "list").out == ""
    assert operator.types("runs", "show").code == ExitCode.USAGE
    assert operator.types("runs", "show", "x", "--last").code == ExitCode.USAGE
    assert operator.types("runs", "list", "--json").json() == {"schema": 1, "runs": []}


def test_no_inventory_at_all(operator: Operator) -> None:
    (operator.folder / "failover.yml").unlink()
    (operator.folder / "inventory/hosts.yml").unlink()
    (operator.folder / "inventory").rmdir()
    for command in ("check", "setup", "status", "switchover"):
        answer = operator.types(command, answer="")
        assert answer.code == ExitCode.USAGE
        assert "`failoverctl init` writes one" in answer.err


def test_a_whole_run_with_ansible_for_real(operator: Operator, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the playbook is another one; everything from the command line to the folder is real."""
    playbook = fixtures / "playbooks/problems.yml"

    def run_of(request: Request) -> Any:
        values = {**request.__dict__, "playbook": str(playbook), "inventory": [str(fixtures / "playbooks/hosts.yml")]}
        return Run(Request(**values))

    monkeypatch.setattr(conduct, "Run", run_of)
    answer = operator.types("check")
    assert answer.code == ExitCode.USAGE
    assert "inventory/hosts.yml:4: failover_vips[1].vrid: VRID 51 is used twice" in answer.err
    run = only_run(operator)
    assert (run.path / "ansible/check/job_events").is_dir()
    assert run.result()["verdict"] == "invalid"
