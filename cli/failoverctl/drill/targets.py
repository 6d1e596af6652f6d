"""How a command reaches a host during a drill: over ssh connections opened before the fault, or through the lab.

A lab is reached through its machine and over no network, so that a host that is cut off can still be seen. On real
hosts every cut leaves the ssh of this machine alone (see :mod:`failoverctl.drill.faults`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.estate import Estate, Host
from failoverctl.estate_query import Defaults, defaults_of, is_quick, ssh_command

if TYPE_CHECKING:
    from failoverctl.config import Settings
    from failoverctl.lab import Lab

#: Opening a connection takes this long at most, in seconds.
CONNECT_SECONDS = 5

#: A host that is frozen says nothing; its connection is kept for this many times 5 s.
_ALIVE_COUNT = 120

#: The folders of the sockets of drills are called so, then by the process.
_SOCKETS = "fo-drill-"

#: So long a connection stays that nobody uses: longer than a drill, and not for ever when that is killed. In seconds.
_PERSIST_SECONDS = 3600


class TargetError(FailoverctlError):
    """A host could not be reached, or what was asked of it failed."""

    def __init__(self, what: str, *, fix: str = "", exit_code: ExitCode = ExitCode.UNREACHABLE) -> None:
        super().__init__(what, fix=fix, docs="docs/reference/faults.md", exit_code=exit_code)


@dataclass(frozen=True)
class SshPeer:
    """One end of the ssh connections of this machine, as the host sees them: our address, and its own port."""

    address: str
    port: int


def parse_peer(text: str) -> SshPeer | None:
    """Return the peer in SSH_CONNECTION (sshd(8), ENVIRONMENT): client address and port, server address and port."""
    words = text.split()
    if len(words) != 4 or not words[3].isdigit():
        return None
    try:
        # A link-local address has its interface behind it, which nftables does not take.
        return SshPeer(str(ipaddress.ip_address(words[0].partition("%")[0])), int(words[3]))
    except ValueError:
        return None


class Way(Protocol):
    """A way to one host."""

    @property
    def peer(self) -> SshPeer | None:
        """Our end of the ssh connection, once it was opened; None where there is none."""
        ...

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command of this machine that runs `argv` as root on the host.

        :raises TargetError: the host is off, or frozen.
        """
        ...

    def open(self) -> None:
        """Open what can be opened beforehand. Raises TargetError when the host does not answer."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class LabWay:
    """To a host of a lab, as on its console."""

    peer = None

    def __init__(self, lab: Lab, host: str) -> None:
        self._lab = lab
        self._host = host

    def command(self, argv: Sequence[str]) -> list[str]:
        """See :class:`Way`."""
        from failoverctl.lab import LabError

        try:
            return self._lab.command(self._host, argv)
        except LabError as error:
            raise TargetError(error.what, fix=error.fix, exit_code=error.exit_code) from error

    def open(self) -> None:
        """Nothing has to be opened."""

    def close(self) -> None:
        """Nothing has to be closed."""


class SshWay:
    """To a real host, over one connection that all commands share."""

    def __init__(self, host: Host, defaults: Defaults, sockets: Path) -> None:
        self._host = host
        self._defaults = defaults
        self.peer: SshPeer | None = None
        self._options = [
            *("-o", "ControlMaster=auto"),
            *("-o", f"ControlPersist={_PERSIST_SECONDS}"),
            *("-o", f"ControlPath={sockets}/%C"),
            *("-o", f"ConnectTimeout={CONNECT_SECONDS}"),
            *("-o", "ServerAliveInterval=5"),
            *("-o", f"ServerAliveCountMax={_ALIVE_COUNT}"),
        ]

    def command(self, argv: Sequence[str]) -> list[str]:
        """See :class:`Way`. An account that is not root uses sudo without a password."""
        words = shlex.join(argv)
        return self._ssh(f'if [ "$(id -u)" = 0 ]; then exec {words}; else exec sudo -n -- {words}; fi')

    def open(self) -> None:
        """Open the connection."""
        done = _run(self.command(["true"]), None, CONNECT_SECONDS + 5.0)
        if done.returncode != 0:
            raise TargetError(f"{self._host.name} cannot be reached as root: {_said(done)}")
        # sudo does not hand it on, so it is asked of the account itself.
        asked = _run(self._ssh('echo "$SSH_CONNECTION"'), None, CONNECT_SECONDS + 5.0)
        self.peer = parse_peer(asked.stdout) or self.peer

    def close(self) -> None:
        """End the connection."""
        command = self._ssh("")[:-1]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _run([command[0], "-O", "exit", *command[1:]], None, 5.0)

    def _ssh(self, remote: str) -> list[str]:
        # ssh takes the first value it is given of an option (ssh_config(5)): ours stand before the inventory's.
        first, *rest = ssh_command(self._host, self._defaults, remote)
        return [first, *self._options, *rest]


class Targets:
    """All hosts of an estate, and the ways to them."""

    def __init__(self, estate: Estate, ways: dict[str, Way], lab: Lab | None = None) -> None:
        """Use :meth:`open`."""
        self.estate = estate
        self.laboratory = lab
        self._ways = ways
        self._sockets: Path | None = None

    @classmethod
    def open(cls, settings: Settings, estate: Estate) -> Targets:
        """Return the hosts of an estate, with a connection to each that answers.

        :raises TargetError: a host is reached by other means than ssh with a key.
        """
        lab = find_lab(estate)
        if lab is not None:
            return cls(estate, {host.name: LabWay(lab, host.name) for host in estate.hosts}, lab)
        strangers = [host.name for host in estate.hosts if not is_quick(host)]
        if strangers:
            raise TargetError(
                f"a drill reaches hosts by ssh with a key only: not {', '.join(strangers)}.",
                fix="let an account with a key become root by sudo without a password.",
                exit_code=ExitCode.USAGE,
            )
        # Short: a socket's path has 107 bytes.
        sweep()
        sockets = Path(tempfile.mkdtemp(prefix=f"{_SOCKETS}{os.getpid()}-", dir="/tmp"))
        defaults = defaults_of(settings.root, os.environ)
        ways: dict[str, Way] = {host.name: SshWay(host, defaults, sockets) for host in estate.hosts}
        targets = cls(estate, ways)
        targets._sockets = sockets
        with ThreadPoolExecutor(max_workers=max(1, len(ways))) as pool:
            list(pool.map(targets.answers, ways))
        return targets

    @property
    def lab(self) -> str:
        """The name of the lab whose hosts these are; empty on real hosts."""
        return self.laboratory.name if self.laboratory is not None else ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of all hosts, in the order of the inventory."""
        return tuple(self._ways)

    def __enter__(self) -> Targets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections; harmless when that was done."""
        for way in self._ways.values():
            way.close()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    def answers(self, host: str) -> bool:
        """Say whether a host can be reached, opening its connection if that is not open."""
        try:
            self._way(host).open()
            return self.run(host, ["true"], timeout_seconds=CONNECT_SECONDS + 5.0).returncode == 0
        except TargetError:
            return False

    def peer(self, host: str) -> SshPeer | None:
        """Return our end of the ssh connection to a host, as that sees it; None when there is none."""
        return self._ways[host].peer if host in self._ways else None

    def is_off(self, host: str) -> bool:
        """Say whether a host is known to be off; of a real host that is never known."""
        return self.laboratory is not None and not self.laboratory.is_on(host)

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout_seconds: float = 30.0,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` as root on a host and return its result.

        :param check: raise when its exit status is not 0.
        :raises TargetError: the host cannot be reached, did not answer in time, or (with `check`) it failed.
        """
        command = self._way(host).command(argv)
        try:
            done = _run(command, stdin, timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise TargetError(
                f"{host} did not answer within {timeout_seconds:g} s ({shlex.join(argv)[:80]})",
                exit_code=ExitCode.TIMED_OUT,
            ) from error
        except OSError as error:
            raise TargetError(f"{host} cannot be reached: {error}") from error
        if command[0].endswith("ssh") and done.returncode == 255:
            raise TargetError(f"{host} cannot be reached: {_said(done)}")
        if check and done.returncode != 0:
            # A script of ours tells nobody anything; what it said does.
            what = "what was done" if list(argv[:2]) == ["sh", "-c"] else f"`{shlex.join(argv)[:200]}`"
            raise TargetError(
                f"{what} on {host} ended with {done.returncode}: {_said(done)}",
                exit_code=ExitCode.FAILED,
            )
        return done

    def start(self, host: str, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start `argv` as root on a host, with pipes for its input and output; it should end when its input does.

        :raises TargetError: the host cannot be reached.
        """
        try:
            return subprocess.Popen(
                self._way(host).command(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            raise TargetError(f"{host} cannot be reached: {error}") from error

    def _way(self, host: str) -> Way:
        try:
            return self._ways[host]
        except KeyError:
            raise TargetError(
                f"there is no host {host!r} in estate {self.estate.name}.",
                fix=f"use one of: {', '.join(self._ways)}",
                exit_code=ExitCode.USAGE,
            ) from None


def sweep(folder: Path = Path("/tmp")) -> None:
    """End the ssh connections of drills of this account that were killed."""
    for left in folder.glob(f"{_SOCKETS}*-*"):
        pid = left.name.removeprefix(_SOCKETS).partition("-")[0]
        if not pid.isdigit() or left.is_symlink() or left.stat().st_uid != os.geteuid() or Path("/proc", pid).exists():
            continue
        for socket in left.iterdir():
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                _run(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "unused"], None, 5.0)
        shutil.rmtree(left, ignore_errors=True)  # The next run tries again.


def find_lab(estate: Estate) -> Lab | None:
    """Return the lab of this machine whose hosts are those of the estate, None when they are real hosts."""
    from failoverctl.lab import Lab, LabError

    if os.geteuid() != 0:
        return None
    try:
        lab = Lab.open(estate.name)
        addresses = lab.addresses() if lab.exists() else {}
    except LabError:
        return None
    known = bool(estate.hosts) and all(addresses.get(host.name) == host.address for host in estate.hosts)
    return lab if known else None


def _run(command: Sequence[str], stdin: str | None, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
    with contextlib.ExitStack() as stack:
        # Into a file: a shared connection that ssh leaves behind keeps stderr open, and a pipe would never end.
        errors = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL if stdin is None else None,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            timeout=timeout_seconds,
            check=False,
        )
        errors.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, errors.read())


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr or done.stdout).split())[-300:] or "it said nothing"
