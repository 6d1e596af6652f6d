"""The process of the prober: ``python -m failoverctl.probe --target FILE --folder DIR``.

It measures until SIGTERM or the end of standard input, then reads the rows back and writes its
files.

With ``--target -`` the first line of standard input is the target, so that its password is in no
file. Events are JSON lines on standard output. A second signal ends the final read early.
Exit codes: 0 measured and written, 1 the folder cannot be written, 2 target unusable.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from failoverctl.probe.model import Meta, Target, TargetError, example_target, parse_target
from failoverctl.probe.run import run_probe


def _read_line(descriptor: int) -> bytes:
    """Read one line without reading ahead: what follows is only watched for its end."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = os.read(descriptor, 1)
        if not part:
            break
        line += part
    return bytes(line)


def _load(name: str) -> Target:
    text = _read_line(0) if name == "-" else Path(name).read_bytes()
    return parse_target(json.loads(text))


def _watch_stdin(stop: threading.Event) -> None:
    while not stop.is_set():
        ready, _, _ = select.select([0], [], [], 1.0)
        if ready and not os.read(0, 4096):
            stop.set()


def main(arguments: list[str] | None = None, *, run: Callable[..., Meta] = run_probe) -> int:
    """Run the prober; return its exit code.

    ``run`` takes what ``run_probe`` takes; another one measures with other clients.
    """
    parser = argparse.ArgumentParser(prog="python -m failoverctl.probe", description=__doc__)
    parser.add_argument("--target", metavar="FILE", help="target.json, or - for the first line of standard input")
    parser.add_argument("--folder", metavar="DIR", type=Path, help="where the files of the measurement go")
    parser.add_argument("--example", action="store_true", help="print a target.json to begin with, and end")
    options = parser.parse_args(arguments)
    if options.example:
        print(json.dumps(example_target().as_dict(with_password=True), indent=2))
        return 0
    if options.target is None or options.folder is None:
        parser.error("--target and --folder are needed, or --example")
    try:
        target = _load(options.target)
    except TargetError as error:
        for problem in error.problems:
            print(f"target: {problem}", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"target {options.target}: {error}", file=sys.stderr)
        return 2

    stop, abandon = threading.Event(), threading.Event()
    signals: list[str] = []

    # Taken by a thread, not by a handler: a handler that sets an event while the main thread is
    # inside that event's wait() would wait for itself.
    wanted = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)

    def take_signals() -> None:
        while True:
            number = signal.sigwait(wanted)
            if stop.is_set():
                abandon.set()
            signals.append(signal.Signals(number).name)
            stop.set()

    threading.Thread(target=take_signals, daemon=True).start()
    threading.Thread(target=_watch_stdin, args=(stop,), daemon=True).start()

    def emit(event: Mapping[str, Any]) -> None:
        # Whoever started us may be gone; the files matter more than the events.
        with contextlib.suppress(OSError, ValueError):
            print(json.dumps(event), flush=True)

    try:
        run(
            target,
            options.folder,
            stop,
            abandon=abandon,
            emit=emit,
            stopped_by=lambda: signals[0] if signals else "end of stdin",
        )
    except OSError as error:
        print(f"folder {options.folder}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    # Threads that are still stuck in a system call must not hold up the end; all files are closed.
    sys.stdout.flush()
    os._exit(code)
