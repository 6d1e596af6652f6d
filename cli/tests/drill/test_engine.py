"""The engine, played against a made-up estate: what is done in which order, and that everything is undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from failoverctl.config import Setting, Settings
from failoverctl.drill.edges import Edges
from failoverctl.drill.engine import KILL_SWITCH, Order, play
from failoverctl.drill.nested import Done
from failoverctl.drill.scenario import (
    CommandStep,
    Expect,
    FaultStep,
    HealStep,
    KillEachStep,
    Promises,
    RepeatStep,
    Scenario,
    Step,
    WaitForStep,
    WaitStep,
)
from failoverctl.drill.world import Condition
from failoverctl.errors import FailoverctlError
from failoverctl.estate_query import LockAnswer
from failoverctl.health import HostReport
from failoverctl.journal import Act, Record, RunState, read_journal
from failoverctl.probe import History, Progress, Target
from failoverctl.probe.model import Meta
from failoverctl.runs import RunFolder

from .story import ESTATE, FAULTS, FakeFault, Story, healthy, record, status


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.at: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time pass, and do what is due."""
        self.now += seconds
        due = [act for moment, act in self.at if moment <= self.now]
        self.at = [(moment, act) for moment, act in self.at if moment > self.now]
        for act in due:
            act()


@dataclass
class FakeInjected:
    """A fault that was made."""

    stage: Stage
    name: str
    began: float
    done: float
    reverted: int = 0

    def revert(self) -> None:
        self.stage.log.append(f"revert {self.name}")
        self.stage.restore()
        self.reverted += 1
        if self.name in self.stage.stuck:
            raise FailoverctlError(f"{self.name} does not let go")

    def fired(self) -> bool:
        return self.name in self.stage.fired or (bool(self.reverted) and self.name in self.stage.fired_late)


@dataclass(frozen=True)
class StagedFault:
    """A fault of the stage, with what it does to it."""

    known: FakeFault
    stage: Stage = field(compare=False)

    @property
    def summary(self) -> str:
        return self.known.summary

    @property
    def options(self) -> Mapping[str, Any]:
        return self.known.options

    @property
    def lab_only(self) -> bool:
        return self.known.lab_only

    def inject(self, targets: Any, options: Mapping[str, Any]) -> FakeInjected:
        assert targets.lab == "shop"
        self.stage.options.append(dict(options))
        where = ",".join(options.get("hosts") or options.get("from") or ())
        self.stage.log.append(f"inject {self.known.name} {where}")
        if self.known.name in self.stage.impossible:
            raise FailoverctlError("the host does not answer")
        self.stage.breaks()
        now = self.stage.time.now
        return FakeInjected(self.stage, self.known.name, now, now + 0.01)


