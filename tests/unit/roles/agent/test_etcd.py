# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The etcd client against a gateway on a real socket with mutual TLS, and against what etcd 3.5.16 really answered."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from failover_agent.config import Pki
from failover_agent.etcd import Client, Delete, EtcdError, Put, parse_stored, tls_context
from failover_agent.model import Leader, Sync, Term, to_json

from simulator.etcd import Entry, Etcd

from .etcd_gateway import Gateway, Mood

FIXTURES = Path(__file__).parent / "fixtures"
PREFIX = "/failover/lab/"
#: Seconds. Short where a time-out is the point, long where none may come on a busy machine.
HASTY, PATIENT = 0.7, 10.0
TERM = to_json(Term(3, "www1"))


@pytest.fixture
def gateways(pki: Callable[[str], Pki]) -> Iterator[list[Gateway]]:
    """Three members of one cluster."""
    etcd, context = Etcd(), tls_context(pki("etcd"), server=True)
    members = [Gateway(etcd, context) for _number in range(3)]
    yield members
    for member in members:
        member.stop()


@pytest.fixture
def client(gateways: list[Gateway], pki: Callable[[str], Pki]) -> Iterator[Client]:
    """An agent's client of that cluster."""
    made = Client(tuple(each.endpoint for each in gateways), PREFIX, tls_context(pki("www1")), PATIENT)
    yield made
    made.close()


@pytest.fixture
def hasty(gateways: list[Gateway], pki: Callable[[str], Pki]) -> Iterator[Client]:
    """One that does not wait for long."""
    made = Client(tuple(each.endpoint for each in gateways), PREFIX, tls_context(pki("www1")), HASTY)
    yield made
    made.close()


def etcd_of(gateways: list[Gateway]) -> Etcd:
    """The store behind the gateways."""
    return gateways[0].etcd


class TestReading:
    """One reading of all keys."""

    def test_an_empty_estate(self, client: Client) -> None:
        stored = client.read()
        assert (stored.term, stored.leader, stored.sync, stored.lock) == (None, None, None, None)
        assert stored.members == {}
        assert stored.revisions == {}

    def test_what_was_committed_is_read_with_its_revision_and_lease(self, client: Client) -> None:
        lease = client.grant(6.0)
        leader, sync = Leader("www1", 3), Sync(3, "www1", ("www2",), "strict")
        changes: list[Put | Delete] = [
            Put("term", TERM),
            Put("leader", to_json(leader), lease),
            Put("sync", to_json(sync)),
        ]
        assert client.commit({"term": 0, "leader": 0}, changes)
        stored = client.read()
        assert stored.term == Term(3, "www1")
        assert stored.leader == Leader("www1", 3, lease)
        assert stored.sync == sync
        assert stored.revisions == {"term": 2, "leader": 2, "sync": 2}

    def test_other_estates_in_the_same_etcd_are_not_seen(self, client: Client, gateways: list[Gateway]) -> None:
        for name in ("/failover/lab2/term", "/failover/la/term", "/failover/lab", "/failover/lab0"):
            etcd_of(gateways).entries[name] = Entry("{}", 5)
        assert client.read().revisions == {}

    @pytest.mark.parametrize("text", ["", "nonsense", "[]", "5", '{"term":"x","primary":"www1"}', '{"primary":"www1"}'])
    def test_a_value_that_is_not_ours_is_an_error_that_names_the_key(
        self, client: Client, gateways: list[Gateway], text: str
    ) -> None:
        etcd_of(gateways).entries[f"{PREFIX}term"] = Entry(text, 5)
        with pytest.raises(EtcdError, match=r"the key term holds .* which is not ours"):
            client.read()

    def test_what_etcd_really_answered_is_understood(self, client: Client, gateways: list[Gateway]) -> None:
        answer = (FIXTURES / "etcd-range.json").read_text(encoding="utf-8")
        gateways[0].answer = (200, answer)
        dev = Client((gateways[0].endpoint,), "/failover/dev/", client._context, PATIENT)
        stored = dev.read()
        dev.close()
        assert stored.term == Term(13, "www2", "", "2026-11-23T05:23:21.267Z")
        assert stored.leader == Leader("www2", 13, lease=3027441524864758276)
        assert stored.sync == Sync(13, "www2", ("www1",), "strict")
        assert stored.members["www1"].replicates_from == "www2"
        assert stored.revisions["members/www1"] == 72


