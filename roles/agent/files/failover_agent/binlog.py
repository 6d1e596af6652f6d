# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Binary logs and relay logs as they lie in the data directory: which transactions they hold, and where.

Read from the files, because the server forgets: after a start it does not know what its relay logs hold, and it says
nothing about a binary log while it is down. The format is that of MariaDB Server Documentation, "Replication
Protocol", version 4 of the binary log, the same in 10.11 and 11.8; a relay log differs only in that it carries the
events of the primary between a few of its own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from failover_agent.gtid import Gtid, Position

MAGIC = b"\xfebin"
_HEADER = struct.Struct("<IBIIIH")
#: In the header's flags of the first event: the server did not close this file.
_IN_USE = 0x1

_QUERY, _STOP, _ROTATE, _INTVAR, _RAND, _USER_VAR, _FORMAT, _XID, _TABLE_MAP = 2, 3, 4, 5, 13, 14, 15, 16, 19
_XA_PREPARE, _ANNOTATE, _CHECKPOINT, _GTID, _GTID_LIST, _START_ENCRYPTION = 38, 160, 161, 162, 163, 164
_QUERY_COMPRESSED = 165
_UPDATES = {24, 31}
_ROWS = {23, 25, 30, 32} | _UPDATES
#: Events of the file, not of a transaction; the server writes them between transactions, or in one when it reconnects.
_OF_THE_FILE = {_STOP, _ROTATE, _FORMAT, 27, _CHECKPOINT, _GTID_LIST}
#: What may stand before the statement of a transaction of one statement.
_PRELUDE = {_INTVAR, _RAND, _USER_VAR, _ANNOTATE, 9, 17}
_STANDALONE, _DDL, _XA = 1, 32, 64 | 128
_WORD = struct.Struct("<Q")


class BinlogError(Exception):
    """A log cannot be read; the text names the file and why."""


@dataclass(frozen=True, order=True)
class Place:
    """An offset in one file of a log."""

    file: Path
    offset: int


@dataclass(frozen=True)
class Transaction:
    """One whole transaction in a log, from ``begin`` up to ``end``. ``at`` is UNIX time.

    ``irreversible`` says why its rows do not tell how to undo it; empty when they do.
    """

    gtid: Gtid
    at: int
    begin: Place
    end: Place
    irreversible: str = ""


@dataclass(frozen=True)
class _Event:
    kind: int
    at: int
    server: int
    begin: int
    end: int
    body: bytes


def log_files(index: Path) -> list[Path]:
    """The files of a log in order, as its index lists them; empty when there is no index. Missing ones are left out."""
    try:
        lines = index.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise BinlogError(f"{index}: {error}") from error
    paths = [index.parent / line.strip() for line in lines if line.strip()]
    return [path for path in paths if path.exists()]


def transactions(files: Iterable[Path], past: Position | None = None) -> Iterator[Transaction]:
    """The whole transactions of ``files`` in order, those that ``past`` contains left out.

    It ends where the log does: at the first event that is not whole, as a crash leaves it. A transaction of which only
    a part was received is left out; nobody acknowledged it.

    :raises BinlogError: a file cannot be read or is encrypted.
    """
    opened: tuple[_Event, Place, Gtid] | None = None
    flaw = ""
    for path in files:
        whole = True
        for event in _events(path):
            if event is None:
                whole = False
                break
            if event.kind in _OF_THE_FILE:
                continue
            if event.kind == _GTID:
                sequence, domain, flags = struct.unpack_from("<QIB", event.body)
                opened = (event, Place(path, event.begin), Gtid(domain=domain, sequence=sequence, server=event.server))
                flaw = _why_irreversible(flags)
                continue
            if opened is None:
                continue
            flaw = flaw or _flaw(event)
            first, begin, identity = opened
            if not _ends(event, standalone=bool(first.body[12] & _STANDALONE)):
                continue
            opened = None
            if past is None or beyond(identity, past):
                yield Transaction(identity, first.at, begin, Place(path, event.end), flaw)
        if not whole:
            return


def beyond(each: Gtid, position: Position) -> bool:
    """Whether a transaction comes after a position."""
    last = position.domains().get(each.domain)
    return last is None or each.sequence > last.sequence


def state_before(path: Path) -> tuple[Gtid, ...] | None:
    """What was written before this file, the last transaction of every domain and server; None if it does not say."""
    for event in _events(path):
        if event is None or event.kind == _GTID:
            return None
        if event.kind == _GTID_LIST:
            (count,) = struct.unpack_from("<I", event.body)
            entries = (struct.unpack_from("<IIQ", event.body, 4 + 16 * n) for n in range(count & 0xFFFFFFF))
            return tuple(Gtid(domain=domain, sequence=sequence, server=server) for domain, server, sequence in entries)
    return None


def tail(files: list[Path], wanted: Callable[[Gtid], bool]) -> list[Path]:
    """The last files of a binary log, as many as hold all wanted transactions.

    A domain's wanted transactions are its last ones: where a file says that the last one of every server before it is
    not wanted, there is no need to look at what is older.
    """
    for number in range(len(files) - 1, 0, -1):
        before = state_before(files[number])
        if before is not None and not any(wanted(each) for each in before):
            return files[number:]
    return files


def position_of(found: Iterable[Gtid], start: Position | None = None) -> Position:
    """The position after ``start`` and then ``found``."""
    last = (start or Position()).domains()
    for each in found:
        if each.domain not in last or each.sequence > last[each.domain].sequence:
            last[each.domain] = each
    return Position(tuple(sorted(last.values())))


