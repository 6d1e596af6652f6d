"""Puts a peer on its hosts, and times that: with packages downloaded before, as for our own setup."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.beds import Bed
from bench.machine import now
from bench.results import Timing


def timed(bed: Bed, playbook: Path, packages: Sequence[str], **variables: str) -> Timing:
    """Run a playbook on fresh hosts and return what it took. Raises BenchError when it fails.

    ``packages`` and what they need are downloaded before; the lab keeps them for its next life.
    """
    words = ["apt-get", "--quiet", "--yes", "--download-only", "install", *packages]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: bed.shell(host, *words), bed.addresses))
    at = now()
    done = bed.playbook(playbook, **variables)
    return Timing(
        number=1,
        at=at,
        seconds=round(done.seconds, 3),
        cpu_seconds=round(done.cpu_seconds, 3),
        detail={"playbook": playbook.name},
    )
