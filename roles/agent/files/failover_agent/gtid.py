# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""MariaDB global transaction ids: positions, order and what one side has that the other lacks.

A position is one ``domain-server-sequence`` for each replication domain, joined by commas
(MariaDB Server Documentation, "Global Transaction ID"). With ``gtid_strict_mode`` the sequence number of a domain only
grows, so within a domain the larger number contains the smaller one unless the histories forked.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Gtid:
    """One transaction: replication ``domain``, the ``server`` id that wrote it, and its ``sequence`` number."""

    domain: int
    sequence: int
    server: int

    def __str__(self) -> str:
        return f"{self.domain}-{self.server}-{self.sequence}"


@dataclass(frozen=True)
class Position:
    """The last transaction of every domain, as MariaDB prints it in ``gtid_binlog_pos`` and its kin."""

    last: tuple[Gtid, ...] = ()

    def __str__(self) -> str:
        return ",".join(str(gtid) for gtid in self.last)

    def __bool__(self) -> bool:
        return bool(self.last)

    def domains(self) -> dict[int, Gtid]:
        """The last transaction by domain id."""
        return {gtid.domain: gtid for gtid in self.last}


def parse(text: str | None) -> Position:
    """Read a position such as ``0-11-104,1-12-9``; the empty string is the empty position.

    :raises ValueError: the text is no GTID position.
    """
    gtids = []
    for part in (text or "").split(","):
        word = part.strip()
        if not word:
            continue
        try:
            domain, server, sequence = (int(number) for number in word.split("-"))
        except ValueError as error:
            raise ValueError(f"not a GTID position: {text!r}") from error
        gtids.append(Gtid(domain=domain, sequence=sequence, server=server))
    return Position(tuple(sorted(gtids)))


def merge(left: Position, right: Position) -> Position:
    """The later transaction of each domain; what ``gtid_current_pos`` means for a former primary."""
    merged = left.domains()
    for domain, gtid in right.domains().items():
        if domain not in merged or gtid.sequence > merged[domain].sequence:
            merged[domain] = gtid
    return Position(tuple(sorted(merged.values())))


def union(positions: Iterable[Position]) -> Position:
    """The latest transaction of each domain that any of ``positions`` has."""
    return functools.reduce(merge, positions, Position())


def missing(have: Position, want: Position) -> dict[int, int]:
    """How many sequence numbers of ``want`` are beyond ``have``, by domain; empty when nothing is missing."""
    present = have.domains()
    gaps = {}
    for domain, gtid in want.domains().items():
        sequence = present[domain].sequence if domain in present else 0
        if gtid.sequence > sequence:
            gaps[domain] = gtid.sequence - sequence
    return gaps


def errant(replica: Position, primary: Position) -> tuple[Gtid, ...]:
    """Transactions at the head of ``replica`` that ``primary`` does not hold.

    A domain is errant when the replica is ahead, or when both stand at the same sequence number written by different
    servers (two histories of equal length).
    """
    found = []
    known = primary.domains()
    for domain, gtid in replica.domains().items():
        other = known.get(domain)
        if (
            other is None
            or gtid.sequence > other.sequence
            or (gtid.sequence == other.sequence and gtid.server != other.server)
        ):
            found.append(gtid)
    return tuple(found)