class TestTransactions:
    """Compare-and-swap."""

    def test_of_two_that_expect_the_same_one_wins(self, client: Client) -> None:
        assert client.commit({"term": 0}, [Put("term", TERM)])
        assert not client.commit({"term": 0}, [Put("term", to_json(Term(3, "www2")))])
        term = client.read().term
        assert term is not None
        assert term.primary == "www1"

    def test_one_changed_key_spoils_all_of_it(self, client: Client) -> None:
        client.commit({}, [Put("term", TERM), Put("sync", to_json(Sync(3, "www1")))])
        before = client.read().revisions
        client.commit({}, [Put("sync", to_json(Sync(3, "www1")))])
        assert not client.commit(before, [Delete("term")])
        assert "term" in client.read().revisions

    def test_a_deleted_key_is_absent(self, client: Client) -> None:
        client.commit({}, [Put("term", TERM)])
        assert client.commit(client.read().revisions, [Delete("term")])
        assert client.read().term is None

    def test_a_lease_that_is_gone_changes_nothing(self, client: Client) -> None:
        with pytest.raises(EtcdError, match="requested lease not found"):
            client.commit({}, [Put("term", TERM), Put("leader", to_json(Leader("www2", 3)), lease=12345)])
        assert client.read().term is None

    def test_it_is_sent_once_and_to_one_member(self, client: Client, gateways: list[Gateway]) -> None:
        """A transaction must not be repeated: nobody knows whether the first one took place."""
        client.read()
        for each in gateways:
            each.mood = "drops_answers"
        with pytest.raises(EtcdError):
            client.commit({"term": 0}, [Put("term", TERM)])
        sent = [path for each in gateways for path, _body in each.requests if path.endswith("txn")]
        assert sent == ["/v3/kv/txn"]

    def test_a_lost_answer_and_a_lost_request_look_the_same_until_one_reads(
        self, client: Client, gateways: list[Gateway]
    ) -> None:
        moods: list[tuple[Mood, bool]] = [("drops_requests", False), ("drops_answers", True)]
        for mood, took_place in moods:
            client.read()
            for each in gateways:
                each.mood = mood
            with pytest.raises(EtcdError):
                client.commit({"term": 0}, [Put("term", TERM)])
            for each in gateways:
                each.mood = "well"
            assert (client.read().term is not None) is took_place


class TestMembers:
    """Members of etcd that fail."""

    def test_one_that_refuses_is_passed_over_and_asked_last(self, client: Client, gateways: list[Gateway]) -> None:
        gateways[0].stop()
        client.read()
        assert client.commit({"term": 0}, [Put("term", TERM)]), "the next request goes to the one that answered"

    def test_one_that_is_silent_costs_one_time_out(self, hasty: Client, gateways: list[Gateway]) -> None:
        gateways[0].mood = "silent"
        started = time.monotonic()
        hasty.read()
        assert time.monotonic() - started >= HASTY
        hasty.read()
        assert [len(each.requests) for each in gateways] == [0, 2, 0], "the second went to the one that answered"

    def test_a_lost_quorum_is_an_error_that_names_every_member(self, hasty: Client, gateways: list[Gateway]) -> None:
        for each in gateways:
            each.mood = "silent"
        with pytest.raises(EtcdError) as caught:
            hasty.read()
        assert all(each.endpoint in str(caught.value) for each in gateways)
        assert "timed out" in str(caught.value)

    def test_the_client_recovers_with_the_cluster(self, client: Client, gateways: list[Gateway]) -> None:
        client.read()
        for each in gateways:
            each.mood = "drops_requests"
        with pytest.raises(EtcdError):
            client.read()
        for each in gateways:
            each.mood = "well"
        client.read()

    def test_health_is_asked_of_every_member_by_itself(self, client: Client, gateways: list[Gateway]) -> None:
        gateways[1].mood = "drops_requests"
        gateways[2].answer = (503, '{"code":14, "message":"etcdserver: no leader"}')
        clone = client.clone()
        assert clone.healthy() == {
            gateways[0].endpoint: True,
            gateways[1].endpoint: False,
            gateways[2].endpoint: False,
        }
        clone.close()

    @pytest.mark.parametrize("answer", [(200, "<html>"), (200, "[]"), (200, "5"), (500, "panic"), (400, '{"code":3}')])
    def test_an_answer_that_is_none_is_an_error_and_not_the_end(
        self, client: Client, gateways: list[Gateway], answer: tuple[int, str]
    ) -> None:
        for each in gateways:
            each.answer = answer
        calls: list[Callable[[], Any]] = [
            client.read,
            lambda: client.grant(6.0),
            lambda: client.renew(1),
            lambda: client.commit({}, [Put("term", TERM)]),
        ]
        for call in calls:
            with pytest.raises(EtcdError):
                call()

    def test_a_grant_without_a_lease_is_an_error(self, client: Client, gateways: list[Gateway]) -> None:
        for each in gateways:
            each.answer = (200, "{}")
        with pytest.raises(EtcdError, match="lease/grant"):
            client.grant(6.0)


