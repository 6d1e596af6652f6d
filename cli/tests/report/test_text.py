"""The sentences that a terminal and the report share."""

from __future__ import annotations

from typing import Any

import pytest
from failoverctl.report import summary_lines
from failoverctl.report.text import count, duration, milliseconds, span_words


def probe(**changes: Any) -> dict[str, Any]:
    writes = {"acknowledged": 2331, "lost": 0, "paused_seconds": 0.187, "outages": [{}]}
    http = {"attempted": 2331, "failed": 3, "paused_seconds": 0.12}
    return {"verdict": "pass", "reasons": [], "writes": writes | changes, "http": http}


def test_a_measured_run_is_told_in_three_lines() -> None:
    assert summary_lines({"verdict": "pass", "probe": probe()}) == [
        "writes paused 187 ms, 0 of 2331 acknowledged writes lost",
        "http outage 120 ms, 3 of 2331 requests failed",
        "verdict: pass",
    ]


def test_several_outages_are_named() -> None:
    line = summary_lines({"verdict": "pass", "probe": probe(outages=[{}, {}])})[0]
    assert line == "writes paused 187 ms in 2 outages, 0 of 2331 acknowledged writes lost"


def test_what_was_not_read_is_not_called_zero() -> None:
    line = summary_lines({"verdict": "unknown", "probe": probe(lost=None)})[0]
    assert line == "writes paused 187 ms, how many of 2331 acknowledged writes are lost is not known"


def test_reasons_follow_a_verdict_that_is_not_good() -> None:
    result = {"verdict": "fail", "reason": "a; b", "probe": probe() | {"reasons": ["a", "b"]}}
    assert summary_lines(result)[2:] == ["verdict: fail, a", "  b"]


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ({"verdict": "ok", "probe": None}, ["verdict: ok"]),
        ({"verdict": "refused", "reason": "lag", "probe": None}, ["verdict: refused, lag"]),
        ({}, ["verdict: running"]),
        ({"verdict": "unknown", "probe": {"writes": None, "http": None, "reasons": ["x"]}}, ["verdict: unknown, x"]),
    ],
)
def test_a_run_without_a_measurement_has_its_verdict(result: dict[str, Any], lines: list[str]) -> None:
    assert summary_lines(result) == lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.1874, "187 ms"),
        (0.9996, "1.00 s"),
        (2.345, "2.35 s"),
        (23.44, "23.4 s"),
        (59.96, "1 min 0 s"),
        (192.0, "3 min 12 s"),
        (7260.0, "2 h 1 min"),
    ],
)
def test_lengths_of_time_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_latencies_keep_two_digits() -> None:
    assert [milliseconds(v) for v in (0.42, 3.14, 187.0, 1200.0)] == ["0.42 ms", "3.1 ms", "187 ms", "1.20 s"]


def test_spans_are_named_with_writers_counted_from_one() -> None:
    spans = [{"stream": 0, "first": 224, "last": 227}] + [{"stream": n, "first": 9, "last": 9} for n in range(1, 10)]
    text = span_words(spans)
    assert text.startswith("writer 1 no. 224\N{EN DASH}227, writer 2 no. 9, ")
    assert text.endswith("writer 8 no. 9, and 2 more")


def test_nouns_follow_their_number() -> None:
    assert (count(1, "host"), count(2, "host"), count(0, "host")) == ("1 host", "2 hosts", "0 hosts")
