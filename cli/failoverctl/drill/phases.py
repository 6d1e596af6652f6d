"""The phases of a failover, from what was recorded: pure, so the same recording always gives the same times.

Times are seconds since the zero of the prober's plan. What only samples show happened between two of
them: ``at`` is when it was first seen to be so, ``earliest`` when it was last seen not to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from failoverctl.journal import Act
from failoverctl.probe.checker import (
    GOOD_RUN,
    History,
    Outage,
    check_availability,
    is_good,
    same_host,
)
from failoverctl.probe.model import Kind, Op, Sample

#: The phases in the order in which they usually come, and what each means.
PHASES: Mapping[str, str] = {
    "inject": "the fault took effect, or the command began",
    "first_error": "the first operation of a client that failed or waited too long was due",
    "detect": "an agent noticed that there is no primary",
    "fence": "the old primary was no longer writable, or no longer there",
    "promote": "a primary was writable again",
    "vip": "the primary held the address",
    "first_write": "a client's write was acknowledged again",
    "first_page": "a page was served again, where writes did not pause",
    "steady": "20 operations of each client in a row were good",
}


@dataclass(frozen=True)
class Mark:
    """What an agent told about itself: at ``at``, give or take ``uncertain`` seconds."""

    phase: str
    at: float
    host: str
    text: str
    uncertain: float = 0.0


@dataclass(frozen=True)
class Moment:
    """When one phase was reached. ``source`` says how that is known."""

    phase: str
    at: float
    source: str
    host: str = ""
    earliest: float | None = None

    def as_dict(self, zero: float) -> dict[str, Any]:
        """Return the form used in result.json, in seconds since ``zero``."""
        return {
            "phase": self.phase,
            "seconds": round(self.at - zero, 3),
            "earliest_seconds": None if self.earliest is None else round(self.earliest - zero, 3),
            "at": round(self.at, 3),
            "host": self.host or None,
            "source": self.source,
        }


@dataclass(frozen=True)
class Timeline:
    """One outage with its phases. ``kind`` is what paused: write or http; empty when nothing did.

    ``at_least`` and ``at_most`` bracket the outage: from the first bad operation to the last one
    before the first acknowledgement, and from the last good one to that acknowledgement.
    """

    moments: tuple[Moment, ...] = ()
    kind: str = ""
    outage: Outage | None = None
    at_least: float = 0.0
    at_most: float = 0.0
    http_after_write: float | None = None

    def at(self, phase: str) -> float | None:
        """Return when a phase was reached; None when it was not, or is not known."""
        return next((moment.at for moment in self.moments if moment.phase == phase), None)

    @property
    def rto_from_error(self) -> float | None:
        """From the first bad operation to the first acknowledgement after it; 0 without an outage."""
        if self.outage is None:
            return 0.0
        return None if self.outage.resumed is None else self.outage.paused_seconds

    @property
    def rto_from_inject(self) -> float | None:
        """From the fault to the first acknowledgement after the outage; None without either."""
        inject, first = self.at("inject"), self.at("first_write")
        return None if inject is None or first is None else first - inject

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in result.json; seconds of the phases count from the fault."""
        first = self.at("inject")
        zero = first if first is not None else min((moment.at for moment in self.moments), default=0.0)
        return {
            "phases": [moment.as_dict(zero) for moment in self.moments],
            "kind": self.kind or None,
            "rto_from_inject_seconds": _rounded(self.rto_from_inject),
            "rto_from_error_seconds": _rounded(self.rto_from_error),
            "outage_at_least_seconds": _rounded(self.at_least),
            "outage_at_most_seconds": _rounded(self.at_most),
            "http_after_write_seconds": _rounded(self.http_after_write),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def measure(history: History, acts: Iterable[Act] = (), marks: Iterable[Mark] = ()) -> Timeline:
    """Return the longest pause of a recording with the phases around it.

    Pauses of writes come first, then those of pages. Without a pause there is the fault, and what
    followed of it. It is total: a recording of nothing gives a timeline of nothing.
    """
    kind, outage = _longest(history)
    begun = _begun(acts, history.meta.monotonic_zero)
    inject = _inject(begun, outage)
    since = inject.at if inject is not None else outage.start if outage is not None else 0.0
    moments: list[Moment | None] = [inject]
    if outage is not None:
        moments.append(Moment("first_error", outage.start, "prober"))
    moments += _roles(history.samples, since, list(marks), wanted=outage is not None)
    if outage is not None and outage.resumed is not None:
        moments.append(Moment("first_write" if kind == "write" else "first_page", outage.resumed, "prober"))
        moments.append(_steady(history, kind, outage))
    found = sorted((moment for moment in moments if moment is not None), key=lambda item: (item.at, _rank(item.phase)))
    least, most = _bracket(history, kind, outage)
    return Timeline(
        moments=tuple(found),
        kind=kind if outage is not None else "",
        outage=outage,
        at_least=least,
        at_most=most,
        http_after_write=_http_after_write(history, outage) if kind == "write" else None,
    )


def _rank(phase: str) -> int:
    order = list(PHASES)
    return order.index(phase) if phase in order else len(order)


def _streams(history: History, kind: str) -> int:
    return max(1, history.meta.writers) if kind == "write" else 1


def _of(history: History, kind: str) -> list[Op]:
    return [op for op in history.ops if op.kind == kind]


def _longest(history: History) -> tuple[Kind, Outage | None]:
    """Return the longest pause of writes, else of pages: an outage, or a stall that was longer."""
    kinds: tuple[Kind, Kind] = ("write", "http")
    for kind in kinds:
        seen = check_availability(_of(history, kind), history.meta, _streams(history, kind))
        pauses = [*seen.outages, *([seen.stall] if seen.stall is not None else [])]
        if pauses:
            return kind, max(pauses, key=lambda pause: pause.paused_seconds)
    return "write", None


def _begun(acts: Iterable[Act], zero: float) -> list[tuple[float, Act]]:
    started = [act for act in acts if act.event == "begun" and act.what in ("fault", "command")]
    return sorted(((act.clock - zero, act) for act in started), key=lambda item: item[0])


def _inject(begun: Sequence[tuple[float, Act]], outage: Outage | None) -> Moment | None:
    """The last thing that was done before the pause began; without one, the first."""
    if not begun:
        return None
    before = [item for item in begun if outage is None or item[0] <= outage.start + 0.25]
    at, act = (before[-1] if outage is not None else before[0]) if before else begun[0]
    return Moment("inject", at, act.title, host=", ".join(act.hosts))


def _roles(samples: Iterable[Sample], since: float, marks: Sequence[Mark], *, wanted: bool) -> list[Moment | None]:
    """The phases that agents and samples tell of, after the fault."""
    by_host: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda item: item.at):
        by_host.setdefault(sample.host, []).append(sample)
    told = sorted((mark for mark in marks if mark.at >= since - mark.uncertain), key=lambda mark: mark.at)
    detect = next((mark for mark in told if mark.phase == "detect"), None)
    found: list[Moment | None] = []
    if detect is not None:
        found.append(Moment("detect", detect.at, f"agent: {detect.text}", detect.host))
    if not wanted:
        return found
    old = _holder(by_host, since)
    fence = _fence(by_host.get(old, []), since) if old else None
    promote = _promote(by_host, fence.at if fence is not None else since, old if fence is None else "")
    found += [fence, promote]
    if promote is not None:
        found.append(_vip(by_host[promote.host], since))
    return found


