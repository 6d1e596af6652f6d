"""Target files: what is accepted, and that everything wrong is named at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from failoverctl.probe.model import (
    Meta,
    NodeRead,
    Op,
    Row,
    Sample,
    TargetError,
    example_target,
    parse_meta,
    parse_node_read,
    parse_op,
    parse_sample,
    parse_target,
)

GOOD: dict[str, Any] = {
    "schema": 1,
    "run_id": "20261123T050000Z-switchover-1a2b",
    "rate_hz": 20,
    "writers": 8,
    "write": {
        "host": "198.51.100.10",
        "port": 3306,
        "user": "failover_probe",
        "password": "secret",
        "database": "failover_probe",
    },
    "http": {"host": "198.51.100.10", "port": 80, "host_header": "guestbook.example.org", "path": "/"},
    "sample": [{"host": "www1", "url": "http://198.51.100.11:8010/role"}],
    "readers": [{"host": "www1", "address": "198.51.100.11", "port": 3306}],
    "good_ms": 250,
    "timeout_ms": 1000,
}


def test_the_documented_target_is_read_and_written_back() -> None:
    target = parse_target(GOOD)
    assert target.writers == 8
    assert target.timeout_seconds == 1.0
    assert target.as_dict(with_password=True) == GOOD


def test_the_example_is_a_target() -> None:
    example = example_target().as_dict(with_password=True)
    assert parse_target(example) == example_target()
    assert example.keys() == GOOD.keys()


def test_the_password_is_left_out_unless_asked_for() -> None:
    assert "secret" not in json.dumps(parse_target(GOOD).as_dict())
    assert "secret" not in json.dumps(parse_target(GOOD).as_dict()["write"])


def test_optional_values_have_defaults() -> None:
    target = parse_target({"schema": 1, "run_id": "r", "http": {"host": "198.51.100.10"}})
    assert (target.rate_hz, target.writers, target.good_ms, target.timeout_ms) == (20.0, 1, 250.0, 1000.0)
    assert target.http is not None
    assert (target.http.port, target.http.host_header, target.http.path) == (80, "198.51.100.10", "/")


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(
            {
                "schema": 2,
                "run_id": "x" * 65,
                "rate": 20,
                "rate_hz": "fast",
                "writers": 0,
                "write": {"host": "198.51.100.10", "port": 70000, "user": "", "database": "d"},
                "sample": [{"host": "www1", "url": "https://198.51.100.11/role"}],
                "readers": {"host": "www1"},
                "good_ms": 2000,
            }
        )
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "rate",
        "schema",
        "write.port",
        "write.user",
        "write.password",
        "sample[0].url",
        "readers",
        "rate_hz",
        "writers",
        "run_id",
        "good_ms",
    ]


@pytest.mark.parametrize("data", [None, [], "text", {"schema": 1, "run_id": "r"}])
def test_a_target_without_anything_to_measure_is_refused(data: object) -> None:
    with pytest.raises(TargetError, match="at least one of them must be given"):
        parse_target(data)


def test_recorded_values_survive_their_files() -> None:
    op = Op("write", 1, 7, 0.35, 0.351, 0.36, "ok", "www1")
    assert parse_op(json.loads(json.dumps(op.as_dict()))) == op
    sample = Sample("www1", 0.1, 0.2, "primary", 3, writable=True, vips=("site",))
    assert parse_sample(json.loads(json.dumps(sample.as_dict()))) == sample
    read = NodeRead("www1", (Row(0, 1, "www1"),), 0.5, 2, caught_up=True)
    assert parse_node_read(json.loads(json.dumps(read.as_dict()))) == read
    meta = Meta("r", "2026-11-23T05:00:00.000Z", 1.5, 20.0, 1, 250.0, 1000.0, writes=True, http=False)
    assert parse_meta(json.loads(json.dumps(meta.as_dict()))) == meta


def test_an_unknown_outcome_is_refused() -> None:
    line = Op("write", 1, 7, 0.35, 0.351, 0.36, "ok").as_dict() | {"outcome": "maybe"}
    with pytest.raises(ValueError, match="maybe"):
        parse_op(line)
