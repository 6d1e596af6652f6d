# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which statements turn the databases, tables and accounts that are there into the wanted ones.

PRIVATE to the collection. Nothing is ever dropped or revoked. Account attributes are those of ``mysql.global_priv``
(MariaDB Server Documentation, "mysql.global_priv Table").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: ``ssl_type`` of mysql.global_priv for REQUIRE X509.
_X509 = 2
_GRANT = re.compile(r"^GRANT (?P<privileges>.+?) ON (?P<scope>\S+) TO ")


@dataclass(frozen=True)
class Account:
    """One account at one host pattern. Without a password it must show a certificate of the server's CA."""

    name: str
    host: str
    password: str | None
    grants: tuple[tuple[str, frozenset[str]], ...] = ()

    @property
    def label(self) -> str:
        """``name@host``, for people."""
        return f"{self.name}@{self.host}"


@dataclass(frozen=True)
class Actual:
    """What is there: databases, tables as ``database.table``, and per account its attributes and grants."""

    databases: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    accounts: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    grants: Mapping[tuple[str, str], Mapping[str, frozenset[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """One statement with its arguments, and what it does in words that hold no secret."""

    sql: str
    arguments: tuple[str, ...]
    says: str


def native_hash(password: str) -> str:
    """The hash of ``mysql_native_password``: ``*`` and the hex of SHA1(SHA1(password))."""
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def quoted(name: str) -> str:
    """An identifier in backticks."""
    return "`" + name.replace("`", "``") + "`"


def scope(text: str) -> str:
    """``db.*`` or ``db.table`` as MariaDB prints it in SHOW GRANTS.

    In a grant on a whole database ``_`` stands for any character, so it is escaped: ``my_shop.*`` is not ``my1shop.*``.
    """
    database, table = text.split(".", 1)
    if table == "*" and database != "*":
        database = database.replace("_", "\\_")
    return ".".join(part if part == "*" else quoted(part) for part in (database, table))


def parse_grants(rows: list[str]) -> dict[str, frozenset[str]]:
    """Privileges by scope from the rows of SHOW GRANTS; roles and proxies are left out."""
    grants: dict[str, frozenset[str]] = {}
    for row in rows:
        match = _GRANT.match(row)
        if match:
            privileges = frozenset(word.strip() for word in match["privileges"].split(",")) - {"USAGE"}
            grants[match["scope"]] = grants.get(match["scope"], frozenset()) | privileges
    return grants


def plan(
    databases: list[str], tables: Mapping[str, str], accounts: list[Account], actual: Actual
) -> tuple[Statement, ...]:
    """The statements that are missing, in order. ``tables`` maps ``database.table`` to its column definitions."""
    statements = [
        Statement(f"CREATE DATABASE {quoted(name)} CHARACTER SET utf8mb4", (), f"database {name}")
        for name in databases
        if name not in actual.databases
    ]
    for name, columns in tables.items():
        if name not in actual.tables:
            statements.append(Statement(f"CREATE TABLE {scope(name)} ({columns})", (), f"table {name}"))
    for account in accounts:
        statements += _account(account, actual)
    return tuple(statements)


def _account(account: Account, actual: Actual) -> list[Statement]:
    key = (account.name, account.host)
    attributes = actual.accounts.get(key)
    wanted = native_hash(account.password) if account.password is not None else ""
    by_certificate = account.password is None
    statements = []
    if attributes is None or not _same(attributes, wanted, by_certificate=by_certificate):
        verb = "CREATE USER" if attributes is None else "ALTER USER"
        require = "REQUIRE X509" if by_certificate else "REQUIRE NONE"
        arguments: tuple[str, ...] = key
        sql = f"{verb} %s@%s {require}"
        if wanted:
            arguments = (*key, wanted)
            sql = f"{verb} %s@%s IDENTIFIED BY PASSWORD %s {require}"
        statements.append(Statement(sql, arguments, f"account {account.label}"))
    present = actual.grants.get(key, {})
    for on, privileges in account.grants:
        if not privileges <= present.get(scope(on), frozenset()):
            words = ", ".join(sorted(privileges))
            statements.append(
                Statement(f"GRANT {words} ON {scope(on)} TO %s@%s", key, f"{words} on {on} for {account.label}")
            )
    return statements


def _same(attributes: Mapping[str, Any], wanted: str, *, by_certificate: bool) -> bool:
    same_secret = str(attributes.get("authentication_string", "")) == wanted
    return same_secret and (int(attributes.get("ssl_type", 0)) == _X509) == by_certificate