def _serves(sample: Sample) -> bool:
    return sample.role == "primary" and sample.writable


def _holder(by_host: Mapping[str, Sequence[Sample]], since: float) -> str:
    """Who served last before the fault."""
    last = {
        host: max((sample.at for sample in samples if sample.at <= since and _serves(sample)), default=-1.0)
        for host, samples in by_host.items()
    }
    best = max(last, key=lambda host: last[host], default="")
    return best if best and last[best] >= 0 else ""


def _fence(samples: Sequence[Sample], since: float) -> Moment | None:
    """The first sample after the fault in which the old primary does not serve."""
    before: Sample | None = None
    for sample in samples:
        if _serves(sample):
            before = sample
        elif sample.done >= since and before is not None:
            how = "no answer" if sample.role is None else f"role {sample.role}"
            return Moment("fence", sample.done, f"sampled: {how}", sample.host, max(before.at, since))
    return None


def _promote(by_host: Mapping[str, Sequence[Sample]], since: float, not_host: str) -> Moment | None:
    """The first sample, after the old primary stopped, in which a host serves."""
    found: list[Moment] = []
    for host, samples in by_host.items():
        before: float | None = None
        for sample in samples:
            if sample.at >= since and _serves(sample) and not same_host(host, not_host):
                text = f"sampled: primary in term {sample.term}"
                found.append(Moment("promote", sample.done, text, host, before))
                break
            before = sample.at
    return min(found, key=lambda moment: moment.at, default=None)


def _vip(samples: Sequence[Sample], since: float) -> Moment | None:
    """When a host that did not hold an address did."""
    before: Sample | None = None
    for sample in samples:
        gained = set(sample.vips) - set(before.vips if before is not None else sample.vips)
        if gained and sample.done >= since and before is not None:
            return Moment("vip", sample.done, f"sampled: holds {', '.join(sorted(gained))}", sample.host, before.at)
        before = sample
    return None


def _steady(history: History, kind: str, outage: Outage) -> Moment | None:
    """When the last of the good operations that end an outage was acknowledged."""
    if outage.end is None or not outage.confirmed:
        return None
    good_seconds = history.meta.good_ms / 1000.0
    wanted = GOOD_RUN * _streams(history, kind)
    following = sorted(
        (op for op in _of(history, kind) if op.intended >= outage.end and is_good(op, good_seconds)),
        key=lambda op: op.intended,
    )[:wanted]
    return Moment("steady", max(op.done for op in following), "prober") if len(following) == wanted else None


def _bracket(history: History, kind: str, outage: Outage | None) -> tuple[float, float]:
    if outage is None:
        return 0.0, 0.0
    good_seconds = history.meta.good_ms / 1000.0
    ops = [op for op in _of(history, kind) if op.outcome != "skip"]
    end = outage.resumed if outage.resumed is not None else max(op.done for op in ops)
    bad = [op for op in ops if not is_good(op, good_seconds) and outage.start <= op.intended < end]
    before = [op.intended for op in ops if is_good(op, good_seconds) and op.intended < outage.start]
    least = max((op.intended for op in bad), default=outage.start) - outage.start
    most = end - max(before, default=outage.start)
    return max(0.0, least), max(most, least)


def _http_after_write(history: History, outage: Outage | None) -> float | None:
    """How long after the first write the last page of the same trouble was served again."""
    if outage is None or outage.resumed is None or not history.meta.http:
        return None
    seen = check_availability(_of(history, "http"), history.meta, 1)
    ends = [page.resumed for page in seen.outages if page.resumed is not None and page.resumed >= outage.start]
    touching = [
        page.resumed
        for page in seen.outages
        if page.resumed is not None and page.start <= outage.resumed + 1.0 and page.resumed >= outage.start
    ]
    if any(page.resumed is None for page in seen.outages):
        return None
    return max(0.0, max(touching) - outage.resumed) if touching and ends else 0.0
