# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module mariadb_objects, with a server that a test makes up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pymysql
import pytest
from ansible_collections.hosting.failover.plugins.module_utils._mariadb_objects import native_hash
from ansible_collections.hosting.failover.plugins.modules import mariadb_objects as module

Run = Callable[..., dict[str, Any]]
WANTED: dict[str, Any] = {
    "databases": ["my_shop"],
    "tables": {"probe.writes": "id INT PRIMARY KEY"},
    "accounts": [
        {"name": "shop", "hosts": ["h1", "h2"], "password": "secret", "grants": {"my_shop.*": ["ALL PRIVILEGES"]}},
        {"name": "repl", "hosts": ["h2"], "grants": {"*.*": ["REPLICATION SLAVE"]}},
    ],
}


class Server:
    """A MariaDB that remembers databases, tables, accounts and grants, and refuses what refuses matches."""

    def __init__(self) -> None:
        self.databases = {"mysql"}
        self.tables: set[str] = set()
        self.accounts: dict[tuple[str, str], dict[str, Any]] = {}
        self.grants: dict[tuple[str, str], list[str]] = {}
        self.sent: list[str] = []
        self.refuses = "nothing"
        self.rows: list[tuple[Any, ...]] = []

    def cursor(self) -> Server:
        return self

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> None:
        if re.search(self.refuses, sql):
            raise pymysql.OperationalError(1044, "Access denied")
        key = tuple(arguments[:2])
        if "schemata" in sql:
            self.rows = [(name,) for name in self.databases]
        elif "information_schema.tables" in sql:
            self.rows = [(name,) for name in self.tables]
        elif "global_priv" in sql:
            self.rows = [(json.dumps(self.accounts[key]),)] if key in self.accounts else []
        elif sql.startswith("SHOW GRANTS"):
            self.rows = [(row,) for row in self.grants.get(key, [])]
        else:
            self.sent.append(sql)
            self.change(sql, arguments)

    def change(self, sql: str, arguments: Sequence[Any]) -> None:
        key = (str(arguments[0]), str(arguments[1])) if arguments else ("", "")
        if sql.startswith("CREATE DATABASE"):
            self.databases.add(sql.split("`")[1])
        elif sql.startswith("CREATE TABLE"):
            self.tables.add(".".join(sql.split("`")[1:4:2]))
        elif sql.startswith("CREATE USER"):
            secret = arguments[2] if len(arguments) > 2 else ""
            self.accounts[key] = {"authentication_string": secret, "ssl_type": 2 if "X509" in sql else 0}
        elif sql.startswith("GRANT"):
            self.grants.setdefault(key, []).append(sql.replace("%s@%s", "`x`@`y`"))

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return self.rows[0] if self.rows else None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(pymysql, "connect", lambda **_options: made)
    return made


def test_everything_is_made_once(run_module: Run, server: Server) -> None:
    result = run_module(module, WANTED)
    assert result["changed"]
    assert result["created"] == [
        "database my_shop",
        "table probe.writes",
        "account shop@h1",
        "ALL PRIVILEGES on my_shop.* for shop@h1",
        "account shop@h2",
        "ALL PRIVILEGES on my_shop.* for shop@h2",
        "account repl@h2",
        "REPLICATION SLAVE on *.* for repl@h2",
    ]
    assert server.accounts["shop", "h1"]["authentication_string"] == native_hash("secret")
    again = run_module(module, WANTED)
    assert (again["changed"], again["created"], again["diff"]) == (False, [], {})


def test_no_secret_comes_back(run_module: Run, server: Server) -> None:
    assert server.sent == []
    result = run_module(module, WANTED)
    result.pop("invocation", None)
    assert "secret" not in json.dumps(result)
    assert native_hash("secret") not in json.dumps(result)


def test_check_mode_says_the_same_and_makes_nothing(run_module: Run, server: Server) -> None:
    checked = run_module(module, WANTED, check=True)
    assert server.sent == []
    assert checked["created"] == run_module(module, WANTED)["created"]
    assert checked["diff"]["after"].startswith("database my_shop\ntable probe.writes\n")


def test_a_refused_statement_is_named(run_module: Run, server: Server) -> None:
    server.refuses = "CREATE TABLE"
    result = run_module(module, WANTED)
    assert result["failed"]
    assert "MariaDB refused table probe.writes" in result["msg"]
    assert "Access denied" in result["msg"]


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server listens."""

    def refuse(**_options: Any) -> None:
        raise pymysql.OperationalError(2003, "Can't connect to MySQL server")

    monkeypatch.setattr(pymysql, "connect", refuse)


@pytest.mark.usefixtures("nobody")
def test_without_a_server_it_fails(run_module: Run) -> None:
    result = run_module(module, WANTED | {"unix_socket": "/run/none.sock"})
    assert result["failed"]
    assert "MariaDB does not answer on /run/none.sock" in result["msg"]


@pytest.mark.usefixtures("nobody")
def test_without_a_server_check_mode_expects_everything(run_module: Run) -> None:
    assert len(run_module(module, WANTED, check=True)["created"]) == 8


def test_without_the_library_it_says_what_is_missing(run_module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAS_PYMYSQL", False)
    assert "pymysql" in run_module(module, WANTED)["msg"]
    assert run_module(module, WANTED, check=True)["changed"]
