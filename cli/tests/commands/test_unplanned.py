"""failover, rejoin, pause, resume-automation, resume and rollback, with playbooks and agents faked at the edge."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from failoverctl import estate_query, runs
from failoverctl.commands import resume as resume_command
from failoverctl.errors import ExitCode
from failoverctl.journal import Begun, Facts, Journal, RunStarted
from failoverctl.probe import BROKEN_BEFORE
from failoverctl.runner import Event, PlayStarted, TaskEnded, TaskStarted

from .conftest import Operator, Playbooks, Prober

LOSS = {"why": "www3 does not answer", "silent": ["www3"], "mode": "strict", "last_known": "0-1-4711"}


def answer_of(module: str, outcome: str = "changed", **result: Any) -> list[Event]:
    """What a playbook does whose module answers so."""
    action = f"hosting.failover.{module}"
    return [
        PlayStarted("Act: Do it"),
        TaskStarted("Do it", action),
        TaskEnded("Do it", action, "www2", outcome, 0.1, False, result),
    ]


def promoted(**more: Any) -> list[Event]:
    return answer_of(
        "failover",
        **{
            "result": "promoted",
            "from": "www1",
            "to": "www2",
            "term_before": 3,
            "term_after": 4,
            "position": "0-1-5",
            "possible_loss": None,
            **more,
        },
    )


@pytest.fixture(autouse=True)
def _the_agents_answer(agents: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """No host is asked for real, and nothing lingers in an agent."""
    assert agents
    monkeypatch.setattr(resume_command, "LINGER_SECONDS", {})


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose lock was given back."""
    found: list[str] = []

    def release(_settings: object, _estate: object, run_id: str, _silent: object = ()) -> bool:
        found.append(run_id)
        return True

    monkeypatch.setattr(estate_query, "release_lock", release)
    return found


# -------------------------------------------------------------------------------------------- failover


def test_a_failover_asks_every_gate_before_it_asks_the_operator(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.events["failover"] = (promoted(result="possible"), 0)
    answer = operator.types("failover", "--to", "www2", answer="y\n")
    assert answer.code == 0
    assert [request.check for request in playbooks.requests] == [True, False]
    assert playbooks.requests[1].variables["failover_to"] == "www2"
    assert "www2 becomes primary in place of www1" in answer.err
    assert "No acknowledged write is lost" in answer.err
    assert answer.err.count(" Estate cli ") == 2


def test_what_came_of_a_failover(operator: Operator, playbooks: Playbooks, prober: Prober) -> None:
    playbooks.events["failover"] = (promoted(), 0)
    answer = operator.types("failover", "-y")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "www2 is primary in term 4, in place of www1",
        "No acknowledged write is lost: every one is on a host that answers.",
        "verdict: ok",
    ]
    assert prober.targets == []
    document = operator.types("failover", "-y", "--json").json()
    assert (document["failover"]["to"], document["rejoin"], document["automation"]) == ("www2", None, None)


def test_automation_that_was_faster(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.events["failover"] = (promoted(result="already", term_after=5), 0)
    assert operator.types("failover", "-y").out.startswith("www2 is primary in term 5: automation was faster\n")


def test_a_failover_can_be_measured(operator: Operator, playbooks: Playbooks, prober: Prober) -> None:
    playbooks.events["failover"] = (promoted(), 0)
    answer = operator.types("failover", "-y", "--measure", "--writers", "4")
    assert answer.code == 0
    assert prober.targets[0].writers == 4
    assert "writes paused 187 ms, 0 of 118 acknowledged writes lost" in answer.out


@pytest.mark.parametrize(("baseline", "broken_before"), [([], True), (["--baseline", "2s"], False)])
def test_clients_without_service_before_a_failover_do_not_make_it_unknown(
    operator: Operator, playbooks: Playbooks, prober: Prober, baseline: list[str], broken_before: bool
) -> None:
    """They are why it is run, and those of a host that is off hang; seen in the lab."""
    playbooks.events["failover"] = (promoted(), 0)
    began = time.monotonic()
    assert operator.types("failover", "-y", "--measure", *baseline).code == 0
    assert prober.hung_allowed
    assert prober.broken_at is not None
    assert (prober.broken_at == BROKEN_BEFORE) == broken_before
    assert broken_before or began < prober.broken_at < time.monotonic()


@pytest.mark.parametrize("command", [["failover"], ["switchover", "--no-measure"], ["pause"], ["resume-automation"]])
def test_a_host_that_could_not_be_reached_is_not_waited_for_again(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], command: list[str]
) -> None:
    """Ansible waits ten seconds for it, and the first look has just done so."""
    agents["www1"] = None
    operator.types(*command, answer="y\n")
    assert playbooks.requests[-1].variables["failover_unreached"] == ["www1"]


