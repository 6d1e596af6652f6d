"""On a host: takes the room of a file system until so many bytes are left, and keeps it so.

The room is taken by a file without a name: when this process ends, however it ends, the room is free again.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path


def notify(text: str) -> None:
    """Tell systemd (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(text.encode(), path.replace("@", "\0", 1) if path.startswith("@") else path)


def main() -> None:
    """Fill until SIGTERM."""
    order = json.loads(sys.argv[1])
    folder, leave = str(order["folder"]), int(order["leave_bytes"])
    if order["own_only"] and Path(folder).stat().st_dev == Path("/").stat().st_dev:
        sys.exit(
            f"{folder} is on the disk of the system, which is filled only when the scenario says system_disk: true"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryFile(dir=folder) as file:
        size, told = 0, False
        while True:
            room = os.fstatvfs(file.fileno())
            # What an account that is not root may still take (statvfs(3)).
            more = room.f_bavail * room.f_frsize - leave
            while more > 4096:
                try:
                    os.posix_fallocate(file.fileno(), size, more)
                    size += more
                    break
                except OSError as error:
                    # Others take room, too, and the file system needs some to keep its books.
                    if error.errno != errno.ENOSPC:
                        sys.exit(f"{folder} cannot be filled: {error}")
                    more //= 2
            if not told:
                notify("READY=1")
                told = True
            time.sleep(0.1)


if __name__ == "__main__":
    main()
