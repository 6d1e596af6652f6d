# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Copies of a database: an old directory is never lost, and a broken copy is never taken for one."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from failover_agent.config import Config, Pki
from failover_agent.host import HostError
from failover_agent.peer import PeerError
from failover_agent.seed import DataDirectory, SeedError, clear, stream_backup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PKI = Pki("", "", "")
OPTIONS = ["--user=root", "--socket=/run/test.sock"]
#: Stands for mbstream: what comes in is a tar archive.
MBSTREAM = '#!/bin/sh\n[ "$1 $2" = "-x -C" ] || exit 9\nexec tar -x -C "$3" -f -\n'
#: Stands for mariadb-backup: --prepare leaves a mark, --backup streams the folder that COPY_FROM names.
MARIADB_BACKUP = """#!/bin/sh
echo "$@" >> "$CALLS"
for word; do case $word in --target-dir=*) target=${word#--target-dir=};; esac; done
case $1 in
--prepare) touch "$target/prepared" ;;
--backup) tar -c -C "$COPY_FROM" -f - . ; echo "[00] FATAL ERROR: out of luck" >&2; exit ${ENDS_WITH:-0} ;;
esac
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    data, state = tmp_path / "mysql", tmp_path / "state"
    data.mkdir(mode=0o750)
    state.mkdir()
    (data / "ibdata1").write_text("old", encoding="utf-8")
    return Config(
        "lab",
        "www2",
        {"www1": "198.51.100.11", "www2": "198.51.100.12"},
        (),
        PKI,
        PKI,
        database_directory=str(data),
        state_directory=str(state),
        database_socket="/run/test.sock",
    )


@pytest.fixture
def directory(config: Config) -> DataDirectory:
    return DataDirectory(config)


Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program on PATH."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # Whoever is killed leaves it there.
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def write(name: str, text: str) -> None:
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)

    write("mbstream", MBSTREAM)
    write("mariadb-backup", MARIADB_BACKUP)
    return write


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a primary has."""
    source = tmp_path / "primary"
    (source / "shop").mkdir(parents=True)
    (source / "ibdata1").write_text("new", encoding="utf-8")
    (source / "shop" / "orders.ibd").write_bytes(os.urandom(700_000))
    (source / "mariadb_backup_binlog_info").write_text("failover-bin.000003\t361\t0-1-5\n", encoding="utf-8")
    monkeypatch.setenv("COPY_FROM", str(source))
    return source


def own(config: Config) -> list[str]:
    """What is in the agent's own folder within the data directory; that one is gone when it is empty."""
    folder = Path(config.database_directory) / ".failover"
    assert sorted(path.name for path in folder.parent.parent.iterdir() if "mysql" in path.name) == ["mysql"]
    assert not folder.exists() or list(folder.iterdir())
    return sorted(path.name for path in folder.glob("*"))


def text(path: Path) -> str:
    """What is in a file."""
    return path.read_text(encoding="utf-8")


class TestWhose:
    """Whose a directory is."""

    def test_a_fresh_one_is_nobodys(self, directory: DataDirectory) -> None:
        assert not directory.seeded
        assert not directory.half_seeded

    def test_an_adopted_one_is_the_estates(self, directory: DataDirectory, config: Config) -> None:
        directory.adopt("adopted")
        assert directory.seeded
        note = json.loads((Path(config.state_directory) / "database.json").read_text(encoding="utf-8"))
        assert (note["estate"], note["origin"]) == ("lab", "adopted")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note["at"])

    def test_another_estates_is_not_ours(self, directory: DataDirectory, config: Config) -> None:
        directory.adopt("adopted")
        note = Path(config.state_directory) / "database.json"
        note.write_text(note.read_text(encoding="utf-8").replace('"lab"', '"other"'), encoding="utf-8")
        assert not directory.seeded

    def test_without_data_a_note_is_worth_nothing(self, directory: DataDirectory, config: Config) -> None:
        directory.adopt("adopted")
        (Path(config.database_directory) / "ibdata1").unlink()
        assert not directory.seeded

    @pytest.mark.parametrize("text", ["", "{", "[]", "null"])
    def test_a_spoilt_note_is_none(self, directory: DataDirectory, config: Config, text: str) -> None:
        (Path(config.state_directory) / "database.json").write_text(text, encoding="utf-8")
        assert not directory.seeded

    def test_the_note_of_an_earlier_agent_counts(self, directory: DataDirectory, config: Config) -> None:
        note = '{"estate": "lab", "origin": "www1", "at": "2026-11-23T05:16:00Z"}'
        (Path(config.state_directory) / "database.json").write_text(note, encoding="utf-8")
        assert directory.seeded


