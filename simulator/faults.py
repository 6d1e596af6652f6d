# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the words of a schedule do to a world, and how each is undone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from failover_agent import failover, gates, switchover
from failover_agent.agent import Agent, CommandError

from simulator.network import ALL
from simulator.schedule import Event
from simulator.world import Fault, Machine, World

Undo = Callable[[], object]
DAEMON_RESTART_SECONDS = 2.0


def apply(world: World, event: Event) -> None:
    """Let a fault begin; with ``seconds`` it ends by itself."""
    undo = _WORDS[event.word](world, event)
    seconds = event.number("seconds")
    if undo is not None and seconds:
        world.kernel.after(seconds, undo)


def words() -> tuple[str, ...]:
    """All that a schedule can say."""
    return tuple(_WORDS)


def _machine(world: World, event: Event) -> Machine:
    return world.machines[event.get("host")]


def _kill_process(world: World, event: Event) -> Undo | None:
    match event.get("process"):
        case "mariadbd":
            _machine(world, event).server.kill()
        case "failover-agent":
            world.agent_died(_machine(world, event))
        case "failover-guard":
            machine = _machine(world, event)
            if machine.guard_process is not None:
                machine.guard_process.kill()
                world.kernel.after(1.0, world.start_guard, machine)
        case "keepalived":
            machine = _machine(world, event)
            machine.keepalived = False
            world.move_address()

            def restart() -> None:
                machine.keepalived = True
                world.move_address()

            world.kernel.after(DAEMON_RESTART_SECONDS, restart)
        case "etcd":
            member = world.cluster.members[event.get("host")]
            member.up = False
            world.topology_changed()
            return lambda: _set_member(world, event.get("host"), up=True)
    return None


def _set_member(world: World, host: str, *, up: bool | None = None, frozen: bool | None = None) -> None:
    member = world.cluster.members[host]
    if up is not None and world.host_up(host):
        member.up = up
    if frozen is not None:
        member.frozen = frozen and member.up
    world.topology_changed()


def _freeze_process(world: World, event: Event) -> Undo | None:
    host = event.get("host")
    match event.get("process"):
        case "mariadbd":
            server = _machine(world, event).server
            server.freeze()
            return lambda: None if world.machines[host].frozen else server.thaw()
        case "failover-agent":
            world.freeze(host)
            return lambda: world.thaw(host)
        case "failover-guard":
            process = world.machines[host].guard_process
            if process is not None:
                process.freeze()
                return lambda: world.thaw_guard(host)
        case "etcd":
            _set_member(world, host, frozen=True)
            return lambda: None if not world.host_up(host) else _set_member(world, host, frozen=False)
    return None


def _power_off(world: World, event: Event) -> Undo:
    host = event.get("host")
    world.power_off(host)
    return lambda: world.power_on(host)


def _freeze_host(world: World, event: Event) -> Undo:
    host = event.get("host")
    world.freeze_host(host)
    return lambda: world.thaw_host(host)


def _links(world: World, event: Event) -> Iterator[tuple[str, str, str]]:
    source, target, service = event.get("from"), event.get("to"), event.get("ports") or ALL
    known = dict.fromkeys((*world.machines, *world.cluster.members))
    targets = [name for name in known if name != source] if target in {"all", "etcd"} else [target]
    if target == "etcd":
        targets, service = [name for name in world.cluster.members if name != source], "etcd"
    for name in targets:
        yield source, name, service
        if not event.get("one_way"):
            yield name, source, service


def _cut(world: World, event: Event) -> Undo:
    links = list(_links(world, event))
    world.network.blocked.update(links)
    world.topology_changed()

    def heal() -> None:
        world.network.blocked.difference_update(links)
        world.topology_changed()

    return heal


def _flap_link(world: World, event: Event) -> None:
    at = 0.0
    for _number in range(int(event.number("times", 2))):
        cut = Event(0.0, "cut", (*event.options, ("seconds", event.get("off"))))
        world.kernel.after(at, apply, world, cut)
        at += event.number("off") + event.number("on")


def _slow_link(world: World, event: Event) -> Undo:
    host = event.get("host")
    world.network.slow[host] = event.number("delay_ms") / 1000.0, event.number("loss_percent") / 100.0
    return lambda: world.network.slow.pop(host, None)


def _block_vrrp(world: World, _event: Event) -> Undo:
    world.vrrp_blocked = True
    world.move_address()

    def heal() -> None:
        world.vrrp_blocked = False
        world.move_address()

    return heal


def _fill_disk(world: World, event: Event) -> Undo:
    machine = _machine(world, event)
    machine.disk_full, machine.disk_free_fraction = True, 0.0

    def free() -> None:
        machine.disk_full, machine.disk_free_fraction = False, 0.5
        machine.server.space_freed()
        world.topology_changed()

    return free


def _step_clock(world: World, event: Event) -> None:
    machine = _machine(world, event)
    machine.wall_offset += event.number("by")
    if machine.process is not None:
        machine.process.wall_offset = machine.wall_offset


def _lag(world: World, event: Event) -> Undo:
    server = _machine(world, event).server
    server.apply_paused = True
    return lambda: setattr(server, "apply_paused", False)


def _strike(world: World, event: Event) -> None:
    world.plan(
        event.get("host"), event.get("operation").replace("+", " "), Fault[event.get("how")], int(event.number("skip"))
    )


def _switch_over(world: World, event: Event) -> None:
    """A person asks the primary of the moment for a planned switchover."""
    term = world.etcd.stored().term
    machine = world.machines.get(term.primary) if term else None
    if machine is not None and machine.agent is not None and machine.process is not None:
        agent = machine.agent
        request = gates.Request(event.get("to"), f"run-{event.at}")
        world.kernel.spawn(machine.process, lambda: switchover.Switchover(agent, request, check=False).run())


def _fail_over(world: World, event: Event) -> None:
    """A person asks a host for a failover, accepting no loss."""
    machine = _machine(world, event)
    if machine.agent is not None and machine.process is not None:
        agent = machine.agent
        request = failover.Request(f"run-{event.at}", event.get("to"))
        world.kernel.spawn(machine.process, lambda: failover.Failover(agent, request).run())


def _write_on_replica(world: World, event: Event) -> None:
    _machine(world, event).server.write_by_hand()


def _pause(world: World, event: Event) -> None:
    _command(world, event, lambda agent: agent.pause("anna", "a test", event.number("seconds", 10.0)))


def _resume_automation(world: World, event: Event) -> None:
    _command(world, event, lambda agent: agent.resume("anna"))


def _command(world: World, event: Event, command: Callable[[Agent], object]) -> None:
    machine = _machine(world, event)
    agent = machine.agent

    def carry_out() -> None:
        assert agent is not None
        with contextlib.suppress(CommandError):
            command(agent)

    if machine.process is not None:
        world.kernel.spawn(machine.process, carry_out)


_WORDS: dict[str, Callable[[World, Event], Undo | None]] = {
    "kill_process": _kill_process,
    "freeze_process": _freeze_process,
    "power_off": _power_off,
    "freeze_host": _freeze_host,
    "cut": _cut,
    "flap_link": _flap_link,
    "slow_link": _slow_link,
    "block_vrrp": _block_vrrp,
    "fill_disk": _fill_disk,
    "step_clock": _step_clock,
    "lag": _lag,
    "strike": _strike,
    "switch_over": _switch_over,
    "fail_over": _fail_over,
    "write_on_replica": _write_on_replica,
    "pause": _pause,
    "resume_automation": _resume_automation,
}
