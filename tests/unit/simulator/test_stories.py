# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every story: what once showed a fault must not show it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.campaign import quiet
from simulator.run import run
from simulator.schedule import STORIES, parse


@pytest.mark.parametrize("path", sorted(STORIES.glob("*.txt")), ids=lambda path: path.stem)
def test_what_was_found_once(path: Path) -> None:
    with quiet():
        assert run(parse(path.read_text(encoding="utf-8"))).violation == ""
