"""`failoverctl drill`: break the estate on purpose, and measure what comes of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from failoverctl.commands.app import App, app_of, common_options, out, talk, tell
from failoverctl.commands.conducting import ask, ask_name, explain, look, mention_unfinished, require_answer, show_state
from failoverctl.errors import ExitCode, FailoverctlError

if TYPE_CHECKING:
    from failoverctl.conduct import Outcome
    from failoverctl.config import Settings
    from failoverctl.drill.scenario import Scenario
    from failoverctl.estate import Estate


@click.group()
@common_options
def drill() -> None:
    """Break the estate on purpose, and measure it.

    A scenario says what is broken, what must come of it and how it is put right; it is a YAML file.
    Your own are read from the folder drills/ beside the inventory.
    """


def _scenario_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        names = _scenarios(app_of(ctx).settings())
    except FailoverctlError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@drill.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@common_options
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the scenarios, shipped and own, with what their runs brought."""
    from failoverctl import estate as estates
    from failoverctl.drill import history

    app = app_of(ctx)
    settings = app.settings()
    estate = estates.load(settings, cached=True)
    runs = history.read(_directory(settings), estate=estate.name)
    rows = [
        (item, history.summarise(item.ident, runs), _where_not(item, estate)) for item in _scenarios(settings).values()
    ]
    if as_json:
        from failoverctl.render.json import document

        listed = [
            {**_described(item), "refused": why or None, "summary": summary.as_dict()} for item, summary, why in rows
        ]
        out(document({"schema": 1, "estate": estate.name, "scenarios": listed}))
        return
    from failoverctl.render import drills

    out(drills.listing(rows, **app.look(sys.stdout)))
    if any(why for _, _, why in rows):
        where = f"failover_environment is {estate.environment}" + (
            "" if estate.with_database else ", without a database"
        )
        talk(f"Some may not be run here, where {where}; `drill show` says why.")


@drill.command()
@click.argument("scenario", shell_complete=_scenario_names)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@common_options
@click.pass_context
def show(ctx: click.Context, scenario: str, as_json: bool) -> None:
    """Show what a drill will do, what must come of it, and what it cost so far; contact no host."""
    from failoverctl import estate as estates
    from failoverctl.drill import history
    from failoverctl.drill.gates import fitted
    from failoverctl.drill.plan import plan
    from failoverctl.drill.promised import promised

    app = app_of(ctx)
    settings = app.settings()
    estate = estates.load(settings, cached=True)
    found = fitted(_chosen(_scenarios(settings), [scenario])[0], estate)
    summary = history.summarise(found.ident, history.read(_directory(settings), estate=estate.name))
    phases = plan(found, _faults())
    demands = promised(found, estate.objectives, with_database=estate.with_database)
    why = _where_not(found, estate)
    if as_json:
        from failoverctl.render.json import document

        out(
            document(
                {
                    "schema": 1,
                    **_described(found),
                    "description": found.description,
                    "path": str(found.path),
                    "phases": [
                        {"phase": item.phase, "title": item.title, "at_most_seconds": item.at_most_seconds}
                        for item in phases
                    ],
                    "demands": demands,
                    "at_most_seconds": found.longest_seconds,
                    "refused": why or None,
                    "summary": summary.as_dict(),
                }
            )
        )
        return
    from failoverctl.render import drills

    out(drills.show(found, phases, demands, summary, [why] if why else [], **app.look(sys.stdout)))
    talk(f"File: {found.path}")


