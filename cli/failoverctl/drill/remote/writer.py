"""On a data host: writes to this host's own address all the time, like a client that is cut off together with it.

The first line of standard input is what to do, with the password; the program ends when the input does. Each attempt is
one JSON line before it and one after: the row of an attempt whose end nobody heard of may be there or not. Times are
CLOCK_BOOTTIME of the host.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from typing import Any

import pymysql

_INSERT = "INSERT INTO writes (run_id, stream, seq, server) VALUES (%s, %s, %s, @@hostname) RETURNING server"


def now() -> float:
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Writer:
    """Writes one row after the other over one connection, each at most once."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._refused = frozenset(order["not_committed"])
        self._session: Any = None

    def write(self, seq: int) -> tuple[str, str | None, str | None]:
        """Insert one row; return the outcome (ok, fail, info), the server that acknowledged it, and the error."""
        order = self._order
        try:
            if self._session is None:
                self._session = pymysql.connect(
                    host=order["address"],
                    port=order["port"],
                    user=order["user"],
                    password=order["password"],
                    database=order["database"],
                    autocommit=True,
                    connect_timeout=1,
                    read_timeout=1,
                    write_timeout=1,
                    ssl_disabled=True,
                )
        except (OSError, pymysql.MySQLError) as error:
            self._session = None
            return "fail", None, f"connecting: {error}"[:120]
        try:
            with self._session.cursor() as cursor:
                cursor.execute(_INSERT, (order["run_id"], order["stream"], seq))
                return "ok", str(cursor.fetchone()[0]), None
        except (OSError, pymysql.MySQLError, TypeError) as error:
            number = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else None
            if number in self._refused:
                return "fail", None, f"writing: {error}"[:120]
            with contextlib.suppress(OSError, pymysql.MySQLError):
                self._session.close()
            self._session = None
            return "info", None, f"writing: {error}"[:120]


def main() -> None:
    """Write until the end of standard input."""
    order = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_stop_with_input, args=(stop,), daemon=True).start()
    writer = Writer(order)
    interval = 1.0 / float(order["rate_hz"])
    due, seq = now(), int(order["first"])
    while not stop.is_set():
        sent = now()
        print(json.dumps({"seq": seq, "sent": sent}, separators=(",", ":")), flush=True)
        outcome, server, error = writer.write(seq)
        line = {"seq": seq, "sent": sent, "done": now(), "outcome": outcome, "server": server, "error": error}
        print(json.dumps(line, separators=(",", ":")), flush=True)
        seq += 1
        due = max(due + interval, now())
        stop.wait(max(0.0, due - now()))
    os._exit(0)


def _stop_with_input(stop: threading.Event) -> None:
    """End after the attempt under way, and in any case after a while."""
    while os.read(0, 4096):
        pass
    stop.set()
    time.sleep(3.0)
    os._exit(0)


if __name__ == "__main__":
    main()
