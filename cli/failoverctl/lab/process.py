"""Run a program of the machine, or say in plain words that it failed; and remove folders safely."""

from __future__ import annotations

import ctypes
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from failoverctl.errors import ExitCode
from failoverctl.lab.errors import LabError

# What is mounted by a program started with this is mounted for it and its children only, and is
# gone with the last of them.
PRIVATE_MOUNTS = ("unshare", "--mount", "--propagation", "private", "--")

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)


def _die_with_caller() -> None:
    """Let a killed caller take its programs along: a late `ip link add` would outlive the next `down`."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def remove(path: Path) -> None:
    """Remove `path`, a file or a folder with everything in it, and nothing mounted below it.

    :raises LabError: something is mounted there, or it cannot be removed.
    """
    run(["rm", "--recursive", "--force", "--one-file-system", "--", str(path)], timeout_seconds=600.0)


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout_seconds: float = 60.0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `argv`, without a shell, and return its result with stdout and stderr as text.

    :param stdin: text for its standard input; nothing by default.
    :param check: raise when the exit status is not 0.
    :param timeout_seconds: the longest it may take.
    :param env: its whole environment; the caller's by default.
    :raises LabError: the program is missing, took too long, or (with `check`) failed.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
            env=None if env is None else dict(env),
            preexec_fn=_die_with_caller,
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"`{shlex.join(argv)}` did not end within {timeout_seconds:g} s",
            exit_code=ExitCode.TIMED_OUT,
        ) from error
    if check and done.returncode != 0:
        raise LabError(
            f"`{shlex.join(argv)}` failed with status {done.returncode}",
            why="\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]),
            exit_code=ExitCode.FAILED,
        )
    return done
