# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What befalls an estate, and when: made from a seed, written as text, read back, made shorter.

The words are those of the drills (``failoverctl drill``), and some more that only a simulation can do::

    seed 4711
    hosts www1 www2
    primary www1
    2.100 kill_process host=www1 process=mariadbd
    3.000 cut from=www1 to=www2 ports=database one_way=1 seconds=4.0

Times are seconds from the beginning. A fault with ``seconds`` is undone after so long.

Some schedules are made by chance alone. Others vary a story of :data:`STORIES`: something that went wrong once, or that
a guard of the agent is there for, and that chance would hardly ever bring about.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from failover_agent.policy import Engine, LastReplicaLoss

from simulator.network import SERVICES

WITNESS = "witness"
STORIES = Path(__file__).parent / "stories"
#: So many schedules have one among them that varies a story.
VARIED = 4
#: So many schedules have one without a database among them.
WITHOUT_DATABASE = 8
#: So many schedules have one among them where writes wait when no replica is left.
WAITING = 16
#: Operations of an agent at which something may strike; a name stands for all that begin with it.
OPERATIONS = (
    "etcd",
    "etcd.read",
    "etcd.commit",
    "etcd.renew",
    "etcd.grant",
    "sql",
    "sql SELECT VERSION",
    "sql SET GLOBAL read_only=0",
    "sql SET GLOBAL read_only=1",
    "sql SET GLOBAL rpl_semi_sync",
    "sql STOP SLAVE",
    "sql CHANGE MASTER",
    "sql RESET SLAVE",
    "sql START SLAVE",
    "host",
    "host.fence",
    "host.lift_fence",
    "host.open_gate",
    "host.close_gate",
    "host.start_database",
    "peer",
    "peer /prepare",
    "peer /catch_up",
    "peer /promote",
    "peer /position",
    "peer /stop_receiving",
    "peer /failsafe",
    "peer /acknowledge",
    "peer /step_down",
    "salvage",
    "host.set_shut_out",
    "sql STOP SLAVE IO_THREAD",
)
HOWS = ("CRASH_BEFORE", "CRASH_AFTER", "FAIL", "NO_ANSWER", "LATE", "STALL")
#: Faults that come one at a time in a schedule for liveness: the estate must survive each without a person.
SINGLE = (
    "kill_process",
    "freeze_process",
    "power_off",
    "freeze_host",
    "cut",
    "slow_link",
    "step_clock",
    "fill_disk",
    "block_vrrp",
)
_KILLED = ("mariadbd",) * 5 + ("failover-agent",) * 3 + ("etcd", "failover-guard", "keepalived")
_FROZEN = ("mariadbd",) * 3 + ("failover-agent",) * 4 + ("etcd", "failover-guard")
_WEIGHTS = {
    "kill_process": 10,
    "freeze_process": 6,
    "power_off": 8,
    "freeze_host": 4,
    "cut": 12,
    "slow_link": 3,
    "flap_link": 2,
    "block_vrrp": 1,
    "fill_disk": 2,
    "step_clock": 2,
    "lag": 5,
    "strike": 16,
    "switch_over": 6,
    "fail_over": 3,
    "write_on_replica": 2,
    "pause": 1,
    "resume_automation": 1,
}


class ScheduleError(ValueError):
    """A text that is no schedule; it names the line."""


@dataclass(frozen=True)
class Event:
    """One fault, ``at`` seconds after the beginning. Options are words and their texts, in order."""

    at: float
    word: str
    options: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """One option."""
        return next((value for key, value in self.options if key == name), default)

    def number(self, name: str, default: float = 0.0) -> float:
        """One option that is a number."""
        return float(self.get(name) or default)

    @property
    def seconds(self) -> float:
        """For how long it lasts."""
        rounds = self.number("times") * (self.number("on") + self.number("off"))
        return rounds or self.number("seconds")

    def __str__(self) -> str:
        return " ".join([f"{self.at:.3f}", self.word, *(f"{key}={value}" for key, value in self.options)])


