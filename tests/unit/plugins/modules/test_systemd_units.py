# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ``systemd_units``, with a program that stands for systemctl."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.hosting.failover.plugins.modules import systemd_units

Run = Callable[..., dict[str, Any]]
Programs = Callable[[str, str], None]
SYSTEMCTL = """echo "$*" >> "$TEST/calls"
case "$1" in
show) for name; do
  case "$name" in
  gone.service) printf 'LoadState=not-found\\nActiveState=inactive\\n\\n';;
  *.service) printf 'LoadState=loaded\\nActiveState=inactive\\nUnitFileState=disabled\\nNeedDaemonReload=no\\n\\n';;
  esac; done;;
start) [ "$3" = bad.service ] && { echo "it will not" >&2; exit 1; };;
esac
exit 0
"""


def calls(folder: Path) -> list[str]:
    return [line for line in (folder / "calls").read_text().splitlines() if not line.startswith("show")]


def test_units_are_handled_in_order(tmp_path: Path, programs: Programs, run_module: Run) -> None:
    programs("systemctl", SYSTEMCTL)
    units = [{"name": "a", "enabled": True, "state": "started"}, {"name": "b.service", "state": "started"}]
    result = run_module(systemd_units, {"units": units})
    assert calls(tmp_path) == ["enable -- a.service", "start -- a.service", "start -- b.service"]
    assert [step["verb"] for step in result["steps"]] == ["enable", "start", "start"]
    assert result["diff"]["after"].startswith("systemctl enable a.service  # it is disabled\n")


def test_check_mode_only_looks_and_a_missing_unit_would_come(
    tmp_path: Path, programs: Programs, run_module: Run
) -> None:
    programs("systemctl", SYSTEMCTL)
    result = run_module(systemd_units, {"units": [{"name": "gone", "enabled": True, "state": "started"}]}, check=True)
    assert [step["verb"] for step in result["steps"]] == ["enable", "start"]
    assert calls(tmp_path) == []


def test_a_missing_unit_is_an_error(programs: Programs, run_module: Run) -> None:
    programs("systemctl", SYSTEMCTL)
    result = run_module(systemd_units, {"units": [{"name": "gone", "state": "started"}]})
    assert result["msg"] == "systemd knows no unit gone.service on this host"


def test_a_failure_comes_with_the_last_messages(programs: Programs, run_module: Run) -> None:
    programs("systemctl", SYSTEMCTL)
    programs("journalctl", "echo 'no such port'")
    result = run_module(systemd_units, {"units": [{"name": "bad", "state": "started"}]})
    assert result["msg"] == "systemctl start bad.service failed: it will not\nno such port"
