"""docs/reference/formats.md, from the classes whose values are written."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from failoverctl import config, doctor, health, journal, runbooks, runs, transcript, world
from failoverctl.commands.resume import resume_document
from failoverctl.commands.root import cli
from failoverctl.conduct import Order, request_document, result_document
from failoverctl.drill import history, phases, result, scenario, verdict
from failoverctl.errors import ExitCode
from failoverctl.estate import Estate
from failoverctl.probe import model
from failoverctl.probe.checker import ProbeResult

from scripts.docs.example import example
from scripts.docs.markdown import REFERENCE, bullets, code, described, docstring, page, table
from scripts.docs.source import field_rows

FILES = {
    "request.json": "what was asked for; written before anything else",
    "journal.jsonl": "everything that happened, line by line while it happens",
    "ansible/": "artifacts of ansible-runner: all events and the whole output",
    "probe/": "what the prober recorded, if it measured",
    "result.json": "what came of it; without it the run goes on or died",
    "report.html": "the same for people, in one file without anything from outside",
    "closed.json": "`how` and `by` which run a run that was cut short was finished or undone later",
}

REQUEST = {
    "schema": "version of this format",
    "run_id": "name of the folder",
    "runbook": "name of the runbook",
    "process": "`pid`, `started_ticks` and `boot_id` of the process, by which a dead run is known",
    "playbook": "its playbook",
    "parameters": "its extra variables",
    "estate": "name of the estate",
    "inventory": "paths of the inventory",
    "inventory_sha256": "digest of its files, encrypted ones as they are; null when it is no file",
    "check": "whether it only checks",
    "diff": "whether it shows changes",
    "measured": "whether the prober runs",
    "owner": "`user@host`",
    "resumes": "the run that this one finishes or undoes; else null",
    "phases": "`phase` and `title` of all plays",
    "command": "the command line",
}

RESULT = {
    "schema": "version of this format",
    "run_id": "name of the folder",
    "runbook": "name of the runbook",
    "estate": "name of the estate",
    "check": "whether it only checked",
    "started_at": "when it began",
    "finished_at": "when it ended",
    "seconds": "how long it took",
    "verdict": "see [verdicts](#verdicts)",
    "exit_code": "exit status of the command; null when it died",
    "reason": "why, when it did not go well; else null",
    "changed": "how many tasks changed something, over all hosts",
    "steps": "the phases",
    "steps[].phase": "`Lock`, `Preflight`, `Act`, `Verify` or `Journal`",
    "steps[].title": "its sentence",
    "steps[].outcome": "`ok`, `failed` or `skipped`",
    "steps[].seconds": "how long it took; null when it was cut short",
    "failures": "tasks that failed, and hosts that did not answer",
    "failures[].host": "where",
    "failures[].task": "what",
    "failures[].outcome": "`failed` or `unreachable`",
    "failures[].message": "why",
    "refusals": "of safety gates: `code`, `message`, `observed`, `limit`, `fix`",
    "problems": "of the configuration, as `check --json` prints them",
    "lock": "who held the lock instead: `owner`, `run_id`, `runbook`, `acquired_at`, `age_seconds`; else null",
    "probe": "what clients saw, see below; null without a measurement",
    "switchover": "what the module [switchover](modules.md#switchover) returned; else null",
    **{
        module: f"what the module [{module}](modules.md#{module}) returned, and `host`, where it ran; else null"
        for module in ("failover", "rejoin", "automation")
    },
    "drill": "what was drilled, see [below](#drill); else null",
    "next": "commands worth typing, the best first",
}

DRILL = {
    "scenario": "its id",
    "title": "its title",
    "description": "its description",
    "risks": "what it is a drill for",
    "environment": "`failover_environment` of the estate",
    "approval": "who approved it for production; null where nobody had to",
    "number": "which run",
    "of": "of how many that were asked for",
    "began": "the estate before",
    "began.primary": "who was primary",
    "began.term": "the term",
    "observed_primary": "who was primary before anything was healed; null for nobody",
    "ended_term": "the term in the end",
    "whole_seconds": "how long after the healing the steady state held again; null when it did not",
    "aborted": "what ended the method early; else null",
    "problems_seen": "codes of everything that was wrong meanwhile, by `status`",
    "expectations": "what was expected",
    "expectations[].name": "of what",
    "expectations[].expected": "what should have come about",
    "expectations[].observed": "what did",
    "expectations[].met": "whether it did; null when that is not known",
    "reasons": "why it is no pass",
    "timeline": "the longest pause and its phases",
    "timeline.phases": "in the order of their time; what is not known is not there",
    "timeline.phases[].phase": "`inject`, `first_error`, `detect`, `fence`, `promote`, `vip`, `first_write` (or "
    "`first_page`), `steady`",
    "timeline.phases[].seconds": "since the fault, or the command that was begun",
    "timeline.phases[].earliest_seconds": "when it was last seen not to be so; null where that is not sampled",
    "timeline.phases[].at": "the same on the prober's clock",
    "timeline.phases[].host": "where; or null",
    "timeline.phases[].source": "how that is known",
    "timeline.kind": "what paused: `write` or `http`; null when nothing did",
    "timeline.rto_from_inject_seconds": "from the fault to the first acknowledgement; null without one",
    "timeline.rto_from_error_seconds": "from the first bad operation to it; null without one",
    "timeline.outage_at_least_seconds": "from the first bad operation to the last one",
    "timeline.outage_at_most_seconds": "from the last good operation to the first acknowledgement",
    "timeline.http_after_write_seconds": "how long after the first write pages were served again; null when not known",
    "faults": "what was broken",
    "faults[].id": "its id in the scenario",
    "faults[].title": "what it did",
    "faults[].hosts": "where",
    "faults[].healed": "whether it was undone",
    "faults[].deadman_fired": "whether the host undid it by itself, too early",
    "earlier": "all runs of the scenario on this estate before this one, see [below](#drill-report---json)",
    "earlier_runs": "the last 20 of them",
}

SPREAD = ("paused_seconds", "rto_from_inject_seconds", "http_seconds", "whole_seconds", "seconds")

SUMMARY = {
    "scenario": "its id",
    "runs": "how many came to a verdict",
    "pass": "how many passed",
    "fail": "how many failed",
    "unknown": "how many proved nothing",
    **{
        f"{key}{rest}": text
        for key, what in zip(
            SPREAD,
            (
                "how long writes paused",
                "from the fault to the first acknowledgement",
                "how long pages were not served",
                "from the healing to the steady state",
                "how long the drill took",
            ),
            strict=True,
        )
        for rest, text in {
            "": f"{what}; null when no run measured it",
            ".median": "the median",
            ".p95": "95 of 100 are not longer (nearest rank)",
            ".worst": "the longest",
            ".n": "how many runs",
        }.items()
    },
    "lost": "acknowledged writes that were lost",
    "losing_runs": "runs that lost any",
    "measured_runs": "runs of which that is known",
    "loss_bound": "three over their number: with 95 % confidence no larger share of runs loses any; null after a loss",
    "last": "the last run; null when there is none",
}

DRILL_RUN = {
    "run_id": "id of the run",
    "at": "when it began",
    "verdict": "its verdict",
    "reason": "why it is no pass; else null",
    "paused_seconds": "how long writes paused; null when not measured",
    "rto_from_inject_seconds": "from the fault to the first acknowledgement; null when not measured",
    "http_seconds": "how long pages were not served; null when not measured",
    "lost": "acknowledged writes that were lost; null when not known",
    "acknowledged": "acknowledged writes",
    "whole_seconds": "from the healing to the steady state; null when it did not hold again",
    "phases": "seconds since the fault, by phase",
    "seconds": "how long the drill took",
}

PROBE = {
    "verdict": "`pass`, `fail` or `unknown`; unknown is never a pass",
    "reasons": "why it is no pass",
    "notes": "what is worth knowing, and decides nothing",
    "started_at": "wall clock at the zero of all times below",
    "writes": "what writing clients saw; null when nothing was written",
    "http": "what browsing clients saw; null when nothing was requested",
    "primary": "who was primary at the end",
    "nodes": "what each database host really holds",
    "objectives": "`failover_objectives` against what was measured",
    "objectives[].name": "name of the objective",
    "objectives[].limit": "what was promised",
    "objectives[].measured": "what was measured",
    "objectives[].unit": "its unit",
    "objectives[].met": "whether it was kept; null when it could not be measured",
    "prober": "the prober about itself",
    "prober.finished": "whether it came to its end",
    "prober.late_ms": "how late operations were sent, in milliseconds; null without any",
    "prober.late_ms.p50": "half of them less",
    "prober.late_ms.p95": "95 of 100 less",
    "prober.late_ms.p99": "99 of 100 less",
    "prober.late_ms.max": "the latest",
    "prober.stalled": "operations sent so late that the prober measured itself",
    "prober.skipped": "operations not sent at all, because they were too late",
    "prober.missing": "operations of the plan that are nowhere recorded",
    "prober.max_in_flight": "most operations under way at once",
    "prober.cpu_seconds": "CPU time it took",
    "prober.duration_seconds": "how long it ran",
    "prober.wall_step_seconds": "by how much the wall clock jumped meanwhile",
    "prober.nice": "its priority",
}

OUTAGE = {
    "start": "when the first bad operation was due",
    "end": "when the first good one after it was due; null when none was",
    "seconds": "the time between",
    "resumed": "when the first good one was acknowledged; null when none was",
    "paused_seconds": "from the start to that",
    "bad": "bad operations in it",
    "confirmed": "whether enough good ones followed to call it over",
}

AVAILABILITY = {
    "attempted": "operations sent",
    "acknowledged": "those that were answered with success",
    "failed": "those that certainly did nothing",
    "unknown": "those that may have been carried out",
    "skipped": "those that the prober was too late to send; they say nothing about the estate",
    "hung": "those without an answer until the time-out",
    "paused_seconds": "what a person calls the pause: outages up to the first answer after them, or the longest stall",
    "outage_seconds": "the sum of all outages",
    "longest_outage_seconds": "the longest of them",
    "longest_gap_seconds": "the longest time between two acknowledgements",
    "outages": "times in which operations failed or took longer than `good_ms`",
    **{f"outages[].{key}": text for key, text in OUTAGE.items()},
    "stall": "like an outage: the longest time outside of outages in which all waited and none was answered; or null",
    "latency_ms": "how long acknowledged operations took, from when they were due, in milliseconds; null without any",
    "latency_ms.p50": "half of them less",
    "latency_ms.p95": "95 of 100 less",
    "latency_ms.p99": "99 of 100 less",
    "latency_ms.max": "the longest",
    "servers": "who answered",
    "servers[].server": "as it names itself",
    "servers[].acknowledged": "how often",
    "servers[].first": "first time",
    "servers[].last": "last time",
    "errors": "the most frequent errors",
    "errors[].error": "its text",
    "errors[].count": "how often",
    "lost": "acknowledged rows that the primary does not hold; null when no host could be read",
    "recovered": "unknown rows that it holds",
    "unexpected": "rows that it holds and nobody sent, or that certainly failed",
    "duplicates": "rows that it holds twice",
    "rpo_seconds": "how far back the oldest lost row was acknowledged",
}

NODE = {
    "host": "name of the host",
    "read": "whether it could be read",
    "error": "why not",
    "rows": "rows of this run that it holds",
    "seconds": "how long it took until it held every acknowledged row, or until the limit",
    "lost": "acknowledged rows that it does not hold",
    "recovered": "unknown rows that it holds",
    "unexpected": "rows that it holds and nobody sent, or that certainly failed",
    "duplicates": "rows that it holds twice",
    **{
        f"{what}_spans{rest}": text
        for what in ("lost", "recovered", "unexpected")
        for rest, text in {
            "": f"which rows are {what}, at most 50 spans",
            "[].stream": "the writer",
            "[].first": "its first number",
            "[].last": "its last number",
        }.items()
    },
}

STATUS = {
    "schema": "version of this format",
    "estate": "name of the estate",
    "at": "when the hosts were asked",
    "verdict": "`healthy`, `degraded` or `unreachable`",
    "exit_code": "exit status of the command",
    "primary": "name of the primary; null without one",
    "term": "the latest term that anybody knows; null when nobody answers",
    "problems": "what is not as it should be",
    "problems[].code": "name of the kind of problem",
    "problems[].host": "the host; null for the estate as a whole",
    "problems[].message": "what is wrong",
    "problems[].fix": "what to do; null when nothing more is known",
    "remarks": "what is worth knowing and makes nothing worse",
    "remarks[].code": "name of the kind of remark",
    "remarks[].host": "the host",
    "remarks[].message": "what it is",
    "remarks[].fix": "what to do",
    "automation": "whether the estate acts by itself",
    "automation.state": "`active`, `paused`, `held` after many failovers, or `unknown`",
    "automation.why": "why it is not active; else null",
    "automation.pause": "`by`, `reason`, `at`, `until`; null without a pause",
    "lock": "the lock of the estate; null when nobody holds it",
    "hosts": "all hosts of the inventory, in its order",
    "hosts[].host": "name of the host",
    "hosts[].site": "its `failover_site`; null without one",
    "hosts[].groups": "its parts, such as `database`",
    "hosts[].asked": "whether it was asked; only database hosts are",
    "hosts[].reached": "whether it could be reached; null when it was not asked",
    "hosts[].error": "why its agent gave no answer; else null",
    "hosts[].status": "[what its agent said](agent.md#status); null without an answer",
    "next": "commands worth typing, the best first",
}

_FIGURES = {"median": "the median", "worst": "the worst", "runs": "of how many earlier runs"}

PLAN = {
    "schema": "version of this format",
    "runbook": "name of the runbook",
    "playbook": "its playbook",
    "danger": "what may happen to those who use the estate",
    "parameters": "its extra variables",
    "parameters.switchover_to": "one of them",
    "phases": "its plays",
    "phases[].phase": "kind of phase",
    "phases[].title": "its sentence",
    "phases[].hosts": "the hosts it is for",
    "predicted": "what earlier runs with this estate took and cost; null where none measured it",
    "predicted.duration_seconds": "how long they took",
    **{f"predicted.duration_seconds.{key}": text for key, text in _FIGURES.items()},
    "predicted.writes_outage_seconds": "how long writes were paused",
    **{f"predicted.writes_outage_seconds.{key}": text for key, text in _FIGURES.items()},
    "predicted.http_outage_seconds": "how long pages were not served",
    **{f"predicted.http_outage_seconds.{key}": text for key, text in _FIGURES.items()},
    "predicted.loss": "what may be lost by it, and why",
    "predicted.lost_writes": "acknowledged writes lost in all of them",
    "predicted.acknowledged_writes": "acknowledged writes in all of them",
}

CHECK = {
    "schema": "version of this format",
    "verdict": "`ok`, `invalid`, or how else the run ended",
    "exit_code": "exit status of the command",
    "problems": "all problems",
    "problems[].code": "[name of the kind of problem](inventory.md#what-check-judges)",
    "problems[].host": "the host, or null",
    "problems[].variable": "path of the variable, or name of the group, or null",
    "problems[].message": "what is wrong",
    "problems[].observed": "what was found, or null",
    "problems[].limit": "what is allowed, or null",
    "problems[].fix": "what to do, or null",
    "problems[].file": "where, or null",
    "problems[].line": "where, or null",
    "run_id": "the run; null when the hosts were not even asked",
}

RUNS = {
    "schema": "version of this format",
    "runs": "the oldest first",
    "runs[].run_id": "id of the run",
    "runs[].runbook": "name of the runbook",
    "runs[].estate": "name of the estate",
    "runs[].started_at": "when it began",
    "runs[].verdict": "verdict, or `running`, or `died`",
    "runs[].closed": "`resumed` or `rolled back` later; else null",
    "runs[].seconds": "how long it took; null without a result",
    "runs[].paused_seconds": "how long writes were paused; null without a measurement",
    "runs[].path": "its folder",
}

RESUME = {
    "schema": "version of this format",
    "verb": "`resume` or `rollback`",
    "run_id": "the run that was cut short; null without one",
    "runbook": "its runbook",
    "choice": "`nothing` is left to do, `run` something, `wait`, or `by_hand`: a person decides",
    "why": "the reason",
    "exit_code": "exit status of the command",
    "differences": "what is not as the journal has it last",
    "differences[].host": "where",
    "differences[].what": "what",
    "differences[].before": "as the journal has it",
    "differences[].now": "as it is",
    "lock_released": "whether the lock of the dead run was given back",
    "result": "[result.json](#resultjson) of what was run; else null",
}

DOCTOR = {
    "schema": "version of this format",
    "exit_code": "exit status of the command",
    "findings": "everything that was looked at",
    "findings[].name": "what",
    "findings[].outcome": "`ok`, `warn` or `fail`",
    "findings[].detail": "what was found",
    "findings[].fix": "what to do, else empty",
}

OPERATION = {
    "kind": "`write` or `http`",
    "stream": "number of the client",
    "seq": "number of the operation of that client",
    "intended": "when it was due",
    "sent": "when it was sent",
    "done": "when it was answered or given up",
    "outcome": "`ok`, `fail` (certainly not done), `info` (may be done), `skip` (not sent)",
    "server": "the host that answered, as it names itself; or null",
    "error": "what went wrong; or null",
}

SAMPLE = {
    "host": "the host that was asked for `/role`",
    "at": "when",
    "done": "when it had answered",
    "role": "its role; null without an answer",
    "term": "its term",
    "writable": "whether it takes writes",
    "vips": "virtual IPs that it has",
    "error": "why there is no answer; or null",
}

FINAL = {
    "host": "name of the host",
    "read": "whether it could be read",
    "caught_up": "whether it holds every acknowledged row",
    "seconds": "how long that took",
    "attempts": "how often it was read",
    "error": "why it could not be read; or null",
    "rows": "`[stream, seq, server]` of each row",
}

META = {
    "schema": "version of this format",
    "run_id": "the run",
    "version": "of the prober",
    "started_at": "wall clock at the zero of all times",
    "monotonic_zero": "CLOCK_MONOTONIC at that moment",
    "rate_hz": "operations a second of each client",
    "writers": "clients that write",
    "good_ms": "an operation that takes longer is bad",
    "timeout_ms": "an operation that takes longer is given up",
    "writes": "whether it wrote",
    "http": "whether it requested pages",
    "final_expected": "hosts whose rows had to be read at the end",
    "sampled": "hosts that were asked for their role",
    "target": "what it aimed at, without the password",
    "finished": "false while it runs, and after it was killed",
    "finished_at": "when it ended",
    "stopped_by": "what ended it",
    "duration_seconds": "how long it ran",
    "wall_step_seconds": "by how much the wall clock jumped meanwhile",
    "max_in_flight": "most operations under way at once",
    "cpu_seconds": "CPU time it took",
    "nice": "its priority",
}


def pages() -> Mapping[Path, str]:
    """Return the page.

    :raises DocsError: when a key is not described here, or a described one is not in the code.
    """
    return {
        REFERENCE / "formats.md": page(
            "Files and JSON",
            "the classes of cli/failoverctl whose values are written",
            "Keys do not depend on what happened: what is not known is null, what there is none of is an empty list. "
            "`schema` changes when a key changes its meaning or goes. Times are UTC, ISO 8601; durations are "
            "of the monotonic clock.",
            "## Run folder",
            "`~/.local/state/failoverctl/runs/<UTC time>-<runbook>-<4 hex>/`, or below `$XDG_STATE_HOME/failoverctl` "
            "or the state directory that is set. Only its owner may read it.",
            table(("file", "what it is"), ((code(name), text) for name, text in FILES.items())),
            "## Verdicts",
            table(("verdict", "exit status"), _verdicts()),
            "`pass`, `fail` and `unknown` are of runs that were measured. `runs list` also says `running` and `died`.",
            *_run_files(),
            *_probe_files(),
            *_printed(),
        )
    }


def _verdicts() -> Iterator[tuple[str, str]]:
    for word, status in transcript.EXIT_CODES.items():
        yield code(word), f"{int(status)}: {status.meaning}"


def _run_files() -> Iterator[str]:
    yield "## request.json"
    yield described(_leave(_request(), "process", "parameters", "phases"), REQUEST, "request.json")
    yield "## journal.jsonl"
    yield docstring(journal.__doc__)
    for kind in get_args(journal.Record):
        yield f"### {kind.kind}"
        yield docstring(kind.__doc__).replace("`PHASES`", ", ".join(map(code, journal.PHASES)))
        rows = ((name, kind) for name, kind, _ in field_rows(kind))
        yield table(("field", "type"), (row for row in rows if row[0] not in ("`at`", "`t`")))
    yield "## result.json"
    yield "What `failoverctl runs show --json` prints, and every runbook with `--json`."
    state = replace(example(journal.RunState), request={"estate": "shop"})
    verdict = transcript.Verdict("ok", transcript.EXIT_CODES["ok"], "text")
    document = result_document(state, verdict, {}, ["text"])
    answers = ("switchover", "failover", "rejoin", "automation")
    yield described(_leave(document, *answers, "lock", "refusals", "problems"), RESULT, "result.json")
    found = example(ProbeResult).as_dict()
    yield "### drill"
    yield described(_leave(_drill(), "earlier", "earlier_runs"), DRILL, "result.json, drill")
    yield "### probe"
    yield described(_leave(found, "writes", "http", "nodes"), PROBE, "result.json, probe")
    yield "### probe.writes and probe.http"
    yield "`http` has the keys up to `errors`. Times are seconds since `probe.started_at`."
    yield described(_leave(found["writes"], "stall"), AVAILABILITY, "result.json, probe.writes")
    yield "### probe.nodes"
    yield described(found["nodes"][0], NODE, "result.json, probe.nodes")


def _probe_files() -> Iterator[str]:
    yield "## probe/"
    yield "Times called `intended`, `sent`, `done` and `at` are seconds since the zero of the plan; meta.json has it."
    meta = _leave(example(model.Meta).as_dict(), "target")
    for name, kind, document, words in (
        ("ops.jsonl", model.Op, example(model.Op).as_dict(), OPERATION),
        ("samples.jsonl", model.Sample, example(model.Sample).as_dict(), SAMPLE),
        ("final.json, nodes[]", model.NodeRead, example(model.NodeRead).as_dict(), FINAL),
        ("meta.json", model.Meta, meta, META),
    ):
        yield f"### {name}"
        yield docstring(kind.__doc__)
        yield described(document, words, name)


def _printed() -> Iterator[str]:
    yield "## status --json"
    estate, judged = example(Estate), replace(example(health.Health), verdict="healthy")
    document = health.as_dict(estate, judged, "text", ["text"])
    document["hosts"][0]["status"] = {}
    document["automation"] = _leave(document["automation"], "pause")
    document["problems"] = document["remarks"] = [{**document["problems"][0], "fix": "text"}]
    yield described(_leave(document, "lock"), STATUS, "status --json")
    yield "## check --json"
    yield described(_check(), CHECK, "check --json")
    yield "## --plan --json"
    yield described(_plan(), PLAN, "--plan --json")
    yield "## resume --json, rollback --json"
    found = [example(world.Difference).as_dict()]
    resumed = resume_document("resume", "text", "text", "run", "text", ExitCode.OK, found, True, {})
    yield described(resumed, RESUME, "resume --json")
    yield "## runs list --json"
    yield described(_runs(), RUNS, "runs list --json")
    yield "## drill report --json"
    yield (
        "`schema`, `estate`, `summaries` and `runs`; each run with its `scenario`. `drill run --json` prints `schema`, "
        "`exit_code`, `runs` (result.json of each) and `summaries`; `drill list --json` and `drill show --json` have "
        "`summary`."
    )
    yield described(_leave(example(history.Summary).as_dict(), "last"), SUMMARY, "drill report --json, summaries[]")
    yield "Each run:"
    yield described({**example(history.DrillRun).as_dict(), "phases": {}}, DRILL_RUN, "drill report --json, runs[]")
    yield "## doctor --json"
    yield described(doctor.as_dict([example(doctor.Finding)]), DOCTOR, "doctor --json")
    yield "## Others"
    yield bullets(
        [
            "`lock status --json`: `schema` and `lock`: null, or `owner`, `run_id`, `runbook` and `acquired_at`.",
            "`lab status --json`: what `lab status` shows, with `schema`.",
        ]
    )


def _leave(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a document in which some keys are objects that are described elsewhere."""
    return {**document, **{key: ([] if isinstance(document[key], list) else {}) for key in keys}}


