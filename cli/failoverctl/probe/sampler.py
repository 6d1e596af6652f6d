"""Asks every host's agent ten times a second who it thinks it is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from failoverctl.probe import net
from failoverctl.probe.model import RoleSource, Sample

INTERVAL_SECONDS = 0.1
TIMEOUT_SECONDS = 0.3


def parse_role(host: str, at: float, done: float, body: bytes) -> Sample:
    """Return the sample in the JSON of ``/role``. Raises ValueError when it is none."""
    data = json.loads(body)
    if not isinstance(data, dict) or not isinstance(data.get("role"), str):
        raise ValueError("answer of /role has no role")
    term = data.get("term")
    vips = data.get("vips")
    held = vips if isinstance(vips, dict) else {}
    return Sample(
        host=host,
        at=at,
        done=done,
        role=data["role"],
        term=term if isinstance(term, int) else None,
        writable=data.get("writable") is True,
        vips=tuple(sorted(str(name) for name, value in held.items() if value)),
    )


class Sampler:
    """One thread a host, each on its own ten a second plan; a silent host delays no other."""

    def __init__(
        self,
        sources: tuple[RoleSource, ...],
        record: Callable[[Sample], None],
        *,
        zero: float,
        stop: threading.Event,
    ) -> None:
        self._record = record
        self._zero = zero
        self._stop = stop
        self._threads = [
            threading.Thread(
                target=self._poll,
                args=(source, number * INTERVAL_SECONDS / max(1, len(sources))),
                name=f"sampler-{source.host}",
                daemon=True,
            )
            for number, source in enumerate(sources)
        ]

    def start(self) -> None:
        """Start polling."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the polls in flight."""
        for thread in self._threads:
            thread.join(2 * TIMEOUT_SECONDS)

    def _poll(self, source: RoleSource, offset: float) -> None:
        url = urlsplit(source.url)
        host, port, path = url.hostname or "", url.port or 80, url.path or "/"
        due = self._zero + offset
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._record(self._ask(source.host, host, port, path))
            # A host that takes longer than one interval is asked again at its next time, not at
            # once.
            late = time.monotonic() - due
            due += INTERVAL_SECONDS * max(1.0, late // INTERVAL_SECONDS + 1)

    def _ask(self, name: str, host: str, port: int, path: str) -> Sample:
        at = time.monotonic()
        try:
            answer = net.http_get(host, port, host, path, at + TIMEOUT_SECONDS)
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            done = time.monotonic() - self._zero
            return parse_role(name, at - self._zero, done, answer.body)
        except (OSError, ValueError) as error:
            done = time.monotonic() - self._zero
            return Sample(name, at - self._zero, done, error=net.describe(error))
