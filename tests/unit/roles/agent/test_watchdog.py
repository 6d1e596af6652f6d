# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The watchdog: late enough for the fence, early enough for the lease, and never in the way."""

from __future__ import annotations

import fcntl
import struct
from pathlib import Path

import pytest
from failover_agent import watchdog
from failover_agent.watchdog import Watchdog
from hypothesis import given
from hypothesis import strategies as st


@given(ttl=st.floats(2, 60), margin=st.floats(0.1, 10))
def test_the_reset_comes_after_the_fence_and_before_the_end_of_the_lease(ttl: float, margin: float) -> None:
    seconds = watchdog.timeout(ttl, margin)
    assert seconds == 0 or ttl - margin < seconds < ttl


def test_the_default_times_fit() -> None:
    assert watchdog.timeout(6.0, 1.5) == 5


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file in the place of the device."""
    path = tmp_path / "watchdog"
    path.touch()
    return path


@pytest.fixture
def granted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the driver grants, if anything is in the list; else what is asked for."""
    answers: list[int] = []

    def ioctl(_handle: int, request: int, argument: bytes) -> bytes:
        assert request == watchdog.SET_TIMEOUT
        return struct.pack("i", answers[0]) if answers else argument

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return answers


@pytest.mark.usefixtures("granted")
class TestKeeping:
    """Pats and the magic close."""

    def test_a_renewed_lease_puts_the_reset_off_once(self, device: Path) -> None:
        keeper = Watchdog(5, device)
        keeper.arm()
        assert keeper.armed
        for valid_until in (6.0, 6.0, 6.0, 7.5):
            keeper.keep(valid_until, writable=True)
        assert device.read_bytes() == b"\0\0"

    def test_a_host_that_is_not_writable_is_never_reset(self, device: Path) -> None:
        keeper = Watchdog(5, device)
        keeper.arm()
        keeper.keep(0.0, writable=False)
        keeper.keep(0.0, writable=False)
        assert device.read_bytes() == b"\0\0"

    def test_a_regular_end_leaves_no_reset_behind(self, device: Path) -> None:
        keeper = Watchdog(5, device)
        keeper.arm()
        keeper.disarm()
        assert not keeper.armed
        assert device.read_bytes() == b"V"

    def test_a_device_that_wants_another_time_is_let_go(self, device: Path, granted: list[int]) -> None:
        granted.append(60)
        keeper = Watchdog(5, device)
        keeper.arm()
        assert not keeper.armed
        assert device.read_bytes() == b"V"

    def test_without_a_device_nothing_happens(self, tmp_path: Path) -> None:
        keeper = Watchdog(5, tmp_path / "none")
        keeper.arm()
        keeper.keep(1.0, writable=True)
        keeper.disarm()
        assert not keeper.armed
        assert not list(tmp_path.iterdir())

    def test_without_a_time_that_fits_nothing_happens(self, device: Path) -> None:
        keeper = Watchdog(0, device)
        keeper.arm()
        assert not keeper.armed


def test_a_file_that_is_no_watchdog_is_not_used(device: Path) -> None:
    keeper = Watchdog(5, device)
    keeper.arm()
    assert not keeper.armed
