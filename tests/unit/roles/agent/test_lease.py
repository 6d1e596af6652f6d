# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lease: this host never believes in it for longer than etcd does, also after a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from failover_agent.etcd import Client, EtcdError
from failover_agent.lease import Lease
from failover_agent.policy import Policy
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.etcd import Etcd

POLICY = Policy(lease_ttl=6.0, renew_interval=1.5)


class SlowClient(Client):
    """An etcd whose answers take ``delay`` seconds of the clock; half of that on the way there."""

    def __init__(self) -> None:
        self.etcd = Etcd()
        self.delay = 0.0
        self.down = False
        self.inside = 0
        self.most_inside = 0

    @property
    def now(self) -> float:
        """The clock of the host."""
        return self.etcd.now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.etcd.advance(self.now + seconds)

    def grant(self, ttl_seconds: float) -> int:
        return int(self._ask(lambda: self.etcd.grant(ttl_seconds)))

    def renew(self, lease: int) -> bool:
        return bool(self._ask(lambda: self.etcd.renew(lease)))

    def _ask(self, effect: Callable[[], int]) -> int:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            self.wait(self.delay / 2)
            if self.down:
                raise EtcdError("timed out")
            answer = effect()
            self.wait(self.delay / 2)
            return answer
        finally:
            self.inside -= 1


@pytest.fixture
def client() -> SlowClient:
    return SlowClient()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease"


def lease_of(client: SlowClient, path: Path) -> Lease:
    """The lease as a fresh agent has it."""
    return Lease(client, POLICY, path, lambda: client.now)


def etcds_end(client: SlowClient, lease: Lease) -> float:
    """When etcd lets the lease end."""
    return client.etcd.leases[lease.id][0]


def test_before_the_first_renewal_there_is_none(client: SlowClient, path: Path) -> None:
    lease = lease_of(client, path)
    assert lease.id == 0
    assert lease.valid_until <= client.now


def test_the_end_is_counted_from_the_sending_of_the_renewal(client: SlowClient, path: Path) -> None:
    client.wait(100.0)
    client.delay = 2.0
    lease = lease_of(client, path)
    assert lease.renew()
    assert lease.valid_until == 106.0
    assert lease.valid_until <= etcds_end(client, lease)
    client.wait(1.0)
    assert lease.renew()
    assert lease.valid_until == 109.0


def test_a_new_lease_after_a_lost_one_is_counted_from_its_own_sending(client: SlowClient, path: Path) -> None:
    lease = lease_of(client, path)
    lease.renew()
    first = lease.id
    client.wait(60.0)
    client.delay = 1.0
    assert lease.renew()
    assert lease.id != first
    assert lease.valid_until == 61.0 + 6.0
    assert lease.valid_until <= etcds_end(client, lease)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 4), st.booleans(), st.booleans()), max_size=12))
@settings(max_examples=60, deadline=None)
def test_this_host_never_believes_longer_than_etcd(
    tmp_path_factory: pytest.TempPathFactory, story: Sequence[tuple[float, float, bool, bool]]
) -> None:
    """Whatever the pauses, the delays, the silences and the restarts."""
    path = tmp_path_factory.mktemp("lease") / "lease"
    client = SlowClient()
    lease = lease_of(client, path)
    for pause, delay, down, restart in story:
        client.wait(pause)
        client.delay, client.down = delay, down
        before = lease.valid_until
        if restart:
            lease = lease_of(client, path)
            assert lease.valid_until == before
        assert lease.renew() is not down
        assert lease.valid_until >= before
        if lease.valid_until > client.now:
            assert lease.valid_until <= etcds_end(client, lease)


def test_a_restarted_agent_goes_on_with_the_same_lease_and_the_same_end(client: SlowClient, path: Path) -> None:
    client.wait(1234.567891)
    lease = lease_of(client, path)
    lease.renew()
    again = lease_of(client, path)
    assert (again.id, again.valid_until) == (lease.id, lease.valid_until)
    client.wait(1.0)
    assert again.renew()
    assert again.id == lease.id, "so the leader key stays"


