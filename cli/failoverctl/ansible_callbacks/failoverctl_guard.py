"""Loaded into the ansible-playbook that `failoverctl` started; see `failoverctl.runner`.

It does three things that can only be done from inside. It stops the playbook *between* two tasks
when the operator asked for that, so that no module is cut off half-way on a host. It makes the
kernel end the playbook when `failoverctl` dies, even by SIGKILL, so that no half-run playbook goes
on unwatched. And it notes each task in the journal of the run *before* the task is sent, so that
what may have been begun is known whoever was killed when.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: failoverctl_guard
type: aggregate
short_description: Stops between two tasks, and with its parent
description:
  - Stops the playbook before the next task once the file named by E(FAILOVERCTL_STOP_FILE) exists.
  - Ends the playbook when the process E(FAILOVERCTL_PARENT_PID) is gone.
  - Notes each task in the file named by E(FAILOVERCTL_JOURNAL) before it is sent.
"""

#: prctl(2): the signal this process gets when its parent dies.
PR_SET_PDEATHSIG = 1


# CallbackBase carries no type hints, and Ansible loads nothing that does not inherit from it.
class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Checks before every task whether it may still be started."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "failoverctl_guard"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Tie the life of this process to its parent's."""
        super().__init__(*args, **kwargs)
        self._stop_file = Path(os.environ.get("FAILOVERCTL_STOP_FILE") or os.devnull + "/none")
        self._journal = os.environ.get("FAILOVERCTL_JOURNAL", "")
        self._zero = float(os.environ.get("FAILOVERCTL_JOURNAL_ZERO") or 0.0)
        self._play = ""
        parent = os.environ.get("FAILOVERCTL_PARENT_PID", "")
        if parent:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != int(parent):
                sys.exit("failoverctl is gone; nothing was started")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Refuse to begin another play once a stop was asked for."""
        self._play = str(play.get_name())
        self._stop_when_asked(self._play)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Refuse to begin another task once a stop was asked for."""
        del is_conditional
        self._stop_when_asked(task.get_name())
        self._note(str(task.name or task.action))

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Refuse to begin another handler once a stop was asked for."""
        self._stop_when_asked(task.get_name())
        self._note(str(task.name or task.action))

    def _stop_when_asked(self, name: str) -> None:
        if self._stop_file.exists():
            # Not an Exception: Ansible would only warn about one that leaves a callback.
            raise KeyboardInterrupt(f"stopped before: {name}")

    def _note(self, title: str) -> None:
        """Append one record; a whole line at once, as the parent appends to the same file (open(2), O_APPEND)."""
        if not self._journal:
            return
        now = datetime.now(UTC)
        record = {
            "schema": 1,
            "at": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z",
            "t": round(time.monotonic() - self._zero, 3),
            "kind": "begun",
            "play": self._play,
            "title": title,
        }
        file = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(file, (json.dumps(record, ensure_ascii=False) + "\n").encode())
            os.fsync(file)
        finally:
            os.close(file)
