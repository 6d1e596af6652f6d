"""What hosts are, ten times a second, also while they are cut off; and writers on the hosts themselves.

On each data host a small program says what its database, its agent and its addresses are (``remote/sampler.py``). It
asks nobody but its host and speaks over a connection that was opened before the fault. All times are brought to
CLOCK_MONOTONIC of this machine: a line cannot arrive before it was written, so the smallest difference ever seen
between the two clocks is their offset, give or take the fastest way of a line (a millisecond on a local network).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from failoverctl.drill.remote import program
from failoverctl.drill.targets import TargetError, Targets
from failoverctl.estate import Estate
from failoverctl.measure import AGENT_PORT, MARIADB_PORT, PROBE_USER
from failoverctl.probe.clients import NOT_COMMITTED
from failoverctl.probe.model import INSIDE_STREAM, Meta, Op, Sample

INTERVAL_SECONDS = 0.1
#: A host that has said nothing for so long is recorded as unreachable.
SILENT_SECONDS = 0.35
#: How soon a program on a host that ended is started again.
RETRY_SECONDS = 0.5
#: How long a program on a host may take to end.
STOP_SECONDS = 4.0
DATABASE_SOCKET = "/run/mysqld/mysqld.sock"


@dataclass(frozen=True)
class Observation:
    """What a host was at one moment. ``at`` and ``done`` are seconds of this machine's CLOCK_MONOTONIC.

    ``read_only`` is what the database said, None when it did not answer; ``writable`` is that it was not, and that its
    port was not fenced. ``reachable`` is False where the host said nothing at all.
    """

    host: str
    at: float
    done: float
    utc: str = ""
    role: str | None = None
    term: int | None = None
    writable: bool = False
    read_only: bool | None = None
    vips: tuple[str, ...] = ()
    reachable: bool = True
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the form of one line of the file."""
        return {
            "host": self.host,
            "at": round(self.at, 4),
            "done": round(self.done, 4),
            "utc": self.utc,
            "role": self.role,
            "term": self.term,
            "writable": self.writable,
            "read_only": self.read_only,
            "vips": list(self.vips),
            "reachable": self.reachable,
            "error": self.error,
        }


def parse_observation(data: Mapping[str, Any]) -> Observation:
    """Return the observation of one parsed line. Raises KeyError or ValueError."""
    return Observation(
        host=str(data["host"]),
        at=float(data["at"]),
        done=float(data["done"]),
        utc=str(data["utc"]),
        role=data["role"],
        term=data["term"],
        writable=bool(data["writable"]),
        read_only=data["read_only"],
        vips=tuple(str(name) for name in data["vips"]),
        reachable=bool(data["reachable"]),
        error=data["error"],
    )


def load(path: Path) -> tuple[Observation, ...]:
    """Return the observations of a file, in the order of their time. Half a last line is left out."""
    found = []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            with contextlib.suppress(ValueError, KeyError):
                found.append(parse_observation(json.loads(line)))
    return tuple(sorted(found, key=lambda each: each.at))


def as_samples(observations: Iterable[Observation], meta: Meta) -> tuple[Sample, ...]:
    """Return the observations as samples of a probe, in its time, so that its checker can judge them."""
    zero = meta.monotonic_zero
    return tuple(
        Sample(
            host=each.host,
            at=each.at - zero,
            done=each.done - zero,
            role=each.role,
            term=each.term,
            writable=each.writable,
            vips=each.vips,
            error=each.error,
        )
        for each in observations
    )


