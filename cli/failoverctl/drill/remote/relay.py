"""On a host: delays and loses what it sends to some addresses (IPv4), by taking the packets through user space.

Packets to the addresses are routed into a tun interface; from there they are sent on, later, with a mark that keeps
them out of it. It needs no qdisc of the kernel, touches nothing but those addresses, and ends with this process: then
the interface goes, and its routes with it. What is sent by sockets bound to an interface (keepalived's) does not come
here.
Source: Documentation/networking/tuntap.rst of Linux; ip-rule(8).
"""

from __future__ import annotations

import collections
import fcntl
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MARK = "0x77d"


def ip(*words: str) -> str:
    """Run ip(8) and return what it printed."""
    return subprocess.run(["ip", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def notify(text: str) -> None:
    """Tell systemd (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(text.encode(), path.replace("@", "\0", 1) if path.startswith("@") else path)


def loosen(interface: str) -> None:
    """Let packets in whose way back is the tun: a strict reverse path filter would drop them."""
    for name in ("all", interface):
        file = Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter")
        if file.read_text(encoding="ascii").strip() == "1":
            file.write_text("2", encoding="ascii")


def main() -> None:
    """Relay until SIGTERM."""
    order = json.loads(sys.argv[1])
    delay, loss = float(order["delay_ms"]) / 1000.0, float(order["loss_percent"]) / 100.0
    table, device = str(order["table"]), str(order["device"])
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TUN | _IFF_NO_PI))
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(_MARK, 16))
    way = json.loads(ip("-json", "route", "get", order["to"][0]))[0]
    loosen(way["dev"])
    mtu = Path(f"/sys/class/net/{way['dev']}/mtu").read_text(encoding="ascii").strip()
    ip("link", "set", device, "mtu", mtu, "txqueuelen", "5000", "up")
    ip("rule", "add", "pref", str(order["pref"]), "fwmark", _MARK, "lookup", "main")
    for address in order["to"]:
        ip("route", "add", f"{address}/32", "dev", device, "src", way["prefsrc"], "table", table)
        ip("rule", "add", "pref", str(int(order["pref"]) + 1), "to", f"{address}/32", "lookup", table)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    notify("READY=1")
    waiting: collections.deque[tuple[float, bytes]] = collections.deque()
    while True:
        left = waiting[0][0] - time.monotonic() if waiting else None
        ready, _, _ = select.select([tun], [], [], None if left is None else max(0.0, left))
        while ready:
            try:
                packet = os.read(tun, 65535)
            except BlockingIOError:
                break
            if packet[0] >> 4 == 4 and random.random() >= loss:
                waiting.append((time.monotonic() + delay, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            packet = waiting.popleft()[1]
            try:
                out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
            except OSError as error:
                print(f"not sent on: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
