"""Hosts that hold other rows than each other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from failoverctl.drill.rows import COMMAND, Content, compare, parse, read
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12\t345\n", (12, 345)),
        ("0 0", (0, 0)),
        ("", (None, None)),
        ("ERROR 1146", (None, None)),
        ("1 2 3", (None, None)),
    ],
)
def test_an_answer_or_none(text: str, expected: tuple[int | None, int | None]) -> None:
    found = parse("www1", text)
    assert (found.rows, found.checksum) == expected


def test_what_is_the_same_and_what_is_not() -> None:
    one = Content("www1", 10, 7)
    assert compare([one, Content("www2", 10, 7)]).same is True
    assert compare([one, Content("www2", 9, 3)]).observed == "rows: 10 on www1, 9 on www2"
    assert compare([one, Content("www2", 10, 8)]).observed == "rows: 10 on www1, 10 on www2, and not the same"
    assert compare([one, Content("www2")]).same is None
    assert compare([]).same is True


NUMBERS = st.one_of(st.none(), st.integers(0, 3))


@given(st.lists(st.builds(Content, st.sampled_from(["www1", "www2", "www3"]), NUMBERS, NUMBERS), max_size=4))
def test_never_the_same_where_one_is_silent_or_other(contents: list[Content]) -> None:
    found = compare(contents)
    if any(content.rows is None for content in contents):
        assert found.same is None
    else:
        assert found.same == (len({(content.rows, content.checksum) for content in contents}) <= 1)


def test_a_replica_may_catch_up() -> None:
    now = [0.0]
    answers = {"www1": ["5 1", "5 1", "5 1"], "www2": ["3 9", "4 9", "5 1"]}

    def run(host: str, argv: Sequence[str]) -> str:
        assert argv == COMMAND
        return answers[host].pop(0)

    def pause(seconds: float) -> None:
        now[0] += seconds

    assert read(run, ["www1", "www2"], clock=lambda: now[0], pause=pause).same is True
    assert now[0] == 2.0


def test_the_time_is_over() -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    found = read(
        lambda host, _: "5 1" if host == "www1" else "4 1", ["www1", "www2"], clock=lambda: now[0], pause=pause
    )
    assert found.same is False
    assert 15.0 <= now[0] <= 17.0
