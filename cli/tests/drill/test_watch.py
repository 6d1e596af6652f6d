"""What is seen while a drill goes on."""

from __future__ import annotations

import json
import time
from pathlib import Path

from failoverctl.drill.watch import Tail, Watcher
from failoverctl.health import HostReport

from .story import ESTATE, healthy, status


def test_what_changed_is_written_once(tmp_path: Path) -> None:
    answers = [healthy(), healthy(), (status("primary", "www1"), HostReport("www2", error="off", reached=False))]
    watcher = Watcher(ESTATE, lambda: answers.pop(0), tmp_path / "world.jsonl")
    assert watcher.health is None
    for _ in range(3):
        before = time.monotonic()
        watcher.look()
        assert watcher.looked >= before
    lines = [json.loads(line) for line in (tmp_path / "world.jsonl").read_text().splitlines()]
    assert [line["verdict"] for line in lines] == ["healthy", "degraded"]
    assert [problem["code"] for problem in lines[1]["problems"]] == ["host_unreachable"]
    assert watcher.codes == {"host_unreachable"}
    assert watcher.health is not None
    assert watcher.health.primary == "www1"


def test_rows_that_were_saved_count_once_they_are_new(tmp_path: Path) -> None:
    """An agent may have mended it before anybody asks what is wrong; what an earlier run left proves nothing."""
    old, new = ({"transactions": count, "at": "", "sql": f"/saved/{count}"} for count in (1, 2))
    answers = [
        (status("primary", "www1"), status("replica", "www2", divergent=saved)) for saved in ([old], [old], [old, new])
    ]
    watcher = Watcher(ESTATE, lambda: answers.pop(0), tmp_path / "world.jsonl")
    watcher.look()
    watcher.look()
    assert watcher.codes == frozenset()
    watcher.look()
    assert watcher.codes == {"divergent_saved"}


def test_it_looks_by_itself_and_an_error_does_not_end_it(tmp_path: Path) -> None:
    asked: list[int] = []

    def ask() -> tuple[HostReport, ...]:
        asked.append(1)
        if len(asked) == 1:
            raise OSError("no ssh")
        return healthy()

    watcher = Watcher(ESTATE, ask, tmp_path / "world.jsonl", every=0.01)
    watcher.start()
    deadline = time.monotonic() + 10
    while watcher.health is None and time.monotonic() < deadline:
        time.sleep(0.01)
    watcher.stop()
    assert watcher.health is not None
    assert len(asked) >= 2


def test_samples_are_read_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    tail = Tail(path)
    assert tail.read() == {}
    line = {"host": "www1", "at": 1.0, "done": 1.01, "role": "primary", "term": 3, "writable": True, "vips": ["site"]}
    text = json.dumps(line)
    path.write_text(text[:20])
    assert tail.read() == {}
    with path.open("a") as file:
        file.write(text[20:] + "\nnot json\n" + json.dumps({**line, "host": "www2", "role": None}) + "\n")
    found = tail.read()
    assert (found["www1"].role, found["www1"].vips, found["www2"].role) == ("primary", ("site",), None)
    with path.open("a") as file:
        file.write(json.dumps({**line, "at": 2.0, "term": 4}) + "\n")
    assert tail.read()["www1"].term == 4
