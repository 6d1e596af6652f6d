# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What MariaDB answers is understood (captures of real servers), and statements go out in the right order.

The fixtures were captured with pymysql's DictCursor: 10.11.19 (Debian 12) in every state of replication, 11.8.6
(Debian 13) in a healthy estate.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from failover_agent import gtid
from failover_agent.config import Config, Pki
from failover_agent.gates import REQUIRED_SETTINGS
from failover_agent.mariadb import (
    Connection,
    DatabaseError,
    MariaDB,
    Received,
    errant,
    parse_dumps,
    parse_replication,
    read_database,
)
from failover_agent.model import Database

Rows = list[dict[str, Any]]
FIXTURES = Path(__file__).parent / "fixtures"
HOSTS = {"www1": "198.51.100.11", "www2": "198.51.100.12", "www3": "198.51.100.13"}
DEV = {"www1": "198.51.100.75", "www2": "198.51.100.76"}
PKI = Pki("/ca.crt", "/mariadb.crt", "/mariadb.key")
CONFIG = Config("lab", "www1", HOSTS, ("https://198.51.100.11:2379",), PKI, PKI)


def captured(name: str) -> dict[str, Rows]:
    """One fixture."""
    rows: dict[str, Rows] = json.loads((FIXTURES / name).read_text(encoding="utf-8"))
    return rows


STATUS_10 = captured("mariadb-10.11-slave-status.json")
STATUS_11 = captured("mariadb-11.8-slave-status.json")


class Script(Connection):
    """A connection that answers by the first matching pattern, with rows, or with lists of rows one after the other."""

    def __init__(self, answers: dict[str, Any] | None = None, thread_id: int = 42) -> None:
        self.thread_id = thread_id
        self.answers = answers or {}
        self.sent: list[str] = []
        self.arguments: list[tuple[Any, ...]] = []
        self.closed = False

    def rows(self, statement: str, arguments: Sequence[Any] = ()) -> Rows:
        self.sent.append(statement)
        self.arguments.append(tuple(arguments))
        for pattern, answer in self.answers.items():
            if re.search(pattern, statement):
                if isinstance(answer, Exception):
                    raise answer
                if answer and isinstance(answer[0], list):
                    rows: Rows = answer.pop(0) if len(answer) > 1 else answer[0]
                    return rows
                return list(answer)
        return []

    def close(self) -> None:
        self.closed = True


class Server(MariaDB):
    """The adapter with a scripted connection of its own."""

    def __init__(self, kept: Script | None = None, *, open_ports: tuple[int, ...] = (3306, 3307)) -> None:
        super().__init__(CONFIG)
        self.scripted = kept or Script()
        self.open_ports = open_ports

    def connect(self, timeout: float) -> Connection:
        del timeout
        return self.scripted

    def _answers(self, address: str, port: int) -> bool:
        assert address
        return port in self.open_ports


def positions(binlog: str, applied: str, server: int = 1) -> Rows:
    """The answer to a question for both positions, from the server with id ``server``."""
    return [{"binlog": binlog, "applied": applied, "server_id": server}]


