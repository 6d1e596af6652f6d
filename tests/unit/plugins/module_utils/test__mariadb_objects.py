# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which statements are missing; rows as MariaDB 10.11.19 printed them."""

from __future__ import annotations

import pytest
from ansible_collections.hosting.failover.plugins.module_utils._mariadb_objects import (
    Account,
    Actual,
    native_hash,
    parse_grants,
    plan,
    quoted,
    scope,
)
from hypothesis import given
from hypothesis import strategies as st

ALL = frozenset({"ALL PRIVILEGES"})
SHOP = Account("shop", "198.51.100.11", "secret", (("my_shop.*", ALL),))
REPLICATION = Account("failover_repl", "198.51.100.12", None, (("*.*", frozenset({"REPLICATION SLAVE"})),))
#: SHOW GRANTS.
ROWS = [
    "GRANT USAGE ON *.* TO `w`@`198.51.100.11` IDENTIFIED BY PASSWORD '*7583998AC3182C008692461960C4170A29E571A2'",
    r"GRANT ALL PRIVILEGES ON `my\_shop`.* TO `w`@`198.51.100.11`",
    "GRANT SELECT (`i`), INSERT ON `my_shop`.`t` TO `w`@`198.51.100.11`",
    "GRANT REPLICATION SLAVE ON *.* TO `w`@`198.51.100.11` REQUIRE X509",
    "GRANT `editors` TO `w`@`198.51.100.11`",
]
PRIV = {"plugin": "mysql_native_password", "authentication_string": "", "ssl_type": 0}


def sql(statements: object) -> list[str]:
    """Just the statements."""
    assert isinstance(statements, tuple)
    return [statement.sql for statement in statements]


def done(accounts: list[Account]) -> Actual:
    """What is there after the plan for ``accounts`` was carried out."""
    return Actual(
        accounts={
            (each.name, each.host): PRIV
            | {
                "authentication_string": native_hash(each.password) if each.password is not None else "",
                "ssl_type": 2 if each.password is None else 0,
            }
            for each in accounts
        },
        grants={(each.name, each.host): {scope(on): words for on, words in each.grants} for each in accounts},
    )


def test_the_hash_is_mariadbs() -> None:
    """SELECT PASSWORD('x') on 10.11.19."""
    assert native_hash("x") == "*B69027D44F6E5EDC07F1AEAD1477967B16F28227"


@given(st.text(min_size=1))
def test_a_quoted_name_ends_where_it_should(name: str) -> None:
    inner = quoted(name)[1:-1]
    assert inner.replace("``", "") == name.replace("`", "")
    assert inner.count("`") == 2 * name.count("`")


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("*.*", "*.*"),
        ("guestbook.*", "`guestbook`.*"),
        ("my_shop.*", r"`my\_shop`.*"),
        ("my_shop.my_table", "`my_shop`.`my_table`"),
        ("a.b.c", "`a`.`b.c`"),
    ],
)
def test_scopes_are_as_mariadb_prints_them(text: str, printed: str) -> None:
    """An underscore in a grant on a whole database would stand for any character."""
    assert scope(text) == printed


def test_grants_are_read_by_scope() -> None:
    assert parse_grants(ROWS) == {
        "*.*": {"REPLICATION SLAVE"},
        r"`my\_shop`.*": {"ALL PRIVILEGES"},
        "`my_shop`.`t`": {"SELECT (`i`)", "INSERT"},
    }


def test_on_an_empty_server_everything_is_missing_in_order() -> None:
    statements = plan(["my_shop"], {"probe.writes": "id INT PRIMARY KEY"}, [SHOP, REPLICATION], Actual())
    assert sql(statements) == [
        "CREATE DATABASE `my_shop` CHARACTER SET utf8mb4",
        "CREATE TABLE `probe`.`writes` (id INT PRIMARY KEY)",
        "CREATE USER %s@%s IDENTIFIED BY PASSWORD %s REQUIRE NONE",
        r"GRANT ALL PRIVILEGES ON `my\_shop`.* TO %s@%s",
        "CREATE USER %s@%s REQUIRE X509",
        "GRANT REPLICATION SLAVE ON *.* TO %s@%s",
    ]
    assert statements[2].arguments == ("shop", "198.51.100.11", native_hash("secret"))
    assert statements[4].arguments == ("failover_repl", "198.51.100.12")


def test_no_secret_is_said() -> None:
    statements = plan([], {}, [SHOP], Actual())
    assert [statement.says for statement in statements] == [
        "account shop@198.51.100.11",
        "ALL PRIVILEGES on my_shop.* for shop@198.51.100.11",
    ]
    assert not any("secret" in f"{each.sql} {each.arguments} {each.says}" for each in statements)


def test_a_second_run_does_nothing() -> None:
    actual = done([SHOP, REPLICATION])
    everything = Actual(
        databases=frozenset({"my_shop"}),
        tables=frozenset({"probe.writes"}),
        accounts=actual.accounts,
        grants=actual.grants,
    )
    assert plan(["my_shop"], {"probe.writes": "id INT"}, [SHOP, REPLICATION], everything) == ()


@pytest.mark.parametrize(
    ("before", "wanted", "statement"),
    [
        (
            Account("a", "h", "old"),
            Account("a", "h", "new"),
            "ALTER USER %s@%s IDENTIFIED BY PASSWORD %s REQUIRE NONE",
        ),
        (Account("a", "h", "old"), Account("a", "h", None), "ALTER USER %s@%s REQUIRE X509"),
        (Account("a", "h", None), Account("a", "h", "new"), "ALTER USER %s@%s IDENTIFIED BY PASSWORD %s REQUIRE NONE"),
        (
            Account("a", "h", "old"),
            Account("a", "other", "old"),
            "CREATE USER %s@%s IDENTIFIED BY PASSWORD %s REQUIRE NONE",
        ),
    ],
)
def test_an_account_that_is_otherwise_is_altered(before: Account, wanted: Account, statement: str) -> None:
    assert sql(plan([], {}, [wanted], done([before]))) == [statement]


def test_only_missing_privileges_are_granted_and_none_revoked() -> None:
    has = Account("a", "h", "p", (("db.*", frozenset({"SELECT", "INSERT", "DELETE"})),))
    wants = Account("a", "h", "p", (("db.*", frozenset({"SELECT"})),))
    assert plan([], {}, [wants], done([has])) == ()
    assert sql(plan([], {}, [has], done([wants]))) == ["GRANT DELETE, INSERT, SELECT ON `db`.* TO %s@%s"]