@dataclass(frozen=True)
class Schedule:
    """A whole story. ``seed`` also drives all that the events leave open."""

    seed: int
    hosts: tuple[str, ...]
    primary: str
    events: tuple[Event, ...]
    #: Whether the faults come one at a time, so that writes have to come back within a limit.
    single: bool = False
    #: Whether the estate has a database, or only what follows the primary.
    engine: Engine = "mariadb"
    #: What becomes of writes when no replica is left.
    on_last_replica_loss: LastReplicaLoss = "degrade"

    @property
    def etcd_hosts(self) -> tuple[str, ...]:
        """Where etcd's three members are."""
        return (*self.hosts, WITNESS)[:3]

    @property
    def seconds(self) -> float:
        """When the last fault is over."""
        return max((event.at + event.seconds for event in self.events), default=0.0)

    def with_events(self, events: Iterable[Event]) -> Schedule:
        """The same with other events."""
        return replace(self, events=tuple(events))

    def __str__(self) -> str:
        head = [f"seed {self.seed}", f"hosts {' '.join(self.hosts)}", f"primary {self.primary}"]
        if self.single:
            head.append("single")
        if self.engine != "mariadb":
            head.append(f"engine {self.engine}")
        if self.on_last_replica_loss != "degrade":
            head.append(f"on_last_replica_loss {self.on_last_replica_loss}")
        return "\n".join([*head, *map(str, self.events)]) + "\n"


def parse(text: str) -> Schedule:
    """Read a schedule back.

    :raises ScheduleError: with the line that was not understood.
    """
    seed, primary, single = 0, "www1", False
    engine: Engine = "mariadb"
    loss: LastReplicaLoss = "degrade"
    hosts: tuple[str, ...] = ("www1", "www2")
    events = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        try:
            match words:
                case []:
                    continue
                case ["seed", value]:
                    seed = int(value)
                case ["hosts", *names]:
                    hosts = tuple(names)
                case ["primary", name]:
                    primary = name
                case ["single"]:
                    single = True
                case ["engine", "mariadb" | "none" as name]:
                    engine = "none" if name == "none" else "mariadb"
                case ["on_last_replica_loss", "degrade" | "block" as name]:
                    loss = "block" if name == "block" else "degrade"
                case [at, word, *options]:
                    parts = (option.partition("=") for option in options)
                    events.append(Event(float(at), word, tuple((key, value) for key, _equals, value in parts)))
                case _:
                    raise ValueError(line)
        except ValueError as error:
            raise ScheduleError(f"line {number}: {line!r} is no line of a schedule") from error
    return Schedule(seed, hosts, primary, tuple(events), single, engine, loss)


def generate(seed: int) -> Schedule:
    """The schedule of a seed. Some are of an estate without a database; what would strike that strikes the agent."""
    if seed % VARIED == 1:
        random = Random(seed)
        return vary(random.choice(stories()), random, seed)
    made = _generate(seed)
    if seed % WAITING == 2:
        return replace(made, on_last_replica_loss="block")
    if seed % WITHOUT_DATABASE:
        return made
    events = (event for event in made.events if event.word not in {"lag", "fill_disk"})
    return replace(made, events=tuple(map(_on_the_agent, events)), engine="none")


@functools.cache
def stories() -> tuple[Schedule, ...]:
    """All stories, by name."""
    return tuple(parse(path.read_text(encoding="utf-8")) for path in sorted(STORIES.glob("*.txt")))


def vary(story: Schedule, random: Random, seed: int) -> Schedule:
    """The same story at other times, and sometimes with one fault more."""
    reach = random.choice((0.0, 0.2, 0.2, 1.0))

    def varied(event: Event) -> Event:
        stretch = 1.0 + random.choice((0.0, 0.1, 0.3)) * (2.0 * random.random() - 1.0)
        options = tuple(
            (key, f"{float(value) * stretch:.3f}" if key in {"seconds", "on", "off"} else value)
            for key, value in event.options
        )
        at = max(0.5, event.at + reach * (2.0 * random.random() - 1.0))
        return replace(event, at=round(at, 3), options=options)

    events = [varied(event) for event in story.events]
    if story.engine == "mariadb" and random.random() < 0.25:
        word = random.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        at = 1.0 + random.random() * (story.seconds + 3.0)
        events.append(_event(random, word, story.hosts, story.primary, at))
    events.sort(key=lambda event: event.at)
    return replace(story, seed=seed, events=tuple(events), single=False)


def _on_the_agent(event: Event) -> Event:
    """The same fault where there is no database to strike."""
    spared = {"mariadbd": "failover-agent"}
    options = tuple((key, spared.get(value, value)) for key, value in event.options)
    if event.get("operation").startswith(("sql", "salvage")):
        known = [name for name in OPERATIONS if not name.startswith(("sql", "salvage"))]
        chosen = known[int(event.at * 1000) % len(known)].replace(" ", "+")
        options = tuple((key, chosen if key == "operation" else value) for key, value in options)
    return replace(event, options=options)