class Stage:
    """The made-up world: what agents say, what clients see, and everything that was done to it, in order."""

    def __init__(self, folder: Path) -> None:
        self.time = Time()
        self.log: list[str] = []
        self.options: list[dict[str, Any]] = []
        self.reports: tuple[HostReport, ...] = healthy()
        # The first moments are slow; the baseline then ends where the recording has its fault.
        self.steady_since: float | None = 1004.8
        self.stuck: set[str] = set()
        self.impossible: set[str] = set()
        self.fired: set[str] = set()
        self.fired_late: set[str] = set()
        self.lock = LockAnswer(True)
        self.story = Story()
        self.breaks: Callable[[], None] = self.fail_over
        self.commands: list[Sequence[str]] = []
        self.command_result = Done(0)
        self.entries = 3
        self.folder = folder
        self.probe_folder = folder
        self.lab = "shop"
        self.rows: dict[str, str] = {}
        self.speechless: set[str] = set()

    def fail_over(self) -> None:
        """The primary is gone; four seconds later the other one serves."""
        self.steady_since = None
        self.reports = (HostReport("www1", error="off", reached=False), status("primary", "www2", "www2", 4))
        self.time.at.append((self.time.now + 4.0, self.serve))

    def serve(self) -> None:
        """Clients are served from now on."""
        self.steady_since = self.time.now

    def restore(self) -> None:
        """The old primary is back as a replica."""
        if any(report.status is None for report in self.reports):
            self.reports = healthy("www2", 4)

    def edges(self) -> Edges:
        """Stand in for everything outside."""
        stage = self

        class Probe:
            progress: Progress | None = None

            def __init__(self, target: Target, folder: Path) -> None:
                stage.target = target  # type: ignore[attr-defined]
                stage.probe_folder = folder

            def start(self) -> None:
                stage.log.append("probe start")
                (stage.probe_folder / "meta.json").write_text('{"monotonic_zero": 1000.0}')

            def stop(self) -> None:
                stage.log.append("probe stop")

        def progress(_: Any) -> Progress:
            steady = 0.0 if stage.steady_since is None else max(0.0, stage.time.now - stage.steady_since)
            return Progress(stage.time.now - 1000.0, steady, {}, {})

        Probe.progress = property(progress)  # type: ignore[assignment]

        class Recording:
            def __init__(self, name: str) -> None:
                self.name = name

            def start(self) -> None:
                stage.log.append(f"{self.name} start")

            def stop(self) -> None:
                stage.log.append(f"{self.name} stop")

            def write(self, folder: Path, meta: Meta) -> None:
                assert folder == stage.probe_folder
                assert meta.run_id
                stage.log.append(f"{self.name} write")

        class Targets:
            lab = stage.lab

            def run(self, host: str, argv: Sequence[str], **_: Any) -> Any:
                if argv[0] != "mariadb" or host in stage.speechless:
                    raise FailoverctlError("no answer")
                return type("Done", (), {"stdout": stage.rows.get(host, "10 7")})

            def close(self) -> None:
                stage.log.append("targets closed")

        class Command:
            def __init__(self, words: Sequence[str]) -> None:
                stage.commands.append(words)
                stage.log.append("command " + " ".join(words))
                self.until = stage.time.now + 1.0

            def poll(self) -> Done | None:
                return stage.command_result if stage.time.now >= self.until else None

            def interrupt(self) -> None:
                stage.log.append("command interrupted")
                self.until = stage.time.now

            def kill(self) -> None:
                stage.log.append("command killed")

        class Killed(Command):
            """It has so many entries in its journal; the one at which it is killed is one of them or none."""

            def __init__(self, words: Sequence[str], entry: int) -> None:
                super().__init__(words)
                self.entry = entry

            def poll(self) -> Done | None:
                if stage.time.now < self.until:
                    return None
                if self.entry > stage.entries:
                    return stage.command_result
                return Done(-9, killed=True, killed_at=f"entry {self.entry}")

        def unlock(_: str) -> bool:
            stage.log.append("unlock")
            return True

        def acknowledge(_: str) -> bool:
            stage.log.append("acknowledge")
            return True

        def lock(_: str, seconds: float) -> LockAnswer:
            stage.log.append("lock")
            assert seconds > 100
            return stage.lock

        return Edges(
            faults={name: StagedFault(fault, self) for name, fault in FAULTS.items()},
            in_lab=lambda: bool(stage.lab),
            targets=Targets,
            ask=lambda: stage.reports,
            lock=lock,
            unlock=unlock,
            acknowledge=acknowledge,
            probe=Probe,
            load=lambda _: stage.recording(),
            sampler=lambda _targets, _path: Recording("sampler"),
            writers=lambda _targets, _run, password: Recording(f"writers({password})"),
            command=lambda _step, words, _run, _folder: Command(words),
            killed=lambda words, entry, _run, _folder: Killed(words, entry),
            clock=self.time,
            pause=self.time.wait,
        )

    def recording(self) -> History:
        """What the prober recorded, with the fault where it was made."""
        return record(self.story)