@pytest.mark.parametrize("off", [[], ["www1", "www2"]])
def test_all_hosts_are_asked_when_all_or_none_answered(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], off: list[str]
) -> None:
    """What is wrong with all of them is for the runbook to find out."""
    agents.update(dict.fromkeys(off))
    operator.types("failover", "-y")
    assert "failover_unreached" not in playbooks.requests[-1].variables


def test_a_rejoin_waits_for_its_host(operator: Operator, playbooks: Playbooks, agents: dict[str, Any]) -> None:
    agents["www1"] = None
    operator.types("rejoin", "www1", "-y")
    assert "failover_unreached" not in playbooks.requests[-1].variables


def refused(code: str = "member_silent", loss: Any = LOSS) -> list[Event]:
    refusal = {"code": code, "message": "www3 does not answer", "fix": "bring it back, or accept the loss."}
    return [
        PlayStarted("Preflight: Is it safe?"),
        TaskEnded(
            "Ask every gate",
            "hosting.failover.failover",
            "www2",
            "failed",
            0.1,
            False,
            {
                "result": "refused",
                "msg": "no",
                "failover_refused": True,
                "refusals": [refusal],
                "possible_loss": loss,
            },
        ),
    ]


@pytest.mark.parametrize("typed", [None, "y\n"])
def test_a_refusal_says_exactly_what_may_be_lost(operator: Operator, playbooks: Playbooks, typed: str | None) -> None:
    playbooks.events["failover"] = (refused(), 2)
    answer = operator.types("failover", *(["-y"] if typed is None else []), answer=typed)
    assert answer.code == ExitCode.REFUSED
    assert "Error: failover refused: www3 does not answer." in answer.err
    assert (
        "nothing was changed. What may be lost: www3 does not answer. Silent: www3. The sync set was strict. "
        "The last position known is 0-1-4711."
    ) in answer.err
    assert "Docs: docs/howto/failover.md#gates" in answer.err
    assert len(playbooks.requests) == 1


