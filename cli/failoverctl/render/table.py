"""Tables for people: the estate, runs, a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from failoverctl.render.live import duration
from failoverctl.render.terminal import to_text

if TYPE_CHECKING:
    from rich.text import Text

    from failoverctl.estate import Estate, Host
    from failoverctl.health import Health
    from failoverctl.runbooks import Plan
    from failoverctl.runs import Figures

NOTHING = "-"

#: Columns of prose; all others keep their words together.
_WRAPPED = ("WHAT", "HOSTS")

#: What an estate without a database has nothing to say of.
_OF_DATABASE = ("DB", "LAG", "SYNC")

_STYLES = {
    "healthy": "green",
    "degraded": "yellow",
    "unreachable": "red",
    "primary": "bold green",
    "ok": "green",
    "pass": "green",
    "running": "cyan",
}


def columns(head: Sequence[str], rows: Iterable[Sequence[str | Text]], *, colour: bool, width: int) -> str:
    """Return rows under a head, in columns as wide as their content needs."""
    from rich.table import Table
    from rich.text import Text

    body = list(rows)
    table = Table(box=None, padding=(0, 2, 0, 1), header_style="bold", show_edge=False)
    for title in head:
        # What stands first is what one types next: it is never cut.
        longest = max((len(row[0]) for row in body), default=0) if title == head[0] else None
        table.add_column(title, no_wrap=title not in _WRAPPED, overflow="ellipsis", min_width=longest)
    for row in body:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return to_text(table, colour=colour, width=width)


def estate(
    described: Estate, health: Health, at: datetime, following: Sequence[str], *, colour: bool, width: int
) -> str:
    """Return the state of the estate: a title, a line a host, what is wrong, what to type next."""
    from rich.text import Text

    title = Text(" Estate ")
    title.append(described.name or "?", style="bold")
    title.append(f" · primary {health.primary or 'none'}")
    title.append(f" · term {health.term if health.term is not None else '?'}")
    title.append(f" · {at:%H:%M:%SZ} · ")
    title.append(health.verdict, style=_STYLES.get(health.verdict, "red"))
    if health.automation.state in ("paused", "held"):
        title.append(" · automation ").append(health.automation.state, style="yellow")
    rows = [_host_row(described, health, host) for host in described.hosts]
    head = ["HOST", "ROLE", "VIP", "DB", "LAG", "SYNC", "TERM"]
    if not described.with_database:
        head = [title for title in head if title not in _OF_DATABASE]
        rows = [[*row[:3], *row[6:]] for row in rows]
    if any(host.site for host in described.hosts):
        head.insert(1, "SITE")
        rows = [[row[0], host.site or NOTHING, *row[1:]] for row, host in zip(rows, described.hosts, strict=True)]
    parts = [
        to_text(title, colour=colour, width=width),
        columns(head, rows, colour=colour, width=width),
    ]
    for trouble in health.troubles:
        line = Text(" ! ", style="yellow").append(trouble.message, style="")
        parts.append(to_text(line, colour=colour, width=width))
    for remark in health.remarks:
        parts.append(to_text(Text(" i ", style="cyan").append(remark.message, style=""), colour=colour, width=width))
    if health.lock:
        parts.append(f" Locked: {lock_line(health.lock, at)}")
    parts += [f" Next: {command}" for command in following]
    return "\n".join(parts)


def lock_line(lock: Mapping[str, Any], now: datetime) -> str:
    """Return who holds the estate lock, for what and since when."""
    since = str(lock.get("acquired_at") or "?")
    try:
        seconds = (now - datetime.fromisoformat(since)).total_seconds()
        since = f"{since[11:19]}Z, {duration(max(0.0, seconds))} ago"
    except (ValueError, TypeError):
        pass
    runbook = str(lock.get("runbook") or "a runbook")
    return f"{runbook} of {lock.get('owner') or 'somebody'} since {since} (run {lock.get('run_id') or '?'})"


def _host_row(described: Estate, health: Health, host: Host) -> list[str | Text]:
    from rich.text import Text

    report = health.report(host.name)
    duties = ", ".join(role for role, names in described.groups.items() if host.name in names)
    if report is None:
        return [host.name, Text(duties or NOTHING, style="bright_black"), *[NOTHING] * 5]
    if report.status is None:
        word = "no agent" if report.reached else "unreachable"
        return [host.name, Text(word, style="red"), *[NOTHING] * 5]
    status = report.status
    role = str(status.get("role", "?"))
    term = status.get("term")
    word = "standby" if role == "replica" and not described.with_database else role
    return [
        host.name,
        Text(word, style=_STYLES.get(role, "" if role == "replica" else "yellow")),
        _vips(status.get("vips")),
        _database(role, status.get("database")),
        _lag(role, status.get("database")),
        _sync(host.name, status.get("sync")),
        str(term) if term is not None else NOTHING,
    ]


def _vips(vips: object) -> str:
    held = [
        name
        for name, vip in (vips.items() if isinstance(vips, dict) else ())
        if isinstance(vip, dict) and vip.get("held") is True
    ]
    return ", ".join(held) or NOTHING


def _database(role: str, database: object) -> str:
    if not isinstance(database, dict) or not database.get("running"):
        return "stopped"
    access = "ro" if database.get("read_only") else "rw"
    if role != "replica":
        return access
    runs = database.get("io_running") is True and database.get("sql_running") is True
    return f"{access}, replicates" if runs else f"{access}, not replicating"


def _lag(role: str, database: object) -> str:
    lag = database.get("lag_seconds") if isinstance(database, dict) else None
    if role != "replica" or not isinstance(lag, int | float):
        return NOTHING
    return f"{lag:.1f} s"


def _sync(host: str, sync: object) -> str:
    if not isinstance(sync, dict):
        return NOTHING
    if sync.get("primary") == host:
        return f"source, {sync.get('mode')}"
    return "member" if host in (sync.get("members") or ()) else "not a member"


def runs(rows: Sequence[Mapping[str, Any]], *, colour: bool, width: int) -> str:
    """Return a line for each run: id, when, verdict, how long, how long writes were paused.

    The estate is named when there is more than one.
    """
    head = ["RUN", "STARTED", "VERDICT", "TOOK", "PAUSED"]
    body: list[list[str | Text]] = [
        [
            str(row["run_id"]),
            str(row["started"]),
            _verdict(row),
            duration(row["seconds"]) if isinstance(row["seconds"], int | float) else NOTHING,
            short(row["paused_seconds"]) if row["paused_seconds"] is not None else NOTHING,
        ]
        for row in rows
    ]
    if len({row["estate"] for row in rows}) > 1:
        head.insert(1, "ESTATE")
        for line, row in zip(body, rows, strict=True):
            line.insert(1, str(row["estate"] or NOTHING))
    return columns(head, body, colour=colour, width=width)


def _verdict(row: Mapping[str, Any]) -> Text:
    from rich.text import Text

    word = str(row["verdict"])
    text = Text(word, style=_STYLES.get(word, "red"))
    return text.append(f", {row['closed']}", style="green") if row.get("closed") else text


def plan(found: Plan, *, colour: bool, width: int) -> str:
    """Return a plan: phases, then what earlier runs say it will take and cost."""
    past = found.history
    head = f" {found.runbook.name}: {found.runbook.summary} ({found.runbook.danger.value})"
    given = [f" {key} = {value}" for key, value in found.parameters.items() if value]
    rows = [(item.phase, item.title, item.hosts) for item in found.phases]
    lost = "no earlier measured run"
    if past.lost_writes is not None and past.writes_outage is not None:
        lost = (
            f"{past.lost_writes} of {past.acknowledged_writes} acknowledged writes "
            f"in {past.writes_outage.count} measured {'run' if past.writes_outage.count == 1 else 'runs'}"
        )
    return "\n".join(
        [
            head,
            *given,
            columns(["PHASE", "WHAT", "HOSTS"], rows, colour=colour, width=width),
            f" Duration:      {predicted(past.duration)}",
            f" Writes paused: {predicted(past.writes_outage, 'no earlier measured run')}",
            f" HTTP outage:   {predicted(past.http_outage, 'no earlier measured run')}",
            f" May be lost:   {found.runbook.loss}",
            f" Lost so far:   {lost}",
        ]
    )


def predicted(figures: Figures | None, otherwise: str = "no earlier run") -> str:
    """Return median, worst and number of earlier runs, or what to say without one."""
    if figures is None:
        return otherwise
    if figures.count == 1:
        return f"{short(figures.median)} in the one earlier run"
    return f"median {short(figures.median)}, worst {short(figures.worst)} of {figures.count} earlier runs"


def short(seconds: float) -> str:
    """Return a duration, in milliseconds below one second."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else duration(seconds)
