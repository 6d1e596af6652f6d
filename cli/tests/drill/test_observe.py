"""Observations: clocks, silence, and what a host says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from failoverctl.drill import observe
from failoverctl.drill.observe import Observation, Offset, Sampler, Writers, load, with_silence
from failoverctl.drill.remote import sampler
from failoverctl.drill.targets import TargetError, Targets
from failoverctl.estate import Estate
from failoverctl.probe.model import INSIDE_STREAM, Meta
from hypothesis import given
from hypothesis import strategies as st

META = Meta(
    run_id="r",
    started_at="2026-11-23T05:00:00.000Z",
    monotonic_zero=100.0,
    rate_hz=20.0,
    writers=1,
    good_ms=250.0,
    timeout_ms=1000.0,
    writes=True,
    http=False,
)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 5)), min_size=1), st.floats(-1e6, 1e6))
def test_the_offset_of_a_clock_is_off_by_the_fastest_way_at_most(
    lines: list[tuple[float, float]], ahead: float
) -> None:
    offset = Offset()
    for there, way in lines:
        offset.take(there, there + ahead + way)
    assert offset.seconds == pytest.approx(ahead + min(way for _, way in lines), abs=1e-3)


def seen(host: str, at: float, **values: Any) -> Observation:
    return Observation(host, at, at, **values)


def test_silence_is_filled() -> None:
    said = [seen("a", 0.1), seen("a", 0.2), seen("a", 1.2), seen("b", 0.1)]
    whole = with_silence(said, ["a", "b"], 0.0, 1.25)
    silent = [each for each in whole if not each.reachable]
    assert {each.host for each in silent} == {"a", "b"}
    gap = [each.at for each in silent if each.host == "a"]
    assert gap[0] == pytest.approx(0.3)
    assert all(0.2 < at < 1.2 for at in gap)
    assert [each.at for each in whole] == sorted(each.at for each in whole)
    assert not any(each.writable for each in silent)


def test_as_samples_are_in_the_probe_s_time() -> None:
    (sample,) = observe.as_samples([seen("a", 112.5, role="primary", term=3, writable=True, vips=("site",))], META)
    assert (sample.at, sample.role, sample.term, sample.writable, sample.vips) == (12.5, "primary", 3, True, ("site",))


def test_addresses_that_are_local() -> None:
    text = Path("/proc/net/fib_trie").read_text(encoding="ascii")
    assert sampler.held(text, {"loop": "127.0.0.1", "far": "198.51.100.10"}) == ["loop"]
    six = "fd000000000000000000000000000010 02 40 00 80     eth0\n"
    addresses = {"site": "fd00::10", "far": "fd00::11", "four": "198.51.100.10"}
    assert sampler.held_6(six, addresses) == ["site"]


class LocalTargets(Targets):
    """Runs on this machine what would be run on a host, with another program in place of the one that is sent."""

    def __init__(self, estate: Estate, text: str) -> None:
        super().__init__(estate, {}, None)
        self._text = text
        self.dead: set[str] = set()
        self.started: list[subprocess.Popen[str]] = []

    def start(self, host: str, argv: Any) -> subprocess.Popen[str]:
        if host in self.dead:
            raise TargetError(f"{host} is off")
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", self._text, *argv[4:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process


_TALK = """
import json, os, sys, threading, time
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    print(json.dumps({"t": time.clock_gettime(time.CLOCK_BOOTTIME), "utc": time.time(), "role": "primary", "term": 4,
        "writable": True, "read_only": False, "vips": ["site"], "error": None}))
    time.sleep(0.1)
