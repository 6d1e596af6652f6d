"""The dead-man: what a fault changed is changed back by the host itself, should the drill die.

It is a timer of systemd on the host, armed before the fault and disarmed after the fault was reverted. What only a
lab can do is changed back by a process of the machine that holds the lab. A timer does not outlive a reboot of its
host, and neither does any fault that has one.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from failoverctl.drill.targets import Targets

#: Where a dead-man that acted leaves its mark, on the host.
FOLDER = "/run/failover-drill"


class Armed(Protocol):
    """A dead-man that waits."""

    def disarm(self) -> bool:
        """Stop it; return whether it had acted. Harmless when repeated.

        :raises TargetError: the host does not answer.
        """
        ...

    def has_fired(self) -> bool:
        """Say whether it has acted. Raises TargetError for a host that is silent."""
        ...


class HostTimer:
    """A dead-man on a host."""

    def __init__(self, targets: Targets, host: str, tag: str) -> None:
        """Use :func:`arm`."""
        self._targets = targets
        self._host = host
        self._tag = tag

    def disarm(self) -> bool:
        """See :class:`Armed`."""
        done = self._targets.run(self._host, disarm_argv(self._tag), check=True)
        return done.stdout.strip() == "fired"

    def has_fired(self) -> bool:
        """See :class:`Armed`."""
        return self._targets.run(self._host, ["test", "-e", f"{FOLDER}/{self._tag}.fired"]).returncode == 0


class MachineTimer:
    """A dead-man on this machine, for what only a lab can do."""

    def __init__(self, process: subprocess.Popen[bytes], marker: Path) -> None:
        """Use :func:`arm_here`."""
        self._process = process
        self._marker = marker
        self._fired: bool | None = None

    def disarm(self) -> bool:
        """See :class:`Armed`."""
        if self._fired is None:
            self._fired = self._marker.exists()
            if not self._fired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._marker.unlink(missing_ok=True)
        return self._fired

    def has_fired(self) -> bool:
        """See :class:`Armed`."""
        return self._marker.exists() if self._fired is None else self._fired


def arm(targets: Targets, host: str, revert: str, seconds: float, tag: str) -> HostTimer:
    """Let `host` run the shell script `revert` by itself after so many seconds, unless it is disarmed before.

    :param tag: names the timer, unique on the host.
    :raises TargetError: the host does not answer, or systemd refused: then the fault must not be made.
    """
    targets.run(host, arm_argv(seconds, tag), stdin=script(revert, tag), check=True)
    return HostTimer(targets, host, tag)


def arm_here(words: Sequence[str], seconds: float) -> MachineTimer:
    """Let this machine run ``failoverctl lab`` with `words` after so many seconds, unless it is disarmed before."""
    descriptor, name = tempfile.mkstemp(prefix="failoverctl-deadman-")
    os.close(descriptor)
    marker = Path(name)
    marker.unlink()
    command = shlex.join([sys.executable, "-m", "failoverctl.lab", *words])
    package = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        ["sh", "-c", f'sleep {seconds:.1f} && touch "$0" && exec {command}', name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))},
    )
    return MachineTimer(process, marker)


def unit_name(tag: str) -> str:
    """Return the name of the dead-man's unit."""
    return f"failover-drill-deadman-{tag}"


def script(revert: str, tag: str) -> str:
    """Return what the dead-man runs; whoever finds the timer can read it on the host."""
    return f"# The dead-man of a drill (failoverctl): undoes a fault.\ntouch {FOLDER}/{tag}.fired\n{revert}\n"


def arm_argv(seconds: float, tag: str) -> list[str]:
    """Return what arms a dead-man on a host, its script given as input: a transient timer (systemd-run(1))."""
    file = f"{FOLDER}/{tag}.sh"
    # From a file: systemd expands $ and % in the words of a command.
    timer = shlex.join(
        [
            *("systemd-run", "--quiet", "--collect", f"--unit={unit_name(tag)}"),
            *(f"--on-active={seconds:.1f}s", "--timer-property=AccuracySec=100ms"),
            *("--", "sh", file),
        ]
    )
    return ["sh", "-c", f"umask 077 && mkdir -p {FOLDER} && cat > {file} && exec {timer}"]


def disarm_argv(tag: str) -> list[str]:
    """Return what disarms a dead-man on a host; it prints ``fired`` when that had acted."""
    name, mark = unit_name(tag), f"{FOLDER}/{tag}.fired"
    script = (
        f"systemctl stop {name}.timer 2>/dev/null; "
        # One that is at work just now may finish.
        f"for _ in 1 2 3 4 5 6 7 8 9 10; do systemctl is-active --quiet {name}.service || break; sleep 0.2; done; "
        f"if [ -e {mark} ]; then echo fired; fi; rm -f {mark} {FOLDER}/{tag}.sh"
    )
    return ["sh", "-c", script]
