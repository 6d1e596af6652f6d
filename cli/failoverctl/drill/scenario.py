"""Scenarios: YAML files that say what is broken, what must come of it, and how it is put right.

A file is read as a whole: everything that is wrong with it is told at once, with file, line and the
nearest word that would have been right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import yaml

from failoverctl import sources
from failoverctl.drill.world import CONDITIONS, SELECTORS, Condition
from failoverctl.problems import ConfigurationError, Location, Problem, nearest

#: The scenarios that come with failoverctl.
SHIPPED = Path(__file__).parent / "scenarios"

#: Where a scenario may run at most, from the least to the most precious estate.
ENVIRONMENTS = ("lab", "staging", "production")

#: What a scenario may need that not every estate has, and what it is.
REQUIREMENTS: Mapping[str, str] = {
    "database": "a database (failover_engine)",
    "php": "a site that runs PHP (web_sites)",
}

_ID = re.compile(r"^[a-z][a-z0-9_]{0,59}$")
_FAULT_ID = re.compile(r"^[a-z0-9][a-z0-9-]{0,23}$")
_WORD_SELECTOR = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class FaultStep:
    """Break something: a fault of the catalogue on hosts, for so many seconds or until it is healed.

    ``hosts`` and the options in ``selecting`` are selectors; which hosts they mean is seen when the
    step is played.
    """

    fault: str
    ident: str
    hosts: tuple[str, ...] = ()
    seconds: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    selecting: frozenset[str] = frozenset()


@dataclass(frozen=True)
class WaitStep:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True)
class WaitForStep:
    """Wait until a condition holds; the drill fails when it does not within the limit."""

    condition: Condition
    limit_seconds: float


@dataclass(frozen=True)
class CommandStep:
    """Run failoverctl, which shares the lock of the drill.

    ``kill_at`` kills it without mercy as soon as its journal names that phase, play or step.
    """

    words: tuple[str, ...]
    expect_exit: tuple[int, ...] = (0,)
    expect_codes: tuple[str, ...] = ()
    kill_at: str = ""
    limit_seconds: float = 180.0


@dataclass(frozen=True)
class KillEachStep:
    """Run failoverctl again and again, each time killed one entry of its journal later, until it comes to its end.

    ``then`` are commands of which one finishes each killed run, in turn. ``before`` and ``after`` are played around
    each run; every ``every``-th entry is one at which it is killed.
    """

    words: tuple[str, ...]
    then: tuple[tuple[str, ...], ...]
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    every: int = 1
    limit_seconds: float = 1800.0


@dataclass(frozen=True)
class HealStep:
    """Undo one fault by its id, or all."""

    what: str


@dataclass(frozen=True)
class RepeatStep:
    """Play some steps several times."""

    times: int
    steps: tuple[Step, ...]


Step: TypeAlias = FaultStep | WaitStep | WaitForStep | CommandStep | KillEachStep | HealStep | RepeatStep


@dataclass(frozen=True)
class Load:
    """What clients do meanwhile. ``direct`` adds a writer to each data host's own address, past the virtual IP."""

    writers: int = 1
    rate_hz: float = 20.0
    http: bool = True
    good_ms: float = 250.0
    timeout_ms: float = 1000.0
    baseline_seconds: float = 5.0
    direct: bool = False


@dataclass(frozen=True)
class Promises:
    """What is promised for this scenario. Without ``rto_seconds`` here, that of the estate counts; None is no limit."""

    rto_seconds: float | None = None
    rto_of_estate: bool = True
    http_after_write_seconds: float | None = None
    whole_seconds: float | None = None


@dataclass(frozen=True)
class Expect:
    """What must come of it, apart from what is always demanded: nothing lost, never two writers."""

    primary: str = "any"
    terms: tuple[int, int] | None = None
    writes: str = "served"
    clients_may_hang: bool = False
    problems: tuple[str, ...] = ()
    holds: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Approval:
    """Who allows this scenario on a production estate, and until when."""

    by: str
    until: date


