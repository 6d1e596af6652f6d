# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Copies of a database: an old directory is never lost, and a broken copy is never taken for one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from failover_agent.config import Config, Pki
from failover_agent.host import HostError
from failover_agent.peer import PeerError
from failover_agent.seed import DataDirectory, SeedError, stream_backup

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


def siblings(config: Config) -> list[str]:
    """What lies beside the data directory and has to do with it."""
    return sorted(path.name for path in Path(config.database_directory).parent.iterdir() if "mysql" in path.name)


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
        (aside,) = (name for name in siblings(config) if name != "mysql")
        assert re.fullmatch(r"mysql\.before-seed-\d{8}T\d{6}Z", aside)
        assert (data.parent / aside / "ibdata1").read_text(encoding="utf-8") == "old"

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
        assert siblings(config) == ["mysql"], "no leftovers"
        assert (Path(config.database_directory) / "ibdata1").read_text(encoding="utf-8") == "old"
        assert directory.seeded

    def test_a_stream_that_is_none_is_an_error(self, directory: DataDirectory, config: Config) -> None:
        with pytest.raises(SeedError, match="mbstream ended with"):
            directory.replace(lambda: iter([b"this is no archive" * 1000]), "www1")
        assert siblings(config) == ["mysql"]

    def test_an_mbstream_that_dies_is_an_error(
        self, directory: DataDirectory, config: Config, install: Install
    ) -> None:
        install("mbstream", "#!/bin/sh\necho 'mbstream: no space left on device' >&2\nexit 1\n")
        with pytest.raises(SeedError, match="no space left on device"):
            directory.replace(lambda: iter([b"x" * 100_000] * 50), "www1")
        assert siblings(config) == ["mysql"]

    def test_a_copy_that_cannot_be_prepared_is_an_error(
        self, directory: DataDirectory, config: Config, install: Install
    ) -> None:
        backup = MARIADB_BACKUP.replace('touch "$target/prepared"', "echo corrupt >&2; exit 1")
        install("mariadb-backup", backup)
        with pytest.raises(SeedError, match="ended with 1: corrupt"):
            directory.replace(self.fetch(), "www1")
        assert siblings(config) == ["mysql"]

    def test_a_copy_without_a_position_is_an_error(self, directory: DataDirectory, config: Config, copy: Path) -> None:
        (copy / "mariadb_backup_binlog_info").unlink()
        with pytest.raises(SeedError, match="no binlog position"):
            directory.replace(self.fetch(), "www1")
        assert siblings(config) == ["mysql"]

    def test_the_position_of_an_older_mariadb_backup(self, directory: DataDirectory, copy: Path) -> None:
        (copy / "mariadb_backup_binlog_info").rename(copy / "xtrabackup_binlog_info")
        assert directory.replace(self.fetch(), "www1") == "0-1-5"

    def test_a_primary_that_never_wrote_has_no_position(self, directory: DataDirectory, copy: Path) -> None:
        (copy / "mariadb_backup_binlog_info").write_text("failover-bin.000001\t330\t\n", encoding="utf-8")
        assert directory.replace(self.fetch(), "www1") == ""

    def test_what_a_dead_agent_left_behind_is_cleared(self, directory: DataDirectory, config: Config) -> None:
        (Path(config.database_directory).parent / ".mysql.seed-dead").mkdir()
        directory.replace(self.fetch(), "www1")
        assert ".mysql.seed-dead" not in siblings(config)

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


@pytest.mark.usefixtures("install", "copy")
class TestDiedInBetween:
    """The agent died after it moved the old directory away, before the new one was there."""

    @pytest.fixture
    def gone(self, config: Config, directory: DataDirectory) -> DataDirectory:
        directory.adopt("adopted")
        data = Path(config.database_directory)
        data.rename(data.with_name("mysql.before-seed-20261123T090114Z"))
        (Path(config.state_directory) / "database.json").unlink()
        return directory

    def test_there_is_nothing_to_lose(self, gone: DataDirectory) -> None:
        assert not gone.seeded
        assert gone.half_seeded

    def test_another_copy_can_be_made(self, gone: DataDirectory, config: Config) -> None:
        assert gone.replace(lambda: stream_backup(OPTIONS), "www1") == "0-1-5"
        data = Path(config.database_directory)
        assert (data / "ibdata1").read_text(encoding="utf-8") == "new"
        assert data.stat().st_mode & 0o7777 == 0o750
        (aside,) = gone.aside()
        assert (aside / "ibdata1").read_text(encoding="utf-8") == "old"


@pytest.mark.usefixtures("install", "copy")
class TestRoom:
    """The disk has room for both directories, or not."""

    @pytest.fixture
    def disk(self, monkeypatch: pytest.MonkeyPatch, config: Config) -> Callable[[int], None]:
        """Let the disk have so many free MiB, and what lies aside take 300 MiB each, the data 500 MiB."""
        beside = Path(config.database_directory).parent

        def sizes(path: Path) -> int:
            return (500 if path.name == "mysql" and (path / "ibdata1").exists() else 0) << 20

        def prepare(free: int) -> None:
            def usage(_path: Path) -> object:
                asides = len(list(beside.glob("mysql.before-seed-*")))
                emptied = not (beside / "mysql" / "ibdata1").exists()
                return SimpleNamespace(free=(free + 300 * (2 - asides) + 500 * emptied) << 20)

            monkeypatch.setattr("failover_agent.seed.shutil.disk_usage", usage)
            monkeypatch.setattr("failover_agent.seed._bytes_of", sizes)
            for stamp in ("20260101T000000Z", "20260102T000000Z"):
                (beside / f"mysql.before-seed-{stamp}").mkdir()

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
        with pytest.raises(SeedError, match=r"no room for 756 MiB beside .*/mysql: 700 MiB are free, .* takes 500 MiB"):
            directory.replace(lambda: stream_backup(OPTIONS), "www1")
        assert (Path(config.database_directory) / "ibdata1").read_text(encoding="utf-8") == "old"
        assert directory.seeded

    def test_what_is_worthless_makes_room(
        self, directory: DataDirectory, config: Config, disk: Callable[[int], None]
    ) -> None:
        disk(100)
        directory.adopt("adopted")
        directory.replace(lambda: stream_backup(OPTIONS), "www1", worthless=True)
        assert siblings(config) == ["mysql"]
        assert (Path(config.database_directory) / "ibdata1").read_text(encoding="utf-8") == "new"
        assert directory.half_seeded

    def test_a_copy_that_breaks_then_leaves_a_host_to_be_seeded(
        self, directory: DataDirectory, config: Config, disk: Callable[[int], None]
    ) -> None:
        disk(100)
        directory.adopt("adopted")
        with pytest.raises(SeedError, match="was emptied to make room"):
            directory.replace(lambda: iter([b"no archive"]), "www1", worthless=True)
        assert siblings(config) == ["mysql"]
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