def _generate(seed: int) -> Schedule:
    random = Random(seed)
    hosts = ("www1", "www2", "www3")[: 3 if random.random() < 0.3 else 2]
    primary = random.choice(hosts)
    if random.random() < 0.15:
        word = random.choice(SINGLE)
        event = _event(random, word, hosts, primary, 3.0 + 6.0 * random.random(), single=True)
        return Schedule(seed, hosts, primary, (event,), single=True)
    events: list[Event] = []
    now = 1.0 + 3.0 * random.random()
    words, weights = tuple(_WEIGHTS), tuple(_WEIGHTS.values())
    for _chapter in range(random.choice((1, 2, 3))):
        for _number in range(random.choice((1, 2, 2, 3, 3, 4, 5))):
            word = random.choices(words, weights)[0]
            events.append(_event(random, word, hosts, primary, now))
            now += random.choice((0.05, 0.4, 1.5, 3.0, 5.0, 8.0)) * (0.5 + random.random())
        now += 5.0 + 15.0 * random.random()
    return Schedule(seed, hosts, primary, tuple(events))


def _event(random: Random, word: str, hosts: Sequence[str], primary: str, at: float, *, single: bool = False) -> Event:
    """One fault at a time ``at``; the primary is hit as often as all others together."""
    host = primary if random.random() < 0.5 else random.choice(hosts)
    options: dict[str, object] = {"host": host}
    seconds = random.choice((0.3, 1.0, 2.5, 4.5, 7.0, 10.0, 14.0)) * (0.7 + 0.6 * random.random())
    members = (*hosts, WITNESS)[:3]
    match word:
        case "kill_process":
            process = random.choice(_KILLED)
            if process == "etcd":
                options = {"host": random.choice(members), "process": process, "seconds": seconds}
            else:
                options["process"] = process
        case "freeze_process":
            process = random.choice(_FROZEN)
            options |= {"host": random.choice(members) if process == "etcd" else host, "process": process}
            options["seconds"] = seconds
        case "power_off" | "freeze_host" | "lag" | "fill_disk":
            options["seconds"] = seconds + (3.0 if word == "power_off" else 0.0)
        case "cut":
            others = [name for name in dict.fromkeys((*hosts, *members)) if name != host]
            target = random.choice(("all", "all", "etcd", *others))
            options = {"from": host, "to": target}
            if target not in {"all", "etcd"} and random.random() < 0.4:
                options["ports"] = random.choice(SERVICES[:3])
            if random.random() < 0.35:
                if random.random() < 0.5 and target not in {"all", "etcd"}:
                    options = {**options, "from": target, "to": host}
                options["one_way"] = 1
            options["seconds"] = seconds
        case "flap_link":
            other = random.choice([name for name in hosts if name != host])
            options = {"from": host, "to": other, "on": round(0.5 + 3 * random.random(), 2)}
            options |= {"off": round(0.5 + 5 * random.random(), 2), "times": random.choice((2, 3, 5))}
        case "slow_link":
            options |= {"delay_ms": random.choice((20, 100, 200, 400)), "loss_percent": random.choice((0, 2, 10, 25))}
            options["seconds"] = seconds
        case "block_vrrp":
            options = {"seconds": seconds}
        case "step_clock":
            options["by"] = random.choice((-3600, -5, 5, 3600, 86400))
        case "strike":
            options |= {"operation": random.choice(OPERATIONS).replace(" ", "+"), "how": random.choice(HOWS)}
            options["skip"] = random.choice((0, 0, 0, 1, 1, 2, 3, 5, 8))
        case "switch_over":
            options = {"to": random.choice(("", *hosts))}
        case "fail_over":
            options["to"] = random.choice(("", "", *hosts))
        case "write_on_replica":
            options["host"] = random.choice([name for name in hosts if name != primary])
        case "pause":
            options["seconds"] = seconds
    if single and word == "fill_disk":
        options["host"] = random.choice([name for name in hosts if name != primary])
    texts = {key: f"{value:.3f}" if isinstance(value, float) else str(value) for key, value in options.items()}
    return Event(round(at, 3), word, tuple((key, value) for key, value in texts.items() if value != ""))