class Quiet:
    """A view that shows nothing; a test may look at each record."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.seen: Callable[[Record], None] = lambda _: None

    def show(self, _before: RunState, record: Record, _after: RunState) -> None:
        self.seen(record)

    def tick(self, _state: RunState, _seconds: float) -> None:
        """Nothing."""

    def raw(self, _text: str) -> None:
        """Nothing."""

    def close(self, _state: RunState) -> None:
        """Nothing."""


SCENARIO = Scenario(
    "power",
    "The primary loses its power",
    "",
    (FaultStep("power_off", "off", ("primary",)),),
    Path("power.yml"),
    environment="lab",
    promises=Promises(whole_seconds=60.0),
    expect=Expect(primary="moves", terms=(1, 1), clients_may_hang=True),
)
TARGET = {
    "write": {"host": "198.51.100.10", "port": 3306, "user": "p", "password": "secret", "database": "d"},
    "http": {"host": "198.51.100.10", "port": 80, "host_header": "shop.example.org", "path": "/"},
    "sample": [],
    "readers": [],
}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A whole estate; its watcher only looks when it is told to, or at every tick of the clock."""
    from failoverctl.drill import engine, watch

    made = Stage(tmp_path)

    class Watcher(watch.Watcher):
        """Without a thread: it looks whenever somebody wants to know."""

        def start(self) -> None:
            """Nothing."""

        def stop(self, timeout_seconds: float = 10.0) -> None:
            """Nothing."""

        @property
        def health(self) -> Any:
            return self.look()

        @property
        def looked(self) -> float:
            return made.time.now

    monkeypatch.setattr(engine, "Watcher", Watcher)
    return made


def run(
    stage: Stage, scenario: Scenario = SCENARIO, view: Quiet | None = None, **changes: Any
) -> tuple[dict[str, Any], RunFolder]:
    """Play a scenario; return result.json and the folder."""
    settings = Settings(
        root=stage.folder,
        file=None,
        inventory=Setting(("hosts.yml",), "test"),
        vault_ids=Setting((), "test"),
        state_directory=Setting(stage.folder / "state", "test"),
    )
    order = Order(**{"scenario": scenario, "settings": settings, "estate": ESTATE, "target": TARGET, **changes})
    outcome = play(order, stage.edges(), view or Quiet(stage), lambda verdict, _: [f"next after {verdict}"])
    return dict(outcome.result), outcome.folder


def phases(result: Mapping[str, Any]) -> list[str]:
    """The titles of what was done, with what did not go well marked."""
    return [("! " if step["outcome"] != "ok" else "") + step["title"] for step in result["steps"]]


def test_a_whole_drill(stage: Stage) -> None:
    result, folder = run(stage)
    assert (result["verdict"], result["exit_code"], result["reason"]) == ("pass", 0, None), result["reason"]
    assert phases(result) == [
        "One run at a time",
        "Does the steady state hold?",
        "Are clients served well?",
        "Cut the power of www1",
        "Wait until clients are served steadily",
        "Undo what was broken",
        "Wait until the estate is whole",
        "Read the rows of every host",
        "Does the steady state hold again?",
        "Judge what was recorded",
    ]
    assert [item["title"] for item in folder.request()["phases"]][3] == "Cut the power of the primary"
    assert stage.log == [
        "lock",
        "probe start",
        "sampler start",
        "inject power_off www1",
        "revert power_off",
        "acknowledge",
        "probe stop",
        "acknowledge",
        "sampler stop",
        "targets closed",
        "unlock",
    ]
    assert stage.options[0]["hosts"] == ("www1",)
    assert stage.options[0]["deadman_seconds"] == 30.0 + SCENARIO.observe_seconds
    drill = result["drill"]
    assert (drill["scenario"], drill["began"], drill["ended_term"]) == ("power", {"primary": "www1", "term": 3}, 4)
    assert drill["observed_primary"] == "www2"
    assert drill["timeline"]["phases"][0]["phase"] == "inject"
    assert drill["faults"] == [
        {"id": "off", "title": "Cut the power of www1", "hosts": ["www1"], "healed": True, "deadman_fired": False}
    ]
    assert result["probe"]["writes"]["lost"] == 0
    assert (result["runbook"], result["next"]) == ("drill", ["next after pass"])
    acts = [(record.event, record.ident) for record in read_journal(folder.journal_path) if isinstance(record, Act)]
    assert acts == [("begun", "off"), ("healed", "off")]
    assert folder.verdict() == "pass"


