"""One cgroup (version 2) for each host: the kernel knows exactly which processes are the host.

Whatever was interrupted, the processes of a lab are found here, and nowhere else has to be
searched. `cgroup.kill` and `cgroup.freeze` act on all of them at once.
Source: Documentation/admin-guide/cgroup-v2.rst of Linux, "Core Interface Files".
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from failoverctl.errors import ExitCode
from failoverctl.lab.errors import LabError

_TOP = "failoverctl-lab"
_BUILD = "base"  # no lab's cgroup: those start with `lab-`
_KILL_SECONDS = 20.0


def parse_mountinfo(text: str) -> Path | None:
    """Return where the cgroup version 2 hierarchy is mounted, from the text of mountinfo(5)."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        if right.split(" ")[0] == "cgroup2":
            return Path(left.split(" ")[4])
    return None


def lab_group(name: str) -> Path:
    """Return the cgroup of the lab called `name`; it need not exist."""
    return _mounted() / _TOP / f"lab-{name}"


def build_group(release: str) -> Path:
    """Return the cgroup of whatever builds the base of `release`; it need not exist."""
    return _mounted() / _TOP / f"{_BUILD}-{release}"


def name_of(group: Path) -> str:
    """Return the path of `group` within the hierarchy, wherever that is mounted."""
    return str(group.relative_to(_mounted()))


def _mounted() -> Path:
    found = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    if found is None:
        raise LabError(
            "this machine has no cgroup version 2 hierarchy mounted",
            why="a lab host is the set of processes in its cgroup",
            fix="mkdir /mnt/cgroup2 && mount -t cgroup2 cgroup2 /mnt/cgroup2",
        )
    return found


def create(group: Path) -> None:
    """Make `group` and its parents, and hand it the controllers that the topmost of them has."""
    group.mkdir(parents=True, exist_ok=True)
    names = name_of(group).split("/")
    # Not in the root: that is the business of the machine's own init.
    for depth in range(1, len(names)):
        parent = _mounted().joinpath(*names[:depth])
        for controller in (parent / "cgroup.controllers").read_text(encoding="ascii").split():
            # A controller that cannot be handed down is one the hosts go without; none is needed.
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")


def populated(group: Path) -> bool:
    """Say whether any process lives in `group` or below."""
    return _event(group, "populated")


def frozen(group: Path) -> bool:
    """Say whether every process in `group` and below stands still."""
    return _event(group, "frozen")


def freeze(group: Path, frozen_: bool) -> None:
    """Stop or continue every process in `group` and below, and wait until that is so.

    :raises LabError: the kernel did not confirm within 5 s.
    """
    (group / "cgroup.freeze").write_text("1" if frozen_ else "0", encoding="ascii")
    deadline = time.monotonic() + 5.0
    while frozen(group) != frozen_:
        if time.monotonic() > deadline:
            raise LabError(
                f"the processes of {group.name} did not {'stop' if frozen_ else 'continue'} within 5 s",
                exit_code=ExitCode.TIMED_OUT,
            )
        time.sleep(0.005)


def processes(group: Path) -> list[int]:
    """Return the ids of all processes in `group` and below."""
    found: list[int] = []
    for folder, _, _ in os.walk(group):
        with contextlib.suppress(OSError):
            text = (Path(folder) / "cgroup.procs").read_text(encoding="ascii")
            found += [int(pid) for pid in text.split()]
    return found


def first_process(group: Path) -> int | None:
    """Return the process that is number 1 inside the host which `group` is, or None.

    It is the one that lives one process-id namespace deeper and is number 1 there
    (`NSpid` in proc_pid_status(5)).
    """
    for pid in processes(group):
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                if len(numbers) == 2 and numbers[1] == "1":
                    return pid
    return None


def kill(group: Path) -> None:
    """Kill every process in `group` and below with SIGKILL, wait for it, and remove the cgroup.

    Removing the cgroup also stops a starter which is still on its way into it.

    :raises LabError: processes survived for 20 s (in an uninterruptible wait of the kernel).
    """
    deadline = time.monotonic() + _KILL_SECONDS
    while group.exists():
        with contextlib.suppress(FileNotFoundError):
            (group / "cgroup.kill").write_text("1", encoding="ascii")
        folders = [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]
        try:
            for folder in folders:
                folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise LabError(
                    f"processes {processes(group)} survived SIGKILL for {_KILL_SECONDS:g} s",
                    exit_code=ExitCode.TIMED_OUT,
                ) from None
            time.sleep(0.02)


def remove_top() -> None:
    """Remove the cgroup that holds all labs, when none is left in it."""
    with contextlib.suppress(OSError):
        (_mounted() / _TOP).rmdir()


def _event(group: Path, name: str) -> bool:
    try:
        text = (group / "cgroup.events").read_text(encoding="ascii")
    except OSError:
        return False
    return f"{name} 1" in text.splitlines()
