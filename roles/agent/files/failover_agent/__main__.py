# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``failover-agent run`` is the daemon, ``failover-agent guard`` fences when that cannot.

``failover-agent ctl COMMAND`` talks to the daemon over its root-only socket.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import socket
import sys
import threading
from typing import Any

from failover_agent import __version__
from failover_agent.config import Config, ConfigError, load

_DEFAULT_CONFIG = "/etc/failover-agent/agent.json"
_DEFAULT_SOCKET = "/run/failover-agent/agent.sock"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when it worked, 1 when the agent said no, 2 for a wrong call or configuration."""
    parser = argparse.ArgumentParser(prog="failover-agent", description=__doc__)
    parser.add_argument("--version", action="version", version=f"failover-agent {__version__}")
    commands = parser.add_subparsers(dest="mode", required=True)
    daemon = commands.add_parser("run", help="run the daemon")
    daemon.add_argument("--config", default=_DEFAULT_CONFIG)
    daemon.add_argument("--check", action="store_true", help="read the configuration, then end")
    guard = commands.add_parser("guard", help="run the guard, which fences when the agent cannot")
    guard.add_argument("--config", default=_DEFAULT_CONFIG)
    ctl = commands.add_parser("ctl", help="send one command to the running daemon and print its JSON reply")
    ctl.add_argument("command", help="status, switchover, failover, rejoin, pause, ...")
    ctl.add_argument("fields", nargs="*", metavar="KEY=VALUE", help="fields of the command")
    ctl.add_argument("--socket", default=_DEFAULT_SOCKET)
    options = parser.parse_args(arguments)
    if options.mode == "ctl":
        return _ctl(options)
    try:
        config = load(options.config)
    except ConfigError as error:
        print(f"failover-agent: {error}", file=sys.stderr)
        return 2
    if options.mode == "guard":
        _guard(config)
    elif not options.check:
        from failover_agent.daemon import run

        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        run(config)
    return 0


def _guard(config: Config) -> None:
    from failover_agent.guard import run

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(config, stop)


def _ctl(options: argparse.Namespace) -> int:
    request: dict[str, Any] = {"command": options.command}
    for field in options.fields:
        key, _equals, value = field.partition("=")
        request[key] = {"true": True, "false": False}.get(value, value)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(options.socket)
            connection.sendall(json.dumps(request).encode() + b"\n")
            reply = json.loads(connection.makefile().read())
    except (OSError, ValueError) as error:
        print(
            f"failover-agent: {options.socket}: {error}; is failover-agent.service running?",
            file=sys.stderr,
        )
        return 1
    print(json.dumps(reply, indent=2))
    return 0 if reply.get("ok") else 1


if __name__ == "__main__":
    sys.exit(main())