@dataclass(frozen=True)
class Scenario:
    """One scenario. ``path`` is its file; ``shipped`` says whether it came with failoverctl."""

    ident: str
    title: str
    description: str
    method: tuple[Step, ...]
    path: Path
    shipped: bool = False
    risks: tuple[str, ...] = ()
    environment: str = "staging"
    requires: tuple[str, ...] = ()
    approval: Approval | None = None
    promises: Promises = field(default_factory=Promises)
    load: Load = field(default_factory=Load)
    steady_state: tuple[Condition, ...] = (Condition("healthy"), Condition("vip_on_primary"))
    expect: Expect = field(default_factory=Expect)
    abort_when: tuple[Condition, ...] = (Condition("writes_paused_seconds", 180.0),)
    rollbacks: tuple[Step, ...] = ()
    observe_seconds: float = 60.0
    linger_seconds: float = 10.0
    settle_seconds: float = 120.0
    cooldown_seconds: float = 5.0
    repeat: int = 1

    @property
    def faults(self) -> tuple[FaultStep, ...]:
        """Every fault of the method, in its order; those that repeat once."""
        return tuple(step for step in flatten(self.method) if isinstance(step, FaultStep))

    @property
    def longest_seconds(self) -> float:
        """How long the drill takes at most, in seconds; what a dead-man and the lock have to outlive."""
        parts = [longest_of(step) for step in (*self.method, *self.rollbacks)]
        return sum(parts) + self.load.baseline_seconds + self.observe_seconds + self.settle_seconds + 120.0


def flatten(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield the steps and those inside repetitions, each once."""
    for step in steps:
        if isinstance(step, RepeatStep):
            yield from flatten(step.steps)
        elif isinstance(step, KillEachStep):
            yield step
            yield from flatten((*step.before, *step.after))
        else:
            yield step


def longest_of(step: Step) -> float:
    """Return how long a step takes at most, in seconds."""
    match step:
        case FaultStep():
            return (step.seconds or 0.0) + 30.0
        case WaitStep():
            return step.seconds
        case WaitForStep() | CommandStep() | KillEachStep():
            return step.limit_seconds
        case HealStep():
            return 30.0
        case RepeatStep():
            return step.times * sum(longest_of(inner) for inner in step.steps)


class KnownOption(Protocol):
    """An option of a fault as far as a scenario knows it."""

    @property
    def kind(self) -> str:
        """What its value is; ``host`` is a selector, or a list of them."""
        ...


class KnownFault(Protocol):
    """A fault as far as a scenario knows it."""

    @property
    def needs_host(self) -> bool:
        """Whether it must be said on which hosts."""
        ...

    @property
    def options(self) -> Mapping[str, KnownOption]:
        """Its options, apart from host, seconds and id."""
        ...

    def problems(self, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what is wrong with the options that are given, as (key, what)."""
        ...


@dataclass(frozen=True)
class Vocabulary:
    """The words a scenario may use beside those known here: faults, and commands of failoverctl."""

    faults: Mapping[str, KnownFault]
    commands: tuple[str, ...] = ()


def vocabulary() -> Vocabulary:
    """Return the words of the faults that failoverctl knows."""
    from failoverctl.drill.faults import CATALOGUE

    return Vocabulary(faults=CATALOGUE, commands=COMMANDS)


#: The commands of failoverctl that a scenario may run.
COMMANDS = (
    "check",
    "failover",
    "lock",
    "pause",
    "rejoin",
    "resume",
    "resume-automation",
    "rollback",
    "setup",
    "status",
    "switchover",
)


def load(folders: Sequence[Path], words: Vocabulary) -> dict[str, Scenario]:
    """Return the shipped scenarios and those of the folders, by id and in the order of their names.

    A scenario of a folder takes the place of a shipped one of its id.

    :raises ConfigurationError: with everything that is wrong in any of the files.
    """
    found: dict[str, Scenario] = {}
    problems: list[Problem] = []
    for folder in (SHIPPED, *folders):
        for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]) if folder.is_dir() else []:
            scenario = read(path, words, problems, shipped=folder == SHIPPED)
            if scenario is not None:
                found[scenario.ident] = scenario
    if problems:
        raise ConfigurationError(problems, Path.cwd())
    return found


