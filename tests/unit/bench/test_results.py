"""The results file: what goes in comes out, and what is none is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import results
from bench.results import Move, Part, Results, ResultsError, Seen, Timing

_SECONDS = st.floats(0, 1e4, allow_nan=False)
_COUNT = st.integers(0, 10**6)
_TEXT = st.text(max_size=20)
_SEEN = st.builds(Seen, _SECONDS, _SECONDS, _COUNT, _COUNT, _COUNT, _COUNT, _COUNT, st.none() | _COUNT)
_MOVES = st.builds(
    Move,
    number=_COUNT,
    at=_TEXT,
    source=_TEXT,
    target=_TEXT,
    seconds=_SECONDS,
    verdict=_TEXT,
    reasons=st.lists(_TEXT, max_size=2).map(tuple),
    writes=st.none() | _SEEN,
    http=st.none() | _SEEN,
    error=st.none() | _TEXT,
    detail=st.dictionaries(_TEXT, _SECONDS, max_size=2),
)
_TIMINGS = st.builds(Timing, _COUNT, _TEXT, _SECONDS, _SECONDS, st.none() | _COUNT, st.none() | _TEXT)
_PARTS = st.builds(
    Part,
    name=_TEXT,
    commit=_TEXT,
    started_at=_TEXT,
    finished_at=_TEXT,
    load=st.tuples(_SECONDS, _SECONDS),
    settings=st.dictionaries(_TEXT, _TEXT, max_size=2),
    versions=st.dictionaries(_TEXT, _TEXT, max_size=2),
    moves=st.lists(_MOVES, max_size=2).map(tuple),
    timings=st.lists(_TIMINGS, max_size=2).map(tuple),
)


@given(st.lists(_PARTS, max_size=3))
def test_a_file_says_what_was_written(parts: list[Part]) -> None:
    found = Results(machine={"cpus": 2})
    for part in parts:
        found = found.with_part(part)
    assert results.parse(json.loads(json.dumps(results.as_document(found)))) == found


def test_a_part_replaces_the_one_of_its_name() -> None:
    first = Part("status", "a", "", "", (0.0, 0.0))
    second = Part("status", "b", "", "", (0.0, 0.0))
    assert Results({}).with_part(first).with_part(second).parts == {"status": second}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "machine": {}, "parts": {"a": {}}}']
)
def test_what_is_no_results_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ResultsError, match=r"results\.json"):
        results.read(path)
