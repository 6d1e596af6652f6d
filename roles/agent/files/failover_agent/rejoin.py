# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What becomes of MariaDB's data when things went wrong: what was received is applied, what nobody else has is saved.

Three ways back for a host, tried in this order, each of which loses nothing that was acknowledged:

- its history is part of the primary's: it attaches, after all that it had received is applied (:meth:`Rejoin.salvage`);
- it holds transactions beyond the fork: they are saved (:meth:`Rejoin.save_divergent`), then undone in place where
  their rows tell how (:meth:`Rejoin.flashback`);
- otherwise they are saved and the host gets a new copy (:meth:`failover_agent.seed.DataDirectory.replace`).
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from failover_agent import binlog, gtid
from failover_agent.binlog import BinlogError, Transaction
from failover_agent.config import Config
from failover_agent.gtid import Gtid, Position
from failover_agent.host import sync
from failover_agent.mariadb import Connection, DatabaseError, MariaDB
from failover_agent.model import Term

_log = logging.getLogger("failover-agent.rejoin")
#: A salvage that applies nothing for so long has failed (seconds).
STALL_LIMIT = 30.0
#: More than this is not undone but copied anew (bytes of binary log).
FLASHBACK_LIMIT = 64 * 1024**2
#: Seconds for one run of mariadb-binlog or mariadb.
_RUN_LIMIT = 600.0
#: So many transactions and statements are named in a summary.
_NAMED = 1000
_ROW = re.compile(r"^### (INSERT INTO|UPDATE|DELETE FROM) (`(?:[^`]|``)*`\.`(?:[^`]|``)*`)$")
_WORDS = {"INSERT INTO": "inserted", "UPDATE": "updated", "DELETE FROM": "deleted"}
_STATEMENT = re.compile(r"^#Q> (.*)$")
#: The head of an event that is a statement, and the lines by which mariadb-binlog sets the stage for it.
_QUERY = re.compile(r"^#\d{6} .*\tQuery\t")
_STAGE = re.compile(r"^(SET (@@session\.|TIMESTAMP=)|/\*|use |#)")
#: Lines by which mariadb-binlog gives a transaction its old identity.
_IDENTITY = re.compile(
    rb"^/\*M?!1\d{5} SET @@session\.(gtid_domain_id|server_id|gtid_seq_no|skip_parallel_replication)="
)
#: Lines by which it opens and closes transactions; they stand alone, as everything else is base64 or a comment.
_BOUNDARIES = {
    b"START TRANSACTION/*!*/;",
    b"BEGIN/*!*/;",
    b"COMMIT/*!*/;",
    b"COMMIT",
    b"ROLLBACK/*!*/;",
    b"ROLLBACK /* added by mysqlbinlog */;",
}


class RejoinError(DatabaseError):
    """It cannot be done, or not safely; the text says why. Nothing was discarded."""


@dataclass(frozen=True)
class Saved:
    """Transactions that only this host had, as they were kept. Paths are absolute.

    ``sql`` is to be read, ``replay`` can be fed to the ``mariadb`` of the primary, ``raw`` is a binary log.
    """

    transactions: int
    sql: str
    raw: str
    replay: str
    summary: str
    fork: str
    at: str
    gtids: tuple[str, ...] = ()
    tables: dict[str, dict[str, int]] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------ pure


def servers(hosts: dict[str, str]) -> dict[str, int]:
    """MariaDB's server ids of the data hosts: the numbers of their addresses, as the role sets them."""
    return {name: int(IPv4Address(address)) for name, address in hosts.items()}