class TestReplication:
    """SHOW SLAVE STATUS."""

    @pytest.mark.parametrize(
        ("running", "errno", "turned_away"),
        [("Connecting", 1040, True), ("Connecting", 2003, False), ("Yes", 0, False), ("No", 1040, False)],
    )
    def test_turned_away(self, running: str, errno: int, turned_away: bool) -> None:
        row = STATUS_11["healthy"][0] | {"Slave_IO_Running": running, "Last_IO_Errno": errno}
        found = parse_replication([row])
        assert found is not None
        assert found.turned_away is turned_away

    @pytest.mark.parametrize("rows", [STATUS_10["healthy"], STATUS_11["healthy"]], ids=["10.11", "11.8"])
    def test_healthy(self, rows: Rows) -> None:
        found = parse_replication(rows)
        assert found is not None
        assert (found.io_running, found.sql_running, found.io_connecting) == (True, True, False)
        assert found.uses_gtid
        assert found.lag_seconds == 0
        assert found.error == ""
        assert gtid.parse(found.gtid_io_pos)

    def test_the_primary_has_none(self) -> None:
        assert parse_replication([]) is None

    def test_stopped_is_no_error(self) -> None:
        """A restarted replica looks like this; it only has to be started."""
        found = parse_replication(STATUS_10["stopped"])
        assert found is not None
        assert (found.io_running, found.io_connecting, found.sql_running) == (False, False, False)
        assert (found.error, found.lag_seconds, found.gtid_io_pos) == ("", None, "")

    @pytest.mark.parametrize("state", ["connecting", "denied"])
    def test_connecting_goes_on_by_itself_and_is_no_error(self, state: str) -> None:
        assert STATUS_10[state][0]["Last_IO_Error"]
        found = parse_replication(STATUS_10[state])
        assert found is not None
        assert (found.io_running, found.io_connecting, found.sql_running) == (False, True, True)
        assert (found.error, found.lag_seconds) == ("", None)

    def test_a_statement_that_failed_is_an_error(self) -> None:
        found = parse_replication(STATUS_10["sql_error"])
        assert found is not None
        assert (found.io_running, found.sql_running) == (True, False)
        assert "Duplicate entry '7'" in found.error

    def test_a_history_that_the_primary_does_not_know_is_an_error(self) -> None:
        found = parse_replication(STATUS_10["io_error"])
        assert found is not None
        assert (found.io_running, found.io_connecting) == (False, False)
        assert "fatal error 1236" in found.error

    def test_preparing_counts_as_connecting(self) -> None:
        found = parse_replication([STATUS_10["connecting"][0] | {"Slave_IO_Running": "Preparing"}])
        assert found is not None
        assert found.io_connecting

    def test_replication_by_file_position_is_told_apart(self) -> None:
        found = parse_replication([STATUS_10["healthy"][0] | {"Using_Gtid": "No"}])
        assert found is not None
        assert not found.uses_gtid


class TestDumps:
    """The binlog dump threads in the process list."""

    @pytest.mark.parametrize(
        ("fixture", "hosts"), [("mariadb-10.11-server.json", HOSTS), ("mariadb-11.8-server.json", DEV)]
    )
    def test_a_replica_that_has_everything(self, fixture: str, hosts: dict[str, str]) -> None:
        rows = [row for row in captured(fixture)["primary_processes"] if str(row["command"]).startswith("Binlog Dump")]
        assert len(rows) == 1
        assert parse_dumps(rows, hosts) == (("www2",), ("www2",))

    def test_one_that_is_being_sent_something_is_not_caught_up(self) -> None:
        rows = [
            {"host": "198.51.100.12:40000", "state": "Sending binlog event to slave"},
            {"host": "198.51.100.13:40001", "state": "Master has sent all binlog to slave; waiting for more updates"},
        ]
        assert parse_dumps(rows, HOSTS) == (("www2", "www3"), ("www3",))

    def test_strangers_do_not_count(self) -> None:
        rows = [{"host": "192.0.2.1:5", "state": "Master has sent all binlog to slave; waiting for more updates"}]
        assert parse_dumps(rows, HOSTS) == ((), ())

    def test_the_old_thread_of_a_replica_that_came_back_is_the_same_replica(self) -> None:
        state = "Master has sent all binlog to slave; waiting for more updates"
        rows = [
            {"host": "198.51.100.12:1", "state": "Sending binlog event"},
            {"host": "198.51.100.12:2", "state": state},
        ]
        assert parse_dumps(rows, HOSTS) == (("www2",), ("www2",))


@pytest.mark.parametrize(
    ("fixture", "version", "hosts"),
    [("mariadb-10.11-server.json", "10.11.19", HOSTS), ("mariadb-11.8-server.json", "11.8.6", DEV)],
)
def test_a_primary_is_read_in_one_go(fixture: str, version: str, hosts: dict[str, str]) -> None:
    raw = captured(fixture)
    dumps = [row for row in raw["primary_processes"] if str(row["command"]).startswith("Binlog Dump")]
    connection = Script({"^SELECT VERSION": raw["row"], "Rpl_semi_sync": raw["clients"], "Binlog Dump": dumps})
    found = read_database(connection, hosts)
    assert (found.running, found.version, found.read_only, found.replication) == (True, version, False, None)
    assert (found.semi_sync_primary, found.semi_sync_clients) == (True, 1)
    assert found.caught_up == ("www2",)
    assert found.position == found.gtid_binlog_pos


