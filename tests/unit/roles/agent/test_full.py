# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clients take all connections of a primary while its replica is cut off; then the link is good again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from failover_agent.mariadb import DatabaseError, MariaDB
from failover_agent.policy import Policy

from simulator.mariadb import MAX_CONNECTIONS
from simulator.network import DATABASE
from simulator.world import World


@pytest.fixture
def full() -> Iterator[World]:
    """An estate whose replica is cut off for longer than any limit, with clients that wait for it for ever."""
    world = World(policy=Policy(on_last_replica_loss="block"))
    world.bootstrap("www1")
    assert world.unsettled() == ""
    for pair in (("www1", "www2"), ("www2", "www1")):
        world.network.block(*pair, DATABASE)
    primary = world.machines["www1"].server
    while not primary.full:
        primary.write()
    world.run(20.0)
    assert len(primary.waiting) == MAX_CONNECTIONS
    yield world
    world.close()


def test_the_replica_comes_back_and_nobody_waits_any_more(full: World) -> None:
    full.network.heal()
    full.run(10.0)
    assert full.unsettled() == ""
    assert len(full.acknowledged) == MAX_CONNECTIONS


def test_who_came_over_the_port_of_clients_changes_to_the_other(full: World) -> None:
    """Else it would be the deadlock that the port is there for."""
    full.machines["www2"].server.source_port = 3306
    full.network.heal()
    full.run(60.0)
    assert full.unsettled() == ""
    assert full.machines["www2"].server.source_port == 3307


def test_over_the_port_of_clients_nobody_is_let_in(full: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world knows the deadlock."""
    monkeypatch.setattr(MariaDB, "_port_of", lambda _self, _address: 3306)
    full.machines["www2"].server.source_port = 3306
    full.network.heal()
    full.run(60.0)
    assert "no write waits" in full.unsettled()
    assert full.acknowledged == []


def test_a_restarted_agent_reaches_its_server(full: World) -> None:
    """It lost the connection that it had kept, and an administrator sits where only administrators may."""
    agent = full.machines["www1"].agent
    assert agent is not None
    database = agent.database
    database.forget()
    with pytest.raises(DatabaseError, match="1040"):
        database._by_socket(1.0)
    assert database.observe().running
    assert database.connect(1.0).value("SELECT @@read_only") == 0
