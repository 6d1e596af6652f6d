"""The sentences of a run's result: the same in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERDICT_WORDS: Mapping[str, str] = {
    "pass": "Pass",
    "fail": "Fail",
    "unknown": "Unknown",
    "ok": "Done",
    "failed": "Failed",
    "refused": "Refused",
    "locked": "Locked",
    "unreachable": "Unreachable",
    "invalid": "Invalid",
    "interrupted": "Interrupted",
    "running": "Not finished",
}
"""How each verdict is headed."""

GOOD_VERDICTS = frozenset({"pass", "ok"})
UNDECIDED_VERDICTS = frozenset({"unknown", "interrupted", "running", "refused", "locked"})


def duration(seconds: float) -> str:
    """Return a length of time the way a person says it: ``187 ms``, ``2.35 s``, ``3 min 12 s``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def milliseconds(value: float) -> str:
    """Return a latency: ``0.42 ms``, ``3.1 ms``, ``187 ms``, ``1.20 s``."""
    if value >= 999.5:
        return f"{value / 1000:.2f} s"
    return f"{value:.2f} ms" if value < 1 else f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def span_words(spans: object, most: int = 8) -> str:
    """Return which writes a list of spans names: ``writer 1 no. 224-227, writer 2 no. 9, and 3 more``."""
    listed = [span for span in spans if isinstance(span, Mapping)] if isinstance(spans, list | tuple) else []
    words = []
    for span in listed[:most]:
        first, last = int(span.get("first") or 0), int(span.get("last") or 0)
        numbers = str(first) if last <= first else f"{first}\N{EN DASH}{last}"
        words.append(f"writer {int(span.get('stream') or 0) + 1} no. {numbers}")
    rest = len(listed) - most
    return ", ".join(words) + (f", and {rest} more" if rest > 0 else "")


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 host``, ``2 hosts``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def writes_sentence(writes: Mapping[str, Any]) -> str:
    """Return what writing clients saw, e.g. ``writes paused 187 ms, 0 of 2331 acknowledged writes lost``."""
    paused = f"writes paused {duration(_number(writes, 'paused_seconds', 'outage_seconds'))}"
    outages = len(writes.get("outages") or ())
    if outages > 1:
        paused += f" in {outages} outages"
    acknowledged = int(writes.get("acknowledged") or 0)
    lost = writes.get("lost")
    if lost is None:
        return f"{paused}, how many of {acknowledged} acknowledged writes are lost is not known"
    return f"{paused}, {lost} of {acknowledged} acknowledged writes lost"


def http_sentence(http: Mapping[str, Any]) -> str:
    """Return what browsing clients saw, e.g. ``http outage 120 ms, 3 of 2331 requests failed``."""
    outage = duration(_number(http, "paused_seconds", "outage_seconds"))
    return f"http outage {outage}, {int(http.get('failed') or 0)} of {int(http.get('attempted') or 0)} requests failed"


def loss_sentence(loss: object) -> str:
    """Return what a failover may lose: the agents' ``possible_loss``, or that no acknowledged write is lost."""
    if not isinstance(loss, Mapping):
        return "No acknowledged write is lost: every one is on a host that answers."
    parts = [f"What may be lost: {str(loss.get('why') or 'not known').rstrip('.')}."]
    if loss.get("silent"):
        parts.append(f"Silent: {', '.join(map(str, loss['silent']))}.")
    if loss.get("mode"):
        parts.append(f"The sync set was {loss['mode']}.")
    if loss.get("last_known"):
        parts.append(f"The last position known is {loss['last_known']}.")
    return " ".join(parts)


def divergent_sentence(divergent: object, host: str) -> str:
    """Return what only one host has, and where it is saved; that there is nothing without any."""
    if not isinstance(divergent, Mapping):
        return f"{host} has no transaction that the primary does not have."
    number = divergent.get("transactions")
    told = count(number, "transaction") if isinstance(number, int) else "transactions"
    files = [str(divergent[key]) for key in ("sql", "raw") if divergent.get(key)]
    where = f", saved on {host} in {' and '.join(files)}" if files else ""
    return f"{told} that only {host} had{where}"


