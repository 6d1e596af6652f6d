#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``mariadb_objects``: databases, tables and accounts in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mariadb_objects
short_description: Creates databases, tables and accounts in one call
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Creates what is missing in the MariaDB of the host it runs on, over its unix socket as root. Replication brings it
    to the other hosts, so it must run on the primary.
  - Nothing is dropped and no privilege is revoked.
options:
  databases:
    description: Names of databases.
    type: list
    elements: str
    default: []
  tables:
    description: Column definitions by C(database.table).
    type: dict
    default: {}
  accounts:
    description: The accounts.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: User name.
        type: str
        required: true
      hosts:
        description: Host patterns it may come from.
        type: list
        elements: str
        required: true
      password:
        description: Its password. Without one it must show a client certificate of the server's CA.
        type: str
      grants:
        description: Privileges by scope, such as C(db.*).
        type: dict
        default: {}
  unix_socket:
    description: The server's socket.
    type: path
    default: /run/mysqld/mysqld.sock
attributes:
  check_mode:
    description: Reports what is missing. On a host where MariaDB does not answer yet, that is everything.
    support: full
  diff_mode:
    description: Lists what is created, without secrets.
    support: full
  idempotent:
    description: A second call changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Provide the database of a site
  hosting.failover.mariadb_objects:
    databases: [guestbook]
    accounts:
      - name: guestbook
        hosts: [198.51.100.11]
        password: "{{ guestbook_password }}"
        grants: {guestbook.*: [ALL PRIVILEGES]}
"""

RETURN = r"""
created:
  description: What was created or altered, without secrets.
  returned: always
  type: list
  elements: str
  sample: [database guestbook, account guestbook@198.51.100.11]
"""

import json
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.hosting.failover.plugins.module_utils import _mariadb_objects as objects

try:
    import pymysql

    HAS_PYMYSQL = True
except ImportError:
    HAS_PYMYSQL = False


def wanted_accounts(raw: list[dict[str, t.Any]]) -> list[objects.Account]:
    """One :class:`Account` for each account and host pattern."""
    return [
        objects.Account(
            name=item["name"],
            host=host,
            password=item["password"],
            grants=tuple((scope, frozenset(words)) for scope, words in item["grants"].items()),
        )
        for item in raw
        for host in item["hosts"]
    ]


def read(cursor: t.Any, accounts: list[objects.Account]) -> objects.Actual:
    """What the server has of the wanted things."""
    cursor.execute("SELECT schema_name FROM information_schema.schemata")
    databases = frozenset(row[0] for row in cursor.fetchall())
    cursor.execute("SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables")
    tables = frozenset(row[0] for row in cursor.fetchall())
    present: dict[tuple[str, str], dict[str, t.Any]] = {}
    grants: dict[tuple[str, str], dict[str, frozenset[str]]] = {}
    for account in accounts:
        key = (account.name, account.host)
        cursor.execute("SELECT Priv FROM mysql.global_priv WHERE User=%s AND Host=%s", key)
        row = cursor.fetchone()
        if row:
            present[key] = json.loads(row[0])
            cursor.execute("SHOW GRANTS FOR %s@%s", key)
            grants[key] = objects.parse_grants([line[0] for line in cursor.fetchall()])
    return objects.Actual(databases=databases, tables=tables, accounts=present, grants=grants)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "databases": {"type": "list", "elements": "str", "default": []},
            "tables": {"type": "dict", "default": {}},
            "accounts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "hosts": {"type": "list", "elements": "str", "required": True},
                    "password": {"type": "str", "no_log": True},
                    "grants": {"type": "dict", "default": {}},
                },
            },
            "unix_socket": {"type": "path", "default": "/run/mysqld/mysqld.sock"},
        },
        supports_check_mode=True,
    )
    want = module.params
    accounts = wanted_accounts(want["accounts"])
    actual = objects.Actual()
    connection = None
    if HAS_PYMYSQL:
        try:
            connection = pymysql.connect(
                unix_socket=want["unix_socket"], user="root", autocommit=True, connect_timeout=5, read_timeout=30
            )
            actual = read(connection.cursor(), accounts)
        except pymysql.Error as error:
            if not module.check_mode:
                module.fail_json(msg=f"MariaDB does not answer on {want['unix_socket']}: {error}")
    elif not module.check_mode:
        module.fail_json(msg=missing_required_lib("pymysql"))
    statements = objects.plan(want["databases"], want["tables"], accounts, actual)
    created = [statement.says for statement in statements]
    if connection is not None and not module.check_mode:
        for statement in statements:
            try:
                connection.cursor().execute(statement.sql, statement.arguments)
            except pymysql.Error as error:
                module.fail_json(msg=f"MariaDB refused {statement.says}: {error}")
    diff = {"before": "", "after": "".join(f"{line}\n" for line in created)} if created else {}
    module.exit_json(changed=bool(created), created=created, diff=diff)


if __name__ == "__main__":
    main()
