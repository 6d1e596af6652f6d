"""Keeps the results file up to date while runs come in, and tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import machine, results
from bench.beds import Say
from bench.figures import seconds
from bench.measure import told
from bench.results import Move, Part, Results, Timing


class PartRecorder:
    """Takes the runs of one part; each is in the file as soon as it is over."""

    def __init__(self, recorder: Recorder, part: Part) -> None:
        self._recorder = recorder
        self._part = part

    def move(self, run: Move) -> Move:
        """Take a move and return it."""
        self._take(replace(self._part, moves=(*self._part.moves, run)), run.number, told(run))
        return run

    def timing(self, run: Timing) -> Timing:
        """Take a timed command and return it."""
        text = f"{seconds(run.seconds)} ({seconds(run.cpu_seconds)} CPU)"
        if run.changed is not None:
            text += f", changed {run.changed}"
        text += "" if run.error is None else f"  FAILED: {run.error}"
        self._take(replace(self._part, timings=(*self._part.timings, run)), run.number, text)
        return run

    def _take(self, part: Part, number: int, text: str) -> None:
        self._part = replace(part, finished_at=machine.now(), load=(part.load[0], machine.load()))
        self._recorder.put(self._part)
        self._recorder.say(f"{part.name} {number}: {text}")


class Recorder:
    """The results file of this run of the bench. What was in it of other parts stays."""

    def __init__(self, path: Path, say: Say) -> None:
        self.path = path
        self.say = say
        facts = machine.facts()
        known = results.read(path) if path.exists() else Results(machine=facts)
        # Parts measured on different machines in one table would compare the machines.
        self.results = known if machine.alike(known.machine, facts) else Results(machine=facts)

    @contextmanager
    def part(self, name: str, settings: Mapping[str, Any], versions: Mapping[str, str]) -> Iterator[PartRecorder]:
        """Begin a part, in place of what the file has of it."""
        began = machine.now()
        load = round(machine.load(), 2)
        part = Part(name, machine.commit(), began, began, (load, load), dict(settings), dict(versions))
        yield PartRecorder(self, part)

    def put(self, part: Part) -> None:
        """Write a part into the file."""
        self.results = self.results.with_part(part)
        results.write(self.path, self.results)