@pytest.mark.parametrize(
    ("binlog", "applied", "found"),
    [
        ("0-11-5", "0-11-5", ""),
        ("0-12-7", "0-11-6", "0-12-7"),
        ("0-12-7", "0-12-7", ""),  # It was the primary once.
        ("0-12-7", "0-11-9", ""),
        ("0-11-7", "0-11-6", ""),  # Applied a moment ago, between the two readings.
        ("0-11-5,3-12-1", "0-11-5", "3-12-1"),
        ("", "0-11-5", ""),
        ("0-12-1", "", "0-12-1"),
    ],
)
def test_a_write_by_hand_is_seen_before_replication_stumbles_over_it(binlog: str, applied: str, found: str) -> None:
    assert errant({"binlog": binlog, "applied": applied, "server_id": 12}) == found


def semi_sync(**values: int) -> Rows:
    """``SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_%'``."""
    return [{"Variable_name": f"Rpl_semi_sync_master_{name}", "Value": str(value)} for name, value in values.items()]


class TestTrouble:
    """Full disks and frozen replicas, as 10.11.19 and 11.8.6 show them."""

    FULL = "Waiting for someone to free space"

    def read(self, threads: Rows, status: Rows | None = None) -> tuple[Database, Script]:
        row = {"version": "11.8.6-MariaDB", "read_only": 0, "binlog": "0-1-6", "applied": "", "waits": 1}
        script = Script(
            {"^SELECT VERSION": [{**row, "acknowledges": 0}], "Rpl_semi": status or [], "Binlog Dump": threads}
        )
        return read_database(script, HOSTS), script

    def test_a_primary_with_a_full_disk_answers(self) -> None:
        dump = {"host": "198.51.100.12:1", "state": "Master has sent all binlog to slave; waiting for more updates"}
        found, _script = self.read([dump, {"host": "localhost", "state": self.FULL}])
        assert (found.running, found.hung, found.disk_full) == (True, False, True)
        assert found.attached == ("www2",)

    def test_a_replica_with_a_full_disk_is_not_asked_what_it_cannot_answer(self) -> None:
        found, script = self.read([{"host": "", "state": self.FULL}])
        assert (found.running, found.hung, found.disk_full) == (False, True, True)
        assert "space" in found.error
        assert "SHOW SLAVE STATUS" not in script.sent

    def test_a_replica_that_acknowledges_nothing_is_connected_all_the_same(self) -> None:
        found, _script = self.read([], semi_sync(clients=1, get_ack=17, request_ack=18, wait_sessions=1))
        assert (found.semi_sync_clients, found.semi_sync_waits, found.semi_sync_acks) == (1, 1, 17)

    def test_a_frozen_server_takes_the_connection_and_says_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "frozen.sock"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            with pytest.raises(DatabaseError) as raised:
                Connection(str(path), 0.2)
        assert raised.value.timed_out

    def test_it_is_called_hung(self) -> None:
        found = Server(Script({"VERSION": DatabaseError("timed out", timed_out=True)})).observe()
        assert (found.running, found.hung) == (False, True)
        assert not Server(Script({"VERSION": DatabaseError("refused")})).observe().hung


class TestReceived:
    """What a replica has received, from its captured states."""

    def test_while_replication_runs_the_server_knows(self) -> None:
        connection = Script({"gtid_binlog_pos": positions("0-1-5", "0-1-5"), "SHOW SLAVE": STATUS_10["healthy"]})
        found = Server().received(connection)
        assert found == Received(False, True, "0-1-5", "0-1-5", unapplied=False)

    def test_what_is_not_applied(self) -> None:
        connection = Script({"gtid_binlog_pos": positions("0-1-7", "0-1-7"), "SHOW SLAVE": STATUS_10["sql_error"]})
        found = Server().received(connection)
        assert (found.position, found.applied, found.unapplied, found.sql_running) == ("0-1-8", "0-1-7", True, False)
        assert "Duplicate entry" in found.error

    def test_a_server_that_is_no_replica_has_what_it_has(self) -> None:
        found = Server().received(Script({"gtid_binlog_pos": positions("0-1-7", "0-1-5")}))
        assert found == Received(True, False, "0-1-7", "0-1-7", unapplied=False)

    def test_attaching_never_discards_what_nothing_applies(self) -> None:
        connection = Script({"gtid_binlog_pos": positions("0-1-7", "0-1-7"), "SHOW SLAVE": STATUS_10["sql_error"]})
        with pytest.raises(DatabaseError, match="received up to 0-1-8, applied up to 0-1-7: Error 'Duplicate entry"):
            Server().attach(connection, "198.51.100.12")
        assert "STOP SLAVE" not in connection.sent

    def test_it_does_when_told_that_the_primary_has_it(self) -> None:
        connection = Script({"gtid_binlog_pos": positions("0-1-7", "0-1-7"), "SHOW SLAVE": STATUS_10["sql_error"]})
        Server().attach(connection, "198.51.100.12", keep_received=False)
        assert connection.sent[-1] == "START SLAVE"