@pytest.mark.parametrize("text", ["", "7587", "x y", "7587 soon"])
def test_a_file_that_is_none_is_no_lease(client: SlowClient, path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    assert (lease_of(client, path).id, lease_of(client, path).valid_until) == (0, 0.0)


def test_while_etcd_is_silent_the_end_stands_still(client: SlowClient, path: Path) -> None:
    lease = lease_of(client, path)
    lease.renew()
    number, until = lease.id, lease.valid_until
    client.wait(2.0)
    client.down = True
    assert not lease.renew()
    assert (lease.id, lease.valid_until) == (number, until)
    client.down = False
    assert lease.renew()
    assert (lease.id, lease.valid_until) == (number, client.now + 6.0)


def test_a_full_disk_does_not_end_the_lease(client: SlowClient, tmp_path: Path) -> None:
    lease = lease_of(client, tmp_path / "missing" / "lease")
    assert lease.renew()
    assert lease.valid_until == client.now + 6.0


def test_the_file_is_never_half_written(client: SlowClient, path: Path) -> None:
    lease = lease_of(client, path)
    lease.renew()
    held = path.open(encoding="utf-8")
    client.wait(1.0)
    lease.renew()
    with held:
        assert held.read().endswith(" 6.0 0.0 0\n"), "whoever reads the old file reads all of it"
    assert path.read_text(encoding="utf-8") == f"{lease.id} 7.0 0.0 0\n"


def test_two_threads_take_turns(client: SlowClient, path: Path) -> None:
    """The lease thread and a switchover renew at the same time; one client belongs to one of them at a time."""
    lease = lease_of(client, path)

    def renew() -> None:
        for _number in range(50):
            time.sleep(0)
            assert lease.renew()

    threads = [threading.Thread(target=renew) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.most_inside == 1
    assert len(client.etcd.leases) == 1


def test_the_thread_renews_until_it_is_stopped_and_tells_the_outcomes(client: SlowClient, path: Path) -> None:
    lease = Lease(client, Policy(lease_ttl=6.0, renew_interval=0.03), path, lambda: client.now)
    stop, heard = threading.Event(), list[bool]()

    def renewed(good: bool) -> None:
        heard.append(good)
        client.down = len(heard) == 2
        if len(heard) == 4:
            stop.set()

    thread = threading.Thread(target=lease.keep, args=(stop, renewed))
    thread.start()
    thread.join(20.0)
    assert heard == [True, True, False, True]


class TestLeading:
    """A host may be writable as long as the lease lives on which it led; another lease is worth nothing."""

    def leading(self, client: SlowClient, path: Path) -> Lease:
        """A lease with the leader key on it."""
        lease = lease_of(client, path)
        lease.renew()
        lease.lead(lease.id)
        return lease

    def test_not_before_the_leader_key_was_seen_on_it(self, client: SlowClient, path: Path) -> None:
        lease = lease_of(client, path)
        lease.renew()
        assert lease.leads_until == 0.0
        lease.lead(lease.id + 1)
        assert lease.leads_until == 0.0
        lease.lead(lease.id)
        assert lease.leads_until == lease.valid_until == 6.0

    def test_each_renewal_makes_it_longer(self, client: SlowClient, path: Path) -> None:
        lease = self.leading(client, path)
        client.wait(2.0)
        lease.renew()
        assert lease.leads_until == lease.valid_until == 8.0

    def test_a_new_lease_does_not(self, client: SlowClient, path: Path) -> None:
        """etcd let the old one end, and the leader key with it: somebody else may lead."""
        lease = self.leading(client, path)
        client.wait(7.0)
        assert lease.renew()
        assert (lease.valid_until, lease.leads_until) == (13.0, 6.0)
        lease.lead(lease.id)
        assert lease.leads_until == 13.0

    def test_a_restarted_agent_knows_it(self, client: SlowClient, path: Path) -> None:
        lease = self.leading(client, path)
        again = lease_of(client, path)
        assert again.leads_until == lease.leads_until
        client.wait(1.0)
        again.renew()
        assert again.leads_until == 7.0
        client.wait(9.0)
        again.renew()
        last = lease_of(client, path)
        assert last.leads_until == 7.0
        last.renew()
        assert last.leads_until == 7.0, "still no leader key on the new one"

    def test_a_note_of_an_earlier_version_is_understood(self, client: SlowClient, path: Path) -> None:
        path.write_text("7587 6.5 5.5\n", encoding="utf-8")
        lease = lease_of(client, path)
        assert (lease.id, lease.valid_until, lease.leads_until) == (7587, 6.5, 5.5)


class TestFailsafe:
    """All other hosts have promised to wait."""

    def silent(self, client: SlowClient, path: Path) -> Lease:
        """A lease on which this host led, while etcd is silent."""
        lease = TestLeading().leading(client, path)
        client.wait(2.0)
        client.down = True
        lease.renew()
        return lease

    def test_a_promise_makes_the_deadline_later(self, client: SlowClient, path: Path) -> None:
        lease = self.silent(client, path)
        lease.extend(8.0)
        assert (lease.valid_until, lease.leads_until, lease.failsafe_until) == (6.0, 8.0, 8.0)
        assert lease_of(client, path).leads_until == 8.0

    def test_a_deadline_that_has_passed_stays_passed(self, client: SlowClient, path: Path) -> None:
        lease = self.silent(client, path)
        client.wait(6.0 - POLICY.fence_margin - 2.0)
        lease.extend(20.0)
        assert lease.leads_until == 6.0

    def test_a_restarted_agent_remembers_the_promise(self, client: SlowClient, path: Path) -> None:
        lease = self.silent(client, path)
        lease.extend(8.0)
        again = lease_of(client, path)
        assert (again.valid_until, again.leads_until, again.failsafe_until) == (6.0, 8.0, 8.0)
        client.down = False
        again.renew()
        assert again.leads_until == again.valid_until == 8.0, "it led on this very lease"

    def test_a_promise_does_not_make_a_new_lease_one_to_lead_on(self, client: SlowClient, path: Path) -> None:
        lease = self.silent(client, path)
        client.wait(2.0)
        lease.extend(9.0)
        client.wait(3.0)  # At 7.0 etcd is back, without the old lease.
        client.down = False
        assert lease.renew()
        client.down = True
        lease.extend(14.0)
        again = lease_of(client, path)
        client.down = False
        client.wait(1.0)
        assert again.renew()
        assert again.leads_until == 14.0, "the promise, and no more: no leader key hangs on this lease"

    def test_when_etcd_is_back_its_word_counts_again(self, client: SlowClient, path: Path) -> None:
        lease = self.silent(client, path)
        lease.extend(8.0)
        client.wait(1.0)
        client.down = False
        lease.renew()
        assert (lease.leads_until, lease.failsafe_until) == (9.0, 0.0)

    def test_with_another_lease_the_promise_still_counts(self, client: SlowClient, path: Path) -> None:
        lease = self.silent(client, path)
        lease.extend(8.0)
        client.wait(5.0)
        client.down = False
        lease.renew()
        assert lease.leads_until == 8.0

    def test_silence_is_noticed(self, client: SlowClient, path: Path) -> None:
        lease = TestLeading().leading(client, path)
        assert not lease.overdue
        assert not lease.unanswered
        client.wait(POLICY.renew_interval + 0.2)
        assert not lease.overdue
        client.down = True
        lease.renew()
        assert not lease.unanswered, "an answer may take a moment"
        client.wait(0.4)
        assert lease.overdue
        assert lease.unanswered
        client.down = False
        lease.renew()
        assert not lease.overdue
        assert not lease.unanswered
