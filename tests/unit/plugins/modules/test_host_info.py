# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ``host_info``, with a program that stands for ss."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _host
from ansible_collections.hosting.failover.plugins.modules import host_info

Run = Callable[..., dict[str, Any]]
Programs = Callable[[str, str], None]
SOCKET = "LISTEN 0 4096 198.51.100.11:2379 0.0.0.0:*"
STARTS = f"""echo look >> "$TEST/looks"
if [ "$(wc -l < "$TEST/looks")" -lt {{nth}} ]
then echo '{SOCKET}'
else echo '{SOCKET} users:(("etcd",pid={os.getpid()},fd=7))'
fi
"""
"""ss, which knows who has the socket when it is asked for the nth time."""


@pytest.mark.parametrize(("nth", "process", "looks"), [(1, "etcd", 1), (2, "etcd", 2), (9, "", 2)])
def test_a_socket_of_nobody_is_looked_at_again(
    nth: int,
    process: str,
    looks: int,
    tmp_path: Path,
    programs: Programs,
    run_module: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that starts while ss reads has a socket, and is no process yet."""
    monkeypatch.setattr(host_info, "ODD_SOCKET_SECONDS", 0.0)
    monkeypatch.setattr(_host, "parse_unit", lambda _: "etcd.service")
    programs("ss", STARTS.format(nth=nth))
    (listener,) = run_module(host_info, {"ports": [2379]})["host"]["listeners"]
    assert (listener["port"], listener["process"]) == (2379, process)
    assert listener["unit"] == ("etcd.service" if process else "")
    assert len((tmp_path / "looks").read_text().splitlines()) == looks


def test_a_port_that_nobody_has_is_looked_at_once(tmp_path: Path, programs: Programs, run_module: Run) -> None:
    programs("ss", STARTS.format(nth=1))
    assert run_module(host_info, {"ports": [80]})["host"]["listeners"] == []
    assert len((tmp_path / "looks").read_text().splitlines()) == 1