class Offset:
    """The offset of a host's clock, from the lines that came from it: the smallest difference ever seen."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def take(self, there: float, here: float) -> float:
        """Note that a line written at `there` arrived at `here`; return `there` on our clock."""
        difference = here - there
        self.seconds = difference if self.seconds is None else min(self.seconds, difference)
        return there + self.seconds


class _Line:
    """A program on a host that prints JSON lines; started again whenever it ends."""

    def __init__(
        self,
        targets: Targets,
        host: str,
        argv: Sequence[str],
        take: Callable[[str, dict[str, Any], float, int], None],
        first_line: Callable[[int], str] | None = None,
    ) -> None:
        self._targets = targets
        self._host = host
        self._argv = argv
        self._take = take
        self._first_line = first_line
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"line-{host}", daemon=True)

    def start(self) -> None:
        """Start the program, now or as soon as the host answers."""
        self._thread.start()

    def stop(self) -> None:
        """End the program: it ends with its input."""
        self._stop.set()
        with self._guard:
            process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        boot = 0
        while not self._stop.is_set():
            try:
                process = self._targets.start(self._host, self._argv)
            except TargetError:
                self._stop.wait(RETRY_SECONDS)
                continue
            with self._guard:
                self._process = process
            with contextlib.suppress(OSError, ValueError):
                if process.stdin is not None and self._first_line is not None:
                    process.stdin.write(self._first_line(boot) + "\n")
                    process.stdin.flush()
            self._read(process.stdout, boot)
            with contextlib.suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()
            process.wait()
            boot += 1
            self._stop.wait(RETRY_SECONDS)

    def _read(self, stream: IO[str] | None, boot: int) -> None:
        if stream is None:
            return
        with contextlib.suppress(OSError, ValueError), stream:
            for line in stream:
                here = time.monotonic()
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self._take(self._host, json.loads(line), here, boot)


def _stop_all(lines: Sequence[_Line]) -> None:
    """End several programs at the same time."""
    stopping = [threading.Thread(target=line.stop) for line in lines]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join()


class Sampler:
    """Observes every data host of an estate and writes what it sees, line by line, while it happens.

    After :meth:`stop` the file is written once more, in the order of time and with the best known clocks.
    """

    def __init__(self, targets: Targets, estate: Estate, path: Path) -> None:
        self._path = path
        self._hosts = tuple(host.name for host in estate.in_role("database"))
        self._lock = threading.Lock()
        self._raw: list[tuple[str, int, dict[str, Any]]] = []
        self._offsets: dict[tuple[str, int], Offset] = {}
        self._heard: dict[str, float] = {}
        self._latest: dict[str, Observation] = {}
        self._stop = threading.Event()
        self._file: IO[str] | None = None
        self._began = 0.0
        self._silence = threading.Thread(target=self._note_silence, name="silence", daemon=True)
        settings = {
            "interval": INTERVAL_SECONDS,
            "socket": DATABASE_SOCKET,
            "port": AGENT_PORT,
            "vips": {vip.name: vip.address.partition("/")[0] for vip in estate.vips},
        }
        argv = ["python3", "-u", "-c", program("sampler"), json.dumps(settings)]
        self._lines = [_Line(targets, host, argv, self._take) for host in self._hosts]

    def start(self) -> None:
        """Begin. Raises OSError when the file cannot be written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w", encoding="utf-8")
        self._began = time.monotonic()
        for line in self._lines:
            line.start()
        self._silence.start()

    def latest(self) -> Mapping[str, Observation]:
        """Return the latest observation of each host that was ever heard of."""
        with self._lock:
            return dict(self._latest)

    def stop(self) -> None:
        """End, and write the file anew in the order of time. Harmless when repeated."""
        if self._stop.is_set():
            return
        self._stop.set()
        _stop_all(self._lines)
        self._silence.join(2.0)
        ended = time.monotonic()
        with self._lock:
            file, self._file = self._file, None
            raw, offsets = list(self._raw), dict(self._offsets)
        if file is not None:
            file.close()
            ready = [_observation(host, line, offsets[(host, boot)].seconds or 0.0) for host, boot, line in raw]
            whole = with_silence(ready, self._hosts, self._began, ended)
            text = "".join(json.dumps(each.as_dict(), separators=(",", ":")) + "\n" for each in whole)
            fresh = self._path.with_name(self._path.name + ".new")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self._path)

    def _take(self, host: str, line: dict[str, Any], here: float, boot: int) -> None:
        with self._lock:
            offset = self._offsets.setdefault((host, boot), Offset())
            offset.take(float(line["t"]), here)
            self._raw.append((host, boot, line))
            self._heard[host] = here
            self._put(_observation(host, line, offset.seconds or 0.0))

    def _note_silence(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            now = time.monotonic()
            with self._lock:
                for host in self._hosts:
                    if now - self._heard.get(host, self._began) > SILENT_SECONDS:
                        self._put(_silent(host, now))

    def _put(self, observation: Observation) -> None:
        self._latest[observation.host] = observation
        if self._file is not None:
            # A full disk must not end the drill; the file is written anew in the end.
            with contextlib.suppress(OSError):
                self._file.write(json.dumps(observation.as_dict(), separators=(",", ":")) + "\n")
                self._file.flush()


def _observation(host: str, line: Mapping[str, Any], offset: float) -> Observation:
    done = float(line["t"]) + offset
    moment = datetime.datetime.fromtimestamp(float(line["utc"]), datetime.UTC)
    return Observation(
        host=host,
        at=float(line.get("asked", line["t"])) + offset,
        done=done,
        utc=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        role=line["role"],
        term=line["term"],
        writable=bool(line["writable"]),
        read_only=line["read_only"],
        vips=tuple(str(name) for name in line["vips"]),
        error=line["error"],
    )


def _silent(host: str, at: float) -> Observation:
    return Observation(host=host, at=at, done=at, reachable=False, error="the host says nothing")


def with_silence(
    observations: Iterable[Observation], hosts: Iterable[str], began: float, ended: float
) -> tuple[Observation, ...]:
    """Return the observations in the order of time, with one for every 100 ms in which a host said nothing."""
    found: list[Observation] = []
    for host in hosts:
        own = sorted((each for each in observations if each.host == host), key=lambda each: each.at)
        before = began
        for each in [*own, _silent(host, ended)]:
            if each.at - before > SILENT_SECONDS:
                count = int((each.at - before) / INTERVAL_SECONDS)
                found += [_silent(host, before + step * INTERVAL_SECONDS) for step in range(1, count)]
            before = each.at
        found += own
    return tuple(sorted(found, key=lambda each: each.at))


# ------------------------------------------------------------------------------------------- writers on hosts


class Writers:
    """Writes on some hosts to their own address, as clients that are on the same side of a cut as they are.

    Their rows carry the run id of the prober, so that its final read finds them, and streams of their own. What became
    of each attempt goes into the prober's folder, where its checker finds it; it is no part of the outage.
    """

    def __init__(
        self,
        targets: Targets,
        estate: Estate,
        hosts: Sequence[str],
        *,
        run_id: str,
        password: str,
        rate_hz: float = 10.0,
    ) -> None:
        self._hosts = tuple(hosts)
        self._lock = threading.Lock()
        self._raw: list[tuple[str, int, dict[str, Any]]] = []
        self._offsets: dict[tuple[str, int], Offset] = {}
        self._stopped = False
        self._lines = []
        for number, host in enumerate(self._hosts):
            found = estate.host(host)
            order = {
                "address": found.address if found is not None else host,
                "port": MARIADB_PORT,
                "user": PROBE_USER,
                "password": password,
                "database": PROBE_USER,
                "run_id": run_id,
                "stream": INSIDE_STREAM + number,
                "rate_hz": rate_hz,
                "not_committed": sorted(NOT_COMMITTED),
            }

            def first_line(boot: int, order: Mapping[str, Any] = order) -> str:
                # One that is started again may not take numbers that it used before.
                return json.dumps({**order, "first": boot * 1_000_000})

            argv = ["python3", "-u", "-c", program("writer")]
            self._lines.append(_Line(targets, host, argv, self._take, first_line=first_line))

    def start(self) -> None:
        """Begin."""
        for line in self._lines:
            line.start()

    def stop(self) -> None:
        """End. Harmless when repeated."""
        if not self._stopped:
            self._stopped = True
            _stop_all(self._lines)

    def operations(self, meta: Meta) -> tuple[Op, ...]:
        """Return what was attempted, in the probe's time."""
        with self._lock:
            raw, offsets = list(self._raw), dict(self._offsets)
        found: dict[tuple[int, int], Op] = {}
        for host, boot, line in raw:
            shift = (offsets[(host, boot)].seconds or 0.0) - meta.monotonic_zero
            stream, seq, sent = INSIDE_STREAM + self._hosts.index(host), int(line["seq"]), float(line["sent"]) + shift
            # The line before an attempt is taken back by the one after it. Without that the outcome is not known.
            ended = "outcome" in line
            if not ended and (stream, seq) in found:
                continue
            found[(stream, seq)] = Op(
                kind="inside",
                stream=stream,
                seq=seq,
                intended=sent,
                sent=sent,
                done=float(line["done"]) + shift if ended else sent,
                outcome=line["outcome"] if ended else "info",
                server=line.get("server"),
                error=line.get("error") if ended else "its end was not heard of",
            )
        return tuple(sorted(found.values(), key=lambda op: op.sent))

    def write(self, folder: Path, meta: Meta) -> None:
        """Write the attempts into the folder of the probe, as inside.jsonl."""
        lines = [json.dumps(op.as_dict(), separators=(",", ":")) + "\n" for op in self.operations(meta)]
        (folder / "inside.jsonl").write_text("".join(lines), encoding="utf-8")

    def _take(self, host: str, line: dict[str, Any], here: float, boot: int) -> None:
        with self._lock:
            self._offsets.setdefault((host, boot), Offset()).take(float(line.get("done", line["sent"])), here)
            self._raw.append((host, boot, line))