class TestObserve:
    """Looking at a server that may be away."""

    def test_a_server_that_is_away_is_not_running_and_says_why(self) -> None:
        server = Server(Script({"VERSION": DatabaseError("(2013, 'Lost connection')")}))
        found = server.observe()
        assert not found.running
        assert "Lost connection" in found.error
        assert server.scripted.closed, "the next look opens another connection"

    def test_no_server_at_all(self, tmp_path: Path) -> None:
        config = Config("lab", "www1", HOSTS, (), PKI, PKI, database_socket=str(tmp_path / "none.sock"))
        found = MariaDB(config).observe()
        assert not found.running
        assert "none.sock" in found.error


class Full(MariaDB):
    """The adapter with a socket that is refused, and a port that is what a test says."""

    def __init__(self, path: Path, by_port: Connection | DatabaseError) -> None:
        super().__init__(Config("lab", "www1", HOSTS, (), PKI, PKI, database_socket=str(path)))
        self.by_port = by_port

    def _by_port(self, timeout: float) -> Connection:
        del timeout
        if isinstance(self.by_port, DatabaseError):
            raise self.by_port
        return self.by_port


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Callable[[bytes], Path]]:
    """Listen on a unix socket and greet everybody with an error packet of MariaDB."""
    with contextlib.ExitStack() as stack:

        def listen(error: bytes) -> Path:
            path = tmp_path / "refusing.sock"
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(path))
            listening.listen()

            def greet() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        taken, _peer = listening.accept()
                        taken.sendall(len(error).to_bytes(3, "little") + b"\0" + error)
                        taken.close()

            threading.Thread(target=greet, daemon=True).start()
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            return path

        yield listen


#: As 10.11.19 and 11.8.9 send it when clients have taken all connections, and for a host that is not let in.
TOO_MANY = b"\xff\x10\x04#08004Too many connections"
NOT_ALLOWED = b"\xff\x6a\x04Host is not allowed to connect to this MariaDB server"


class TestFull:
    """Clients have taken all connections."""

    def test_the_port_for_replicas_is_left(self, refusing: Callable[[bytes], Path]) -> None:
        spare = Script()
        assert Full(refusing(TOO_MANY), spare).connect(2.0) is spare

    def test_without_it_both_errors_are_told(self, refusing: Callable[[bytes], Path]) -> None:
        server = Full(refusing(TOO_MANY), DatabaseError("cannot connect to 3307: refused"))
        with pytest.raises(DatabaseError, match=r"refusing\.sock: .*Too many connections.*; cannot connect to 3307"):
            server.connect(2.0)
        found = server.observe()
        assert (found.running, found.hung) == (False, False)

    def test_another_refusal_is_none_of_that(self, refusing: Callable[[bytes], Path]) -> None:
        with pytest.raises(DatabaseError, match="not allowed") as raised:
            Full(refusing(NOT_ALLOWED), Script()).connect(2.0)
        assert not raised.value.full

    def test_the_port_is_asked_by_certificate(self) -> None:
        """No such file, so that it fails before it asks anybody."""
        with pytest.raises(DatabaseError, match=r"cannot connect to 3307: .*No such file"):
            MariaDB(CONFIG)._by_port(1.0)

    def test_a_backup_takes_the_port_where_there_is_one(self, tmp_path: Path) -> None:
        spare = Script()
        assert Full(tmp_path / "any.sock", spare).client_options() == [
            "--user=failover_agent",
            "--host=127.0.0.1",
            "--port=3307",
            "--ssl",
            "--ssl-ca=/ca.crt",
            "--ssl-cert=/mariadb.crt",
            "--ssl-key=/mariadb.key",
        ]
        assert spare.closed
        without = Full(tmp_path / "any.sock", DatabaseError("refused"))
        assert without.client_options() == ["--user=root", f"--socket={tmp_path / 'any.sock'}"]


