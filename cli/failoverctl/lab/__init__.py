"""Real Debian hosts on one machine: systemd-nspawn on overlayfs, a bridge, and ways to break them.

Below /var/lib/failoverctl-lab:

- ``bases/<release>/trees/<digest>/``: a bare Debian, shared and never written; ``pool/``: packages;
- ``labs/<name>/``: what the lab was asked to be (``state.json``), its passwords and ssh key, and for
  each host its disk (an overlay over the tree) and its console;
- ``kernel.was``: while labs run, what the kernel settings they raised were before.

The hosts have all capabilities but that to set the clock, and share the machine's kernel: they are
for learning and testing, and no barrier to anybody who is root in them. ``/proc/sys`` is read-only
in them but for ``/proc/sys/net``.
"""

from __future__ import annotations

from failoverctl.lab.errors import LabError
from failoverctl.lab.lab import HostStatus, Lab, LabStatus
from failoverctl.lab.state import Cut

__all__ = ["Cut", "HostStatus", "Lab", "LabError", "LabStatus"]