def _drill() -> dict[str, Any]:
    found = scenario.Scenario("text", "text", "text", (scenario.WaitStep(1.0),), Path("text.yml"), risks=("text",))
    moment = phases.Moment("promote", 1.5, "text", "text", 1.0)
    return result.document(
        found,
        environment="lab",
        number=(1, 1),
        told=result.Told(),
        problems=["text"],
        judgement=verdict.Judgement("pass", ("text",), (verdict.Expectation("text", "text", "text", True),)),
        timeline=phases.Timeline((moment,), "write"),
        faults=[result.Broken("text", "text", ("text",), True, False)],
        earlier=[example(history.DrillRun)],
    )


def _plan() -> dict[str, Any]:
    past = example(runs.History)
    return runbooks.plan(runbooks.CATALOGUE["switchover"], {"switchover_to": "www2"}, past).as_dict()


def _request() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        settings = config.load(config.Flags(inventory=("www1,",)), cwd=Path(folder), environ={})
        order = Order(runbook=runbooks.CATALOGUE["switchover"], settings=settings, estate=example(Estate))
        run = runs.create(Path(folder), "switchover", request_document(order, measured=True))
        return {**run.request(), "inventory_sha256": "text", "resumes": "text"}


def _runs() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        run = runs.create(Path(folder) / "runs", "switchover", {"estate": "shop"})
        runs.write_json(run.path / "result.json", {"seconds": 1.5, "probe": {"writes": {"paused_seconds": 0.1}}})
        run.close("resumed", None)
        return _print(["runs", "list", "--json"], Path(folder))


def _check() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder) / "hosts.yml"
        inventory.write_text("all:\n  hosts: [\n", encoding="utf-8")
        found = _print(["check", "--json", "--inventory", str(inventory)], Path(folder))
    # What is null in this problem is text in others.
    problem = {key: "text" if value is None else value for key, value in found["problems"][0].items()}
    return {**found, "problems": [problem], "run_id": "text"}


def _print(arguments: Sequence[str], folder: Path) -> Any:
    """Return the JSON that a command prints, run in a folder of its own, with its exit status left aside."""
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        cli.main([*arguments, "--state-directory", str(folder)], prog_name="failoverctl", standalone_mode=False)
    return json.loads(printed.getvalue())
