"""`failoverctl lab`: real Debian hosts on this machine, and ways to break them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ipaddress import IPv4Network

    from failoverctl.lab import Lab, LabStatus


@click.group(name="lab")
@click.option("--name", default="failover", show_default=True, help="Which lab.")
@click.pass_context
def lab(context: click.Context, name: str) -> None:
    """Real Debian hosts on this machine, to learn on and to break.

    The hosts run under systemd-nspawn with their own init, addresses and disks. Everything is kept
    below /var/lib/failoverctl-lab. All commands need root.
    """
    context.obj = name


@lab.command()
@click.option("--layout", help="Which hosts: small (default), drill, pair, single or static (without a database).")
@click.option("--release", help="Of Debian: trixie (default) or bookworm.")
@click.option("--network", help="Address range of the lab.  [default: 198.51.100.0/26]")
@click.pass_obj
def up(name: str, layout: str | None, release: str | None, network: str | None) -> None:
    """Bring the lab up, or finish bringing it up.

    The first time a release is used its base is built, which needs the package mirror.
    """
    found = _open(name)
    found.up(layout, release=release, network=_network(network))
    _show(found.status())


@lab.command()
@click.pass_obj
def down(name: str) -> None:
    """Remove the lab: hosts, their disks, network, everything but the shared package cache."""
    _open(name).down()
    _say(f"lab {name} is down")


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def status(name: str, as_json: bool) -> None:
    """Show hosts, addresses, power, freezes and cuts."""
    found = _open(name).status()
    if as_json:
        click.echo(json.dumps({"schema": 1, **asdict(found)}, indent=2))
    else:
        _show(found)


@lab.command()
@click.argument("host")
@click.pass_obj
def shell(name: str, host: str) -> None:
    """Open a root shell on HOST, over no network."""
    argv = _open(name).command(host, ["bash", "--login"], terminal=True)
    sys.exit(subprocess.run(argv, check=False).returncode)


@lab.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND as root on HOST, over no network: exec www1 -- ip address."""
    argv = _open(name).command(host, command)
    sys.exit(subprocess.run(argv, check=False).returncode)


@lab.command(name="power-off")
@click.argument("host")
@click.pass_obj
def power_off(name: str, host: str) -> None:
    """Cut the power of HOST; unsynced writes are not lost, though."""
    _open(name).power_off(host)
    _say(f"{host} is off")


@lab.command(name="power-on")
@click.argument("host")
@click.pass_obj
def power_on(name: str, host: str) -> None:
    """Switch HOST on with the disk it had."""
    _open(name).power_on(host)
    _say(f"{host} is on")


@lab.command()
@click.argument("a")
@click.argument("b", required=False)
@click.option("--one-way", is_flag=True, help="Drop only what A sends to B.")
@click.pass_obj
def cut(name: str, a: str, b: str | None, one_way: bool) -> None:
    """Drop all frames between A and B, or between A and everything else."""
    _say(f"cut {_open(name).cut(a, b, one_way=one_way)}")


@lab.command()
@click.pass_obj
def heal(name: str) -> None:
    """Undo all cuts."""
    _open(name).heal()
    _say("no cuts")


@lab.command()
@click.argument("host")
@click.pass_obj
def freeze(name: str, host: str) -> None:
    """Stop all processes of HOST where they are."""
    _open(name).freeze(host)
    _say(f"{host} is frozen")


@lab.command()
@click.argument("host")
@click.pass_obj
def thaw(name: str, host: str) -> None:
    """Let the processes of HOST go on."""
    _open(name).thaw(host)
    _say(f"{host} runs")


@lab.command()
@click.pass_obj
def inventory(name: str) -> None:
    """Print an inventory of the lab, ready to use."""
    click.echo(_open(name).inventory(), nl=False)


def _open(name: str) -> Lab:
    from failoverctl.lab import Lab

    return Lab.open(name, say=_say)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _network(text: str | None) -> IPv4Network | None:
    from ipaddress import IPv4Network

    if text is None:
        return None
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}", param_hint="--network") from error


def _show(status: LabStatus) -> None:
    click.echo(
        f"lab {status.name}: {status.layout}, Debian {status.release}, {status.network}, "
        f"this machine is {status.gateway}"
    )
    width = max(len(host.name) for host in status.hosts)
    for host in status.hosts:
        state = "off" if not host.on else "frozen" if host.frozen else "on"
        note = "" if host.ready or state != "on" else "  (sshd does not answer)"
        click.echo(f"  {host.name:<{width}}  {host.address:<15}  {state}{note}")
    for each in status.cuts:
        click.echo(f"  cut: {each}")
