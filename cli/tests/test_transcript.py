"""From real events of ansible-runner to the journal and the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from failoverctl import runner
from failoverctl.errors import ExitCode
from failoverctl.journal import PhaseFinished, Record, RunState, Step, Switchover, Task, fold
from failoverctl.runner import Ended, Event, Output, Recap, TaskEnded
from failoverctl.transcript import EXIT_CODES, Transcript, Verdict, diff_of, message_of, split_name


def captured(fixtures: Path, name: str) -> list[Event]:
    lines = (fixtures / "events" / f"{name}.jsonl").read_text().splitlines()
    parsed = (runner.parse_event(json.loads(line)) for line in lines)
    return [event for event in parsed if event is not None]


def follow(events: list[Event], ended: Ended) -> tuple[list[Record], RunState, Verdict]:
    clock = iter(range(1000))
    transcript = Transcript(lambda: float(next(clock)))
    records = [record for event in [*events, ended] for record in transcript.feed(event)]
    records += transcript.closing(ended)
    return records, fold(records), transcript.verdict(ended)


def test_a_good_run(fixtures: Path) -> None:
    records, state, verdict = follow(captured(fixtures, "good"), Ended(0, False, False))
    assert verdict == Verdict("ok", ExitCode.OK)
    assert [(phase.phase, phase.title, phase.outcome) for phase in state.phases] == [
        ("Lock", "take the estate lock", "ok"),
        ("Act", "switch over", "ok"),
        ("Verify", "nobody to verify", "skipped"),
    ]
    tasks = [(record.title, record.outcome) for record in records if isinstance(record, Task)]
    assert tasks == [
        ("Take the lock", "changed"),
        ("Fail and be rescued", "failed"),
        ("Rescue it", "ok"),
        ("Fail and be ignored", "ok"),
        ("Skip this", "skipped"),
        ("Switch over", "changed"),
    ]


def test_what_was_refused(fixtures: Path) -> None:
    _, state, verdict = follow(captured(fixtures, "refused"), Ended(2, False, False))
    assert (verdict.word, verdict.exit_code) == ("refused", ExitCode.REFUSED)
    assert [item["code"] for item in state.refusals] == ["lag"]
    assert state.phases[0].outcome == "failed"


def test_who_holds_the_lock(fixtures: Path) -> None:
    _, state, verdict = follow(captured(fixtures, "locked"), Ended(2, False, False))
    assert (verdict.word, verdict.exit_code) == ("locked", ExitCode.LOCKED)
    assert state.lock is not None
    assert state.lock["owner"] == "anna@desk"


def test_problems_of_the_configuration(fixtures: Path) -> None:
    _, state, verdict = follow(captured(fixtures, "problems"), Ended(2, False, False))
    assert (verdict.word, verdict.exit_code) == ("invalid", ExitCode.USAGE)
    assert [item["code"] for item in state.problems] == ["vrid_twice", "not_debian"]


def test_a_host_that_does_not_answer(fixtures: Path) -> None:
    _, state, verdict = follow(captured(fixtures, "unreachable"), Ended(4, False, False))
    assert (verdict.word, verdict.exit_code) == ("unreachable", ExitCode.UNREACHABLE)
    assert "Connection refused" in verdict.reason
    assert state.failures[0].outcome == "unreachable"


def test_refusals_of_a_run_that_went_well_do_not_count(fixtures: Path) -> None:
    _, state, verdict = follow(captured(fixtures, "refused"), Ended(0, False, False))
    assert verdict.word == "ok"
    assert state.refusals == ()


@pytest.mark.parametrize(("killed", "reason"), [(False, "stopped between two tasks"), (True, "killed")])
def test_an_interrupted_run(fixtures: Path, killed: bool, reason: str) -> None:
    _, _, verdict = follow(captured(fixtures, "unreachable"), Ended(99, True, killed))
    assert verdict == Verdict("interrupted", ExitCode.INTERRUPTED, reason)


def test_a_stop_that_came_too_late_is_no_interruption(fixtures: Path) -> None:
    _, _, verdict = follow(captured(fixtures, "good"), Ended(0, True, False))
    assert verdict.word == "ok"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[ERROR]: Decryption failed (no vault secrets were found that could decrypt).", "invalid"),
        ("[ERROR]: the playbook: hosting.failover.nope could not be found", "invalid"),
        ("[ERROR]: Unexpected Exception", "failed"),
    ],
)
def test_ansible_that_did_not_start(text: str, word: str) -> None:
    _, _, verdict = follow([Output("error", text)], Ended(1, False, False))
    assert verdict.word == word
    assert text in verdict.reason


def ended_task(result: dict[str, object], outcome: str = "failed", action: str = "x") -> TaskEnded:
    return TaskEnded("t", action, "www1", outcome, 0.1, False, result)


def test_refusals_inside_the_items_of_a_loop_are_found() -> None:
    refusal = {"code": "ddl", "message": "ALTER TABLE runs"}
    result: dict[str, object] = {
        "results": [{"failed": True, "failover_refused": True, "refusals": [refusal], "msg": "no"}]
    }
    _, state, verdict = follow([ended_task(result)], Ended(2, False, False))
    assert verdict.word == "refused"
    assert list(state.refusals) == [refusal]


def test_the_same_problem_from_two_hosts_is_told_once() -> None:
    result: dict[str, object] = {"failover_problems": [{"code": "x", "message": "y"}]}
    _, state, _ = follow([ended_task(result), ended_task(result)], Ended(2, False, False))
    assert len(state.problems) == 1


def test_problems_that_are_only_silent_hosts_are_no_wrong_configuration() -> None:
    result: dict[str, object] = {"failover_problems": [{"code": "unreachable", "message": "www1 is off"}]}
    _, state, verdict = follow([ended_task(result)], Ended(2, False, False))
    assert verdict == Verdict("unreachable", ExitCode.UNREACHABLE, "www1 is off")
    assert len(state.problems) == 1


def test_a_wait_that_ran_out_has_its_own_exit_code() -> None:
    _, _, verdict = follow([ended_task({"failover_timed_out": True})], Ended(2, False, False))
    assert (verdict.word, verdict.exit_code) == ("failed", ExitCode.TIMED_OUT)


def test_steps_are_those_of_what_happened_and_not_of_the_check_before() -> None:
    step = {"name": "fence", "title": "Stop writes", "at": 310.0, "ms": 4.1, "outcome": "ok"}
    action = "hosting.failover.switchover"
    checked = ended_task({"result": "possible", "steps": [step]}, "ok", action)
    done = ended_task({"result": "switched", "steps": [step], "invocation": {}}, "changed", action)
    records, state, _ = follow([checked, done], Ended(0, False, False))
    assert [record.name for record in records if isinstance(record, Step)] == ["fence"]
    assert state.switchover == {"result": "switched", "steps": [step]}
    assert sum(isinstance(record, Switchover) for record in records) == 2


def test_a_failure_that_is_the_last_word_of_its_host_fails_the_phase() -> None:
    play = runner.PlayStarted("Act: do it")
    records, _, _ = follow([play, ended_task({})], Ended(2, False, False))
    assert [record.outcome for record in records if isinstance(record, PhaseFinished)] == ["failed"]


def test_what_was_done_is_neither_refused_nor_locked() -> None:
    act, verify = runner.PlayStarted("Act: do it"), runner.PlayStarted("Verify: look")
    locked = ended_task({"failover_locked": True, "lock": {"owner": "anna"}, "msg": "locked"})
    events: list[Event] = [act, ended_task({}, "changed"), verify, locked]
    _, state, verdict = follow(events, Ended(2, False, False))
    assert verdict == Verdict("failed", ExitCode.FAILED, "www1: t: locked")
    assert state.lock is not None
    transcript = Transcript(lambda: 0.0, check=True)
    for event in events:
        list(transcript.feed(event))
    assert transcript.verdict(Ended(2, False, False)).word == "locked"


def test_a_phase_whose_last_task_was_skipped_was_not_skipped() -> None:
    play = runner.PlayStarted("Act: do it")
    events: list[Event] = [play, ended_task({}, "changed"), ended_task({}, "skipped")]
    records, _, _ = follow(events, Ended(0, False, False))
    assert [record.outcome for record in records if isinstance(record, PhaseFinished)] == ["ok"]


def test_a_host_whose_silence_was_ignored_may_have_ended_the_playbook() -> None:
    play, recap = runner.PlayStarted("Lock: take it"), Recap(failures={}, unreachable={}, rescued={})
    silent = ended_task({"unreachable": True, "msg": "no route"}, "unreachable")
    for code, outcome in ((4, "failed"), (0, "ok")):
        records, _, _ = follow([play, silent, recap], Ended(code, False, False))
        assert [record.outcome for record in records if isinstance(record, PhaseFinished)] == [outcome]


def test_the_recap_knows_what_was_rescued() -> None:
    play = runner.PlayStarted("Act: do it")
    recap = Recap(failures={}, unreachable={}, rescued={"www1": 1})
    records, _, _ = follow([play, ended_task({}), recap], Ended(0, False, False))
    assert [record.outcome for record in records if isinstance(record, PhaseFinished)] == ["ok"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Preflight: Is it safe?", ("Preflight", "Is it safe?")),
        ("Dance: now", ("Act", "Dance: now")),
        ("no colon", ("Act", "no colon")),
        ("", ("Act", "")),
    ],
)
def test_names_of_plays(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


def test_messages_of_failures() -> None:
    assert message_of({"msg": "a", "stderr": "b"}) == "a\nb"
    assert message_of({"results": [{"failed": True, "msg": "x"}, {"msg": "fine"}]}) == "x"
    assert message_of({}) == "no message"


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ({}, []),
        ({"diff": {"before": "a\n", "after": "a\n"}}, []),
        ({"diff": {"prepared": "moved x\n"}}, ["moved x"]),
        (
            {"diff": {"before": "a\n", "after": "b\n", "before_header": "/etc/x", "after_header": "/etc/x"}},
            ["--- before: /etc/x", "+++ after: /etc/x", "@@ -1 +1 @@", "-a", "+b"],
        ),
        (
            {"diff": [{"before": None, "after": {"state": "on"}}]},
            ["--- before", "+++ after", "@@ -0,0 +1,3 @@", "+{", '+  "state": "on"', "+}"],
        ),
        ({"results": [{"diff": {"prepared": "one"}}, {"diff": {"prepared": "two"}}]}, ["one", "two"]),
    ],
)
def test_what_a_task_changed(result: dict[str, object], lines: list[str]) -> None:
    assert diff_of(result).splitlines() == lines
    for asked, shown in ((True, lines), (False, [])):
        transcript = Transcript(lambda: 0.0, diff=asked)
        (record,) = transcript.feed(ended_task(result, "changed"))
        assert isinstance(record, Task)
        assert record.diff.splitlines() == shown


def test_every_verdict_has_an_exit_code() -> None:
    assert EXIT_CODES == {
        "ok": 0,
        "pass": 0,
        "fail": 1,
        "unknown": 1,
        "failed": 1,
        "refused": 3,
        "locked": 6,
        "unreachable": 4,
        "invalid": 2,
        "interrupted": 130,
    }


def test_a_failover_has_steps_and_an_answer() -> None:
    step = {"name": "promote", "title": "Promote", "at": 310.0, "ms": 4.1, "outcome": "ok"}
    action = "hosting.failover.failover"
    checked = ended_task({"result": "possible", "steps": [step]}, "ok", action)
    done = ended_task({"result": "promoted", "steps": [step], "to": "www2"}, "changed", action)
    records, state, _ = follow([checked, done], Ended(0, False, False))
    assert [record.name for record in records if isinstance(record, Step)] == ["promote"]
    assert state.answers == {"failover": {"host": "www1", "result": "promoted", "steps": [step], "to": "www2"}}


def test_to_include_tasks_is_no_work() -> None:
    """A host that was not asked was shown as one of those that did well; seen in the lab."""
    include = ended_task({}, "ok", "ansible.builtin.include_tasks")
    records, state, _ = follow(
        [runner.PlayStarted("Act: Nothing"), include, ended_task({}, "skipped")], Ended(0, False, False)
    )
    assert [record.outcome for record in records if isinstance(record, Task)] == ["skipped"]
    assert state.phases[0].outcome == "skipped"


def test_an_include_that_fails_is_told() -> None:
    include = ended_task({"msg": "no such file"}, "failed", "ansible.builtin.include_tasks")
    _, state, _ = follow([runner.PlayStarted("Act: Nothing"), include], Ended(2, False, False))
    assert [failure.message for failure in state.failures] == ["no such file"]


def test_a_module_that_was_skipped_has_no_answer() -> None:
    _, state, _ = follow([ended_task({}, "skipped", "hosting.failover.failover")], Ended(0, False, False))
    assert state.answers == {}


def test_what_an_agent_told_is_kept() -> None:
    result: dict[str, object] = {"estate": {"host": "www2", "role": "replica", "term": 3}}
    _, state, _ = follow([ended_task(result, "ok")], Ended(0, False, False))
    assert (state.facts["www2"]["role"], state.facts["www2"]["term"]) == ("replica", 3)


def test_the_first_failure_is_the_reason() -> None:
    failed = ended_task({"msg": "etcd gave no answer"})
    _, _, verdict = follow([failed, ended_task({"msg": "ended, because another host failed"})], Ended(2, False, False))
    assert verdict.reason == "www1: t: etcd gave no answer"


def unreachable_task(host: str) -> TaskEnded:
    return TaskEnded("t", "x", host, "unreachable", 0.1, False, {"msg": "no route"})


def test_a_host_that_was_lost_is_the_cause_of_what_its_rescue_says() -> None:
    events: list[Event] = [unreachable_task("www2"), ended_task({"msg": "ended"}), Recap({"www1": 1}, {"www2": 1}, {})]
    _, _, verdict = follow(events, Ended(4, False, False))
    assert (verdict.word, verdict.reason) == ("unreachable", "www2: no route")


def test_a_host_that_may_be_silent_is_no_cause() -> None:
    events: list[Event] = [unreachable_task("www2"), ended_task({"msg": "no lease"}), Recap({"www1": 1}, {}, {})]
    _, _, verdict = follow(events, Ended(2, False, False))
    assert (verdict.word, verdict.reason) == ("failed", "www1: t: no lease")