def test_slow_first_moments_that_were_waited_out_are_no_bad_baseline(stage: Stage) -> None:
    stage.story = Story(bad_baseline=True)
    result, _ = run(stage)
    assert (result["verdict"], result["reason"]) == ("pass", None)


def test_a_second_run_knows_the_first(stage: Stage) -> None:
    run(stage)
    stage.reports, stage.steady_since = healthy(), 0.0
    result, _ = run(stage, number=2, of=2)
    assert result["drill"]["earlier"]["runs"] == 1
    assert len(result["drill"]["earlier_runs"]) == 1
    assert (result["drill"]["number"], result["drill"]["of"]) == (2, 2)


def test_the_lock_of_another_ends_it_before_it_begins(stage: Stage) -> None:
    stage.lock = LockAnswer(
        False, {"owner": "anna@box", "run_id": "r", "runbook": "setup", "acquired_at": "2026-11-23T05:00:00Z"}
    )
    result, _ = run(stage)
    assert (result["verdict"], result["exit_code"]) == ("locked", 6)
    assert result["lock"]["owner"] == "anna@box"
    assert stage.log == ["lock"]


def test_without_a_lock_nothing_begins(stage: Stage) -> None:
    stage.lock = LockAnswer(False, error="www1: etcd gives no answer")
    result, _ = run(stage)
    assert (result["verdict"], result["exit_code"]) == ("refused", 3)
    assert result["refusals"][0]["observed"] == "www1: etcd gives no answer"
    assert stage.log == ["lock"]


def test_an_estate_that_is_not_whole_is_not_broken_further(stage: Stage) -> None:
    stage.reports = (status("primary", "www1"), HostReport("www2", error="off", reached=False))
    result, _ = run(stage)
    assert (result["verdict"], result["exit_code"]) == ("refused", 3)
    assert result["refusals"][0]["code"] == "not_steady"
    assert "www2" in result["refusals"][0]["message"]
    assert stage.log == ["lock", "targets closed", "unlock"]


def test_clients_must_be_served_before_anything_is_broken(stage: Stage) -> None:
    stage.steady_since = None
    result, _ = run(stage)
    assert (result["verdict"], result["refusals"][0]["code"]) == ("refused", "no_baseline")
    assert "inject power_off www1" not in stage.log
    assert stage.log[-4:] == ["sampler stop", "probe stop", "targets closed", "unlock"]


def test_what_a_lab_alone_can_do_is_refused_elsewhere(stage: Stage) -> None:
    stage.lab = ""
    result, _ = run(stage)
    assert result["refusals"][0]["code"] == "lab_only"
    assert stage.log == [], "nobody was asked, not even for the lock"


KILL_EACH = KillEachStep(
    ("switchover",),
    (("resume", "--yes"), ("rollback", "--yes")),
    before=(FaultStep("stop_unit", "agent", ("primary",), None, {"unit": "agent"}),),
    after=(HealStep("agent"), CommandStep(("status",))),
)


def test_a_command_is_killed_at_one_entry_after_the_other(stage: Stage) -> None:
    stage.breaks = lambda: None
    result, folder = run(stage, steps(KILL_EACH))
    assert [line for line in stage.log if line.startswith("command")] == [
        *("command switchover", "command resume --yes", "command status"),
        *("command switchover", "command rollback --yes", "command status"),
        *("command switchover", "command resume --yes", "command status"),
        *("command switchover", "command status"),
    ]
    killed = [
        each.title for each in read_journal(folder.journal_path) if isinstance(each, Act) and each.event == "killed"
    ]
    assert killed == [f"failoverctl switchover, killed at 'entry {number}'" for number in (1, 2, 3)]
    assert stage.log.count("inject stop_unit www1") == stage.log.count("revert stop_unit") == 4
    # The dead-man outlives the run, what finishes it, and the steps until it is healed.
    assert stage.options[0]["deadman_seconds"] == 30.0 + 2 * CommandStep(()).limit_seconds
    phases_played = phases(result)
    assert sum("killed at every entry" in title for title in phases_played) == 1
    assert "failoverctl resume --yes" not in phases_played, "it is one phase"


