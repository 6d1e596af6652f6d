# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way back: where histories part, what is saved, and that nothing is started or undone that must not be."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from failover_agent import binlog, gtid, rejoin
from failover_agent.config import Config, Pki
from failover_agent.gtid import Gtid, Position
from failover_agent.mariadb import Connection, DatabaseError, MariaDB
from failover_agent.model import Term
from failover_agent.rejoin import Rejoin, RejoinError
from hypothesis import given
from hypothesis import strategies as st

from .test_binlog import gtid_event, log_of, rows
from .test_mariadb import Rows, Script

FIXTURES = Path(__file__).parent / "fixtures"
PKI = Pki("", "", "")
VERSIONS = ("10.11", "11.8")
BOTH = pytest.mark.parametrize("version", VERSIONS)
#: The number of an address is the server id; the captured logs were written by 11.
HOSTS = {"www1": "0.0.0.11", "www2": "0.0.0.12", "www3": "0.0.0.13"}
IDS = rejoin.servers(HOSTS)


def one(text: str) -> Gtid:
    return gtid.parse(text).last[0]


def many(*texts: str) -> list[Gtid]:
    return [one(text) for text in texts]


HISTORY = [
    Term(1, "www1"),
    Term(2, "www2", gtid="0-11-100"),
    Term(3, "www2"),  # www2 came back.
    Term(4, "www1", gtid="0-12-150,5-12-7"),
]


class TestFork:
    """Where a host leaves the estate's history."""

    @pytest.mark.parametrize(
        ("own", "expected"),
        [
            # An old primary that wrote on.
            (["0-11-99", "0-11-100", "0-11-101", "0-11-102"], "0-11-100"),
            # An old primary that stopped before the others had everything.
            (["0-11-98", "0-11-99"], "0-11-99"),
            # A replica that received from the dead primary what nobody else did.
            (["0-11-100", "0-12-101", "0-12-150", "0-12-151"], "0-12-150"),
            # A replica of the present term.
            (["0-12-150", "0-11-151", "0-11-160"], "0-11-160"),
            # Of two transactions with one number the one that a position names counts (DDL recovery of a candidate).
            (["0-12-149", "0-11-150"], "0-12-149"),
            (["0-12-150", "0-11-169", "0-12-170"], "0-11-169"),
            # ... with an errant write of its own.
            (["0-12-150", "0-11-151", "0-13-152"], "0-11-151"),
            # ... that received more than its primary says it has.
            (["0-12-150", "0-11-170", "0-11-171"], "0-11-170"),
            # Two histories of equal length.
            (["0-11-100", "0-13-101", "0-13-150"], "0-11-100"),
            # An errant write in a domain of its own does not stop the others.
            (["0-12-150", "9-13-1", "0-11-151", "9-13-2"], "0-11-151"),
            (["5-12-6", "5-13-8", "0-12-150"], "0-12-150,5-12-6"),
            # What an adopted database wrote under a server id that is no host's.
            (["0-1-5", "0-11-6"], "0-11-6"),
            ([], "0-12-140"),
        ],
    )
    def test_examples(self, own: list[str], expected: str) -> None:
        official = rejoin.judge(HISTORY, IDS, "0-11-170,5-12-7")
        start = gtid.parse("" if own else "0-12-140")
        assert str(rejoin.fork(official, start, many(*own))) == expected

    def test_a_primary_that_began_nowhere(self) -> None:
        with pytest.raises(RejoinError, match="www2 began in term 2"):
            rejoin.judge([Term(1, "www1"), Term(2, "www2")], IDS)

    @pytest.mark.parametrize("history", [[], [Term(7, "www1")]])
    def test_a_history_that_says_nothing_condemns_nothing(self, history: list[Term]) -> None:
        with pytest.raises(RejoinError, match="does not go back far enough"):
            rejoin.judge(history, IDS, "0-11-9")

    def test_what_is_older_than_the_history_belongs_to_it(self) -> None:
        official = rejoin.judge([Term(40, "www2", gtid="0-11-900")], IDS, "0-12-901")
        assert official(one("0-13-500"))
        assert not official(one("0-11-901"))

    @given(
        own=st.lists(st.tuples(st.integers(11, 13), st.integers(1, 180)), max_size=30),
        now=st.integers(150, 200),
    )
    def test_nothing_up_to_the_fork_is_foreign_and_what_follows_it_is(
        self, own: list[tuple[int, int]], now: int
    ) -> None:
        found = [Gtid(domain=0, sequence=sequence, server=server) for server, sequence in own]
        found = sorted({each.sequence: each for each in found}.values())
        official = rejoin.judge(HISTORY, IDS, f"0-11-{now}")
        at = rejoin.fork(official, Position(), found)
        assert all(official(each) for each in found if not binlog.beyond(each, at))
        beyond = [each for each in found if binlog.beyond(each, at)]
        assert not beyond or not official(beyond[0])


