"""Real Debian hosts on one machine: systemd-nspawn on overlayfs, a bridge, and ways to break them.

>>> from failoverctl.lab import Lab
>>> lab = Lab.open("failover")
"""

from __future__ import annotations

from failoverctl.lab.errors import LabError
from failoverctl.lab.lab import HostStatus, Lab, LabStatus
from failoverctl.lab.state import Cut

__all__ = ["Cut", "HostStatus", "Lab", "LabError", "LabStatus"]