class TestLacks:
    """A server that runs since before it was given its second port."""

    @pytest.mark.parametrize(("port", "lacks"), [(3307, False), (0, True), (3317, True)])
    def test_it_is_told(self, port: int, lacks: bool) -> None:
        server = Server(Script({"@@extra_port": [{"port": port}]}))
        assert server.lacks == "", "nothing is said of a server that was not asked yet"
        server.foreign_data()
        assert server.lacks == (
            "MariaDB does not listen on port 3307 yet: clients that use up its connections can lock replicas out"
            if lacks
            else ""
        )


class TestActivity:
    """What a switchover would disturb."""

    def read(self, *texts: str, oldest: object = 0) -> tuple[float, tuple[str, ...], tuple[str, ...]]:
        connection = Script({"innodb_trx": [{"age": oldest}], "SELECT info": [{"info": text} for text in texts]})
        found = Server().activity(connection)
        return found.oldest_transaction_seconds, found.schema_changes, found.backups

    def test_nothing(self) -> None:
        assert self.read() == (0.0, (), ())
        assert self.read(oldest=None) == (0.0, (), ())

    def test_the_oldest_transaction_is_a_number_whatever_pymysql_makes_of_it(self) -> None:
        assert self.read(oldest=Decimal("7.2500"))[0] == 7.25
        assert self.read(oldest=-0.001)[0] == 0.0, "a clock that was set back"

    @pytest.mark.parametrize(
        "text",
        [
            "ALTER TABLE guestbook ADD INDEX (at)",
            "  alter\n table x",
            "/* migration 7 */ /* two */ CREATE INDEX i ON t (a)",
            "OPTIMIZE TABLE t",
            "TRUNCATE t",
        ],
    )
    def test_schema_changes(self, text: str) -> None:
        assert self.read(text)[1] == (" ".join(text.split()),)

    @pytest.mark.parametrize(
        "text", ["BACKUP STAGE BLOCK_COMMIT", "FLUSH TABLES WITH READ LOCK", "backup  stage start"]
    )
    def test_backups(self, text: str) -> None:
        assert self.read(text)[2] == (" ".join(text.split()),)

    @pytest.mark.parametrize(
        "text", ["INSERT INTO t VALUES ('ALTER TABLE')", "SELECT 1", "altered()", "UPDATE t SET a=1"]
    )
    def test_ordinary_statements(self, text: str) -> None:
        assert self.read(text) == (0.0, (), ())

    def test_a_long_statement_is_cut_where_it_is_shown_and_not_where_it_is_judged(self) -> None:
        (shown,) = self.read(f"/* {'x' * 200} */ ALTER TABLE t ADD a INT")[1]
        assert len(shown) == 120


class TestPosition:
    """The final position behind the fence."""

    def test_it_is_read_until_it_stands_still(self) -> None:
        readings = [positions("0-1-5", ""), positions("0-1-6", ""), positions("0-1-6", "")]
        assert Server().position(Script({"gtid_binlog_pos": readings})) == "0-1-6"

    def test_a_former_replica_holds_what_it_applied_too(self) -> None:
        assert Server().position(Script({"gtid_binlog_pos": positions("0-1-5", "0-2-9,1-1-1")})) == "0-2-9,1-1-1"

    def test_somebody_who_writes_through_the_fence_is_noticed(self) -> None:
        readings = [positions(f"0-1-{number}", "") for number in range(20)]
        with pytest.raises(DatabaseError, match="still moves under read_only"):
            Server().position(Script({"gtid_binlog_pos": readings}))