@BOTH
class TestTexts:
    """What mariadb-binlog printed for a change of two rows, a deletion, and a transaction of two tables."""

    def text(self, version: str, name: str) -> list[str]:
        return (FIXTURES / f"logs-{version}" / name).read_text(encoding="utf-8").splitlines(keepends=True)

    def test_rows_are_counted(self, version: str) -> None:
        tables, statements = rejoin.summarise(line.rstrip("\n") for line in self.text(version, "readable.txt"))
        assert tables == {
            "shop.other": {"inserted": 1, "updated": 0, "deleted": 0},
            "shop.items": {"inserted": 1, "updated": 2, "deleted": 0},
            "shop.orders": {"inserted": 1, "updated": 0, "deleted": 1},
        }
        assert statements[0] == "CREATE TABLE shop.other(id INT PRIMARY KEY) ENGINE=InnoDB"
        assert statements[2:4] == ["UPDATE shop.items SET price=price+1", "DELETE FROM shop.orders WHERE id=2"]
        assert len(statements) == 6

    def test_a_replay_has_no_identity(self, version: str) -> None:
        lines = [line.encode() for line in self.text(version, "replayable.txt")]
        assert b"gtid_seq_no" in b"".join(lines)
        kept = list(rejoin.as_new(lines))
        for word in (b"gtid_seq_no", b"gtid_domain_id", b"server_id="):
            assert word not in b"".join(kept)
        dropped = [line for line in lines if line not in kept]
        assert len(kept) + len(dropped) == len(lines)
        assert all(line.startswith(b"/*") for line in dropped)

    def test_a_flashback_is_one_transaction_that_is_not_logged(self, version: str) -> None:
        lines = [line.encode() for line in self.text(version, "flashback.txt")]
        assert sum(line.startswith(b"START TRANSACTION") for line in lines) == 3
        text = b"".join(rejoin.as_one(lines)).decode().splitlines()
        assert text[:2] == ["SET SESSION sql_log_bin=0;", "START TRANSACTION;"]
        assert text[-1] == "COMMIT;"
        bare = [line for line in text[2:-1] if not line.startswith(("#", "/*"))]
        assert not [line for line in bare if line.startswith(("START", "BEGIN", "COMMIT", "ROLLBACK"))]
        assert sum(line.startswith("BINLOG") for line in bare) == sum(line.startswith(b"BINLOG") for line in lines)


# ------------------------------------------------------------------------------------------------ with files


BINLOG = """#!/bin/sh
for last; do :; done
case "$*" in
*decode-rows*) cat "$FIXTURE/readable.txt" ;;
*--flashback*) cat "$FIXTURE/flashback.txt" ;;
*) cat "$FIXTURE/replayable.txt" ;;
esac
[ -e "$last" ] || { echo "no $last" >&2; exit 1; }
exit ${BINLOG_ENDS_WITH:-0}
"""
CLIENT = """#!/bin/sh
echo "$@" > "$CALLS"
cat >> "$CALLS"
echo "ERROR 1032 (HY000) at line 9: Can't find record in 'items'" >&2
exit ${CLIENT_ENDS_WITH:-0}
"""


class Server(MariaDB):
    """A server that is reached by a script."""

    def __init__(self, config: Config, script: Script | None = None) -> None:
        super().__init__(config)
        self.script = script

    def connect(self, timeout: float) -> Connection:  # noqa: ARG002
        if self.script is None:
            raise DatabaseError("cannot connect")
        return self.script


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "state").mkdir()
    return Config(
        "lab",
        "www1",
        HOSTS,
        (),
        PKI,
        PKI,
        database_directory=str(tmp_path / "mysql"),
        state_directory=str(tmp_path / "state"),
        database_socket="/run/test.sock",
    )


Prepare = Callable[..., Rejoin]


