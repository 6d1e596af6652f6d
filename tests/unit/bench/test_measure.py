"""What clients saw of a move, from what the prober recorded."""

from __future__ import annotations

from failoverctl.probe.checker import History, NodeCheck
from failoverctl.probe.model import Meta, Op, Outcome

from bench.measure import seen, told
from bench.results import Move, Seen

META = Meta(
    run_id="r",
    started_at="2026-01-01T00:00:00Z",
    monotonic_zero=1000.0,
    rate_hz=20.0,
    writers=2,
    good_ms=250.0,
    timeout_ms=1000.0,
    writes=True,
    http=False,
)


def history(bad: dict[tuple[float, float], Outcome]) -> History:
    """Ten seconds of two writers, bad from and to the given times, each answer after 5 ms."""
    ops = []
    for seq in range(200):
        for stream in (0, 1):
            at = seq / 20 + stream / 40
            outcome: Outcome = next((outcome for (start, end), outcome in bad.items() if start <= at < end), "ok")
            ops.append(Op("write", stream, seq, at, at, at + 0.005, outcome, "www1" if outcome == "ok" else None))
    return History(META, tuple(ops))


def test_only_what_was_due_after_the_move_began_counts() -> None:
    found = seen(history({(0.0, 0.5): "fail", (5.0, 5.2): "info"}), "write", 1004.0)
    assert found is not None
    assert (found.attempted, found.acknowledged, found.failed, found.unknown) == (240, 232, 0, 8)
    assert 0.2 <= found.outage_seconds <= 0.21
    assert 0.2 <= found.paused_seconds <= 0.21


def test_rows_are_those_of_the_whole_run() -> None:
    rows = NodeCheck("www1", read=True, lost=frozenset({(0, 1)}), recovered=frozenset({(0, 2), (0, 3)}))
    found = seen(history({}), "write", 1004.0, rows)
    assert found is not None
    assert (found.paused_seconds, found.lost, found.recovered, found.unexpected) == (0.0, 1, 2, 0)


def test_nothing_is_known_of_rows_that_nobody_read() -> None:
    found = seen(history({}), "write", 1004.0)
    assert found is not None
    assert found.lost is None


def test_what_was_not_measured_was_not_seen() -> None:
    assert seen(history({}), "http", 1004.0) is None


def test_a_line_tells_of_a_move() -> None:
    writes = Seen(0.187, 0.2, 100, 98, 1, 1, 0, 0, 0, 0, 0)
    move = Move(3, "", "www1", "www2", 9.04, "pass", writes=writes, prober_late_ms=4.2)
    assert told(move) == (
        "www1 to www2  writes paused 0.187 s, lost 0, hung 0  (pass, command 9.0 s, prober at most 4 ms late)"
    )
    assert told(Move(3, "", "a", "b", 0.0, "unknown", error="it broke")).endswith("FAILED: it broke")
