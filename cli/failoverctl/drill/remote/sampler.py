"""On a data host: ten times a second one JSON line that says what this host is. Ends when its standard input does.

It asks nobody but this host, so that it goes on while the host is cut off. Times are CLOCK_BOOTTIME of the host.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pymysql

#: What the database said longer ago than this is not known any more.
_STALE_SECONDS = 0.35


def now() -> float:
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Database(threading.Thread):
    """Asks the database whether it is read-only, over a connection that stays open."""

    def __init__(self, path: str, interval: float) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._interval = interval
        self.read_only: bool | None = None
        self.at = 0.0
        self.error = "not asked yet"

    def run(self) -> None:
        """Ask for ever."""
        session: Any = None
        while True:
            began = now()
            try:
                if session is None:
                    session = pymysql.connect(
                        unix_socket=self._path, user="root", connect_timeout=1, read_timeout=1, write_timeout=1
                    )
                with session.cursor() as cursor:
                    cursor.execute("SELECT @@global.read_only")
                    answer = cursor.fetchone()
                self.read_only, self.at, self.error = bool(answer[0]), began, ""
            except (OSError, pymysql.MySQLError, TypeError) as error:
                self.error = str(error)[:100]
                if session is not None:
                    with contextlib.suppress(OSError, pymysql.MySQLError):
                        session.close()
                session = None
            time.sleep(max(0.0, began + self._interval - now()))


class Agent(threading.Thread):
    """Asks the agent for role and term twice a second: each answer costs it a few milliseconds."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self.role: str | None = None
        self.term: int | None = None
        self.at = 0.0
        self.error = "not asked yet"
        self.soon = threading.Event()

    def run(self) -> None:
        """Ask for ever."""
        connection: http.client.HTTPConnection | None = None
        while True:
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=0.5)
                connection.request("GET", "/role")
                answer = json.loads(connection.getresponse().read())
                self.role, self.term, self.error = str(answer["role"]), answer["term"], ""
                self.at = now()
            except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
                self.error = (str(error) or type(error).__name__)[:100]
                if connection is not None:
                    connection.close()
                connection = None
            self.soon.wait(0.5)
            self.soon.clear()


def held(text: str, addresses: dict[str, str]) -> list[str]:
    """Return the names of the addresses that are local, from the text of /proc/net/fib_trie."""
    lines = text.splitlines()
    local = {
        before.split()[-1] for before, line in itertools.pairwise(lines) if "/32 host LOCAL" in line and "|--" in before
    }
    return sorted(name for name, address in addresses.items() if address in local)


def held_6(text: str, addresses: dict[str, str]) -> list[str]:
    """Return the names of the IPv6 addresses that are local, from the text of /proc/net/if_inet6."""
    local = {line.split()[0] for line in text.splitlines() if line.strip()}
    return sorted(
        name
        for name, address in addresses.items()
        if ":" in address and ipaddress.IPv6Address(address).exploded.replace(":", "") in local
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def main() -> None:
    """Print samples until the end of standard input."""
    settings = json.loads(sys.argv[1])
    interval = float(settings["interval"])
    database = Database(settings["socket"], interval)
    agent = Agent(int(settings["port"]))
    database.start()
    agent.start()
    threading.Thread(target=_end_with_input, daemon=True).start()
    due = now()
    known: bool | None = None
    while True:
        at = now()
        fresh = at - database.at <= _STALE_SECONDS
        read_only = database.read_only if fresh else None
        if read_only is not known:
            known = read_only
            agent.soon.set()
        answered = at - agent.at <= 1.5
        role = agent.role if answered else None
        line = {
            # The database was asked then, and the answer is told now.
            "asked": round(database.at if fresh else at, 4),
            "t": round(at, 4),
            "utc": round(time.time(), 3),
            "read_only": read_only,
            # The fence drops what comes to the port, whatever the database says of itself.
            "writable": read_only is False and role != "fenced",
            "role": role,
            "term": agent.term if answered else None,
            "vips": held(_read("/proc/net/fib_trie"), settings["vips"])
            + held_6(_read("/proc/net/if_inet6"), settings["vips"]),
            "error": "; ".join(
                text for text in ("" if fresh else database.error, "" if answered else agent.error) if text
            )
            or None,
        }
        print(json.dumps(line, separators=(",", ":")), flush=True)
        due = max(due + interval, now() - interval)
        time.sleep(max(0.0, due - now()))


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