def test_accepting_a_loss_asks_for_the_name_of_the_estate(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.events["failover"] = (promoted(possible_loss=LOSS), 0)
    wrong = operator.types("failover", "--accept-data-loss", answer="prod\n")
    assert wrong.code == ExitCode.USAGE
    assert "this estate is called 'cli', not 'prod'; nothing was done" in wrong.err
    assert [request.check for request in playbooks.requests] == [True]
    right = operator.types("failover", "--accept-data-loss", answer="cli\n")
    assert right.code == 0
    assert "Acknowledged writes may be lost. Type the name of the estate to go on" in right.err
    assert playbooks.requests[-1].variables["failover_accept_data_loss"] is True
    assert not playbooks.requests[-1].check
    assert "What may be lost: www3 does not answer." in right.out


def test_a_script_that_accepts_a_loss_names_the_estate(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.events["failover"] = (promoted(possible_loss=LOSS), 0)
    answer = operator.types("failover", "--accept-data-loss", "-y")
    assert answer.code == ExitCode.USAGE
    assert "add --confirm-estate NAME" in answer.err
    assert operator.types("failover", "--accept-data-loss", "-y", "--confirm-estate", "prod").code == ExitCode.USAGE
    assert playbooks.requests == []
    assert operator.types("failover", "--accept-data-loss", "-y", "--confirm-estate", "cli").code == 0


def test_hosts_that_are_fenced_must_be_voters(operator: Operator, playbooks: Playbooks) -> None:
    answer = operator.types("failover", "-y", "--confirm-fenced", "www1", "--confirm-fenced", "witnes")
    assert answer.code == ExitCode.USAGE
    assert "'witnes' is no data host and no witness of estate cli.\n  Fix: did you mean 'witness'?" in answer.err
    playbooks.events["failover"] = (promoted(), 0)
    assert operator.types("failover", "-y", "--confirm-fenced", "www1", "--confirm-fenced", "witness").code == 0
    assert playbooks.requests[-1].variables["failover_confirm_fenced"] == ["www1", "witness"]


# -------------------------------------------------------------------------------------------- rejoin


def test_a_rejoin_says_what_only_the_host_had(operator: Operator, playbooks: Playbooks) -> None:
    divergent = {"transactions": 2, "sql": "/d/a.sql", "raw": "/d/a.bin"}
    playbooks.events["rejoin"] = (answer_of("rejoin", result="recloned", method="reclone", divergent=divergent), 0)
    answer = operator.types("rejoin", "www2", "--reclone", answer="y\n")
    assert answer.code == 0
    assert [request.check for request in playbooks.requests] == [True, False]
    assert "2 transactions that only www2 had, saved on www2 in /d/a.sql and /d/a.bin" in answer.err
    assert "Its data directory is replaced by a copy" in answer.err
    assert answer.out.splitlines() == [
        "rejoined with a new copy of the primary's data by reclone",
        "2 transactions that only www2 had, saved on www2 in /d/a.sql and /d/a.bin",
        "verdict: ok",
    ]
    variables = playbooks.requests[-1].variables
    assert (variables["rejoin_host"], variables["rejoin_reclone"]) == ("www2", True)


def test_a_host_that_follows_is_not_asked_about(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.events["rejoin"] = (answer_of("rejoin", "ok", result="already", method=None, divergent=None), 0)
    answer = operator.types("rejoin", "www1", answer="")
    assert answer.code == 0
    assert len(playbooks.requests) == 1
    assert "it follows the primary already" in answer.out
    assert operator.types("rejoin", "www1", "--check").err.splitlines()[-1] == "Next: failoverctl rejoin www1"


def test_only_a_data_host_rejoins(operator: Operator, playbooks: Playbooks) -> None:
    assert operator.types("rejoin", "witness", "-y").code == ExitCode.USAGE
    assert operator.types("rejoin", "-y").code == ExitCode.USAGE
    assert playbooks.requests == []


# -------------------------------------------------------------------------------------------- automation


def test_pause(operator: Operator, playbooks: Playbooks) -> None:
    pause = {"by": "anna", "reason": "kernel", "until": "2026-11-23T06:00:00.000Z"}
    playbooks.events["pause"] = (answer_of("automation", pause=pause), 0)
    answer = operator.types("pause", "--for", "90m", "--reason", "kernel", answer="y\n")
    assert answer.code == 0
    assert "For 1 h 30 min nothing fails over by itself" in answer.err
    variables = playbooks.requests[0].variables
    assert (variables["pause_seconds"], variables["pause_reason"]) == (5400, "kernel")
    assert answer.out.splitlines() == ["automation is paused until 2026-11-23T06:00:00.000Z", "verdict: ok"]
    assert answer.err.splitlines()[-1] == "Next: failoverctl resume-automation"


def test_a_pause_lasts_for_some_time(operator: Operator, playbooks: Playbooks) -> None:
    assert operator.types("pause", "--for", "0", "-y").code == ExitCode.USAGE
    assert operator.types("pause", "--for", "soon", "-y").code == ExitCode.USAGE
    assert playbooks.requests == []


def test_resume_automation(operator: Operator, playbooks: Playbooks) -> None:
    assert operator.types("resume-automation", "-y").code == 0
    assert playbooks.names() == ["resume_automation"]
    assert operator.types("resume-automation", "--check").err.splitlines()[-1] == "Next: failoverctl resume-automation"


@pytest.mark.parametrize("command", [["failover"], ["rejoin", "www1"], ["pause"], ["resume-automation"]])
def test_nobody_to_ask_is_wrong_usage(operator: Operator, playbooks: Playbooks, command: list[str]) -> None:
    answer = operator.types(*command)
    assert answer.code == ExitCode.USAGE
    assert "--yes" in answer.err
    assert playbooks.requests == []


@pytest.mark.parametrize("command", [["failover"], ["rejoin", "www1"], ["pause"], ["resume-automation"]])
def test_a_plan_contacts_nobody(operator: Operator, playbooks: Playbooks, command: list[str]) -> None:
    answer = operator.types(*command, "--plan")
    assert answer.code == 0
    assert "Act" in answer.out
    assert operator.types(*command, "--plan", "--json").json()["runbook"] == command[0].replace("-", "_")
    assert playbooks.requests == []


def test_a_plan_names_the_host(operator: Operator) -> None:
    phases = operator.types("rejoin", "www1", "--plan", "--json").json()["phases"]
    assert {phase["hosts"] for phase in phases} == {"failover_database", "www1"}


@pytest.mark.parametrize("command", [["failover"], ["rejoin", "www1"], ["pause"], ["resume-automation"]])
def test_check_changes_nothing_and_asks_nothing(operator: Operator, playbooks: Playbooks, command: list[str]) -> None:
    assert operator.types(*command, "--check", "--diff").code == 0
    assert [(request.check, request.diff) for request in playbooks.requests] == [(True, True)]


# -------------------------------------------------------------------------------------------- resume and rollback

ENTRY = {
    "www1": {"role": "primary", "term": 2, "primary": "www1"},
    "www2": {"role": "replica", "term": 2, "primary": "www1"},
}


def died(
    operator: Operator, runbook: str, *, entry: dict[str, Any] | None = None, pid: int = 1, **request: Any
) -> runs.RunFolder:
    """A run whose process was killed in its Act."""
    process = {"pid": pid}
    values = {"estate": "cli", "process": process, "owner": "anna@desk", **request}
    run = runs.create(operator.folder / "state/runs", runbook, values)
    journal = Journal(run.journal_path)
    journal.write(RunStarted(runbook=runbook, run_id=run.run_id, request=run.request()))
    for host, facts in (ENTRY if entry is None else entry).items():
        journal.write(Facts(host=host, facts=facts))
    journal.write(Begun(play="Act: Hand over", title="Hand the primary role over"))
    journal.close()
    return run


def hold(agents: dict[str, Any], run: runs.RunFolder) -> None:
    lock = {"owner": "anna@desk", "run_id": run.run_id, "runbook": run.runbook}
    for status in agents.values():
        status["lock"] = lock


def test_a_switchover_that_took_place_leaves_nothing_but_its_lock(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], released: list[str]
) -> None:
    run = died(operator, "switchover", parameters={"switchover_to": "www2"})
    hold(agents, run)
    answer = operator.types("resume", "-y")
    assert answer.code == 0
    assert f"Run {run.run_id} of anna@desk: died." in answer.err
    assert "'Hand the primary role over' of 'Act: Hand over' was begun at" in answer.err
    assert "  www1: role was primary, is replica" in answer.err
    assert "the switchover took place" in answer.err.replace("\n", " ")
    assert answer.out == "Nothing is left to do.\n"
    assert released == [run.run_id]
    assert playbooks.requests == []
    assert run.closed()["how"] == "resumed"
    assert "Nothing to resume" in operator.types("resume", "-y").out
    assert "died" not in operator.types("status").err


def test_a_switchover_that_did_not_happen_runs_again(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], released: list[str]
) -> None:
    entry = {"www2": {"role": "primary", "term": 3, "primary": "www2"}}
    run = died(operator, "switchover", entry=entry, parameters={"switchover_to": "www1"})
    hold(agents, run)
    playbooks.does("switchover", "good", 0)
    answer = operator.types("resume", answer="y\n")
    assert answer.code == 0
    assert "Run it: switchover switchover_to=www1?" in answer.err
    assert released == [run.run_id]
    (request,) = playbooks.requests
    assert request.variables["switchover_to"] == "www1"
    again = runs.find(operator.folder / "state/runs", None)
    assert again.request()["resumes"] == run.run_id
    assert run.closed()["by"] == again.run_id


def test_the_lock_of_another_run_stays(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], released: list[str]
) -> None:
    died(operator, "switchover", parameters={"switchover_to": "www2"})
    agents["www1"]["lock"] = {"owner": "bert", "run_id": "other", "runbook": "setup"}
    assert operator.types("resume", "-y").code == 0
    assert released == []
    assert playbooks.requests == []