def judge(history: Sequence[Term], ids: dict[str, int], present: str = "") -> Callable[[Gtid], bool]:
    """A function that says whether a transaction is part of the estate's history.

    In a term only its primary writes, from the position at which the term began up to the one at which the next began,
    or up to ``present``, where the primary is now. What is older than the history, and what no data host of the estate
    wrote (it came with an adopted database), is taken as part of it as far as the terms reach. A sequence number is
    given once: where a position names a transaction, another server's of the same number is no part of it. (MariaDB's
    DDL recovery writes to the binary log of a replica when it starts after a power loss; measured with 11.8.6.)

    :raises RejoinError: the history does not say where a primary began.
    """
    if not history or (history[0].term > 1 and not history[0].gtid):
        raise RejoinError("the history of the estate does not go back far enough to tell what belongs to it")
    begins: list[tuple[Position, int | None]] = []
    for number, term in enumerate(history):
        if number and not term.gtid:
            if term.primary == history[number - 1].primary:
                continue  # It came back; its writing goes on.
            raise RejoinError(f"the history does not say where {term.primary} began in term {term.term}")
        begins.append((gtid.parse(term.gtid), ids.get(term.primary)))
    estate = set(ids.values())
    now = gtid.parse(present)
    places = (*(begin for begin, _server in begins), now)
    named = {(last.domain, last.sequence): last.server for place in places for last in place.last}

    def official(each: Gtid) -> bool:
        if named.get((each.domain, each.sequence), each.server) != each.server:
            return False
        if begins and not binlog.beyond(each, begins[0][0]):
            return True
        for number, (begin, writer) in enumerate(begins):
            end = begins[number + 1][0] if number + 1 < len(begins) else now
            if binlog.beyond(each, begin) and not binlog.beyond(each, end):
                return each.server == writer or each.server not in estate
        return False

    return official


def fork(official: Callable[[Gtid], bool], start: Position, found: Iterable[Gtid]) -> Position:
    """Where a host's own history leaves the estate's, given its transactions in order and the position before them.

    Everything beyond the result is divergent: after the first transaction of a domain that is not part of the history,
    none of that domain is.
    """
    last = start.domains()
    ended: set[int] = set()
    for each in found:
        if each.domain in ended:
            continue
        if official(each):
            last[each.domain] = each
        else:
            ended.add(each.domain)
    return Position(tuple(sorted(last.values())))