def read(path: Path, words: Vocabulary, problems: list[Problem], *, shipped: bool = False) -> Scenario | None:
    """Return the scenario of a file; None when it cannot be used, with the reasons added to ``problems``."""
    index = sources.Index()
    root = sources.read_yaml(path, index)
    before = len(problems)
    problems += index.problems
    if root is None:
        if len(problems) == before:
            problems.append(Problem(code="not_a_mapping", message="the file is empty", location=Location(path, 1)))
        return None
    found = _Reader(path, words, problems).scenario(root, shipped)
    return found if len(problems) == before else None


#: The keys of a scenario and what they mean.
KEYS: Mapping[str, str] = {
    "id": "its name on the command line; by default that of the file",
    "title": "what happens, in a few words",
    "description": "the same in sentences",
    "risks": "what it is a drill for",
    "environment": "`lab`, `staging` or `production`: the most precious estate it may run on",
    "requires": "`database` or `php`, where it means nothing without",
    "approval": "`by` whom and `until` when it may run in production",
    "objectives": "`rto_seconds` (by default the estate's; null is none), `http_after_write_seconds`, `whole_seconds`",
    "load": "`writers`, `rate_hz`, `http`, `good_ms`, `timeout_ms`, `baseline_seconds`, `direct`",
    "steady_state": "conditions that must hold before it starts and again after it ended",
    "method": "steps: `fault`, `wait`, `wait_for`, `command`, `kill_each`, `heal`, `repeat`",
    "expect": "`primary` (moves, stays), `terms` (how many, or least and most), `writes` (served, stopped, any), "
    "`clients_may_hang`, `problems` (codes that must be seen), `holds` (conditions before healing)",
    "abort_when": "conditions that end the method at once",
    "rollbacks": "steps that are always played, after everything was healed",
    "observe_seconds": "how long clients may take to be served well after the method",
    "linger_seconds": "how long it is watched at least after the last fault, before it is healed",
    "settle_seconds": "how long the estate may take to be whole after healing",
    "cooldown_seconds": "pause before the next run",
    "repeat": "how often it is run",
}