@pytest.mark.usefixtures("install", "copy")
class TestReplace:
    """A copy takes the place of a directory."""

    @staticmethod
    def fetch() -> Callable[[], Iterator[bytes]]:
        """The stream of the primary."""
        return lambda: stream_backup(OPTIONS)

    def test_the_copy_is_there_and_the_old_directory_beside_it(self, directory: DataDirectory, config: Config) -> None:
        assert directory.replace(self.fetch(), "www1") == "0-1-5"
        data = Path(config.database_directory)
        assert (data / "ibdata1").read_text(encoding="utf-8") == "new"
        assert (data / "shop" / "orders.ibd").stat().st_size == 700_000
        assert (data / "prepared").exists()
        assert data.stat().st_mode & 0o7777 == 0o750
        assert (data / "ibdata1").stat().st_uid == data.stat().st_uid
        (aside,) = own(config)
        assert re.fullmatch(r"before-seed-\d{8}T\d{6}Z", aside)
        (folder,) = directory.aside()
        assert folder == data / ".failover" / aside
        assert text(folder / "ibdata1") == "old"
        assert folder.stat().st_mode & 0o7777 == 0o750
        assert folder.parent.stat().st_mode & 0o7777 == 0o700

    def test_the_directory_itself_and_what_is_its_file_systems_stay(
        self, directory: DataDirectory, config: Config, copy: Path
    ) -> None:
        """A mount point cannot be renamed, and its lost+found belongs to fsck; mariadb-backup takes it for a schema."""
        data = Path(config.database_directory)
        (data / "lost+found").mkdir()
        (data / "lost+found" / "#12").touch()
        for folder in ("lost+found", ".failover"):
            (copy / folder).mkdir()
            (copy / folder / "db.opt").touch()
        number, lost = data.stat().st_ino, (data / "lost+found").stat().st_ino
        directory.replace(self.fetch(), "www1")
        assert data.stat().st_ino == number
        assert (data / "lost+found").stat().st_ino == lost
        assert [path.name for path in (data / "lost+found").iterdir()] == ["#12"]
        assert len(own(config)) == 1
        assert sorted(path.name for path in directory.aside()[0].iterdir()) == ["ibdata1"]

    def test_a_link_to_the_directory_is_followed(self, config: Config, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(config.database_directory)
        directory = DataDirectory(dataclasses.replace(config, database_directory=str(link)))
        directory.replace(self.fetch(), "www1")
        assert link.is_symlink()
        assert text(Path(config.database_directory) / "ibdata1") == "new"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
    @pytest.mark.parametrize("kind", ["tmpfs", "bind"])
    def test_a_mount_point(self, directory: DataDirectory, config: Config, tmp_path: Path, kind: str) -> None:
        data, disk = config.database_directory, tmp_path / "disk"
        disk.mkdir()
        mount = ["-t", "tmpfs", "none"] if kind == "tmpfs" else ["--bind", str(disk)]
        if subprocess.run(["mount", *mount, data], capture_output=True, check=False).returncode != 0:
            pytest.skip("this machine does not let us mount")
        try:
            (Path(data) / "ibdata1").write_text("old", encoding="utf-8")
            directory.adopt("adopted")
            for _number in range(2):
                directory.replace(self.fetch(), "www1", size=1)
                directory.adopt("www1")
                assert text(Path(data) / "ibdata1") == "new"
                (aside,) = directory.aside()
                assert (aside / "ibdata1").exists()
                aside.rename(aside.with_name("before-seed-20260101T000000Z"))
        finally:
            subprocess.run(["umount", data], check=True)
        assert text(Path(data) / "ibdata1") == "old", "below the mount nothing was changed"

    def test_a_disk_that_is_not_mounted_is_not_replaced_by_another(
        self, directory: DataDirectory, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as mounted:
            mounted.setattr(Path, "is_mount", lambda _path: True)
            directory.adopt("adopted")
        (Path(config.database_directory) / "ibdata1").unlink()
        with pytest.raises(SeedError, match="had a disk of its own, which is not mounted"):
            directory.replace(self.fetch(), "www1")
        assert own(config) == []

    def test_what_cannot_be_moved_is_put_back(
        self, directory: DataDirectory, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another mount within the directory, say."""
        directory.adopt("adopted")
        data = Path(config.database_directory)
        for name in ("aria_log_control", "shop"):
            (data / name).mkdir()
        rename = Path.rename

        def refuse(path: Path, target: Path) -> Path:
            if path == data / "shop":
                raise OSError(errno.EBUSY, "Device or resource busy", str(path))
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(SeedError, match=r"resource busy: .*/shop'; .*/mysql is untouched"):
            directory.replace(self.fetch(), "www1")
        assert sorted(path.name for path in data.iterdir()) == ["aria_log_control", "ibdata1", "shop"]
        assert text(data / "ibdata1") == "old"
        assert directory.seeded

    def test_a_copy_that_cannot_be_moved_in_is_made_again(
        self, directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory.adopt("adopted")
        rename = Path.rename

        def refuse(path: Path, target: Path) -> Path:
            if path.name == "prepared":
                raise OSError(errno.EIO, "Input/output error")
            return rename(path, target)

        with monkeypatch.context() as broken:
            broken.setattr(Path, "rename", refuse)
            with pytest.raises(SeedError, match="holds no whole copy"):
                directory.replace(self.fetch(), "www1")
        assert not directory.seeded
        assert directory.half_seeded
        directory.replace(self.fetch(), "www1")
        (aside,) = directory.aside()
        assert text(aside / "ibdata1") == "old"

    def test_nothing_is_written_over(self, directory: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        directory.adopt("adopted")
        monkeypatch.setattr("failover_agent.seed._stamp", lambda: "20261123T090114Z")
        directory.replace(self.fetch(), "www1")
        directory.adopt("www1")
        with pytest.raises(SeedError, match=r"before-seed-20261123T090114Z is in the way; .* is untouched"):
            directory.replace(self.fetch(), "www1")
        assert directory.seeded

    def test_it_counts_only_when_its_server_knows_its_position(self, directory: DataDirectory) -> None:
        directory.replace(self.fetch(), "www1")
        assert not directory.seeded
        assert directory.half_seeded
        directory.adopt("www1")
        assert directory.seeded
        assert not directory.half_seeded

    @pytest.mark.parametrize("error", [PeerError("www1 /stream/seed: the stream broke"), OSError("no space left")])
    def test_a_broken_stream_leaves_everything_as_it_was(
        self, directory: DataDirectory, config: Config, error: Exception
    ) -> None:
        directory.adopt("adopted")

        def fetch() -> Iterator[bytes]:
            yield next(stream_backup(OPTIONS))[:5000]
            raise error

        with pytest.raises(SeedError, match=rf"no copy was made: {error}; .*/mysql is untouched"):
            directory.replace(fetch, "www1")
        assert own(config) == [], "no leftovers"
        assert (Path(config.database_directory) / "ibdata1").read_text(encoding="utf-8") == "old"
        assert directory.seeded

    def test_a_stream_that_is_none_is_an_error(self, directory: DataDirectory, config: Config) -> None:
        with pytest.raises(SeedError, match="mbstream ended with"):
            directory.replace(lambda: iter([b"this is no archive" * 1000]), "www1")
        assert own(config) == []

    def test_an_mbstream_that_dies_is_an_error(
        self, directory: DataDirectory, config: Config, install: Install
    ) -> None:
        install("mbstream", "#!/bin/sh\necho 'mbstream: no space left on device' >&2\nexit 1\n")
        with pytest.raises(SeedError, match="no space left on device"):
            directory.replace(lambda: iter([b"x" * 100_000] * 50), "www1")
        assert own(config) == []

    def test_a_copy_that_cannot_be_prepared_is_an_error(
        self, directory: DataDirectory, config: Config, install: Install
    ) -> None:
        backup = MARIADB_BACKUP.replace('touch "$target/prepared"', "echo corrupt >&2; exit 1")
        install("mariadb-backup", backup)
        with pytest.raises(SeedError, match="ended with 1: corrupt"):
            directory.replace(self.fetch(), "www1")
        assert own(config) == []

    def test_a_copy_without_a_position_is_an_error(self, directory: DataDirectory, config: Config, copy: Path) -> None:
        (copy / "mariadb_backup_binlog_info").unlink()
        with pytest.raises(SeedError, match="no binlog position"):
            directory.replace(self.fetch(), "www1")
        assert own(config) == []

    def test_the_position_of_an_older_mariadb_backup(self, directory: DataDirectory, copy: Path) -> None:
        (copy / "mariadb_backup_binlog_info").rename(copy / "xtrabackup_binlog_info")
        assert directory.replace(self.fetch(), "www1") == "0-1-5"

    def test_a_primary_that_never_wrote_has_no_position(self, directory: DataDirectory, copy: Path) -> None:
        (copy / "mariadb_backup_binlog_info").write_text("failover-bin.000001\t330\t\n", encoding="utf-8")
        assert directory.replace(self.fetch(), "www1") == ""

    def test_what_a_dead_agent_left_behind_is_cleared(self, directory: DataDirectory, config: Config) -> None:
        (Path(config.database_directory) / ".failover" / "seed-dead").mkdir(parents=True)
        directory.replace(self.fetch(), "www1")
        assert "seed-dead" not in own(config)

    def test_a_copy_that_is_never_continued_can_be_cleared(self, directory: DataDirectory, config: Config) -> None:
        assert directory.leftovers() == []
        left = Path(config.database_directory) / ".failover" / "seed-dead"
        (left / "shop").mkdir(parents=True)
        directory.replace(self.fetch(), "www1")
        directory.adopt("www1")
        (left / "shop").mkdir(parents=True)
        assert directory.leftovers() == [left]
        clear(directory.leftovers())
        assert own(config) == [directory.aside()[0].name]

    def test_a_missing_directory_is_an_error_and_no_traceback(self, directory: DataDirectory, config: Config) -> None:
        Path(config.database_directory).rename(Path(config.database_directory).with_name("gone"))
        with pytest.raises(SeedError, match="No such file"):
            directory.replace(self.fetch(), "www1")


@pytest.mark.usefixtures("install", "copy")
class TestStreamBackup:
    """The primary's side."""

    def test_it_asks_for_a_stream_as_it_is_told(self, tmp_path: Path) -> None:
        assert len(b"".join(stream_backup(OPTIONS))) > 700_000
        call = (tmp_path / "calls").read_text(encoding="utf-8").split()
        assert call[:4] == ["--backup", "--stream=mbstream", *OPTIONS]
        assert not Path(call[4].removeprefix("--target-dir=")).exists(), "the scratch folder is gone"

    def test_a_backup_that_fails_is_an_error_that_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENDS_WITH", "3")
        with pytest.raises(SeedError, match=r"mariadb-backup ended with 3: .*out of luck"):
            list(stream_backup(OPTIONS))

    def test_a_reader_that_leaves_ends_the_backup(self, install: Install, tmp_path: Path) -> None:
        install("mariadb-backup", '#!/bin/sh\necho $$ > "$CALLS"\nexec cat /dev/zero\n')
        stream = stream_backup(OPTIONS)
        next(stream)
        pid = int((tmp_path / "calls").read_text(encoding="utf-8"))
        assert Path(f"/proc/{pid}").exists()
        del stream
        assert not Path(f"/proc/{pid}").exists()


class TestBinlogTail:
    """What is kept before a start may truncate it."""

    def test_the_newest_log_is_copied(self, directory: DataDirectory, config: Config) -> None:
        data = Path(config.database_directory)
        for number in (1, 2):
            (data / f"failover-bin.00000{number}").write_text(str(number), encoding="utf-8")
        (data / "failover-bin.index").write_text("./failover-bin.000001\n./failover-bin.000002\n\n", encoding="utf-8")
        kept = directory.keep_binlog_tail()
        assert kept is not None
        assert re.fullmatch(r"\d{8}T\d{6}Z-failover-bin\.000002", kept.name)
        assert kept.read_text(encoding="utf-8") == "2"
        assert kept.parent.stat().st_mode & 0o777 == 0o700

    @staticmethod
    def with_log(config: Config) -> None:
        """A server that has written something."""
        data = Path(config.database_directory)
        (data / "failover-bin.000001").write_text("1", encoding="utf-8")
        (data / "failover-bin.index").write_text("./failover-bin.000001\n", encoding="utf-8")

    def test_old_copies_make_room(self, directory: DataDirectory, config: Config) -> None:
        self.with_log(config)
        tails = Path(config.state_directory) / "binlog-tails"
        tails.mkdir()
        for number in range(8):
            (tails / f"20260101T00000{number}Z-failover-bin.000001").touch()
        kept = directory.keep_binlog_tail()
        left = sorted(tails.iterdir())
        assert len(left) == 5
        assert left[-1] == kept
        assert left[0].name.startswith("20260101T000004Z")

    def test_no_room_is_an_error_that_can_be_tried_again(self, directory: DataDirectory, config: Config) -> None:
        self.with_log(config)
        tails = Path(config.state_directory) / "binlog-tails"
        tails.write_text("in the way", encoding="utf-8")
        with pytest.raises(HostError, match="could not be kept"):
            directory.keep_binlog_tail()

    @pytest.mark.parametrize("index", [None, "", "./failover-bin.000009\n"])
    def test_without_a_log_nothing_is_kept(self, directory: DataDirectory, config: Config, index: str | None) -> None:
        if index is not None:
            (Path(config.database_directory) / "failover-bin.index").write_text(index, encoding="utf-8")
        assert directory.keep_binlog_tail() is None


#: What changes a disk or runs a program: before each of these the agent may be killed.
STEPS = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.chown", "os.chmod", "os.truncate", "subprocess.Popen"}
#: What the host holds before a copy is made, by path.
HELD = {"ibdata1": "old", "blog/posts.ibd": "posts", "failover-bin.index": "./failover-bin.000001", "aria_log": "a"}


def killed(step: int, work: Callable[[], object]) -> bool:
    """Do something in a process of its own that is killed before the step of this number; whether it came to that."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, _arguments: object) -> None:
            nonlocal count
            if event in STEPS:
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

        sys.addaudithook(hook)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in {0, signal.SIGKILL}, f"it failed: {status}"
    return status != 0


def afresh(config: Config, data: Path) -> Iterator[int]:
    """The steps from 0 on; before each of them the directory and its note are put back as they are now."""
    pristine, note = data.with_name("pristine"), Path(config.state_directory) / "database.json"
    shutil.copytree(data, pristine)
    said = text(note)
    for step in itertools.count():
        shutil.rmtree(data)
        shutil.copytree(pristine, data)
        note.write_text(said, encoding="utf-8")
        yield step


@pytest.mark.usefixtures("install", "copy")
class TestKilled:
    """The agent dies in the middle of a copy, at each step of it, and another one goes on."""

    @pytest.fixture
    def data(self, config: Config, directory: DataDirectory) -> Path:
        """A directory on a disk of its own that was copied before and is in use."""
        data = Path(config.database_directory)
        self.fill(data)
        directory.adopt("adopted")
        return data

    @staticmethod
    def fill(data: Path) -> None:
        for name, content in HELD.items():
            (data / name).parent.mkdir(exist_ok=True)
            (data / name).write_text(content, encoding="utf-8")
        (data / "lost+found").mkdir()
        earlier = data / ".failover" / "before-seed-20260101T000000Z"
        earlier.mkdir(parents=True)
        (earlier / "ibdata1").write_text("older", encoding="utf-8")

    @staticmethod
    def copy_anew(config: Config, *, worthless: bool = False) -> None:
        directory = DataDirectory(config)
        directory.replace(lambda: stream_backup(OPTIONS), "www1", size=1, worthless=worthless)
        directory.adopt("www1")

    @staticmethod
    def held(folders: Iterable[Path]) -> dict[str, str]:
        """What is left, in all places together, of what the host held."""
        found = {}
        for folder in folders:
            for name in HELD:
                if (folder / name).exists() and text(folder / name) == HELD[name]:
                    assert name not in found, "never in two places"
                    found[name] = text(folder / name)
        return found

    def judge(self, config: Config, data: Path) -> None:
        """A killed agent left a directory that is what it was, or known as half done; nothing is lost."""
        directory = DataDirectory(config)
        assert directory.seeded != directory.half_seeded
        if directory.seeded and text(data / "ibdata1") == "old":
            assert self.held([data]) == HELD, "untouched"
        else:
            assert self.held([data, *directory.aside()]) == HELD

    def judge_end(self, config: Config, data: Path) -> None:
        """After one more try the copy is there and what the host held lies aside, whole."""
        directory = DataDirectory(config)
        assert directory.seeded
        assert text(data / "ibdata1") == "new"
        assert sorted(path.name for path in data.iterdir()) == [
            ".failover", "ibdata1", "lost+found", "mariadb_backup_binlog_info", "prepared", "shop",
        ]  # fmt: skip
        (aside,) = directory.aside()
        assert own(config) == [aside.name]
        assert self.held([aside]) == HELD
        assert sorted(path.name for path in aside.iterdir()) == sorted({name.split("/")[0] for name in HELD})

    def test_at_every_step(self, config: Config, data: Path) -> None:
        for step in afresh(config, data):
            if not killed(step, lambda: self.copy_anew(config)):
                break
            self.judge(config, data)
            self.copy_anew(config)
            self.judge_end(config, data)
        assert step > 25, "it was killed at many steps"
        self.judge_end(config, data)

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=st.lists(st.integers(0, 45), min_size=2, max_size=4))
    def test_again_and_again(self, config: Config, tmp_path_factory: pytest.TempPathFactory, steps: list[int]) -> None:
        folder = tmp_path_factory.mktemp("again")
        data, state = folder / "mysql", folder / "state"
        data.mkdir(mode=0o750)
        state.mkdir()
        config = dataclasses.replace(config, database_directory=str(data), state_directory=str(state))
        self.fill(data)
        DataDirectory(config).adopt("adopted")
        for step in steps:
            if not killed(step, lambda: self.copy_anew(config)):
                break
            self.judge(config, data)
        else:
            self.copy_anew(config)
        self.judge_end(config, data)

    def test_while_room_is_made(self, config: Config, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is worthless may be lost; that it is, is known."""
        monkeypatch.setattr("failover_agent.seed._free", lambda path: (9 << 30) * (not (path / "ibdata1").exists()))
        monkeypatch.setattr("failover_agent.seed._bytes_of", lambda _path: 8 << 30)
        for step in afresh(config, data):
            if not killed(step, lambda: self.copy_anew(config, worthless=True)):
                break
            directory = DataDirectory(config)
            assert directory.seeded != directory.half_seeded
            if not directory.seeded:
                self.copy_anew(config)
                assert text(data / "ibdata1") == "new"
        assert step > 25
        assert DataDirectory(config).aside() == []


@pytest.mark.usefixtures("install", "copy")
class TestRoom:
    """The disk has room for both directories, or not."""

    @pytest.fixture
    def disk(self, monkeypatch: pytest.MonkeyPatch, config: Config) -> Callable[[int], None]:
        """Let the disk have so many free MiB, and what lies aside take 300 MiB each, the data 500 MiB."""
        data = Path(config.database_directory)
        folder = data / ".failover"

        def sizes(path: Path) -> int:
            return (500 * (path / "ibdata1").exists() if path == data else 300) << 20

        def prepare(free: int) -> None:
            def usage(_path: Path) -> object:
                asides = len(list(folder.glob("before-seed-*")))
                emptied = not (data / "ibdata1").exists()
                return SimpleNamespace(free=(free + 300 * (2 - asides) + 500 * emptied) << 20)

            monkeypatch.setattr("failover_agent.seed.shutil.disk_usage", usage)
            monkeypatch.setattr("failover_agent.seed._bytes_of", sizes)
            for stamp in ("20260101T000000Z", "20260102T000000Z"):
                (folder / f"before-seed-{stamp}").mkdir(parents=True)

        return prepare

    def test_with_room_one_old_directory_stays(self, directory: DataDirectory, disk: Callable[[int], None]) -> None:
        disk(800)
        directory.replace(lambda: stream_backup(OPTIONS), "www1")
        (aside,) = directory.aside()
        assert (aside / "ibdata1").read_text(encoding="utf-8") == "old"

    def test_older_directories_go_first(self, directory: DataDirectory, disk: Callable[[int], None]) -> None:
        disk(500)
        directory.replace(lambda: stream_backup(OPTIONS), "www1")
        (aside,) = directory.aside()
        assert (aside / "ibdata1").read_text(encoding="utf-8") == "old"

    def test_without_room_nothing_is_touched(
        self, directory: DataDirectory, config: Config, disk: Callable[[int], None]
    ) -> None:
        disk(100)
        directory.adopt("adopted")
        with pytest.raises(SeedError, match=r"no room for 756 MiB beside .*/mysql: 100 MiB are free, .* takes 500 MiB"):
            directory.replace(lambda: stream_backup(OPTIONS), "www1")
        assert (Path(config.database_directory) / "ibdata1").read_text(encoding="utf-8") == "old"
        assert directory.seeded
        assert len(directory.aside()) == 2, "what is aside neither, as it would not have been enough"

    def test_of_a_copy_that_was_never_made_ready_the_room_is_taken_first(
        self, directory: DataDirectory, disk: Callable[[int], None]
    ) -> None:
        disk(300)
        directory.adopt("adopted")
        directory._write_note("www1", finished=False)
        directory.replace(lambda: stream_backup(OPTIONS), "www1")
        assert [path.name for path in directory.aside()] == ["before-seed-20260102T000000Z"]

    def test_what_the_host_held_last_makes_no_room_for_a_second_try(
        self, directory: DataDirectory, disk: Callable[[int], None]
    ) -> None:
        disk(100)
        directory._write_note("www1", finished=False)
        with pytest.raises(SeedError, match="no room for 1256 MiB"):
            directory.replace(lambda: stream_backup(OPTIONS), "www1", size=1000 << 20)
        assert len(directory.aside()) == 2
        directory.replace(lambda: stream_backup(OPTIONS), "www1", size=900 << 20, worthless=True)
        assert directory.aside() == []

    def test_what_is_worthless_makes_room(
        self, directory: DataDirectory, config: Config, disk: Callable[[int], None]
    ) -> None:
        disk(100)
        directory.adopt("adopted")
        directory.replace(lambda: stream_backup(OPTIONS), "www1", worthless=True)
        assert own(config) == []
        assert (Path(config.database_directory) / "ibdata1").read_text(encoding="utf-8") == "new"
        assert directory.half_seeded

    def test_a_copy_that_breaks_then_leaves_a_host_to_be_seeded(
        self, directory: DataDirectory, config: Config, disk: Callable[[int], None]
    ) -> None:
        disk(100)
        directory.adopt("adopted")
        with pytest.raises(SeedError, match="was emptied to make room"):
            directory.replace(lambda: iter([b"no archive"]), "www1", worthless=True)
        assert own(config) == []
        assert not directory.seeded
        assert directory.half_seeded
        directory.replace(lambda: stream_backup(OPTIONS), "www1")
        directory.adopt("www1")
        assert directory.seeded

    def test_nothing_is_deleted_where_even_that_does_not_make_room(
        self, directory: DataDirectory, config: Config, disk: Callable[[int], None]
    ) -> None:
        disk(0)
        with pytest.raises(SeedError, match="no room"):
            directory.replace(lambda: stream_backup(OPTIONS), "www1", size=2 << 30, worthless=True)
        assert (Path(config.database_directory) / "ibdata1").read_text(encoding="utf-8") == "old"
