"""An estate, the words of a few faults, and recordings made from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from failoverctl.drill.scenario import Vocabulary
from failoverctl.estate import Estate, Host, Vip
from failoverctl.health import HostReport
from failoverctl.probe.checker import History
from failoverctl.probe.model import Kind, Meta, NodeRead, Op, Outcome, Row, Sample


@dataclass(frozen=True)
class FakeOption:
    """An option of a fault."""

    kind: str = "text"
    required: bool = False
    default: Any = None


@dataclass(frozen=True)
class FakeFault:
    """A fault as scenarios and plans know it."""

    name: str
    summary: str
    options: Mapping[str, FakeOption] = field(default_factory=dict)
    lab_only: bool = False
    needs_host: bool = True

    def problems(self, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What is wrong with the options."""
        found = [(key, "unknown option") for key in given if key not in self.options]
        return found + [
            (key, "missing") for key, option in self.options.items() if option.required and key not in given
        ]


FAULTS = {
    fault.name: fault
    for fault in (
        FakeFault("power_off", "Cut the power of {hosts}.", lab_only=True),
        FakeFault("stop_unit", "Stop {unit} on {hosts}.", {"unit": FakeOption(required=True)}),
        FakeFault(
            "cut",
            "Cut {from} off from {to}.",
            {"from": FakeOption("host", required=True), "to": FakeOption("host")},
            needs_host=False,
        ),
    )
}

ESTATE = Estate(
    name="shop",
    profile="lan",
    hosts=tuple(
        Host(name, (), f"198.51.100.{number}", "", {}, False)
        for number, name in enumerate(("www1", "www2", "vote"), 11)
    ),
    groups={"database": ("www1", "www2"), "web": ("www1", "www2"), "witness": ("vote",)},
    vips=(Vip("site", "198.51.100.10", "primary"),),
    objectives={"rto_seconds": 30, "rpo_seconds": 0},
    domains=("shop.example.org",),
    environment="lab",
)


#: The faults above and two commands.
WORDS = Vocabulary(faults=FAULTS, commands=("switchover", "failover"))


def status(role: str, host: str, primary: str = "www1", term: int = 3, **changes: Any) -> HostReport:
    """What a healthy agent says of itself."""
    other = "www2" if primary == "www1" else "www1"
    said: dict[str, Any] = {
        "role": role,
        "term": term,
        "sync": {"term": term, "primary": primary, "members": [other], "mode": "strict"},
        "etcd": {"reachable": True, "healthy": 3, "endpoints": 3},
        "database": {"read_only": role != "primary", "io_running": True, "sql_running": True, "error": ""},
        "vips": {"site": {"address": "198.51.100.10", "held": role == "primary"}},
        "lock": None,
        "problems": [],
    }
    return HostReport(host, status={**said, **changes})


def healthy(primary: str = "www1", term: int = 3) -> tuple[HostReport, ...]:
    """Both agents of a whole estate."""
    return tuple(status("primary" if host == primary else "replica", host, primary, term) for host in ("www1", "www2"))


@dataclass(frozen=True)
class Story:
    """A made-up failover: what happened when, in seconds since the plan's zero."""

    seconds: float = 40.0
    fault_at: float | None = 10.0
    gone_after: float = 0.0
    promoted_after: float = 4.0
    vip_after: float = 4.2
    served_after: float = 4.4
    page_after: float = 4.6
    returns: bool = True
    lost: int = 0
    unexpected: int = 0
    split: float = 0.0
    unread: str = ""
    idle: bool = False
    bad_baseline: bool = False
    stalled: bool = False
    wall_step: float = 0.0
    seed: int = 1
    rate: float = 20.0


def record(story: Story) -> History:
    """Return the recording of a failover from www1 to www2 with those faults seeded into it."""
    chance = random.Random(story.seed)
    fault = story.fault_at if story.fault_at is not None else story.seconds + 100
    ops: list[Op] = []
    kinds: list[tuple[Kind, float, float]] = [("write", 0.0, story.served_after), ("http", 0.025, story.page_after)]
    for kind, phase, back in kinds:
        for seq in range(int(story.seconds * story.rate)):
            due = phase + seq / story.rate
            if story.idle and kind == "write" and due > 0.5:
                break
            late = 0.0002 if not (story.stalled and 5.0 <= due < 5.4) else 0.4
            sent = due + late
            outcome: Outcome = "ok"
            server: str | None = "www1" if due < fault else "www2"
            latency = chance.uniform(0.002, 0.02)
            if fault <= due < fault + back or (due >= fault and not story.returns):
                outcome, server, latency = ("info" if seq % 7 == 0 else "fail"), None, 0.5
            if story.bad_baseline and due < 0.5:
                outcome, server = "fail", None
            ops.append(
                Op(kind, 0, seq, due, sent, sent + latency, outcome, server, None if outcome == "ok" else "refused")
            )
    samples: list[Sample] = []
    promoted = fault + story.promoted_after
    for tick in range(int(story.seconds * 10)):
        at = tick / 10
        gone = fault + story.gone_after <= at and story.fault_at is not None
        old = at < fault + story.gone_after + story.split
        if gone and not old:
            samples.append(Sample("www1", at, at + 0.003, None, None, error="no answer"))
        else:
            samples.append(
                Sample("www1", at, at + 0.003, "primary", 3, writable=True, vips=("site",) if at < fault else ())
            )
        now = at >= promoted
        vips = ("site",) if at >= fault + story.vip_after else ()
        samples.append(
            Sample(
                "www2", at + 0.02, at + 0.023, "primary" if now else "replica", 4 if now else 3, writable=now, vips=vips
            )
        )
    acknowledged = [op for op in ops if op.kind == "write" and op.outcome == "ok"]
    kept = acknowledged[: len(acknowledged) - story.lost] if story.lost else acknowledged
    rows = [Row(0, op.seq, str(op.server)) for op in kept]
    rows += [Row(0, 900_000 + number, "www2") for number in range(story.unexpected)]
    final = tuple(
        NodeRead(host, error="no answer") if host == story.unread else NodeRead(host, tuple(rows), 0.1, 1, True)
        for host in ("www1", "www2")
    )
    meta = Meta(
        run_id="run",
        started_at="2026-11-23T05:00:00.000Z",
        monotonic_zero=1000.0,
        rate_hz=story.rate,
        writers=1,
        good_ms=250.0,
        timeout_ms=1000.0,
        writes=True,
        http=True,
        final_expected=("www1", "www2"),
        sampled=("www1", "www2"),
        finished=True,
        duration_seconds=story.seconds,
    )
    return History(replace(meta, wall_step_seconds=story.wall_step), tuple(ops), tuple(samples), final)


def write(folder: Path, history: History) -> None:
    """Write a recording into the folder of a probe, as the prober does."""
    folder.mkdir(exist_ok=True)
    for name, items in (("ops", history.ops), ("samples", history.samples)):
        text = "".join(json.dumps(item.as_dict()) + "\n" for item in items)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "meta.json").write_text(json.dumps(history.meta.as_dict()))
    nodes = [node.as_dict() for node in history.final or ()]
    (folder / "final.json").write_text(json.dumps({"schema": 1, "nodes": nodes}))
