"""What a drill can do to hosts, and how each is undone.

A fault is planned first (pure: which shell script runs where, and which one undoes it), then made: on each host the
dead-man is armed before anything is done. Everything works on plain Debian hosts over ssh; what only a lab can do says
``lab_only``. Nothing survives a reboot of the host it was done to.

The network is cut by nftables, in a table of the fault's own that comes before all others. The ssh connections of this
machine are never cut, so that a host can be healed also when its dead-man fails.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import random
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from failoverctl.drill import deadman
from failoverctl.drill.remote import program
from failoverctl.drill.targets import SshPeer, TargetError, Targets
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.problems import nearest

if TYPE_CHECKING:
    from failoverctl.estate import Estate
    from failoverctl.lab import Lab

#: All tables that drills make in nftables begin so.
TABLE = "failover_drill"
#: All transient units that drills make begin so.
UNIT = "failover-drill"
#: The unit that only the agent may start: a start with the wrong role discards or resurrects transactions.
DATABASE_UNITS = ("mariadb", "mariadb.service", "mysql", "mysql.service")
DATA_DIRECTORY = "/var/lib/mysql"
#: Where the address of this machine would be wanted: in a lab no ssh connection has to be spared.
_SSH_PORT = 22
#: How long a dead-man waits without being told, in seconds.
DEADMAN_SECONDS = 300.0
#: How long a host may take to come up before what is left on it counts as not undone, in seconds.
BOOT_SECONDS = 60.0


@dataclass(frozen=True)
class Option:
    """One option of a fault in a scenario file.

    ``kind`` is text, number, whole, flag, host (a host or a selector, or a list of them), texts or wholes (lists).
    """

    kind: str
    meaning: str
    required: bool = False
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def problem(self, value: Any) -> str:
        """Return what is wrong with a value, empty when nothing is."""
        of_each = {"texts": "text", "wholes": "whole", "host": "text"}.get(self.kind)
        if of_each and isinstance(value, list | tuple):
            each = Option(of_each, "", low=self.low, high=self.high)
            return next((text for text in map(each.problem, value) if text), "" if value else "it is an empty list")
        whole = isinstance(value, int) and not isinstance(value, bool)
        fits = {
            "text": isinstance(value, str) and bool(value),
            "host": isinstance(value, str) and bool(value),
            "texts": False,
            "wholes": whole,
            "flag": isinstance(value, bool),
            "whole": whole,
            "number": isinstance(value, int | float) and not isinstance(value, bool),
        }[self.kind]
        if not fits:
            return f"expected {_KINDS[self.kind]}, found {value!r}"
        if self.choices and value not in self.choices:
            return f"expected one of {', '.join(self.choices)}, found {value!r}"
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.low is not None and value < self.low:
                return f"expected {self.low:g} or more, found {value:g}"
            if self.high is not None and value > self.high:
                return f"expected {self.high:g} or less, found {value:g}"
        return ""


_KINDS = {
    "text": "text",
    "host": "a host or a selector, or a list of them",
    "texts": "a list of texts",
    "wholes": "a whole number or a list of them",
    "flag": "true or false",
    "whole": "a whole number",
    "number": "a number",
}


@dataclass(frozen=True)
class Deed:
    """What is done to one host, and what undoes it: shell scripts, run by root; or words of ``failoverctl lab``.

    ``undo`` is empty where nothing is to be undone. ``feed`` is the standard input of ``do``. ``proof`` is a script
    that fails as long as what was done shows no effect, where that is not seen otherwise.
    """

    host: str
    do: str = ""
    undo: str = ""
    feed: str | None = None
    proof: str = ""
    lab: tuple[str, ...] = ()
    lab_undo: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """What a plan is made from: the estate, the hosts it is about, its options, and a name that nobody else has.

    ``peers`` are the ends of our ssh connections, by host.
    """

    estate: Estate
    hosts: tuple[str, ...]
    options: Mapping[str, Any]
    tag: str
    in_lab: bool
    peers: Mapping[str, SshPeer] = field(default_factory=dict)

    def address(self, host: str) -> str:
        """Return the IP address of a host."""
        found = self.estate.host(host)
        return _ip(found.address if found is not None else host)


Plan = Callable[[Scene], list[Deed]]


@dataclass(frozen=True)
class Fault:
    """One fault of the catalogue.

    ``summary`` is a sentence with {hosts} and the names of options in it. ``needs_host`` is False where no host, or
    other options than ``host``, say where. ``one_by_one`` does the hosts in turn, not at the same time.
    """

    name: str
    summary: str
    plan: Plan = field(repr=False)
    options: Mapping[str, Option] = field(default_factory=dict)
    lab_only: bool = False
    needs_host: bool = True
    undone: str = ""
    one_by_one: bool = False

    def problems(self, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what is wrong with the options a scenario gives, as (key, what); without those every fault has."""
        found = [(key, f"unknown option; {nearest(key, self.options)}") for key in given if key not in self.options]
        for name, option in self.options.items():
            if name in given:
                text = option.problem(given[name])
                found += [(name, text)] if text else []
            elif option.required:
                found.append((name, f"missing: {option.meaning}"))
        if {"unit", "process"} <= self.options.keys() and ("unit" in given) == ("process" in given):
            found.append(("unit", "name either a unit or a process"))
        if self.name == "start_unit" and _is_database(str(given.get("unit"))):
            found.append(("unit", "only the agent starts the database: it knows in which role"))
        return found

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options with their defaults."""
        return {**{name: option.default for name, option in self.options.items()}, **given}

    def inject(self, targets: Targets, options: Mapping[str, Any]) -> Injected:
        """Do it, to all its hosts at the same time, each with its dead-man armed before.

        :param options: what the scenario says, with selectors resolved to tuples of names; ``hosts``, the resolved
            ``host``; and ``deadman_seconds``.
        :raises FailoverctlError: it could not be done; what had been done by then was undone.
        """
        if self.lab_only and targets.laboratory is None:
            raise TargetError(
                f"{self.name} can be done to hosts of a lab only.",
                fix="run this scenario against a lab: failoverctl lab up",
                exit_code=ExitCode.REFUSED,
            )
        values = self.read({key: value for key, value in options.items() if key in self.options})
        scene = Scene(
            estate=targets.estate,
            hosts=tuple(options.get("hosts") or ()),
            options=values,
            tag=secrets.token_hex(3),
            in_lab=targets.laboratory is not None,
            peers={host: peer for host in targets.hosts if (peer := targets.peer(host)) is not None},
        )
        if self.needs_host and not scene.hosts:
            raise TargetError(f"{self.name}: there is no such host at the moment", exit_code=ExitCode.FAILED)
        injected = Injected(self, scene, targets)
        try:
            injected.make(float(options.get("deadman_seconds") or DEADMAN_SECONDS))
        except BaseException:
            with contextlib.suppress(FailoverctlError):
                injected.revert()
            raise
        return injected


class Injected:
    """A fault that was made. ``began`` and ``done`` are CLOCK_MONOTONIC of this machine around the deed itself."""

    def __init__(self, fault: Fault, scene: Scene, targets: Targets) -> None:
        """Use :meth:`Fault.inject`."""
        self.fault = fault
        self.hosts = scene.hosts
        self.began = 0.0
        self.done = 0.0
        self.note = ""
        self._deeds = fault.plan(scene)
        self._options = scene.options
        self._tag = scene.tag
        self._targets = targets
        self._armed: dict[int, deadman.Armed] = {}
        self._made: set[int] = set()
        self._undone: set[int] = set()
        self._fired = False
        self._lock = threading.Lock()

    @property
    def deeds(self) -> tuple[Deed, ...]:
        """What is done where."""
        return tuple(self._deeds)

    def make(self, deadman_seconds: float) -> None:
        """Arm the dead-men, then do it."""
        numbers = list(range(len(self._deeds)))
        _each(numbers, lambda number: self._arm(number, deadman_seconds))
        self.began = time.monotonic()
        try:
            if self.fault.one_by_one:
                order = random.sample(numbers, len(numbers)) if self._options.get("random_order") else numbers
                self.note = "in the order " + ", ".join(self._deeds[number].host for number in order)
                for position, number in enumerate(order):
                    if position:
                        time.sleep(float(self._options.get("gap_seconds") or 0.0))
                    self._do(number)
            else:
                _each(numbers, self._do)
        finally:
            self.done = time.monotonic()

    def revert(self) -> None:
        """Undo it and disarm the dead-men; harmless when that was done, and tried again when it failed.

        :raises TargetError: with everything that could not be undone.
        """
        with self._lock:
            left = [number for number in range(len(self._deeds)) if number not in self._undone]
            problems: list[str] = []

            def undo(number: int) -> None:
                try:
                    if number in self._made:
                        self._undo(self._deeds[number])
                    armed = self._armed.get(number)
                    if armed is not None:
                        self._on_host(self._deeds[number], lambda: self._disarm(armed))
                    self._undone.add(number)
                except FailoverctlError as error:
                    problems.append(error.what)

            _each(left, undo)
        if problems:
            raise TargetError("; ".join(dict.fromkeys(problems)), exit_code=ExitCode.FAILED)

    def fired(self) -> bool:
        """Say whether a dead-man acted before :meth:`revert` did; False when that is not known."""
        for number, armed in self._armed.items():
            if not self._fired and number not in self._undone:
                with contextlib.suppress(FailoverctlError):
                    self._fired = armed.has_fired()
        return self._fired

    def _disarm(self, armed: deadman.Armed) -> None:
        self._fired = armed.disarm() or self._fired

    def _arm(self, number: int, seconds: float) -> None:
        deed = self._deeds[number]
        if deed.lab_undo:
            lab = self._targets.lab
            self._armed[number] = deadman.arm_here(["--name", lab, *deed.lab_undo], seconds)
        elif deed.undo:
            tag = f"{self._tag}-{number}"
            self._armed[number] = deadman.arm(self._targets, deed.host, deed.undo, seconds, tag)

    def _do(self, number: int) -> None:
        deed = self._deeds[number]
        self._made.add(number)
        if deed.lab:
            _lab_do(self._targets.laboratory, deed.lab)
        else:
            self._targets.run(deed.host, ["sh", "-c", deed.do], stdin=deed.feed, timeout_seconds=30.0, check=True)

    def _undo(self, deed: Deed) -> None:
        if deed.lab_undo:
            _lab_do(self._targets.laboratory, deed.lab_undo)
        elif deed.undo:
            self._on_host(deed, lambda: self._targets.run(deed.host, ["sh", "-c", deed.undo], timeout_seconds=60.0))
        if deed.proof:
            self._on_host(deed, lambda: self._prove(deed))

    def _prove(self, deed: Deed) -> None:
        if self._targets.run(deed.host, ["sh", "-c", deed.proof]).returncode != 0:
            raise TargetError(f"{deed.host} shows no sign of it: {deed.do}", exit_code=ExitCode.FAILED)

    def _on_host(self, deed: Deed, act: Callable[[], Any]) -> None:
        """Do something on a host that may be on its way up; one that is off has nothing left to undo."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                act()
                return
            except TargetError:
                if self._targets.is_off(deed.host):
                    return
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)


