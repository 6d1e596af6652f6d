"""The report: complete, well formed, self-contained, and the same every time."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from failoverctl import journal
from failoverctl.probe.checker import Objectives
from failoverctl.report import render_html, write_report
from failoverctl.report.charts import MAX_MARKS
from failoverctl.report.model import nice_ticks

Make = Callable[..., Path]
OBJECTIVES = Objectives(rto_seconds=30.0, rpo_seconds=0.0)
_VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Text and structure of a page; raises for tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> inside <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.words.append(data.strip())
            if self.open and self.open[-1] == "h2":
                self.headings.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)


def drawings(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg viewBox=\"0 0 1000.*?</svg>", html, re.S)]


def rects(svg: ElementTree.Element, kind: str) -> list[tuple[float, float]]:
    """Left edge and width of every rectangle of a class."""
    found = [r for r in svg.iter("rect") if kind in str(r.get("class")).split()]
    return [(float(str(r.get("x"))), float(str(r.get("width")))) for r in found]


@pytest.fixture
def passed(make_run: Make, story: Callable[..., Any], switchover: dict[str, Any]) -> Path:
    return make_run(
        story=story(),
        objectives=OBJECTIVES,
        switchover=switchover,
        following=["failoverctl switchover --to www1"],
    )


def test_a_measured_switchover_has_every_part(passed: Path) -> None:
    page = Page(render_html(passed))
    assert page.headings == [
        "Objectives",
        "The longest pause, close up",
        "Switchover, step by step",
        "What clients saw, and who was in charge",
        "What was done",
        "Clients in figures",
        "Acknowledged writes, read back",
        "Worth knowing",
        "Next",
        "Was the prober itself in order?",
        "What was run",
    ]
    for words in (
        "Switchover of lab: www1 to www2",
        "Pass",
        "writes paused 220 ms, 0 of 476 acknowledged writes lost",
        "HTTP outage 124 ms, 2 of 480 requests failed",
        "Time without writes (RTO)",
        "at most 30 s",
        "no host accepts writes: 94 ms",
        "88 ms, while writes go on",
        "Prove that the new primary has everything",
        "Term 3 ended and term 4 began.",
        "1290 The MariaDB server is running with the --read-only option",
        "1 of 1 writes of unknown outcome had been carried out",
        "failoverctl switchover --to www1",
        "hosting.failover.switchover",
        "9f2c4a71d0b8",
        "failoverctl switchover --to www2 --measure",
    ):
        assert words in page.text, words


def test_it_needs_nothing_from_elsewhere_and_runs_nothing(passed: Path) -> None:
    html = render_html(passed)
    page = Page(html)
    assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed"} == set()
    assert not any(name.startswith("on") or name in ("src", "href") for _, attrs in page.tags for name in attrs)
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_it_suits_dark_and_light_screens_and_paper(passed: Path) -> None:
    html = render_html(passed)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    style = html[html.index("<style>") : html.index("</style>")]
    used = set(re.findall(r"var\((--[a-z-]+)\)", style))
    for scheme in (style[: style.index("@media")], style[style.index("prefers-color-scheme") :]):
        assert used <= set(re.findall(r"(--[a-z-]+):", scheme))


def test_the_same_files_give_the_same_bytes(passed: Path) -> None:
    assert render_html(passed) == render_html(passed)
    path = write_report(passed)
    assert path == passed / "report.html"
    assert path.read_text(encoding="utf-8") == render_html(passed)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(passed.glob(".*.part"))


def test_the_outage_is_drawn_where_it_was(passed: Path) -> None:
    close_up, overview = drawings(render_html(passed))
    left, plot = 164.0, 1000.0 - 164.0 - 14.0
    outages = rects(overview, "outage")
    assert outages[0][0] == pytest.approx(left + plot * 11.4 / 24.0, abs=2.0)
    assert outages[0][1] == pytest.approx(max(2.0, plot * 0.2 / 24.0), abs=1.0)
    # Close up: 0.22 s in the middle of 0.92 s, as the sentence says.
    assert rects(close_up, "outage")[0][1] == pytest.approx(plot * 0.22 / 0.92, rel=0.02)
    texts = [text.text for text in close_up.iter("text")]
    assert "220 ms" in texts
    assert "0" in texts
    assert "writes" in texts


def test_bands_say_who_was_in_charge_when(passed: Path) -> None:
    _, overview = drawings(render_html(passed))
    texts = [text.text for text in overview.iter("text")]
    for name in ("primary", "writable", "holds site", "took writes", "served pages", "www1", "www2"):
        assert name in texts
    assert "witness" not in texts
    for kind in ("b-primary", "b-writable", "b-vip", "b-served"):
        whole = [r for r in rects(overview, kind) if r[1] > 100]
        assert len(whole) == (2 if kind != "b-served" else 4), kind
        first, second = sorted(whole)[0], sorted(whole)[-1]
        assert first[0] + first[1] <= second[0] + 1


def test_everything_in_a_drawing_stays_inside_it(passed: Path) -> None:
    for svg in drawings(render_html(passed)):
        width, height = (float(number) for number in str(svg.get("viewBox")).split()[2:])
        for rect in svg.iter("rect"):
            x, y, w, h = (float(str(rect.get(name))) for name in ("x", "y", "width", "height"))
            assert 0 <= x <= x + w <= width + 1
            assert 0 <= y <= y + h <= height
        for text in svg.iter("text"):
            assert 0 <= float(str(text.get("y"))) <= height


def test_a_huge_measurement_gives_a_small_picture(make_run: Make, story: Callable[..., Any]) -> None:
    folder = make_run(story=story(seconds=400.0, switch_at=200.0, writers=4, outage=3.0), objectives=OBJECTIVES)
    html = render_html(folder)
    assert len(html) < 250_000
    assert len(html) < 40 * MAX_MARKS
    page = Page(html)
    assert "writer 4" in page.text


def test_a_failed_run_names_its_reasons_and_the_rows(make_run: Make, story: Callable[..., Any]) -> None:
    folder = make_run(story=story(lost=4, outage=2.4, hung=3), objectives=Objectives(rto_seconds=1.0, rpo_seconds=0.0))
    html = render_html(folder)
    page = Page(html)
    assert 'class="verdict bad"' in html
    for words in (
        "Fail",
        "4 of 432 acknowledged writes lost",
        "4 acknowledged writes are lost",
        "writes not served for 2.42 s (objective 1 s)",
        "3 writes got no answer until the time-out",
        "missed",
        "lost writer 1 no. 224\N{EN DASH}227",
        "3 clients hung",
    ):
        assert words in page.text, words


def test_an_unknown_verdict_is_not_dressed_as_a_pass(make_run: Make, story: Callable[..., Any]) -> None:
    html = render_html(make_run(story=story(jitter=0.6, read=False), objectives=OBJECTIVES))
    page = Page(html)
    assert 'class="verdict open"' in html
    assert "Unknown" in page.text
    assert "the prober itself stalled" in page.text
    assert "www1 could not be read at the end: timed out" in page.text
    assert "could not be read: timed out" in page.text
    assert "not known" in page.text


def test_a_refused_run_says_why_and_what_to_do(make_run: Make) -> None:
    refusal = {
        "code": "lag",
        "message": "replication lag on www2 is 42 s",
        "observed": "42 s",
        "limit": "5 s",
        "fix": "wait",
    }
    phases = (("Lock", "One runbook at a time", 1.0, "ok"), ("Preflight", "Is it safe?", 4.0, "failed"))
    folder = make_run(
        verdict="refused",
        phases=phases,
        records=[journal.Refused(refusals=(refusal,))],
        following=["failoverctl status"],
    )
    page = Page(render_html(folder))
    assert "replication lag on www2 is 42 s. Nothing was changed." in page.text
    assert "Observed 42 s , limit 5 s ." in page.text.replace("42 s, limit 5 s.", "42 s , limit 5 s .")
    assert "What to do: wait" in page.text
    assert "refused" in page.text
    assert page.headings == ["Why it was refused", "What was done", "Next", "What was run"]


def test_a_locked_run_names_the_holder(make_run: Make) -> None:
    lock = {"owner": "ops@admin2", "run_id": "20261123T050000Z-setup-aaaa", "runbook": "setup", "age_seconds": 12}
    page = Page(render_html(make_run(verdict="locked", phases=(), records=[journal.Locked(lock=lock)])))
    assert "ops@admin2 runs setup. Nothing was changed." in page.text
    assert "20261123T050000Z-setup-aaaa" in page.text


def test_problems_of_the_configuration_are_all_named(make_run: Make) -> None:
    problems = (
        {
            "code": "unknown_key",
            "message": "unknown variable failover_vip",
            "file": "hosts.yml",
            "line": 7,
            "fix": "failover_vips",
        },
        {
            "code": "vrid",
            "message": "VRID 51 is used twice",
            "host": "www1",
            "observed": 51,
            "limit": "unique",
            "fix": "choose another",
        },
    )
    page = Page(render_html(make_run(verdict="invalid", phases=(), records=[journal.Problems(problems=problems)])))
    assert "2 problems in the configuration. Nothing was changed." in page.text
    assert "hosts.yml:7" in page.text
    assert "VRID 51 is used twice" in page.text


def test_a_setup_has_no_measurement_and_says_what_changed(make_run: Make) -> None:
    phases = (("Preflight", "Hosts are as expected", 12.0, "ok"), ("Act", "MariaDB", 74.0, "ok"))
    html = render_html(make_run(runbook="setup", phases=phases, verdict="ok"))
    page = Page(html)
    assert "Setup of lab" in page.text
    assert "3 changes on 3 hosts." in page.text
    assert "1:26 min" in page.text
    assert drawings(html) == []
    assert "How it was measured" not in page.text


def test_a_failed_task_shows_what_the_host_said_and_nothing_of_it_is_markup(make_run: Make) -> None:
    nasty = "<script>alert('x')</script> & \"quotes\""
    task = journal.Task(
        phase="Act", title=f"mariadb | {nasty}", host="www2", outcome="failed", seconds=1.0, message=nasty
    )
    folder = make_run(
        runbook="setup", phases=(("Act", nasty, 3.0, "failed"),), verdict="failed", records=[task], reason=nasty
    )
    html = render_html(folder)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 4
    assert nasty in Page(html).text


def test_nasty_names_from_the_estate_are_escaped_in_pictures(make_run: Make, story: Callable[..., Any]) -> None:
    folder = make_run(story=story())
    ops = folder / "probe" / "ops.jsonl"
    ops.write_text(ops.read_text(encoding="utf-8").replace('"www2"', '"<b>&www2"'), encoding="utf-8")
    html = render_html(folder)
    assert "<b>" not in html
    assert "<b>&www2" in [text.text for text in drawings(html)[0].iter("text")]


def test_a_run_that_died_still_has_a_report(make_run: Make) -> None:
    phases = (("Lock", "One runbook at a time", 1.0, "ok"), ("Act", "Hand over", 4.0, "running"))
    page = Page(render_html(make_run(finished=False, phases=phases)))
    assert "Not finished" in page.text
    assert "cut short" in page.text


def test_an_empty_folder_still_has_a_report(tmp_path: Path) -> None:
    assert "Not finished" in Page(render_html(tmp_path)).text


def test_unreadable_probe_files_are_a_remark(make_run: Make, story: Callable[..., Any]) -> None:
    folder = make_run(story=story())
    (folder / "probe" / "meta.json").unlink()
    html = render_html(folder)
    assert "what the prober left cannot be read: probe/meta.json: no such file or directory" in Page(html).text
    assert str(folder) not in html
    assert drawings(html) == []


def test_a_probe_of_http_only_is_drawn(make_run: Make, story: Callable[..., Any]) -> None:
    folder = make_run(story=story())
    ops = folder / "probe" / "ops.jsonl"
    lines = [line for line in ops.read_text(encoding="utf-8").splitlines() if '"http"' in line]
    ops.write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = [text.text for text in drawings(render_html(folder))[0].iter("text")]
    assert "HTTP" in texts
    assert "writes" not in texts


def paths(data: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key below a JSON document, of lists only those of the first item."""
    items: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        items = list(data.items())
    elif isinstance(data, list) and data:
        items = [(0, data[0])]
    found = []
    for key, value in items:
        found += [(*above, key), *paths(value, (*above, key))]
    return found


def test_a_result_that_lacks_a_field_still_has_a_report(
    make_run: Make, story: Callable[..., Any], switchover: dict[str, Any]
) -> None:
    """What another version wrote, or did not write yet, must not cost the report."""
    folder = make_run(story=story(seconds=8.0, switch_at=4.0, lost=1), objectives=OBJECTIVES, switchover=switchover)
    (folder / "probe" / "meta.json").unlink()
    result = folder / "result.json"
    whole = json.loads(result.read_text(encoding="utf-8"))
    for path in paths(whole):
        cut = copy.deepcopy(whole)
        inner = cut
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        result.write_text(json.dumps(cut), encoding="utf-8")
        assert "Switchover" in Page(render_html(folder)).text, path


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.35, 0.55, [-0.2, 0.0, 0.2, 0.4]),
        (0.0, 0.0, [0.0]),
        (0.0, 233.0, [0, 50, 100, 150, 200]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high, 5) == pytest.approx(expected)
