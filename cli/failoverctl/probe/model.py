"""Values of the prober: what it aims at, what it did, what it read back.

All times called ``intended``, ``sent``, ``done``, ``at`` or ``start`` are seconds since the zero of
the probe's plan, taken from CLOCK_MONOTONIC. Wall-clock time is only used to join files of one run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

SCHEMA = 1

FINAL_LIMIT_SECONDS = 20.0
"""How long a host may take to catch up before its rows count as they are."""
FINAL_READ_SECONDS = 5.0
"""Longest time of one attempt to read a host's rows."""

Kind = Literal["write", "http", "inside"]
"""What an operation does: insert one row, or fetch one page.

``inside`` inserts a row, too, but on a host and to its own address: a client that is on the same side of a partition as
the host is. It is no part of an outage; that its acknowledged rows are kept is.
"""

ROW_KINDS: frozenset[Kind] = frozenset({"write", "inside"})
"""The kinds that insert a row."""

INSIDE_STREAM = 10_000
"""The first stream of writers on hosts; those of the prober itself count from 0."""

Outcome = Literal["ok", "fail", "info", "skip"]
"""How an operation ended.

``ok``: acknowledged. ``fail``: certainly not done. ``info``: unknown, the statement may have been
carried out. ``skip``: the prober itself was too late to send it, so it says nothing about the
target.
"""


class TargetError(ValueError):
    """A target file that cannot be used; ``problems`` names everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """Where rows are inserted: a MariaDB address that follows the primary, usually the VIP."""

    host: str
    port: int
    user: str
    password: str
    database: str


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """The page that is fetched over a new TCP connection each time."""

    host: str
    port: int
    host_header: str
    path: str


@dataclass(frozen=True, slots=True)
class RoleSource:
    """A host and the URL of its agent's ``/role``."""

    host: str
    url: str


@dataclass(frozen=True, slots=True)
class Reader:
    """A database host whose own copy of the rows is read at the end."""

    host: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Target:
    """Everything a probe needs to know. Rates are in operations a second and stream."""

    run_id: str
    rate_hz: float = 20.0
    writers: int = 1
    write: WriteTarget | None = None
    http: HttpTarget | None = None
    sample: tuple[RoleSource, ...] = ()
    readers: tuple[Reader, ...] = ()
    good_ms: float = 250.0
    timeout_ms: float = 1000.0

    @property
    def timeout_seconds(self) -> float:
        """Longest time one operation may take, in seconds."""
        return self.timeout_ms / 1000.0

    def as_dict(self, *, with_password: bool = False) -> dict[str, Any]:
        """Return the form of ``target.json``; the password only when asked for."""
        write: dict[str, Any] | None = None
        if self.write is not None:
            write = {
                "host": self.write.host,
                "port": self.write.port,
                "user": self.write.user,
                "database": self.write.database,
            }
            if with_password:
                write["password"] = self.write.password
        http = self.http
        return {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "rate_hz": self.rate_hz,
            "writers": self.writers,
            "write": write,
            "http": None
            if http is None
            else {
                "host": http.host,
                "port": http.port,
                "host_header": http.host_header,
                "path": http.path,
            },
            "sample": [{"host": s.host, "url": s.url} for s in self.sample],
            "readers": [{"host": r.host, "address": r.address, "port": r.port} for r in self.readers],
            "good_ms": self.good_ms,
            "timeout_ms": self.timeout_ms,
        }


def example_target() -> Target:
    """Return a target for the hosts of the lab's layout ``small``, to be copied and changed."""
    hosts = (("www1", "198.51.100.11"), ("www2", "198.51.100.12"))
    return Target(
        run_id="by-hand-1",
        write=WriteTarget("198.51.100.10", 3306, "failover_probe", "change-me", "failover_probe"),
        http=HttpTarget("198.51.100.10", 80, "guestbook.example.org", "/"),
        sample=tuple(RoleSource(host, f"http://{address}:8010/role") for host, address in hosts),
        readers=tuple(Reader(host, address, 3306) for host, address in hosts),
    )


_TARGET_KEYS = {
    "schema",
    "run_id",
    "rate_hz",
    "writers",
    "write",
    "http",
    "sample",
    "readers",
    "good_ms",
    "timeout_ms",
}


