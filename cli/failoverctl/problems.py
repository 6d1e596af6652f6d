"""What is wrong with a configuration: one value for each problem, and all told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from failoverctl.errors import ExitCode, FailoverctlError


@dataclass(frozen=True, order=True)
class Location:
    """A place in a file; lines count from 1, and 0 means the file as a whole."""

    path: Path
    line: int = 0

    def relative_to(self, base: Path) -> str:
        """Return ``path:line`` with a path short enough to read and right enough to click."""
        path = self.path
        if path.is_absolute() and path.is_relative_to(base):
            path = path.relative_to(base)
        return f"{path}:{self.line}" if self.line else str(path)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that must be put right before anything is done.

    ``code`` is stable and machine-readable; ``observed`` and ``limit`` are what was found and what
    is demanded; ``fix`` is what to do.
    """

    code: str
    message: str
    location: Location | None = None
    host: str = ""
    variable: str = ""
    observed: str = ""
    limit: str = ""
    fix: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Problem:
        """Return the problem that a module of the collection reported under failover_problems."""
        return cls(
            code=_text(values.get("code")) or "unspecified",
            message=_text(values.get("message")) or "no message",
            host=_text(values.get("host")),
            variable=_text(values.get("variable")),
            observed=_text(values.get("observed")),
            limit=_text(values.get("limit")),
            fix=_text(values.get("fix")),
        )

    def at(self, location: Location | None) -> Problem:
        """Return the problem with the place where it can be put right."""
        return replace(self, location=location)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; all keys are always there."""
        return {
            "code": self.code,
            "host": self.host or None,
            "variable": self.variable or None,
            "message": self.message,
            "observed": self.observed or None,
            "limit": self.limit or None,
            "fix": self.fix or None,
            "file": str(self.location.path) if self.location else None,
            "line": (self.location.line or None) if self.location else None,
        }

    def render(self, base: Path) -> str:
        """Return it as lines of text, its place first.

        :param base: the folder that file names are shown relative to.
        """
        head = f"{self.location.relative_to(base)}: " if self.location else ""
        subject = self.variable
        if self.host and self.host not in self.message:
            subject = f"{self.host}: {subject}" if subject else self.host
        if subject and subject not in self.message:
            head += f"{subject}: "
        lines = [head + self.message]
        found = [
            f"{label} {value}"
            for label, value in (("found", self.observed), ("allowed", self.limit))
            if value and value not in self.message
        ]
        if found:
            lines.append("  " + ", ".join(found))
        if self.fix:
            lines.append(f"  Fix: {self.fix}")
        return "\n".join(lines)


class ConfigurationError(FailoverctlError):
    """All problems of a configuration in one error."""

    def __init__(self, problems: Sequence[Problem], base: Path, *, exit_code: ExitCode = ExitCode.USAGE) -> None:
        """Keep the problems, ordered by file and line.

        :param base: the folder that file names are shown relative to.
        :param exit_code: UNREACHABLE when nothing is wrong but that hosts do not answer.
        """
        self.problems = tuple(sorted(problems, key=_order))
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        where = "with the hosts" if exit_code is ExitCode.UNREACHABLE else "in the configuration"
        super().__init__(
            "\n".join([f"{count} {where}.", *(item.render(base) for item in self.problems)]),
            docs="docs/howto/setup.md",
            exit_code=exit_code,
        )


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return a hint naming the valid key nearest to `word`, or the valid keys when none is near."""
    known = sorted(valid)
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return "valid keys: " + ", ".join(known) if known else ""


def _order(problem: Problem) -> tuple[str, int, str, str]:
    place = problem.location
    return (
        str(place.path) if place else "~",
        place.line if place else 0,
        problem.host,
        problem.code,
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)
