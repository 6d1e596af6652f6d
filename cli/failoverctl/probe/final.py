"""The final read: what each database host really holds after the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pymysql

from failoverctl.probe import net
from failoverctl.probe.model import (
    FINAL_LIMIT_SECONDS,
    FINAL_READ_SECONDS,
    NodeRead,
    Reader,
    Row,
)

RETRY_SECONDS = 0.5

ReadRows = Callable[[Reader, float], tuple[Row, ...]]
"""Returns the run's rows on a host within so many seconds; raises OSError or pymysql.MySQLError."""


def read_node(
    reader: Reader,
    read: ReadRows,
    expected: frozenset[tuple[int, int]],
    *,
    limit_seconds: float = FINAL_LIMIT_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
    stop: threading.Event | None = None,
) -> NodeRead:
    """Return one host's rows, read again until it holds all ``expected`` (stream, seq) or time is
    up.

    A replica may need a moment to catch up; rows that are still missing at the limit are missing.
    """
    stop = stop or threading.Event()
    began = time.monotonic()
    end = began + limit_seconds
    attempts = 0
    rows: tuple[Row, ...] | None = None
    error: str | None = None
    while True:
        attempts += 1
        try:
            rows = read(reader, max(0.1, min(FINAL_READ_SECONDS, end - time.monotonic())))
            error = None
        except (OSError, pymysql.MySQLError, ValueError, IndexError) as problem:
            rows, error = None, net.describe(problem)
        caught_up = rows is not None and expected <= {(row.stream, row.seq) for row in rows}
        if caught_up or time.monotonic() + retry_seconds >= end or stop.wait(retry_seconds):
            return NodeRead(
                host=reader.host,
                rows=rows or (),
                seconds=time.monotonic() - began,
                attempts=attempts,
                caught_up=caught_up,
                error=error,
            )


def read_all(
    readers: Sequence[Reader],
    read: ReadRows,
    expected: frozenset[tuple[int, int]],
    *,
    limit_seconds: float = FINAL_LIMIT_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
    stop: threading.Event | None = None,
) -> tuple[NodeRead, ...]:
    """Return the rows of all hosts, read side by side, in the order of ``readers``."""
    results: dict[str, NodeRead] = {}

    def work(reader: Reader) -> None:
        results[reader.host] = read_node(
            reader,
            read,
            expected,
            limit_seconds=limit_seconds,
            retry_seconds=retry_seconds,
            stop=stop,
        )

    threads = [threading.Thread(target=work, args=(reader,), daemon=True) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tuple(results[reader.host] for reader in readers)
