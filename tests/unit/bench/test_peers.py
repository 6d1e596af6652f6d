"""What is read from the peers' own programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from failoverctl.probe.model import Outcome, Target, WriteTarget

from bench import postgres
from bench.peers.handmade import follows
from bench.peers.patroni import settled
from bench.postgres import PostgresWriter, conninfo, outcome_of

FIXTURES = Path(__file__).parent / "fixtures"


def members() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((FIXTURES / "patronictl-list.json").read_text(encoding="utf-8"))
    return listed


def test_a_cluster_in_step_has_a_leader() -> None:
    leader = next(member["Member"] for member in members() if member["Role"] == "Leader")
    assert settled(members()) == leader


@pytest.mark.parametrize(
    ("role", "change"),
    [
        ("Leader", {"State": "stopping"}),
        ("Leader", {"Role": "Replica"}),
        ("Sync Standby", {"Role": "Replica"}),
        ("Sync Standby", {"State": "starting"}),
        ("Sync Standby", {"Lag in MB": 16}),
        ("Sync Standby", {"Lag in MB": "unknown"}),
    ],
)
def test_a_cluster_out_of_step_has_none(role: str, change: Mapping[str, Any]) -> None:
    listed = [{**member, **change} if member["Role"] == role else member for member in members()]
    assert settled(listed) is None


def test_a_leader_alone_is_not_in_step() -> None:
    assert settled([member for member in members() if member["Role"] == "Leader"]) is None


def test_a_replica_follows_its_master_only() -> None:
    status = (FIXTURES / "show-slave-status.txt").read_text(encoding="utf-8")
    assert follows(status, "198.18.0.76")
    assert not follows(status, "198.18.0.75")
    assert not follows(status.replace("Slave_SQL_Running: Yes", "Slave_SQL_Running: No"), "198.18.0.76")
    assert not follows("", "198.18.0.76")


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("25006", "fail"),  # read-only transaction
        ("57P03", "fail"),  # cannot connect now
        ("53300", "fail"),  # too many connections
        ("40001", "fail"),  # serialization failure: rolled back
        ("40003", "info"),  # statement completion unknown
        ("57P01", "info"),  # terminated by an administrator, maybe after the commit
        ("57P02", "info"),  # crash shutdown
        ("08006", "info"),  # connection failure
        ("XX000", "info"),
        (None, "info"),  # the connection just ended
    ],
)
def test_an_error_is_a_failure_only_where_nothing_was_committed(state: str | None, outcome: Outcome) -> None:
    assert outcome_of(state) == outcome


def test_clients_know_all_hosts_and_want_the_writable_one() -> None:
    target = WriteTarget("198.18.0.75,198.18.0.76", 5432, "user", "secret", "base")
    words = conninfo(target, target.host, "read-write").split()
    assert "host=198.18.0.75,198.18.0.76" in words
    assert "target_session_attrs=read-write" in words
    assert "port=5433" in conninfo(target, "198.18.0.75", "any", port=5433).split()


def test_a_host_that_does_not_even_refuse_comes_last_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def connect(words: str, _deadline: float) -> None:
        asked.append(words.split()[0])
        raise TimeoutError("timed out") if words.startswith("host=a,") else ConnectionError("refused")

    monkeypatch.setattr(postgres, "_Connection", connect)
    writer = PostgresWriter(Target("run", 20.0, 1, WriteTarget("a,b", 5432, "user", "secret", "base")))
    for seq in range(3):
        assert writer.write(0, seq, 0.0).outcome == "fail"
    assert asked == ["host=a,b", "host=b,a", "host=b,a"]