def answer_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what a failover, a rejoin or a change of automation came to, from result.json."""
    lines = []
    failover, rejoin, automation = (result.get(key) for key in ("failover", "rejoin", "automation"))
    checked = "would be" if result.get("check") else "is"
    if isinstance(failover, Mapping) and failover.get("result") in ("promoted", "possible"):
        term = "" if result.get("check") else f" in term {failover.get('term_after')}"
        lines.append(f"{failover.get('to')} {checked} primary{term}, in place of {failover.get('from')}")
        if failover.get("engine") != "none":
            lines.append(loss_sentence(failover.get("possible_loss")))
    if isinstance(failover, Mapping) and failover.get("result") == "already":
        lines.append(f"{failover.get('to')} is primary in term {failover.get('term_after')}: automation was faster")
    if isinstance(rejoin, Mapping) and rejoin.get("result") not in (None, "refused", "failed"):
        words = _REJOINED.get(str(rejoin["result"]), str(rejoin["result"]))
        lines.append(f"{words}{' by ' + str(rejoin['method']) if rejoin.get('method') else ''}")
    if isinstance(rejoin, Mapping) and rejoin.get("divergent"):
        lines.append(divergent_sentence(rejoin["divergent"], str(rejoin.get("host") or "the host")))
    if isinstance(automation, Mapping) and isinstance(automation.get("pause"), Mapping) and not result.get("check"):
        lines.append(f"automation is paused until {automation['pause'].get('until')}")
    return lines


_REJOINED = {
    "already": "it follows the primary already",
    "attached": "rejoined, nothing had to be undone",
    "flashed_back": "rejoined, what only it had was undone",
    "recloned": "rejoined with a new copy of the primary's data",
    "possible": "it can rejoin",
}


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the few lines that a terminal shows at the end of a run.

    ``result`` is what result.json holds. A run that was not measured has its verdict only.
    """
    lines = answer_lines(result)
    probe = result.get("probe")
    if isinstance(probe, Mapping):
        if isinstance(probe.get("writes"), Mapping):
            lines.append(writes_sentence(probe["writes"]))
        if isinstance(probe.get("http"), Mapping):
            lines.append(http_sentence(probe["http"]))
    drill = result.get("drill")
    if isinstance(drill, Mapping):
        lines += _phases(drill.get("timeline"))
    verdict = str(result.get("verdict") or "running")
    reasons = _reasons(result) if verdict not in GOOD_VERDICTS else []
    lines.append(f"verdict: {verdict}" + (f", {reasons[0]}" if reasons else ""))
    lines += [f"  {reason}" for reason in reasons[1:]]
    return lines


def _phases(timeline: object) -> list[str]:
    """Return the phases of a drill on one line, in seconds since the fault."""
    listed = timeline.get("phases") if isinstance(timeline, Mapping) else None
    parts = [
        f"{str(item.get('phase', '')).replace('_', ' ')} " + (f"{seconds:+.2f} s" if seconds else "0")
        for item in listed or ()
        if isinstance(item, Mapping) and isinstance(seconds := item.get("seconds"), int | float)
    ]
    return ["phases: " + " · ".join(parts)] if parts else []


def _reasons(result: Mapping[str, Any]) -> list[str]:
    probe = result.get("probe")
    reasons = [str(reason) for reason in (probe or {}).get("reasons") or ()]
    reason = result.get("reason")
    if reason and str(reason) != "; ".join(reasons):
        reasons.insert(0, str(reason))
    return reasons


def _number(data: Mapping[str, Any], *keys: str) -> float:
    for key in keys:
        if isinstance(data.get(key), int | float):
            return float(data[key])
    return 0.0
