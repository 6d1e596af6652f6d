"""`failoverctl check`: judge the inventory and the hosts, change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from failoverctl.commands.app import App, app_of, common_options, out, talk
from failoverctl.commands.conducting import carry_out
from failoverctl.errors import ExitCode

if TYPE_CHECKING:
    from failoverctl.conduct import Outcome
    from failoverctl.config import Settings
    from failoverctl.inspection import Inspection


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
@common_options
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Check inventory and hosts; change nothing.

    All problems are named at once, with file and line. Exit status 2 when the configuration is
    wrong, 4 when it is right but a host cannot be reached.
    """
    from failoverctl.inspection import inspect
    from failoverctl.problems import ConfigurationError

    app = app_of(ctx)
    settings = app.settings()
    try:
        found = inspect(settings)
    except ConfigurationError as error:
        if as_json:
            problems = [item.as_dict() for item in error.problems]
            _print("invalid", error.exit_code, problems, None)
            ctx.exit(error.exit_code)
        raise
    outcome = run_check(app, settings, found)
    result = outcome.result
    if as_json:
        _print(result["verdict"], outcome.exit_code, problems_of(result), result["run_id"])
    elif outcome.exit_code is ExitCode.OK:
        out(f"Inventory and {len(found.estate.hosts)} hosts are as they must be.")
    else:
        tell_problems(outcome)
    talk(f"Run:  {outcome.folder.path}")
    for command in result["next"][:1]:
        talk(f"Next: {command}")
    ctx.exit(outcome.exit_code)


def run_check(app: App, settings: Settings, found: Inspection) -> Outcome:
    """Run the runbook `check`; what was found without it is part of its result."""
    from failoverctl.conduct import Order
    from failoverctl.runbooks import CATALOGUE

    order = Order(
        runbook=CATALOGUE["check"],
        settings=settings,
        estate=found.estate,
        verbosity=app.verbosity,
        locate=found.locate,
        problems=tuple(problem.as_dict() for problem in found.problems),
    )
    return carry_out(app, order)


def problems_of(result: Any) -> list[dict[str, Any]]:
    """Return all problems of a check: what was judged, and the hosts that did not answer."""
    from failoverctl.problems import Problem

    known = {item["host"] for item in result["problems"] if item["code"] == "unreachable"}
    unreachable = [
        Problem(
            code="unreachable",
            host=str(item["host"]),
            message=f"{item['host']} cannot be reached: {item['message']}",
            fix="try `ssh` to it by hand; check ansible_host, ansible_user and its firewall.",
        ).as_dict()
        for item in result["failures"]
        if item["outcome"] == "unreachable" and item["host"] not in known
    ]
    return [*result["problems"], *unreachable]


def tell_problems(outcome: Outcome) -> None:
    """Print all problems of a check on stderr, in the order of files and lines."""
    from failoverctl.commands.conducting import explain
    from failoverctl.inspection import problem_of
    from failoverctl.problems import ConfigurationError

    problems = problems_of(outcome.result)
    if not problems:
        explain(outcome.result, outcome.folder.path.parent)
        return
    found = [problem_of(item) for item in problems]
    talk(ConfigurationError(found, Path.cwd(), exit_code=outcome.exit_code).render())


def _print(verdict: str, code: ExitCode, problems: list[dict[str, Any]], run_id: str | None) -> None:
    from failoverctl.render.json import document

    out(
        document(
            {
                "schema": 1,
                "verdict": verdict,
                "exit_code": int(code),
                "problems": problems,
                "run_id": run_id,
            }
        )
    )
