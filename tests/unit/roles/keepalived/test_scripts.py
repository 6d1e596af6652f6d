# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The two scripts that keepalived runs, run for real."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROLE = Path(__file__).parents[4] / "roles" / "keepalived"
SCRIPTS = ROLE / "files" / "usr" / "libexec" / "failover-keepalived"
DEADLINE_SECONDS = 5.0


@contextmanager
def run_events(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run the events script; gives the writing end of its FIFO and the file of metrics."""
    fifo, metrics = folder / "vrrp.fifo", folder / "vrrp.prom"
    os.mkfifo(fifo)
    script = subprocess.Popen([SCRIPTS / "vrrp-events", fifo], env={**os.environ, "FAILOVER_METRICS": str(metrics)})
    writer = os.open(fifo, os.O_RDWR)
    try:
        yield writer, metrics
        assert script.poll() is None, "the script ended by itself"
    finally:
        os.close(writer)
        script.terminate()
        script.wait(DEADLINE_SECONDS)


def wait_for(metrics: Path, line: str) -> list[str]:
    """Return the lines of the metrics once they hold ``line``."""
    end = time.monotonic() + DEADLINE_SECONDS
    lines: list[str] = []
    while time.monotonic() < end:
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        if line in lines:
            return lines
        time.sleep(0.01)
    raise AssertionError(f"{line!r} did not appear, there is {lines}")


def test_events_become_metrics(tmp_path: Path) -> None:
    with run_events(tmp_path) as (fifo, metrics):
        os.write(fifo, b'INSTANCE "site" FAULT 254\nINSTANCE "web" BACKUP 253\n')
        wait_for(metrics, 'failover_vip_held{vip="web"} 0')
        os.write(fifo, b'GROUP "all" MASTER 0\nnonsense\nINSTANCE "site" MASTER 254\n')
        lines = wait_for(metrics, 'failover_vip_held{vip="site"} 1')
        assert 'failover_vip_changes_total{vip="site"} 2' in lines
        assert 'failover_vip_changes_total{vip="web"} 1' in lines
        assert metrics.stat().st_mode & 0o777 == 0o644
        os.write(fifo, b'INSTANCE "site" STOP 254\n')
        wait_for(metrics, 'failover_vip_held{vip="site"} 0')
        assert not [line for line in lines if "all" in line]


def test_the_scripts_are_valid_bash() -> None:
    for script in SCRIPTS.iterdir():
        assert os.access(script, os.X_OK)
        assert "bash" in script.read_text().partition("\n")[0]
        subprocess.run(["bash", "-n", script], check=True)