def test_every_second_entry(stage: Stage) -> None:
    stage.breaks = lambda: None
    run(stage, steps(replace(KILL_EACH, every=2, before=(), after=())))
    assert [line for line in stage.log if line.startswith("command")] == [
        *("command switchover", "command resume --yes", "command switchover", "command rollback --yes"),
        "command switchover",
    ]


@pytest.mark.parametrize(
    ("done", "entries", "reason"),
    [
        (Done(1), 0, "ended with 1 when it was not killed"),
        (Done(4), 1, "failoverctl resume --yes: ended with 4, not 0"),
    ],
)
def test_what_is_not_finished_after_a_kill_fails(stage: Stage, done: Done, entries: int, reason: str) -> None:
    stage.breaks, stage.entries, stage.command_result = (lambda: None), entries, done
    result, _ = run(stage, steps(replace(KILL_EACH, before=(), after=())))
    assert result["verdict"] == "fail"
    assert reason in result["reason"]
    assert len(stage.commands) == 1 + entries, "it is not tried on what is broken already"


def test_what_is_lost_fails(stage: Stage) -> None:
    stage.story = Story(lost=3)
    result, _ = run(stage)
    assert (result["verdict"], result["exit_code"]) == ("fail", 1)
    assert "3 acknowledged writes are lost" in result["reason"]


def test_what_is_not_known_has_a_status_of_its_own(stage: Stage) -> None:
    stage.story = Story(unread="www1")
    result, _ = run(stage)
    assert (result["verdict"], result["exit_code"]) == ("unknown", 5)


def test_a_fault_that_ends_by_its_dead_man_proves_nothing(stage: Stage) -> None:
    stage.fired = {"power_off"}
    result, _ = run(stage)
    assert result["verdict"] == "unknown"
    assert "undone by its dead-man" in result["reason"]
    assert result["drill"]["faults"][0]["deadman_fired"]


def test_a_dead_man_of_a_host_that_was_out_of_reach_is_known_after_the_healing(stage: Stage) -> None:
    stage.fired_late = {"power_off"}
    result, _ = run(stage)
    assert result["verdict"] == "unknown"
    assert "undone by its dead-man on the host, and not when it should be" in result["reason"]
    assert result["drill"]["faults"][0]["deadman_fired"]


def test_a_fault_that_cannot_be_made_ends_the_method(stage: Stage) -> None:
    stage.impossible = {"power_off"}
    after = replace(SCENARIO, method=(*SCENARIO.method, WaitStep(5.0)))
    result, _ = run(stage, after)
    assert result["verdict"] != "pass"
    assert "! Cut the power of www1" in phases(result)
    assert "Wait 5 s" not in phases(result)
    assert stage.log[-1] == "unlock"


def test_a_fault_that_does_not_let_go_is_tried_again_and_told(stage: Stage) -> None:
    stage.stuck = {"power_off"}
    result, _ = run(stage)
    assert "could not be undone" in result["reason"]
    assert stage.log.count("revert power_off") == 2
    assert result["drill"]["faults"][0]["healed"] is False


def test_an_estate_that_does_not_become_whole_fails(stage: Stage) -> None:
    def gone() -> None:
        stage.fail_over()

    stage.breaks = gone
    stage.restore = lambda: None  # type: ignore[method-assign]
    result, _ = run(stage, replace(SCENARIO, settle_seconds=10.0))
    assert result["verdict"] == "fail"
    assert "the estate after healing" in result["reason"]
    assert "! Wait until the estate is whole" in phases(result)


