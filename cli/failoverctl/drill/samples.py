"""Reads what the sampler on the hosts recorded: the truth about a host that is cut off, too."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from failoverctl.probe.model import Sample


def read_samples(path: Path, zero: float) -> tuple[Sample, ...]:
    """Return what the sampler on the hosts recorded, in the prober's time; a torn line is left out.

    A host that did not answer has a sample without a role.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            data = json.loads(line)
            there = data.get("reachable") is not False
            at = float(data["at"]) - zero
            found.append(
                Sample(
                    host=str(data["host"]),
                    at=at,
                    done=float(data.get("done", data["at"])) - zero,
                    role=(str(data["role"]) if data.get("role") else None) if there else None,
                    term=data["term"] if isinstance(data.get("term"), int) else None,
                    writable=there and data.get("writable") is True,
                    vips=tuple(str(name) for name in data.get("vips") or ()) if there else (),
                    error=None if there else str(data.get("error") or "no answer"),
                )
            )
    return tuple(sorted(found, key=lambda sample: sample.at))