def heal_everything(targets: Targets) -> list[str]:
    """Remove whatever drills may have left on the hosts, frozen processes excepted; return what could not be done."""
    problems: list[str] = []

    def heal(host: str) -> None:
        try:
            targets.run(host, ["sh", "-c", _HEAL], timeout_seconds=60.0, check=True)
        except FailoverctlError as error:
            problems.append(error.what)

    _each(targets.hosts, heal)
    return problems


def _each(items: Sequence[Any], act: Callable[[Any], None]) -> None:
    """Do something for all items at the same time; raise the first error when all are through."""
    if not items:
        return
    with ThreadPoolExecutor(max_workers=len(items)) as pool:
        futures = [pool.submit(act, item) for item in items]
    for future in futures:
        future.result()


def _lab_do(lab: Lab | None, words: Sequence[str]) -> None:
    """Carry out words of ``failoverctl lab``, as the dead-man would by the command line."""
    from failoverctl.lab import LabError

    assert lab is not None
    verb, host = words
    try:
        if verb == "power-off":
            lab.power_off(host)
        elif verb == "power-on":
            lab.power_on(host, wait=False)
        elif verb == "freeze":
            lab.freeze(host)
        elif verb == "thaw":
            with contextlib.suppress(LabError):  # off meanwhile: nothing is frozen then
                lab.thaw(host)
        else:
            raise ValueError(f"no lab command for a drill: {verb}")
    except LabError as error:
        raise TargetError(error.what, fix=error.fix, exit_code=error.exit_code) from error