class _Fields:
    """Takes typed values out of one mapping and collects what is wrong with it."""

    def __init__(self, data: object, where: str, problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        if isinstance(data, Mapping):
            self.data: Mapping[str, Any] = data
        else:
            self.data = {}
            problems.append(f"{where}: expected an object, found {type(data).__name__}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if isinstance(value, str) and value:
            return value
        self.problems.append(f"{self.where}{key}: expected a non-empty string, found {value!r}")
        return ""

    def number(self, key: str, default: float | None, low: float, high: float) -> float:
        value = self.data.get(key, default)
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if right and math.isfinite(value) and low <= value <= high:
            return float(value)
        self.problems.append(f"{self.where}{key}: expected a number from {low:g} to {high:g}, found {value!r}")
        return low

    def whole(self, key: str, default: int | None, low: int, high: int) -> int:
        value = self.data.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.problems.append(f"{self.where}{key}: expected a whole number from {low} to {high}, found {value!r}")
        return low

    def items(self, key: str) -> list[object]:
        value = self.data.get(key) or []
        if isinstance(value, list):
            return value
        self.problems.append(f"{self.where}{key}: expected a list, found {type(value).__name__}")
        return []


def parse_target(data: object) -> Target:
    """Return the target described by the parsed JSON of ``target.json``.

    Raises TargetError naming every problem at once: unknown keys, missing or wrong values.
    """
    problems: list[str] = []
    top = _Fields(data, "", problems)
    for key in sorted(set(top.data) - _TARGET_KEYS):
        problems.append(f"{key}: unknown key; known keys are {', '.join(sorted(_TARGET_KEYS))}")
    if top.data.get("schema") != SCHEMA:
        problems.append(f"schema: expected {SCHEMA}, found {top.data.get('schema')!r}")

    write: WriteTarget | None = None
    if top.data.get("write") is not None:
        part = _Fields(top.data["write"], "write.", problems)
        write = WriteTarget(
            host=part.text("host"),
            port=part.whole("port", 3306, 1, 65535),
            user=part.text("user"),
            password=part.text("password"),
            database=part.text("database"),
        )
    http: HttpTarget | None = None
    if top.data.get("http") is not None:
        part = _Fields(top.data["http"], "http.", problems)
        host = part.text("host")
        http = HttpTarget(
            host=host,
            port=part.whole("port", 80, 1, 65535),
            host_header=part.text("host_header", host),
            path=part.text("path", "/"),
        )
    if write is None and http is None:
        problems.append("write, http: at least one of them must be given")

    sample = []
    for number, item in enumerate(top.items("sample")):
        part = _Fields(item, f"sample[{number}].", problems)
        sample.append(RoleSource(host=part.text("host"), url=part.text("url")))
        if not sample[-1].url.startswith("http://"):
            problems.append(f"sample[{number}].url: expected http://..., found {sample[-1].url!r}")
    readers = []
    for number, item in enumerate(top.items("readers")):
        part = _Fields(item, f"readers[{number}].", problems)
        readers.append(
            Reader(
                host=part.text("host"),
                address=part.text("address"),
                port=part.whole("port", 3306, 1, 65535),
            )
        )
    target = Target(
        run_id=top.text("run_id"),
        rate_hz=top.number("rate_hz", 20.0, 0.1, 1000.0),
        writers=top.whole("writers", 1, 1, 1000),
        write=write,
        http=http,
        sample=tuple(sample),
        readers=tuple(readers),
        good_ms=top.number("good_ms", 250.0, 1.0, 60_000.0),
        timeout_ms=top.number("timeout_ms", 1000.0, 10.0, 60_000.0),
    )
    if len(target.run_id) > 64:
        problems.append(f"run_id: expected at most 64 characters, found {len(target.run_id)}")
    if target.good_ms > target.timeout_ms:
        problems.append(f"good_ms: expected at most timeout_ms, {target.timeout_ms:g}, found {target.good_ms:g}")
    if problems:
        raise TargetError(problems)
    return target


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of one stream. Times in seconds since the plan's zero.

    ``server`` is the host that answered, as it names itself. ``done - intended`` is the corrected
    latency: it counts from when the operation should have been sent (coordinated omission, wrk2's
    README), so a late prober or a stuck predecessor cannot hide a slow answer.
    """

    kind: Kind
    stream: int
    seq: int
    intended: float
    sent: float
    done: float
    outcome: Outcome
    server: str | None = None
    error: str | None = None

    @property
    def latency(self) -> float:
        """Corrected latency in seconds."""
        return self.done - self.intended

    def as_dict(self) -> dict[str, Any]:
        """Return the form of one line of ``ops.jsonl``."""
        return {
            "kind": self.kind,
            "stream": self.stream,
            "seq": self.seq,
            "intended": round(self.intended, 6),
            "sent": round(self.sent, 6),
            "done": round(self.done, 6),
            "outcome": self.outcome,
            "server": self.server,
            "error": self.error,
        }


def parse_op(data: Mapping[str, Any]) -> Op:
    """Return the operation of one parsed line of ``ops.jsonl``. Raises KeyError or ValueError."""
    kind, outcome = data["kind"], data["outcome"]
    if kind not in get_args(Kind) or outcome not in get_args(Outcome):
        raise ValueError(f"unknown kind or outcome: {kind!r}, {outcome!r}")
    return Op(
        kind=cast(Kind, kind),
        stream=int(data["stream"]),
        seq=int(data["seq"]),
        intended=float(data["intended"]),
        sent=float(data["sent"]),
        done=float(data["done"]),
        outcome=cast(Outcome, outcome),
        server=data.get("server"),
        error=data.get("error"),
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """What one host said about itself between ``at`` and ``done``; ``role`` is None for no
    answer."""

    host: str
    at: float
    done: float
    role: str | None = None
    term: int | None = None
    writable: bool = False
    vips: tuple[str, ...] = ()
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the form of one line of ``samples.jsonl``."""
        return {
            "host": self.host,
            "at": round(self.at, 6),
            "done": round(self.done, 6),
            "role": self.role,
            "term": self.term,
            "writable": self.writable,
            "vips": list(self.vips),
            "error": self.error,
        }


def parse_sample(data: Mapping[str, Any]) -> Sample:
    """Return the sample of one parsed line of ``samples.jsonl``. Raises KeyError or ValueError."""
    term = data.get("term")
    return Sample(
        host=str(data["host"]),
        at=float(data["at"]),
        done=float(data["done"]),
        role=data.get("role"),
        term=None if term is None else int(term),
        writable=bool(data.get("writable")),
        vips=tuple(str(name) for name in data.get("vips") or ()),
        error=data.get("error"),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One row of ``failover_probe.writes`` as a host returned it."""

    stream: int
    seq: int
    server: str


@dataclass(frozen=True, slots=True)
class NodeRead:
    """The run's rows on one host after the end.

    ``seconds`` is how long it took until the host had every acknowledged row, or until the limit.
    """

    host: str
    rows: tuple[Row, ...] = ()
    seconds: float = 0.0
    attempts: int = 0
    caught_up: bool = False
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the form of one entry of ``final.json``."""
        return {
            "host": self.host,
            "read": self.error is None,
            "caught_up": self.caught_up,
            "seconds": round(self.seconds, 3),
            "attempts": self.attempts,
            "error": self.error,
            "rows": [[row.stream, row.seq, row.server] for row in self.rows],
        }


def parse_node_read(data: Mapping[str, Any]) -> NodeRead:
    """Return one entry of ``final.json``. Raises KeyError or ValueError."""
    return NodeRead(
        host=str(data["host"]),
        rows=tuple(Row(int(s), int(q), str(server)) for s, q, server in data["rows"]),
        seconds=float(data["seconds"]),
        attempts=int(data["attempts"]),
        caught_up=bool(data["caught_up"]),
        error=data.get("error"),
    )


@dataclass(frozen=True, slots=True)
class Meta:
    """What a probe says about itself: ``meta.json``.

    ``started_at`` is the wall clock (UTC ISO 8601) at the plan's zero and ``monotonic_zero`` is
    CLOCK_MONOTONIC there, in seconds. ``finished`` is False while the probe runs and after it was
    killed. ``final_expected`` names the hosts whose rows had to be read.
    """

    run_id: str
    started_at: str
    monotonic_zero: float
    rate_hz: float
    writers: int
    good_ms: float
    timeout_ms: float
    writes: bool
    http: bool
    final_expected: tuple[str, ...] = ()
    sampled: tuple[str, ...] = ()
    target: Mapping[str, Any] | None = None
    version: str = ""
    finished: bool = False
    finished_at: str | None = None
    stopped_by: str | None = None
    duration_seconds: float = 0.0
    wall_step_seconds: float = 0.0
    max_in_flight: int = 0
    cpu_seconds: float = 0.0
    nice: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the form of ``meta.json``."""
        return {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "version": self.version,
            "started_at": self.started_at,
            "monotonic_zero": self.monotonic_zero,
            "rate_hz": self.rate_hz,
            "writers": self.writers,
            "good_ms": self.good_ms,
            "timeout_ms": self.timeout_ms,
            "writes": self.writes,
            "http": self.http,
            "final_expected": list(self.final_expected),
            "sampled": list(self.sampled),
            "target": None if self.target is None else dict(self.target),
            "finished": self.finished,
            "finished_at": self.finished_at,
            "stopped_by": self.stopped_by,
            "duration_seconds": round(self.duration_seconds, 3),
            "wall_step_seconds": round(self.wall_step_seconds, 6),
            "max_in_flight": self.max_in_flight,
            "cpu_seconds": round(self.cpu_seconds, 3),
            "nice": self.nice,
        }


def parse_meta(data: Mapping[str, Any]) -> Meta:
    """Return the parsed ``meta.json``. Raises KeyError or ValueError."""
    return Meta(
        run_id=str(data["run_id"]),
        version=str(data.get("version", "")),
        started_at=str(data["started_at"]),
        monotonic_zero=float(data["monotonic_zero"]),
        rate_hz=float(data["rate_hz"]),
        writers=int(data["writers"]),
        good_ms=float(data["good_ms"]),
        timeout_ms=float(data["timeout_ms"]),
        writes=bool(data["writes"]),
        http=bool(data["http"]),
        final_expected=tuple(data.get("final_expected") or ()),
        sampled=tuple(data.get("sampled") or ()),
        target=data.get("target"),
        finished=bool(data["finished"]),
        finished_at=data.get("finished_at"),
        stopped_by=data.get("stopped_by"),
        duration_seconds=float(data.get("duration_seconds", 0.0)),
        wall_step_seconds=float(data.get("wall_step_seconds", 0.0)),
        max_in_flight=int(data.get("max_in_flight", 0)),
        cpu_seconds=float(data.get("cpu_seconds", 0.0)),
        nice=int(data.get("nice", 0)),
    )
