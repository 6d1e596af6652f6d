"""The report of a run: one self-contained HTML file, and the few lines a terminal shows.

Both are pure functions of the run's folder (result.json, journal.jsonl, probe/): the same files
always give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from failoverctl.report.text import summary_lines

__all__ = ["render_html", "summary_lines", "write_report"]


def render_html(run_folder: Path) -> str:
    """Return the report of the run in ``run_folder``. A run without a probe, or cut short, has one too."""
    import jinja2
    from markupsafe import Markup

    from failoverctl.report import charts
    from failoverctl.report.drill import shape as shape_drill
    from failoverctl.report.model import read_run, shape
    from failoverctl.report.text import duration, milliseconds, span_words

    run = read_run(run_folder)
    history = run.history
    drill = shape_drill(run.result)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("failoverctl.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # A run of another version may lack a field; its report leaves it out and is still a report.
        undefined=jinja2.ChainableUndefined,
        keep_trailing_newline=True,
    )
    for name, say in (("duration", duration), ("milliseconds", milliseconds)):
        environment.filters[name] = _lenient(say)
    environment.filters["spans"] = span_words
    style = (files("failoverctl.report") / "templates" / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        page=shape(run),
        style=Markup(style),
        overview=charts.overview(history, run.state) if history else None,
        close_up=charts.close_up(history, run.state) if history else None,
        drill=drill,
        runs_over_time=charts.runs_over_time(drill.listed, drill.limit) if drill else None,
        legend=charts.legend(history) if history else (),
        meta=history.meta if history else None,
    )


def _lenient(say: Callable[[float], str]) -> Callable[[object], str]:
    return lambda value: say(float(value)) if isinstance(value, int | float) else "\N{EN DASH}"


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into the run's folder and return its path. Raises OSError.

    Only the owner may read it, as the rest of the folder; a reader sees the old or the new one.
    """
    path = run_folder / "report.html"
    part = path.with_name(".report.html.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(render_html(run_folder))
    part.replace(path)
    return path