class TestLeases:
    """Leases as etcd keeps them."""

    def test_a_lease_lives_while_it_is_renewed_and_takes_its_keys_along(
        self, client: Client, gateways: list[Gateway]
    ) -> None:
        lease = client.grant(6.0)
        client.commit({}, [Put("leader", to_json(Leader("www1", 3)), lease)])
        assert client.renew(lease)
        assert client.read().leader is not None
        etcd_of(gateways).revoke(lease)
        assert not client.renew(lease)
        assert client.read().leader is None

    def test_an_unknown_lease_is_not_renewed(self, client: Client) -> None:
        """etcd answers 200 without a TTL."""
        assert not client.renew(12345)

    def test_a_lease_can_be_given_back(self, client: Client) -> None:
        lease = client.grant(6.0)
        client.revoke(lease)
        assert not client.renew(lease)
        with pytest.raises(EtcdError, match="not found"):
            client.revoke(lease)

    @pytest.mark.parametrize(("wanted", "asked"), [(6.0, "6"), (6.5, "7"), (6.2, "7"), (0.3, "1"), (15, "15")])
    def test_a_lease_is_never_shorter_than_its_holder_believes(
        self, client: Client, gateways: list[Gateway], wanted: float, asked: str
    ) -> None:
        client.grant(wanted)
        assert gateways[0].requests[-1] == ("/v3/lease/grant", {"TTL": asked})


class TestTls:
    """Who may speak."""

    @pytest.mark.parametrize("who", ["nobody", "stranger"])
    def test_without_a_certificate_of_the_estate_nobody_is_heard(
        self, gateways: list[Gateway], pki: Callable[[str], Pki], stranger: Pki, who: str
    ) -> None:
        context = tls_context(pki("www1"))
        if who == "stranger":
            context = tls_context(Pki(pki("www1").ca, stranger.certificate, stranger.key))
        else:
            context = ssl.create_default_context(cafile=pki("www1").ca)
        client = Client((gateways[0].endpoint,), PREFIX, context, PATIENT)
        with pytest.raises(EtcdError):
            client.read()
        assert gateways[0].requests == []
        client.close()

    def test_a_server_with_a_foreign_certificate_is_not_believed(
        self, pki: Callable[[str], Pki], stranger: Pki
    ) -> None:
        gateway = Gateway(Etcd(), tls_context(stranger, server=True))
        client = Client((gateway.endpoint,), PREFIX, tls_context(pki("www1")), PATIENT)
        with pytest.raises(EtcdError, match="certificate verify failed"):
            client.read()
        client.close()
        gateway.stop()


def test_a_key_of_a_newer_agent_is_no_error() -> None:
    stored = parse_stored({"term": (TERM, 4, 0), "weather": ("{", 5, 0)})
    assert stored.term == Term(3, "www1")
    assert stored.revisions == {"term": 4, "weather": 5}


def test_the_fixture_is_the_answer_of_a_real_etcd() -> None:
    raw = json.loads((FIXTURES / "etcd-range.json").read_text(encoding="utf-8"))
    assert raw["count"] == "5"
