"""Run folders as runs leave them, made from a seed so that their reports are always the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from failoverctl import journal
from failoverctl.probe.checker import History, Objectives, check
from failoverctl.probe.model import Meta, NodeRead, Op, Outcome, Row, Sample

STARTED = "2026-11-23T05:10:22.000Z"
RUN_ID = "20261123T051022Z-switchover-7f3a"
SWITCHOVER: dict[str, Any] = {
    "changed": True,
    "result": "switched",
    "from": "www1",
    "to": "www2",
    "term_before": 3,
    "term_after": 4,
    "critical_ms": 94.2,
    "steps": [
        {"name": "prepare", "title": "Prepare the new primary", "at": 0.0, "ms": 88.4, "outcome": "ok"},
        {"name": "fence", "title": "Stop writes on the old primary", "at": 88.6, "ms": 9.1, "outcome": "ok"},
        {"name": "drain", "title": "End sessions that read_only does not stop", "at": 97.8, "ms": 3.0, "outcome": "ok"},
        {"name": "position", "title": "Read the final position", "at": 100.9, "ms": 0.8, "outcome": "ok"},
        {
            "name": "catch_up",
            "title": "Prove that the new primary has everything",
            "at": 101.8,
            "ms": 14.9,
            "outcome": "ok",
        },
        {"name": "commit", "title": "Commit the new term", "at": 116.8, "ms": 12.2, "outcome": "ok"},
        {"name": "promote", "title": "Make the new primary writable", "at": 129.2, "ms": 53.6, "outcome": "ok"},
        {"name": "attach", "title": "Replicate from the new primary", "at": 129.3, "ms": 71.0, "outcome": "ok"},
        {"name": "move_address", "title": "Hand the address over", "at": 129.4, "ms": 66.5, "outcome": "ok"},
        {
            "name": "reset_sockets",
            "title": "End the sessions that came over the old address",
            "at": 196.0,
            "ms": 4.3,
            "outcome": "ok",
        },
    ],
    "refusals": [],
}
PHASES = (
    ("Lock", "One runbook at a time", 1.1, "ok"),
    ("Preflight", "Is it safe?", 4.2, "ok"),
    ("Act", "Hand over", 2.3, "ok"),
    ("Verify", "One primary, one holder, everyone in step", 6.4, "ok"),
    ("Journal", "Say what became of it", 0.6, "ok"),
)
REQUEST: dict[str, Any] = {
    "schema": 1,
    "run_id": RUN_ID,
    "runbook": "switchover",
    "playbook": "hosting.failover.switchover",
    "parameters": {"switchover_to": "www2"},
    "estate": "lab",
    "inventory": ["inventory/lab.yml"],
    "inventory_sha256": "9f2c4a71d0b8",
    "owner": "ops@admin1",
    "command": ["failoverctl", "switchover", "--to", "www2", "--measure"],
    "version": "0.1.0",
}


@dataclass(frozen=True)
class Story:
    """What a made-up measurement contains. Times in seconds."""

    seconds: float = 24.0
    writers: int = 1
    switch_at: float | None = 11.4
    outage: float = 0.19
    http_outage: float = 0.12
    lost: int = 0
    recovered: bool = True
    hung: int = 0
    read: bool = True
    jitter: float = 0.0
    seed: int = 7


def make_history(story: Story, rate: float = 20.0) -> History:
    """Return a measurement in which www2 takes over from www1 at ``switch_at``."""
    chance = random.Random(story.seed)
    at = story.switch_at if story.switch_at is not None else story.seconds + 10
    ops: list[Op] = []
    unknown: list[tuple[int, int]] = []
    for stream in range(story.writers + 1):
        kind = "write" if stream < story.writers else "http"
        length = story.outage if kind == "write" else story.http_outage
        step = 1.0 / rate / (story.writers + 1)
        for seq in range(int(story.seconds * rate)):
            intended = stream * step + seq / rate
            sent = intended + chance.uniform(0.0001, 0.0004)
            if story.jitter and 5.0 <= intended < 5.0 + story.jitter:
                sent = 5.0 + story.jitter
            latency = chance.lognormvariate(1.3, 0.35) / 1000.0
            server = "www1" if intended < at + length / 2 else "www2"
            outcome: Outcome = "ok"
            error = None
            if at <= intended < at + length:
                outcome, server_name = "fail", None
                error = "writing: 1290 The MariaDB server is running with the --read-only option"
                latency = chance.uniform(0.0008, 0.003)
                if kind == "http":
                    error, latency = "connection refused", 0.0006
                elif not unknown and story.recovered:
                    outcome, error = "info", "writing: connection reset"
                    unknown.append((stream, seq))
                elif story.hung and len(unknown) <= story.hung:
                    outcome, error, latency = "info", "writing: timed out", 1.0
                    unknown.append((stream, seq))
            else:
                server_name = server
                if at + length <= intended < at + length + 0.3:
                    latency *= 6
            number = 0 if kind == "http" else stream
            done = sent + latency
            ops.append(Op(kind, number, seq, intended, sent, done, outcome, server_name, error))  # type: ignore[arg-type]
    samples: list[Sample] = []
    for number, host in enumerate(("www1", "www2", "witness")):
        for tick in range(int(story.seconds * 10)):
            when = tick / 10 + number * 0.03
            moved = when >= at + story.outage * 0.6
            fenced = at <= when < at + story.outage * 0.6
            primary = host == ("www2" if moved else "www1")
            role = "primary" if primary else "replica"
            if host == "witness":
                samples.append(Sample(host, when, when + 0.002, "replica" if False else "witness", 4 if moved else 3))
                continue
            samples.append(
                Sample(
                    host,
                    when,
                    when + 0.002,
                    role,
                    4 if moved else 3,
                    writable=primary and not fenced,
                    vips=("site",) if primary else (),
                )
            )
    acknowledged = [op for op in ops if op.kind == "write" and op.outcome == "ok"]
    gone = {(op.stream, op.seq) for op in acknowledged if op.done < at}
    lost = set(sorted(gone)[-story.lost :]) if story.lost else set()
    rows = [Row(op.stream, op.seq, str(op.server)) for op in acknowledged if (op.stream, op.seq) not in lost]
    rows += [Row(stream, seq, "www1") for stream, seq in unknown[:1]]
    nodes = [
        NodeRead("www1", tuple(rows), 0.41, 1, caught_up=True),
        NodeRead("www2", tuple(rows), 0.02, 1, caught_up=True),
    ]
    if not story.read:
        nodes[0] = NodeRead("www1", seconds=20.1, attempts=5, error="timed out")
    return History(
        meta=Meta(
            run_id=RUN_ID,
            started_at="2026-11-23T05:10:22.210Z",
            monotonic_zero=1000.0,
            rate_hz=rate,
            writers=story.writers,
            good_ms=250.0,
            timeout_ms=1000.0,
            writes=True,
            http=True,
            final_expected=("www1", "www2"),
            sampled=("www1", "www2", "witness"),
            version="0.1.0",
            finished=True,
            stopped_by="SIGTERM",
            duration_seconds=story.seconds,
            max_in_flight=4,
            cpu_seconds=0.05 * story.seconds,
            nice=-10,
        ),
        ops=tuple(ops),
        samples=tuple(samples),
        final=tuple(nodes),
    )


def write_probe(folder: Path, history: History) -> None:
    """Write a history as the prober does."""
    folder.mkdir()
    _lines(folder / "ops.jsonl", (op.as_dict() for op in history.ops))
    _lines(folder / "samples.jsonl", (sample.as_dict() for sample in history.samples))
    (folder / "meta.json").write_text(json.dumps(history.meta.as_dict()), encoding="utf-8")
    nodes = [node.as_dict() for node in history.final or ()]
    (folder / "final.json").write_text(json.dumps({"schema": 1, "nodes": nodes}), encoding="utf-8")


def _lines(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")


class FolderMaker:
    """Makes run folders below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(
        self,
        *,
        runbook: str = "switchover",
        story: Story | None = None,
        objectives: Objectives | None = None,
        verdict: str | None = None,
        phases: Iterable[tuple[str, str, float, str]] = PHASES,
        tasks: Iterable[journal.Task] = (),
        records: Iterable[journal.Record] = (),
        switchover: Mapping[str, Any] | None = None,
        following: Iterable[str] = (),
        finished: bool = True,
        **result: Any,
    ) -> Path:
        """Return the folder of a new run. Keyword arguments left over go into result.json."""
        folder = self.directory / RUN_ID.replace("switchover", runbook)
        folder.mkdir(parents=True)
        probe = None
        if story is not None:
            history = make_history(story)
            write_probe(folder / "probe", history)
            probe = check(history, objectives).as_dict()
            verdict = verdict or probe["verdict"]
        verdict = verdict or "ok"
        request = {**REQUEST, "run_id": folder.name, "runbook": runbook, "playbook": f"hosting.failover.{runbook}"}
        if runbook != "switchover":
            request |= {"parameters": {}, "command": ["failoverctl", runbook]}
        written: list[journal.Record] = [
            journal.RunStarted(at=STARTED, t=0.0, runbook=runbook, run_id=folder.name, request=request)
        ]
        now = 3.0 if story else 0.1
        by_phase: dict[str, list[journal.Task]] = {}
        for task in tasks:
            by_phase.setdefault(task.title if task.phase == "" else task.phase, []).append(task)
        for phase, title, seconds, outcome in phases:
            written.append(journal.PhaseStarted(t=now, phase=phase, title=title))
            hosts = ("www1", "www2", "witness")
            given = by_phase.pop(phase, None)
            default = [
                journal.Task(
                    phase=phase, title="Look", host=host, outcome="changed" if phase == "Act" else "ok", seconds=0.2
                )
                for host in hosts
            ]
            written += [replace(task, t=now) for task in given or default]
            now += seconds
            if outcome != "running":
                written.append(journal.PhaseFinished(t=now, phase=phase, title=title, outcome=outcome, seconds=seconds))
        if switchover is not None:
            written.append(journal.Switchover(t=now, result=switchover))
        written += [replace(record, t=now) for record in records]
        total = max(now, story.seconds if story else 0.0) + 0.4
        if finished:
            code = {"ok": 0, "pass": 0, "refused": 3, "locked": 6, "invalid": 2}.get(verdict, 1)
            written.append(journal.RunFinished(at="2026-11-23T05:10:49.000Z", t=total, verdict=verdict, exit_code=code))
            document = {
                "schema": 1,
                "run_id": folder.name,
                "runbook": runbook,
                "estate": "lab",
                "started_at": STARTED,
                "finished_at": "2026-11-23T05:10:49.000Z",
                "seconds": total,
                "verdict": verdict,
                "exit_code": code,
                "steps": [],
                "probe": probe,
                "switchover": switchover,
                "next": list(following),
                **result,
            }
            (folder / "result.json").write_text(json.dumps(document), encoding="utf-8")
        lines = [json.dumps({"schema": 1, "at": r.at, "t": r.t, "kind": r.kind} | asdict(r)) for r in written]
        (folder / "journal.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder


@pytest.fixture
def make_run(tmp_path: Path) -> FolderMaker:
    return FolderMaker(tmp_path)


@pytest.fixture
def switchover() -> dict[str, Any]:
    return SWITCHOVER


@pytest.fixture
def story() -> Callable[..., Story]:
    return Story
