# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""failover-agent: follows one decision in etcd and makes this host's database, address and units agree with it.

Only the Python standard library and Debian's python3-pymysql are used; Python 3.11 and 3.13.

Reading order: :mod:`~failover_agent.model` (the words), :mod:`~failover_agent.decide` (the rules, pure),
:mod:`~failover_agent.gates` (when a switchover is refused, pure), :mod:`~failover_agent.agent` (applies actions),
:mod:`~failover_agent.switchover` (the planned switchover), then the adapters :mod:`~failover_agent.etcd`,
:mod:`~failover_agent.mariadb`, :mod:`~failover_agent.host`, :mod:`~failover_agent.peer`.
"""

from __future__ import annotations

__version__ = "0.1.0"
