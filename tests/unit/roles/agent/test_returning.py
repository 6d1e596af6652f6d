# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way back by command: what it says beforehand, and that a person's order counts where automation waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from failover_agent.agent import CommandError

from simulator.world import ETCD, World


def codes(answer: dict[str, Any]) -> list[str]:
    """Why it was refused."""
    assert answer["result"] == "refused"
    return [refusal["code"] for refusal in answer["refusals"]]


def pause(world: World) -> None:
    """Nothing is decided without a person."""
    world.agent("www2").pause("anna", "a look", 3600.0)


def diverge(world: World) -> None:
    """www1 wrote something that nobody else has; www2 is primary, and automation is paused when www1 comes back."""
    world.cut("www1", "www2")
    world.run(5.0)
    world.write("www1")
    world.power_off("www1")
    world.acknowledged.clear()  # A person accepted the loss.
    world.heal()
    assert world.failover("www2", accept_data_loss=True)["result"] == "promoted"
    pause(world)
    world.power_on("www1")
    world.run(10.0)


def follows(world: World) -> bool:
    """Whether www1 replicates from www2."""
    replication = world.agent("www1").database.observe().replication
    return replication is not None and replication.io_running and replication.sql_running


def test_a_host_that_follows_is_left_alone(world: World) -> None:
    answer = world.rejoin("www2")
    assert (answer["result"], answer["method"], answer["divergent"], answer["steps"]) == ("already", None, None, [])


class TestRefusals:
    """Nothing is ordered."""

    def test_the_primary(self, world: World) -> None:
        assert codes(world.rejoin("www1")) == ["already_primary"]

    def test_without_a_primary(self, world: World) -> None:
        pause(world)
        world.power_off("www1")
        world.run(10.0)
        assert codes(world.rejoin("www2")) == ["no_primary"]

    def test_without_etcd(self, world: World) -> None:
        world.cut("www2", ETCD)
        assert codes(world.rejoin("www2")) == ["quorum_lost"]

    def test_while_another_run_is_at_work(self, world: World) -> None:
        world.agent("www1").lock_acquire("bert", "other", "setup", 60.0)
        assert codes(world.rejoin("www2")) == ["locked"]

    def test_a_host_that_is_being_copied(self, world: World) -> None:
        world.agent("www2").seeding = "seeding from www1"
        assert codes(world.rejoin("www2")) == ["busy"]


def test_a_stopped_database_is_started_although_automation_is_paused(world: World) -> None:
    pause(world)
    world.power_off("www2")
    world.power_on("www2")
    world.run(10.0)
    assert not world.agent("www2").database.observe().running
    assert world.rejoin("www2", check=True)["method"] == "attach"
    assert not world.agent("www2").database.observe().running
    answer = world.rejoin("www2")
    assert (answer["result"], [step["outcome"] for step in answer["steps"]]) == ("attached", ["ok"])
    assert world.agent("www2").ordered == ""


def test_what_only_this_host_has_is_told_beforehand_and_undone(world: World) -> None:
    diverge(world)
    assert not follows(world)
    checked = world.rejoin("www1", check=True)
    assert (checked["result"], checked["method"]) == ("possible", "flashback")
    assert checked["divergent"] == {"transactions": 1, "sql": None, "raw": None}
    assert not follows(world)
    answer = world.rejoin("www1")
    assert (answer["result"], answer["divergent"]["transactions"]) == ("flashed_back", 1)
    assert follows(world)


def test_a_new_copy_is_made_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = world.agent("www2")
    copies: list[bool] = []

    def seed(*, discard: bool, worthless: bool) -> dict[str, Any]:
        copies.append(discard and not worthless)
        return {"changed": True, "from": "www1", "position": ""}

    monkeypatch.setattr(agent, "seed", seed)
    assert world.rejoin("www2", reclone=True, check=True)["method"] == "reclone"
    assert copies == []
    assert world.rejoin("www2", reclone=True)["result"] == "recloned"
    world.run(5.0)
    assert copies == [True]


def test_a_copy_that_fails_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def seed(*, discard: bool, worthless: bool) -> dict[str, Any]:
        assert discard
        assert not worthless, "nothing was saved of what it holds"
        raise CommandError("seed_failed", "the stream broke")

    monkeypatch.setattr(world.agent("www2"), "seed", seed)
    answer = world.rejoin("www2", reclone=True)
    assert (answer["result"], answer["error"]) == ("failed", "no new copy: the stream broke")


@pytest.mark.parametrize(("fraction", "stays"), [(0.06, True), (0.04, False)])
def test_what_a_copy_replaced_goes_when_the_disk_gets_full(
    world: World, monkeypatch: pytest.MonkeyPatch, fraction: float, stays: bool
) -> None:
    agent = world.agent("www2")
    old = Path(agent.config.database_directory) / ".failover" / "before-seed-20260101T000000Z"
    (old / "shop").mkdir(parents=True)
    monkeypatch.setattr(agent.host, "disk_free_fraction", lambda: fraction)
    world.run(3.0)
    assert old.exists() == stays
    assert old.parent.exists()


def test_what_a_copy_replaced_stays_while_that_is_not_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = world.agent("www2")
    old = Path(agent.config.database_directory) / ".failover" / "before-seed-20260101T000000Z"
    old.mkdir(parents=True)
    monkeypatch.setattr(agent.host, "disk_free_fraction", lambda: 0.01)
    agent.seeding = "seeding from www1"
    world.run(3.0)
    assert old.exists()


@pytest.mark.parametrize(("divergence", "worthless"), [("", False), ("saved", True), ("flashed_back", True)])
def test_what_was_saved_may_be_deleted_for_room(
    world: World, monkeypatch: pytest.MonkeyPatch, divergence: str, worthless: bool
) -> None:
    agent, asked = world.agent("www2"), []

    def seed(**wish: bool) -> dict[str, Any]:
        asked.append(wish)
        return {"from": "www1", "position": "0-1-5"}

    monkeypatch.setattr(agent, "seed", seed)
    monkeypatch.setattr(agent, "background", lambda work: work())
    agent._divergence = divergence
    agent._reclone()
    assert asked == [{"discard": True, "worthless": worthless}]
