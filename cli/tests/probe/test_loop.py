"""The open loop keeps its plan whatever becomes of its operations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from failoverctl.probe.clients import Reply
from failoverctl.probe.loop import Plan, Stream, stagger
from failoverctl.probe.model import Op


def run(
    attempt: Callable[[int, float], Reply],
    seconds: float,
    *,
    rate: float = 50.0,
    timeout: float = 0.5,
    late: float = 0.0,
) -> list[Op]:
    """Run one stream for ``seconds``; its plan began ``late`` seconds ago."""
    ops: list[Op] = []
    stop = threading.Event()
    stream = Stream(
        Plan("write", 0, rate), attempt, ops.append, zero=time.monotonic() - late, timeout_seconds=timeout, stop=stop
    )
    stream.start()
    time.sleep(seconds)
    stop.set()
    assert stream.join(timeout + 1.0)
    return sorted(ops, key=lambda op: op.seq)


def test_streams_are_spread_over_one_interval() -> None:
    plans = stagger(3, 20.0, http=True)
    assert [plan.kind for plan in plans] == ["write", "write", "write", "http"]
    assert [plan.intended(0) for plan in plans] == pytest.approx([0.0, 0.0125, 0.025, 0.0375])
    assert plans[0].intended(20) == pytest.approx(1.0)
    assert stagger(0, 20.0, http=False) == ()


def test_stuck_operations_delay_no_other_and_none_is_left_out() -> None:
    def stuck_for_a_while(seq: int, deadline: float) -> Reply:
        if 10 <= seq < 30:
            time.sleep(max(0.0, deadline - time.monotonic()))
            return Reply("info", error="timed out")
        return Reply("ok", server="www1")

    ops = run(stuck_for_a_while, 1.2)
    assert [op.seq for op in ops] == list(range(len(ops)))
    assert len(ops) > 30
    # Half a time-out, for a busy machine; behind one that is stuck, it would be a whole one.
    assert max(op.sent - op.intended for op in ops) < 0.25
    assert [op.outcome for op in ops[10:30]] == ["info"] * 20
    assert all(op.outcome == "ok" for op in ops[30:])


def test_operations_that_are_later_than_the_timeout_are_not_sent() -> None:
    sent: list[int] = []

    def count(seq: int, _deadline: float) -> Reply:
        sent.append(seq)
        return Reply("ok")

    ops = run(count, 0.2, timeout=0.3, late=1.0)
    skipped = [op for op in ops if op.outcome == "skip"]
    assert len(skipped) == pytest.approx(0.7 * 50, abs=3)
    assert min(sent) == len(skipped)
    assert ops[0].sent - ops[0].intended > 0.3


def test_a_client_that_breaks_leaves_an_unknown_outcome() -> None:
    def broken(_seq: int, _deadline: float) -> Reply:
        raise AttributeError("bug")

    ops = run(broken, 0.1)
    assert ops
    assert {(op.outcome, op.error) for op in ops} == {("info", "AttributeError: bug")}
