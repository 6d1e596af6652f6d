"""One host: its disk, its boot and its end."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from failoverctl.errors import ExitCode
from failoverctl.lab import cgroup
from failoverctl.lab.errors import LabError
from failoverctl.lab.process import PRIVATE_MOUNTS, remove, run
from failoverctl.lab.state import write_file

_PREPARED = "prepared"
_ENVIRONMENT = (
    "HOME=/root",
    "LANG=C.UTF-8",
    "LOGNAME=root",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL=/bin/bash",
    "USER=root",
)

# Everything a host needs is mounted in a mount namespace of its own and so goes with the host.
# Where the machine mounts cgroup version 1 or both, systemd in the host gets version 2 only.
# /run is hidden because systemd-nspawn keeps files there which nobody would remove after a SIGKILL.
# With --keep-unit, systemd-nspawn ends with status 133 when the host wants to restart. The cgroup of
# the boot before is emptied then, since processes may not join one that has handed down controllers;
# and its link may still be there, because the kernel removes network namespaces in its own time.
_BOOT_SCRIPT = """\
set -eu
echo $$ > "$GROUP/watch/cgroup.procs"
mount -t tmpfs -o mode=755 tmpfs /run
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
  umount -R /sys/fs/cgroup 2>/dev/null || true
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount -t overlay overlay \
  -o "lowerdir=$ARCHIVES:$TREE,upperdir=$DISK/upper,workdir=$DISK/work" "$DISK/root"
if [ -e "$DISK/data.img" ]; then
  # The kernel may still be putting it away after a power loss; two mounts of one disk would ruin it.
  tries=100
  while [ -n "$(losetup --noheadings --associated "$DISK/data.img")" ] && [ $tries -gt 0 ]; do
    tries=$((tries - 1))
    sleep 0.1
  done
  mkdir -p "$DISK/root/var/lib/mysql"
  mount -o loop "$DISK/data.img" "$DISK/root/var/lib/mysql"
fi
boot="/sys/fs/cgroup/$GROUP_NAME/boot"
while true; do
  ip link delete "$PORT" 2>/dev/null || true
  status=0
  sh -c 'echo $$ > "$0/cgroup.procs"; exec systemd-nspawn "$@"' "$boot" "$@" || status=$?
  [ "$status" = 133 ] || exit "$status"
  find "$boot" -mindepth 1 -depth -type d -exec rmdir {} +
done
"""

_JOIN_SCRIPT = 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"'

# nsenter would fork into the host by itself, and stop for good when its child is stopped. systemd stops everything
# before it kills it at a shutdown: the child could not be waited for, and the host would never be down.
_ENTER_SCRIPT = '"$@"; exit $?'


@dataclass(frozen=True)
class Host:
    """One host of a lab, and where its parts are."""

    name: str
    interface: IPv4Interface
    gateway: IPv4Address
    machine: str
    port: str
    bridge: str
    folder: Path
    group: Path
    data_megabytes: int = 0

    @property
    def address(self) -> IPv4Address:
        """The host's address."""
        return self.interface.ip

    @property
    def upper(self) -> Path:
        """The host's own layer: what differs from the shared tree."""
        return self.folder / "upper"

    @property
    def console(self) -> Path:
        """What the host wrote on its console, all boots."""
        return self.folder / "console.log"


def is_prepared(host: Host) -> bool:
    """Say whether the host's disk was made, completely."""
    return (host.folder / _PREPARED).exists()


def prepare(host: Host, *, public_key: str, resolver: str) -> None:
    """Make the host's disk: an empty layer over the shared tree, with its own identity.

    :param public_key: the ssh key that root accepts.
    :param resolver: the text of its resolv.conf.
    """
    if host.folder.exists():
        remove(host.folder)
    for part in ("upper", "work", "root"):
        (host.folder / part).mkdir(parents=True)
    upper = host.upper
    files = {
        "etc/hostname": f"{host.name}\n",
        "etc/hosts": hosts_text(host.name),
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/network/interfaces": interfaces_text(host.interface, host.gateway),
        "etc/resolv.conf": resolver,
    }
    for path, text in files.items():
        write_file(upper / path, text)
    for folder in ("root", "root/.ssh"):
        (upper / folder).mkdir(mode=0o700, exist_ok=True)
    write_file(upper / "root/.ssh/authorized_keys", public_key, 0o600)
    (upper / "etc/ssh").mkdir()
    make_key(upper / "etc/ssh/ssh_host_ed25519_key", f"root@{host.name}")
    if host.data_megabytes:
        make_disk(host.folder / "data.img", host.data_megabytes)
    write_file(host.folder / _PREPARED, "")


def make_disk(path: Path, megabytes: int) -> None:
    """Make a disk of its own for a host: an empty ext4 in a file that takes no room until it is written to."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(megabytes * 2**20)
    # No reserve for root, so that full means the same to everybody.
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(path)])


def forget(folder: Path) -> None:
    """Mark the disk in a host's `folder` as not made; it can be removed in any order then."""
    (folder / _PREPARED).unlink(missing_ok=True)


def make_key(path: Path, comment: str) -> None:
    """Make an ssh key pair without a passphrase: `path` and `path`.pub."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def host_key(host: Host) -> str:
    """Return the host's known_hosts line."""
    public = (host.upper / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="ascii")
    kind, key = public.split()[:2]
    return f"{host.address} {kind} {key}\n"


def hosts_text(name: str) -> str:
    """Return the /etc/hosts of a freshly installed Debian called `name`."""
    return (
        "127.0.0.1\tlocalhost\n"
        f"127.0.1.1\t{name}\n"
        "::1\t\tlocalhost ip6-localhost ip6-loopback\n"
        "ff02::1\t\tip6-allnodes\n"
        "ff02::2\t\tip6-allrouters\n"
    )


