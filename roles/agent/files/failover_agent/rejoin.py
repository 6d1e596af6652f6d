# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What becomes of MariaDB's data when things went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from failover_agent.config import Config
from failover_agent.mariadb import Connection, MariaDB
from failover_agent.model import Term


class Rejoin:
    """The way back of the local server."""

    def __init__(self, config: Config, database: MariaDB) -> None:
        self._config = config
        self._database = database

    def relay_pending(self) -> bool:
        """Whether the relay log holds whole transactions that are not applied."""
        return False

    def salvage(self, connection: Connection) -> str:
        """Apply everything that was received; the GTID position then reached."""
        raise NotImplementedError

    def fork(self, history: Sequence[Term], present: str) -> str:
        """Where this host's binary log leaves the estate's history."""
        raise NotImplementedError

    def save_divergent(self, fork: str) -> Any:
        """Write what this host holds beyond ``fork``; None when there is nothing."""
        raise NotImplementedError

    def saved(self) -> tuple[Any, ...]:
        """What was saved until now."""
        return ()

    def flashback(self, connection: Connection, saved: Any) -> None:
        """Undo the saved transactions and stand at the fork."""
        raise NotImplementedError
