# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Many schedules on all cores."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from simulator import mutations
from simulator.run import run
from simulator.schedule import generate

CHUNK = 25


@dataclass
class Tally:
    """What came out so far. ``found`` are seeds and what was broken."""

    schedules: int = 0
    simulated_seconds: float = 0.0
    acknowledged: int = 0
    longest_pause: float = 0.0
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another tally in."""
        self.schedules += other.schedules
        self.simulated_seconds += other.simulated_seconds
        self.acknowledged += other.acknowledged
        self.longest_pause = max(self.longest_pause, other.longest_pause)
        self.found += other.found


@dataclass(frozen=True)
class _Chunk:
    first: int
    count: int
    mutation: str


def campaign(
    first: int,
    count: int,
    *,
    jobs: int = 0,
    mutation: str = "",
    enough: int = 5,
    progress: Callable[[Tally, float], None] = lambda _tally, _seconds: None,
) -> Tally:
    """Play the schedules of ``count`` seeds from ``first`` on; stop early after ``enough`` violations."""
    began = time.monotonic()
    total = Tally()
    chunks = [
        _Chunk(start, min(CHUNK, first + count - start), mutation) for start in range(first, first + count, CHUNK)
    ]
    with _results(chunks, jobs or len(os.sched_getaffinity(0))) as results:
        for tally in results:
            total.add(tally)
            progress(total, time.monotonic() - began)
            if len(total.found) >= enough:
                break
    total.found.sort()
    return total


@contextlib.contextmanager
def _results(chunks: list[_Chunk], jobs: int) -> Iterator[Iterator[Tally]]:
    if jobs == 1:
        with quiet():
            yield map(_play, chunks)
        return
    with multiprocessing.get_context("fork").Pool(jobs, _begin) as pool:
        yield pool.imap(_play, chunks)
        pool.terminate()


def _begin() -> None:
    """A new process: Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Agents log nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _play(chunk: _Chunk) -> Tally:
    tally = Tally()
    # The garbage of a world is one big circle. Looking for it now and then is enough.
    gc.disable()
    try:
        with mutations.applied(chunk.mutation):
            for seed in range(chunk.first, chunk.first + chunk.count):
                outcome = run(generate(seed))
                tally.schedules += 1
                tally.simulated_seconds += outcome.seconds
                tally.acknowledged += outcome.acknowledged
                tally.longest_pause = max(tally.longest_pause, outcome.longest_pause)
                if outcome.violation:
                    tally.found.append((seed, outcome.violation))
                    if chunk.mutation:
                        break
    finally:
        gc.enable()
        gc.collect()
    return tally
