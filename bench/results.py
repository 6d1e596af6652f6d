"""The results file: what was measured, on what, every single run. Nothing in it is computed from runs.

Times are in seconds unless the name says otherwise, moments are UTC ISO 8601.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

SCHEMA = 1


class ResultsError(ValueError):
    """A results file that cannot be read; the text names the file and what is wrong with it."""


@dataclass(frozen=True)
class Seen:
    """What clients saw of one kind of operation during one move.

    ``paused_seconds`` and ``outage_seconds`` are the prober's: until the first operation was
    acknowledged again, and until all of them were served well again. ``unknown`` operations ended
    without an answer that says whether they were done, ``hung`` ones got none until the time-out.
    The last four count rows in the end and are None for pages, or when no database could be read.
    """

    paused_seconds: float
    outage_seconds: float
    attempted: int
    acknowledged: int
    failed: int
    unknown: int
    hung: int
    lost: int | None = None
    recovered: int | None = None
    unexpected: int | None = None
    duplicates: int | None = None


@dataclass(frozen=True)
class Move:
    """One move from ``source`` to ``target`` under load; ``seconds`` is how long the command took.

    ``verdict`` and ``reasons`` are the prober's. ``prober_late_ms`` is how late its latest
    operation left: much of it means a busy machine, not a slow estate. ``error`` says why a move
    did not come about; it then counts as a run without a figure.
    """

    number: int
    at: str
    source: str
    target: str
    seconds: float
    verdict: str
    reasons: tuple[str, ...] = ()
    writes: Seen | None = None
    http: Seen | None = None
    prober_late_ms: float = 0.0
    error: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """One timed command: wall and CPU seconds (user and system, with its children)."""

    number: int
    at: str
    seconds: float
    cpu_seconds: float
    changed: int | None = None
    error: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Runs of one kind. ``load`` is the machine's load average of a minute, before and after them."""

    name: str
    commit: str
    started_at: str
    finished_at: str
    load: tuple[float, float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    timings: tuple[Timing, ...] = ()


@dataclass(frozen=True)
class Results:
    """Everything that was measured on one machine; ``machine`` describes it."""

    machine: Mapping[str, Any]
    parts: Mapping[str, Part] = field(default_factory=dict)

    def with_part(self, part: Part) -> Results:
        """Return these results with a part added, or in place of the one of its name."""
        return replace(self, parts={**self.parts, part.name: part})


def as_document(results: Results) -> dict[str, Any]:
    """Return what the results file holds."""
    parts = {name: asdict(part) for name, part in results.parts.items()}
    return {"schema": SCHEMA, "machine": dict(results.machine), "parts": parts}


def parse(document: object) -> Results:
    """Return the results in a parsed results file. Raises ResultsError when it is none."""
    try:
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ResultsError(f"not a results file of schema {SCHEMA}")
        return Results(
            machine=document["machine"],
            parts={name: _part(part) for name, part in document["parts"].items()},
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ResultsError(f"damaged: {error!r}") from error


def read(path: Path) -> Results:
    """Return the results in a file. Raises ResultsError naming it."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: {error}") from error


def write(path: Path, results: Results) -> None:
    """Write the results file at once: a reader sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f"{path.name}.new")
    staged.write_text(json.dumps(as_document(results), indent=1) + "\n", encoding="utf-8")
    staged.replace(path)


def _part(data: Mapping[str, Any]) -> Part:
    before, after = data["load"]
    return Part(
        **{
            **data,
            "load": (before, after),
            "moves": tuple(map(_move, data["moves"])),
            "timings": tuple(Timing(**timing) for timing in data["timings"]),
        }
    )


def _move(data: Mapping[str, Any]) -> Move:
    return Move(
        **{
            **data,
            "reasons": tuple(data["reasons"]),
            "writes": None if data["writes"] is None else Seen(**data["writes"]),
            "http": None if data["http"] is None else Seen(**data["http"]),
        }
    )
