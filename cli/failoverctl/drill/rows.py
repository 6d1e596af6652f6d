"""Do all data hosts hold the same rows of the prober, those of every earlier run included?

The final read of a run looks for its own rows. What an earlier drill left on one host alone, or took
from one, is found by comparing the whole table: a number and a checksum that does not depend on the
order of rows (BIT_XOR of CRC32).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: What is asked on each host, as root on its own socket.
COMMAND = (
    "mariadb",
    "--batch",
    "--skip-column-names",
    "--execute",
    "SELECT COUNT(*), COALESCE(BIT_XOR(CRC32(CONCAT_WS('#', run_id, stream, seq, server))), 0) "
    "FROM failover_probe.writes",
)

#: A replica may need so long to catch up, once nobody writes any more.
CATCH_UP_SECONDS = 15.0
_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Content:
    """The rows of one host: how many, and their checksum. None: the host could not be asked."""

    host: str
    rows: int | None = None
    checksum: int | None = None


def parse(host: str, text: str) -> Content:
    """Return what a host answered to :data:`COMMAND`; nothing known for another answer."""
    words = text.split()
    if len(words) == 2 and all(word.isdigit() for word in words):
        return Content(host, int(words[0]), int(words[1]))
    return Content(host)


@dataclass(frozen=True)
class Compared:
    """Whether the hosts hold the same; None when one could not be asked. ``observed`` says what they hold."""

    same: bool | None
    observed: str


def compare(contents: Sequence[Content]) -> Compared:
    """Return whether all hosts hold the same rows."""
    silent = [content.host for content in contents if content.rows is None]
    if silent:
        return Compared(None, f"{', '.join(silent)} could not be asked")
    if len({(content.rows, content.checksum) for content in contents}) <= 1:
        return Compared(True, f"{contents[0].rows if contents else 0} rows on each")
    told = ", ".join(f"{content.rows} on {content.host}" for content in contents)
    equal = len({content.rows for content in contents}) == 1
    return Compared(False, f"rows: {told}" + (", and not the same" if equal else ""))


def read(
    run: Callable[[str, Sequence[str]], str],
    hosts: Sequence[str],
    *,
    seconds: float = CATCH_UP_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Compared:
    """Ask every host, again and again until all hold the same or the time is over.

    :param run: runs a command on a host and returns what it printed, empty when that failed.
    """
    deadline = clock() + seconds
    while True:
        found: Mapping[str, Content] = {host: parse(host, run(host, COMMAND)) for host in hosts}
        compared = compare([found[host] for host in hosts])
        if compared.same or clock() >= deadline:
            return compared
        pause(_AGAIN_SECONDS)