def summarise(lines: Iterable[str]) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Rows by table and kind, and the first lines of the statements, from ``mariadb-binlog -vv``."""
    tables: dict[str, dict[str, int]] = {}
    statements: list[str] = []
    in_query = False
    for line in lines:
        row = _ROW.match(line)
        statement = _STATEMENT.match(line)
        if row:
            counts = tables.setdefault(row[2].replace("`", ""), {"inserted": 0, "updated": 0, "deleted": 0})
            counts[_WORDS[row[1]]] += 1
        elif statement:
            statements.append(statement[1])
        elif _QUERY.match(line):
            in_query = True
        elif in_query and line and not _STAGE.match(line):
            # A change of the schema, or a statement that is not logged as rows.
            in_query = False
            if line not in {"BEGIN", "COMMIT", "START TRANSACTION"}:
                statements.append(line)
        if len(statements) > _NAMED:
            statements.pop()
    return tables, statements


def as_new(lines: Iterable[bytes]) -> Iterator[bytes]:
    """A replayable text of ``mariadb-binlog`` without the old GTIDs, which the primary would refuse as out of order."""
    return (line for line in lines if not _IDENTITY.match(line))


def as_one(lines: Iterable[bytes]) -> Iterator[bytes]:
    """A flashback text of ``mariadb-binlog`` as one transaction that is not logged: all of it or nothing happens."""
    yield b"SET SESSION sql_log_bin=0;\nSTART TRANSACTION;\n"
    for line in lines:
        if line.strip() not in _BOUNDARIES:
            yield line
    yield b"COMMIT;\n"


# ------------------------------------------------------------------------------------------------ with files and server


class Rejoin:
    """The way back of the local server. Like :class:`MariaDB`, not thread-safe."""

    def __init__(self, config: Config, database: MariaDB) -> None:
        self._config = config
        self._database = database
        self._data = Path(config.database_directory)
        self._kept = Path(config.state_directory) / "divergent"

    # ---- what was received

    def relay_pending(self) -> bool:
        """Whether the relay log holds whole transactions that are not applied; also while the server is down.

        :raises RejoinError: the relay log cannot be read.
        """
        try:
            connection = self._database.connect(2.0)
        except DatabaseError:
            return self._pending_offline()
        try:
            return self._database.received(connection).unapplied
        except DatabaseError:
            return self._pending_offline()
        finally:
            connection.close()

    def _pending_offline(self) -> bool:
        """The same from files only: all that a replica applies is in its own binary log, too."""
        try:
            relay = self._database.relay_log()
            if not relay:
                return False
            # A number that another server took does not count: an error of replication is found after the start.
            files = self._binlog()[-1:]
            applied = binlog.position_of(state for path in files for state in binlog.state_before(path) or ())
            applied = binlog.position_of((each.gtid for each in binlog.transactions(files)), applied)
            return any(binlog.transactions(relay, applied))
        except BinlogError as error:
            raise RejoinError(str(error)) from error

    def salvage(self, connection: Connection) -> str:
        """Apply everything that was received; the GTID position then reached.

        Call it before replication is started or pointed elsewhere: both throw the relay log away. MariaDB's own SQL
        thread does the work. It is put, without GTID mode (that is what keeps the relay log), at the first transaction
        that is missing, and stops at the end of the last whole one. It keeps GTIDs and ``gtid_slave_pos`` by itself,
        transaction by transaction, so being killed in the middle and called again does no harm.

        :raises RejoinError: a transaction cannot be applied or read; nothing was discarded.
        :raises DatabaseError: the server is away.
        """
        database = self._database
        connection.run("STOP SLAVE IO_THREAD")
        received = database.received(connection)
        if received.sql_running and received.unapplied:
            self._wait_applied(connection, received.position)
            received = database.received(connection)
        while received.unapplied:
            connection.run("STOP SLAVE")
            self._apply_relay(connection, gtid.parse(received.applied))
            received = database.received(connection)
        rows = connection.rows("SHOW SLAVE STATUS")
        if rows and str(rows[0]["Using_Gtid"]) == "No":
            # The relay log holds nothing more of use; with it go GTID mode "no" and the error of a half-written end.
            connection.run("STOP SLAVE", "RESET SLAVE")
        return received.position

    def _apply_relay(self, connection: Connection, applied: Position) -> None:
        """Apply the first run of transactions that are missing (parallel replication can leave several)."""
        try:
            found = binlog.runs(self._database.relay_log(), lambda each: binlog.beyond(each.gtid, applied))
        except BinlogError as error:
            raise RejoinError(str(error)) from error
        if not found:
            raise RejoinError(f"the relay log holds nothing beyond {applied}, although more was received")
        first, last = found[0][0], found[0][-1]
        wanted = binlog.position_of((each.gtid for each in found[0]), applied)
        _log.warning("applying %d received transactions up to %s", len(found[0]), wanted)
        connection.rows(
            "CHANGE MASTER TO MASTER_USE_GTID=no, RELAY_LOG_FILE=%s, RELAY_LOG_POS=%s",
            (first.begin.file.name, first.begin.offset),
        )
        connection.rows(
            "START SLAVE SQL_THREAD UNTIL RELAY_LOG_FILE=%s, RELAY_LOG_POS=%s",
            (last.end.file.name, last.end.offset),
        )
        self._wait_applied(connection, str(wanted))
        connection.run("STOP SLAVE")
        after = self._database.received(connection)
        if gtid.missing(gtid.parse(after.applied), wanted):
            raise RejoinError(
                f"applied up to {after.applied} only, not {wanted}: {after.error or 'no error was given'}"
            )

    def _wait_applied(self, connection: Connection, wanted: str) -> None:
        """Wait until the SQL thread has applied ``wanted``, stops, or gets no further."""
        last, deadline = "", time.monotonic() + STALL_LIMIT
        while True:
            row = connection.rows("SHOW SLAVE STATUS")[0]
            now = self._database.applied(connection)
            if str(row["Slave_SQL_Running"]) != "Yes" or not gtid.missing(now, gtid.parse(wanted)):
                return
            if str(now) != last:
                last, deadline = str(now), time.monotonic() + STALL_LIMIT
            elif time.monotonic() > deadline:
                raise RejoinError(f"the SQL thread stands at {now} for {STALL_LIMIT:g} s, wanted {wanted}")
            time.sleep(0.02)

    # ---- what nobody else has

    def fork(self, history: Sequence[Term], present: str) -> str:
        """Where this host's binary log leaves the estate's history; ``present`` is the primary's position.

        Works from files, whether or not the server runs.

        :raises RejoinError: history or binary log do not say it.
        """
        official = judge(history, servers(self._config.hosts), present)
        try:
            files = binlog.tail(self._binlog(), lambda each: not official(each))
            before = binlog.state_before(files[0]) if files else None
            start = binlog.position_of(each for each in before or () if official(each))
            return str(fork(official, start, (each.gtid for each in binlog.transactions(files))))
        except BinlogError as error:
            raise RejoinError(str(error)) from error

    def divergent(self, fork: str) -> tuple[Transaction, ...]:
        """This host's transactions beyond ``fork``, from the files of its binary log.

        :raises RejoinError: they cannot be read.
        """
        past = gtid.parse(fork)
        try:
            files = binlog.tail(self._binlog(), lambda each: binlog.beyond(each, past))
            return tuple(binlog.transactions(files, past))
        except BinlogError as error:
            raise RejoinError(str(error)) from error

    def save_divergent(self, fork: str) -> Saved | None:
        """Write what this host holds beyond ``fork`` below the agent's state directory; None when there is nothing.

        What was saved before is not saved twice. Works from files, whether or not the server runs.

        :raises RejoinError: it cannot be saved, so nothing may be discarded.
        """
        found = self.divergent(fork)
        if not found:
            return None
        named = tuple(str(each.gtid) for each in found)
        for earlier in self.saved():
            if earlier.fork == fork and earlier.transactions == len(named) and earlier.gtids == named[:_NAMED]:
                return earlier
        size = sum(each.end.offset - each.begin.offset for each in found)
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        for half in self._kept.glob(".*"):
            shutil.rmtree(half, ignore_errors=True)
        free = shutil.disk_usage(self._kept).free
        if free < 8 * size + 1024**2:
            raise RejoinError(
                f"{len(found)} divergent transactions ({size} bytes) need room in {self._kept}: {free} free"
            )
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        work = Path(tempfile.mkdtemp(prefix=f".{stamp}-", dir=self._kept))
        try:
            target = self._kept / stamp
            summary = self._write_divergent(work, target, fork, found)
            _sync_files(work)
            if target.exists():
                raise RejoinError(f"{target} exists")
            work.rename(target)
            sync(self._kept)
        except (BinlogError, OSError) as error:
            raise RejoinError(f"divergent transactions were not saved: {error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _log.warning("%d transactions beyond %s are kept in %s", len(found), fork or "nothing", target)
        return _saved_from(summary)

    def _write_divergent(self, work: Path, target: Path, fork: str, found: tuple[Transaction, ...]) -> dict[str, Any]:
        raw, readable, replay = work / "divergent.binlog", work / "divergent.sql", work / "replay.sql"
        binlog.extract(found, raw)
        with readable.open("wb") as out:
            out.writelines(_binlog_text(raw, "-vv", "--base64-output=decode-rows"))
        with replay.open("wb") as out:
            out.writelines(as_new(_binlog_text(raw)))
        with readable.open(encoding="utf-8", errors="replace") as lines:
            tables, statements = summarise(line.rstrip("\n") for line in lines)
        summary = {
            "schema": 1,
            "host": self._config.host,
            "at": _utc(time.time()),
            "fork": fork,
            "position": str(binlog.position_of(each.gtid for each in found)),
            "transactions": len(found),
            "gtids": [str(each.gtid) for each in found[:_NAMED]],
            "tables": tables,
            "statements": statements,
            "first_at": _utc(min(each.at for each in found)),
            "last_at": _utc(max(each.at for each in found)),
            "irreversible": sorted({each.irreversible for each in found} - {""}),
            "files": {
                "sql": str(target / readable.name),
                "replay": str(target / replay.name),
                "raw": str(target / raw.name),
                "summary": str(target / "summary.json"),
            },
        }
        (work / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        return summary

    def saved(self) -> tuple[Saved, ...]:
        """What was saved on this host, oldest first."""
        found = []
        for path in sorted(self._kept.glob("[0-9]*/summary.json")):
            try:
                found.append(_saved_from(json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, KeyError, TypeError) as error:
                _log.warning("%s: %s", path, error)
        return tuple(found)

    # ---- undo in place

    def why_not_flashback(self, connection: Connection, saved: Saved) -> tuple[str, ...]:
        """What keeps the divergent transactions from being undone in place; empty when nothing does."""
        raw = Path(saved.raw)
        try:
            reasons = {each.irreversible for each in binlog.transactions([raw])} - {""}
            last = tuple(self._after(saved))
            size = raw.stat().st_size
        except (BinlogError, OSError) as error:
            return (str(error),)
        if last:
            reasons.add(f"{last[0]} came after them")
        if size > FLASHBACK_LIMIT:
            reasons.add(f"they are {size} bytes, more than {FLASHBACK_LIMIT}")
        for name in saved.tables:
            reasons.update(_why_not_table(connection, name))
        if str(connection.value("SELECT @@slave_run_triggers_for_rbr")) != "NO":
            reasons.add("triggers run for replicated rows")
        return tuple(sorted(reasons))

    def _after(self, saved: Saved) -> Iterator[str]:
        """Transactions of the shared history that this host logged after the first divergent one."""
        first = saved.gtids[0]
        past = gtid.parse(saved.fork)
        seen = False
        for each in binlog.transactions(binlog.tail(self._binlog(), lambda one: binlog.beyond(one, past))):
            seen = seen or str(each.gtid) == first
            if seen and not binlog.beyond(each.gtid, past):
                yield str(each.gtid)

    def flashback(self, connection: Connection, saved: Saved) -> None:
        """Undo the saved transactions and stand at the fork, as if they had never been.

        They are undone in one transaction that is not logged; then the binary log begins anew at the fork. Killed
        between the two and called again, the undoing fails on rows that are not there, and the host is copied anew.

        :raises RejoinError: they cannot be undone; the data is as it was.
        :raises DatabaseError: the server is away, or did not take its new position.
        """
        reasons = self.why_not_flashback(connection, saved)
        if reasons:
            raise RejoinError(f"no flashback: {'; '.join(reasons)}")
        if not int(connection.value("SELECT @@read_only") or 0):
            raise RejoinError("no flashback on a writable server")
        connection.run("STOP SLAVE")
        self._nothing_new(saved)
        command = ["mariadb", "--no-defaults", *self._database.client_options(), "--binary-mode"]
        with tempfile.TemporaryFile() as text:
            text.writelines(as_one(_binlog_text(Path(saved.raw), "--flashback")))
            text.seek(0)
            try:
                done = subprocess.run(command, stdin=text, capture_output=True, timeout=_RUN_LIMIT, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise RejoinError(f"flashback: {error}") from error
        if done.returncode != 0:
            raise RejoinError(f"flashback: {done.stderr.decode(errors='replace').strip()[-500:]}")
        self._nothing_new(saved)
        connection.run("RESET SLAVE ALL")
        self._database.begin_at(connection, saved.fork)
        _log.warning("%d transactions undone, back at %s", saved.transactions, saved.fork)

    def _nothing_new(self, saved: Saved) -> None:
        """See that nothing was written since it was saved: the binary log is about to forget.

        :raises RejoinError: an account that ``read_only`` does not stop goes on writing.
        """
        count = len(self.divergent(saved.fork))
        if count != saved.transactions:
            raise RejoinError(f"no flashback: {count - saved.transactions} more transactions since they were saved")

    def attached(self, connection: Connection, limit: float) -> str:
        """Wait until replication receives and applies; empty when it does, else why not within ``limit`` seconds."""
        deadline = time.monotonic() + limit
        while True:
            rows = connection.rows("SHOW SLAVE STATUS")
            row = rows[0] if rows else {}
            errors = [str(row[name]) for name in ("Last_IO_Error", "Last_SQL_Error") if row.get(name)]
            running = [str(row.get(name)) for name in ("Slave_IO_Running", "Slave_SQL_Running")]
            if running == ["Yes", "Yes"] and str(row.get("Slave_IO_State", "")).startswith("Waiting for master"):
                return ""
            if "No" in running and errors:
                return "; ".join(errors)
            if time.monotonic() > deadline:
                return "; ".join(errors) or f"not attached within {limit:g} s (IO {running[0]}, SQL {running[1]})"
            time.sleep(0.1)

    def _binlog(self) -> list[Path]:
        index = next(iter(sorted(self._data.glob("*-bin.index"))), None)
        return binlog.log_files(index) if index else []


def _why_not_table(connection: Connection, name: str) -> Iterator[str]:
    """What keeps the rows of one table (``schema.table``) from being undone."""
    schema, _dot, table = name.partition(".")
    rows = connection.rows(
        "SELECT table_type AS kind, engine AS engine FROM information_schema.tables"
        " WHERE table_schema=%s AND table_name=%s",
        (schema, table),
    )
    if not rows:
        yield f"{name} does not exist any more"
        return
    if str(rows[0]["kind"]) != "BASE TABLE":
        yield f"{name} is a {str(rows[0]['kind']).lower()}"
    if str(rows[0]["engine"]) != "InnoDB":
        yield f"{name} is {rows[0]['engine']}, not InnoDB"
    keys = connection.value(
        "SELECT COUNT(*) FROM information_schema.table_constraints"
        " WHERE table_schema=%s AND table_name=%s AND constraint_type='PRIMARY KEY'",
        (schema, table),
    )
    if not int(keys or 0):
        yield f"{name} has no primary key"
    cascades = connection.value(
        "SELECT COUNT(*) FROM information_schema.referential_constraints"
        " WHERE unique_constraint_schema=%s AND referenced_table_name=%s"
        " AND (delete_rule NOT IN ('RESTRICT', 'NO ACTION') OR update_rule NOT IN ('RESTRICT', 'NO ACTION'))",
        (schema, table),
    )
    if int(cascades or 0):
        yield f"changes of {name} cascade, which the log does not tell"


def _binlog_text(path: Path, *options: str) -> Iterator[bytes]:
    """What mariadb-binlog prints, line by line.

    :raises BinlogError: it failed.
    """
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                ["mariadb-binlog", "--no-defaults", *options, str(path)], stdout=subprocess.PIPE, stderr=errors
            )
        except OSError as error:
            raise BinlogError(f"mariadb-binlog: {error}") from error
        try:
            assert process.stdout is not None
            yield from process.stdout
            if process.wait(timeout=_RUN_LIMIT) != 0:
                errors.seek(0)
                raise BinlogError(f"mariadb-binlog {path}: {errors.read()[-500:].decode(errors='replace').strip()}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _saved_from(summary: dict[str, Any]) -> Saved:
    files = summary["files"]
    return Saved(
        transactions=int(summary["transactions"]),
        sql=str(files["sql"]),
        raw=str(files["raw"]),
        replay=str(files["replay"]),
        summary=str(files["summary"]),
        fork=str(summary["fork"]),
        at=str(summary["at"]),
        gtids=tuple(summary["gtids"]),
        tables=dict(summary["tables"]),
    )


def _sync_files(folder: Path) -> None:
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
