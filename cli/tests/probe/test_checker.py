"""The checker against histories whose truth is known, most of them made by hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from failoverctl.probe.checker import (
    BROKEN_BEFORE,
    GOOD_RUN,
    History,
    Objectives,
    check,
    find_outages,
    find_two_holders,
    find_two_writers,
    outside_acknowledgements,
    same_host,
    spans,
)
from failoverctl.probe.model import INSIDE_STREAM, Meta, NodeRead, Op, Outcome, Row, Sample
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 20.0
HOSTS = ("www1", "www2")


def make_op(stream: int, seq: int, writers: int, outcome: Outcome = "ok", latency: float = 0.005) -> Op:
    intended = stream / (writers * RATE) + seq / RATE
    server = "www1" if outcome == "ok" else None
    return Op("write", stream, seq, intended, intended + 0.0002, intended + latency, outcome, server)


def make_history(ops: list[Op], writers: int = 1, samples: tuple[Sample, ...] = ()) -> History:
    """A probe that ran undisturbed, and two hosts that hold exactly what was acknowledged."""
    rows = tuple(Row(op.stream, op.seq, str(op.server)) for op in ops if op.outcome == "ok")
    return History(
        meta=Meta(
            run_id="run",
            started_at="2026-11-23T05:00:00.000Z",
            monotonic_zero=100.0,
            rate_hz=RATE,
            writers=writers,
            good_ms=250.0,
            timeout_ms=1000.0,
            writes=True,
            http=False,
            final_expected=HOSTS,
            finished=True,
        ),
        ops=tuple(ops),
        samples=samples,
        final=tuple(NodeRead(host, rows, caught_up=True) for host in HOSTS),
    )


def change_ops(history: History, change: Callable[[Op], Op]) -> History:
    return replace(history, ops=tuple(change(op) for op in history.ops))


def change_rows(history: History, change: Callable[[tuple[Row, ...]], tuple[Row, ...]]) -> History:
    """Change the rows of every host."""
    final = tuple(replace(node, rows=change(node.rows)) for node in history.final or ())
    return replace(history, final=final)


@st.composite
def good_histories(draw: st.DrawFn) -> History:
    writers = draw(st.integers(1, 4))
    count = draw(st.integers(GOOD_RUN, 60))
    latencies = st.floats(0.001, 0.2)
    ops = [make_op(stream, seq, writers, latency=draw(latencies)) for stream in range(writers) for seq in range(count)]
    ops = draw(st.permutations(ops)) if len(ops) < 60 else ops
    return make_history(list(ops), writers)


def some_keys(history: History) -> st.SearchStrategy[set[tuple[int, int]]]:
    keys = [(op.stream, op.seq) for op in history.ops if op.outcome == "ok"]
    return st.sets(st.sampled_from(keys), min_size=1, max_size=10)


@settings(deadline=None)
@given(good_histories())
def test_an_undisturbed_history_passes(history: History) -> None:
    result = check(history, Objectives(rto_seconds=0.25, rpo_seconds=0.0))
    assert result.verdict == "pass", result.reasons
    assert result.reasons == ()
    assert result.writes is not None
    assert result.writes.acknowledged == len(history.ops)
    assert result.writes.outages == ()
    assert [measured.met for measured in result.objectives] == [True, True]


@settings(deadline=None)
@given(good_histories(), st.data())
def test_lost_rows_are_found_and_fail(history: History, data: st.DataObject) -> None:
    keys = data.draw(some_keys(history))
    broken = change_rows(history, lambda rows: tuple(r for r in rows if (r.stream, r.seq) not in keys))
    result = check(broken)
    assert result.verdict == "fail"
    assert result.on_primary.lost == keys
    assert f"{len(keys)} acknowledged writes are lost" in result.reasons
    assert result.rpo_seconds > 0


@settings(deadline=None)
@given(good_histories(), st.data())
def test_duplicates_are_found_and_fail(history: History, data: st.DataObject) -> None:
    keys = data.draw(some_keys(history))
    copies = tuple(Row(stream, seq, "www2") for stream, seq in sorted(keys))
    result = check(change_rows(history, lambda rows: rows + copies))
    assert result.verdict == "fail"
    assert result.on_primary.duplicates == len(keys)
    assert not result.on_primary.lost


@settings(deadline=None)
@given(good_histories(), st.sets(st.tuples(st.integers(0, 9), st.integers(1000, 2000)), min_size=1))
def test_phantoms_are_found_and_fail(history: History, keys: set[tuple[int, int]]) -> None:
    phantoms = tuple(Row(stream, seq, "www1") for stream, seq in sorted(keys))
    result = check(change_rows(history, lambda rows: rows + phantoms))
    assert result.verdict == "fail"
    assert result.on_primary.unexpected == keys


@settings(deadline=None)
@given(good_histories(), st.data())
def test_a_row_of_a_refused_write_is_unexpected(history: History, data: st.DataObject) -> None:
    keys = data.draw(some_keys(history))
    refused = change_ops(history, lambda op: replace(op, outcome="fail") if (op.stream, op.seq) in keys else op)
    result = check(refused)
    assert result.verdict == "fail"
    assert result.on_primary.unexpected == keys


@settings(deadline=None)
@given(good_histories(), st.data())
def test_unknown_outcomes_are_neither_lost_nor_unexpected(history: History, data: st.DataObject) -> None:
    unknown = data.draw(some_keys(history))
    present = {key for key in unknown if data.draw(st.booleans())}
    changed = change_ops(history, lambda op: replace(op, outcome="info") if (op.stream, op.seq) in unknown else op)
    changed = change_rows(
        changed,
        lambda rows: tuple(r for r in rows if (r.stream, r.seq) not in unknown - present),
    )
    result = check(changed)
    assert result.on_primary.recovered == present
    assert not result.on_primary.lost
    assert not result.on_primary.unexpected
    assert result.verdict != "fail" or "did not come back" in result.reasons[0]


@settings(deadline=None)
@given(good_histories(), st.data())
def test_rows_missing_on_a_replica_only_fail_without_counting_as_lost(history: History, data: st.DataObject) -> None:
    keys = data.draw(some_keys(history))
    primary, replica = history.final or ()
    rows = tuple(row for row in replica.rows if (row.stream, row.seq) not in keys)
    result = check(replace(history, final=(primary, replace(replica, rows=rows))))
    assert result.primary == "www1"
    assert not result.on_primary.lost
    assert result.nodes[1].lost == keys
    assert result.verdict == "fail"
    assert f"www2 lacks {len(keys)}" in result.reasons[0]


@settings(deadline=None)
@given(good_histories(), st.data())
def test_an_unknown_write_that_only_an_old_primary_holds_leaves_a_doubt(history: History, data: st.DataObject) -> None:
    keys = data.draw(some_keys(history))
    changed = change_ops(history, lambda op: replace(op, outcome="info") if (op.stream, op.seq) in keys else op)
    primary, replica = changed.final or ()
    rows = tuple(row for row in primary.rows if (row.stream, row.seq) not in keys)
    result = check(replace(changed, final=(replace(primary, rows=rows), replica)))
    if result.primary == "www1":
        assert any("www2 holds" in reason for reason in result.reasons)
        assert result.verdict != "pass"


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, GOOD_RUN - 1))
def test_an_idle_probe_is_unknown(writers: int, acknowledged: int) -> None:
    ops = [make_op(0, seq, writers) for seq in range(acknowledged)]
    result = check(make_history(ops, writers))
    assert result.verdict == "unknown"
    assert any("prove nothing" in reason for reason in result.reasons)


@settings(deadline=None)
@given(good_histories(), st.data(), st.floats(0.201, 0.9))
def test_a_stalled_prober_is_unknown_even_with_an_objective_missed(
    history: History, data: st.DataObject, late: float
) -> None:
    keys = data.draw(some_keys(history))
    stalled = change_ops(
        history,
        lambda op: (
            replace(op, sent=op.intended + late, done=op.intended + late + 0.005) if (op.stream, op.seq) in keys else op
        ),
    )
    result = check(stalled, Objectives(rto_seconds=0.001))
    assert result.verdict == "unknown"
    assert any("the prober itself stalled" in reason for reason in result.reasons)
    assert all(measured.met is None for measured in result.objectives)


@settings(deadline=None)
@given(good_histories(), st.data())
def test_operations_the_prober_did_not_send_make_it_unknown_and_no_outage(
    history: History, data: st.DataObject
) -> None:
    keys = data.draw(some_keys(history))
    skipped = change_ops(history, lambda op: replace(op, outcome="skip") if (op.stream, op.seq) in keys else op)
    skipped = change_rows(skipped, lambda rows: tuple(r for r in rows if (r.stream, r.seq) not in keys))
    result = check(skipped)
    assert result.verdict == "unknown"
    assert result.writes is not None
    assert result.writes.outages == ()
    assert result.writes.skipped == len(keys)


@settings(deadline=None)
@given(good_histories())
def test_loss_fails_even_when_the_prober_stalled(history: History) -> None:
    stalled = change_ops(history, lambda op: replace(op, sent=op.intended + 0.5, done=op.intended + 0.6))
    result = check(change_rows(stalled, lambda rows: rows[:-1]))
    assert result.verdict == "fail"
    assert result.reasons[0] == "1 acknowledged writes are lost"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: replace(h, final=None), "no final read"),
        (lambda h: replace(h, final=h.final[:1]), "www2 could not be read"),
        (
            lambda h: replace(h, final=(NodeRead("www1", error="timed out"), h.final[1])),
            "www1 could not be read at the end: timed out",
        ),
        (lambda h: replace(h, meta=replace(h.meta, finished=False)), "did not finish"),
        (lambda h: replace(h, ops=h.ops[:10] + h.ops[11:]), "no recorded end"),
        (
            lambda h: replace(h, samples=(Sample("www9", 1.0, 1.1, "primary", 3, writable=True),)),
            "the primary at the end is not among the hosts that were read",
        ),
    ],
)
def test_what_was_not_measured_is_unknown(change: Callable[[History], History], reason: str) -> None:
    ops = [make_op(0, seq, 1) for seq in range(60)]
    history = change(make_history(ops))
    if len(history.ops) == 59:
        gone = {(0, 10)}
        history = change_rows(history, lambda rows: tuple(r for r in rows if (r.stream, r.seq) not in gone))
    result = check(history)
    assert result.verdict == "unknown"
    assert any(reason in text for text in result.reasons), result.reasons


def test_a_bad_baseline_is_unknown() -> None:
    ops = [make_op(0, seq, 1, "fail" if seq < 5 else "ok") for seq in range(80)]
    result = check(make_history(ops))
    assert result.verdict == "unknown"
    assert result.reasons == ("no good baseline: 5 of the first 20 writes were bad",)


@pytest.mark.parametrize(
    ("bad", "broken_at", "reasons"),
    [
        (range(5), 3.0, ()),
        (range(45, 50), 3.0, ("no good baseline: 5 of the last 20 writes of it were bad",)),
        (range(62, 67), 3.0, ()),
        (range(5), BROKEN_BEFORE, ()),
        ((), 0.0, ("no baseline: no writes were answered in it",)),
    ],
)
def test_the_baseline_of_a_fault_is_what_was_answered_last_before_it(
    bad: Sequence[int], broken_at: float, reasons: tuple[str, ...]
) -> None:
    """A slow first second, which the drill waited out, is none; seen in the matrix."""
    ops = [make_op(0, seq, 1, "fail" if seq in bad else "ok") for seq in range(100)]
    history = make_history(ops)
    assert check(history, broken_at=history.meta.monotonic_zero + broken_at).reasons == reasons


def test_the_primary_lost_rows_count_even_if_a_replica_has_them() -> None:
    history = make_history([make_op(0, seq, 1) for seq in range(60)])
    primary, replica = history.final or ()
    result = check(replace(history, final=(replace(primary, rows=primary.rows[:-2]), replica)))
    assert result.verdict == "fail"
    assert result.on_primary.lost == {(0, 58), (0, 59)}


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.integers(25, 60),
    st.integers(1, 30),
    st.sampled_from(["fail", "info", "slow"]),
)
def test_an_outage_is_bracketed_by_intended_starts(writers: int, first: int, length: int, how: str) -> None:
    ops = []
    for stream in range(writers):
        for seq in range(first + length + GOOD_RUN + 5):
            bad = first <= seq < first + length
            if bad and how == "slow":
                ops.append(make_op(stream, seq, writers, latency=0.251))
            else:
                outcome: Outcome = "ok" if not bad else "info" if how == "info" else "fail"
                ops.append(make_op(stream, seq, writers, outcome))
    result = check(make_history(ops, writers), Objectives(rto_seconds=length / RATE + 0.1))
    assert result.writes is not None
    (outage,) = result.writes.outages
    assert outage.start == pytest.approx(first / RATE)
    assert outage.seconds == pytest.approx(length / RATE)
    assert outage.bad == length * writers
    assert result.writes.outage_seconds == pytest.approx(length / RATE)
    assert result.verdict == "pass", result.reasons


def test_bad_operations_less_than_a_run_apart_are_one_outage_else_two() -> None:
    def outages(distance: int) -> list[object]:
        bad = {30, 30 + distance}
        ops = [make_op(0, seq, 1, "fail" if seq in bad else "ok") for seq in range(120)]
        return [(o.start, round(o.seconds, 6)) for o in find_outages(ops, 0.25, GOOD_RUN)]

    assert outages(GOOD_RUN) == [(1.5, 1.05)]
    assert outages(GOOD_RUN + 1) == [(1.5, 0.05), (2.55, 0.05)]


def test_an_outage_that_does_not_end_fails_and_is_counted_to_the_last_operation() -> None:
    ops = [make_op(0, seq, 1, "ok" if seq < 40 else "fail") for seq in range(60)]
    result = check(make_history(ops))
    assert result.writes is not None
    (outage,) = result.writes.outages
    assert outage.end is None
    assert outage.seconds == pytest.approx(0.955)
    assert result.verdict == "fail"
    assert "did not come back" in result.reasons[0]


def test_an_outage_just_before_the_end_is_not_called_over() -> None:
    ops = [make_op(0, seq, 1, "fail" if 50 <= seq < 53 else "ok") for seq in range(60)]
    result = check(make_history(ops))
    assert result.verdict == "unknown"
    assert "ended too soon" in result.reasons[0]


def test_an_exceeded_objective_fails() -> None:
    ops = [make_op(0, seq, 1, "fail" if 30 <= seq < 50 else "ok") for seq in range(100)]
    result = check(make_history(ops), Objectives(rto_seconds=0.5))
    assert result.verdict == "fail"
    assert result.reasons == ("writes not served for 1.00 s (objective 0.5 s)",)
    assert result.objectives[0].met is False


def test_a_stall_shorter_than_the_limit_is_a_pause_though_no_outage() -> None:
    """Everything sent in 0.2 s is answered at its end: no operation is bad, and yet writes paused."""
    ops = []
    for seq in range(100):
        op = make_op(0, seq, 1)
        ops.append(replace(op, done=max(op.done, 2.2)) if 2.0 <= op.intended < 2.2 else op)
    result = check(make_history(ops))
    assert result.writes is not None
    assert result.writes.outages == ()
    assert result.writes.stall is not None
    assert result.writes.stall.start == pytest.approx(2.0)
    assert result.writes.stall.bad == 0
    assert result.writes.paused_seconds == pytest.approx(0.2)


def test_writes_that_wait_for_the_end_of_an_outage_belong_to_its_pause() -> None:
    """As on a real estate: refused until 2.15, then waiting until the replica was attached at 2.34."""
    ops = []
    for seq in range(100):
        op = make_op(0, seq, 1, "fail" if 2.0 <= seq / RATE < 2.15 else "ok")
        ops.append(replace(op, done=max(op.done, 2.34)) if 2.15 <= op.intended < 2.34 else op)
    result = check(make_history(ops), Objectives(rto_seconds=0.3))
    assert result.writes is not None
    (outage,) = result.writes.outages
    assert outage.seconds == pytest.approx(0.15)
    assert outage.resumed == pytest.approx(2.34)
    assert result.writes.stall is None
    assert result.writes.paused_seconds == pytest.approx(0.34)
    assert result.verdict == "fail"


@settings(deadline=None)
@given(st.integers(1, 8), st.floats(0.21, 0.24), st.floats(1.2, 1.8))
def test_a_stall_is_found_to_within_one_operation(writers: int, length: float, start: float) -> None:
    ops = []
    for stream in range(writers):
        for seq in range(60):
            op = make_op(stream, seq, writers)
            waits = op.intended < start + length and op.done > start
            ops.append(replace(op, done=start + length + 0.001 * stream) if waits else op)
    result = check(make_history(ops, writers))
    assert result.writes is not None
    assert result.writes.outages == ()
    assert result.writes.paused_seconds == pytest.approx(length, abs=1.0 / RATE / writers + 0.006)


def test_hung_clients_fail_unless_they_are_allowed() -> None:
    ops = [make_op(0, seq, 1, "info", 1.0005) if seq == 40 else make_op(0, seq, 1) for seq in range(100)]
    history = make_history(ops)
    result = check(history)
    assert result.writes is not None
    assert result.writes.hung == 1
    assert result.verdict == "fail"
    assert check(history, Objectives(hung_allowed=True)).verdict == "pass"


def make_sample(host: str, at: float, role: str | None = "primary", term: int = 3) -> Sample:
    return Sample(host, at, at + 0.002, role, term, writable=role == "primary")


def switched(at: int, until: int, second: str = "www2") -> list[Op]:
    """Writes acknowledged by www1 before ``at`` and by another host up to ``until``, then www1."""
    return [replace(make_op(0, seq, 1), server=second if at <= seq < until else "www1") for seq in range(120)]


def test_a_switchover_and_a_return_in_new_terms_have_one_writer() -> None:
    samples = [make_sample("www1", t / 10, term=3) for t in range(20)]
    samples += [make_sample("www1", t / 10, "replica", 4) for t in range(20, 40)]
    samples += [make_sample("www2", t / 10, term=4) for t in range(20, 40)]
    samples += [make_sample("www1", t / 10, term=5) for t in range(40, 60)]
    samples += [make_sample("www2", t / 10, "replica", 5) for t in range(40, 60)]
    assert find_two_writers(switched(40, 80), samples) == ((), (), ())


@settings(deadline=None)
@given(st.integers(10, 50), st.integers(1, 40))
def test_writers_that_alternate_within_a_term_are_two_writers(at: int, length: int) -> None:
    samples = [make_sample("www1", t / 10) for t in range(60)]
    proofs, _, _ = find_two_writers(switched(at, at + length), samples)
    assert proofs[:1] == ("writes were acknowledged by www1, then www2, then www1 without a term for each change",)


def inside(host: str, at: float, seq: int, outcome: Outcome = "ok") -> Op:
    server = host if outcome == "ok" else None
    return Op("inside", INSIDE_STREAM, seq, at, at, at + 0.002, outcome, server)


def test_a_write_on_the_minority_side_after_the_new_term_is_a_proof() -> None:
    samples = [make_sample("www1", t / 10) for t in range(20)]
    samples += [make_sample("www2", t / 10, term=4) for t in range(40, 60)]
    before, late = inside("www1", 3.9, 0), inside("www1", 4.5, 1)
    waited = replace(late, sent=3.9)
    assert outside_acknowledgements([before, waited], samples) == ()
    assert outside_acknowledgements([before, late], samples) == (late,)
    assert outside_acknowledgements([replace(late, outcome="info")], samples) == ()
    # The deposed one names the new term for a moment, before it has stepped down.
    samples.append(make_sample("www1", 3.95, term=4))
    assert outside_acknowledgements([before, late], samples) == (late,)
    proofs, _, _ = find_two_writers([late], samples)
    assert proofs == ("1 writes were acknowledged by www1 after a newer term had begun elsewhere",)


def test_writers_on_hosts_count_for_rows_and_not_for_the_outage() -> None:
    history = make_history([make_op(0, seq, 1) for seq in range(60)])
    silent = [inside("www1", 1.0 + number / 10, number, "fail") for number in range(20)]
    result = check(replace(history, ops=(*history.ops, *silent)))
    assert result.verdict == "pass"
    assert result.writes is not None
    assert result.writes.attempted == 60
    lost = check(replace(history, ops=(*history.ops, inside("www1", 2.0, 7))))
    assert lost.verdict == "fail"
    assert lost.reasons[0] == "1 acknowledged writes are lost"


def test_writers_that_alternate_without_samples_are_a_doubt() -> None:
    result = check(make_history(switched(40, 80)))
    assert result.verdict == "unknown"
    assert "no term was sampled" in result.reasons[0]


@settings(deadline=None)
@given(st.floats(0.5, 4.0), st.floats(0.3, 2.0))
def test_two_hosts_writable_at_once_that_both_acknowledge_fail(start: float, length: float) -> None:
    ops = [
        replace(make_op(0, seq, 1), server="www2" if start <= seq / RATE < start + length and seq % 2 else "www1")
        for seq in range(140)
    ]
    samples = [make_sample("www1", t / 10) for t in range(70)]
    samples += [make_sample("www2", start + t / 10) for t in range(int(length * 10) + 1)]
    result = check(make_history(ops, samples=tuple(samples)))
    assert result.verdict == "fail"
    assert any("both acknowledged writes in that time" in reason for reason in result.reasons)


def test_two_hosts_writable_at_once_of_which_one_acknowledges_is_a_note() -> None:
    samples = [make_sample("www1", t / 10) for t in range(60)] + [make_sample("www2", 2.0), make_sample("www2", 2.1)]
    ops = [make_op(0, seq, 1) for seq in range(120)]
    result = check(make_history(ops, samples=tuple(samples)))
    assert result.verdict == "pass"
    assert result.notes == ("www1 and www2 were both writable for at least 0.10 s",)


@given(st.floats(0.0, 4.0), st.floats(1.4, 3.0))
def test_an_address_on_two_hosts_is_proved(start: float, length: float) -> None:
    samples = [replace(make_sample("www1", t / 10), vips=("site", "other")) for t in range(80)]
    samples += [replace(make_sample("www2", start + t / 10), vips=("site",)) for t in range(int(length * 10))]
    (proof,) = find_two_holders(samples)
    assert proof.startswith("www1 and www2 both held the address site for at least ")


def test_an_address_that_moves_is_on_one_host() -> None:
    """Also when the old one held on to it for a moment, and when it stood still and said nothing meanwhile."""
    old = [replace(make_sample("www1", t / 10), vips=("site",)) for t in range(30)]
    new = [replace(make_sample("www2", 2.2 + t / 10), vips=("site",)) for t in range(60)]
    silent = [replace(make_sample("www1", 3.0 + t / 10), role=None, writable=False) for t in range(30)]
    thawed = [replace(make_sample("www1", 6.0 + t / 10), vips=("site",)) for t in range(5)]
    assert find_two_holders([*old, *new, *silent, *thawed]) == ()
    assert find_two_holders([]) == ()


def test_overlapping_operations_around_a_switch_are_no_return() -> None:
    """A write of the old primary that ends after the first of the new one began proves nothing."""
    late = Op("write", 0, 1, 1.0, 1.0, 1.5, "ok", "www1")
    ops = [
        Op("write", 0, 0, 0.9, 0.9, 0.95, "ok", "www1"),
        Op("write", 1, 0, 1.1, 1.1, 1.2, "ok", "www2"),
        late,
        Op("write", 1, 1, 1.6, 1.6, 1.7, "ok", "www2"),
    ]
    assert find_two_writers(ops, []) == ((), (), ())
    assert find_two_writers([*ops, replace(late, seq=2, sent=1.8, done=1.9)], [])[1] != ()


def test_latency_counts_from_the_intended_start() -> None:
    ops = [replace(make_op(0, seq, 1), sent=seq / RATE + 0.1, done=seq / RATE + 0.11) for seq in range(60)]
    result = check(make_history(ops))
    assert result.writes is not None
    assert result.writes.latency_ms is not None
    assert result.writes.latency_ms.p50 == pytest.approx(110.0)


def test_http_is_judged_too() -> None:
    ops = [replace(make_op(0, seq, 1), kind="http") for seq in range(60)]
    history = make_history([])
    meta = replace(history.meta, writes=False, http=True, final_expected=())
    assert check(replace(history, meta=meta, ops=tuple(ops), final=None)).verdict == "pass"
    assert check(replace(history, meta=meta, ops=tuple(ops[:5]), final=None)).verdict == "unknown"


def test_spans_name_runs_of_sequence_numbers() -> None:
    found = spans({(1, 4), (0, 7), (0, 8), (0, 10), (1, 5)})
    assert [(s.stream, s.first, s.last) for s in found] == [(0, 7, 8), (0, 10, 10), (1, 4, 5)]


def test_hosts_are_equal_up_to_the_first_dot() -> None:
    assert same_host("www1", "www1.example.org")
    assert not same_host("www1", "www10")
    assert not same_host(None, None)


@settings(deadline=None)
@given(good_histories())
def test_result_keys_do_not_depend_on_the_data(history: History) -> None:
    empty = check(make_history([])).as_dict()
    full = check(history).as_dict()
    assert empty.keys() == full.keys()
    assert empty["writes"].keys() == full["writes"].keys()


def test_a_holder_whose_role_is_known_late_took_its_writes_in_its_own_term() -> None:
    """The agent tells role and term less often than the database says that it is writable."""
    samples = [make_sample("www1", t / 10, term=9) for t in range(20)]
    samples += [make_sample("www2", t / 10, term=10) for t in range(20, 40)]
    samples += [make_sample("www1", t / 10, "replica", 10) for t in range(40, 43)]
    samples += [make_sample("www1", t / 10, "replica", 11) for t in range(43, 46)]
    samples += [make_sample("www1", t / 10, term=11) for t in range(46, 60)]
    samples = [replace(sample, writable=sample.role == "primary" or sample.at >= 4.0) for sample in samples]
    early, first, late = inside("www2", 3.9, 0), inside("www1", 4.05, 1), inside("www2", 4.2, 2)
    assert outside_acknowledgements([early, first], samples) == ()
    assert outside_acknowledgements([early, first, late], samples) == (late,)
