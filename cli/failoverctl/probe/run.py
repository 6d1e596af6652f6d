"""One probe from its first operation to its last file."""

from __future__ import annotations

import contextlib
import datetime
import os
import resource
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from failoverctl.probe import clients
from failoverctl.probe.clients import PageClient, Reply, WriteClient
from failoverctl.probe.final import ReadRows, read_all
from failoverctl.probe.loop import STACK_BYTES, Plan, Stream, stagger
from failoverctl.probe.model import SCHEMA, Meta, Target
from failoverctl.probe.record import Recorder, Tally, wall_minus_monotonic, write_json
from failoverctl.probe.sampler import Sampler
from failoverctl.version import version

_NICE = -10
# The plan begins a little in the future, so that its first operations are not late already.
_LEAD_SECONDS = 0.1

Emit = Callable[[Mapping[str, Any]], None]
"""Takes one event of the probe: ``started``, ``progress``, ``reading`` or ``finished``."""


def run_probe(
    target: Target,
    folder: Path,
    stop: threading.Event,
    *,
    abandon: threading.Event | None = None,
    emit: Emit = lambda _event: None,
    make_writer: Callable[[Target], WriteClient] | None = None,
    make_page: Callable[[Target], PageClient] | None = None,
    read_rows: ReadRows | None = None,
    stopped_by: Callable[[], str] = lambda: "stop",
) -> Meta:
    """Measure ``target`` until ``stop`` is set, then read the rows back; return what meta.json
    says.

    ``folder`` receives ops.jsonl, samples.jsonl, final.json and meta.json. ``abandon`` ends the
    final read early. The ``make_*`` and ``read_rows`` parameters replace the real clients. Raises
    OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    nice = _raise_priority()
    threading.stack_size(STACK_BYTES)
    plans = stagger(target.writers if target.write else 0, target.rate_hz, http=target.http is not None)
    zero = time.monotonic() + _LEAD_SECONDS
    offset = wall_minus_monotonic()
    meta = Meta(
        run_id=target.run_id,
        version=version(),
        started_at=_iso(zero + offset),
        monotonic_zero=zero,
        rate_hz=target.rate_hz,
        writers=target.writers if target.write else 0,
        good_ms=target.good_ms,
        timeout_ms=target.timeout_ms,
        writes=target.write is not None,
        http=target.http is not None,
        final_expected=tuple(r.host for r in target.readers) if target.write else (),
        sampled=tuple(s.host for s in target.sample),
        target=target.as_dict(),
        nice=nice,
    )
    write_json(folder / "meta.json", meta.as_dict())

    tally = Tally(target.good_ms / 1000.0, silence_seconds=max(1.5, 2.5 / target.rate_hz))

    def progress(counts: Tally) -> None:
        now = time.monotonic() - zero
        emit(
            {
                "event": "progress",
                "t": round(now, 3),
                "steady_seconds": round(counts.steady_seconds(now, len(plans)), 3),
                **counts.as_dict(),
            }
        )

    recorder = Recorder(folder, tally, progress)
    recorder.start()
    streams, writers = _streams(target, plans, recorder, zero, stop, make_writer, make_page)
    sampler = Sampler(target.sample, recorder.put_sample, zero=zero, stop=stop)
    for stream in streams:
        stream.start()
    sampler.start()
    emit({"event": "started", "schema": SCHEMA, "started_at": meta.started_at})
    stop.wait()

    reason = stopped_by()
    duration = time.monotonic() - zero
    for stream in streams:
        stream.join(target.timeout_seconds + 1.0)
    sampler.join()
    recorder.close()
    for writer in writers:
        writer.close()
    if target.write is not None:
        emit({"event": "reading"})
        _read_back(target, folder, frozenset(recorder.acknowledged), read_rows, abandon)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    meta = replace(
        meta,
        finished=recorder.error is None,
        finished_at=_iso(time.time()),
        stopped_by=reason,
        duration_seconds=duration,
        wall_step_seconds=wall_minus_monotonic() - offset,
        max_in_flight=max((stream.max_in_flight for stream in streams), default=0),
        cpu_seconds=usage.ru_utime + usage.ru_stime,
    )
    write_json(folder / "meta.json", meta.as_dict())
    emit({"event": "finished"})
    return meta


def _streams(
    target: Target,
    plans: tuple[Plan, ...],
    recorder: Recorder,
    zero: float,
    stop: threading.Event,
    make_writer: Callable[[Target], WriteClient] | None,
    make_page: Callable[[Target], PageClient] | None,
) -> tuple[list[Stream], list[WriteClient]]:
    streams: list[Stream] = []
    writers: list[WriteClient] = []
    for plan in plans:
        if plan.kind == "write":
            writer = make_writer(target) if make_writer else _mysql_writer(target)
            writers.append(writer)
            attempt = _write_attempt(writer, plan.stream)
        else:
            attempt = _fetch_attempt(make_page(target) if make_page else _http_client(target))
        streams.append(
            Stream(
                plan,
                attempt,
                recorder.put_op,
                zero=zero,
                timeout_seconds=target.timeout_seconds,
                stop=stop,
            )
        )
    return streams, writers


def _write_attempt(writer: WriteClient, stream: int) -> Callable[[int, float], Reply]:
    return lambda seq, deadline: writer.write(stream, seq, deadline)


def _fetch_attempt(page: PageClient) -> Callable[[int, float], Reply]:
    return lambda _seq, deadline: page.fetch(deadline)


def _mysql_writer(target: Target) -> WriteClient:
    if target.write is None:
        raise ValueError("a writer needs target.write")
    return clients.MysqlWriter(target.write, target.run_id)


def _http_client(target: Target) -> PageClient:
    if target.http is None:
        raise ValueError("a page client needs target.http")
    return clients.HttpClient(target.http)


def _read_back(
    target: Target,
    folder: Path,
    expected: frozenset[tuple[int, int]],
    read_rows: ReadRows | None,
    abandon: threading.Event | None,
) -> None:
    write = target.write
    if read_rows is None and write is not None:
        account = write

        def read_rows(reader: Any, seconds: float) -> Any:
            return clients.read_rows(reader, account, target.run_id, seconds)

    if read_rows is None:
        return
    nodes = read_all(target.readers, read_rows, expected, stop=abandon)
    if write is not None and all(node.caught_up for node in nodes):
        clients.remove_old_rows(write)
    write_json(
        folder / "final.json",
        {
            "schema": SCHEMA,
            "run_id": target.run_id,
            "read_at": _iso(time.time()),
            "nodes": [node.as_dict() for node in nodes],
            "missing": [node.host for node in nodes if node.error is not None],
        },
    )


def _raise_priority() -> int:
    """Try to run before the databases that share the machine; return the nice value we got.

    A prober that waits for a CPU measures its own waiting. Without the right to do it nothing
    changes.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    return os.getpriority(os.PRIO_PROCESS, 0)


def _iso(wall_seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(wall_seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