def test_ctrl_c_undoes_everything(stage: Stage) -> None:
    view = Quiet(stage)
    long = replace(SCENARIO, method=(*SCENARIO.method, WaitStep(50.0)))
    import os
    import signal

    stage.time.at.append((1012.0, lambda: os.kill(os.getpid(), signal.SIGINT)))
    result, _ = run(stage, long, view)
    assert (result["verdict"], result["exit_code"]) == ("interrupted", 130)
    assert "revert power_off" in stage.log
    assert "Wait until the estate is whole" in phases(result)
    assert stage.log[-1] == "unlock"
    assert result["drill"]["aborted"] == "interrupted by the operator"


def test_the_kill_switch_does_the_same(stage: Stage) -> None:
    def press() -> None:
        (stage.probe_folder.parent / KILL_SWITCH).touch()

    stage.time.at.append((1012.0, press))
    result, _ = run(stage, replace(SCENARIO, method=(*SCENARIO.method, WaitStep(50.0))))
    assert result["verdict"] == "interrupted"
    assert "revert power_off" in stage.log


def test_an_abort_condition_ends_the_method_and_fails(stage: Stage) -> None:
    stage.breaks = lambda: setattr(stage, "steady_since", None)
    stage.restore = stage.serve  # type: ignore[method-assign]
    scenario = replace(SCENARIO, abort_when=(Condition("writes_paused_seconds", 8.0),))
    result, _ = run(stage, scenario)
    assert result["verdict"] == "fail"
    assert "aborted: writes_paused_seconds 8" in result["reason"]
    assert "revert power_off" in stage.log


def test_a_bug_undoes_everything_too(stage: Stage) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    stage.time.at.append((1012.0, bug))
    scenario = replace(SCENARIO, method=(*SCENARIO.method, WaitStep(50.0)), rollbacks=(CommandStep(("switchover",)),))
    with pytest.raises(ZeroDivisionError):
        run(stage, scenario)
    assert stage.log[-8:] == [
        "revert power_off",
        "acknowledge",
        "probe stop",
        "command switchover",
        "acknowledge",
        "sampler stop",
        "targets closed",
        "unlock",
    ]
    (folder,) = [RunFolder(path) for path in (stage.folder / "state/runs").iterdir()]
    assert folder.verdict() == "failed"
    assert "ZeroDivisionError" in str(folder.result()["reason"])


def test_rollbacks_are_always_played(stage: Stage) -> None:
    scenario = replace(SCENARIO, rollbacks=(CommandStep(("switchover", "--to", "{old_primary}")),))
    result, _ = run(stage, scenario)
    assert stage.commands == [["switchover", "--to", "www1"]]
    assert phases(result)[-3:] == [
        "failoverctl switchover --to www1",
        "Does the steady state hold again?",
        "Judge what was recorded",
    ]


def steps(*method: Step) -> Scenario:
    """A scenario of which nothing is expected."""
    return replace(SCENARIO, method=method, expect=Expect(writes="any", clients_may_hang=True), observe_seconds=2.0)


def test_a_fault_with_a_length_ends_by_itself(stage: Stage) -> None:
    stage.breaks = lambda: None
    timed = FaultStep("stop_unit", "stop", ("replica",), 3.0, {"unit": "mariadb"})
    result, folder = run(stage, steps(timed, WaitStep(10.0)))
    assert phases(result)[3] == "Stop mariadb on www2 for 3 s"
    healed = [
        record for record in read_journal(folder.journal_path) if isinstance(record, Act) and record.event == "healed"
    ]
    begun = [
        record for record in read_journal(folder.journal_path) if isinstance(record, Act) and record.event == "begun"
    ]
    assert 3.0 <= healed[0].clock - begun[0].clock <= 3.3
    assert stage.options[0]["deadman_seconds"] == 33.0
    assert stage.log.count("revert stop_unit") == 1


