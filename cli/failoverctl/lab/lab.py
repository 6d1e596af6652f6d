"""A lab: what its commands do, in the order that lets any of them be interrupted at any point.

The rule: the state on disk is written before the first resource is made and removed after the last
one is gone, and every resource is found by its name alone. So `up` finishes what an `up` began, and
`down` removes whatever is there.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from failoverctl.lab import base, cgroup, kernel, requirements
from failoverctl.lab import host as hosts
from failoverctl.lab import network as net
from failoverctl.lab.errors import LabError
from failoverctl.lab.host import Host
from failoverctl.lab.inventory import Access, inventory_text, new_secrets
from failoverctl.lab.layout import AddressPlan, Layout, plan_addresses, read_layout
from failoverctl.lab.process import remove, run
from failoverctl.lab.state import (
    DEFAULT_LAYOUT,
    DEFAULT_NAME,
    DEFAULT_NETWORK,
    DEFAULT_RELEASE,
    ROOT,
    Cut,
    Paths,
    Say,
    State,
    check_name,
    is_locked,
    locked,
    read_state,
    write_file,
    write_state,
)

BOOT_SECONDS = 120.0


@dataclass(frozen=True)
class HostStatus:
    """One host as `status` shows it; `ready` means that systemd has booted and sshd answers."""

    name: str
    address: str
    on: bool
    frozen: bool
    ready: bool


@dataclass(frozen=True)
class LabStatus:
    """A lab as `status` shows it."""

    name: str
    layout: str
    release: str
    network: str
    gateway: str
    hosts: tuple[HostStatus, ...]
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class _Parts:
    """Everything that follows from the state."""

    state: State
    layout: Layout
    plan: AddressPlan
    hosts: dict[str, Host]

    @property
    def ports(self) -> dict[str, str]:
        """The machine's end of each host's link."""
        return {name: host.port for name, host in self.hosts.items()}


def _silent(_: str) -> None:
    """Say nothing."""


class Lab:
    """One lab, by name; it may or may not exist yet."""

    def __init__(self, name: str, paths: Paths, say: Say) -> None:
        """Use :meth:`open`."""
        self.name = name
        self.paths = paths
        self._say = say

    @classmethod
    def open(cls, name: str = DEFAULT_NAME, *, root: Path = ROOT, say: Say = _silent) -> Lab:
        """Return the lab called `name`; nothing is made or read.

        :param root: the folder of all labs.
        :param say: called with one line of progress at a time.
        :raises LabError: the name cannot name a lab.
        """
        return cls(check_name(name), Paths(root, name), say)

    # -- the whole lab ----------------------------------------------------------------------

    def up(
        self,
        layout: str | None = None,
        *,
        release: str | None = None,
        network: IPv4Network | None = None,
    ) -> None:
        """Bring the lab up, or finish bringing it up; harmless when it is up.

        Hosts that were switched off with :meth:`power_off` stay off.

        :param layout: by default the one the lab has, else `small`.
        :param release: of Debian, by default the one the lab has, else `trixie`.
        :param network: by default the one the lab has, else 198.51.100.0/26.
        :raises LabError: the machine lacks something (nothing was made), another layout, release or
            network was asked for than the lab has, or a host did not boot.
        """
        requirements.require_root()
        requirements.require_programs(requirements.find_missing())
        with self._locked():
            state = self._decide_state(layout, release, network)
            state = self._ensure_base(state)
            parts = self._parts(state)
            self._ensure_identity(parts)
            net.ensure_network(self.name, parts.plan)
            net.apply_cuts(self.name, parts.ports, state.cuts)
            with self._global_lock():
                kernel.raise_limits(self.paths.root / "kernel.was")
            starting = [host for host in parts.hosts.values() if host.name not in state.off and not hosts.is_on(host)]
            if starting:
                self._say(f"booting {', '.join(host.name for host in starting)}")
            for host in starting:
                self._boot(host, state)
            deadline = time.monotonic() + BOOT_SECONDS
            for host in parts.hosts.values():
                if host.name not in state.off and not cgroup.frozen(host.group):
                    self._wait(host, state, deadline)
            for name in state.off:
                self._say(f"{name} stays off (failoverctl lab power-on {name})")

    def down(self) -> None:
        """Remove the lab with everything in it; harmless when there is none.

        The trees and packages that labs share stay, for the next `up`.

        :raises LabError: something could not be removed.
        """
        requirements.require_root()
        with self._locked():
            self._close_connections()
            cgroup.kill(cgroup.lab_group(self.name))
            net.remove_network(self.name)
            self._harvest()
            with self._global_lock():
                for release in base.RELEASES:
                    self._stop_orphaned_build(release)
                cgroup.remove_top()
                self._remove_files()
                if not any(folder.is_dir() for folder in self.paths.labs.iterdir()):
                    kernel.restore(self.paths.root / "kernel.was")

    def exists(self) -> bool:
        """Say whether the lab was brought up, at least half."""
        return read_state(self.paths) is not None

    def status(self) -> LabStatus:
        """Return what the lab is and what runs of it, as the kernel sees it.

        :raises LabError: there is no such lab.
        """
        parts = self._existing()
        # Each host that does not answer takes a second to find out.
        with ThreadPoolExecutor(max_workers=len(parts.hosts)) as pool:
            found = tuple(pool.map(self._host_status, parts.hosts.values()))
        return LabStatus(
            name=self.name,
            layout=parts.layout.name,
            release=parts.state.release,
            network=str(parts.plan.network),
            gateway=str(parts.plan.gateway),
            hosts=found,
            cuts=parts.state.cuts,
        )

    def inventory(self) -> str:
        """Return an inventory of the lab as YAML text, ready for `failoverctl` and Ansible.

        :raises LabError: there is no such lab.
        """
        parts = self._existing()
        passwords = json.loads(self.paths.secrets.read_text(encoding="utf-8"))
        access = Access(self.paths.key, self.paths.known_hosts, self.paths.sockets)
        return inventory_text(self.name, parts.layout, parts.plan, passwords, access)

    def addresses(self) -> dict[str, str]:
        """Return the address of each host by its name.

        :raises LabError: there is no such lab.
        """
        return {name: str(host.address) for name, host in self._existing().hosts.items()}

    # -- one host ---------------------------------------------------------------------------

    def is_on(self, host: str) -> bool:
        """Say whether any process of `host` lives.

        :raises LabError: no such lab or host.
        """
        return hosts.is_on(self._host(host))

    def exec(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = False,
        timeout_seconds: float = 600.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` as root in `host`, as on its console: it needs no network.

        :param stdin: text for its standard input.
        :param check: raise when the exit status is not 0.
        :raises LabError: no such host, it is off or frozen, or the command took too long.
        """
        return run(self.command(host, argv), stdin=stdin, check=check, timeout_seconds=timeout_seconds)

    def command(self, host: str, argv: Sequence[str], *, terminal: bool = False) -> list[str]:
        """Return the command line that :meth:`exec` runs, for those who need its streams.

        :param terminal: give the command a terminal of the host.
        :raises LabError: no such host, or it is off or frozen.
        """
        requirements.require_root()
        return hosts.command(self._host(host), argv, terminal=terminal)

    def power_off(self, host: str) -> None:
        """Cut the power of `host`: all its processes are killed at once, none can do anything.

        What its programs had written, also without syncing, is still on its disk afterwards,
        because the machine's kernel has it: loss of unsynced writes cannot be shown in the lab.

        :raises LabError: no such lab or host.
        """
        with self._locked():
            parts = self._existing()
            found = self._host(host, parts)
            write_state(self.paths, parts.state.with_off(host, True))
            cgroup.kill(found.group)

    def power_on(self, host: str, *, wait: bool = True) -> None:
        """Switch `host` on, with the disk it had; harmless when it is on.

        :param wait: return only when it has booted and sshd answers (no sshd if it is cut off).
        :raises LabError: no such lab or host, or it did not boot.
        """
        with self._locked():
            parts = self._existing()
            found = self._host(host, parts)
            state = parts.state.with_off(host, False)
            write_state(self.paths, state)
            if not hosts.is_on(found):
                self._boot(found, state)
            if wait:
                self._wait(found, state, time.monotonic() + BOOT_SECONDS)

    def freeze(self, host: str) -> None:
        """Stop all processes of `host` where they are, like a virtual machine that is paused.

        :raises LabError: no such lab or host, or it is off.
        """
        self._set_frozen(host, True)

    def thaw(self, host: str) -> None:
        """Let the processes of `host` go on; harmless when they do.

        :raises LabError: no such lab or host, or it is off.
        """
        self._set_frozen(host, False)

    # -- the network ------------------------------------------------------------------------

    def cut(self, a: str, b: str | None = None, *, one_way: bool = False) -> Cut:
        """Drop every frame between `a` and `b`, or between `a` and all others and this machine.

        Returns the cut. Cuts add up, hold for a host that is switched on later, and last until :meth:`heal`.

        :param one_way: drop only what `a` sends to `b`.
        :raises LabError: no such lab or host; or `one_way` without `b`.
        """
        with self._locked():
            parts = self._existing()
            self._host(a, parts)
            if b is None and one_way:
                raise LabError(
                    "--one-way needs two hosts: the one that sends and the one that does not hear",
                    fix=f"failoverctl lab cut --one-way {a} HOST",
                )
            if b is not None:
                self._host(b, parts)
            if a == b:
                raise LabError(f"{a} cannot be cut from itself", fix="name two different hosts")
            cut = Cut(a, b, one_way)
            if cut not in parts.state.cuts:
                self._set_cuts(parts, (*parts.state.cuts, cut))
            return cut

    def heal(self) -> None:
        """Undo all cuts.

        :raises LabError: there is no such lab.
        """
        with self._locked():
            self._set_cuts(self._existing(), ())

    # -- inside -----------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        requirements.require_root()
        with locked(self._lock_file, self._say):
            try:
                yield
            finally:
                if not self.paths.folder.exists():
                    self._lock_file.unlink(missing_ok=True)

    @property
    def _lock_file(self) -> Path:
        return self.paths.labs / f"{self.name}.lock"

    @contextmanager
    def _global_lock(self) -> Iterator[None]:
        with locked(self.paths.root / "lock", self._say):
            yield

    def _decide_state(self, layout: str | None, release: str | None, network: IPv4Network | None) -> State:
        """Return the lab's state, making it (and only it) for a new lab that can be made."""
        state = read_state(self.paths)
        if state is not None:
            asked = {"layout": layout, "release": release, "network": network}
            has = {"layout": state.layout, "release": state.release, "network": state.network}
            for key, value in asked.items():
                if value is not None and value != has[key]:
                    raise LabError(
                        f"the lab {self.name} exists with {key} {has[key]}, not {value}",
                        fix=f"failoverctl lab --name {self.name} down, or choose another --name",
                    )
            return state
        state = State(
            name=self.name,
            layout=layout or DEFAULT_LAYOUT,
            release=release or DEFAULT_RELEASE,
            network=network or DEFAULT_NETWORK,
        )
        if state.release not in base.RELEASES:
            raise LabError(
                f"{state.release!r} is not a release the lab knows",
                fix=f"use one of: {', '.join(base.RELEASES)}",
            )
        parts = self._parts(state)
        base.read_resolver()
        with self._global_lock():
            used = [net.UsedRange(other.network, f"the lab {other.name}") for other in self._other_labs()]
            used += net.read_used(self.name)
            requirements.check_machine(
                requirements.read_machine(self.paths.root, used, net.bridge_name(self.name)),
                network=parts.plan.network,
                bridge=net.bridge_name(self.name),
                hosts=len(parts.hosts),
                base_built=self.paths.base(state.release).exists(),
                where=self.paths.root,
            )
            write_state(self.paths, state)
        return state

    def _other_labs(self) -> list[State]:
        names = [file.parent.name for file in self.paths.labs.glob("*/state.json")]
        found = [read_state(Paths(self.paths.root, name)) for name in names if name != self.name]
        return [state for state in found if state is not None]

    def _ensure_base(self, state: State) -> State:
        """Make what the lab shares with others, and return the state with its tree chosen."""
        release = state.release
        folder = self.paths.base(release)
        with locked(folder / "lock", self._say):
            wanted = base.wanted_tree(release)
            if not state.tree or not base.tree_path(folder, state.tree).exists():
                state = replace(state, tree=wanted)
            base.ensure_base(folder, release, state.tree, self._say)
            write_state(self.paths, state)
            others = [other.tree for other in self._other_labs()]
            base.remove_unused_trees(folder, {wanted, state.tree, *others})
            base.link_archives(folder, self.paths.archives)
        return state

    def _stop_orphaned_build(self, release: str) -> None:
        """Kill a build whose command was killed; one that goes on holds the lock."""
        group = cgroup.build_group(release)
        lock = self.paths.base(release) / "lock"
        if group.exists() and not is_locked(lock):
            with locked(lock, self._say):
                cgroup.kill(group)

    def _ensure_identity(self, parts: _Parts) -> None:
        paths = self.paths
        paths.sockets.mkdir(mode=0o700, exist_ok=True)
        if not paths.secrets.exists():
            secrets = json.dumps(new_secrets(parts.layout), indent=2) + "\n"
            write_file(paths.secrets, secrets, 0o600)
        public = paths.key.with_suffix(".pub")
        if not public.exists():
            paths.key.unlink(missing_ok=True)
            hosts.make_key(paths.key, f"failoverctl-lab-{self.name}")
        resolver = base.read_resolver()
        for host in parts.hosts.values():
            if not hosts.is_prepared(host):
                hosts.prepare(host, public_key=public.read_text(encoding="ascii"), resolver=resolver)
        keys = "".join(hosts.host_key(host) for host in parts.hosts.values())
        write_file(paths.known_hosts, keys)

    def _boot(self, host: Host, state: State) -> None:
        tree = base.tree_path(self.paths.base(state.release), state.tree)
        hosts.boot(host, tree=tree, archives=self.paths.archives)

    def _wait(self, host: Host, state: State, deadline: float) -> None:
        cut_off = any(cut.a == host.name and cut.b is None for cut in state.cuts)
        hosts.wait_ready(host, network=not cut_off, deadline=deadline)

    def _set_frozen(self, host: str, frozen: bool) -> None:
        with self._locked():
            found = self._host(host)
            if not hosts.is_on(found):
                raise LabError(f"{host} is off", fix=f"switch it on: failoverctl lab power-on {host}")
            cgroup.freeze(found.group, frozen)

    def _set_cuts(self, parts: _Parts, cuts: tuple[Cut, ...]) -> None:
        write_state(self.paths, replace(parts.state, cuts=cuts))
        net.apply_cuts(self.name, parts.ports, cuts)

    def _host_status(self, host: Host) -> HostStatus:
        on = hosts.is_on(host)
        frozen = on and cgroup.frozen(host.group)
        return HostStatus(
            name=host.name,
            address=str(host.address),
            on=on,
            frozen=frozen,
            ready=on and not frozen and hosts.ssh_answers(host.address),
        )

    def _parts(self, state: State) -> _Parts:
        layout = read_layout(state.layout)
        plan = plan_addresses(layout, state.network)
        group = cgroup.lab_group(self.name)
        made = {
            spec.name: Host(
                name=spec.name,
                interface=IPv4Interface(f"{plan.hosts[spec.name]}/{plan.network.prefixlen}"),
                gateway=plan.gateway,
                machine=net.machine_name(self.name, spec.offset),
                port=net.port_name(self.name, spec.offset),
                bridge=net.bridge_name(self.name),
                folder=self.paths.host(spec.name),
                group=group / spec.name,
                data_megabytes=spec.data_megabytes,
            )
            for spec in layout.hosts
        }
        return _Parts(state=state, layout=layout, plan=plan, hosts=made)

    def _existing(self) -> _Parts:
        requirements.require_root()
        state = read_state(self.paths)
        if state is None:
            raise LabError(
                f"there is no lab {self.name}",
                fix=f"make it: failoverctl lab --name {self.name} up",
            )
        return self._parts(state)

    def _host(self, name: str, parts: _Parts | None = None) -> Host:
        parts = parts or self._existing()
        if name not in parts.hosts:
            raise LabError(
                f"the lab {self.name} has no host {name!r}",
                fix=f"use one of: {', '.join(parts.hosts)}",
            )
        return parts.hosts[name]

    def _remove_files(self) -> None:
        """Remove the lab's folder so that neither `up` nor `down` trips over a half of it."""
        folder = self.paths.folder
        if not folder.exists():
            return
        for host in (folder / "hosts").glob("*"):
            hosts.forget(host)
        # The state goes last: while it is there, `up` and `down` know that there is something.
        for entry in folder.iterdir():
            if entry != self.paths.state:
                remove(entry)
        remove(folder)

    def _close_connections(self) -> None:
        """End the shared ssh connections, which outlive the programs that opened them."""
        if not self.paths.sockets.is_dir():
            return
        for socket in self.paths.sockets.iterdir():
            with contextlib.suppress(LabError):
                run(
                    ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "lab"],
                    check=False,
                    timeout_seconds=5.0,
                )

    def _harvest(self) -> None:
        """Keep what the hosts downloaded; half a lab, or one whose state is damaged, has nothing."""
        folder = self.paths.folder / "hosts"
        try:
            state = read_state(self.paths)
        except LabError:
            return
        if state is None or not folder.is_dir():
            return
        release = self.paths.base(state.release)
        with locked(release / "lock", self._say):
            new = sum(base.harvest(release, host / "upper") for host in folder.iterdir())
        if new:
            self._say(f"kept {new} downloaded packages for the next lab")
