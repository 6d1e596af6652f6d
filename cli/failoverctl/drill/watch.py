"""Keeps an eye on the estate while a drill goes on: agents asked again and again, samples as they come."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from failoverctl.estate import Estate
from failoverctl.health import Health, HostReport, Trouble, judge
from failoverctl.journal import timestamp
from failoverctl.probe.model import Sample, parse_sample


class Watcher:
    """Asks every agent about once a second, in a thread: a host that hangs holds up nobody else.

    What changed is appended to ``world.jsonl``: who was primary in which term, and what was wrong.
    """

    def __init__(
        self, estate: Estate, ask: Callable[[], Sequence[HostReport]], path: Path, *, every: float = 1.0
    ) -> None:
        self._estate = estate
        self._ask = ask
        self._path = path
        self._every = every
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._health: Health | None = None
        self._looked = 0.0
        self._codes: set[str] = set()
        self._remarks: frozenset[Trouble] | None = None
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Stop asking; an answer that is still to come is not waited for longer than that."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    @property
    def health(self) -> Health | None:
        """The last look, None before the first."""
        with self._lock:
            return self._health

    @property
    def looked(self) -> float:
        """When the last look began, CLOCK_MONOTONIC in seconds."""
        with self._lock:
            return self._looked

    @property
    def codes(self) -> frozenset[str]:
        """The code of every trouble that was seen since the start, and of every remark that was new since then."""
        with self._lock:
            return frozenset(self._codes)

    def look(self) -> Health:
        """Ask now and return the answer."""
        began = time.monotonic()
        health = judge(self._estate, self._ask())
        with self._lock:
            self._health, self._looked = health, began
            if self._remarks is None:
                self._remarks = frozenset(health.remarks)
            new = frozenset(health.remarks) - self._remarks
            self._codes |= {trouble.code for trouble in (*health.troubles, *new)}
        self._note(health)
        return health

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            # Whatever an answer does to its reader, the drill has to go on and to undo what it did.
            with contextlib.suppress(Exception):
                self.look()

    def _note(self, health: Health) -> None:
        line = {
            "verdict": health.verdict,
            "primary": health.primary or None,
            "term": health.term,
            "problems": [
                {"code": item.code, "host": item.host or None, "message": item.message} for item in health.troubles
            ],
        }
        said = json.dumps(line, ensure_ascii=False)
        if said == self._told:
            return
        self._told = said
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": timestamp(datetime.now(UTC)), **line}, ensure_ascii=False) + "\n")


class Tail:
    """Reads the samples of the prober while it writes them: the latest of each host."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        self.latest: dict[str, Sample] = {}

    def read(self) -> dict[str, Sample]:
        """Take in what was written since, and return the latest sample of each host."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return self.latest
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                sample = parse_sample(json.loads(line))
                self.latest[sample.host] = sample
        return dict(self.latest)
