# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare a set of files, directories and links with a host, and land the difference.

PRIVATE to the collection. ``read_state`` looks, ``decide_changes`` judges and knows no I/O,
``apply_change`` writes.
Every write is atomic: a sibling with a leading dot is written, synced, given its owner and mode,
and renamed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

_OWNER: dict[str, Any] = {
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
ARGUMENT_SPEC: dict[str, Any] = {
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "src": {"type": "str"},
            "file": {"type": "str"},
            "content": {"type": "str"},
            "variables": {"type": "dict"},
            "dest": {"type": "str", "required": True},
            "mode": {"type": "str", "default": "0644"},
            "validate": {"type": "str"},
            "secret": {"type": "bool", "default": False},
            "block": {"type": "bool", "default": False},
            **_OWNER,
        },
        "mutually_exclusive": [("src", "file", "content")],
    },
    "trees": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "src": {"type": "str", "required": True},
            "dest": {"type": "str", "required": True},
            "mode": {"type": "str", "default": "0644"},
            "directory_mode": {"type": "str", "default": "0755"},
            **_OWNER,
        },
    },
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "mode": {"type": "str", "default": "0755"},
            "prune": {"type": "str"},
            **_OWNER,
        },
    },
    "links": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "target": {"type": "str", "required": True},
        },
    },
    "absent": {"type": "list", "elements": "str", "default": []},
    "verify": {"type": "list", "elements": "str", "default": []},
    "contents": {"type": "str", "no_log": True},
}

Kind = Literal["absent", "file", "directory", "link", "other"]


class ConfigFilesError(Exception):
    """The wanted state contradicts itself or the host; the text says where and what to do."""


@dataclass(frozen=True)
class PathState:
    """What is at a path. ``content`` is set for files only, ``target`` for links only."""

    kind: Kind
    content: bytes | None = None
    target: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class WantedFile:
    """A regular file. ``uid`` and ``gid`` are None where the account does not exist (yet)."""

    path: str
    content: bytes
    mode: int
    uid: int | None
    gid: int | None


@dataclass(frozen=True)
class WantedDirectory:
    """A directory. Files and links in it that match ``prune`` and are not wanted are removed."""

    path: str
    mode: int
    uid: int | None
    gid: int | None
    prune: str | None = None


@dataclass(frozen=True)
class WantedLink:
    """A symbolic link."""

    path: str
    target: str


