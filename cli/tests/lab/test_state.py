from __future__ import annotations

import stat
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from failoverctl.lab.errors import LabError
from failoverctl.lab.state import Cut, Paths, State, check_name, is_locked, locked, read_state, write_file, write_state

STATE = State(
    name="dev",
    layout="small",
    release="trixie",
    network=IPv4Network("198.51.100.64/26"),
    tree="0123456789ab",
    off=("www2",),
    cuts=(Cut("www1"), Cut("www1", "www2", True)),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    paths = Paths(tmp_path, "dev")
    assert read_state(paths) is None
    write_state(paths, STATE)
    assert read_state(paths) == STATE


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 2}', '{"schema": 1, "name": "dev"}', "[]"])
def test_a_damaged_state_says_how_to_go_on(tmp_path: Path, text: str) -> None:
    paths = Paths(tmp_path, "dev")
    write_file(paths.state, text)
    with pytest.raises(LabError) as caught:
        read_state(paths)
    assert "lab --name dev down" in caught.value.fix


def test_off_and_on() -> None:
    assert STATE.with_off("www1", True).off == ("www2", "www1")
    assert STATE.with_off("www2", True).off == ("www2",)
    assert STATE.with_off("www2", False).off == ()


@pytest.mark.parametrize("name", ["", "Dev", "1a", "a_b", "a" * 17, "../x", "a/b"])
def test_names_that_cannot_name_a_lab(name: str) -> None:
    with pytest.raises(LabError):
        check_name(name)


def test_files_have_their_mode_and_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "secret"
    write_file(path, "old")
    write_file(path, "new", 0o600)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_a_lock_that_is_held_is_told_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverctl.lab.state._LOCK_WAIT_SECONDS", 0.2)
    said: list[str] = []
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    with locked(lock, said.append), pytest.raises(LabError) as caught, locked(lock, said.append):
        pass
    assert not is_locked(lock)
    with locked(lock, said.append):
        assert is_locked(lock)
    assert caught.value.exit_code == 6
    assert len(said) == 1
    with locked(lock, said.append):
        lock.unlink()
        with locked(lock, said.append):
            assert is_locked(lock)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (Cut("www1"), "www1 from everything"),
        (Cut("www1", "www2"), "www1 and www2"),
        (Cut("www1", "www2", True), "www1 to www2"),
    ],
)
def test_cuts_in_words(cut: Cut, text: str) -> None:
    assert str(cut) == text


def test_a_socket_of_the_longest_name_fits_into_a_socket_address() -> None:
    sockets = Paths(Path("/var/lib/failoverctl-lab"), "a" * 16).sockets
    # ssh adds a dot and 16 characters while it makes one; sun_path of unix(7) has 108 bytes.
    assert len(f"{sockets}/255.255.255.255") + 17 < 108
