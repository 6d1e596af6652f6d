# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The data directory: whose it is, how a replica gets its first copy, and what is kept before anything is discarded.

A copy is made by mariadb-backup on the primary and streamed to the replica through the agents' mutual TLS, so hosts
need no ssh keys for each other. The old directory is moved aside and kept until the next one is. Where the disk has no
room for both, nothing is done unless it is said to be worthless.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from failover_agent.config import Config
from failover_agent.host import HostError, run

_log = logging.getLogger("failover-agent.seed")
_CHUNK = 256 * 1024
#: At most this much of the binary log is copied aside (bytes).
_TAIL_LIMIT = 1024**3
#: So many copies are kept.
_TAILS = 5
#: What a copy needs beyond its size (redo log, binary log), as a share of it, and in bytes at least.
_SPARE_SHARE = 0.1
_SPARE = 256 * 1024**2


class SeedError(Exception):
    """The copy was not made; the text says why and where the old directory is."""


class DataDirectory:
    """The data directory of the local MariaDB and the note in the agent's state that says whose it is."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._path = Path(config.database_directory)
        self._state = Path(config.state_directory)
        self._note = self._state / "database.json"

    @property
    def seeded(self) -> bool:
        """Whether the directory belongs to this estate and its seeding, if it was seeded, came to its end."""
        note = self._read_note()
        ours = note.get("estate") == self._config.estate and bool(note.get("finished", True))
        return ours and (self._path / "ibdata1").exists()

    @property
    def half_seeded(self) -> bool:
        """Whether a copy was put here that was never made ready, or nothing at all: it holds nothing of its own."""
        if not self._path.exists():
            return True  # The agent died between moving the old directory away and putting the new one there.
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

    def _write_note(self, origin: str, *, finished: bool) -> None:
        note = {"estate": self._config.estate, "origin": origin, "at": _utc(), "finished": finished}
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps(note) + "\n", encoding="utf-8")
        fresh.rename(self._note)

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

    def aside(self) -> list[Path]:
        """Directories that earlier copies replaced, oldest first."""
        return sorted(self._path.parent.glob(f"{self._path.name}.before-seed-*"))

    def replace(
        self, fetch: Callable[[], Iterator[bytes]], origin: str, *, size: int = 0, worthless: bool = False
    ) -> str:
        """Put a streamed copy in the place of the directory; the GTID position of the copy.

        The database must be stopped. The old directory is renamed with the ending ``.before-seed-<UTC>``, unless it is
        a copy that was never made ready; those of earlier copies are then deleted. The copy counts as seeded only after
        :meth:`adopt`, when the server has been told its position.

        ``size`` is how many bytes are to be copied; without it the present size is taken for it. ``worthless`` allows
        to delete the present directory first when the disk has no room for both: only when all that it alone held was
        saved, and the host was told to come back by itself.

        :raises SeedError: there is no room, the stream broke or the copy could not be prepared. The old directory is
            then untouched, unless it had to be deleted for room; the text says which.
        """
        for leftover in self._path.parent.glob(f".{self._path.name}.seed-*"):
            shutil.rmtree(leftover, ignore_errors=True)  # Of an agent that died in the middle.
        self._see_to_directory()
        emptied = self._make_room(size, worthless=worthless)
        work = Path(tempfile.mkdtemp(prefix=f".{self._path.name}.seed-", dir=self._path.parent))
        try:
            owner = self._path.stat()
            _unpack(fetch(), work)
            run(["mariadb-backup", "--prepare", f"--target-dir={work}"], timeout=3600.0)
            position = _backup_position(work)
            for path in (work, *work.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid)
            work.chmod(owner.st_mode & 0o7777)
        except Exception as error:
            shutil.rmtree(work, ignore_errors=True)
            state = "was emptied to make room" if emptied else "is untouched"
            raise SeedError(f"no copy was made: {error}; {self._path} {state}") from error
        older = self.aside()[:-1]
        if self.half_seeded:
            shutil.rmtree(self._path)
            _log.info("an earlier copy that was never made ready is gone")
        else:
            older = self.aside()
            aside = self._path.with_name(f"{self._path.name}.before-seed-{_stamp()}")
            self._note.unlink(missing_ok=True)
            self._path.rename(aside)
            _log.info("the old directory is %s", aside)
        work.rename(self._path)
        self._write_note(origin, finished=False)
        for path in older:
            shutil.rmtree(path, ignore_errors=True)
            _log.info("%s is gone: one old directory is kept", path)
        _log.info("copied from %s at %s", origin, position or "no position")
        return position

    def _see_to_directory(self) -> None:
        """Make the directory, empty, where it is missing; it belongs to whom the last one belonged."""
        if self._path.exists():
            return
        if not self.aside():
            raise SeedError(f"no copy was made: No such file or directory: {self._path}")
        model = self.aside()[-1].stat()
        self._write_note("nothing", finished=False)
        self._path.mkdir(mode=model.st_mode & 0o7777)
        os.chown(self._path, model.st_uid, model.st_gid)

    def _make_room(self, size: int, *, worthless: bool) -> bool:
        """See to it that a copy fits; whether the present directory had to be emptied for that.

        Directories put aside earlier go first: what only they held was saved when they were replaced.

        :raises SeedError: it does not fit, and the present directory must stay.
        """
        if not size:
            size = _bytes_of(self._path)
        needed = size + max(_SPARE, int(size * _SPARE_SHARE))
        for path in self.aside():
            if _free(self._path) >= needed:
                return False
            shutil.rmtree(path, ignore_errors=True)
            _log.warning("%s is gone: the disk has no room for a copy otherwise", path)
        free = _free(self._path)
        if free >= needed:
            return False
        own = _bytes_of(self._path)
        if not (worthless or self.half_seeded) or free + own < needed:
            raise SeedError(
                f"no copy was made: the disk has no room for {needed >> 20} MiB beside {self._path}:"
                f" {free >> 20} MiB are free, the old directory takes {own >> 20} MiB"
            )
        _log.warning("%s is emptied: the disk has no room for a copy beside it", self._path)
        # From here on it is a copy that was never made ready, also for an agent that starts in the middle.
        self._write_note("nothing", finished=False)
        for path in self._path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return True


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


def _bytes_of(directory: Path) -> int:
    """What the files below a directory take on the disk."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def _free(path: Path) -> int:
    return shutil.disk_usage(path.parent).free


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
