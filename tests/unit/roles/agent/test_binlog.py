# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logs of real servers are read: whole transactions, where they stand, and where a crash cut them off.

The fixtures hold the relay log of a replica whose SQL thread was stopped, and the binary log of its primary, in five
and two files: 10.11.19 (Debian 12) and 11.8.6 (Debian 13). Domain 0 is at 13, domain 5 at 2.
"""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import pytest
from failover_agent import binlog, gtid
from failover_agent.binlog import BinlogError
from failover_agent.gtid import Gtid
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = ("10.11", "11.8")
BOTH = pytest.mark.parametrize("version", VERSIONS)
ALL = [*(f"0-11-{number}" for number in range(1, 11)), "5-11-1", "5-11-2", "0-11-11", "0-11-12", "0-11-13"]


def files(version: str, kind: str) -> list[Path]:
    """The files of the relay log or the binary log in a fixture."""
    return binlog.log_files(FIXTURES / f"logs-{version}" / f"failover-{kind}.index")


def names(found: list[binlog.Transaction]) -> list[str]:
    return [str(each.gtid) for each in found]


@BOTH
@pytest.mark.parametrize("kind", ["relay", "bin"])
class TestReading:
    """Both kinds of log of both versions."""

    def test_all_transactions_in_order(self, version: str, kind: str) -> None:
        assert names(list(binlog.transactions(files(version, kind)))) == ALL

    def test_those_beyond_a_position(self, version: str, kind: str) -> None:
        found = list(binlog.transactions(files(version, kind), gtid.parse("0-11-11,5-11-1")))
        assert names(found) == ["5-11-2", "0-11-12", "0-11-13"]

    def test_what_only_rows_tell_can_be_undone(self, version: str, kind: str) -> None:
        flaws = {str(each.gtid): each.irreversible for each in binlog.transactions(files(version, kind))}
        assert flaws["0-11-13"] == flaws["0-11-12"] == flaws["5-11-2"] == flaws["0-11-7"] == ""
        assert flaws["5-11-1"] == flaws["0-11-1"] == "a change of the schema"

    def test_one_position(self, version: str, kind: str) -> None:
        found = (each.gtid for each in binlog.transactions(files(version, kind)))
        assert str(binlog.position_of(found)) == "0-11-13,5-11-2"


@BOTH
class TestPlaces:
    """Where in the files."""

    def test_the_relay_position_is_where_the_first_unapplied_transaction_begins(self, version: str) -> None:
        words = (FIXTURES / f"logs-{version}" / "relay-log.info").read_text(encoding="utf-8").split()
        (run,) = binlog.runs(files(version, "relay"), lambda each: binlog.beyond(each.gtid, gtid.parse("0-11-7")))
        assert (f"./{run[0].begin.file.name}", str(run[0].begin.offset)) == (words[1], words[2])
        assert run[-1].end.file.name == "failover-relay.000005"
        assert run[-1].end.offset == run[-1].end.file.stat().st_size

    def test_transactions_that_are_applied_split_the_rest(self, version: str) -> None:
        runs = binlog.runs(files(version, "relay"), lambda each: each.gtid.domain == 0 and each.gtid.sequence > 9)
        assert [names(run) for run in runs] == [["0-11-10"], ["0-11-11", "0-11-12", "0-11-13"]]

    def test_what_was_written_before_a_file(self, version: str) -> None:
        first, second = files(version, "bin")
        assert binlog.state_before(first) == ()
        assert binlog.state_before(second) == (Gtid(domain=0, sequence=10, server=11),)

    @pytest.mark.parametrize(("past", "count"), [("0-11-10", 1), ("0-11-12", 1), ("0-11-9", 2), ("", 2)])
    def test_only_the_files_that_are_needed(self, version: str, past: str, count: int) -> None:
        found = binlog.tail(files(version, "bin"), lambda each: binlog.beyond(each, gtid.parse(past)))
        assert found == files(version, "bin")[-count:]


@BOTH
class TestExtract:
    """A binary log with a part of another."""

    def test_it_holds_what_was_asked_for(self, version: str, tmp_path: Path) -> None:
        target = tmp_path / "part"
        wanted = list(binlog.transactions(files(version, "bin"), gtid.parse("0-11-9")))
        binlog.extract(wanted, target)
        found = list(binlog.transactions([target]))
        assert names(found) == names(wanted) == ["0-11-10", *ALL[10:]]
        assert [each.irreversible for each in found] == [each.irreversible for each in wanted]

    def test_it_is_marked_as_closed(self, version: str, tmp_path: Path) -> None:
        source = files(version, "bin")[1].read_bytes()
        binlog.extract(binlog.transactions(files(version, "bin")[1:]), tmp_path / "part")
        copied = (tmp_path / "part").read_bytes()
        # The flags stand at the end of the first header. The server counts its checksum without the mark, too.
        assert (source[4 + 17], copied[4 + 17]) == (1, 0)
        length = struct.unpack_from("<I", copied, 4 + 9)[0]
        assert zlib.crc32(copied[4:length]) == struct.unpack_from("<I", copied, length)[0]

    def test_a_file_that_is_there_is_not_overwritten(self, version: str, tmp_path: Path) -> None:
        (tmp_path / "part").touch()
        with pytest.raises(BinlogError, match="exists"):
            binlog.extract(binlog.transactions(files(version, "bin")), tmp_path / "part")


class TestCrashes:
    """What a crash leaves behind."""

    @given(version=st.sampled_from(VERSIONS), cut=st.integers(min_value=0, max_value=1700))
    @settings(deadline=None, max_examples=200)
    def test_a_log_cut_anywhere_yields_its_whole_transactions(
        self, tmp_path_factory: pytest.TempPathFactory, version: str, cut: int
    ) -> None:
        source = files(version, "bin")[1]
        log = tmp_path_factory.mktemp("cut") / source.name
        log.write_bytes(source.read_bytes()[:cut])
        whole = [each for each in binlog.transactions([source]) if each.end.offset <= cut]
        assert names(list(binlog.transactions([log]))) == names(whole)

    @given(version=st.sampled_from(VERSIONS), place=st.integers(min_value=391, max_value=1699))
    @settings(deadline=None, max_examples=200)
    def test_a_damaged_byte_ends_the_log(
        self, tmp_path_factory: pytest.TempPathFactory, version: str, place: int
    ) -> None:
        source = files(version, "bin")[1]
        log = tmp_path_factory.mktemp("damage") / source.name
        text = bytearray(source.read_bytes())
        text[place] ^= 0x55
        log.write_bytes(text)
        whole = [each for each in binlog.transactions([source]) if each.end.offset <= place]
        try:
            found = names(list(binlog.transactions([log])))
        except BinlogError as error:
            assert "encrypted" in str(error)  # noqa: PT017 (one byte can make an event look like that one)
        else:
            assert found == names(whole)

    @BOTH
    def test_nothing_counts_that_comes_after_a_gap(self, tmp_path: Path, version: str) -> None:
        shutil.copytree(FIXTURES / f"logs-{version}", tmp_path / "logs")
        (tmp_path / "logs" / "failover-relay.000002").write_bytes(files(version, "relay")[1].read_bytes()[:2300])
        found = list(binlog.transactions(binlog.log_files(tmp_path / "logs" / "failover-relay.index")))
        assert names(found) == ALL[:8]

    @BOTH
    def test_zeros_at_the_end(self, tmp_path: Path, version: str) -> None:
        log = tmp_path / "log"
        log.write_bytes(files(version, "bin")[1].read_bytes() + bytes(100))
        assert names(list(binlog.transactions([log]))) == ALL[10:]

    def test_no_index_no_files(self, tmp_path: Path) -> None:
        assert binlog.log_files(tmp_path / "none.index") == []

    def test_an_empty_file_is_one_that_was_just_made(self, tmp_path: Path) -> None:
        (tmp_path / "log").touch()
        assert list(binlog.transactions([tmp_path / "log"])) == []

    def test_something_else_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("not a log", encoding="utf-8")
        with pytest.raises(BinlogError, match="no binary log"):
            list(binlog.transactions([tmp_path / "log"]))


def log_of(path: Path, *events: tuple[int, bytes]) -> Path:
    """A log without checksums, written event by event: kind and body."""
    text = binlog.MAGIC
    for kind, body in ((15, bytes(57) + bytes(5)), *events):
        text += struct.pack("<IBIIIH", 1700000000, kind, 11, 19 + len(body), 0, 0) + body
    path.write_bytes(text)
    return path


def gtid_event(sequence: int, flags: int = 0) -> tuple[int, bytes]:
    return 162, struct.pack("<QIB", sequence, 0, flags) + bytes(6)


def query(text: bytes) -> tuple[int, bytes]:
    return 2, struct.pack("<IIBHH", 1, 0, 4, 0, 3) + b"abc" + b"shop\0" + text


def rows(kind: int, columns: int, *images: int) -> tuple[int, bytes]:
    width = (columns + 7) // 8
    return kind, bytes(8) + bytes([columns]) + b"".join(image.to_bytes(width, "little") for image in images)


class TestKinds:
    """Events that the captured logs do not have."""

    @pytest.mark.parametrize(
        ("events", "flaw"),
        [
            ([rows(23, 3, 0b111), (16, bytes(8))], ""),
            ([rows(23, 3, 0xFF), (16, bytes(8))], ""),
            ([rows(24, 3, 0b111, 0b111), query(b"COMMIT")], ""),
            ([rows(24, 3, 0b111, 0b100), (16, bytes(8))], "rows that are not logged whole"),
            ([rows(25, 9, 0b1), (16, bytes(8))], "rows that are not logged whole"),
            ([query(b"SAVEPOINT a"), rows(23, 1, 1), (16, bytes(8))], "a statement instead of rows"),
            ([(166, bytes(20)), (16, bytes(8))], "an event of kind 166"),
            ([rows(23, 3, 0b111), (38, bytes(20))], "an event of kind 38"),
        ],
    )
    def test_whether_rows_tell_how_to_undo_them(
        self, tmp_path: Path, events: list[tuple[int, bytes]], flaw: str
    ) -> None:
        (found,) = binlog.transactions([log_of(tmp_path / "log", gtid_event(1), *events)])
        assert found.irreversible == flaw

    def test_a_single_statement_with_its_variables(self, tmp_path: Path) -> None:
        log = log_of(tmp_path / "log", gtid_event(1, 1), (5, bytes(9)), (14, bytes(9)), query(b"INSERT"), gtid_event(2))
        (found,) = binlog.transactions([log])
        assert (str(found.gtid), found.irreversible) == ("0-11-1", "a statement instead of rows")

    def test_a_reconnect_in_the_middle_of_a_transaction(self, tmp_path: Path) -> None:
        one = log_of(tmp_path / "one", gtid_event(1), rows(23, 1, 1), (4, bytes(20)))
        two = log_of(tmp_path / "two", (4, bytes(20)), rows(23, 1, 1), (16, bytes(8)))
        (found,) = binlog.transactions([one, two])
        assert (found.begin.file, found.end.file) == (one, two)
        with pytest.raises(BinlogError, match="0-11-1 spans"):
            binlog.extract([found], tmp_path / "part")

    def test_the_part_of_a_transaction_is_none(self, tmp_path: Path) -> None:
        assert not list(binlog.transactions([log_of(tmp_path / "log", gtid_event(1), rows(23, 1, 1))]))

    def test_an_encrypted_log_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BinlogError, match="encrypted"):
            list(binlog.transactions([log_of(tmp_path / "log", (164, bytes(20)))]))