def runs(files: list[Path], wanted: Callable[[Transaction], bool]) -> list[list[Transaction]]:
    """The wanted transactions of ``files``, as lists of those that stand side by side."""
    found: list[list[Transaction]] = []
    open_run = False
    for transaction in transactions(files):
        if not wanted(transaction):
            open_run = False
        elif open_run:
            found[-1].append(transaction)
        else:
            found.append([transaction])
            open_run = True
    return found


def extract(found: Iterable[Transaction], target: Path) -> None:
    """Write a binary log that holds just these transactions, byte for byte. ``mariadb-binlog`` reads it like any other.

    :raises BinlogError: a transaction spans files, as it can in a relay log only, or a file cannot be read.
    """
    last: Path | None = None
    try:
        with target.open("xb") as out:
            out.write(MAGIC)
            for transaction in found:
                path = transaction.begin.file
                if transaction.end.file != path:
                    raise BinlogError(f"{transaction.gtid} spans {path} and {transaction.end.file}")
                with path.open("rb") as log:
                    if path != last:
                        out.write(_format_description(log, path))
                        last = path
                    log.seek(transaction.begin.offset)
                    _copy(log, out, transaction.end.offset - transaction.begin.offset)
    except OSError as error:
        raise BinlogError(f"{target}: {error}") from error


def _copy(log: BinaryIO, out: BinaryIO, count: int) -> None:
    while count > 0:
        chunk = log.read(min(count, 1 << 20))
        if not chunk:
            raise BinlogError("the log became shorter while it was copied")
        out.write(chunk)
        count -= len(chunk)


def _format_description(log: BinaryIO, path: Path) -> bytes:
    """The first event, marked as of a closed file. Its checksum is made without that mark."""
    log.seek(len(MAGIC))
    header = log.read(_HEADER.size)
    *words, length, position, flags = _HEADER.unpack(header)
    if words[1] != _FORMAT:
        raise BinlogError(f"{path} does not begin with its format")
    return _HEADER.pack(*words, length, position, flags & ~_IN_USE) + log.read(length - _HEADER.size)


def _events(path: Path) -> Iterator[_Event | None]:
    """The events of a file, bodies without checksum; None at the end when the last one is not whole."""
    try:
        with path.open("rb") as log:
            size = path.stat().st_size
            if log.read(len(MAGIC)) != MAGIC:
                if size > len(MAGIC):
                    raise BinlogError(f"{path} is no binary log")
                yield None
                return
            checksums = False
            begin = len(MAGIC)
            while begin < size:
                header = log.read(_HEADER.size)
                if len(header) < _HEADER.size:
                    yield None
                    return
                at, kind, server, length, _position, _flags = _HEADER.unpack(header)
                body = log.read(length - _HEADER.size) if _HEADER.size <= length <= size - begin else b""
                if len(header) + len(body) != length:
                    yield None
                    return
                if kind == _FORMAT:
                    # Its own last five bytes: the kind of checksum from here on, and its own, which is always there.
                    checksums = body[-5] == 1
                    body = body[:-5]
                elif kind == _START_ENCRYPTION:
                    raise BinlogError(f"{path} is encrypted")
                elif checksums:
                    if kind != _ROTATE and not _sound(header, body):
                        yield None
                        return
                    body = body[:-4]
                yield _Event(kind, at, server, begin, begin + length, body)
                begin += length
    except OSError as error:
        raise BinlogError(f"{path}: {error}") from error


def _sound(header: bytes, body: bytes) -> bool:
    return zlib.crc32(body[:-4], zlib.crc32(header)) == int.from_bytes(body[-4:], "little")


def _ends(event: _Event, *, standalone: bool) -> bool:
    if standalone:
        return event.kind not in _PRELUDE
    if event.kind in {_XID, _XA_PREPARE}:
        return True
    return event.kind in {_QUERY, _QUERY_COMPRESSED} and _statement(event) in {b"COMMIT", b"ROLLBACK"}


def _statement(event: _Event) -> bytes:
    """The text of a statement; empty for a compressed one, which is never a bare COMMIT."""
    if event.kind != _QUERY:
        return b""
    length_of_schema, _error, length_of_variables = struct.unpack_from("<BHH", event.body, 8)
    return event.body[13 + length_of_variables + length_of_schema + 1 :]


def _why_irreversible(flags: int) -> str:
    if flags & _DDL:
        return "a change of the schema"
    if flags & _XA:
        return "a prepared transaction"
    if flags & _STANDALONE:
        return "a statement instead of rows"
    return ""


def _flaw(event: _Event) -> str:
    """Why this event cannot be undone."""
    if event.kind in _ROWS:
        return "" if _full_image(event) else "rows that are not logged whole"
    if event.kind == _QUERY:
        return "" if _statement(event) in {b"BEGIN", b"COMMIT"} else "a statement instead of rows"
    return "" if event.kind in {_TABLE_MAP, _XID, _ANNOTATE} else f"an event of kind {event.kind}"


def _full_image(event: _Event) -> bool:
    """Whether a rows event tells all columns, before and after (``binlog_row_image=FULL``)."""
    offset = 8
    if event.kind >= 30:
        (extra,) = struct.unpack_from("<H", event.body, offset)
        offset += extra
    columns, offset = _packed(event.body, offset)
    width = (columns + 7) // 8
    images = 2 if event.kind in _UPDATES else 1
    full = (1 << columns) - 1
    return all(
        int.from_bytes(event.body[offset + width * n : offset + width * (n + 1)], "little") & full == full
        for n in range(images)
    )


def _packed(body: bytes, offset: int) -> tuple[int, int]:
    """A length-encoded number and the offset behind it."""
    first = body[offset]
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first, 0)
    if not size:
        return first, offset + 1
    return int.from_bytes(body[offset + 1 : offset + 1 + size], "little"), offset + 1 + size
