"""`failoverctl init`: write a commented inventory to begin with."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from failoverctl.commands.app import App, app_of, common_options, out, talk
from failoverctl.errors import ExitCode, FailoverctlError

if TYPE_CHECKING:
    from failoverctl.config import Settings


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME[=ADDRESS]",
    help="A web and data host; give it twice. Without any, examples are written.",
)
@click.option("--witness", default="", metavar="NAME[=ADDRESS]", help="The host that only votes.")
@click.option("--backup", default="", metavar="NAME[=ADDRESS]", help="The host that keeps backups.")
@click.option("--vip", default="", metavar="ADDRESS", help="The virtual IP of the site.")
@click.option(
    "--engine",
    type=click.Choice(["mariadb", "none"]),
    default="mariadb",
    show_default=True,
    help="What the primary is primary of; with none only VIPs and units follow it.",
)
@click.option("--estate", default="", metavar="NAME", help="Name of the estate; by default the folder's.")
@click.option("--domain", default="www.example.org", show_default=True, help="Of the first site.")
@click.option("--user", default="root", show_default=True, help="Account on the hosts.")
@common_options
@click.pass_context
def init(
    ctx: click.Context,
    folder: Path,
    hosts: tuple[str, ...],
    witness: str,
    backup: str,
    vip: str,
    engine: str,
    estate: str,
    domain: str,
    user: str,
) -> None:
    """Write a commented inventory and failover.yml into FOLDER (default: here).

    Nothing is overwritten. Passwords are made at random in group_vars/all/vault.yml, readable by
    you alone; with --vault-id that file is encrypted at once.
    """
    from failoverctl import scaffold

    app = app_of(ctx)
    given = dict(_host(text) for text in hosts)
    wish = scaffold.Wish(
        estate=estate or _estate_name(folder),
        hosts=given or scaffold.PLACEHOLDER_HOSTS,
        witness=_host(witness) if witness else (None if given else scaffold.PLACEHOLDER_WITNESS),
        backup=_host(backup) if backup else (None if given else scaffold.PLACEHOLDER_BACKUP),
        vip=_address(vip) if vip else scaffold.PLACEHOLDER_VIP,
        domain=domain,
        user=user,
        client=_own_address(next(iter(given.values()))) if given else "",
        engine=engine,
    )
    written = scaffold.write(folder, scaffold.files(wish))
    secrets = [path for path in written if path.name == "vault.yml"]
    if app.vault_ids and secrets:
        _encrypt(app, secrets[0])
    for path in written:
        out(str(path))
    _advise(app, wish.vip == scaffold.PLACEHOLDER_VIP, not given, wish.witness is None, bool(secrets))


def _advise(app: App, placeholder_vip: bool, placeholder_hosts: bool, no_witness: bool, secrets: bool) -> None:
    if placeholder_hosts:
        talk("Hosts and addresses are examples: put in your own.")
    elif placeholder_vip:
        talk("The virtual IP in vips.yml is an example: put in your own.")
    if no_witness:
        talk("There is no witness: add one to failover_witness, or two data hosts have no majority.")
    if secrets and not app.vault_ids:
        talk("vault.yml holds passwords in clear text: encrypt it with ansible-vault before you share it.")
    talk("Next: failoverctl check")


def _host(text: str) -> tuple[str, str]:
    from failoverctl.scaffold import parse_host

    try:
        return parse_host(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}") from error


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _own_address(towards: str) -> str:
    """The address of this machine that a host at `towards` sees; empty when that is not known.

    Connecting a datagram socket asks the routing table and sends nothing (udp(7)).
    """
    if not towards:
        return ""
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((towards, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _estate_name(folder: Path) -> str:
    """The folder's name, as far as it is a name an estate may have."""
    name = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in folder.resolve().name.lower())
    name = name.strip("-")[:31]
    return name if name[:1].isalpha() else "shop"


def _encrypt(app: App, path: Path) -> None:
    from failoverctl.runner import utf8_locale

    settings: Settings = app.settings()
    vault_id = settings.vault_ids.value[0]
    command = [str(Path(sys.executable).parent / "ansible-vault"), "encrypt", "--vault-id", vault_id, str(path)]
    environment = {**os.environ, **utf8_locale(os.environ)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise FailoverctlError(
            f"{path} was written, but could not be encrypted:\n{done.stderr.strip()}",
            fix=f"encrypt it by hand: ansible-vault encrypt --vault-id {vault_id} {path}",
            exit_code=ExitCode.USAGE,
        )
