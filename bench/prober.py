"""The prober with a PostgreSQL client: ``python -m bench.prober``, for `failoverctl.probe.Probe`.

Plan, loop, files and checker are the product's; only who inserts and who reads the rows differs.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from failoverctl.probe.__main__ import main
from failoverctl.probe.model import Meta, Reader, Row, Target
from failoverctl.probe.run import run_probe

from bench.postgres import PostgresWriter, read_rows


def run(target: Target, folder: Path, stop: threading.Event, **options: Any) -> Meta:
    """Do what `run_probe` does, with PostgreSQL where it has MariaDB."""
    return run_probe(target, folder, stop, make_writer=PostgresWriter, read_rows=partial(_read, target), **options)


def _read(target: Target, reader: Reader, seconds: float) -> tuple[Row, ...]:
    if target.write is None:
        raise ValueError("rows are read only where they are written")
    return read_rows(reader, target.write, target.run_id, seconds)


if __name__ == "__main__":
    code = main(run=run)
    # As the product's prober: threads that are stuck in a system call must not hold up the end.
    sys.stdout.flush()
    os._exit(code)
