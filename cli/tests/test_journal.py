"""The journal: what is written can be read, and every view of it is the same fold."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from failoverctl import journal
from failoverctl.journal import (
    Act,
    Answer,
    Begun,
    Facts,
    Journal,
    Locked,
    Note,
    PhaseFinished,
    PhaseStarted,
    ProbeEvent,
    Problems,
    Record,
    Refused,
    RunFinished,
    RunStarted,
    RunState,
    Step,
    Switchover,
    Task,
    TaskStarted,
    apply,
    decode,
    encode,
    fold,
)
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.text(max_size=12)
SECONDS = st.floats(0, 1e6, allow_nan=False)
VALUES = st.dictionaries(WORDS, st.one_of(st.none(), st.booleans(), st.integers(), WORDS), max_size=3)
PHASE = st.sampled_from(journal.PHASES)
TITLE = st.sampled_from(["one", "two"])
STAMP: dict[str, Any] = {"t": SECONDS, "at": st.just("2026-11-23T05:00:00.000Z")}
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(RunStarted, runbook=WORDS, run_id=WORDS, request=VALUES, **STAMP),
    st.builds(PhaseStarted, phase=PHASE, title=TITLE, **STAMP),
    st.builds(
        PhaseFinished,
        phase=PHASE,
        title=TITLE,
        outcome=st.sampled_from(["ok", "failed", "skipped"]),
        seconds=SECONDS,
        **STAMP,
    ),
    st.builds(TaskStarted, phase=PHASE, title=WORDS, **STAMP),
    st.builds(
        Task,
        phase=PHASE,
        title=WORDS,
        host=st.sampled_from(["www1", "www2"]),
        outcome=st.one_of(st.sampled_from(journal.TASK_OUTCOMES), WORDS),
        seconds=SECONDS,
        **STAMP,
    ),
    st.builds(Step, name=WORDS, title=WORDS, ms=SECONDS, outcome=WORDS, **STAMP),
    st.builds(Switchover, result=VALUES, **STAMP),
    st.builds(Refused, refusals=st.lists(VALUES, max_size=2).map(tuple), **STAMP),
    st.builds(Locked, lock=VALUES, **STAMP),
    st.builds(Problems, problems=st.lists(VALUES, max_size=2).map(tuple), **STAMP),
    st.builds(ProbeEvent, event=st.sampled_from(["started", "stopped"]), **STAMP),
    st.builds(
        Act,
        what=WORDS,
        ident=WORDS,
        title=WORDS,
        event=WORDS,
        clock=SECONDS,
        done=SECONDS,
        hosts=st.lists(WORDS, max_size=2).map(tuple),
        **STAMP,
    ),
    st.builds(Note, text=WORDS, **STAMP),
    st.builds(RunFinished, verdict=WORDS, exit_code=st.integers(0, 255), **STAMP),
)
HISTORIES = st.lists(RECORDS, max_size=30)


@given(RECORDS)
def test_what_is_encoded_is_decoded(record: Record) -> None:
    line = encode(record)
    assert "\n" not in line
    assert json.loads(line)["schema"] == 1
    assert decode(line) == record


@given(HISTORIES, st.integers(0, 30))
def test_folding_in_two_parts_is_folding_at_once(history: list[Record], cut: int) -> None:
    assert fold(history[cut:], fold(history[:cut])) == fold(history)


@given(HISTORIES)
def test_the_fold_counts_every_task_and_every_phase(history: list[Record]) -> None:
    state = fold(history)
    assert len(state.phases) == sum(isinstance(item, PhaseStarted) for item in history)
    began = next((n for n, item in enumerate(history) if isinstance(item, PhaseStarted)), len(history))
    tasks = [item for item in history[began:] if isinstance(item, Task)]
    assert sum(phase.tasks for phase in state.phases) == len(tasks)
    known = [item for item in tasks if item.outcome in journal.TASK_OUTCOMES]
    cells = [cell for phase in state.phases for cell in phase.hosts.values()]
    counted = sum(getattr(cell, word) for cell in cells for word in journal.TASK_OUTCOMES)
    assert counted == len(known)
    assert state.finished == any(isinstance(item, RunFinished) for item in history)


@given(HISTORIES)
def test_at_most_one_phase_is_current(history: list[Record]) -> None:
    state = fold(history)
    if state.current is not None:
        assert state.current is state.phases[-1]
        assert not state.finished


def test_a_torn_last_line_and_unknown_kinds_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = encode(Note(text="kept"))
    path.write_text(f'{whole}\n{{"kind": "from_the_future", "x": 1}}\n{whole[: len(whole) // 2]}')
    assert list(journal.read_journal(path)) == [Note(text="kept")]


def test_a_newer_record_with_more_fields_is_read() -> None:
    assert decode('{"kind": "note", "text": "x", "colour": "red"}') == Note(text="x")
    assert decode('{"kind": "note"}') is None
    assert decode("[1]") is None


def test_the_writer_stamps_and_appends(tmp_path: Path) -> None:
    clock = iter([100.0, 100.5, 102.25])
    moment = datetime(2026, 11, 23, 5, 0, 0, 123456, tzinfo=UTC)
    writer = Journal(tmp_path / "journal.jsonl", clock=lambda: next(clock), now=lambda: moment)
    first = writer.write(Note(text="a"))
    writer.write(Note(text="b"))
    writer.close()
    assert (first.t, first.at) == (0.5, "2026-11-23T05:00:00.123Z")
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["t"] for line in lines] == [0.5, 2.25]
    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_kinds_are_those_of_the_format() -> None:
    kinds = {item.kind for item in journal.Record.__args__}
    assert kinds == {
        "run_started",
        "phase_started",
        "phase_finished",
        "task_started",
        "task",
        "step",
        "switchover",
        "answer",
        "begun",
        "facts",
        "refused",
        "locked",
        "problems",
        "probe",
        "act",
        "note",
        "run_finished",
    }
    assert all({"at", "t"} <= {field.name for field in fields(item)} for item in journal.Record.__args__)


def test_a_stray_end_of_a_phase_changes_nothing() -> None:
    state = apply(RunState(), PhaseFinished(phase="Act", title="x", outcome="ok", seconds=1.0))
    assert state.phases == ()


def test_the_last_task_that_was_begun_and_where_it_ended() -> None:
    state = fold([Begun(play="Act: Hand over", title="Hand over")])
    assert (state.begun and state.begun.title, state.ended_on, state.acted) == ("Hand over", (), True)
    state = apply(state, Task(phase="Act", title="Hand over", host="www1", outcome="ok", seconds=1.0))
    state = apply(state, Task(phase="Act", title="Another", host="www2", outcome="ok", seconds=1.0))
    assert state.ended_on == ("www1",)
    assert apply(state, Begun(play="Verify: x", title="y")).ended_on == ()


def test_facts_from_before_anything_was_changed_are_kept() -> None:
    records: list[Record] = [
        Facts(host="www1", facts={"term": 3}),
        Begun(play="Preflight: Is it safe?", title="Ask"),
        Facts(host="www1", facts={"term": 4}),
        Begun(play="Act: Hand over", title="Hand over"),
        Facts(host="www1", facts={"term": 5}),
    ]
    state = fold(records)
    assert (state.facts_before, state.facts) == ({"www1": {"term": 4}}, {"www1": {"term": 5}})


def test_answers_of_modules_are_kept_by_name() -> None:
    state = fold([Answer(module="failover", result={"to": "a"}), Answer(module="failover", result={"to": "b"})])
    assert state.answers == {"failover": {"to": "b"}}
