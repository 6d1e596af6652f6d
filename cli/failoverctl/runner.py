"""Runs playbooks through ansible-runner and yields what happens as typed events.

This is the only module that imports ansible_runner. It knows nothing of runbooks, journals or
screens.
"""

from __future__ import annotations

import configparser
import os
import queue
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from failoverctl.errors import ExitCode, FailoverctlError

#: How long :meth:`Run.kill` waits for ansible-playbook to end its workers before it kills them.
KILL_GRACE_SECONDS = 3.0

#: How often a waiting caller is woken, so that a live view can count seconds.
TICK_SECONDS = 0.25

#: Set unless the user's environment or ansible.cfg says otherwise: variable, ini section, ini key,
#: value. Pipelining halves the time of a small task. Connections persist by Ansible's own default.
_PREFERENCES = (
    ("ANSIBLE_PIPELINING", "connection", "pipelining", "True"),
    ("ANSIBLE_FORKS", "defaults", "forks", "10"),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run and where to keep its traces.

    ``playbook`` is a path or a fully qualified name such as ``hosting.failover.status``;
    ``inventory`` are inventory sources; ``folder`` is where ansible-runner writes, and ``ident``
    the folder in it for this playbook; ``directory`` is the working directory, whose ansible.cfg
    counts. ``variables`` must hold no secret: they are visible in the process list. Each task is
    noted in ``journal`` before it is sent, ``journal_zero`` being the monotonic clock of its begin.
    """

    playbook: str
    inventory: Sequence[str]
    folder: Path
    ident: str
    directory: Path
    variables: Mapping[str, Any] = field(default_factory=dict)
    vault_ids: Sequence[str] = ()
    check: bool = False
    diff: bool = False
    limit: str = ""
    verbosity: int = 0
    journal: Path | None = None
    journal_zero: float = 0.0


@dataclass(frozen=True)
class PlayStarted:
    """A play began."""

    name: str


@dataclass(frozen=True)
class TaskStarted:
    """A task or handler began on the hosts of the play."""

    name: str
    action: str


@dataclass(frozen=True)
class TaskEnded:
    """A task ended on one host with ok, changed, failed, skipped or unreachable.

    ``ignored`` says that the playbook goes on in spite of a failure; ``result`` is what the module
    returned.
    """

    name: str
    action: str
    host: str
    outcome: str
    seconds: float
    ignored: bool
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Recap:
    """What Ansible counts at the end: how many tasks failed, by host, and which were rescued."""

    failures: Mapping[str, int]
    unreachable: Mapping[str, int]
    rescued: Mapping[str, int]


@dataclass(frozen=True)
class Output:
    """What ansible-playbook printed: ``level`` is warning, error, deprecated or verbose.

    With a verbosity of at least one, all of it comes a second time, in its order, as level raw.
    """

    level: str
    text: str


@dataclass(frozen=True)
class Tick:
    """Nothing happened for :data:`TICK_SECONDS`."""


@dataclass(frozen=True)
class Ended:
    """ansible-playbook ended with this exit status; ``stopped`` when it was asked to."""

    return_code: int
    stopped: bool
    killed: bool


Event: TypeAlias = PlayStarted | TaskStarted | TaskEnded | Recap | Output | Tick | Ended

_OUTCOMES = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_skipped": "skipped",
    "runner_on_unreachable": "unreachable",
}
_LEVELS = {
    "error": "error",
    "warning": "warning",
    "system_warning": "warning",
    "deprecated": "deprecated",
    "verbose": "verbose",
}


def parse_event(event: Mapping[str, Any]) -> Event | None:
    """Return the typed form of one ansible-runner event, or None for one of no interest.

    :param event: a dictionary as ansible-runner hands to its event handler and writes to
        ``job_events/``.
    """
    kind = str(event.get("event", ""))
    data = event.get("event_data") or {}
    if kind == "playbook_on_play_start":
        return PlayStarted(str(data.get("name") or data.get("play") or ""))
    if kind in ("playbook_on_task_start", "playbook_on_handler_task_start"):
        return TaskStarted(str(data.get("task", "")), _action(data))
    if kind in _OUTCOMES:
        result = data.get("res")
        result = result if isinstance(result, dict) else {}
        outcome = _OUTCOMES[kind]
        if outcome == "ok" and result.get("changed") is True:
            outcome = "changed"
        return TaskEnded(
            name=str(data.get("task", "")),
            action=_action(data),
            host=str(data.get("host", "")),
            outcome=outcome,
            seconds=round(float(data.get("duration") or 0.0), 3),
            ignored=bool(data.get("ignore_errors")),
            result=result,
        )
    if kind == "playbook_on_stats":
        return Recap(
            failures=data.get("failures") or {},
            unreachable=data.get("dark") or {},
            rescued=data.get("rescued") or {},
        )
    text = str(event.get("stdout", "")).strip()
    if kind in _LEVELS and text:
        return Output(_LEVELS[kind], text)
    return None


def _action(data: Mapping[str, Any]) -> str:
    return str(data.get("resolved_action") or data.get("task_action") or "")


def command_options(request: Request) -> list[str]:
    """Return the ansible-playbook options of the request, without inventory and playbook."""
    options: list[str] = []
    for vault_id in request.vault_ids:
        options += ["--vault-id", vault_id]
    if request.check:
        options.append("--check")
    if request.diff:
        options.append("--diff")
    return options


def environment(request: Request, outer: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to the environment of ansible-playbook.

    PATH begins with the folder of this interpreter, or ansible-playbook is not found when the
    virtual environment was not activated. What the user's environment or the ansible.cfg in force
    already sets is left alone.

    :param outer: the environment of this process.
    """
    added = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), outer.get("PATH", os.defpath)]),
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_FORCE_COLOR": "False",
        "ANSIBLE_CALLBACK_PLUGINS": os.pathsep.join(
            filter(
                None,
                [
                    outer.get("ANSIBLE_CALLBACK_PLUGINS"),
                    str(Path(__file__).with_name("ansible_callbacks")),
                ],
            )
        ),
        "FAILOVERCTL_STOP_FILE": str(stop_file(request)),
        "FAILOVERCTL_PARENT_PID": str(os.getpid()),
        **utf8_locale(outer),
    }
    if request.journal is not None:
        added["FAILOVERCTL_JOURNAL"] = str(request.journal)
        added["FAILOVERCTL_JOURNAL_ZERO"] = repr(request.journal_zero)
    own = _collections_path(request.directory, outer)
    if own:
        added["ANSIBLE_COLLECTIONS_PATH"] = own
    for variable, section, key, value in _PREFERENCES:
        if user_setting(variable, section, key, request.directory, outer) is None:
            added[variable] = value
    return added