# ------------------------------------------------------------------------------------------- processes and units


def _is_database(unit: str) -> bool:
    return unit in DATABASE_UNITS


def _signal(scene: Scene, name: str) -> str:
    """Return the script that sends a signal to the processes the options name."""
    unit, process = scene.options["unit"], scene.options["process"]
    if unit:
        whom = "main" if name == "KILL" else "all"
        return f"systemctl kill --kill-whom={whom} --signal={name} -- {shlex.quote(str(unit))}"
    return f"pkill --signal {name} --exact -- {shlex.quote(str(process))}"


def _quiet(script: str) -> str:
    """Return a script that may find nothing to do any more."""
    return f"{script} 2>/dev/null || true"


def _start(unit: str) -> str:
    """Return the script that starts a unit; the database is the agent's business."""
    if _is_database(unit):
        return ""
    quoted = shlex.quote(unit)
    if set(unit) & set("*?["):
        # A unit that was stopped is not in memory any more, and a pattern finds only what is (systemctl(1)).
        return f"systemctl start -- $(systemctl list-unit-files --no-legend {quoted} | cut -d' ' -f1)"
    return f"systemctl start -- {quoted}"


def _kill_process(scene: Scene) -> list[Deed]:
    unit = str(scene.options["unit"] or "")
    undo = _start(unit) if unit else ""
    return [Deed(host, _signal(scene, str(scene.options["signal"])), undo) for host in scene.hosts]


