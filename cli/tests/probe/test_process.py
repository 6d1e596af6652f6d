"""The prober as a process, against a fake estate of two hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from failoverctl.probe import Objectives, Probe, ProbeError, ProbeFilesError, Target, analyse, load
from failoverctl.probe.fake import ADDRESS, FakeDatabase, FakeHttp, FakeMysql, Page, Servers, role_page, text_page
from failoverctl.probe.model import HttpTarget, Reader, RoleSource, WriteTarget

PACKAGE = Path(__file__).resolve().parents[2]


@dataclass
class Estate:
    """www1 and www2 behind one address; ``switch_over`` moves everything to www2."""

    databases: list[FakeDatabase] = field(default_factory=lambda: [FakeDatabase("www1"), FakeDatabase("www2")])
    primary: int = 0
    term: int = 3

    def __post_init__(self) -> None:
        self.databases[0].replicas = [self.databases[1]]
        self.vip = FakeMysql(self.databases[0])
        self.direct = [FakeMysql(database) for database in self.databases]
        self.web = FakeHttp(lambda _path: text_page(f"www{self.primary + 1}"))
        self.agents = [FakeHttp(self._role(0)), FakeHttp(self._role(1))]

    def _role(self, number: int) -> Callable[[str], Page]:
        def page(_path: str) -> Page:
            here = self.primary == number
            role = "primary" if here else "replica"
            return role_page(f"www{number + 1}", role, self.term, {"site": here})

        return page

    @property
    def servers(self) -> Servers:
        return Servers([self.vip, *self.direct, self.web, *self.agents])

    def target(self, **changes: object) -> Target:
        values: dict[str, object] = {
            "run_id": "20261123T050000Z-switchover-1a2b",
            "rate_hz": 40.0,
            "write": WriteTarget(ADDRESS, self.vip.port, "failover_probe", "top-secret", "failover_probe"),
            "http": HttpTarget(ADDRESS, self.web.port, "guestbook.example.org", "/"),
            "sample": tuple(
                RoleSource(f"www{n + 1}", f"http://{ADDRESS}:{agent.port}/role") for n, agent in enumerate(self.agents)
            ),
            "readers": tuple(Reader(f"www{n + 1}", ADDRESS, server.port) for n, server in enumerate(self.direct)),
        }
        return Target(**{**values, **changes})  # type: ignore[arg-type]

    def switch_over(self) -> None:
        self.databases[0].read_only = True
        time.sleep(0.15)
        self.databases[0].replicas = []
        self.databases[1].replicas = [self.databases[0]]
        self.term += 1
        self.primary = 1
        self.vip.database = self.databases[1]


@pytest.fixture
def estate() -> Iterator[Estate]:
    made = Estate()
    with made.servers:
        yield made


def test_a_switchover_is_measured_from_end_to_end(estate: Estate, tmp_path: Path) -> None:
    with Probe(estate.target(writers=2), tmp_path) as probe:
        assert probe.wait_steady(0.8, timeout_seconds=15.0)
        estate.switch_over()
        time.sleep(0.7)
        assert probe.wait_steady(0.8, timeout_seconds=15.0)
        assert probe.progress is not None
        assert probe.progress.writes["failed"] > 0
    assert not probe.running
    result = analyse(tmp_path, Objectives(rto_seconds=5.0, rpo_seconds=0.0))
    assert result.writes is not None
    assert result.http is not None
    if not result.prober.stalled:
        assert result.verdict == "pass", result.reasons
        assert 0.05 <= result.writes.outage_seconds <= 0.5
    assert [served.server for served in result.writes.servers] == ["www1", "www2"]
    assert [served.server for served in result.http.servers] == ["www1", "www2"]
    assert result.primary == "www2"
    assert len(result.on_primary.lost) == 0
    assert result.writes.failed > 0
    assert [node.rows for node in result.nodes] == [result.writes.acknowledged] * 2
    history = load(tmp_path)
    assert {(s.host, s.role) for s in history.samples} == {
        ("www1", "primary"),
        ("www1", "replica"),
        ("www2", "primary"),
        ("www2", "replica"),
    }
    assert history.meta.stopped_by == "SIGTERM"


def test_no_file_holds_the_password(estate: Estate, tmp_path: Path) -> None:
    with Probe(estate.target(), tmp_path) as probe:
        probe.wait_steady(0.1, timeout_seconds=10.0)
    for path in tmp_path.iterdir():
        assert "top-secret" not in path.read_text(encoding="utf-8"), path.name


def test_lost_rows_are_noticed(estate: Estate, tmp_path: Path) -> None:
    with Probe(estate.target(), tmp_path) as probe:
        probe.wait_steady(0.8, timeout_seconds=10.0)
        for database in estate.databases:
            del database.rows[estate.target().run_id][5:8]
        # Without a second signal the final read waits its 20 s for the rows to turn up.
        assert probe._process is not None
        probe._process.terminate()
        time.sleep(0.5)
    result = analyse(tmp_path)
    assert result.verdict == "fail"
    assert {seq for _, seq in result.on_primary.lost} == {5, 6, 7}


def test_it_stops_when_whoever_started_it_dies(estate: Estate, tmp_path: Path) -> None:
    target = estate.target()
    with subprocess.Popen(
        [sys.executable, "-m", "failoverctl.probe", "--target", "-", "--folder", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(target.as_dict(with_password=True)) + "\n")
        process.stdin.flush()
        time.sleep(1.5)
        process.stdin.close()
        assert process.wait(15.0) == 0
    assert load(tmp_path).meta.stopped_by == "end of stdin"
    assert analyse(tmp_path).nodes[0].read


def test_a_killed_prober_leaves_an_unknown_verdict(estate: Estate, tmp_path: Path) -> None:
    with Probe(estate.target(), tmp_path) as probe:
        probe.wait_steady(1.0, timeout_seconds=10.0)
        assert probe._process is not None
        os.kill(probe._process.pid, signal.SIGKILL)
        probe._process.wait(10.0)
        assert not probe.wait_steady(0.1, timeout_seconds=0.5)
        assert not probe.running
    result = analyse(tmp_path)
    assert result.verdict == "unknown"
    assert "the prober did not finish: it was killed, or could not write its files" in result.reasons
    assert result.writes is not None
    assert result.writes.acknowledged > 0


def test_a_prober_that_was_frozen_says_so(estate: Estate, tmp_path: Path) -> None:
    with Probe(estate.target(timeout_ms=400.0), tmp_path) as probe:
        probe.wait_steady(0.8, timeout_seconds=10.0)
        assert probe._process is not None
        os.kill(probe._process.pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(probe._process.pid, signal.SIGCONT)
        time.sleep(0.5)
    result = analyse(tmp_path)
    assert result.verdict == "unknown"
    assert result.prober.stalled > 0
    assert result.prober.skipped > 0


def test_an_unusable_target_is_named(tmp_path: Path) -> None:
    target = Target(run_id="r", http=HttpTarget("198.51.100.10", 80, "h", "/"), good_ms=5000.0)
    with pytest.raises(ProbeError, match="good_ms: expected at most timeout_ms"):
        Probe(target, tmp_path).start()


def test_a_folder_that_cannot_be_made_is_named(estate: Estate, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ProbeError, match="folder"):
        Probe(estate.target(), tmp_path / "file" / "probe").start()


def test_broken_files_are_named_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(ProbeFilesError, match=r"meta\.json: no such file"):
        analyse(tmp_path)
    meta = {
        "schema": 1,
        "run_id": "r",
        "started_at": "2026-11-23T05:00:00.000Z",
        "monotonic_zero": 0.0,
        "rate_hz": 20.0,
        "writers": 1,
        "good_ms": 250.0,
        "timeout_ms": 1000.0,
        "writes": True,
        "http": False,
        "finished": True,
    }
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (tmp_path / "ops.jsonl").write_text('{"kind":"write"}\n', encoding="utf-8")
    with pytest.raises(ProbeFilesError, match=r"ops\.jsonl, line 1: 'outcome' is missing"):
        analyse(tmp_path)
    (tmp_path / "ops.jsonl").write_text('{"kind":"wri', encoding="utf-8")
    assert analyse(tmp_path).verdict == "unknown"
