"""Starts and stops the prober's process; what the command line uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from failoverctl.probe.model import FINAL_LIMIT_SECONDS, FINAL_READ_SECONDS, Target

#: Two signals that follow each other at once may arrive as one (signal(7)).
_BETWEEN_SIGNALS_SECONDS = 0.2


class ProbeError(Exception):
    """The prober could not be started, or ended on its own; the text says what it said."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of a running probe, at most half a second old.

    ``t`` is in seconds since the plan's zero, ``steady_seconds`` for how long every operation of
    every stream has been good. ``writes`` and ``http`` have attempted, acknowledged, failed,
    unknown.
    """

    t: float
    steady_seconds: float
    writes: Mapping[str, int]
    http: Mapping[str, int]


def child_environment() -> dict[str, str]:
    """Return an environment in which a child of ours finds this package, installed or not."""
    package = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(p for p in (str(package), os.environ.get("PYTHONPATH", "")) if p)
    return {**os.environ, "PYTHONPATH": path}


class Probe:
    """One run of the prober in a process of its own, as a context manager.

    >>> with Probe(target, run_folder / "probe") as probe:
    ...     probe.wait_steady(2.0, timeout_seconds=15.0)
    ...     act()
    ...     probe.wait_steady(1.0, timeout_seconds=60.0)
    >>> result = analyse(run_folder / "probe")

    The process has a session of its own, so Ctrl-C in the terminal does not end it, and it stops by
    itself when this process dies, because its standard input ends then. ``module`` is what it runs:
    one that calls ``failoverctl.probe.__main__.main`` with clients of its own measures with those.
    """

    def __init__(self, target: Target, folder: Path, *, module: str = "failoverctl.probe") -> None:
        self._target = target
        self._folder = folder
        self._module = module
        self._process: subprocess.Popen[str] | None = None
        self._changed = threading.Condition()
        self._progress: Progress | None = None
        self._heard = 0.0
        self._seen: set[str] = set()
        self._errors: list[str] = []
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Probe:
        """Start the prober."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the prober and wait for its final read."""
        self.stop()

    @property
    def progress(self) -> Progress | None:
        """The latest counts, None before the first."""
        with self._changed:
            return self._progress

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Start the prober and wait until it sends. Raises ProbeError when it does not come up."""
        if self._process is not None:
            raise ProbeError("the prober was already started")
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    self._module,
                    "--target",
                    "-",
                    "--folder",
                    str(self._folder),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env=child_environment(),
            )
        except OSError as error:
            raise ProbeError(f"the prober cannot be started: {error}") from error
        process = self._process
        for stream, take in ((process.stdout, self._take_event), (process.stderr, self._take_error)):
            reader = threading.Thread(target=_each_line, args=(stream, take), daemon=True)
            reader.start()
            self._readers.append(reader)
        try:
            # The account's password goes through the pipe and is written to no file.
            self._write(json.dumps(self._target.as_dict(with_password=True)) + "\n")
        except OSError as error:
            raise ProbeError(f"the prober ended at once: {self._said()}") from error
        if not self._wait(lambda: "started" in self._seen, timeout_seconds, give_up=lambda: not self.running):
            self.stop()
            raise ProbeError(f"the prober did not start: {self._said()}")

    def wait_steady(self, seconds: float, *, timeout_seconds: float) -> bool:
        """Wait until every stream has been good for ``seconds``; return whether that came about.

        A prober that has ended is not steady and never will be, and the time is waited out all the
        same: what it measures goes on without it, and the verdict will be unknown. See ``running``.
        """
        return self._wait(
            lambda: self._steady_seconds() >= seconds,
            timeout_seconds,
        )

    def stop(self, *, final_read: bool = True) -> None:
        """Stop sending, wait for the final read and the files. Harmless when already stopped.

        :param final_read: False gives up the final read, where nobody wants to know what became of the rows.
        """
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            if not final_read:
                # As when interrupted: the second signal ends the final read.
                time.sleep(_BETWEEN_SIGNALS_SECONDS)
                process.terminate()
            limit = self._target.timeout_seconds + FINAL_LIMIT_SECONDS + FINAL_READ_SECONDS + 10.0
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            except BaseException:
                # Interrupted: a second signal makes the prober give up its final read and write its
                # files; without it the final read would be lost altogether.
                process.terminate()
                raise
        for reader in self._readers:
            reader.join(1.0)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                stream.close()

    def _write(self, text: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(text)
            self._process.stdin.flush()

    def _steady_seconds(self) -> float:
        """Return the latest figure, 0 when the prober has ended or fallen silent since."""
        if self._progress is None or time.monotonic() - self._heard > 2.0 or not self.running:
            return 0.0
        return self._progress.steady_seconds

    def _wait(
        self,
        condition: Callable[[], bool],
        timeout_seconds: float,
        give_up: Callable[[], bool] = lambda: False,
    ) -> bool:
        end = time.monotonic() + timeout_seconds
        with self._changed:
            while not condition():
                left = end - time.monotonic()
                if left <= 0 or give_up():
                    return condition()
                self._changed.wait(min(left, 0.2))
        return True

    def _take_event(self, line: str) -> None:
        event = json.loads(line)
        with self._changed:
            self._seen.add(event["event"])
            if event["event"] == "progress":
                self._heard = time.monotonic()
                self._progress = Progress(
                    t=event["t"],
                    steady_seconds=event["steady_seconds"],
                    writes=event["writes"],
                    http=event["http"],
                )
            self._changed.notify_all()

    def _take_error(self, line: str) -> None:
        with self._changed:
            self._errors = [*self._errors, line.rstrip()][-20:]

    def _said(self) -> str:
        for reader in self._readers:
            reader.join(0.5)
        code = None if self._process is None else self._process.poll()
        text = "; ".join(self._errors) or "it said nothing"
        return text if code is None else f"{text} (exit {code})"


def _each_line(stream: IO[str] | None, take: Callable[[str], None]) -> None:
    if stream is not None:
        for line in stream:
            take(line)
