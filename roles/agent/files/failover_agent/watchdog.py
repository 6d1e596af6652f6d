# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kernel's watchdog: it resets the machine when an agent that may be primary no longer runs.

An agent that is stopped (``SIGSTOP``, a machine out of memory) cannot fence. I3 protects acknowledged writes even then;
the reset also ends stale reads and an address that stays. Where there is no ``/dev/watchdog`` nothing happens.

While the database is writable it is patted when the lease was renewed, and else never; its time-out is between the
fence's deadline and the end of the lease. So a fence that works comes first, and one that does not is followed by a
reset before somebody else can be elected. Linux kernel documentation, "The Linux Watchdog driver API":
``WDIOC_SETTIMEOUT``, and the magic close with ``V``.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import struct
from pathlib import Path

_log = logging.getLogger("failover-agent.watchdog")
DEVICE = Path("/dev/watchdog")
#: ``_IOWR('W', 6, int)`` of linux/watchdog.h.
SET_TIMEOUT = 0xC0045706


def timeout(lease_ttl: float, fence_margin: float) -> int:
    """Whole seconds after a renewal at which the machine is reset; 0 when no whole second is late and early enough."""
    seconds = math.floor(lease_ttl - fence_margin / 2)
    return seconds if seconds > lease_ttl - fence_margin else 0


class Watchdog:
    """Keeps the watchdog quiet. Every method is harmless where there is none. ``seconds`` is from :func:`timeout`."""

    def __init__(self, seconds: int, device: Path = DEVICE) -> None:
        self._seconds = seconds
        self._device = device
        self._handle: int | None = None
        self._patted_for = 0.0

    @property
    def armed(self) -> bool:
        """Whether the machine is reset if nobody pats."""
        return self._handle is not None

    def arm(self) -> None:
        """Open the device and set the time-out; does nothing when it is armed, missing, or used by somebody else."""
        if self.armed or not self._seconds:
            return
        try:
            handle = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            if self._device.exists():
                _log.warning("%s: %s", self._device, error.strerror)
            return
        try:
            answer = fcntl.ioctl(handle, SET_TIMEOUT, struct.pack("i", self._seconds))
            (granted,) = struct.unpack("i", answer)
        except OSError as error:
            _log.warning("%s takes no time-out: %s", self._device, error.strerror)
            granted = 0
        if granted != self._seconds:
            _log.warning("%s does not take %d s: not used", self._device, self._seconds)
            _close(handle)
            return
        self._handle = handle
        _log.info("%s is armed: %d s", self._device, granted)

    def keep(self, lease_valid_until: float, *, writable: bool) -> None:
        """Put the reset off by one time-out, if the lease was renewed since the last time or nothing is writable here.

        To be called several times a second, by the thread that fences: if that one is stuck, nobody else must pat.
        """
        if self._handle is None or (writable and lease_valid_until <= self._patted_for):
            return
        self._patted_for = lease_valid_until
        try:
            os.write(self._handle, b"\0")
        except OSError as error:
            _log.error("%s: %s", self._device, error.strerror)

    def disarm(self) -> None:
        """Close the device so that no reset follows: at a regular end of the agent only."""
        if self._handle is not None:
            _close(self._handle)
            self._handle = None


def _close(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.write(handle, b"V")
    os.close(handle)