def interfaces_text(interface: IPv4Interface, gateway: IPv4Address) -> str:
    """Return the /etc/network/interfaces of a host (interfaces(5))."""
    return (
        "auto lo\niface lo inet loopback\n\n"
        f"auto host0\niface host0 inet static\n    address {interface}\n    gateway {gateway}\n"
    )


def nspawn_options(host: Host, *, fuse: bool) -> list[str]:
    """Return the options of systemd-nspawn(1) that boot `host`."""
    return [
        "--quiet",
        "--boot",
        "--settings=no",
        "--register=no",
        "--keep-unit",
        f"--machine={host.machine}",
        f"--hostname={host.name}",
        f"--directory={host.folder / 'root'}",
        f"--network-bridge={host.bridge}",
        "--capability=all",
        # A host that sets its clock would set the machine's.
        "--drop-capability=CAP_SYS_TIME",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        *(["--bind=/dev/fuse"] if fuse else []),
    ]


def is_on(host: Host) -> bool:
    """Say whether any process of the host lives."""
    return cgroup.populated(host.group)


def boot(host: Host, *, tree: Path, archives: Path) -> None:
    """Switch the host on; returns at once, `wait_ready` waits."""
    cgroup.kill(host.group)  # what is left of the boot before
    for part in ("watch", "boot"):
        cgroup.create(host.group / part)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        "GROUP": str(host.group),
        "GROUP_NAME": cgroup.name_of(host.group),
        "PORT": host.port,
        "ARCHIVES": str(archives),
        "TREE": str(tree),
        "DISK": str(host.folder),
    }
    options = nspawn_options(host, fuse=Path("/dev/fuse").exists())
    with host.console.open("ab") as console:
        # --fork: the host is init's child, not ours; it outlives this command and leaves no zombie.
        subprocess.run(
            ["setsid", "--fork", *PRIVATE_MOUNTS, "sh", "-c", _BOOT_SCRIPT, "boot", *options],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env=environment,
            cwd="/",
            check=True,
        )


def wait_ready(host: Host, *, network: bool, deadline: float) -> None:
    """Wait until systemd in the host has booted and, with `network`, its sshd answers.

    :param deadline: value of `time.monotonic()` when patience ends.
    :raises LabError: the host died or was not ready in time.
    """
    started = time.monotonic()
    seen = "no process"
    while time.monotonic() < deadline:
        if is_on(host):
            pid = cgroup.first_process(host.group)
            seen = "no systemd" if pid is None else _systemd_state(pid)
            if seen in ("running", "degraded"):
                if not network or ssh_answers(host.address):
                    return
                seen = f"{seen}, but no answer from sshd at {host.address} port 22"
        elif time.monotonic() - started > 5.0:
            break  # nobody came within 5 s, or what came is gone
        time.sleep(0.1)
    raise LabError(
        f"{host.name} did not boot: {seen} after {time.monotonic() - started:.0f} s",
        why=_tail(host.console),
        fix=f"read {host.console}",
        exit_code=ExitCode.TIMED_OUT,
    )


def ssh_answers(address: IPv4Address) -> bool:
    """Say whether an ssh server greets at `address` port 22 (RFC 4253, 4.2)."""
    try:
        with socket.create_connection((str(address), 22), timeout=1.0) as connection:
            connection.settimeout(2.0)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def command(host: Host, argv: Sequence[str], *, terminal: bool = False) -> list[str]:
    """Return the command line that runs `argv` as root in the host, as on its console.

    It works over no network, so also in a host that is cut off. The command belongs to the host:
    freezing or killing the host freezes or kills it too.

    :param terminal: give it a terminal of the host.
    :raises LabError: the host is off, or frozen.
    """
    if not is_on(host):
        raise LabError(
            f"{host.name} is off",
            fix=f"switch it on: failoverctl lab power-on {host.name}",
            exit_code=ExitCode.UNREACHABLE,
        )
    if cgroup.frozen(host.group):
        raise LabError(
            f"{host.name} is frozen: the command would not run",
            fix=f"failoverctl lab thaw {host.name}",
            exit_code=ExitCode.UNREACHABLE,
        )
    pid = cgroup.first_process(host.group)
    if pid is None:
        raise LabError(
            f"{host.name} is just starting or stopping",
            fix="try again in a moment",
            exit_code=ExitCode.UNREACHABLE,
        )
    inside = host.group / "exec"
    inside.mkdir(exist_ok=True)
    environment = [*_ENVIRONMENT, f"TERM={os.environ.get('TERM', 'dumb')}"]
    entry = [*_entry(pid), "env", "--ignore-environment", "--chdir=/root", *environment]
    wanted = list(argv)
    if terminal:
        wanted = ["script", "--quiet", "--return", "--command", shlex.join(argv), "/dev/null"]
    return ["sh", "-c", _JOIN_SCRIPT, "join", str(inside), *entry, *wanted]


def _entry(pid: int) -> list[str]:
    spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
    return ["nsenter", f"--target={pid}", *spaces, "--no-fork", "--", "sh", "-c", _ENTER_SCRIPT, "enter"]


def _systemd_state(pid: int) -> str:
    argv = [*_entry(pid), "systemctl", "is-system-running"]
    done = run(argv, check=False, timeout_seconds=30.0)
    return done.stdout.strip() or "systemd does not answer"


def _tail(console: Path) -> str:
    try:
        lines = console.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(line.rstrip() for line in lines[-8:])
