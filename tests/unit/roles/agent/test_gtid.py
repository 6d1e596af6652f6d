# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GTID positions: what is printed is read back, and order, union and difference obey their laws."""

from __future__ import annotations

import pytest
from failover_agent import gtid
from failover_agent.gtid import Gtid, Position
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = st.integers(0, 2**64 - 1)


def _position(gtids: list[Gtid]) -> Position:
    return Position(tuple(sorted(gtids)))


positions = st.lists(
    st.builds(Gtid, domain=st.integers(0, 3), sequence=st.integers(1, 9), server=st.integers(1, 3)),
    unique_by=lambda each: each.domain,
    max_size=4,
).map(_position)


@given(st.lists(st.builds(Gtid, NUMBERS, NUMBERS, NUMBERS), unique_by=lambda each: each.domain).map(_position))
def test_what_is_printed_is_read_back(position: Position) -> None:
    assert gtid.parse(str(position)) == position


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        (None, ""),
        (" , ", ""),
        ("0-3325256780-12611", "0-3325256780-12611"),
        ("1-12-9, 0-11-104,", "0-11-104,1-12-9"),
        ("0-1-5,\n1-1-6", "0-1-5,1-1-6"),
    ],
)
def test_positions_as_mariadb_prints_them(text: str | None, printed: str) -> None:
    assert str(gtid.parse(text)) == printed
    assert bool(gtid.parse(text)) is bool(printed)


@pytest.mark.parametrize("text", ["0-1", "0-1-2-3", "a-b-c", "0-1-x", "0-1-5;1-1-6", "uuid:1-5"])
def test_what_is_no_position_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ValueError, match="not a GTID position"):
        gtid.parse(text)


@given(positions, positions, positions)
def test_merge_is_a_union(one: Position, two: Position, three: Position) -> None:
    assert gtid.merge(one, one) == one
    assert gtid.merge(one, Position()) == one == gtid.merge(Position(), one)
    assert gtid.merge(gtid.merge(one, two), three) == gtid.merge(one, gtid.merge(two, three))
    sequences = {domain: each.sequence for domain, each in gtid.merge(one, two).domains().items()}
    assert sequences == {domain: each.sequence for domain, each in gtid.merge(two, one).domains().items()}


@given(positions, positions)
def test_a_merged_position_holds_both(one: Position, two: Position) -> None:
    both = gtid.merge(one, two)
    assert gtid.missing(both, one) == {}
    assert gtid.missing(both, two) == {}
    assert set(both.domains()) == {*one.domains(), *two.domains()}
    assert set(both.last) <= {*one.last, *two.last}, "nothing is invented"


@given(positions, positions)
def test_missing_counts_what_is_beyond(have: Position, want: Position) -> None:
    gaps = gtid.missing(have, want)
    assert all(count > 0 for count in gaps.values())
    for domain, wanted in want.domains().items():
        present = have.domains()[domain].sequence if domain in have.domains() else 0
        assert gaps.get(domain, 0) == max(0, wanted.sequence - present)
    assert gtid.missing(gtid.merge(have, want), want) == {}


@given(positions, positions)
def test_errant_is_what_the_primary_does_not_hold(replica: Position, primary: Position) -> None:
    found = gtid.errant(replica, primary)
    assert set(found) <= set(replica.last)
    assert gtid.errant(replica, replica) == ()
    assert gtid.errant(Position(), primary) == ()
    assert gtid.errant(replica, Position()) == replica.last
    ahead = gtid.missing(primary, replica)
    assert set(ahead) <= {each.domain for each in found}, "whoever is ahead is errant"
    for each in found:
        if each.domain not in ahead:
            assert each.server != primary.domains()[each.domain].server, "two histories of the same length"


@given(positions)
def test_a_replica_that_is_behind_is_not_errant(primary: Position) -> None:
    behind = Position(tuple(Gtid(each.domain, max(0, each.sequence - 1), 99) for each in primary.last))
    assert gtid.errant(behind, primary) == ()


def test_two_servers_at_the_same_number_have_forked() -> None:
    assert gtid.errant(gtid.parse("0-2-5"), gtid.parse("0-1-5")) == (Gtid(0, 5, 2),)
