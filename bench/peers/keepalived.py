"""keepalived alone: the virtual IP of a web server, moved by priorities, with the usual timing and tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from failoverctl.probe import Target
from failoverctl.probe.model import HttpTarget

from bench import beds, measure
from bench.beds import DATA_HOSTS, Bed
from bench.figures import KEEPALIVED_STOP, KEEPALIVED_WEIGHT, TUNED_STOP, TUNED_WEIGHT
from bench.machine import package_versions
from bench.measure import Plan
from bench.peers import provision
from bench.recorder import Recorder

PLAYBOOK = Path(__file__).with_name("keepalived.yml")
_PACKAGES = ("keepalived", "nginx-light")
_FLAG = "/etc/keepalived/maintenance"
_PREFERRED = DATA_HOSTS[0]
"""The host with the higher priority: it holds the address unless it is told not to."""
_OTHER = DATA_HOSTS[1]


@dataclass(frozen=True)
class Way:
    """A way to move the address away from the preferred host, and to let it return there.

    ``alike`` says that both directions are the same to clients; else only the way there is measured.
    """

    away: tuple[str, ...]
    back: tuple[str, ...]
    alike: bool
    command: str


STOP = Way(
    away=("systemctl", "stop", "keepalived"),
    back=("systemctl", "start", "keepalived"),
    # A host of higher priority that comes back announces itself while the other one still answers.
    alike=False,
    command="systemctl stop keepalived",
)
WEIGHT = Way(
    away=("touch", _FLAG),
    back=("rm", _FLAG),
    alike=True,
    command="a file that a track_script with a weight looks for is made and removed",
)
VARIANTS = (
    (KEEPALIVED_STOP, "usual", STOP, "VRRP 2, advert 1 s, priorities 150 and 100, weight -60"),
    (KEEPALIVED_WEIGHT, "usual", WEIGHT, "VRRP 2, advert 1 s, priorities 150 and 100, weight -60"),
    (TUNED_STOP, "tuned", STOP, "VRRP 3, advert 0.2 s, priorities 254 and 253, weight -10"),
    (TUNED_WEIGHT, "tuned", WEIGHT, "VRRP 3, advert 0.2 s, priorities 254 and 253, weight -10"),
)


def measure_moves(record: Recorder, bed: Bed, runs: int) -> None:
    """Provision the peer, then measure moves there and back by each way with each timing."""
    installed = ""
    for name, variant, way, timing in VARIANTS:
        if variant != installed:
            provision.timed(bed, PLAYBOOK, _PACKAGES, keepalived_variant=variant)
            installed = variant
        beds.until(lambda: holders(bed) == [_PREFERRED], 30.0, f"{_PREFERRED} does not hold {bed.vip}")
        settings = {"command": way.command, "timing": timing, "pages a second": int(measure.RATE_HZ)}
        with record.part(name, settings, package_versions(bed, _PREFERRED, _PACKAGES)) as part:
            for number in range(1, runs + 1):
                plan = _plan(bed, way, number, back=way.alike and number % 2 == 0)
                part.move(measure.move(plan, _load(bed, f"{name}-{number}"), bed.folder))
                if not way.alike:
                    _mover(bed, way.back, _PREFERRED)()


def _load(bed: Bed, run_id: str) -> Target:
    return Target(run_id=run_id, rate_hz=measure.RATE_HZ, http=HttpTarget(bed.vip, 80, bed.vip, "/"))


def _plan(bed: Bed, way: Way, number: int, *, back: bool) -> Plan:
    if back:
        return Plan(number, _OTHER, _PREFERRED, _mover(bed, way.back, _PREFERRED))
    return Plan(number, _PREFERRED, _OTHER, _mover(bed, way.away, _OTHER))


def _mover(bed: Bed, command: tuple[str, ...], target: str) -> Callable[[], Mapping[str, Any]]:
    """Return what runs a command on the preferred host and waits until ``target`` alone has the address."""

    def act() -> Mapping[str, Any]:
        bed.shell(_PREFERRED, *command)
        beds.until(lambda: holders(bed) == [target], 20.0, f"{target} does not hold {bed.vip}")
        return {}

    return act


def holders(bed: Bed) -> list[str]:
    """Return the hosts that have the virtual IP, usually one."""
    words = ["ip", "-oneline", "-4", "address", "show", "to", bed.vip]
    return [host for host in DATA_HOSTS if bed.shell(host, *words).strip()]