@dataclass(frozen=True)
class Wanted:
    """The whole set of one task. ``absent`` names files or links, never directories."""

    directories: tuple[WantedDirectory, ...] = ()
    files: tuple[WantedFile, ...] = ()
    links: tuple[WantedLink, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One difference: the path, what to write there (None removes it), and what differs."""

    path: str
    want: WantedDirectory | WantedFile | WantedLink | None
    before: PathState
    reasons: tuple[str, ...]


def find_uid(name: str) -> int | None:
    """Return the user id of an account, or None if the host does not know it."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def find_gid(name: str) -> int | None:
    """Return the group id of a group, or None if the host does not know it."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def parse_mode(text: str) -> int:
    """Return the permission bits of an octal string such as ``0640``.

    Raises ``ConfigFilesError`` for anything else; symbolic modes depend on what is there and are
    refused.
    """
    try:
        mode = int(text, 8)
    except ValueError:
        raise ConfigFilesError(f"mode {text!r} is not octal; write it quoted, for example '0640'") from None
    if not 0 <= mode <= 0o7777:
        raise ConfigFilesError(f"mode {text!r} is out of range; write it quoted, for example '0640'")
    return mode


def read_state(path: str) -> PathState:
    """Return what is at ``path`` without following a final symbolic link."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return PathState("absent")
    other = PathState("other", mode=stat.S_IMODE(found.st_mode), uid=found.st_uid, gid=found.st_gid)
    if stat.S_ISLNK(found.st_mode):
        return replace(other, kind="link", target=str(Path(path).readlink()))
    if stat.S_ISDIR(found.st_mode):
        return replace(other, kind="directory")
    if stat.S_ISREG(found.st_mode):
        return replace(other, kind="file", content=Path(path).read_bytes())
    return other


def read_names(directory: str) -> tuple[str, ...]:
    """Return the sorted names of files and links directly in a directory, none if it is missing."""
    try:
        entries = [entry.name for entry in os.scandir(directory) if not entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(sorted(entries))


def merge_block(before: bytes, content: bytes) -> bytes:
    """Return ``before`` with ``content`` between two marker lines, the rest as it was.

    A block that is there is replaced in place, otherwise the new one goes to the end.
    """
    begin, end = (f"# {word} hosting.failover\n".encode() for word in ("BEGIN", "END"))
    block = begin + content.rstrip(b"\n") + b"\n" + end
    start = before.find(begin)
    stop = before.find(end, start)
    if start >= 0 and stop >= 0:
        return before[:start] + block + before[stop + len(end) :]
    separator = b"" if before.endswith(b"\n") or not before else b"\n"
    return before + separator + block


def decide_prunes(wanted: Wanted, names: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return the paths that the ``prune`` patterns remove.

    ``names`` maps a directory to what it holds.
    """
    keep = set(list_paths(wanted))
    return tuple(
        path
        for directory in wanted.directories
        if directory.prune is not None
        for name in sorted(names.get(directory.path, ()))
        if fnmatch.fnmatchcase(name, directory.prune) and (path := f"{directory.path}/{name}") not in keep
    )


def list_paths(wanted: Wanted) -> tuple[str, ...]:
    """Return every path that the set names."""
    return (
        *(item.path for item in wanted.directories),
        *(item.path for item in wanted.files),
        *(item.path for item in wanted.links),
        *wanted.absent,
    )


def check_wanted(wanted: Wanted) -> None:
    """Raise ``ConfigFilesError`` where the set contradicts itself or holds a relative path."""
    seen: set[str] = set()
    for path in list_paths(wanted):
        if not path.startswith("/") or path.startswith("//") or path != os.path.normpath(path):
            raise ConfigFilesError(f"{path!r} is not a plain absolute path")
        if path in seen:
            raise ConfigFilesError(f"{path} is given twice in one task; give each path once")
        seen.add(path)


def _attribute_reasons(want: WantedDirectory | WantedFile, state: PathState) -> tuple[str, ...]:
    pairs = (
        ("mode", want.mode, state.mode),
        ("owner", want.uid, state.uid),
        ("group", want.gid, state.gid),
    )
    return tuple(name for name, wish, found in pairs if wish != found)


def decide_changes(wanted: Wanted, states: Mapping[str, PathState]) -> tuple[Change, ...]:
    """Return what has to change, in the order of applying: directories, files, links, removals.

    ``states`` holds the state of every path named in ``wanted``.
    Raises ``ConfigFilesError`` where a directory stands in the place of a file, or the reverse:
    neither is removed.
    """
    changes: list[Change] = []
    for directory in wanted.directories:
        state = states[directory.path]
        if state.kind not in ("absent", "directory"):
            raise ConfigFilesError(f"{directory.path} should be a directory but is a {state.kind}; remove it first")
        if state.kind == "absent":
            changes.append(Change(directory.path, directory, state, ("created",)))
        elif reasons := _attribute_reasons(directory, state):
            changes.append(Change(directory.path, directory, state, reasons))
    for file in wanted.files:
        state = states[file.path]
        if state.kind in ("directory", "other"):
            raise ConfigFilesError(f"{file.path} should be a file but is a {state.kind}; remove it first")
        if state.kind == "absent":
            changes.append(Change(file.path, file, state, ("created",)))
        elif state.kind == "link":
            changes.append(Change(file.path, file, state, ("link replaced",)))
        else:
            differs = () if state.content == file.content else ("content",)
            if reasons := (*differs, *_attribute_reasons(file, state)):
                changes.append(Change(file.path, file, state, reasons))
    for link in wanted.links:
        state = states[link.path]
        if state.kind in ("directory", "other"):
            raise ConfigFilesError(f"{link.path} should be a link but is a {state.kind}; remove it first")
        if state.kind != "link" or state.target != link.target:
            changes.append(Change(link.path, link, state, ("created" if state.kind == "absent" else "target",)))
    for path in wanted.absent:
        state = states[path]
        if state.kind == "directory":
            raise ConfigFilesError(f"{path} should be absent but is a directory; this module removes only files")
        if state.kind != "absent":
            changes.append(Change(path, None, state, ("removed",)))
    return tuple(changes)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
    """Replace ``path`` atomically.

    At no moment is the content readable with other rights than the final ones.
    """
    target = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".failover-new", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    _sync_directory(target.parent)


def _write_link(path: str, target: str) -> None:
    place = Path(path)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", suffix=".failover-new", dir=place.parent) as folder:
        temporary = Path(folder) / "link"
        temporary.symlink_to(target)
        temporary.replace(place)


def apply_change(change: Change) -> None:
    """Carry out one change.

    Raises ``ConfigFilesError`` when an owner or a parent directory is missing.
    """
    want = change.want
    if want is None:
        Path(change.path).unlink(missing_ok=True)
        return
    if isinstance(want, WantedDirectory):
        _make_directory(Path(want.path))
        uid, gid = _known_owner(want)
        os.chown(want.path, uid, gid)
        Path(want.path).chmod(want.mode)
        return
    if not Path(want.path).parent.is_dir():
        raise ConfigFilesError(f"{want.path}: its directory does not exist; list it under directories")
    if isinstance(want, WantedLink):
        _write_link(want.path, want.target)
        return
    uid, gid = _known_owner(want)
    if change.before.kind == "file" and "content" not in change.reasons:
        os.chown(want.path, uid, gid)
        Path(want.path).chmod(want.mode)
        return
    write_file(want.path, want.content, want.mode, uid, gid)


def _make_directory(path: Path) -> None:
    """Make a directory; missing parents get mode 0755, whatever the umask is."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir()
    path.chmod(0o755)


def _known_owner(want: WantedDirectory | WantedFile) -> tuple[int, int]:
    if want.uid is None or want.gid is None:
        missing = "owner" if want.uid is None else "group"
        raise ConfigFilesError(f"{want.path}: its {missing} does not exist on this host; install its package first")
    return want.uid, want.gid


def undo_change(change: Change) -> None:
    """Put back what ``change.before`` describes.

    A directory that was created stays if it is not empty.
    """
    before = change.before
    if before.kind == "absent":
        if isinstance(change.want, WantedDirectory):
            with contextlib.suppress(OSError):
                Path(change.path).rmdir()
        else:
            Path(change.path).unlink(missing_ok=True)
    elif before.kind == "link" and before.target is not None:
        _write_link(change.path, before.target)
    elif before.mode is not None and before.uid is not None and before.gid is not None:
        if before.content is not None:
            write_file(change.path, before.content, before.mode, before.uid, before.gid)
        else:
            os.chown(change.path, before.uid, before.gid)
            Path(change.path).chmod(before.mode)


def describe_state(state: PathState, *, secret: bool) -> str:
    """Return the text that ``--diff`` shows for a state.

    Attributes first, then the content unless it is secret.
    """
    if state.kind == "absent":
        return ""
    if state.kind == "link":
        return f"link to {state.target}\n"
    head = f"# {state.kind} mode={state.mode or 0:04o} uid={state.uid} gid={state.gid}\n"
    if state.content is None:
        return head
    if secret:
        return head + "(content hidden)\n"
    try:
        return head + state.content.decode("utf-8")
    except UnicodeDecodeError:
        return head + f"(binary, {len(state.content)} bytes)\n"


def describe_wanted(want: WantedDirectory | WantedFile | WantedLink | None) -> PathState:
    """Return the state in which a path is after its change."""
    if want is None:
        return PathState("absent")
    if isinstance(want, WantedLink):
        return PathState("link", target=want.target)
    if isinstance(want, WantedDirectory):
        return PathState("directory", mode=want.mode, uid=want.uid, gid=want.gid)
    return PathState("file", content=want.content, mode=want.mode, uid=want.uid, gid=want.gid)


def describe_change(change: Change, *, secret: bool) -> dict[str, str]:
    """Return one entry of Ansible's ``diff``."""
    return {
        "before_header": change.path,
        "after_header": change.path,
        "before": describe_state(change.before, secret=secret),
        "after": describe_state(describe_wanted(change.want), secret=secret),
    }
