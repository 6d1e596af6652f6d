# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is stored in etcd comes back as it was, also from an agent of another version."""

from __future__ import annotations

import json

import pytest
from failover_agent import gtid, model
from failover_agent.model import Database, Leader, Lock, Member, Sync, Term
from hypothesis import given
from hypothesis import strategies as st

text = st.text(max_size=12)
terms = st.builds(Term, st.integers(1), text, text, text)
syncs = st.builds(Sync, st.integers(1), text, st.lists(text).map(tuple), st.sampled_from(("strict", "degraded")))
locks = st.builds(Lock, text, text, text, text)
leases = st.integers(0, 2**63 - 1)
members = st.builds(
    Member,
    host=text,
    address=text,
    version=text,
    lease=leases,
    role=st.sampled_from(("primary", "replica", "fenced", "starting", "stopped", "unseeded")),
    io_running=st.booleans(),
    sql_running=st.booleans(),
    replicates_from=st.none() | text,
    semi_sync_replica=st.booleans(),
)


@given(terms, syncs, locks, members)
def test_what_is_stored_is_read_back(term: Term, sync: Sync, lock: Lock, member: Member) -> None:
    assert model.term_from(json.loads(model.to_json(term))) == term
    assert model.sync_from(json.loads(model.to_json(sync))) == sync
    assert model.lock_from(json.loads(model.to_json(lock))) == lock
    assert model.member_from(json.loads(model.to_json(member))) == member


@given(text, st.integers(1), leases, leases)
def test_the_lease_of_a_leader_is_etcds_note_and_never_stored(holder: str, term: int, stored: int, read: int) -> None:
    written = model.to_json(Leader(holder, term, lease=stored))
    assert "lease" not in json.loads(written)
    assert model.leader_from(json.loads(written), read) == Leader(holder, term, lease=read)


def test_stored_text_is_canonical() -> None:
    """The same value is the same text, so that an unchanged member is not published again."""
    assert model.to_json(Sync(2, "www1", ("www2",), "strict")) == (
        '{"members":["www2"],"mode":"strict","primary":"www1","term":2}'
    )


def test_a_newer_agents_fields_are_left_out() -> None:
    raw = {"host": "www1", "address": "198.51.100.11", "version": "9", "lease": 5, "role": "replica", "mood": "good"}
    assert model.member_from(raw) == Member("www1", "198.51.100.11", "9", 5, "replica")


def test_an_unknown_mode_is_the_cautious_one() -> None:
    assert model.sync_from({"term": 1, "primary": "www1", "mode": "sloppy"}).mode == "degraded"


@pytest.mark.parametrize("raw", [{}, {"term": "x", "primary": "www1"}, {"term": None, "primary": "www1"}])
def test_what_is_no_term_is_an_error(raw: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        model.term_from(raw)


@pytest.mark.parametrize(
    ("binlog", "applied", "position"),
    [
        ("", "", ""),
        ("0-1-5", "", "0-1-5"),
        ("", "0-2-9", "0-2-9"),
        ("0-1-5", "0-2-9", "0-2-9"),
        ("0-1-9", "0-2-5", "0-1-9"),
    ],
)
def test_a_server_holds_what_it_wrote_and_what_it_applied(binlog: str, applied: str, position: str) -> None:
    database = Database(running=True, gtid_binlog_pos=binlog, gtid_slave_pos=applied)
    assert database.position == position
    assert gtid.missing(gtid.parse(database.position), gtid.parse(binlog)) == {}