class TestWaitFor:
    """Whether a server has a position."""

    def test_what_it_has_needs_no_waiting(self) -> None:
        connection = Script({"gtid_binlog_pos": positions("0-1-5", "0-2-9")})
        assert Server().wait_for(connection, "0-1-7", 2.0)
        assert not any("MASTER_GTID_WAIT" in statement for statement in connection.sent)

    @pytest.mark.parametrize(
        ("binlog", "applied", "wanted"),
        [
            ("0-1-17", "0-2-16", "0-2-17"),
            ("0-1-18", "0-2-16", "0-2-17"),
            ("0-1-17,1-2-5", "0-2-16,1-2-5", "0-2-17,1-2-5"),
            ("0-1-17", "0-2-16", "0-1-18"),
            ("0-1-17", "", "0-1-17,1-1-1"),
        ],
    )
    def test_a_write_of_its_own_is_not_taken_for_what_it_lacks(self, binlog: str, applied: str, wanted: str) -> None:
        """A simulated switchover lost a write: somebody wrote on the heir, and the number was the one waited for."""
        connection = Script({"gtid_binlog_pos": positions(binlog, applied), "MASTER_GTID_WAIT": [{"x": -1}]})
        assert not Server().wait_for(connection, wanted, 0.1)

    @pytest.mark.parametrize(
        ("binlog", "applied", "wanted"),
        [
            ("0-1-17", "", "0-1-17"),
            ("0-1-17", "0-2-9", "0-1-12"),
            ("0-2-17", "0-2-17", "0-2-17"),
            ("", "0-2-5", "0-2-5"),
        ],
    )
    def test_what_it_wrote_as_primary_it_has(self, binlog: str, applied: str, wanted: str) -> None:
        assert Server().wait_for(Script({"gtid_binlog_pos": positions(binlog, applied)}), wanted, 0.1)

    @pytest.mark.parametrize(("answer", "reached"), [(0, True), (-1, False), (None, False)])
    def test_what_it_has_not_is_waited_for(self, answer: int | None, reached: bool) -> None:
        connection = Script({"gtid_binlog_pos": positions("", "0-2-3"), "MASTER_GTID_WAIT": [{"x": answer}]})
        assert Server().wait_for(connection, "0-2-9", 2.0) is reached
        assert connection.arguments[-1] == ("0-2-9", 2.0)


SESSIONS: Rows = [
    {"id": 42, "user": "root"},
    {"id": 50, "user": "root"},
    {"id": 51, "user": "guestbook"},
    {"id": 52, "user": "admin"},
    {"id": 53, "user": "deploy@ci"},
]
PRIVILEGED: Rows = [{"grantee": "'root'@'localhost'"}, {"grantee": "'admin'@'%'"}, {"grantee": "'deploy@ci'@'%'"}]


class TestKillClients:
    """Ending sessions."""

    def killed(self, connection: Script) -> list[str]:
        """Whom it ended."""
        return [statement for statement in connection.sent if statement.startswith("KILL")]

    def script(self) -> Script:
        return Script({"SELECT id, user": SESSIONS, "grantee": PRIVILEGED})

    def test_all_but_oneself_and_those_to_keep(self) -> None:
        connection = self.script()
        assert Server().kill_clients(connection, keep=(50,)) == 3
        assert self.killed(connection) == ["KILL CONNECTION 51", "KILL CONNECTION 52", "KILL CONNECTION 53"]

    def test_only_those_that_read_only_does_not_stop(self) -> None:
        connection = self.script()
        assert Server().kill_clients(connection, keep=(50,), privileged_only=True) == 2
        assert self.killed(connection) == ["KILL CONNECTION 52", "KILL CONNECTION 53"]

    def test_the_agents_own_kept_connection_stays(self) -> None:
        server = Server(Script(thread_id=50))
        server.wait_for_replicas(enabled=True)
        connection = self.script()
        server.kill_clients(connection)
        assert "KILL CONNECTION 50" not in self.killed(connection)

    def test_a_session_that_has_ended_meanwhile_is_no_trouble(self) -> None:
        connection = Script({"SELECT id, user": SESSIONS, "KILL": DatabaseError("(1094, 'Unknown thread id')")})
        assert Server().kill_clients(connection) == 0

    def test_real_privileges_are_understood(self) -> None:
        rows = [{"grantee": row["GRANTEE"]} for row in captured("mariadb-10.11-server.json")["privileges"]]
        connection = Script({"SELECT id, user": [{"id": 1, "user": "w"}, {"id": 2, "user": "v"}], "grantee": rows})
        assert Server().kill_clients(connection, privileged_only=True) == 1