def test_a_check_says_what_would_be_done_and_does_nothing(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], released: list[str]
) -> None:
    run = died(operator, "setup")
    hold(agents, run)
    answer = operator.types("resume", "--check")
    assert answer.code == 0
    assert "It would run: setup" in answer.err
    assert answer.out == "Nothing was done.\n"
    assert (released, playbooks.requests, run.closed()) == ([], [], {})


def test_rollback_before_the_commit(operator: Operator, playbooks: Playbooks, released: list[str]) -> None:
    entry = {"www2": {"role": "primary", "term": 3, "primary": "www2"}}
    run = died(operator, "switchover", entry=entry, parameters={"switchover_to": "www1"})
    answer = operator.types("rollback", "-y")
    assert answer.code == 0
    assert "rollback: nothing was moved: www2 is primary in term 3." in answer.err
    assert (playbooks.requests, released) == ([], [])
    assert run.closed()["how"] == "rolled back"


def test_rollback_after_the_commit_offers_to_switch_back(operator: Operator, playbooks: Playbooks) -> None:
    died(operator, "switchover", parameters={"switchover_to": "www2"})
    playbooks.does("switchover", "good", 0)
    answer = operator.types("rollback", answer="y\n")
    assert answer.code == 0
    assert "Run it: switchover switchover_to=www1?" in answer.err
    assert playbooks.requests[0].variables["switchover_to"] == "www1"


