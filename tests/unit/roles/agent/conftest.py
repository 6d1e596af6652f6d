# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the tests of the agent share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
from failover_agent.config import Pki

from simulator.world import World

from .authority import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the estate."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A certificate for www1, of a CA that nobody in the estate trusts."""
    return Authority(tmp_path_factory.mktemp("other-ca"), "other CA").issue("www1")


@pytest.fixture(scope="session")
def pki(authority: Authority) -> Callable[[str], Pki]:
    """The certificate of a host of the estate."""
    return cache(authority.issue)


@pytest.fixture
def world() -> Iterator[World]:
    """An estate of www1, which is primary, and www2, in order."""
    made = World()
    made.bootstrap("www1")
    assert made.unsettled() == ""
    yield made
    made.close()
