# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The data directory: whose it is, how a replica gets its first copy, and what is kept before anything is discarded.

A copy is made by mariadb-backup on the primary and streamed to the replica through the agents' mutual TLS, so hosts
need no ssh keys for each other. What the directory held is moved aside and kept until the next copy is made. Where the
disk has no room for both, nothing is done unless it is said to be worthless.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from failover_agent.config import Config
from failover_agent.host import HostError, run, sync

_log = logging.getLogger("failover-agent.seed")
_CHUNK = 256 * 1024
#: At most this much of the binary log is copied aside (bytes).
_TAIL_LIMIT = 1024**3
#: So many copies are kept.
_TAILS = 5
#: What a copy needs beyond its size (redo log, binary log), as a share of it, and in bytes at least.
_SPARE_SHARE = 0.1
_SPARE = 256 * 1024**2
#: The agent's own folder in a data directory; MariaDB is told that it is no database (``ignore_db_dirs``).
OWN = ".failover"
#: What is no part of a database and stays where it is: ``lost+found`` belongs to the file system.
STAYS = frozenset({OWN, "lost+found"})
_ASIDE = "before-seed-"
_WORK = "seed-"


class SeedError(Exception):
    """The copy was not made; the text says why and where the old directory is."""


class DataDirectory:
    """The data directory of the local MariaDB and the note in the agent's state that says whose it is.

    The directory itself stays: it may be a mount point, which cannot be renamed. What it holds changes places, entry by
    entry, and the note says beforehand what is being done, so that the next agent can go on where this one died.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._state = Path(config.state_directory)
        self._note = self._state / "database.json"

    @property
    def _path(self) -> Path:
        return Path(self._config.database_directory).resolve()

    @property
    def seeded(self) -> bool:
        """Whether the directory belongs to this estate and its seeding, if it was seeded, came to its end."""
        note = self._read_note()
        ours = note.get("estate") == self._config.estate and bool(note.get("finished", True))
        return ours and (self._path / "ibdata1").exists()

    @property
    def half_seeded(self) -> bool:
        """Whether a copy was put here that was never made ready, or was about to be: another one has to be made.

        Nothing here is this host's own then, or the note says to where it was being moved.
        """
        note = self._read_note()
        return note.get("estate") == self._config.estate and not note.get("finished", True)

    def adopt(self, origin: str) -> None:
        """Note that the directory is this estate's; ``origin`` says where the data came from."""
        self._write_note(origin, finished=True)

    def _read_note(self) -> dict[str, Any]:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _write_note(self, origin: str, *, finished: bool, aside: str = "") -> None:
        """``aside`` is the name of the directory that what this one holds is being moved to."""
        note = {"estate": self._config.estate, "origin": origin, "at": _utc(), "finished": finished}
        note["mounted"] = self._path.is_mount()
        if aside:
            note["aside"] = aside
        self._put_note(note)

    def _put_note(self, note: dict[str, Any]) -> None:
        """Keep a note, also over a power loss: what it tells about is done after it, and on another disk maybe."""
        if not note:
            self._note.unlink(missing_ok=True)
            return
        fresh = self._note.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._note)
        sync(self._state)

    def keep_binlog_tail(self) -> Path | None:
        """Copy the newest binary log aside before a start that may truncate it; the copy, or None if there is none.

        The last few copies are kept.

        :raises HostError: there is no room for it.
        """
        index = next(iter(sorted(self._path.glob("*-bin.index"))), None)
        if index is None:
            return None
        names = [line.strip() for line in index.read_text(encoding="utf-8").splitlines() if line.strip()]
        newest = self._path / Path(names[-1]).name if names else None
        if newest is None or not newest.exists() or newest.stat().st_size > _TAIL_LIMIT:
            return None
        target = self._state / "binlog-tails" / f"{_stamp()}-{newest.name}"
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy2(newest, target)
        except OSError as error:
            with contextlib.suppress(OSError):
                target.unlink()
            raise HostError(f"the newest binary log could not be kept: {error}") from error
        for old in sorted(target.parent.iterdir())[:-_TAILS]:
            old.unlink()
        return target

    def copy_bytes(self) -> int:
        """How many bytes a copy of the running server takes: all but its logs of changes and its temporary tables."""
        logs = re.compile(r".*-(bin|relay)\.\d{6,}|ibtmp\d+")
        return _bytes_of(self._path, lambda name: not logs.fullmatch(name))

    def aside(self) -> list[Path]:
        """Directories that hold what earlier copies replaced, oldest first."""
        return sorted((self._path / OWN).glob(f"{_ASIDE}*"))

    def replace(
        self, fetch: Callable[[], Iterator[bytes]], origin: str, *, size: int = 0, worthless: bool = False
    ) -> str:
        """Put a streamed copy in the place of what the directory holds; the GTID position of the copy.

        The database must be stopped. What the directory held is moved to ``.failover/before-seed-<UTC>`` within it: of
        that place alone it is certain that it is on the same mount. A copy that was never made ready is deleted
        instead; and so are, in the end, the directories that earlier copies replaced. The copy counts as seeded only
        after :meth:`adopt`, when the server has been told its position.

        ``size`` is how many bytes are to be copied; without it the present size is taken for it. ``worthless`` allows
        to delete what this host holds first when the disk has no room for both: only when all that it alone held was
        saved, and the host was told to come back by itself.

        :raises SeedError: there is no room, the stream broke or the copy could not be prepared. The directory is
            then untouched, unless it had to be emptied for room; the text says which.
        """
        try:
            self._see_to_disk()
            self._tidy()
            emptied = self._make_room(size, worthless=worthless)
        except OSError as error:
            raise SeedError(f"no copy was made: {error}") from error
        before = self._read_note()
        try:
            work = Path(tempfile.mkdtemp(prefix=_WORK, dir=self._own()))
            _unpack(fetch(), work)
            run(["mariadb-backup", "--prepare", f"--target-dir={work}"], timeout=3600.0)
            position = _backup_position(work)
            owner = self._path.stat()
            for path in work.rglob("*"):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
            run(["sync", "--file-system", str(work)], timeout=3600.0)
            self._put_aside(origin)
            _move(work, self._path)
        except Exception as error:
            state = "is untouched" if self._read_note() == before else "holds no whole copy"
            if emptied:
                state = "was emptied to make room"
            raise SeedError(f"no copy was made: {error}; {self._path} {state}") from error
        finally:
            self._clear_work()
        for path in self.aside()[:-1]:
            clear([path])
            _log.info("%s is gone: one old directory is kept", path)
        _log.info("copied from %s at %s", origin, position or "no position")
        return position

    def _see_to_disk(self) -> None:
        """See to it that the directory is the one that was there when the note was written.

        :raises SeedError: its disk is not mounted; a copy would fill another one.
        """
        if not self._path.is_dir():
            raise SeedError(f"no copy was made: No such file or directory: {self._path}")
        if self._read_note().get("mounted") and not self._path.is_mount():
            raise SeedError(f"no copy was made: {self._path} had a disk of its own, which is not mounted")

    def _tidy(self) -> None:
        """Clear what an agent left behind that died in the middle, and bring to its end what it began."""
        self._clear_work()
        note = self._read_note()
        if self.half_seeded and note.get("aside"):
            self._finish_aside(str(note["origin"]), str(note["aside"]))

    def leftovers(self) -> list[Path]:
        """Copies that an agent was making when it died."""
        return sorted((self._path / OWN).glob(f"{_WORK}*"))

    def _clear_work(self) -> None:
        clear(self.leftovers())
        with contextlib.suppress(OSError):
            (self._path / OWN).rmdir()

    def _own(self) -> Path:
        own = self._path / OWN
        own.mkdir(mode=0o700, exist_ok=True)
        return own

    def _put_aside(self, origin: str) -> None:
        """Empty the directory, so that a copy can take its place: from here on it is half seeded."""
        if self.half_seeded or not _contents(self._path):
            self._empty(origin)
            return
        before, name = self._read_note(), f"{_ASIDE}{_stamp()}"
        aside = self._own() / name
        if aside.exists():
            raise HostError(f"{aside} is in the way")
        self._write_note(origin, finished=False, aside=name)
        try:
            self._finish_aside(origin, name)
        except OSError:
            if aside.exists():
                _move(aside, self._path)
                aside.rmdir()
            self._put_note(before)
            raise

    def _finish_aside(self, origin: str, name: str) -> None:
        aside, model = self._own() / name, self._path.stat()
        aside.mkdir(exist_ok=True)
        os.chown(aside, model.st_uid, model.st_gid)
        aside.chmod(model.st_mode & 0o7777)
        sync(aside.parent)
        _move(self._path, aside)
        self._write_note(origin, finished=False)
        _log.info("what %s held is in %s", self._path, aside)

    def _empty(self, origin: str) -> None:
        # From here on it is a copy that was never made ready, also for an agent that starts in the middle.
        self._write_note(origin, finished=False)
        for path in _contents(self._path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _make_room(self, size: int, *, worthless: bool) -> bool:
        """See to it that a copy fits; whether the present directory had to be emptied for that.

        What was put aside goes first: it was replaced by a whole copy. Where that was never made ready, it goes itself,
        and what this host held last stays.

        :raises SeedError: it does not fit even so, and then nothing was deleted.
        """
        size = size or _bytes_of(self._path)
        needed = size + max(_SPARE, int(size * _SPARE_SHARE))
        free = _free(self._path)
        if free >= needed:
            return False
        own = (self._path, _bytes_of(self._path))
        old = [(path, _bytes_of(path)) for path in self.aside()]
        may_go = [*old, own] if worthless else old
        if self.half_seeded:
            may_go = [own, *old] if worthless else [own, *old[:-1]]
        if free + sum(taken for _path, taken in may_go) < needed:
            raise SeedError(
                f"no copy was made: the disk has no room for {needed >> 20} MiB beside {self._path}:"
                f" {free >> 20} MiB are free, the old directory takes {own[1] >> 20} MiB"
            )
        emptied = False
        for path, _taken in may_go:
            if _free(self._path) >= needed:
                break
            if path == self._path:
                _log.warning("%s is emptied: the disk has no room for a copy beside it", path)
                self._empty("nothing")
                emptied = True
            else:
                clear([path])
                _log.warning("%s is gone: the disk has no room for a copy otherwise", path)
        if _free(self._path) < needed:
            raise SeedError(f"no copy was made: there is still no room for {needed >> 20} MiB in {self._path}")
        return emptied


def clear(copies: Iterable[Path]) -> None:
    """Delete copies, as far as that is possible."""
    for path in copies:
        shutil.rmtree(path, ignore_errors=True)


def stream_backup(client_options: Sequence[str]) -> Iterator[bytes]:
    """A consistent copy of the running server as mbstream chunks; ``client_options`` say how it is reached.

    :raises SeedError: mariadb-backup failed; what was yielded before is then useless.
    """
    with (
        tempfile.TemporaryDirectory(prefix="failover-seed-") as scratch,
        tempfile.TemporaryFile() as log,
    ):
        process = subprocess.Popen(
            [
                "mariadb-backup",
                "--backup",
                "--stream=mbstream",
                *client_options,
                f"--target-dir={scratch}",
            ],
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            while chunk := process.stdout.read(_CHUNK):
                yield chunk
            if process.wait(timeout=60.0) != 0:
                log.seek(0)
                raise SeedError(
                    f"mariadb-backup ended with {process.returncode}: {log.read()[-500:].decode(errors='replace')}"
                )
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _unpack(chunks: Iterator[bytes], target: Path) -> None:
    process = subprocess.Popen(["mbstream", "-x", "-C", str(target)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            for chunk in chunks:
                process.stdin.write(chunk)
    except BaseException:
        process.kill()
        process.wait()
        raise
    errors = process.communicate()[1]
    if process.returncode != 0:
        raise SeedError(f"mbstream ended with {process.returncode}: {errors[-300:].decode(errors='replace')}")


def _backup_position(directory: Path) -> str:
    """The GTID position that mariadb-backup noted (its file name changed in 11.1)."""
    for name in ("mariadb_backup_binlog_info", "xtrabackup_binlog_info"):
        path = directory / name
        if path.exists():
            words = path.read_text(encoding="utf-8").split()
            return words[2] if len(words) > 2 else ""
    raise SeedError("the copy holds no binlog position")


def _contents(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.name not in STAYS)


def _move(source: Path, target: Path) -> None:
    """Move what is in one directory to another of the same mount; never over something.

    :raises OSError: it cannot be done, or only a part of it.
    """
    for path in _contents(source):
        if os.path.lexists(target / path.name):
            raise FileExistsError(errno.EEXIST, "in the way", str(target / path.name))
        path.rename(target / path.name)
    sync(target)
    sync(source)


def _bytes_of(directory: Path, wanted: Callable[[str], bool] = lambda _name: True) -> int:
    """What the files of a database take on the disk; ``wanted`` chooses by the name of what is in the directory."""
    total = 0
    for entry in _contents(directory):
        if wanted(entry.name):
            for path in (entry, *entry.rglob("*")):
                with contextlib.suppress(OSError):
                    total += path.lstat().st_blocks * 512
    return total


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