class TestRoles:
    """Promotion and attachment, statement by statement."""

    def test_a_promotion_stops_replicating_then_waits_for_replicas_then_writes(self) -> None:
        connection = Script({"gtid_binlog_pos": positions("", "0-2-9")})
        Server().promote(connection, "0-2-9", wait_for_replica=True, limit=3.0)
        assert connection.sent[-4:] == [
            "STOP SLAVE",
            "RESET SLAVE ALL",
            "SET GLOBAL rpl_semi_sync_master_enabled=1",
            "SET GLOBAL read_only=0",
        ]

    def test_a_promotion_that_lacks_something_changes_nothing(self) -> None:
        connection = Script({"gtid_binlog_pos": positions("", "0-2-8"), "MASTER_GTID_WAIT": [{"x": -1}]})
        with pytest.raises(DatabaseError, match="0-2-9 was not applied within 3 s"):
            Server().promote(connection, "0-2-9", wait_for_replica=True, limit=3.0)
        assert not [statement for statement in connection.sent if not statement.startswith("SELECT")]

    def attach(self, binlog: str, applied: str) -> Script:
        connection = Script({"gtid_binlog_pos": positions(binlog, applied)})
        Server().attach(connection, "198.51.100.12")
        return connection

    def test_a_former_primary_starts_from_what_it_wrote(self) -> None:
        connection = self.attach("0-1-9", "0-2-5")
        kinds = [" ".join(statement.split()[:3]) for statement in connection.sent]
        assert kinds == [
            "STOP SLAVE IO_THREAD",
            "SET GLOBAL rpl_semi_sync_master_enabled=0,",
            "SHOW SLAVE STATUS",
            "STOP SLAVE",
            "SELECT @@gtid_binlog_pos AS",
            "SET GLOBAL gtid_slave_pos=%s",
            "CHANGE MASTER TO",
            "START SLAVE",
        ]
        assert connection.arguments[5] == ("0-1-9",)

    def test_a_replica_keeps_its_position(self) -> None:
        assert not any("gtid_slave_pos=%s" in statement for statement in self.attach("0-2-5", "0-2-5").sent)

    def test_replication_is_by_gtid_over_verified_tls_and_reconnects_at_once(self) -> None:
        connection = self.attach("", "0-2-5")
        statement = next(each for each in connection.sent if each.startswith("CHANGE MASTER"))
        for word in (
            "MASTER_USE_GTID=slave_pos",
            "MASTER_SSL=1",
            "MASTER_SSL_VERIFY_SERVER_CERT=1",
            "MASTER_CONNECT_RETRY=1",
            "MASTER_HEARTBEAT_PERIOD=0.5",
        ):
            assert word in statement
        arguments = connection.arguments[connection.sent.index(statement)]
        assert arguments == ("198.51.100.12", 3307, "failover_repl", "/ca.crt", "/mariadb.crt", "/mariadb.key")

    @pytest.mark.parametrize(
        ("open_ports", "chosen"),
        [((3306, 3307), 3307), ((3307,), 3307), ((), 3307), ((3306,), 3306)],
        ids=["both", "clients are kept out", "the link is cut", "not restarted since setup"],
    )
    def test_replicas_connect_where_clients_cannot_keep_them_out(
        self, open_ports: tuple[int, ...], chosen: int
    ) -> None:
        connection = Script({"gtid_binlog_pos": positions("", "0-2-5")})
        Server(open_ports=open_ports).attach(connection, "198.51.100.12")
        statement = next(each for each in connection.sent if each.startswith("CHANGE MASTER"))
        assert connection.arguments[connection.sent.index(statement)][1] == chosen

    def test_a_link_that_comes_back_in_between_is_no_reason_for_the_port_of_clients(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection, answers = Script({"gtid_binlog_pos": positions("", "0-2-5")}), [False, True, True]
        server = Server()
        monkeypatch.setattr(server, "_answers", lambda _address, _port: answers.pop(0))
        server.attach(connection, "198.51.100.12")
        statement = next(each for each in connection.sent if each.startswith("CHANGE MASTER"))
        assert connection.arguments[connection.sent.index(statement)][1] == 3307

    @pytest.mark.parametrize(
        ("port", "applied", "last"),
        [
            (3307, "0-1-5", ["START SLAVE IO_THREAD"]),
            (3306, "0-1-5", ["CHANGE", "START SLAVE"]),
            (3306, "0-1-4", ["START SLAVE IO_THREAD"]),
        ],
        ids=["the right one", "nothing is lost", "something is not applied"],
    )
    def test_a_port_is_changed_when_nothing_is_lost_by_it(self, port: int, applied: str, last: list[str]) -> None:
        status = [{**STATUS_10["healthy"][0], "Master_Port": port, "Gtid_IO_Pos": "0-1-5"}]
        connection = Script(
            {
                "gtid_binlog_pos": positions(applied, applied),
                "SHOW SLAVE": status,
                "MASTER_GTID_WAIT": [{"reached": -1}],
            }
        )
        Server().attach(connection, str(status[0]["Master_Host"]))
        done = [each for each in connection.sent if each.startswith(("CHANGE", "START"))]
        assert [each if each.startswith("START") else "CHANGE" for each in done] == last

    @pytest.mark.parametrize(
        ("pending", "last"),
        [([True, False], ["CHANGE", "START SLAVE"]), ([True] * 99, ["START SLAVE IO_THREAD"])],
        ids=["applied in time", "not applied"],
    )
    def test_a_replica_that_goes_by_files_returns_to_gtids_when_all_is_applied(
        self, pending: list[bool], last: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A salvage that met an error leaves it so, and the person who repairs that says START SLAVE."""
        status = [{**STATUS_10["healthy"][0], "Using_Gtid": "No", "Gtid_IO_Pos": ""}]
        connection = Script({"gtid_binlog_pos": positions("0-2-5", "0-2-5", 3), "SHOW SLAVE": status})
        said = iter(pending)

        def received(_self: MariaDB, _connection: Connection) -> Received:
            return Received(True, True, "0-2-6", "0-2-5", next(said))

        monkeypatch.setattr(MariaDB, "received", received)
        Server().attach(connection, str(status[0]["Master_Host"]), limit=0.2)
        done = [each for each in connection.sent if each.startswith(("CHANGE", "START"))]
        assert [each if each.startswith("START") else "CHANGE" for each in done] == last

    def test_whether_a_port_answers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            assert MariaDB(CONFIG)._answers("127.0.0.1", port)
        assert not MariaDB(CONFIG)._answers("127.0.0.1", port)

    def test_settings_that_a_primary_needs(self) -> None:
        row = {"log_bin": 1, "log_slave_updates": 1, "gtid_strict_mode": 0}
        found = dict(Server().settings(Script({"@@log_bin": [row]})))
        assert found.keys() == REQUIRED_SETTINGS.keys()
        assert found["gtid_strict_mode"] == "0"

    def test_a_fence_gives_up_in_time(self) -> None:
        connection = Script()
        Server().make_read_only(connection, 3.0)
        assert connection.sent == ["SET SESSION lock_wait_timeout=3", "SET GLOBAL read_only=1"]


class TestEvents:
    """Scheduled events run on the primary only."""

    def test_events_that_replication_disabled_are_enabled(self) -> None:
        connection = Script({"information_schema.events": [{"event_schema": "shop", "event_name": "a`b"}]})
        assert Server().enable_events(connection) == 1
        assert connection.sent[-1] == "ALTER EVENT `shop`.`a``b` ENABLE"

    @pytest.mark.parametrize(("state", "set_to"), [("ON", "OFF"), ("OFF", "OFF"), ("DISABLED", None)])
    def test_a_scheduler_that_is_disabled_at_start_is_left_alone(self, state: str, set_to: str | None) -> None:
        connection = Script({"@@event_scheduler": [{"x": state}]})
        Server().events(connection, enabled=False)
        assert connection.sent[1:] == ([f"SET GLOBAL event_scheduler={set_to}"] if set_to else [])


def test_what_is_foreign_is_named() -> None:
    server = Server(Script({"schemata": [{"name": "shop"}], "mysql.user": [{"name": "old"}]}))
    assert server.foreign_data() == ("schema shop", "account old")
