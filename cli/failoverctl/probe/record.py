"""Writes the files of a running probe and keeps count for its progress events."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from failoverctl.probe.model import Op, Sample

FLUSH_SECONDS = 0.5


@dataclass(slots=True)
class Tally:
    """Running counts by kind and outcome, and since when every stream has been good.

    A stream that has not been heard of for ``silence_seconds`` is not good.
    """

    good_seconds: float
    silence_seconds: float = 1.5
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    last_bad: float = 0.0
    first: float | None = None
    last: dict[tuple[str, int], float] = field(default_factory=dict)

    def add(self, op: Op) -> None:
        """Count one operation."""
        self.counts.setdefault(op.kind, Counter())[op.outcome] += 1
        if self.first is None:
            self.first = op.intended
        if op.outcome != "ok" or op.latency > self.good_seconds:
            self.last_bad = max(self.last_bad, op.done)
        self.last[(op.kind, op.stream)] = op.done

    def steady_seconds(self, now: float, streams: int) -> float:
        """Return for how long every stream has been good, 0 while one is bad, silent or unheard."""
        if self.first is None or len(self.last) < streams:
            return 0.0
        if now - min(self.last.values()) > self.silence_seconds:
            return 0.0
        return max(0.0, now - max(self.last_bad, self.first))

    def as_dict(self) -> dict[str, Any]:
        """Return the counts of a progress event."""
        result = {}
        for name, kind in (("writes", "write"), ("http", "http")):
            count = self.counts.get(kind, Counter())
            result[name] = {
                "attempted": count["ok"] + count["fail"] + count["info"],
                "acknowledged": count["ok"],
                "failed": count["fail"],
                "unknown": count["info"],
            }
        return result


class Recorder:
    """Appends operations and samples to JSONL files from one thread of its own.

    ``put_op`` and ``put_sample`` never block. Lines are flushed twice a second and at the end.
    ``on_flush`` is called after each flush, from that thread.
    """

    def __init__(self, folder: Path, tally: Tally, on_flush: Callable[[Tally], None]) -> None:
        self._folder = folder
        self._tally = tally
        self._on_flush = on_flush
        self._queue: queue.SimpleQueue[Op | Sample] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self.acknowledged: set[tuple[int, int]] = set()
        self.error: OSError | None = None

    def start(self) -> None:
        """Open the files and start the thread. Raises OSError when a file cannot be made."""
        self._ops = (self._folder / "ops.jsonl").open("w", encoding="utf-8")
        self._samples = (self._folder / "samples.jsonl").open("w", encoding="utf-8")
        self._thread.start()

    def put_op(self, op: Op) -> None:
        """Queue one operation."""
        self._queue.put(op)

    def put_sample(self, sample: Sample) -> None:
        """Queue one sample."""
        self._queue.put(sample)

    def close(self) -> None:
        """Write what is queued and close the files."""
        self._stop.set()
        self._thread.join()
        self._drain()
        for stream in (self._ops, self._samples):
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            try:
                self._drain()
            except OSError as error:
                # A full disk must not end the measurement of an outage; the probe reports it at the
                # end.
                self.error = error
            self._on_flush(self._tally)

    def _drain(self) -> None:
        ops: list[str] = []
        samples: list[str] = []
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, Op):
                self._tally.add(item)
                if item.kind == "write" and item.outcome == "ok":
                    self.acknowledged.add((item.stream, item.seq))
                ops.append(_line(item.as_dict()))
            else:
                samples.append(_line(item.as_dict()))
        _append(self._ops, ops)
        _append(self._samples, samples)


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False) + "\n"


def _append(stream: IO[str], lines: list[str]) -> None:
    if lines:
        stream.write("".join(lines))
        stream.flush()


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write one JSON document so that a reader sees the old or the new one, never half of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(data, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def wall_minus_monotonic() -> float:
    """Return the offset between the wall clock and CLOCK_MONOTONIC now, in seconds."""
    return time.time() - time.monotonic()