@pytest.fixture
def host(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """A host with the captured logs of a version, and programs that print what that version printed."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("mariadb-binlog", BINLOG), ("mariadb", CLIENT)):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def prepare(version: str, script: Script | None = None) -> Rejoin:
        monkeypatch.setenv("FIXTURE", str(FIXTURES / f"logs-{version}"))
        shutil.copytree(FIXTURES / f"logs-{version}", config.database_directory)
        return Rejoin(config, Server(config, script))

    return prepare


def status(**fields: Any) -> Rows:
    """A row of ``SHOW SLAVE STATUS`` as after a start."""
    row = {
        "Master_Host": "0.0.0.12",
        "Slave_IO_Running": "No",
        "Slave_SQL_Running": "No",
        "Gtid_IO_Pos": "",
        "Last_SQL_Error": "",
        "Using_Gtid": "Slave_Pos",
    }
    return [{**row, **fields}]


def at(applied: str) -> Rows:
    return [{"binlog": applied, "applied": applied, "server_id": 12}]


class Replica(Script):
    """A replica with the captured relay log, whose SQL thread applies what it is told at once."""

    def __init__(self, applied: str, goal: str = "0-11-13,5-11-2", error: str = "") -> None:
        super().__init__()
        self.applied = applied
        self.goal = goal
        self.error = error
        self.using = "Slave_Pos"

    def rows(self, statement: str, arguments: Sequence[Any] = ()) -> Rows:
        self.sent.append(statement)
        self.arguments.append(tuple(arguments))
        if statement.startswith("START SLAVE SQL_THREAD UNTIL"):
            self.applied = self.goal
        elif statement.startswith("CHANGE MASTER TO MASTER_USE_GTID=no"):
            self.using = "No"
        elif statement == "RESET SLAVE":
            self.using = "Slave_Pos"
        elif statement == "SHOW SLAVE STATUS":
            return status(Using_Gtid=self.using, Last_SQL_Error=self.error)
        elif "gtid_binlog_pos" in statement:
            return at(self.applied)
        return []

    def acts(self) -> list[str]:
        return [each for each in self.sent if not each.startswith(("SHOW", "SELECT"))]


@BOTH
class TestRelayLog:
    """What was received and not applied."""

    def test_after_a_start_the_files_say_it(self, host: Prepare, version: str) -> None:
        assert host(version, Replica("0-11-7")).relay_pending()

    def test_all_applied(self, host: Prepare, version: str) -> None:
        assert not host(version, Replica("0-11-13,5-11-2")).relay_pending()

    def test_while_the_server_is_down_its_own_binary_log_says_what_is_applied(
        self, host: Prepare, config: Config, version: str
    ) -> None:
        replica = host(version)
        assert not replica.relay_pending()
        (Path(config.database_directory) / "failover-bin.index").write_text("./failover-bin.000001\n", encoding="utf-8")
        assert replica.relay_pending()

    def test_a_host_that_never_replicated(self, host: Prepare, config: Config, version: str) -> None:
        replica = host(version)
        (Path(config.database_directory) / "failover-relay.index").unlink()
        assert not replica.relay_pending()

    def test_salvage_applies_with_the_servers_own_thread_and_keeps_the_relay_log(
        self, host: Prepare, version: str
    ) -> None:
        replica = Replica("0-11-7")
        assert host(version, replica).salvage(replica) == "0-11-13,5-11-2"
        words = (FIXTURES / f"logs-{version}" / "relay-log.info").read_text(encoding="utf-8").split()
        assert replica.acts() == [
            "STOP SLAVE IO_THREAD",
            "STOP SLAVE",
            "CHANGE MASTER TO MASTER_USE_GTID=no, RELAY_LOG_FILE=%s, RELAY_LOG_POS=%s",
            "START SLAVE SQL_THREAD UNTIL RELAY_LOG_FILE=%s, RELAY_LOG_POS=%s",
            "STOP SLAVE",
            "STOP SLAVE",
            "RESET SLAVE",
        ]
        begin, end = (each for each in replica.arguments if each)
        assert begin == ("failover-relay.000002", int(words[2]))
        assert end == ("failover-relay.000005", {"10.11": 2002, "11.8": 2004}[version])

    def test_salvage_of_nothing_touches_nothing(self, host: Prepare, version: str) -> None:
        replica = Replica("0-11-13,5-11-2")
        assert host(version, replica).salvage(replica) == "0-11-13,5-11-2"
        assert replica.acts() == ["STOP SLAVE IO_THREAD"]

    def test_a_transaction_that_cannot_be_applied_is_named_and_nothing_is_reset(
        self, host: Prepare, version: str
    ) -> None:
        replica = Replica("0-11-7", goal="0-11-8", error="Duplicate entry '3'")
        with pytest.raises(RejoinError, match=r"up to 0-11-8 only, not 0-11-13,5-11-2: Duplicate entry '3'"):
            host(version, replica).salvage(replica)
        assert "RESET SLAVE" not in replica.sent

    def test_attaching_refuses_to_discard(self, host: Prepare, config: Config, version: str) -> None:
        replica = Replica("0-11-7")
        host(version, replica)
        with pytest.raises(DatabaseError, match="received up to 0-11-13,5-11-2, applied up to 0-11-7"):
            MariaDB(config).attach(replica, "0.0.0.12")
        assert not {"STOP SLAVE", "START SLAVE"} & set(replica.sent)


@BOTH
class TestDivergent:
    """Transactions that only this host has."""

    HISTORY = (Term(1, "www1"), Term(2, "www2", gtid="0-11-10,5-11-1"))

    def test_the_fork_is_found_without_the_server(self, host: Prepare, version: str) -> None:
        assert host(version).fork(self.HISTORY, "0-12-20,5-11-1") == "0-11-10,5-11-1"

    def test_they_are_saved_once(self, host: Prepare, config: Config, version: str) -> None:
        replica = host(version)
        saved = replica.save_divergent("0-11-10,5-11-1")
        assert saved is not None
        assert saved.transactions == 4
        assert saved.gtids == ("5-11-2", "0-11-11", "0-11-12", "0-11-13")
        assert saved.tables["shop.items"] == {"inserted": 1, "updated": 2, "deleted": 0}
        assert [str(each.gtid) for each in binlog.transactions([Path(saved.raw)])] == list(saved.gtids)
        summary = json.loads(Path(saved.summary).read_text(encoding="utf-8"))
        assert summary["schema"] == 1
        assert summary["position"] == "0-11-13,5-11-2"
        assert summary["first_at"] <= summary["last_at"]
        assert summary["first_at"].startswith("2026-11-23T08:09:5")
        assert replica.save_divergent("0-11-10,5-11-1") == saved
        assert replica.saved() == (saved,)
        folder = Path(config.state_directory) / "divergent"
        assert len(list(folder.iterdir())) == 1
        assert folder.stat().st_mode & 0o077 == 0

    def test_nothing_to_save(self, host: Prepare, version: str) -> None:
        assert host(version).save_divergent("0-11-13,5-11-2") is None

    def test_what_is_not_saved_whole_is_not_there(
        self, host: Prepare, config: Config, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replica = host(version)
        monkeypatch.setenv("BINLOG_ENDS_WITH", "1")
        with pytest.raises(RejoinError, match="were not saved"):
            replica.save_divergent("0-11-10,5-11-1")
        assert not list((Path(config.state_directory) / "divergent").iterdir())

    def test_a_full_disk_saves_nothing_and_says_so(
        self, host: Prepare, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replica = host(version)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(9, 9, 0))
        with pytest.raises(RejoinError, match="need room"):
            replica.save_divergent("0-11-10,5-11-1")


GOOD = {
    r"information_schema\.tables": [{"kind": "BASE TABLE", "engine": "InnoDB"}],
    r"table_constraints": [{"n": 1}],
    r"referential_constraints": [{"n": 0}],
    r"slave_run_triggers": [{"n": "NO"}],
    r"read_only": [{"n": 1}],
}


@BOTH
class TestFlashback:
    """Undoing in place, or not."""

    def test_undone_then_at_the_fork(self, host: Prepare, version: str, tmp_path: Path) -> None:
        script = Script(dict(GOOD))
        replica = host(version, script)
        saved = replica.save_divergent("0-11-10,5-11-1")
        assert saved is not None
        assert replica.why_not_flashback(script, saved) == ()
        replica.flashback(script, saved)
        acts = [each for each in script.sent if not each.startswith(("SHOW", "SELECT"))]
        assert acts == [
            "STOP SLAVE",
            "RESET SLAVE ALL",
            "RESET MASTER",
            "SET GLOBAL gtid_binlog_state=%s",
            "SET GLOBAL gtid_slave_pos=%s",
        ]
        assert script.arguments[-1] == ("0-11-10,5-11-1",)
        fed = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
        assert fed[0] == "--no-defaults --user=root --socket=/run/test.sock --binary-mode"
        assert fed[1:3] == ["SET SESSION sql_log_bin=0;", "START TRANSACTION;"]

    @pytest.mark.parametrize(
        ("pattern", "answer", "why"),
        [
            (r"information_schema\.tables", [], "shop.items does not exist any more"),
            (
                r"information_schema\.tables",
                [{"kind": "BASE TABLE", "engine": "Aria"}],
                "shop.orders is Aria, not InnoDB",
            ),
            (
                r"information_schema\.tables",
                [{"kind": "SYSTEM VERSIONED", "engine": "InnoDB"}],
                "shop.other is a system versioned",
            ),
            (r"table_constraints", [{"n": 0}], "shop.items has no primary key"),
            (r"referential_constraints", [{"n": 1}], "changes of shop.orders cascade, which the log does not tell"),
            (r"slave_run_triggers", [{"n": "YES"}], "triggers run for replicated rows"),
        ],
    )
    def test_obstacles(self, host: Prepare, version: str, pattern: str, answer: Rows, why: str) -> None:
        script = Script({**GOOD, pattern: answer})
        replica = host(version, script)
        saved = replica.save_divergent("0-11-10,5-11-1")
        assert saved is not None
        assert why in replica.why_not_flashback(script, saved)
        with pytest.raises(RejoinError, match="no flashback"):
            replica.flashback(script, saved)
        assert "STOP SLAVE" not in script.sent

    def test_a_change_of_the_schema_is_not_undone(self, host: Prepare, version: str) -> None:
        replica = host(version)
        saved = replica.save_divergent("0-11-10")
        assert saved is not None
        assert replica.why_not_flashback(Script(dict(GOOD)), saved) == ("a change of the schema",)

    def test_shared_transactions_that_came_later_keep_it_from_being_undone(self, host: Prepare, version: str) -> None:
        replica = host(version)
        saved = replica.save_divergent("0-11-13,5-11-1")
        assert saved is not None
        assert saved.gtids == ("5-11-2",)
        assert "0-11-11 came after them" in replica.why_not_flashback(Script(dict(GOOD)), saved)

    def test_too_much(self, host: Prepare, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rejoin, "FLASHBACK_LIMIT", 100)
        replica = host(version)
        saved = replica.save_divergent("0-11-10,5-11-1")
        assert saved is not None
        (why,) = replica.why_not_flashback(Script(dict(GOOD)), saved)
        assert "more than 100" in why

    def test_a_row_that_is_not_there_leaves_the_position_alone(
        self, host: Prepare, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLIENT_ENDS_WITH", "1")
        script = Script(dict(GOOD))
        replica = host(version, script)
        saved = replica.save_divergent("0-11-10,5-11-1")
        assert saved is not None
        with pytest.raises(RejoinError, match="Can't find record"):
            replica.flashback(script, saved)
        assert "RESET MASTER" not in script.sent

    def test_what_was_written_since_is_never_forgotten(
        self, host: Prepare, version: str, config: Config, tmp_path: Path
    ) -> None:
        script = Script(dict(GOOD))
        replica = host(version, script)
        saved = replica.save_divergent("0-11-10,5-11-1")
        assert saved is not None
        earlier = dataclasses.replace(saved, transactions=saved.transactions - 1)
        with pytest.raises(RejoinError, match="1 more transactions since"):
            replica.flashback(script, earlier)
        assert not (tmp_path / "calls").exists()
        # ... nor while it was undone.
        more = log_of(tmp_path / "more", gtid_event(14), rows(23, 1, 1), (16, bytes(8)))
        data = Path(config.database_directory)
        client = tmp_path / "bin" / "mariadb"
        client.write_text(
            f"#!/bin/sh\ncd {data}\ncp {more} failover-bin.000003\necho ./failover-bin.000003 >>failover-bin.index\n",
            encoding="utf-8",
        )
        with pytest.raises(RejoinError, match="1 more transactions since"):
            replica.flashback(script, saved)
        assert "RESET MASTER" not in script.sent

    def test_a_writable_server_is_left_alone(self, host: Prepare, version: str) -> None:
        script = Script({**GOOD, r"read_only": [{"n": 0}]})
        replica = host(version, script)
        saved = replica.save_divergent("0-11-10,5-11-1")
        assert saved is not None
        with pytest.raises(RejoinError, match="writable"):
            replica.flashback(script, saved)


class TestAttached:
    """Whether it really replicates."""

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            (status(Slave_IO_Running="Yes", Slave_SQL_Running="Yes", Slave_IO_State="Waiting for master to send"), ""),
            (status(Last_IO_Error="Got fatal error 1236"), "Got fatal error 1236"),
            (status(Slave_IO_Running="Connecting", Slave_SQL_Running="Yes"), "not attached within 0 s"),
            ([], "not attached within 0 s"),
        ],
    )
    def test_states(self, config: Config, row: Rows, why: str) -> None:
        found = Rejoin(config, MariaDB(config)).attached(Script({"SHOW SLAVE STATUS": row}), 0.0)
        assert found.startswith(why)
        assert bool(found) == bool(why)
