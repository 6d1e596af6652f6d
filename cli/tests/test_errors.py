"""The one error and the exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import failoverctl
from failoverctl.errors import ExitCode, FailoverctlError


def test_renders_in_the_reference_style() -> None:
    error = FailoverctlError(
        "switchover refused: replication lag on db-b1 is 42 s (limit 5 s).",
        why="a planned switchover must lose no writes (RPO 0).",
        fix="wait until `failoverctl status` shows a lag of at most 5 s.",
        docs="docs/howto/switchover.md#gates",
        exit_code=ExitCode.REFUSED,
    )
    assert error.render() == (
        "Error: switchover refused: replication lag on db-b1 is 42 s (limit 5 s).\n"
        "  Why: a planned switchover must lose no writes (RPO 0).\n"
        "  Fix: wait until `failoverctl status` shows a lag of at most 5 s.\n"
        "  Docs: docs/howto/switchover.md#gates  (exit 3)"
    )


def test_several_lines_are_indented() -> None:
    assert FailoverctlError("two things:\na\nb").render() == "Error: two things:\n  a\n  b  (exit 1)"


def test_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "REFUSED": 3,
        "UNREACHABLE": 4,
        "DEGRADED": 5,
        "LOCKED": 6,
        "TIMED_OUT": 7,
        "BUG": 70,
        "INTERRUPTED": 130,
    }
    assert all(code.meaning for code in ExitCode)


def test_every_page_that_an_error_names_is_there() -> None:
    package = Path(failoverctl.__file__).parent
    repository = package.parents[1]
    for path in package.rglob("*.py"):
        for page, anchor in re.findall(r"\"(docs/[^\"#{]+\.md)(?:#([^\"]+))?\"", path.read_text()):
            text = (repository / page).read_text()
            headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.+)$", text)}
            assert not anchor or anchor in headings, f"{path.name}: {page}#{anchor}"