def _stop_unit(scene: Scene) -> list[Deed]:
    unit = str(scene.options["unit"])
    return [Deed(host, f"systemctl stop -- {shlex.quote(unit)}", _start(unit)) for host in scene.hosts]


def _start_unit(scene: Scene) -> list[Deed]:
    start = _start(str(scene.options["unit"])).replace("systemctl start", "systemctl start --no-block", 1)
    return [Deed(host, start) for host in scene.hosts]


def _freeze_process(scene: Scene) -> list[Deed]:
    return [Deed(host, _signal(scene, "STOP"), _quiet(_signal(scene, "CONT"))) for host in scene.hosts]


def _thaw_process(scene: Scene) -> list[Deed]:
    return [Deed(host, _quiet(_signal(scene, "CONT"))) for host in scene.hosts]


# ------------------------------------------------------------------------------------------- hosts


def _lab_verb(verb: str, undo: str = "") -> Plan:
    def plan(scene: Scene) -> list[Deed]:
        return [Deed(host, lab=(verb, host), lab_undo=(undo, host) if undo else ()) for host in scene.hosts]

    return plan


def _reboot(scene: Scene) -> list[Deed]:
    mark = f"/run/{UNIT}-{scene.tag}-before"  # On a tmpfs: gone with the next boot.
    order = f"touch {mark} && systemctl --no-block reboot"
    return [Deed(host, order, proof=f"test ! -e {mark}") for host in scene.hosts]


# ------------------------------------------------------------------------------------------- network


def _table(scene: Scene, suffix: str = "") -> str:
    return f"{TABLE}_{scene.tag}{suffix}"


def nft_table(name: str, rules_in: Iterable[str], rules_out: Iterable[str]) -> str:
    """Return the text of an nftables table that drops what its rules say, before all other tables do anything."""

    def chain(hook: str, rules: Iterable[str]) -> list[str]:
        name_ = "iif" if hook == "input" else "oif"
        lines = [f'    {name_} "lo" accept', *(f"    {rule}" for rule in rules)]
        return [f"  chain {hook} {{", f"    type filter hook {hook} priority -400; policy accept;", *lines, "  }"]

    return "\n".join([f"table inet {name} {{", *chain("input", rules_in), *chain("output", rules_out), "}"]) + "\n"


