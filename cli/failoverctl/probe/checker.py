"""Decides what a probe's files prove. Pure: the same history always gives the same verdict.

Sets as in Jepsen's ``set`` checker (jepsen/checker.clj): lost = acknowledged and not read,
recovered = read, attempted and of unknown outcome, unexpected = read and never attempted. An answer
that is known to have failed must not be in the table either, so such a row counts as unexpected.

Outages are bracketed by intended start times: from the first bad operation to the first good one
that begins a run of good ones. Measured against the plan, neither a stuck client nor the prober's
own time-out can shorten or stretch an outage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from failoverctl.probe.model import ROW_KINDS, Meta, NodeRead, Op, Sample

Verdict = Literal["pass", "fail", "unknown"]
Key = tuple[int, int]

GOOD_RUN = 20
"""Consecutive good operations of each stream that end an outage."""
MIN_ACKNOWLEDGED = 20
"""Fewer acknowledged operations than this prove nothing."""
BASELINE_BAD_SHARE = 0.05
"""Largest share of bad operations among those of the baseline, GOOD_RUN of each stream."""
BROKEN_BEFORE = -math.inf
"""For ``check``: it was broken before anything was measured."""
SHORTEST_STALL_SECONDS = 0.15
"""Waiting for less than this, all clients at once, is not worth a word."""
STALL_SECONDS = 0.2
"""A prober that is later than this has measured itself."""
SAMPLE_GRACE_SECONDS = 0.5
"""A new primary may acknowledge for so long before it is first sampled as one."""
HOLDER_GRACE_SECONDS = 1.0
"""An address that two hosts hold for longer than this is on both."""
_MAX_SPANS = 50


@dataclass(frozen=True, slots=True)
class Objectives:
    """What was promised. None promises nothing.

    ``rto_seconds`` bounds the time writes and pages were not served, ``rpo_seconds`` how far back
    acknowledged writes may be lost (a lost write fails the run in any case). Clients that hang
    until their time-out fail a planned move; after the sudden loss of a host they are unavoidable.
    """

    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    hung_allowed: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """Everything a probe has left behind."""

    meta: Meta
    ops: tuple[Op, ...] = ()
    samples: tuple[Sample, ...] = ()
    final: tuple[NodeRead, ...] | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """From the first bad intended start to the first good one, in seconds since the plan's zero.

    ``end`` is None when nothing good followed; ``seconds`` runs to the last operation then.
    ``resumed`` is when the first good operation was acknowledged: one that is sent during an outage
    may still count as good, because it had to wait for less than the limit, so ``end`` alone would
    flatter. ``confirmed`` is False when fewer good operations followed than it takes to call it
    over. An outage without bad operations is a stall: everything waited, nothing for too long.
    """

    start: float
    end: float | None
    seconds: float
    bad: int
    confirmed: bool
    resumed: float | None = None

    @property
    def paused_seconds(self) -> float:
        """From the first bad intended start to the first acknowledgement after it."""
        return self.seconds if self.resumed is None else self.resumed - self.start

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in ``result.json``."""
        return {
            "start": round(self.start, 4),
            "end": None if self.end is None else round(self.end, 4),
            "seconds": round(self.seconds, 4),
            "resumed": None if self.resumed is None else round(self.resumed, 4),
            "paused_seconds": round(self.paused_seconds, 4),
            "bad": self.bad,
            "confirmed": self.confirmed,
        }


@dataclass(frozen=True, slots=True)
class Latency:
    """Corrected latency of acknowledged operations, in milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float

    def as_dict(self) -> dict[str, float]:
        """Return the form used in ``result.json``."""
        return {name: round(getattr(self, name), 2) for name in ("p50", "p95", "p99", "max")}


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive sequence numbers of one stream."""

    stream: int
    first: int
    last: int

    def as_dict(self) -> dict[str, int]:
        """Return the form used in ``result.json``."""
        return {"stream": self.stream, "first": self.first, "last": self.last}