@drill.command()
@click.argument("scenarios", nargs=-1, shell_complete=_scenario_names)
@click.option("--all", "every", is_flag=True, help="Every scenario that may be run on this estate.")
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="How often each; by default as its file says.",
)
@click.option(
    "--confirm",
    default="",
    metavar="ESTATE",
    help="The name of the estate; --yes does not give it where failover_environment is production.",
)
@click.option("-y", "--yes", is_flag=True, envvar="FAILOVERCTL_YES", show_envvar=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of every run at the end.")
@common_options
@click.pass_context
def run(
    ctx: click.Context,
    scenarios: tuple[str, ...],
    every: bool,
    repeat: int | None,
    confirm: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Run scenarios one after the other, and judge each: pass, fail or unknown.

    Everything that is broken is put right again, also after Ctrl-C. Exit status 1 when any fails, 5
    when none fails but some proved nothing (unknown), 0 when all pass. One run alone has its own:
    3 when it is refused, 6 when the estate is locked.
    """
    from failoverctl import estate as estates

    app = app_of(ctx)
    if every == bool(scenarios):
        raise click.UsageError("name scenarios, or give --all")
    settings = app.settings()
    known = _scenarios(settings)
    require_answer(yes, "drill run")
    estate = estates.load(settings, cached=True)
    chosen = [item for item in known.values() if not _where_not(item, estate)] if every else _chosen(known, scenarios)
    if not chosen:
        raise FailoverctlError(
            f"no scenario may be run on estate {estate.name} in {estate.environment}.",
            fix=app.command("drill list"),
            exit_code=ExitCode.USAGE,
        )
    mention_unfinished(settings, estate)
    # What is refused anyway is not asked about, and no host hears of it.
    if not yes and not all(_where_not(item, estate) for item in chosen):
        show_state(app, estate, look(settings, estate))
        tell(_consequence(settings, estate, chosen, repeat))
        if estate.environment == "production":
            ask_name("This is production", estate.name, confirm)
            confirm = estate.name
        else:
            ask("Break it?", yes)
    outcomes = _run_all(app, settings, estate, chosen, repeat, confirm)
    _last_words(app, chosen, outcomes, as_json)
    ctx.exit(exit_code([str(outcome.result["verdict"]) for outcome in outcomes], outcomes))


@drill.command()
@click.argument("scenario", required=False, shell_complete=_scenario_names)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@common_options
@click.pass_context
def report(ctx: click.Context, scenario: str | None, as_json: bool) -> None:
    """Show what all drills so far brought, or every run of one scenario."""
    from failoverctl import estate as estates
    from failoverctl.drill import history

    app = app_of(ctx)
    settings = app.settings()
    estate = estates.load(settings, cached=True)
    runs = history.read(_directory(settings), estate=estate.name, scenario=scenario or "")
    if scenario and not runs:
        _chosen(_scenarios(settings), [scenario])
    summaries = history.summaries(runs)
    if as_json:
        from failoverctl.render.json import document

        content: dict[str, Any] = {
            "schema": 1,
            "estate": estate.name,
            "summaries": [summary.as_dict() for summary in summaries],
            "runs": [{"scenario": item.scenario, **item.as_dict()} for item in runs],
        }
        out(document(content))
        return
    if not runs:
        talk("No drill yet.")
        talk(f"Next: {app.command('drill list')}")
        return
    from failoverctl.render import drills

    if scenario is None:
        out(drills.matrix([(summary, {}) for summary in summaries], **app.look(sys.stdout)))
        return
    out(drills.runs(runs, **app.look(sys.stdout)))
    out(f" Writes paused: {drills.spread(summaries[0].paused, 'run')}")
    out(f" Lost so far:   {drills.losses(summaries[0])}")
    newest = _directory(settings) / runs[-1].run_id / "report.html"
    if newest.exists():
        talk(f"Report: {newest}")


@drill.command()
@click.argument("run", required=False)
@click.option("-y", "--yes", is_flag=True, envvar="FAILOVERCTL_YES", show_envvar=True, help="Do not ask.")
@common_options
@click.pass_context
def mend(ctx: click.Context, run: str | None, yes: bool) -> None:
    """Put right what a killed drill left: the last one, or RUN.

    The hosts do it by themselves when the time of the drill is over; this does it now, and gives
    its lock back. Harmless when nothing is left.
    """
    from failoverctl import estate as estates
    from failoverctl import estate_query, runs
    from failoverctl.drill.mend import mend as undo
    from failoverctl.drill.targets import Targets

    app = app_of(ctx)
    settings = app.settings()
    require_answer(yes, "drill mend")
    estate = estates.load(settings, cached=True)
    directory = _directory(settings)
    folder = runs.find(directory, run) if run else runs.unfinished(directory, estate.name)
    if folder is not None and folder.runbook != _runbook():
        folder = None
    if folder is not None and folder.verdict() == "running":
        raise FailoverctlError(
            f"run {folder.run_id} is at work.",
            fix="press Ctrl-C where it runs: it puts everything right itself.",
            exit_code=ExitCode.LOCKED,
        )
    ask("Undo everything that drills may have left on the hosts?", yes)
    with Targets.open(settings, estate) as targets:
        problems = undo(targets)
    if folder is not None:
        estate_query.release_lock(settings, estate, folder.run_id)
        estate_query.acknowledge(settings, estate, folder.run_id)
        folder.close("mended", None)
    show_state(app, estate, look(settings, estate))
    if problems:
        raise FailoverctlError(
            "not everything could be undone:\n" + "\n".join(problems),
            fix=app.command("status") + ", then the same command again.",
            docs="docs/howto/drills.md",
        )
    out("Nothing of a drill is left on the hosts.")


def _runbook() -> str:
    """Return the name of the runbook that a drill is, in the names of runs."""
    from failoverctl.drill.history import RUNBOOK

    return RUNBOOK


def exit_code(words: Sequence[str], outcomes: Sequence[Outcome]) -> ExitCode:
    """Return the exit status of several drills by their verdicts; one alone has its own."""
    if len(outcomes) == 1:
        return outcomes[0].exit_code
    if {"fail", "failed"} & set(words):
        return ExitCode.FAILED
    if "interrupted" in words:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if set(words) <= {"pass"} else ExitCode.DEGRADED


def _run_all(
    app: App, settings: Settings, estate: Estate, chosen: Sequence[Scenario], repeat: int | None, confirm: str
) -> list[Outcome]:
    """Run every scenario as often as it is to be; an interrupt ends it."""
    from failoverctl.drill.edges import real_edges
    from failoverctl.drill.engine import Order, play
    from failoverctl.drill.gates import fitted
    from failoverctl.report import write_report

    edges = real_edges(settings, estate)
    outcomes: list[Outcome] = []
    for scenario in (fitted(item, estate) for item in chosen):
        target = _target(settings, estate, scenario)
        count = repeat or scenario.repeat
        for number in range(1, count + 1):
            if outcomes:
                time.sleep(scenario.cooldown_seconds)
            order = Order(
                scenario=scenario,
                settings=settings,
                estate=estate,
                target=target,
                confirmed=confirm,
                number=number,
                of=count,
            )
            outcome = play(order, edges, app.view(), lambda verdict, state: _next(app, scenario, verdict, state.run_id))  # noqa: B023
            write_report(outcome.folder.path)
            outcomes.append(outcome)
            if len(chosen) * count > 1:
                _say(outcome)
            if outcome.result["verdict"] in ("interrupted", "locked"):
                return outcomes
    return outcomes


def _target(settings: Settings, estate: Estate, scenario: Scenario) -> dict[str, Any] | None:
    """Return what to measure, None when the inventory has nothing for it."""
    from failoverctl import estate as estates
    from failoverctl.measure import target

    hosts = estate.in_role("database")
    password = estates.variable(settings, "mariadb_probe_password", hosts[0].name) if hosts else None
    return target(estate, str(password or ""), writers=scenario.load.writers)


def _next(app: App, scenario: Scenario, verdict: str, run_id: str) -> list[str]:
    words = {
        "pass": [f"drill report {scenario.ident}", "status"],
        "refused": ["status", f"drill show {scenario.ident}"],
        "locked": ["lock status"],
    }.get(verdict, ["status", f"runs show {run_id}", f"drill report {scenario.ident}"])
    return [app.command(text) for text in words]


def _say(outcome: Outcome) -> None:
    """Say in one line how a run ended, where many follow each other."""
    result = outcome.result
    drill, verdict = result["drill"], result["verdict"]
    reason = f": {result['reason']}" if verdict != "pass" and result["reason"] else ""
    tell(f"{drill['scenario']} {drill['number']}/{drill['of']}: {verdict}{reason}")


def _last_words(app: App, chosen: Sequence[Scenario], outcomes: Sequence[Outcome], as_json: bool) -> None:
    from failoverctl.drill import history
    from failoverctl.render import drills

    words = Counter((str(item.result["drill"]["scenario"]), str(item.result["verdict"])) for item in outcomes)
    ended = [history.of_result(item.result) for item in outcomes if item.result["verdict"] in history.VERDICTS]
    table = [
        (
            history.summarise(scenario.ident, ended),
            {
                word: number
                for (name, word), number in words.items()
                if name == scenario.ident and word not in history.VERDICTS
            },
        )
        for scenario in chosen
    ]
    if as_json:
        from failoverctl.render.json import document

        content = {
            "schema": 1,
            "exit_code": int(exit_code([str(item.result["verdict"]) for item in outcomes], outcomes)),
            "runs": [item.result for item in outcomes],
            "summaries": [summary.as_dict() for summary, _ in table],
        }
        out(document(content))
        return
    if len(outcomes) == 1:
        from failoverctl.report import summary_lines

        result = outcomes[0].result
        explain(result, outcomes[0].folder.path.parent)
        for line in summary_lines(result):
            out(line)
    else:
        out(drills.matrix(table, **app.look(sys.stdout)))
    last = outcomes[-1]
    talk(f"Report: {last.folder.report_path}")
    talk(f"Run:  {last.folder.path}")
    for command in last.result["next"][:1]:
        talk(f"Next: {command}")


def _scenarios(settings: Settings) -> dict[str, Scenario]:
    from failoverctl.drill.scenario import load, vocabulary

    return load(settings.drills.value, vocabulary())


def _faults() -> Mapping[str, Any]:
    from failoverctl.drill.faults import CATALOGUE

    return dict(CATALOGUE)


def _chosen(known: Mapping[str, Scenario], names: Sequence[str]) -> list[Scenario]:
    """Return the scenarios of the names. :raises FailoverctlError: for the first that is not known."""
    for name in names:
        if name not in known:
            from failoverctl.problems import nearest

            raise FailoverctlError(
                f"there is no scenario {name!r}.",
                fix=nearest(name, known),
                docs="docs/howto/drills.md",
                exit_code=ExitCode.USAGE,
            )
    return [known[name] for name in dict.fromkeys(names)]


def _where_not(scenario: Scenario, estate: Estate) -> str:
    """Return why a scenario cannot be run on this estate, as far as that is known without asking a host."""
    from failoverctl.drill import gates

    found = gates.refusals(
        scenario,
        estate,
        _faults(),
        lab=estate.environment == "lab",
        confirmed=estate.name,
        today=datetime.now(UTC).date(),
    )
    return found[0].message if found else ""


def _described(scenario: Scenario) -> dict[str, Any]:
    return {
        "scenario": scenario.ident,
        "title": scenario.title,
        "environment": scenario.environment,
        "requires": list(scenario.requires),
        "shipped": scenario.shipped,
        "risks": list(scenario.risks),
        "faults": list(dict.fromkeys(step.fault for step in scenario.faults)),
    }


def _consequence(settings: Settings, estate: Estate, chosen: Sequence[Scenario], repeat: int | None) -> str:
    from failoverctl.drill import history
    from failoverctl.render import drills

    runs = history.read(_directory(settings), estate=estate.name)
    lines = []
    for scenario in chosen:
        times = repeat or scenario.repeat
        often = "" if times == 1 else f", {times} times"
        paused = drills.spread(history.summarise(scenario.ident, runs).paused)
        what = "Writes pause" if estate.with_database else "Requests fail"
        lines.append(f"{scenario.ident}{often}: {scenario.title}. {what}: {paused}.")
    return "\n".join([*lines, "Everything that is broken is put right again, also after Ctrl-C."])


def _directory(settings: Settings) -> Path:
    from failoverctl.paths import runs_directory

    return runs_directory(settings.state_directory.value)
