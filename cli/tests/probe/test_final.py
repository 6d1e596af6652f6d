"""The final read waits for hosts that catch up, and names those that do not answer."""

from __future__ import annotations

import threading

import pytest
from failoverctl.probe.final import read_all, read_node
from failoverctl.probe.model import Reader, Row

WWW1 = Reader("www1", "198.51.100.11", 3306)
WWW2 = Reader("www2", "198.51.100.12", 3306)
EXPECTED = frozenset({(0, 0), (0, 1)})
ROWS = (Row(0, 0, "www1"), Row(0, 1, "www1"))


def test_a_replica_is_read_until_it_has_every_acknowledged_row() -> None:
    answers: list[tuple[Row, ...] | OSError] = [ROWS[:1], OSError("gone"), ROWS]

    def read(_reader: Reader, _seconds: float) -> tuple[Row, ...]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    result = read_node(WWW1, read, EXPECTED, limit_seconds=5.0, retry_seconds=0.01)
    assert (result.rows, result.attempts, result.caught_up, result.error) == (ROWS, 3, True, None)


def test_rows_that_do_not_come_are_missing_at_the_limit() -> None:
    result = read_node(WWW1, lambda *_: ROWS[:1], EXPECTED, limit_seconds=0.1, retry_seconds=0.02)
    assert (result.rows, result.caught_up, result.error) == (ROWS[:1], False, None)
    assert result.seconds < 0.5
    assert result.attempts > 1


def test_a_host_that_fails_last_was_not_read() -> None:
    answers: list[object] = [ROWS[:1]]

    def read(_reader: Reader, _seconds: float) -> tuple[Row, ...]:
        if answers:
            answers.pop()
            return ROWS[:1]
        raise ConnectionRefusedError

    result = read_node(WWW1, read, EXPECTED, limit_seconds=0.1, retry_seconds=0.02)
    assert (result.rows, result.error) == ((), "connection refused")


def test_hosts_are_read_side_by_side_and_kept_in_order() -> None:
    together = threading.Barrier(2, timeout=5.0)

    def read(reader: Reader, _seconds: float) -> tuple[Row, ...]:
        together.wait()
        if reader is WWW2:
            raise TimeoutError
        return ROWS

    result = read_all([WWW1, WWW2], read, EXPECTED, limit_seconds=0.0)
    assert [(node.host, node.error) for node in result] == [("www1", None), ("www2", "timed out")]


def test_giving_up_ends_the_wait() -> None:
    stop = threading.Event()
    stop.set()
    result = read_node(WWW1, lambda *_: ROWS[:1], EXPECTED, limit_seconds=30.0, retry_seconds=10.0, stop=stop)
    assert result.seconds == pytest.approx(0.0, abs=1.0)
    assert not result.caught_up
