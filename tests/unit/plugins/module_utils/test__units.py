# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What systemd says of units, and what has to be done."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _units
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures" / "systemd"
NAMES = ("nginx.service", "nope.service", "ssh.service", "mariadb.service")
RUNNING = _units.UnitState("a.service", "loaded", "active", "enabled", False, started_at=1000, changed_at=2000)
STOPPED = replace(RUNNING, active="inactive", unit_file="disabled")
CONFIG, SITES = "/etc/a.conf", "/etc/a.d"


def verbs(want: _units.WantedUnit, state: _units.UnitState, *changed: str, **modified: int) -> list[str]:
    times = {{"config": CONFIG, "sites": SITES}[key]: value for key, value in modified.items()}
    return [step.verb for step in _units.decide_steps([want], {want.name: state}, changed, times)]


def test_show_is_read() -> None:
    nginx, nope, ssh, mariadb = _units.parse_show((FIXTURES / "show.txt").read_text(), NAMES)
    assert (nginx.active, nginx.unit_file, nginx.needs_daemon_reload) == ("active", "enabled", False)
    assert nginx.changed_at - nginx.started_at == 13_507_817
    assert (nope.load, nope.started_at) == ("not-found", 0)
    assert (ssh.name, mariadb.unit_file) == ("ssh.service", "disabled")


def test_a_missing_block_is_an_error() -> None:
    with pytest.raises(_units.UnitsError, match="4 of 5"):
        _units.parse_show((FIXTURES / "show.txt").read_text(), [*NAMES, "other.service"])


def test_times() -> None:
    assert _units.parse_timestamp("Thu 1970-01-01 00:00:01.000002 UTC") == 1_000_002
    assert _units.parse_timestamp("") == 0
    with pytest.raises(_units.UnitsError, match="expected microseconds"):
        _units.parse_timestamp("Mon 2026-11-23 05:52:53 CET")


@pytest.mark.parametrize(("name", "full"), [("a", "a.service"), ("a.timer", "a.timer"), ("a@b", "a@b.service")])
def test_names(name: str, full: str) -> None:
    assert _units.full_name(name) == full


WANT = _units.WantedUnit("a.service", enabled=True, running=True, restart_on=(CONFIG,), reload_on=(SITES,))


def test_nothing_to_do() -> None:
    assert verbs(WANT, RUNNING, config=1000, sites=2000) == []


def test_a_stopped_unit_is_enabled_and_started() -> None:
    assert verbs(WANT, STOPPED, config=9999) == ["enable", "start"]


def test_a_newer_file_restarts_even_when_no_task_changed_it() -> None:
    assert verbs(WANT, RUNNING, config=1001) == ["restart"]


def test_a_newer_file_reloads() -> None:
    assert verbs(WANT, RUNNING, sites=2001) == ["reload"]


def test_a_restart_is_no_reload_too() -> None:
    assert verbs(WANT, RUNNING, config=1001, sites=2001) == ["restart"]


def test_a_change_in_this_play_counts_in_check_mode() -> None:
    assert verbs(WANT, RUNNING, CONFIG) == ["restart"]
    assert verbs(WANT, RUNNING, f"{SITES}/x.conf") == ["reload"]
    assert verbs(WANT, RUNNING, f"{SITES}x.conf") == []


def test_daemon_reload_comes_first() -> None:
    assert verbs(WANT, replace(STOPPED, needs_daemon_reload=True)) == ["daemon-reload", "enable", "start"]


@pytest.mark.parametrize(("read", "steps"), [(["a.conf"], []), (["a.conf", "b.conf"], []), ([], ["daemon-reload"])])
def test_a_drop_in_that_systemd_has_not_read_is_noticed(read: list[str], steps: list[str]) -> None:
    """systemd 252 says NeedDaemonReload=no when the folder of the drop-in is new; keepalived started without it."""
    folder = "/etc/systemd/system/a.service.d"
    state = replace(RUNNING, drop_ins=tuple(f"{folder}/{name}" for name in read))
    decided = _units.decide_steps([WANT], {"a.service": state}, (), {}, {"a.service": [f"{folder}/a.conf"]})
    assert [step.verb for step in decided] == steps


def test_drop_ins_on_disk_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a.service.d"
    folder.mkdir()
    (folder / "a.conf").touch()
    (folder / "masked.conf").symlink_to("/dev/null")
    (folder / "notes").touch()
    monkeypatch.setattr(_units, "DROP_IN_ROOT", tmp_path)
    assert _units.read_drop_ins(["a.service", "b.service"]) == {"a.service": [str(folder / "a.conf")], "b.service": []}


def test_a_unit_that_is_only_watched_stays_stopped() -> None:
    want = replace(WANT, enabled=None, running=None)
    assert verbs(want, STOPPED, CONFIG) == []
    assert verbs(want, RUNNING, CONFIG) == ["restart"]


def test_stop_and_disable() -> None:
    assert verbs(_units.WantedUnit("a.service", enabled=False, running=False), RUNNING) == ["disable", "stop"]
    assert verbs(_units.WantedUnit("a.service", enabled=False, running=False), STOPPED) == []


@pytest.mark.parametrize("state", ["static", "alias", "indirect"])
def test_a_unit_without_install_section_counts_as_enabled(state: str) -> None:
    assert verbs(WANT, replace(RUNNING, unit_file=state)) == []


STATES = st.builds(
    _units.UnitState,
    name=st.just("a.service"),
    load=st.just("loaded"),
    active=st.sampled_from(["active", "inactive", "failed", "activating", "reloading", "deactivating"]),
    unit_file=st.sampled_from(["enabled", "disabled", "static", ""]),
    needs_daemon_reload=st.booleans(),
    started_at=st.integers(0, 10),
    changed_at=st.integers(0, 10),
)


@given(state=STATES, time=st.integers(0, 10), wanted=st.sampled_from([None, True, False]))
def test_what_was_done_need_not_be_done_again(state: _units.UnitState, time: int, wanted: bool | None) -> None:
    want = replace(WANT, enabled=wanted, running=wanted)
    times = {CONFIG: time, SITES: time}
    for step in _units.decide_steps([want], {want.name: state}, (), times):
        if step.verb == "daemon-reload":
            state = replace(state, needs_daemon_reload=False)
        elif step.verb in ("enable", "disable"):
            state = replace(state, unit_file=f"{step.verb}d")
        elif step.verb in ("start", "restart"):
            state = replace(state, active="active", started_at=11, changed_at=11)
        elif step.verb == "reload":
            state = replace(state, changed_at=11)
        else:
            state = replace(state, active="inactive", changed_at=11)
    assert _units.decide_steps([want], {want.name: state}, (), times) == ()


def test_a_directory_is_as_new_as_its_youngest_file_and_caches_do_not_count(tmp_path: Path) -> None:
    for name, when in (("a.py", 100), ("sub/b.py", 300), ("__pycache__/a.pyc", 900)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (when, when))
    assert _units.read_modified({str(tmp_path), str(tmp_path / "none"), str(tmp_path / "a.py")}) == {
        str(tmp_path): 300_000_000,
        str(tmp_path / "a.py"): 100_000_000,
    }