"""


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_a_sampler_from_start_to_end(estate: Estate, tmp_path: Path) -> None:
    targets = LocalTargets(estate, _TALK)
    targets.dead.add("www2")
    path = tmp_path / "samples.jsonl"
    began = time.monotonic()
    found = Sampler(targets, estate, path)
    found.start()
    wait_until(lambda: "www1" in found.latest() and found.latest()["www1"].role == "primary")
    time.sleep(0.5)
    live = path.read_text().splitlines()
    assert {json.loads(line)["host"] for line in live} == {"www1", "www2"}
    # One that dies is started again.
    targets.started[0].kill()
    wait_until(lambda: len(targets.started) == 2)
    time.sleep(0.4)
    found.stop()
    found.stop()
    ended = time.monotonic()
    seen = load(path)
    assert all(process.poll() is not None for process in targets.started)
    first = [each for each in seen if each.host == "www1" and each.reachable]
    assert {(each.role, each.term, each.writable, each.vips) for each in first} == {("primary", 4, True, ("site",))}
    assert all(began - 0.1 <= each.at <= ended for each in seen)
    assert {each.reachable for each in seen if each.host == "www2"} == {False}
    assert not path.with_name("samples.jsonl.new").exists()


_WRITE = """
import json, os, sys, threading, time
order = json.loads(sys.stdin.readline())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
seq = order["first"]
while True:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    print(json.dumps({"seq": seq, "sent": now}))
    if seq == 3:
        time.sleep(1000)
    print(json.dumps({"seq": seq, "sent": now, "done": now, "outcome": "ok" if order["stream"] == 10000 else "fail",
        "server": "www1" if order["stream"] == 10000 else None, "error": None}))
    seq += 1
    time.sleep(0.1)
"""


def test_writers_on_hosts(estate: Estate, tmp_path: Path) -> None:
    targets = LocalTargets(estate, _WRITE)
    writers = Writers(targets, estate, ("www1", "www2"), run_id="r", password="secret")
    began = time.monotonic()
    writers.start()
    wait_until(lambda: len(targets.started) == 2)
    time.sleep(1.0)
    for process in targets.started[:2]:
        process.kill()
    wait_until(lambda: len(targets.started) == 4)
    time.sleep(0.4)
    writers.stop()
    ops = writers.operations(META)
    assert {op.kind for op in ops} == {"inside"}
    assert {(op.stream, op.outcome, op.server) for op in ops} == {
        (INSIDE_STREAM, "ok", "www1"),
        (INSIDE_STREAM, "info", None),
        (INSIDE_STREAM + 1, "fail", None),
        (INSIDE_STREAM + 1, "info", None),
    }
    assert 3 in {op.seq for op in ops if op.outcome == "info"}, "nobody heard of the end of that one"
    numbers = [(op.stream, op.seq) for op in ops]
    assert len(set(numbers)) == len(numbers), "one that is started again takes new numbers"
    assert all(began - META.monotonic_zero - 0.1 <= op.sent for op in ops)
    writers.write(tmp_path, META)
    assert len((tmp_path / "inside.jsonl").read_text().splitlines()) == len(ops)
    assert "secret" not in str([process.args for process in targets.started])


class FakeSession:
    """Stands for a connection of pymysql; ``answers`` are rows or errors, in their order."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.closed = False

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def cursor(self) -> FakeSession:
        return self

    def execute(self, *_: object) -> None:
        if isinstance(self.answers[0], Exception):
            raise self.answers.pop(0)

    def fetchone(self) -> Any:
        return self.answers.pop(0)

    def close(self) -> None:
        self.closed = True


def test_outcomes_of_a_writer_on_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    import pymysql
    from failoverctl.drill.remote import writer
    from failoverctl.probe.clients import NOT_COMMITTED

    order = dict(address="x", port=1, user="u", password="p", database="d", run_id="r", stream=1)  # noqa: C408
    order["not_committed"] = sorted(NOT_COMMITTED)
    refused, gone = pymysql.err.OperationalError(1290, "read-only"), pymysql.err.OperationalError(2013, "lost")
    session = FakeSession([("www1",), refused, gone])
    monkeypatch.setattr(writer, "pymysql", SimpleNamespace(connect=lambda **_: session, MySQLError=pymysql.MySQLError))
    one = writer.Writer(order)
    assert one.write(0) == ("ok", "www1", None)
    assert one.write(1)[0] == "fail"
    assert not session.closed, "a replica says no, and the connection is as good as before"
    assert one.write(2)[0] == "info"
    assert session.closed
