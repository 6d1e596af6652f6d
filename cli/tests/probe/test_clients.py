"""The real clients against servers that fail on purpose."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from failoverctl.probe.clients import HttpClient, MysqlWriter, read_rows, remove_old_rows
from failoverctl.probe.fake import (
    ADDRESS,
    FakeDatabase,
    FakeHttp,
    FakeMysql,
    FakeServer,
    Page,
    Servers,
    Window,
    WindowKind,
    text_page,
)
from failoverctl.probe.model import HttpTarget, Reader, Row, WriteTarget


@contextmanager
def mysql(database: FakeDatabase, *windows: Window) -> Iterator[tuple[FakeMysql, WriteTarget]]:
    server = FakeMysql(database, windows)
    with Servers([server]):
        yield server, WriteTarget(ADDRESS, server.port, "failover_probe", "secret", "failover_probe")


def now(kind: WindowKind, seconds: float = 5.0, after: float = 0.0) -> Window:
    return Window(time.monotonic() + after, seconds, kind)


def soon(seconds: float = 0.5) -> float:
    return time.monotonic() + seconds


def test_rows_are_written_once_and_read_back() -> None:
    database = FakeDatabase("www1")
    with mysql(database) as (server, target):
        writer = MysqlWriter(target, "run")
        replies = [writer.write(3, seq, soon()) for seq in range(3)]
        writer.close()
        rows = read_rows(Reader("www1", ADDRESS, server.port), target, "run", 1.0)
    assert [(reply.outcome, reply.server) for reply in replies] == [("ok", "www1")] * 3
    assert rows == (Row(3, 0, "www1"), Row(3, 1, "www1"), Row(3, 2, "www1"))


def test_old_rows_are_removed_where_that_is_possible() -> None:
    with mysql(FakeDatabase("www1")) as (_, target):
        assert remove_old_rows(target, 0.5)
    assert not remove_old_rows(target, 0.2)


def test_a_quiet_writer_keeps_one_connection() -> None:
    with mysql(FakeDatabase("www1")) as (server, target):
        writer = MysqlWriter(target, "run")
        for seq in range(5):
            writer.write(0, seq, soon())
        assert len(server._open) == 1
        writer.close()


def test_read_only_is_a_definite_failure_and_the_next_write_reconnects() -> None:
    database = FakeDatabase("www1")
    with mysql(database) as (_, target):
        writer = MysqlWriter(target, "run")
        assert writer.write(0, 0, soon()).outcome == "ok"
        database.read_only = True
        reply = writer.write(0, 1, soon())
        assert (reply.outcome, reply.error) == (
            "fail",
            "writing: 1290 The MariaDB server is running with the --read-only option",
        )
        database.read_only = False
        assert writer.write(0, 2, soon()).outcome == "ok"
        writer.close()
    assert [row.seq for row in database.rows["run"]] == [0, 2]


def test_a_refused_connection_is_a_definite_failure() -> None:
    with mysql(FakeDatabase("www1"), now("refuse")) as (_, target):
        time.sleep(0.1)
        reply = MysqlWriter(target, "run").write(0, 0, soon())
    assert (reply.outcome, reply.error) == ("fail", "connecting: connection refused")


def test_silence_while_connecting_is_a_definite_failure_at_the_deadline() -> None:
    with mysql(FakeDatabase("www1"), now("silent")) as (_, target):
        began = time.monotonic()
        reply = MysqlWriter(target, "run").write(0, 0, began + 0.4)
        took = time.monotonic() - began
    assert (reply.outcome, reply.error) == ("fail", "connecting: timed out")
    assert took == pytest.approx(0.4, abs=0.08)


def test_silence_after_the_statement_was_sent_is_unknown() -> None:
    with mysql(FakeDatabase("www1"), now("silent", after=0.3)) as (_, target):
        writer = MysqlWriter(target, "run")
        assert writer.write(0, 0, soon()).outcome == "ok"
        time.sleep(0.4)
        reply = writer.write(0, 1, soon(0.15))
    assert (reply.outcome, reply.error) == ("info", "writing: timed out")


def test_a_connection_lost_under_way_is_unknown() -> None:
    database = FakeDatabase("www1")
    stall = now("stall", 0.4, after=0.3)
    with mysql(database, stall, Window(stall.end - 0.1, 1.0, "refuse")) as (_, target):
        writer = MysqlWriter(target, "run")
        assert writer.write(0, 0, soon()).outcome == "ok"
        time.sleep(max(0.0, stall.start + 0.05 - time.monotonic()))
        reply = writer.write(0, 1, soon(1.0))
    assert (reply.outcome, reply.error) == ("info", "writing: connection reset")


def test_an_idle_connection_that_was_killed_is_replaced_before_it_is_used() -> None:
    refuse = now("refuse", 0.1, after=0.2)
    with mysql(FakeDatabase("www1"), refuse) as (_, target):
        writer = MysqlWriter(target, "run")
        assert writer.write(0, 0, soon()).outcome == "ok"
        time.sleep(max(0.0, refuse.end + 0.1 - time.monotonic()))
        assert writer.write(0, 1, soon()).outcome == "ok"
        writer.close()


def test_one_deadline_holds_for_all_calls_of_an_operation() -> None:
    """Connecting and logging in must not get a time-out each."""
    stall = now("stall", 0.3)
    with mysql(FakeDatabase("www1"), stall, Window(stall.end, 9.0, "silent")) as (_, target):
        began = time.monotonic()
        reply = MysqlWriter(target, "run").write(0, 0, began + 0.5)
        assert time.monotonic() - began == pytest.approx(0.5, abs=0.08)
    assert reply.outcome == "fail"


@contextmanager
def http(page: Page, *windows: Window) -> Iterator[HttpTarget]:
    server: FakeServer = FakeHttp(lambda _path: page, windows)
    with Servers([server]):
        yield HttpTarget(ADDRESS, server.port, "guestbook.example.org", "/")


def test_a_page_tells_who_served_it() -> None:
    with http(text_page("www2")) as target:
        reply = HttpClient(target).fetch(soon())
    assert (reply.outcome, reply.server, reply.error) == ("ok", "www2", None)


@pytest.mark.parametrize("status", [404, 500, 502, 503])
def test_an_error_status_is_a_failure(status: int) -> None:
    with http((status, {"X-Served-By": "www1"}, b"")) as target:
        reply = HttpClient(target).fetch(soon())
    assert (reply.outcome, reply.server, reply.error) == ("fail", "www1", f"status {status}")


@pytest.mark.parametrize(
    ("kind", "error"), [("silent", "timed out"), ("refuse", "connection refused"), ("stall", "timed out")]
)
def test_a_page_that_was_not_received_is_a_failure(kind: WindowKind, error: str) -> None:
    with http(text_page("www1"), now(kind)) as target:
        time.sleep(0.1)
        reply = HttpClient(target).fetch(soon(0.3))
    assert (reply.outcome, reply.error) == ("fail", error)


def test_a_body_that_ends_early_is_no_answer() -> None:
    # The fake sends its own length first; the later header wins in the parser.
    with http((200, {"Content-Length": "100"}, b"half")) as target:
        reply = HttpClient(target).fetch(soon())
    assert (reply.outcome, reply.error) == ("fail", "body ended after 4 of 100 bytes")