def cut_rules(
    addresses: Sequence[str] | None,
    ports: Sequence[int] = (),
    *,
    outgoing: bool,
    what: str = "drop",
    peer: SshPeer | None = None,
) -> list[str]:
    """Return the rules that drop what comes from some addresses, or goes to them.

    :param addresses: None is everybody; the ssh connections that come to this host are spared then.
    :param ports: drop only what belongs to these TCP ports of either side.
    :param what: the verdict, with conditions before it.
    :param peer: our end of the ssh connection to this host, which is spared whatever is dropped: this machine may be
        one of the hosts that are cut off, or reach this one through one of them.
    """
    direction, own = ("daddr", "sport") if outgoing else ("saddr", "dport")
    matches: list[str] = []
    spared: list[str] = []
    if peer is not None:
        word = "ip6" if ":" in peer.address else "ip"
        spared = [f"{word} {direction} {peer.address} tcp {own} {peer.port} accept"]
    if addresses is None:
        matches = [""]
        ssh_ports = {_SSH_PORT} | ({peer.port} if peer is not None else set())
        spared += [f"tcp {own} {port} accept" for port in sorted(ssh_ports)]
    for version, word in ((4, "ip"), (6, "ip6")):
        some = [address for address in addresses or () if ipaddress.ip_address(address).version == version]
        if some:
            matches.append(f"{word} {direction} {{ {', '.join(some)} }} ")
    if not ports:
        return [*spared, *(f"{match}{what}" for match in matches)]
    listed = ", ".join(str(port) for port in ports)
    return [*spared, *(f"{match}tcp {side} {{ {listed} }} {what}" for match in matches for side in ("dport", "sport"))]


def _nft(text: str) -> str:
    return f"nft -f - <<'EOF'\n{text}EOF\n"


def _no_table(name: str) -> str:
    return f"nft delete table inet {name} 2>/dev/null || true"


def _ip(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(address, None)[0][4][0])
    except OSError as error:
        raise TargetError(f"the address of {address} is not known: {error}", exit_code=ExitCode.USAGE) from error


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _peers(scene: Scene, host: str, to: Sequence[str]) -> list[str]:
    """Return the addresses of hosts, and the VIPs as well when all who may hold them are among the hosts."""
    names = [name for name in to if name != host]
    addresses = [scene.address(name) for name in names]
    holders = {each.name for role in ("database", "web") for each in scene.estate.in_role(role)} - {host}
    if holders <= set(names):
        addresses += [_ip(vip.address.partition("/")[0]) for vip in scene.estate.vips]
    return addresses


def _cut(scene: Scene) -> list[Deed]:
    to, one_way, ports = scene.options["to"], bool(scene.options["one_way"]), scene.options["ports"] or ()
    ports = (ports,) if isinstance(ports, int) else tuple(ports)
    deeds = []
    for host in _names(scene.options["from"]):
        addresses = None if to is None else _peers(scene, host, _names(to))
        peer = scene.peers.get(host)
        out = cut_rules(addresses, ports, outgoing=True, peer=peer)
        back = [] if one_way else cut_rules(addresses, ports, outgoing=False, peer=peer)
        name = _table(scene)
        deeds.append(Deed(host, _nft(nft_table(name, back, out)), _no_table(name)))
    return deeds


def _block_vrrp(scene: Scene) -> list[Deed]:
    direction = str(scene.options["direction"])
    rules = ["ip protocol 112 drop", "ip6 nexthdr 112 drop"]
    name = _table(scene)
    table = nft_table(name, rules if direction != "out" else [], rules if direction != "in" else [])
    return [Deed(host, _nft(table), _no_table(name)) for host in scene.hosts]