def test_repetitions_and_healing_by_name(stage: Stage) -> None:
    stage.breaks = lambda: None
    cut = FaultStep("cut", "flap", (), None, {"from": "primary", "to": "all"}, frozenset({"from", "to"}))
    result, _ = run(stage, steps(RepeatStep(2, (cut, WaitStep(1.0), HealStep("flap")))))
    assert [line for line in stage.log if "cut" in line] == ["inject cut www1", "revert cut"] * 2
    assert stage.options[0]["to"] == ("www1", "www2", "vote")
    assert stage.options[0]["deadman_seconds"] == 31.0
    assert phases(result)[3:6] == ["Cut www1 off from www2 and vote", "Wait 1 s", "Undo flap"]


def test_waiting_for_what_does_not_come_about_fails(stage: Stage) -> None:
    stage.breaks = lambda: None
    result, _ = run(stage, steps(WaitForStep(Condition("new_primary"), 3.0), WaitStep(1.0)))
    assert result["verdict"] == "fail"
    assert "new_primary: not within 3 s; primary is www1" in result["reason"]
    assert "! Wait for new_primary" in phases(result)


@pytest.mark.parametrize(
    ("step", "done", "complaint"),
    [
        (CommandStep(("switchover",)), Done(0), ""),
        (CommandStep(("switchover",)), Done(3, output="x\nError: refused\n"), "ended with 3, not 0 (Error: refused)"),
        (CommandStep(("switchover",), (3,), ("locked",)), Done(3, result={"refusals": [{"code": "locked"}]}), ""),
        (
            CommandStep(("switchover",), (3,), ("locked",)),
            Done(3, result={"refusals": [{"code": "other"}]}),
            "did not name locked, but other",
        ),
        (CommandStep(("switchover",), kill_at="Act"), Done(-9, killed=True), ""),
        (CommandStep(("switchover",), kill_at="Act"), Done(0), "ended with 0 before Act was reached"),
        (CommandStep(("switchover",), limit_seconds=0.5), Done(0), "not over after 0.5 s"),
    ],
)
def test_commands_end_as_they_should(stage: Stage, step: CommandStep, done: Done, complaint: str) -> None:
    stage.command_result = done
    result, _ = run(stage, steps(step))
    if complaint:
        assert complaint in str(result["reason"])
    else:
        assert "ended" not in str(result["reason"])
    assert ("command killed" in stage.log) == (step.limit_seconds < 1)


def test_writers_on_hosts_are_stopped_before_rows_are_read(stage: Stage) -> None:
    run(stage, replace(SCENARIO, load=replace(SCENARIO.load, direct=True)))
    order = [line for line in stage.log if line.startswith(("writers", "probe"))]
    assert order[:3] == ["probe start", "writers(secret) start", "writers(secret) stop"]
    assert order[3] == "probe stop"
    assert "writers(secret) write" in order


def test_hosts_that_hold_other_rows_than_each_other_are_not_drilled(stage: Stage) -> None:
    stage.rows = {"www2": "9 3"}
    result, _ = run(stage)
    assert result["verdict"] == "refused"
    assert "10 on www1, 9 on www2" in result["refusals"][0]["message"]
    assert "probe start" not in stage.log


def test_a_row_that_one_host_alone_lost_fails(stage: Stage) -> None:
    stage.breaks = lambda: stage.rows.update(www1="9 3")
    result, _ = run(stage, replace(SCENARIO, expect=Expect(clients_may_hang=True)))
    assert result["verdict"] == "fail"
    assert "rows of all runs: expected the same on every host, observed rows: 9 on www1, 10 on www2" in result["reason"]
    assert "! Read the rows of every host" in phases(result)


def test_a_host_whose_rows_are_not_known_proves_nothing(stage: Stage) -> None:
    stage.breaks = lambda: stage.speechless.add("www1")
    result, _ = run(stage, replace(SCENARIO, expect=Expect(clients_may_hang=True)))
    assert result["verdict"] == "unknown"


def test_nothing_to_measure_is_never_a_pass(stage: Stage) -> None:
    result, _ = run(stage, target=None)
    assert result["verdict"] == "unknown"
    assert result["probe"] is None
    assert "revert power_off" in stage.log