@dataclass(frozen=True, slots=True)
class Served:
    """When a server acknowledged, as it names itself; seconds since the plan's zero."""

    server: str
    acknowledged: int
    first: float
    last: float

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in ``result.json``."""
        return {
            "server": self.server,
            "acknowledged": self.acknowledged,
            "first": round(self.first, 4),
            "last": round(self.last, 4),
        }


@dataclass(frozen=True, slots=True)
class Availability:
    """What clients saw of one kind of operation.

    ``outage_seconds`` is the sum of all outages. ``stall`` is the longest time in which operations
    waited and nothing at all was acknowledged, outside of outages. ``paused_seconds`` is what a
    person would call the pause: the outages, each up to the first acknowledgement after it, or the
    stall if that was longer. ``longest_gap_seconds`` is the longest time between two
    acknowledgements. ``hung`` counts operations that got no answer until the time-out.
    """

    attempted: int
    acknowledged: int
    failed: int
    unknown: int
    skipped: int
    hung: int
    outages: tuple[Outage, ...]
    stall: Outage | None
    longest_gap_seconds: float
    latency_ms: Latency | None
    servers: tuple[Served, ...]
    errors: tuple[tuple[str, int], ...]

    @property
    def outage_seconds(self) -> float:
        """Sum of all outages in seconds."""
        return sum((outage.seconds for outage in self.outages), 0.0)

    @property
    def paused_seconds(self) -> float:
        """For how long clients had to wait for an acknowledgement, in seconds."""
        outages = sum((outage.paused_seconds for outage in self.outages), 0.0)
        return max(outages, self.stall.paused_seconds if self.stall is not None else 0.0)

    @property
    def longest_outage_seconds(self) -> float:
        """Longest outage in seconds, 0 without any."""
        return max((outage.seconds for outage in self.outages), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in ``result.json``."""
        return {
            "attempted": self.attempted,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "unknown": self.unknown,
            "skipped": self.skipped,
            "hung": self.hung,
            "paused_seconds": round(self.paused_seconds, 4),
            "outage_seconds": round(self.outage_seconds, 4),
            "longest_outage_seconds": round(self.longest_outage_seconds, 4),
            "longest_gap_seconds": round(self.longest_gap_seconds, 4),
            "outages": [outage.as_dict() for outage in self.outages],
            "stall": None if self.stall is None else self.stall.as_dict(),
            "latency_ms": None if self.latency_ms is None else self.latency_ms.as_dict(),
            "servers": [served.as_dict() for served in self.servers],
            "errors": [{"error": text, "count": count} for text, count in self.errors],
        }


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """The rows of one host against what the probe attempted and what was acknowledged."""

    host: str
    read: bool
    error: str | None = None
    rows: int = 0
    seconds: float = 0.0
    lost: frozenset[Key] = frozenset()
    recovered: frozenset[Key] = frozenset()
    unexpected: frozenset[Key] = frozenset()
    duplicates: int = 0
    keys: frozenset[Key] = field(default=frozenset(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in ``result.json``; spans name at most 50 runs of each set."""
        return {
            "host": self.host,
            "read": self.read,
            "error": self.error,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "lost": len(self.lost),
            "recovered": len(self.recovered),
            "unexpected": len(self.unexpected),
            "duplicates": self.duplicates,
            "lost_spans": _spans_dict(self.lost),
            "recovered_spans": _spans_dict(self.recovered),
            "unexpected_spans": _spans_dict(self.unexpected),
        }


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """The prober about itself: how late operations left, in milliseconds, and what is missing."""

    finished: bool
    late_ms: Latency | None
    stalled: int
    skipped: int
    missing: int
    max_in_flight: int
    cpu_seconds: float
    duration_seconds: float
    wall_step_seconds: float
    nice: int

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in ``result.json``."""
        return {
            "finished": self.finished,
            "late_ms": None if self.late_ms is None else self.late_ms.as_dict(),
            "stalled": self.stalled,
            "skipped": self.skipped,
            "missing": self.missing,
            "max_in_flight": self.max_in_flight,
            "cpu_seconds": round(self.cpu_seconds, 3),
            "duration_seconds": round(self.duration_seconds, 3),
            "wall_step_seconds": round(self.wall_step_seconds, 4),
            "nice": self.nice,
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """One objective against what was measured; ``met`` is None when it could not be measured."""

    name: str
    limit: float
    measured: float
    unit: str
    met: bool | None

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in ``result.json``."""
        return {
            "name": self.name,
            "limit": self.limit,
            "measured": round(self.measured, 4),
            "unit": self.unit,
            "met": self.met,
        }


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The verdict with its reasons, and the figures. ``notes`` are worth reading, not decisive."""

    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    started_at: str
    writes: Availability | None
    http: Availability | None
    primary: str | None
    nodes: tuple[NodeCheck, ...]
    on_primary: NodeCheck
    rpo_seconds: float
    objectives: tuple[Measured, ...]
    prober: SelfCheck

    def as_dict(self) -> dict[str, Any]:
        """Return what ``result.json`` has under ``probe``."""
        writes: dict[str, Any] | None = None
        if self.writes is not None:
            # Null, not zero, where no host could be read: nothing is known about the rows then.
            read = any(node.read for node in self.nodes)
            rows = self.on_primary
            writes = {
                **self.writes.as_dict(),
                "lost": len(rows.lost) if read else None,
                "recovered": len(rows.recovered) if read else None,
                "unexpected": len(rows.unexpected) if read else None,
                "duplicates": rows.duplicates if read else None,
                "rpo_seconds": round(self.rpo_seconds, 4) if read else None,
            }
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "started_at": self.started_at,
            "writes": writes,
            "http": None if self.http is None else self.http.as_dict(),
            "primary": self.primary,
            "nodes": [node.as_dict() for node in self.nodes],
            "objectives": [measured.as_dict() for measured in self.objectives],
            "prober": self.prober.as_dict(),
        }


def is_good(op: Op, good_seconds: float) -> bool:
    """Return whether an operation was acknowledged within ``good_seconds`` of its intended start."""
    return op.outcome == "ok" and op.latency <= good_seconds


def find_outages(ops: Iterable[Op], good_seconds: float, run: int) -> tuple[Outage, ...]:
    """Return the outages of one kind of operation, in order.

    ``run`` is how many consecutive good operations end an outage. Operations the prober did not
    send are left out: they say nothing about the target.
    """
    sent = sorted((op for op in ops if op.outcome != "skip"), key=_by_intended)
    outages: list[Outage] = []
    start: Op | None = None
    bad = 0
    good: list[Op] = []
    for op in sent:
        if not is_good(op, good_seconds):
            if start is None:
                start, bad = op, 0
            bad += 1
            good = []
        elif start is not None:
            good.append(op)
            if len(good) >= run:
                outages.append(_outage(start, good, bad, confirmed=True))
                start, good = None, []
    if start is not None:
        if good:
            outages.append(_outage(start, good, bad, confirmed=False))
        else:
            seconds = sent[-1].done - start.intended
            outages.append(Outage(start.intended, None, seconds, bad, confirmed=False))
    return tuple(outages)


def _outage(start: Op, good: Sequence[Op], bad: int, *, confirmed: bool) -> Outage:
    end = good[0].intended
    resumed = min(op.done for op in good)
    return Outage(start.intended, end, end - start.intended, bad, confirmed, resumed)


def find_stall(ops: Iterable[Op], outages: Sequence[Outage], shortest: float) -> Outage | None:
    """Return the longest time in which operations waited and none at all was acknowledged.

    It begins when the first of those that waited was due, or when the last acknowledgement before
    had come. Times of ``shortest`` seconds or less, and those that belong to an outage, do not count.
    """
    acknowledged = sorted((op for op in ops if op.outcome == "ok"), key=lambda op: op.done)
    longest: Outage | None = None
    for position, (before, after) in enumerate(pairwise(acknowledged), start=1):
        if after.done - before.done <= shortest:
            continue
        # Who waited is acknowledged soon after the gap; a second's worth is more than enough to look at.
        following = acknowledged[position : position + 1000]
        start = max(before.done, min(op.intended for op in following))
        seconds = after.done - start
        known = any(o.start <= after.done and (o.resumed is None or o.resumed >= start) for o in outages)
        if seconds > shortest and not known and (longest is None or seconds > longest.seconds):
            longest = Outage(start, after.done, seconds, 0, confirmed=True, resumed=after.done)
    return longest


def check_rows(ops: Iterable[Op], node: NodeRead) -> NodeCheck:
    """Return lost, recovered, unexpected and duplicate rows of one host."""
    if node.error is not None:
        return NodeCheck(node.host, read=False, error=node.error, seconds=node.seconds)
    acknowledged: set[Key] = set()
    possible: set[Key] = set()
    for op in ops:
        if op.kind in ROW_KINDS:
            if op.outcome == "ok":
                acknowledged.add((op.stream, op.seq))
            elif op.outcome == "info":
                possible.add((op.stream, op.seq))
    counts = Counter((row.stream, row.seq) for row in node.rows)
    keys = frozenset(counts)
    return NodeCheck(
        host=node.host,
        read=True,
        rows=len(node.rows),
        seconds=node.seconds,
        lost=frozenset(acknowledged - keys),
        recovered=frozenset(possible & keys),
        unexpected=frozenset(keys - acknowledged - possible),
        duplicates=sum(count - 1 for count in counts.values()),
        keys=keys,
    )


def check_availability(ops: Sequence[Op], meta: Meta, streams: int, good_run: int = GOOD_RUN) -> Availability:
    """Return what clients saw, from the operations of one kind."""
    good_seconds = meta.good_ms / 1000.0
    timeout = meta.timeout_ms / 1000.0
    counts = Counter(op.outcome for op in ops)
    sent = [op for op in ops if op.outcome != "skip"]
    acknowledged = sorted((op for op in ops if op.outcome == "ok"), key=lambda op: op.done)
    outages = find_outages(ops, good_seconds, good_run * max(1, streams))
    interval = 1.0 / (meta.rate_hz * max(1, streams))
    errors = Counter(op.error for op in sent if op.outcome != "ok" and op.error)
    return Availability(
        attempted=len(sent),
        acknowledged=counts["ok"],
        failed=counts["fail"],
        unknown=counts["info"],
        skipped=counts["skip"],
        # A millisecond of grace: the time-out ends an operation a moment before or after it is due.
        hung=sum(1 for op in sent if op.done - op.sent >= timeout - 0.001),
        outages=outages,
        stall=find_stall(acknowledged, outages, max(SHORTEST_STALL_SECONDS, 2 * interval)),
        longest_gap_seconds=_longest_gap(sent, acknowledged),
        latency_ms=_latency([op.latency for op in acknowledged]),
        servers=_served(acknowledged),
        errors=tuple(sorted(errors.items(), key=lambda item: (-item[1], item[0]))[:20]),
    )


def _longest_gap(sent: Sequence[Op], acknowledged: Sequence[Op]) -> float:
    if not sent:
        return 0.0
    edges = [min(op.intended for op in sent)]
    edges += [op.done for op in acknowledged]
    edges.append(max(edges[-1], max(op.intended for op in sent)))
    return max((after - before for before, after in pairwise(edges)), default=0.0)


def _served(acknowledged: Iterable[Op]) -> tuple[Served, ...]:
    times: dict[str, list[float]] = {}
    for op in acknowledged:
        if op.server is not None:
            times.setdefault(op.server, []).append(op.done)
    served = [Served(name, len(done), min(done), max(done)) for name, done in times.items()]
    return tuple(sorted(served, key=lambda item: item.first))


def find_two_writers(
    ops: Iterable[Op], samples: Iterable[Sample]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return proofs, doubts and notes about two hosts that took writes at the same time.

    A proof is either two hosts that reported themselves writable at the same time and both
    acknowledged a write then, or writes acknowledged by one host, then by another, then by the
    first again (each sent after the previous one was acknowledged) without a new term for its
    return. A doubt is the latter without any sampled term to judge it by. A note is an overlap in
    which not both acknowledged.
    """
    acknowledged = sorted(
        (op for op in ops if op.kind in ROW_KINDS and op.outcome == "ok" and op.server),
        key=lambda op: op.done,
    )
    listed = sorted(samples, key=lambda sample: sample.at)
    proofs: list[str] = []
    doubts: list[str] = []
    notes: list[str] = []
    for one, other, start, end in _overlaps(listed):
        both = {
            host
            for host in (one, other)
            for op in acknowledged
            if same_host(op.server, host) and op.done >= start and op.sent <= end
        }
        text = f"{one} and {other} were both writable for at least {end - start:.2f} s"
        if len(both) == 2:
            proofs.append(f"{text} and both acknowledged writes in that time")
        else:
            notes.append(text)

    reigns = _reigns(acknowledged)
    if len(reigns) > 2:
        terms = _terms(listed)
        story = ", then ".join(reigns[:5]) + (", ..." if len(reigns) > 5 else "")
        if not terms:
            doubts.append(f"writes were acknowledged by {story}, and no term was sampled")
        elif not _explained(reigns, terms):
            proofs.append(f"writes were acknowledged by {story} without a term for each change")
    outside = outside_acknowledgements(acknowledged, listed)
    if outside:
        servers = ", ".join(sorted({str(op.server) for op in outside}))
        proofs.append(f"{len(outside)} writes were acknowledged by {servers} after a newer term had begun elsewhere")
    return tuple(proofs), tuple(doubts), tuple(notes)


def outside_acknowledgements(ops: Iterable[Op], samples: Iterable[Sample]) -> tuple[Op, ...]:
    """Return the acknowledged writes that the holder of an older term took after a newer one had begun.

    A term begins where its holder is first sampled as writable; it may have begun up to one sample earlier. Its holder
    is the host that was most often sampled as its writable primary: one that is deposed may name the new term for a
    moment before it has stepped down. Role and term are asked less often than the database, so a holder may be writable
    for a moment before it is sampled with either. Only writes that were sent after the beginning are proof.
    """
    listed = sorted(samples, key=lambda sample: sample.done)
    claims: dict[int, Counter[str]] = {}
    for sample in listed:
        if sample.role == "primary" and sample.writable and sample.term is not None:
            claims.setdefault(sample.term, Counter())[sample.host] += 1
    holders = {term: max(hosts, key=lambda host: hosts[host]) for term, hosts in claims.items()}
    begun = [(_beginning(listed, term, holders), holders[term]) for term in sorted(holders)]

    def is_outside(op: Op) -> bool:
        number = sum(1 for since, _ in begun if since <= op.sent)
        if number == 0 or same_host(op.server, begun[number - 1][1]):
            return False
        follows = number < len(begun) and begun[number][0] <= op.done + SAMPLE_GRACE_SECONDS
        if follows and same_host(op.server, begun[number][1]):
            return False
        return any(same_host(op.server, host) for _, host in begun[: number - 1])

    return tuple(op for op in ops if op.kind in ROW_KINDS and op.outcome == "ok" and op.server and is_outside(op))


def _beginning(samples: Iterable[Sample], term: int, holders: Mapping[int, str]) -> float:
    """Return since when the holder of a term was writable without a break, before it was first sampled with the term.

    What it was as the holder of an older term does not count.
    """
    since: float | None = None
    for sample in samples:
        if sample.host != holders[term]:
            continue
        older = sample.term is not None and sample.term < term and holders.get(sample.term) == sample.host
        if not sample.writable or older:
            since = None
            continue
        since = sample.done if since is None else since
        if sample.term == term:
            return since
    raise ValueError(f"nobody was sampled in term {term}")


def find_two_holders(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return proofs that two hosts held a virtual IP at the same time.

    A host that stood still holds its address until it goes on and hears of another one, so an overlap is none
    before :data:`HOLDER_GRACE_SECONDS`.
    """
    listed = sorted(samples, key=lambda sample: sample.at)
    names = sorted({name for sample in listed for name in sample.vips})
    return tuple(
        f"{one} and {other} both held the address {name} for at least {end - start:.2f} s"
        for name in names
        for one, other, start, end in _overlaps(listed, partial(_holds, name=name))
        if end - start > HOLDER_GRACE_SECONDS
    )


def _holds(sample: Sample, *, name: str) -> bool:
    return name in sample.vips


def _overlaps(
    samples: Sequence[Sample], counts: Callable[[Sample], bool] = lambda sample: sample.writable
) -> list[tuple[str, str, float, float]]:
    """Return (host, other, start, end) of the times in which both certainly were what counts: writable."""
    runs: dict[str, list[tuple[float, float]]] = {}
    current: dict[str, tuple[float, float]] = {}
    for sample in samples:
        if counts(sample):
            # From the end of the first answer to the start of the last question it was writable.
            start, _ = current.get(sample.host, (sample.done, sample.done))
            current[sample.host] = (start, max(start, sample.at))
        elif sample.host in current:
            runs.setdefault(sample.host, []).append(current.pop(sample.host))
    for host, run in current.items():
        runs.setdefault(host, []).append(run)
    hosts = sorted(runs)
    found = []
    for position, one in enumerate(hosts):
        for other in hosts[position + 1 :]:
            for a_start, a_end in runs[one]:
                for b_start, b_end in runs[other]:
                    start, end = max(a_start, b_start), min(a_end, b_end)
                    if end > start:
                        found.append((one, other, start, end))
    return found


def _reigns(acknowledged: Sequence[Op]) -> list[str]:
    """Return the fewest successive servers that explain the acknowledgements.

    Operations that overlap in time may have been committed in either order, so a server returns
    only with a write that was sent after a write of its successor had been acknowledged.
    """
    reigns: list[str] = []
    first_done = 0.0
    for op in acknowledged:
        server = str(op.server)
        if reigns and server == reigns[-1]:
            continue
        if len(reigns) > 1 and server == reigns[-2] and op.sent <= first_done:
            continue
        reigns.append(server)
        first_done = op.done
    return reigns


def _terms(samples: Sequence[Sample]) -> list[tuple[int, str]]:
    seen = {(s.term, s.host) for s in samples if s.role == "primary" and s.term is not None}
    return sorted((term, host) for term, host in seen if term is not None)


def _explained(reigns: Sequence[str], terms: Sequence[tuple[int, str]]) -> bool:
    """Return whether the servers, in order, are holders of growing terms."""
    position = 0
    for server in reigns:
        while position < len(terms) and not same_host(server, terms[position][1]):
            position += 1
        if position == len(terms):
            return False
        # The next server needs a higher term, not another host in the same one.
        term = terms[position][0]
        while position < len(terms) and terms[position][0] == term:
            position += 1
    return True


def same_host(one: str | None, other: str | None) -> bool:
    """Return whether two names mean one host: equal, or equal up to the first dot."""
    return bool(one) and bool(other) and str(one).split(".")[0] == str(other).split(".")[0]


def check_prober(ops: Sequence[Op], meta: Meta) -> SelfCheck:
    """Return how well the prober itself did."""
    last: dict[tuple[str, int], int] = {}
    count: Counter[tuple[str, int]] = Counter()
    # The writers on hosts are no part of the prober; one that is started again counts anew.
    ops = [op for op in ops if op.kind != "inside"]
    for op in ops:
        stream = (op.kind, op.stream)
        last[stream] = max(last.get(stream, -1), op.seq)
        count[stream] += 1
    late = [op.sent - op.intended for op in ops]
    return SelfCheck(
        finished=meta.finished,
        late_ms=_latency(late),
        stalled=sum(1 for seconds in late if seconds > STALL_SECONDS),
        skipped=sum(1 for op in ops if op.outcome == "skip"),
        missing=sum(last[stream] + 1 - count[stream] for stream in last),
        max_in_flight=meta.max_in_flight,
        cpu_seconds=meta.cpu_seconds,
        duration_seconds=meta.duration_seconds,
        wall_step_seconds=meta.wall_step_seconds,
        nice=meta.nice,
    )


def check(history: History, objectives: Objectives | None = None, *, broken_at: float | None = None) -> ProbeResult:
    """Return the verdict on a probe.

    ``broken_at`` is when, in seconds of CLOCK_MONOTONIC, somebody began to break or to move
    something, after he had waited until clients were served well; the baseline is then what was
    answered last before it. Where it was broken before anything was measured (``BROKEN_BEFORE``),
    there is no baseline, and none is asked for. Without it, the baseline is the first operations.

    ``fail`` needs a proof, ``pass`` needs a complete and undisturbed measurement without one;
    everything else is ``unknown``. A proof that rests on times counts only if the prober was on
    time.
    """
    objectives = objectives or Objectives()
    meta, ops = history.meta, history.ops
    prober = check_prober(ops, meta)
    writes = _of_kind(ops, meta, "write", meta.writes, meta.writers)
    http = _of_kind(ops, meta, "http", meta.http, 1)

    nodes = _nodes(history) if meta.writes else ()
    primary = _primary(history) if meta.writes else None
    on_primary = _on_primary(nodes, primary, ops)
    rpo_seconds = _rpo_seconds(ops, on_primary.lost, 1.0 / meta.rate_hz)
    proofs, doubts, notes = find_two_writers(ops, history.samples)

    unproven = [*_unmeasured(history, prober), *doubts]
    failures = list(proofs)
    if meta.writes:
        failures += _row_failures(nodes, on_primary)
        unproven += _row_doubts(history, nodes, primary)
    measured: list[Measured] = []
    timely = not prober.stalled and not prober.skipped
    for name, availability in (("writes", writes), ("http", http)):
        if availability is None:
            continue
        timed, untimed = _judge_times(name, availability, objectives)
        (failures if timely else unproven).extend(timed)
        unproven += untimed
        unproven += _judge_amount(name, availability, ops, meta, broken_at)
        if objectives.rto_seconds is not None:
            met = availability.paused_seconds <= objectives.rto_seconds if timely else None
            measured.append(Measured(f"{name} RTO", objectives.rto_seconds, availability.paused_seconds, "s", met))
    if objectives.rpo_seconds is not None and writes is not None:
        known = any(node.read for node in nodes)
        measured.append(
            Measured(
                "RPO",
                objectives.rpo_seconds,
                rpo_seconds,
                "s",
                rpo_seconds <= objectives.rpo_seconds if known else None,
            )
        )
    verdict: Verdict = "fail" if failures else "unknown" if unproven else "pass"
    return ProbeResult(
        verdict=verdict,
        reasons=tuple(failures + unproven),
        notes=(*notes, *_notes(writes, http, on_primary, prober)),
        started_at=meta.started_at,
        writes=writes,
        http=http,
        primary=primary,
        nodes=nodes,
        on_primary=on_primary,
        rpo_seconds=rpo_seconds,
        objectives=tuple(measured),
        prober=prober,
    )


def _of_kind(ops: Sequence[Op], meta: Meta, kind: str, wanted: bool, streams: int) -> Availability | None:
    if not wanted:
        return None
    return check_availability([op for op in ops if op.kind == kind], meta, streams)


def _nodes(history: History) -> tuple[NodeCheck, ...]:
    reads = {read.host: read for read in history.final or ()}
    hosts = [*history.meta.final_expected]
    hosts += [host for host in reads if host not in hosts]
    return tuple(check_rows(history.ops, reads.get(host, NodeRead(host, error="not read"))) for host in hosts)


def _primary(history: History) -> str | None:
    """Return who was primary at the end: the last one sampled as such, else who acknowledged last."""
    sampled = [s for s in history.samples if s.role == "primary" and s.writable]
    if sampled:
        return max(sampled, key=lambda sample: sample.at).host
    acknowledged = [op for op in history.ops if op.kind == "write" and op.outcome == "ok"]
    server = max(acknowledged, key=lambda op: op.done).server if acknowledged else None
    for host in history.meta.final_expected:
        if same_host(server, host):
            return host
    return server


def _on_primary(nodes: Sequence[NodeCheck], primary: str | None, ops: Sequence[Op]) -> NodeCheck:
    """Return the check of the primary, or of all rows read anywhere when it was not read."""
    for node in nodes:
        if node.read and same_host(node.host, primary):
            return node
    read = [node for node in nodes if node.read]
    if not read:
        return NodeCheck(primary or "", read=False)
    everything = frozenset().union(*(node.keys for node in read))
    acknowledged = {(op.stream, op.seq) for op in ops if op.kind in ROW_KINDS and op.outcome == "ok"}
    return NodeCheck(
        host=primary or "",
        read=False,
        rows=len(everything),
        lost=frozenset(acknowledged - everything),
        recovered=frozenset().union(*(node.recovered for node in read)),
        unexpected=frozenset().union(*(node.unexpected for node in read)),
        duplicates=max(node.duplicates for node in read),
        keys=everything,
    )


def _rpo_seconds(ops: Iterable[Op], lost: frozenset[Key], interval: float) -> float:
    done = [op.done for op in ops if op.kind in ROW_KINDS and (op.stream, op.seq) in lost]
    return max(done) - min(done) + interval if done else 0.0


def _unmeasured(history: History, prober: SelfCheck) -> list[str]:
    reasons = []
    if not history.meta.finished:
        reasons.append("the prober did not finish: it was killed, or could not write its files")
    if prober.late_ms is not None and prober.stalled:
        reasons.append(
            f"the prober itself stalled: {prober.stalled} operations left late, the latest by "
            f"{prober.late_ms.max:.0f} ms (limit {STALL_SECONDS * 1000:.0f} ms)"
        )
    if prober.skipped:
        reasons.append(f"the prober was too late to send {prober.skipped} operations at all")
    if prober.missing:
        reasons.append(f"{prober.missing} operations have no recorded end")
    return reasons


def _row_failures(nodes: Sequence[NodeCheck], on_primary: NodeCheck) -> list[str]:
    reasons = []
    if on_primary.lost:
        reasons.append(f"{len(on_primary.lost)} acknowledged writes are lost")
    if on_primary.unexpected:
        reasons.append(f"{len(on_primary.unexpected)} rows were never written by the probe or had been refused")
    if on_primary.duplicates:
        reasons.append(f"{on_primary.duplicates} rows exist twice")
    for node in nodes:
        if same_host(node.host, on_primary.host):
            continue
        missing = node.lost - on_primary.lost
        if missing:
            reasons.append(f"{node.host} lacks {len(missing)} acknowledged writes {node.seconds:.0f} s after the end")
        extra = node.unexpected - on_primary.unexpected
        if extra:
            reasons.append(f"{node.host} holds {len(extra)} rows that the probe never wrote")
        if node.duplicates and not on_primary.duplicates:
            reasons.append(f"{node.duplicates} rows exist twice on {node.host}")
    return reasons


def _row_doubts(history: History, nodes: Sequence[NodeCheck], primary: str | None) -> list[str]:
    if not nodes or history.final is None:
        return ["no final read: whether writes were lost is not known"]
    reasons = [f"{node.host} could not be read at the end: {node.error}" for node in nodes if not node.read]
    holder = next((n for n in nodes if n.read and same_host(n.host, primary)), None)
    if holder is None and not reasons:
        reasons.append("the primary at the end is not among the hosts that were read")
    for node in nodes:
        if holder is not None and node.read and node is not holder:
            only_here = node.recovered - holder.keys
            if only_here:
                reasons.append(
                    f"{node.host} holds {len(only_here)} writes of unknown outcome that the primary "
                    f"{holder.host} does not have"
                )
    return reasons


_WORDS: Mapping[str, str] = {"writes": "writes", "http": "HTTP requests"}


def _judge_times(name: str, availability: Availability, objectives: Objectives) -> tuple[list[str], list[str]]:
    """Return what fails the run, and what leaves it undecided, about times."""
    failures: list[str] = []
    doubts: list[str] = []
    what = _WORDS[name]
    for outage in availability.outages:
        if outage.end is None:
            failures.append(f"{what} did not come back before the end of the measurement")
        elif not outage.confirmed:
            doubts.append(f"the measurement ended too soon after the last outage of {what}")
    limit = objectives.rto_seconds
    if limit is not None and availability.paused_seconds > limit:
        # Rounded as in the result, so that no two places show different figures.
        paused = round(availability.paused_seconds, 4)
        failures.append(f"{what} not served for {paused:.2f} s (objective {limit:g} s)")
    if name == "writes" and availability.hung and not objectives.hung_allowed:
        failures.append(f"{availability.hung} writes got no answer until the time-out")
    return failures, doubts


def _judge_amount(
    name: str, availability: Availability, ops: Sequence[Op], meta: Meta, broken_at: float | None
) -> list[str]:
    if availability.acknowledged < MIN_ACKNOWLEDGED:
        number = f"{availability.acknowledged} {_WORDS[name]}"
        return [f"only {number} were acknowledged, fewer than {MIN_ACKNOWLEDGED} prove nothing"]
    if broken_at == BROKEN_BEFORE:
        return []
    kind = "write" if name == "writes" else "http"
    wanted = GOOD_RUN * (max(1, meta.writers) if kind == "write" else 1)
    in_order = sorted((op for op in ops if op.kind == kind), key=_by_intended)
    if broken_at is None:
        baseline = in_order[:wanted]
        which = f"first {len(baseline)} {_WORDS[name]}"
    else:
        baseline = [op for op in in_order if meta.monotonic_zero + op.done <= broken_at][-wanted:]
        which = f"last {len(baseline)} {_WORDS[name]} of it"
        if not baseline:
            return [f"no baseline: no {_WORDS[name]} were answered in it"]
    bad = sum(1 for op in baseline if not is_good(op, meta.good_ms / 1000.0))
    if bad > BASELINE_BAD_SHARE * len(baseline):
        return [f"no good baseline: {bad} of the {which} were bad"]
    return []


def _notes(
    writes: Availability | None,
    http: Availability | None,
    on_primary: NodeCheck,
    prober: SelfCheck,
) -> list[str]:
    notes = []
    if on_primary.recovered and writes is not None:
        notes.append(f"{len(on_primary.recovered)} of {writes.unknown} writes of unknown outcome had been carried out")
    if http is not None and http.hung:
        notes.append(f"{http.hung} HTTP requests got no answer until the time-out")
    if abs(prober.wall_step_seconds) > 0.05:
        notes.append(
            f"the wall clock moved by {prober.wall_step_seconds:+.2f} s against the monotonic clock; "
            "measured times are not affected, their alignment with the journal is"
        )
    return notes


def spans(keys: Iterable[Key]) -> tuple[Span, ...]:
    """Return runs of consecutive sequence numbers, by stream and in order."""
    result: list[Span] = []
    for stream, seq in sorted(keys):
        if result and result[-1].stream == stream and result[-1].last == seq - 1:
            result[-1] = Span(stream, result[-1].first, seq)
        else:
            result.append(Span(stream, seq, seq))
    return tuple(result)


def _spans_dict(keys: Iterable[Key]) -> list[Mapping[str, int]]:
    return [span.as_dict() for span in spans(keys)[:_MAX_SPANS]]


def _latency(seconds: Iterable[float]) -> Latency | None:
    values = sorted(seconds)
    if not values:
        return None

    def rank(share: float) -> float:
        return values[max(0, math.ceil(share * len(values)) - 1)] * 1000.0

    return Latency(rank(0.50), rank(0.95), rank(0.99), values[-1] * 1000.0)


def _by_intended(op: Op) -> tuple[float, int]:
    return (op.intended, op.stream)
