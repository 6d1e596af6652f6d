"""`failoverctl runs`: what was run before, what came of it, and how it went."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from failoverctl.commands.app import App, app_of, common_options, out, talk
from failoverctl.errors import ExitCode, FailoverctlError

if TYPE_CHECKING:
    from failoverctl.runs import RunFolder


@click.group()
@common_options
def runs() -> None:
    """List, show and replay earlier runs."""


@runs.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@common_options
@click.pass_context
def list_(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the latest runs, the oldest first.

    A run that ended without a result, because its process was killed, is shown as died.
    """
    from failoverctl.runs import list_runs

    app = app_of(ctx)
    rows = [_row(run) for run in list_runs(_directory(app))[-limit:]]
    if as_json:
        from failoverctl.render.json import document

        keys = ("run_id", "runbook", "estate", "started_at", "verdict", "closed", "seconds", "paused_seconds", "path")
        listed = [{key: row[key] for key in keys} for row in rows]
        out(document({"schema": 1, "runs": listed}))
    elif rows:
        from failoverctl.render import table

        out(table.runs(rows, **app.look(sys.stdout)))
    else:
        talk(f"No run yet in {_directory(app)}.")


def _run_ids(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from failoverctl.runs import list_runs

    try:
        found = list_runs(_directory(app_of(ctx)))
    except FailoverctlError:
        return []
    return [CompletionItem(run.run_id) for run in found if run.run_id.startswith(incomplete)]


@runs.command()
@click.argument("run", required=False, shell_complete=_run_ids)
@click.option("--last", is_flag=True, help="The latest run; the same as naming none.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json.")
@common_options
@click.pass_context
def show(ctx: click.Context, run: str | None, last: bool, as_json: bool) -> None:
    """Show what came of a run: RUN is its id, or enough of its beginning or end."""
    app = app_of(ctx)
    folder = _find(app, run, last)
    result = folder.result()
    if as_json:
        from failoverctl.render.json import document

        out(document(result or _unfinished(folder)))
        return
    _print_frame(app, folder)
    if result:
        from failoverctl.commands.conducting import explain
        from failoverctl.report import summary_lines

        explain(result, folder.path.parent)
        for line in summary_lines(result):
            out(line)
    elif folder.verdict() == "died":
        talk("The process of this run was killed. What it had begun on a host may have gone on.")
        talk(f"Next: {app.command('resume ' + folder.run_id)}")
    talk(f"Run:  {folder.path}")
    if folder.report_path.exists():
        talk(f"Report: {folder.report_path}")


@runs.command()
@click.argument("run", required=False, shell_complete=_run_ids)
@click.option("--last", is_flag=True, help="The latest run; the same as naming none.")
@common_options
@click.pass_context
def replay(ctx: click.Context, run: str | None, last: bool) -> None:
    """Print the journal of a run again, as it was shown while it went on."""
    from failoverctl.journal import RunState, apply, read_journal
    from failoverctl.render.plain import lines, task_lines

    app = app_of(ctx)
    folder = _find(app, run, last)
    if not folder.journal_path.exists():
        raise FailoverctlError(
            f"run {folder.run_id} has no journal.",
            fix=app.command("runs list"),
            exit_code=ExitCode.USAGE,
        )
    state = RunState()
    for record in read_journal(folder.journal_path):
        state = apply(state, record)
        live = sys.stdout.isatty()
        for line in task_lines(record, app.verbosity) if live else lines(record, state, app.verbosity):
            out(line)
    if sys.stdout.isatty():
        _print_frame(app, folder)


def _directory(app: App) -> Path:
    from failoverctl.paths import runs_directory

    return runs_directory(app.settings().state_directory.value)


def _find(app: App, run: str | None, last: bool) -> RunFolder:
    from failoverctl.runs import find

    if run and last:
        raise click.UsageError("name a run or give --last, not both")
    return find(_directory(app), run)


def _print_frame(app: App, folder: RunFolder) -> None:
    from failoverctl.render.live import frame
    from failoverctl.render.terminal import to_text

    state = folder.state()
    out(to_text(frame(state, state.seconds), **app.look(sys.stdout)))


def _row(run: RunFolder) -> dict[str, Any]:
    from failoverctl.runs import paused_seconds

    result = run.result()
    probe = result.get("probe")
    writes = probe.get("writes") if isinstance(probe, dict) else None
    return {
        "run_id": run.run_id,
        "runbook": run.runbook,
        "estate": run.request().get("estate"),
        "started_at": run.started_at.isoformat(),
        "started": when(run.started_at, datetime.now(UTC)),
        "verdict": run.verdict(),
        "closed": run.closed().get("how"),
        "seconds": result.get("seconds"),
        "paused_seconds": paused_seconds(writes) if isinstance(writes, dict) else None,
        "path": str(run.path),
    }


def when(moment: datetime, now: datetime) -> str:
    """Return a moment in local time and how long ago it was, in its largest unit."""
    local = moment.astimezone()
    clock = f"{local:%H:%M}" if local.date() == now.astimezone().date() else f"{local:%Y-%m-%d %H:%M}"
    seconds = max(0.0, (now - moment).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{clock}, {seconds // size:.0f} {unit} ago"
    return f"{clock}, {seconds:.0f} s ago"


def _unfinished(folder: RunFolder) -> dict[str, Any]:
    """Return the document of a run without a result: the same keys, as far as it came."""
    from failoverctl.conduct import result_document
    from failoverctl.transcript import Verdict

    verdict = Verdict(folder.verdict(), ExitCode.FAILED)
    return {**result_document(folder.state(), verdict, None, ()), "exit_code": None}
