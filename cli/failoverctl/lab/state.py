"""What is on disk about a lab, so that any later command can finish it or take it down."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import TextIO

from failoverctl.errors import ExitCode
from failoverctl.lab.errors import LabError

ROOT = Path("/var/lib/failoverctl-lab")
DEFAULT_NAME = "failover"
DEFAULT_LAYOUT = "small"
DEFAULT_RELEASE = "trixie"
DEFAULT_NETWORK = IPv4Network("198.51.100.0/26")
_NAME = re.compile(r"^[a-z][a-z0-9-]{0,15}$")
_LOCK_WAIT_SECONDS = 1500.0  # longer than a base may take to build

Say = Callable[[str], None]


@dataclass(frozen=True)
class Cut:
    """A cut: all links of `a`; or what `a` and `b` send each other; or only what `a` sends `b`."""

    a: str
    b: str | None = None
    one_way: bool = False

    def __str__(self) -> str:
        """Return the cut as `status` shows it."""
        if self.b is None:
            return f"{self.a} from everything"
        return f"{self.a} {'to' if self.one_way else 'and'} {self.b}"


@dataclass(frozen=True)
class State:
    """What a lab was asked to be; what really runs is read from the kernel.

    `tree` is the shared tree the hosts' disks lie on, empty until it is chosen; `off` are the hosts
    switched off on purpose: `up` does not switch them on again.
    """

    name: str
    layout: str
    release: str
    network: IPv4Network
    tree: str = ""
    off: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()

    def with_off(self, host: str, off: bool) -> State:
        """Return the state with `host` switched off or on."""
        others = tuple(h for h in self.off if h != host)
        return replace(self, off=(*others, host) if off else others)


@dataclass(frozen=True)
class Paths:
    """Where a lab keeps its files. Everything is below `root`."""

    root: Path
    name: str

    @property
    def labs(self) -> Path:
        """The folder with one folder for each lab."""
        return self.root / "labs"

    @property
    def folder(self) -> Path:
        """The lab's own folder; `down` removes it."""
        return self.labs / self.name

    @property
    def state(self) -> Path:
        """What the lab was asked to be; the first file written and the last one removed."""
        return self.folder / "state.json"

    @property
    def secrets(self) -> Path:
        """The generated passwords, mode 0600."""
        return self.folder / "secrets.json"

    @property
    def key(self) -> Path:
        """The private ssh key that root of every host accepts."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' ssh host keys."""
        return self.folder / "known_hosts"

    @property
    def sockets(self) -> Path:
        """Control sockets of shared ssh connections; short, since a socket path has 107 bytes."""
        return self.folder / "ssh"

    @property
    def archives(self) -> Path:
        """The package cache of this lab, a read-only layer of every host (hard links)."""
        return self.folder / "archives"

    def host(self, host: str) -> Path:
        """The folder of one host: its disk and its console."""
        return self.folder / "hosts" / host

    def console(self, host: str) -> Path:
        """What the host wrote on its console, all boots."""
        return self.host(host) / "console.log"

    def base(self, release: str) -> Path:
        """The folder of a release: the tree all hosts share and the package cache."""
        return self.root / "bases" / release


def check_name(name: str) -> str:
    """Return `name` when it can name a lab.

    :raises LabError: it cannot; 16 characters keep socket paths under the kernel's limit.
    """
    if not _NAME.match(name):
        raise LabError(
            f"{name!r} cannot name a lab",
            fix="use up to 16 lower-case letters, digits and hyphens, a letter first",
        )
    return name


def tag(name: str) -> str:
    """Return the lab's part of interface names: at most 8 characters, unique for each lab."""
    if len(name) <= 8:
        return name
    return name[:4] + hashlib.sha256(name.encode()).hexdigest()[:4]


def read_state(paths: Paths) -> State | None:
    """Return the state on disk, or None when the lab does not exist.

    :raises LabError: the file is there but cannot be understood.
    """
    try:
        data = json.loads(paths.state.read_text(encoding="utf-8"))
        if data["schema"] != 1:
            raise ValueError(f"schema {data['schema']}")
        return State(
            name=data["name"],
            layout=data["layout"],
            release=data["release"],
            network=IPv4Network(data["network"]),
            tree=data["tree"],
            off=tuple(data["off"]),
            cuts=tuple(Cut(**cut) for cut in data["cuts"]),
        )
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(
            f"{paths.state} cannot be understood: {error}",
            fix=f"take the lab down: failoverctl lab --name {paths.name} down",
        ) from error


def write_state(paths: Paths, state: State) -> None:
    """Put `state` on disk, whole or not at all."""
    data = {
        "schema": 1,
        "name": state.name,
        "layout": state.layout,
        "release": state.release,
        "network": str(state.network),
        "tree": state.tree,
        "off": list(state.off),
        "cuts": [asdict(cut) for cut in state.cuts],
    }
    write_file(paths.state, json.dumps(data, indent=2) + "\n")


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Put `text` into `path` with `mode`, whole or not at all, on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def is_locked(path: Path) -> bool:
    """Say whether a living process holds the lock file `path`."""
    if not path.exists():
        return False
    with path.open("a", encoding="utf-8") as file:
        return not _take(file)


@contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock file `path`; the kernel releases it when the process dies, however it dies.

    :raises LabError: another process held it for 25 minutes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    told = False
    while True:
        with path.open("a", encoding="utf-8") as file:
            if _take(file) and _is_file_at(file, path):
                yield
                return
        if not told:
            say(f"waiting for another lab command (lock {path})")
            told = True
        if time.monotonic() > deadline:
            raise LabError(
                f"another command held {path} for {_LOCK_WAIT_SECONDS:g} s",
                fix=f"see who: fuser -v {path}",
                exit_code=ExitCode.LOCKED,
            )
        time.sleep(0.1)


def _take(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_at(file: TextIO, path: Path) -> bool:
    """Say whether `path` is still that file; who takes a lab down removes its lock."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