def _service(scene: Scene, name: str, order: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return (script, input of it, script that ends it) that runs a program as a transient unit until it is ended."""
    unit = f"{UNIT}-{name}-{scene.tag}"
    file = f"{deadman.FOLDER}/{unit}"
    # From files: systemd expands $ and % in the words of a command.
    run = (
        f"umask 077 && mkdir -p {deadman.FOLDER} && cat > {file}.py && "
        f"systemd-run --quiet --collect --unit={unit} --service-type=notify -- "
        f"python3 {file}.py {shlex.quote(json.dumps(order, separators=(',', ':')))} || "
        # systemd-run says that it ended; why, its journal has.
        f"{{ sleep 0.2; journalctl --unit={unit} --lines=3 --output=cat --no-pager _COMM=python3 >&2; exit 1; }}"
    )
    return run, program(name), f"systemctl stop {unit} 2>/dev/null; rm -f {file}.py"


def _slow_link(scene: Scene) -> list[Deed]:
    to = scene.options["to"]
    others = [host.name for host in scene.estate.hosts] if to is None else _names(to)
    # Between 1 and 32000: the numbers that matter to the kernel are others.
    number = 7000 + int(scene.tag, 16) % 20000
    deeds = []
    for host in scene.hosts:
        addresses = [address for address in _peers(scene, host, others) if ":" not in address]
        order = {
            "delay_ms": scene.options["delay_ms"],
            "loss_percent": scene.options["loss_percent"],
            "table": number,
            "pref": number,
            "device": f"drill-{scene.tag}",
            "to": addresses,
        }
        do, feed, undo = _service(scene, "relay", order)
        rules = f"for pref in {number} {number + 1}; do while ip rule del pref $pref 2>/dev/null; do :; done; done"
        deeds.append(Deed(host, do, f"{undo}; {rules}", feed=feed))
    return deeds


def _flap_link(scene: Scene) -> list[Deed]:
    on, off, times = (scene.options[name] for name in ("on_seconds", "off_seconds", "times"))
    name, unit = _table(scene), f"{UNIT}-flap-{scene.tag}"
    file = f"{deadman.FOLDER}/{unit}"
    deeds = []
    for host in scene.hosts:
        to = scene.options["to"]
        addresses = None if to is None else _peers(scene, host, _names(to))
        peer = scene.peers.get(host)
        rules = [cut_rules(addresses, outgoing=outgoing, peer=peer) for outgoing in (False, True)]
        script = (
            f"i=0; while [ $i -lt {int(times)} ]; do\n{_nft(nft_table(name, *rules))}sleep {float(off):g}\n"
            f"{_no_table(name)}\nsleep {float(on):g}\ni=$((i + 1)); done\n"
        )
        do = (
            f"umask 077 && mkdir -p {deadman.FOLDER} && cat > {file}.sh && "
            f"systemd-run --quiet --collect --unit={unit} -- sh {file}.sh"
        )
        undo = f"systemctl stop {unit} 2>/dev/null; rm -f {file}.sh; {_no_table(name)}"
        deeds.append(Deed(host, do, undo, feed=script))
    return deeds


_DELETE_TABLES = (
    "nft list tables inet | while read -r _ _ name; do "
    f"case $name in {TABLE}_*) nft delete table inet $name;; esac; done"
)
# What flaps is stopped first, or it would cut again.
_HEAL_LINKS = f"systemctl stop '{UNIT}-flap-*' '{UNIT}-relay-*' 2>/dev/null; {_DELETE_TABLES}"
_RELOAD_PHP = "systemctl reload 'php*-fpm.service'"
#: Takes away what _break_php put over the settings of PHP.
_UNBREAK_PHP = (
    f"found=; for target in $(findmnt -rno TARGET,SOURCE | grep {UNIT}-php- | cut -d' ' -f1); do "
    f'umount "$target"; found=yes; done; if [ -n "$found" ]; then {_RELOAD_PHP}; fi'
)
_HEAL = f"{_HEAL_LINKS}; {_UNBREAK_PHP}; systemctl stop '{UNIT}-*' 2>/dev/null; rm -rf {deadman.FOLDER}"


def _heal_links(scene: Scene) -> list[Deed]:
    hosts = scene.hosts or tuple(host.name for host in scene.estate.hosts)
    return [Deed(host, _HEAL_LINKS) for host in hosts]


# ------------------------------------------------------------------------------------------- disks and data


def _fill_disk(scene: Scene) -> list[Deed]:
    order = {
        "folder": str(scene.options["folder"]),
        "leave_bytes": int(scene.options["leave_bytes"]),
        # The disk of the system is shared by all hosts of a lab.
        "own_only": scene.in_lab or not scene.options["system_disk"],
    }
    do, feed, undo = _service(scene, "filler", order)
    return [Deed(host, do, undo, feed=feed) for host in scene.hosts]


def _break_php(scene: Scene) -> list[Deed]:
    # Over the file and not into it: a mount does not outlive a reboot. The master of FPM, root, reads it again.
    broken = f"{deadman.FOLDER}/{UNIT}-php-{scene.tag}"
    do = (
        f"set -e; umask 077; mkdir -p {deadman.FOLDER}; found=; for ini in /etc/php/*/fpm/php.ini; do "
        f'[ -e "$ini" ] || continue; found=yes; copy="{broken}-$(echo "$ini" | tr / _)"; '
        '{ cat "$ini"; echo; echo "auto_prepend_file = /nonexistent/failover-drill.php"; } > "$copy"; '
        'mount --bind "$copy" "$ini"; done; '
        f'if [ -z "$found" ]; then echo "no PHP-FPM is on this host" >&2; exit 1; fi; {_RELOAD_PHP}'
    )
    return [Deed(host, do, f"{_UNBREAK_PHP}; rm -f {broken}-*") for host in scene.hosts]


def _free_disk(scene: Scene) -> list[Deed]:
    return [Deed(host, f"systemctl stop '{UNIT}-filler-*'") for host in scene.hosts]


def _write_on_replica(scene: Scene) -> list[Deed]:
    rows = ", ".join(f"('errant-{scene.tag}', 0, {number}, @@hostname)" for number in range(int(scene.options["rows"])))
    # root may write in spite of read_only (10.11), or lifts it for the moment (11.x: READ ONLY ADMIN).
    sql = f"INSERT INTO failover_probe.writes (run_id, stream, seq, server) VALUES {rows};"
    return [Deed(host, "exec mariadb --batch", feed=sql) for host in scene.hosts]


#: What each way of keeping a database busy says, one text a session; {unit} marks the session, and {tag} is unique.
_SESSIONS: Mapping[str, tuple[str, ...]] = {
    "locked_table": ("LOCK TABLES failover_probe.writes WRITE; SELECT SLEEP(86400), '{unit}';",),
    "transaction": (
        "BEGIN; INSERT INTO failover_probe.writes (run_id, stream, seq, server)"
        " VALUES ('open-{tag}', 0, 0, @@hostname); SELECT SLEEP(86400), '{unit}';",
    ),
    "schema_change": ("CREATE TABLE failover_probe.drill_{tag} AS SELECT SLEEP(86400) AS never, '{unit}' AS unit;",),
    # The second one waits for the first, and is what can be seen in the list of statements.
    "backup": ("BACKUP STAGE START; SELECT SLEEP(86400), '{unit}';", "SELECT SLEEP(1); BACKUP STAGE START;"),
}


def _busy_database(scene: Scene) -> list[Deed]:
    unit = f"{UNIT}-busy-{scene.tag}"
    file = f"{deadman.FOLDER}/{unit}.sh"
    texts = [text.format(tag=scene.tag, unit=unit) for text in _SESSIONS[str(scene.options["by"])]]
    script = "".join(f"mariadb --batch -e {shlex.quote(text)} &\n" for text in texts) + "wait\n"
    do = (
        f"umask 077 && mkdir -p {deadman.FOLDER} && cat > {file} && "
        f"systemd-run --quiet --collect --unit={unit} -- sh {file} && sleep 0.5"
    )
    # The server notices only after seconds that a client is gone.
    ids = f"SELECT id FROM information_schema.processlist WHERE info LIKE '%{unit}%' AND id <> CONNECTION_ID()"
    kill = f'timeout 5 mariadb -BNe "{ids}" | while read -r id; do timeout 5 mariadb -e "KILL $id"; done'
    undo = f"({kill}) 2>/dev/null; systemctl stop {unit} 2>/dev/null; rm -f {file}"
    return [Deed(host, do, undo, feed=script) for host in scene.hosts]


# ------------------------------------------------------------------------------------------- the catalogue

_UNIT = Option("text", "the systemd unit, `mariadb` for example; a pattern such as `php*-fpm.service` is fine")
_PROCESS = Option("text", "the name of the processes (comm), instead of a unit")
_TO = Option("host", "the other side; without it everybody, clients too")

CATALOGUE: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "kill_process",
            "Kill the processes of {unit}{process} on {hosts}",
            _kill_process,
            {"unit": _UNIT, "process": _PROCESS, "signal": Option("text", "the signal", default="KILL")},
            undone="the unit is started again; the database is started by the agent only",
        ),
        Fault(
            "stop_unit",
            "Stop {unit} on {hosts}",
            _stop_unit,
            {"unit": Option(_UNIT.kind, _UNIT.meaning, required=True)},
            undone="the unit is started again; the database is started by the agent only",
        ),
        Fault(
            "start_unit",
            "Start {unit} on {hosts}",
            _start_unit,
            {"unit": Option(_UNIT.kind, _UNIT.meaning, required=True)},
        ),
        Fault(
            "freeze_process",
            "Freeze the processes of {unit}{process} on {hosts} (SIGSTOP)",
            _freeze_process,
            {"unit": _UNIT, "process": _PROCESS},
            undone="they go on (SIGCONT)",
        ),
        Fault(
            "thaw_process",
            "Let the processes of {unit}{process} on {hosts} go on",
            _thaw_process,
            {"unit": _UNIT, "process": _PROCESS},
        ),
        Fault(
            "power_off",
            "Cut the power of {hosts}",
            _lab_verb("power-off", "power-on"),
            lab_only=True,
            undone="the power comes back",
        ),
        Fault(
            "power_on",
            "Switch {hosts} on",
            _lab_verb("power-on"),
            {
                "random_order": Option("flag", "in random order", default=False),
                "gap_seconds": Option("number", "between one host and the next", default=0.0, low=0.0, high=900.0),
            },
            lab_only=True,
            one_by_one=True,
        ),
        Fault(
            "freeze_host",
            "Freeze {hosts} as a whole, like a virtual machine that is paused",
            _lab_verb("freeze", "thaw"),
            lab_only=True,
            undone="it goes on",
        ),
        Fault("thaw_host", "Let {hosts} go on", _lab_verb("thaw"), lab_only=True),
        Fault("reboot", "Reboot {hosts}", _reboot),
        Fault(
            "cut",
            "Cut {from} off from {to}",
            _cut,
            {
                "from": Option("host", "the host that is cut off; the rules are made there", required=True),
                "to": _TO,
                "one_way": Option("flag", "drop only what `from` sends, not what it is sent", default=False),
                "ports": Option("wholes", "only these TCP ports, 2379 for example", low=1, high=65535),
            },
            needs_host=False,
            undone="the rules are removed",
        ),
        Fault("heal_links", "Remove every cut that a drill made", _heal_links, needs_host=False),
        Fault(
            "block_vrrp",
            "Drop VRRP on {hosts}",
            _block_vrrp,
            {"direction": Option("text", "what is dropped", default="both", choices=("in", "out", "both"))},
            undone="the rules are removed",
        ),
        Fault(
            "flap_link",
            "Cut {hosts} off and heal it again, {times} times",
            _flap_link,
            {
                "on_seconds": Option("number", "how long the link is good", default=5.0, low=0.1, high=600.0),
                "off_seconds": Option("number", "how long it is cut", default=5.0, low=0.1, high=600.0),
                "times": Option("whole", "how often", default=10, low=1, high=1000),
                "to": _TO,
            },
            undone="the rules are removed and it ends",
        ),
        Fault(
            "slow_link",
            "Delay what {hosts} sends to the other hosts by {delay_ms} ms and lose {loss_percent} %",
            _slow_link,
            {
                "delay_ms": Option("number", "added to the way of each packet", default=0.0, low=0.0, high=10_000.0),
                "loss_percent": Option("number", "how many packets get lost", default=0.0, low=0.0, high=100.0),
                "to": Option("host", "the other side; without it all other hosts of the estate"),
            },
            undone="packets go their usual way",
        ),
        Fault(
            "fill_disk",
            "Fill the disk of {folder} on {hosts} up to {leave_bytes} bytes",
            _fill_disk,
            {
                "leave_bytes": Option("whole", "what is left", default=0, low=0),
                "folder": Option("text", "a folder on that file system", default=DATA_DIRECTORY),
                "system_disk": Option(
                    "flag", "fill it also where it is the disk of the system itself; never in a lab", default=False
                ),
            },
            undone="the room is given back; so it is when the host dies",
        ),
        Fault(
            "break_php",
            "Let every PHP page on {hosts} fail with status 500",
            _break_php,
            undone="PHP-FPM has its settings again",
        ),
        Fault("free_disk", "Give the room back that a drill took on {hosts}", _free_disk),
        Fault(
            "write_on_replica",
            "Write {rows} rows on {hosts} by hand, as root",
            _write_on_replica,
            {"rows": Option("whole", "how many", default=1, low=1, high=1000)},
            undone="nothing: it is the product's turn to find and to mend it",
        ),
        Fault(
            "busy_database",
            "Keep the database of {hosts} busy by a {by}",
            _busy_database,
            {
                "by": Option(
                    "text",
                    "`locked_table` holds up what a replica applies, while it still receives; `transaction` and "
                    "`schema_change` are open, and `backup` runs, until it is undone",
                    required=True,
                    choices=tuple(_SESSIONS),
                )
            },
            undone="the sessions are killed",
        ),
    )
}
