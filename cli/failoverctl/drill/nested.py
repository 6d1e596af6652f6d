"""Runs failoverctl within a drill: as a process of its own that shares the drill's lock and keeps its runs apart."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from failoverctl import runs
from failoverctl.conduct import WITHIN
from failoverctl.config import Settings
from failoverctl.journal import Begun, PhaseStarted, Record, RunStarted, Step, TaskStarted, read_journal
from failoverctl.paths import runs_directory

#: How often the journal of a command that is to be killed is looked at, in seconds.
_WATCH_SECONDS = 0.01


@dataclass(frozen=True)
class Done:
    """How a command ended. ``result`` is its result.json, empty for a command without a run.

    ``killed_at`` is what its journal said last when it was killed.
    """

    exit_code: int
    killed: bool = False
    killed_at: str = ""
    output: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def codes(self) -> frozenset[str]:
        """The codes of its refusals and problems."""
        listed = [*(self.result.get("refusals") or ()), *(self.result.get("problems") or ())]
        return frozenset(str(item.get("code")) for item in listed if isinstance(item, Mapping))


class Command:
    """One command under way. Poll it; it keeps nobody waiting."""

    def __init__(
        self,
        words: Sequence[str],
        settings: Settings,
        run_id: str,
        folder: Path,
        *,
        kill_at: str = "",
        kill_entry: int = 0,
    ) -> None:
        """Start it.

        :param folder: where its runs and its output go; shared by all commands of the drill.
        :param kill_at: kill it, with everything it started, when its journal names this.
        :param kill_entry: kill it so when its journal has that many entries of something that is begun; 0 is never.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state = folder
        self._kill_at = kill_at.casefold()
        self._before = {run.run_id for run in runs.list_runs(runs_directory(folder))}
        self._killed = False
        self._killed_at = ""
        self._kill_entry = kill_entry
        self._output = folder / f"{len(list(folder.glob('*.log'))) + 1:03d}.log"
        flags = [part for source in settings.inventory.value for part in ("--inventory", source)]
        flags += [part for item in settings.vault_ids.value for part in ("--vault-id", item)]
        with self._output.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "failoverctl", *words, *flags, "--state-directory", str(folder)],
                cwd=settings.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**_environment(), WITHIN: run_id, "FAILOVERCTL_YES": "1", "NO_COLOR": "1"},
            )

        # In a thread of its own: many entries are only some milliseconds apart.
        self._watch = threading.Thread(target=self._kill_in_time, name="killer", daemon=True) if kill_entry else None
        if self._watch is not None:
            self._watch.start()

    def _kill_in_time(self) -> None:
        """Kill it as soon as its journal has so many entries, or wait until it has ended."""
        while self._process.poll() is None:
            begun = [record for record in self._records() if isinstance(record, RunStarted | Begun)]
            if len(begun) >= self._kill_entry:
                self.kill()
                last = begun[-1]
                self._killed_at = last.title if isinstance(last, Begun) else "the beginning"
                self._process.wait()
                return
            time.sleep(_WATCH_SECONDS)

    def poll(self) -> Done | None:
        """Return how it ended, None while it goes on."""
        if self._kill_at and not self._killed and any(map(self._is_due, self._records())):
            self.kill()
        if self._watch is not None and self._watch.is_alive():
            return None
        status = self._process.poll()
        if status is None:
            return None
        run = self._run()
        return Done(
            exit_code=status,
            killed=self._killed,
            killed_at=self._killed_at,
            output=self._output.read_text(encoding="utf-8", errors="replace")[-4000:],
            result=run.result() if run is not None else {},
        )

    def interrupt(self) -> None:
        """Ask it to end after its current task."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill it and everything it started, as a power loss of this machine would."""
        self._killed = True
        for pid in [self._process.pid, *descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _run(self) -> runs.RunFolder | None:
        new = [run for run in runs.list_runs(runs_directory(self._state)) if run.run_id not in self._before]
        return new[-1] if new else None

    def _records(self) -> list[Record]:
        run = self._run()
        return list(read_journal(run.journal_path)) if run is not None and run.journal_path.exists() else []

    def _is_due(self, record: Record) -> bool:
        match record:
            case PhaseStarted() | TaskStarted():
                return self._kill_at in (record.phase.casefold(), record.title.casefold())
            case Step():
                return self._kill_at in (record.name.casefold(), record.title.casefold())
        return False


def descendants(pid: int, processes: Path = Path("/proc")) -> list[int]:
    """Return the ids of all processes that a process started, and that those started (proc(5), field 4)."""
    parents: dict[int, int] = {}
    for entry in processes.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        children = [child for child, its in parents.items() if its == parent and child not in found]
        found += children
        waiting += children
    return found


def _environment() -> dict[str, str]:
    """The environment, without what would point elsewhere than the flags, and with this very package."""
    from failoverctl.probe.process import child_environment

    hidden = ("FAILOVERCTL_INVENTORY", "FAILOVERCTL_STATE_DIRECTORY", "FAILOVERCTL_VAULT_IDS")
    return {key: value for key, value in child_environment().items() if key not in hidden}