class _Reader:
    """Takes a scenario out of the nodes of one file and collects what is wrong with it."""

    def __init__(self, path: Path, words: Vocabulary, problems: list[Problem]) -> None:
        self._path = path
        self._words = words
        self._problems = problems
        self._idents: set[str] = set()

    # -- the file as a whole --------------------------------------------------------------------

    def scenario(self, root: yaml.Node, shipped: bool) -> Scenario | None:
        part = self._mapping(root, "a scenario", KEYS)
        if part is None:
            return None
        for key in ("title", "method"):
            if key not in part:
                self._say(root, "missing_key", f"the key {key!r} is missing")
        ident = self._text(part, "id", self._path.stem)
        if not _ID.match(ident):
            where = part.get("id", root)
            self._say(where, "wrong_value", f"id {ident!r} must be lower-case letters, digits and underscores")
        method = self._steps(part.get("method"))
        if "method" in part and not method:
            self._say(part["method"], "wrong_value", "method must have at least one step")
        default = Scenario("", "", "", (), self._path)
        return Scenario(
            ident=ident,
            title=self._text(part, "title", ident),
            description=" ".join(self._text(part, "description", "").split()),
            method=method,
            path=self._path,
            shipped=shipped,
            risks=self._texts(part.get("risks"), "risks"),
            environment=self._choice(part, "environment", ENVIRONMENTS, default.environment),
            requires=self._requires(part.get("requires")),
            approval=self._approval(part.get("approval")),
            promises=self._promises(part.get("objectives")),
            load=self._load(part.get("load")),
            steady_state=self._conditions(part.get("steady_state"), "steady_state") or default.steady_state,
            expect=self._expect(part.get("expect"), method),
            abort_when=self._conditions(part.get("abort_when"), "abort_when") or default.abort_when,
            rollbacks=self._steps(part.get("rollbacks")),
            observe_seconds=self._number(part, "observe_seconds", default.observe_seconds, 1, 3600),
            linger_seconds=self._number(part, "linger_seconds", default.linger_seconds, 0, 3600),
            settle_seconds=self._number(part, "settle_seconds", default.settle_seconds, 1, 3600),
            cooldown_seconds=self._number(part, "cooldown_seconds", default.cooldown_seconds, 0, 3600),
            repeat=self._whole(part, "repeat", default.repeat, 1, 1000),
        )

    def _requires(self, node: yaml.Node | None) -> tuple[str, ...]:
        found = self._texts(node, "requires")
        for word in found:
            if word not in REQUIREMENTS and node is not None:
                self._say(node, "wrong_value", f"nothing is called {word!r}", nearest(word, REQUIREMENTS))
        return found

    def _approval(self, node: yaml.Node | None) -> Approval | None:
        if node is None:
            return None
        part = self._mapping(node, "approval", {"by", "until"})
        if part is None:
            return None
        by, until = self._text(part, "by", ""), self._text(part, "until", "")
        if not by:
            self._say(node, "missing_key", "approval must say `by` whom")
        try:
            return Approval(by, date.fromisoformat(until))
        except ValueError:
            self._say(
                part.get("until", node),
                "wrong_value",
                f"approval.until must be a date such as 2027-01-31, found {until!r}",
            )
            return None

    def _promises(self, node: yaml.Node | None) -> Promises:
        known = {"rto_seconds", "http_after_write_seconds", "whole_seconds"}
        part = self._mapping(node, "objectives", known) if node is not None else None
        if part is None:
            return Promises()
        return Promises(
            rto_seconds=self._limit(part, "rto_seconds"),
            rto_of_estate="rto_seconds" not in part,
            http_after_write_seconds=self._limit(part, "http_after_write_seconds"),
            whole_seconds=self._limit(part, "whole_seconds"),
        )

    def _load(self, node: yaml.Node | None) -> Load:
        default = Load()
        known = {"writers", "rate_hz", "http", "good_ms", "timeout_ms", "baseline_seconds", "direct"}
        part = self._mapping(node, "load", known) if node is not None else None
        if part is None:
            return default
        return Load(
            writers=self._whole(part, "writers", default.writers, 1, 1000),
            rate_hz=self._number(part, "rate_hz", default.rate_hz, 0.1, 1000),
            http=self._flag(part, "http", default.http),
            good_ms=self._number(part, "good_ms", default.good_ms, 1, 60_000),
            timeout_ms=self._number(part, "timeout_ms", default.timeout_ms, 10, 60_000),
            baseline_seconds=self._number(part, "baseline_seconds", default.baseline_seconds, 1, 600),
            direct=self._flag(part, "direct", default.direct),
        )

    def _expect(self, node: yaml.Node | None, method: Sequence[Step]) -> Expect:
        sudden = any(isinstance(step, FaultStep) for step in flatten(method))
        known = {"primary", "terms", "writes", "clients_may_hang", "problems", "holds"}
        part = self._mapping(node, "expect", known) if node is not None else None
        if part is None:
            return Expect(clients_may_hang=sudden)
        return Expect(
            primary=self._choice(part, "primary", ("moves", "stays", "any"), "any"),
            terms=self._range(part.get("terms"), "expect.terms"),
            writes=self._choice(part, "writes", ("served", "stopped", "any"), "served"),
            clients_may_hang=self._flag(part, "clients_may_hang", sudden),
            problems=self._texts(part.get("problems"), "expect.problems"),
            holds=self._conditions(part.get("holds"), "expect.holds"),
        )

    # -- conditions and steps -------------------------------------------------------------------

    def _conditions(self, node: yaml.Node | None, where: str) -> tuple[Condition, ...]:
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self._say(node, "wrong_type", f"{where} must be a list of conditions")
            return ()
        found = [self._condition(item) for item in node.value]
        return tuple(condition for condition in found if condition is not None)

    def _condition(self, node: yaml.Node) -> Condition | None:
        if isinstance(node, yaml.ScalarNode):
            word, value = str(node.value), None
        else:
            pairs = list(sources.items(node))
            if len(pairs) != 1:
                self._say(node, "wrong_type", "a condition is a word, or one word with its value")
                return None
            word, value, _ = pairs[0]
        if word not in CONDITIONS:
            self._say(node, "unknown_condition", f"unknown condition {word!r}", nearest(word, CONDITIONS))
            return None
        takes = CONDITIONS[word].takes
        if value is None:
            if takes and not takes.endswith("?"):
                self._say(node, "wrong_value", f"condition {word} needs a value: {word}: ...")
                return None
            return Condition(word)
        match takes.rstrip("?"):
            case "":
                self._say(node, "wrong_value", f"condition {word} takes no value")
                return None
            case "seconds":
                seconds = _as_number(value)
                if seconds is None or seconds < 0:
                    self._say(value, "wrong_value", f"{word} must be a number of seconds, found {_shown(value)}")
                    return None
                return Condition(word, seconds)
            case "role":
                part = self._mapping(value, f"condition {word}", {"host", "is"})
                if part is None or not {"host", "is"} <= set(part):
                    self._say(value, "wrong_value", f"{word} needs `host` and `is`")
                    return None
                host = self._text(part, "host", "")
                self._selector(part["host"], host)
                return Condition(word, {"host": host, "is": self._text(part, "is", "")})
        if not isinstance(value, yaml.ScalarNode):
            self._say(value, "wrong_type", f"{word} must be text")
            return None
        return Condition(word, str(value.value))

    def _steps(self, node: yaml.Node | None) -> tuple[Step, ...]:
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self._say(node, "wrong_type", "steps must be a list")
            return ()
        found = [self._step(item) for item in node.value]
        return tuple(step for step in found if step is not None)

    def _step(self, node: yaml.Node) -> Step | None:
        verbs = {key for key, _, _ in sources.items(node)} & VERBS
        if not isinstance(node, yaml.MappingNode) or len(verbs) != 1:
            listed = ", ".join(sorted(VERBS))
            given = [key for key, _, _ in sources.items(node)]
            hint = nearest(given[0], VERBS) if given and not verbs else ""
            self._say(node, "unknown_step", f"a step has exactly one of {listed}", hint)
            return None
        verb = verbs.pop()
        if verb == "fault":
            return self._fault(node)
        part = self._mapping(node, f"step {verb!r}", _STEP_KEYS[verb])
        if part is None:
            return None
        match verb:
            case "wait":
                return WaitStep(self._number(part, "wait", 0, 0, 3600))
            case "wait_for":
                condition = self._condition(part["wait_for"])
                limit = self._number(part, "limit_seconds", 60.0, 0.1, 3600)
                return WaitForStep(condition, limit) if condition is not None else None
            case "command":
                return self._command(part)
            case "kill_each":
                return self._kill_each(node, part)
            case "heal":
                what = self._text(part, "heal", "")
                if what != "all" and what not in self._idents:
                    self._say(
                        part["heal"],
                        "unknown_fault_id",
                        f"no fault of id {what!r} before",
                        nearest(what, {*self._idents, "all"}),
                    )
                return HealStep(what)
        steps = self._steps(part.get("do"))
        if "do" not in part or not steps:
            self._say(node, "missing_key", "repeat needs `do`, a list of steps")
        return RepeatStep(self._whole(part, "repeat", 1, 1, 1000), steps)

    def _kill_each(self, node: yaml.Node, part: Mapping[str, yaml.Node]) -> Step:
        words = self._command_words(part["kill_each"], "kill_each")
        then = part.get("then")
        lists = then.value if isinstance(then, yaml.SequenceNode) else []
        finishing = tuple(self._command_words(item, "then") for item in lists)
        if not finishing:
            self._say(then or node, "missing_key", "kill_each needs `then`, a list of commands: [[resume, --yes]]")
        default = KillEachStep((), ())
        return KillEachStep(
            words=words,
            then=finishing,
            before=self._steps(part.get("before")),
            after=self._steps(part.get("after")),
            every=self._whole(part, "every", default.every, 1, 100),
            limit_seconds=self._number(part, "limit_seconds", default.limit_seconds, 1, 7200),
        )

    def _command(self, part: Mapping[str, yaml.Node]) -> Step:
        words = self._command_words(part["command"], "command")
        default = CommandStep(())
        exits = tuple(int(value) for value in self._numbers(part.get("expect_exit"), "expect_exit"))
        return CommandStep(
            words=words,
            expect_exit=exits or default.expect_exit,
            expect_codes=self._texts(part.get("expect_codes"), "expect_codes"),
            kill_at=self._text(part, "kill_at", ""),
            limit_seconds=self._number(part, "limit_seconds", default.limit_seconds, 1, 3600),
        )

    def _command_words(self, node: yaml.Node, where: str) -> tuple[str, ...]:
        """Return the words of a command of failoverctl, and say what is wrong with them."""
        words = self._texts(node, where)
        if words and words[0] not in self._words.commands:
            self._say(
                node,
                "unknown_command",
                f"a drill cannot run `failoverctl {words[0]}`",
                nearest(words[0], self._words.commands),
            )
        for word in words:
            for selector in _WORD_SELECTOR.findall(word):
                if selector not in SELECTORS:
                    self._say(node, "unknown_host", f"unknown host {{{selector}}}", nearest(selector, SELECTORS))
        if not words:
            self._say(node, "wrong_value", f"{where} must be a list of words")
        return words

    def _fault(self, node: yaml.MappingNode) -> Step | None:
        part = {key: value for key, value, _ in sources.items(node)}
        lines = {key: line for key, _, line in sources.items(node)}
        name = self._text(part, "fault", "")
        fault = self._words.faults.get(name)
        if fault is None:
            self._say(part["fault"], "unknown_fault", f"unknown fault {name!r}", nearest(name, self._words.faults))
            return None
        ident = self._text(part, "id", name.replace("_", "-"))
        if not _FAULT_ID.match(ident):
            where = part.get("id", node)
            self._say(where, "wrong_value", f"id {ident!r} must be at most 24 lower-case letters, digits and hyphens")
        self._idents.add(ident)
        hosts = self._selectors(part.get("host"))
        if fault.needs_host and not hosts:
            self._say(node, "missing_key", f"fault {name} needs `host`", "one of " + ", ".join(SELECTORS))
        given = {key: _plain(value) for key, value in part.items() if key not in ("fault", "id", "host", "seconds")}
        for key, message in fault.problems(given):
            line = lines.get(key, node.start_mark.line + 1)
            self._say_at(line, "wrong_option", f"fault {name}: {key}: {message}")
        selecting = frozenset(key for key in given if key in fault.options and fault.options[key].kind == "host")
        for key in selecting:
            self._selectors(part[key])
        return FaultStep(name, ident, hosts, self._limit(part, "seconds"), given, selecting)

    def _selectors(self, node: yaml.Node | None) -> tuple[str, ...]:
        found = self._texts(node, "host")
        for selector in found:
            if node is not None:
                self._selector(node, selector)
        return found

    def _selector(self, node: yaml.Node, selector: str) -> None:
        """A selector, or the name of a host: which hosts there are, no scenario knows."""
        if not selector or selector in SELECTORS:
            return
        hint = nearest(selector, SELECTORS)
        if hint.startswith("did you mean"):
            self._say(node, "unknown_host", f"unknown host {selector!r}", hint)

    # -- values ---------------------------------------------------------------------------------

    def _mapping(self, node: yaml.Node, what: str, known: Iterable[str]) -> dict[str, yaml.Node] | None:
        if not isinstance(node, yaml.MappingNode):
            self._say(node, "not_a_mapping", f"{what} must be keys and values, found {_shown(node)}")
            return None
        part: dict[str, yaml.Node] = {}
        for key, value, line in sources.items(node):
            if key in known:
                part[key] = value
            else:
                self._say_at(line, "unknown_key", f"unknown key {key!r} in {what}", nearest(key, known))
        return part

    def _text(self, part: Mapping[str, yaml.Node], key: str, default: str) -> str:
        node = part.get(key)
        if node is None:
            return default
        if isinstance(node, yaml.ScalarNode) and not _is_null(node):
            return str(node.value)
        self._say(node, "wrong_type", f"{key} must be text, found {_shown(node)}")
        return default

    def _texts(self, node: yaml.Node | None, where: str) -> tuple[str, ...]:
        if node is None:
            return ()
        if isinstance(node, yaml.ScalarNode) and not _is_null(node):
            return (str(node.value),)
        if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            return tuple(str(item.value) for item in node.value)
        self._say(node, "wrong_type", f"{where} must be a list of words, found {_shown(node)}")
        return ()

    def _numbers(self, node: yaml.Node | None, where: str) -> tuple[float, ...]:
        if node is None:
            return ()
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        numbers = [_as_number(item) for item in items]
        if all(number is not None and number == int(number) for number in numbers):
            return tuple(number for number in numbers if number is not None)
        self._say(node, "wrong_value", f"{where} must be a whole number or a list of them, found {_shown(node)}")
        return ()

    def _number(self, part: Mapping[str, yaml.Node], key: str, default: float, low: float, high: float) -> float:
        node = part.get(key)
        if node is None:
            return default
        value = _as_number(node)
        if value is None or not low <= value <= high:
            self._say(node, "wrong_value", f"{key} must be a number from {low:g} to {high:g}, found {_shown(node)}")
            return default
        return value

    def _whole(self, part: Mapping[str, yaml.Node], key: str, default: int, low: int, high: int) -> int:
        value = self._number(part, key, default, low, high)
        if value != int(value):
            self._say(part[key], "wrong_value", f"{key} must be a whole number, found {_shown(part[key])}")
        return int(value)

    def _limit(self, part: Mapping[str, yaml.Node], key: str) -> float | None:
        node = part.get(key)
        if node is None or _is_null(node):
            return None
        return self._number(part, key, 0.0, 0.0, 86_400.0)

    def _flag(self, part: Mapping[str, yaml.Node], key: str, default: bool) -> bool:
        node = part.get(key)
        if node is None:
            return default
        if isinstance(node, yaml.ScalarNode) and str(node.value).lower() in ("true", "false", "yes", "no"):
            return str(node.value).lower() in ("true", "yes")
        self._say(node, "wrong_type", f"{key} must be true or false, found {_shown(node)}")
        return default

    def _choice(self, part: Mapping[str, yaml.Node], key: str, choices: Sequence[str], default: str) -> str:
        value = self._text(part, key, default)
        if value not in choices:
            self._say(
                part[key],
                "wrong_value",
                f"{key} must be one of {', '.join(choices)}, found {value!r}",
                nearest(value, choices),
            )
            return default
        return value

    def _range(self, node: yaml.Node | None, where: str) -> tuple[int, int] | None:
        """A whole number, or the two bounds of a range."""
        if node is None:
            return None
        numbers = self._numbers(node, where)
        if len(numbers) == 1:
            return int(numbers[0]), int(numbers[0])
        if len(numbers) == 2 and numbers[0] <= numbers[1]:
            return int(numbers[0]), int(numbers[1])
        if numbers:
            self._say(node, "wrong_value", f"{where} must be a number, or the least and the most: [0, 1]")
        return None

    def _say(self, node: yaml.Node, code: str, message: str, fix: str = "") -> None:
        self._say_at(node.start_mark.line + 1, code, message, fix)

    def _say_at(self, line: int, code: str, message: str, fix: str = "") -> None:
        self._problems.append(Problem(code=code, message=message, location=Location(self._path, line), fix=fix))


_STEP_KEYS: Mapping[str, frozenset[str]] = {
    "wait": frozenset({"wait"}),
    "wait_for": frozenset({"wait_for", "limit_seconds"}),
    "command": frozenset({"command", "expect_exit", "expect_codes", "kill_at", "limit_seconds"}),
    "kill_each": frozenset({"kill_each", "before", "then", "after", "every", "limit_seconds"}),
    "heal": frozenset({"heal"}),
    "repeat": frozenset({"repeat", "do"}),
}
#: What a step may be.
VERBS = frozenset({"fault", *_STEP_KEYS})


def _plain(node: yaml.Node) -> Any:
    """Return the value of a node as YAML means it: text, numbers, lists, mappings."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {key: _plain(value) for key, value, _ in sources.items(node)}
    return yaml.safe_load(str(node.value)) if _is_simple(node) else str(node.value)


def _is_simple(node: yaml.Node) -> bool:
    """A number, a truth value or nothing, written without quotes."""
    return node.tag.rpartition(":")[2] in ("int", "float", "bool", "null")


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _as_number(node: yaml.Node) -> float | None:
    if not isinstance(node, yaml.ScalarNode):
        return None
    try:
        value = float(node.value)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else repr(str(node.value))