def utf8_locale(outer: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to an environment whose locale is not UTF-8; Ansible does not start there.

    The order of the variables is that of setlocale(3).
    """
    locale = next((outer[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if outer.get(name)), "")
    return {} if "utf" in locale.lower() else {"LC_ALL": "C.UTF-8"}


def stop_file(request: Request) -> Path:
    """Return the file whose existence makes the playbook stop before its next task."""
    return request.folder / f"{request.ident}.stop"


def ansible_config(directory: Path, outer: Mapping[str, str]) -> Path | None:
    """Return the ansible.cfg that Ansible would use in a directory, or None.

    The order is that of the Ansible configuration reference: ANSIBLE_CONFIG, the working directory
    unless everybody may write there, the home directory, /etc/ansible.
    """
    named = outer.get("ANSIBLE_CONFIG", "")
    if named:
        path = Path(named).expanduser()
        path = path / "ansible.cfg" if path.is_dir() else path
        return path if path.is_file() else None
    candidates = [Path.home() / ".ansible.cfg", Path("/etc/ansible/ansible.cfg")]
    if not directory.stat().st_mode & 0o002:
        candidates.insert(0, directory / "ansible.cfg")
    return next((path for path in candidates if path.is_file()), None)


def user_setting(variable: str, section: str, key: str, directory: Path, outer: Mapping[str, str]) -> str | None:
    """Return a setting of Ansible that the user made by environment or ansible.cfg, else None."""
    if variable in outer:
        return outer[variable]
    return _user_settings(directory, outer).get(section, key, fallback=None)


def host_key_checking(directory: Path, outer: Mapping[str, str]) -> bool:
    """Return whether Ansible checks the keys of hosts, which it does unless it is told not to."""
    said = user_setting("ANSIBLE_HOST_KEY_CHECKING", "defaults", "host_key_checking", directory, outer)
    return said is None or said.strip().lower() not in ("false", "no", "off", "0", "n", "f")


def _user_settings(directory: Path, outer: Mapping[str, str]) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None)
    path = ansible_config(directory, outer)
    if path is not None:
        try:
            parser.read(path)
        except configparser.Error:
            return configparser.ConfigParser()  # Ansible itself will say what is wrong with it.
    return parser


def _collections_path(directory: Path, outer: Mapping[str, str]) -> str:
    """Return the path to give for a collection that ansible-playbook cannot import by itself.

    An installed `failoverctl`, as a wheel or editable, needs none: ansible-core searches the import
    path of its interpreter. A checkout put on PYTHONPATH by hand or by pytest does. What the user
    said about collections is left alone, and Ansible's own defaults stay behind ours.
    """
    from failoverctl.paths import collection_directory

    for name in ("ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_COLLECTIONS_PATHS"):
        if user_setting(name, "defaults", "collections_path", directory, outer) is not None:
            return ""
    found = collection_directory()
    if found is None or _is_imported_by_ansible(found.parents[2]):
        return ""
    home = outer.get("ANSIBLE_HOME") or str(Path.home() / ".ansible")
    return os.pathsep.join([str(found.parents[2]), f"{home}/collections", "/usr/share/ansible/collections"])


def _is_imported_by_ansible(root: Path) -> bool:
    """Return whether an interpreter like this one has a folder on its import path by itself."""
    import site

    folders = [Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages())]
    lines = (
        line.strip()
        for folder in folders
        for pth in folder.glob("*.pth")
        for line in pth.read_text(encoding="utf-8", errors="replace").splitlines()
    )
    return root in folders or str(root) in lines


class Run:
    """One ansible-playbook. Iterate over it to get its events, the last of which is `Ended`."""

    def __init__(self, request: Request) -> None:
        """Prepare the folder; nothing is started before the first event is asked for."""
        self._request = request
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self._killed = False
        stop_file(request).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Event]:
        """Start ansible-playbook and yield its events, and a `Tick` when there is none for a while.

        :raises FailoverctlError: when ansible-playbook cannot be started.
        """
        thread = threading.Thread(target=self._work, name="ansible-runner", daemon=True)
        thread.start()
        while True:
            try:
                event = self._events.get(timeout=TICK_SECONDS)
            except queue.Empty:
                yield Tick()
                continue
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Ended):
                thread.join()
                return

    def stop(self) -> None:
        """Let the tasks that run now end, and start no other."""
        stop_file(self._request).touch()

    def kill(self) -> None:
        """End ansible-playbook and its workers now: politely first, then with SIGKILL.

        Connection masters of ssh are left; they belong to other runs as well and end by themselves.
        """
        self._killed = True
        threading.Thread(target=_end_playbook, name="kill", daemon=True).start()

    @property
    def stopping(self) -> bool:
        """True once :meth:`stop` or :meth:`kill` was called."""
        return self._killed or stop_file(self._request).exists()

    def _work(self) -> None:
        try:
            return_code = self._execute()
        except BaseException as error:  # Whatever ends this thread must end the iteration too.
            self._events.put(error)
            return
        self._events.put(Ended(return_code, stopped=self.stopping, killed=self._killed))

    def _execute(self) -> int:
        from ansible_runner import Runner, RunnerConfig

        request = self._request
        config = RunnerConfig(
            private_data_dir=str(request.folder),
            artifact_dir=str(request.folder),
            project_dir=str(request.directory),
            ident=request.ident,
            playbook=request.playbook,
            inventory=list(request.inventory),
            extravars=dict(request.variables),
            limit=request.limit or None,
            verbosity=request.verbosity or None,
            cmdline=shlex.join(command_options(request)) or None,
            envvars=environment(request, os.environ),
            settings={"pexpect_timeout": 1},
            quiet=True,
        )
        config.prepare()
        if "ANSIBLE_HOST_KEY_CHECKING" not in os.environ:
            # ansible-runner switches it off unasked. Whether host keys count is the user's choice.
            config.env.pop("ANSIBLE_HOST_KEY_CHECKING", None)
        runner = Runner(config, event_handler=self._handle)
        runner.run()
        if runner.rc == 127:
            raise FailoverctlError(
                f"ansible-playbook was not found beside {sys.executable}.",
                fix="install ansible-core into the environment of failoverctl.",
                exit_code=ExitCode.USAGE,
            )
        # It is None when a signal ended ansible-playbook; 143 is what a shell would say of SIGTERM.
        return 128 + signal.SIGTERM if runner.rc is None else int(runner.rc)

    def _handle(self, event: Mapping[str, Any]) -> bool:
        text = str(event.get("stdout") or "").strip("\r\n")
        if self._request.verbosity and text:
            self._events.put(Output("raw", text.replace("\r\n", "\n")))
        parsed = parse_event(event)
        if parsed is not None:
            self._events.put(parsed)
        return True


def _end_playbook() -> None:
    """SIGTERM for ansible-playbook, which passes it on; SIGKILL for whatever is left after that."""
    table = _process_table()
    mains = [pid for pid, (parent, _) in table.items() if parent == os.getpid() and _is_playbook(pid)]
    doomed = {pid: table[pid][1] for main in mains for pid in (main, *_descendants(main, table))}
    for main in mains:
        _signal(main, signal.SIGTERM)
    deadline = time.monotonic() + KILL_GRACE_SECONDS
    while time.monotonic() < deadline:
        now = _process_table()
        if not any(now.get(pid, (0, ""))[1] == begun for pid, begun in doomed.items()):
            return
        time.sleep(0.1)
    now = _process_table()
    for pid, begun in doomed.items():
        if now.get(pid, (0, ""))[1] == begun:
            _signal(pid, signal.SIGKILL)


def _process_table() -> dict[int, tuple[int, str]]:
    """Return parent and start time (clock ticks since boot, proc(5)) of every process."""
    table: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        values = stat.rpartition(")")[2].split()
        if values[0] != "Z":
            table[int(entry.name)] = (int(values[1]), values[19])
    return table


def _descendants(root: int, table: Mapping[int, tuple[int, str]]) -> list[int]:
    children = [pid for pid, (parent, _) in table.items() if parent == root]
    return [pid for child in children for pid in (child, *_descendants(child, table))]


def _is_playbook(pid: int) -> bool:
    try:
        return b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