def test_what_a_person_has_to_decide_is_left(
    operator: Operator, playbooks: Playbooks, agents: dict[str, Any], released: list[str]
) -> None:
    agents["www2"]["role"] = "fenced"
    run = died(operator, "failover", parameters={"failover_accept_data_loss": True})
    hold(agents, run)
    answer = operator.types("resume", "-y")
    assert answer.code == ExitCode.FAILED
    assert "Fix: failoverctl failover --check" in answer.err
    assert released == [run.run_id]
    assert (playbooks.requests, run.closed()) == ([], {})
    document = operator.types("resume", "-y", "--json").json()
    assert (document["choice"], document["exit_code"]) == ("by_hand", 1)


def test_without_a_primary_one_waits_for_a_while(
    operator: Operator, agents: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume_command, "SETTLE_SECONDS", 0.0)
    agents["www2"]["role"] = "fenced"
    died(operator, "switchover", parameters={"switchover_to": "www1"})
    answer = operator.types("resume", "-y")
    assert answer.code == ExitCode.FAILED
    assert "is left as it is: no host is primary." in answer.err


def test_what_was_begun_just_now_is_let_end(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(resume_command, "LINGER_SECONDS", {"switchover": 8.0})
    monkeypatch.setattr(time, "sleep", slept.append)
    died(operator, "switchover", parameters={"switchover_to": "www2"})
    assert operator.types("resume", "-y").code == 0
    assert 7.0 < slept[0] <= 8.0


def test_nothing_can_be_said_without_an_agent(operator: Operator, agents: dict[str, Any]) -> None:
    died(operator, "setup")
    agents.update(www1="off", www2="off")
    answer = operator.types("resume", "-y")
    assert answer.code == ExitCode.UNREACHABLE
    assert "no agent answers: www1: off; www2: off." in answer.err


def test_the_document_has_the_same_keys_whatever_happened(operator: Operator, playbooks: Playbooks) -> None:
    keys = [tuple(operator.types("resume", "--json").json())]
    died(operator, "switchover", parameters={"switchover_to": "www2"})
    keys.append(tuple(operator.types("resume", "-y", "--json").json()))
    died(operator, "setup")
    playbooks.does("setup", "good", 0)
    document = operator.types("resume", "-y", "--json").json()
    keys.append(tuple(document))
    assert len(set(keys)) == 1
    assert (document["choice"], document["result"]["verdict"]) == ("run", "ok")


def test_runs_of_which_nothing_is_left(operator: Operator, playbooks: Playbooks) -> None:
    playbooks.does("switchover", "good", 0)
    assert operator.types("switchover", "-y", "--no-measure").code == 0
    done = runs.find(operator.folder / "state/runs", None)
    assert "it ended with the verdict ok" in operator.types("resume", done.run_id, "-y").out
    checked = died(operator, "setup", check=True)
    assert "it only checked" in operator.types("rollback", checked.run_id, "-y").out
    assert "no run of estate cli was cut short" in operator.types("resume", "-y").out


def test_a_run_at_work_is_left_alone(operator: Operator) -> None:
    run = died(operator, "setup", pid=os.getpid())
    process = runs._process(os.getpid())
    runs.write_json(run.path / "request.json", {**run.request(), "process": process})
    answer = operator.types("resume", run.run_id, "-y")
    assert answer.code == ExitCode.LOCKED
    assert f"is at work on this machine (process {os.getpid()})" in answer.err


def test_a_run_of_another_estate(operator: Operator) -> None:
    run = died(operator, "setup", estate="other")
    answer = operator.types("resume", run.run_id, "-y")
    assert answer.code == ExitCode.USAGE
    assert "is of estate other, and this inventory is cli" in answer.err


def test_a_plan_of_what_would_be_resumed(operator: Operator, playbooks: Playbooks) -> None:
    died(operator, "switchover", parameters={"switchover_to": "www2"})
    answer = operator.types("resume", "--plan")
    assert answer.code == 0
    assert "switchover: make another data host the primary" in answer.out
    assert "no entry says that it ended" in answer.err
    assert playbooks.requests == []


def test_a_run_that_died_is_pointed_to(operator: Operator) -> None:
    run = died(operator, "setup")
    assert f"failoverctl resume {run.run_id}" in operator.types("runs", "show").err
    assert "failoverctl resume looks at the hosts and goes on" in operator.types("status").err


def test_what_was_asked_for_is_known_afterwards(operator: Operator, playbooks: Playbooks) -> None:
    assert operator.types("switchover", "-y", "--no-measure").code == 0
    before = runs.find(operator.folder / "state/runs", None).request()["inventory_sha256"]
    assert len(before) == 64
    path: Path = operator.folder / "inventory/hosts.yml"
    path.write_text(path.read_text() + "# changed\n")
    assert operator.types("switchover", "-y", "--no-measure").code == 0
    assert runs.find(operator.folder / "state/runs", None).request()["inventory_sha256"] != before
    assert playbooks.names() == ["switchover", "switchover"]
