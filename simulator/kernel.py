# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One clock, one queue of what is due, and tasks that wait for it: the agent's threads without threads.

A task is a greenlet: ordinary blocking code that hands over at every wait, and only there. So the agent's own loops,
locks and thread pools run as they are, thousands of times faster than in real time, and the same seed gives the same
order of everything. While tasks run, the modules of the agent see the names :mod:`time`, :mod:`threading` and
``ThreadPoolExecutor`` of :class:`Facade`; see :meth:`Kernel.installed`.

Code outside of any task (a test) may wait, too: the others go on meanwhile. Other threads of the operating system see
time stand still.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from random import Random
from types import SimpleNamespace, TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

import greenlet

T = TypeVar("T")
P = ParamSpec("P")

#: 2026-01-01 00:00 UTC: what wall clocks show when the simulated time is zero.
EPOCH_SECONDS = 1767225600.0
_UNTOUCHED = {"failover_agent.daemon", "failover_agent.peer"}


class CrashError(BaseException):
    """The agent process ends here and now. No ``Exception``: nothing in the agent may catch it."""


class Process:
    """What is killed, stopped and continued as one. ``dead`` processes run nothing any more."""

    __slots__ = ("dead", "frozen", "held", "kernel", "name", "tasks", "wall_offset")

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.frozen = False
        self.dead = False
        self.tasks: dict[Task, None] = {}
        self.held: list[tuple[Task, int]] = []
        self.wall_offset = 0.0

    def kill(self) -> None:
        """SIGKILL: every task ends where it is. One that runs at this moment ends at its next operation."""
        self.dead = True
        for task in list(self.tasks):
            self.kernel.at(self.kernel.now, self.kernel.end_task, task)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what was due meanwhile goes on at once, in any order."""
        self.frozen = False
        held, self.held = self.held, []
        self.kernel.random.shuffle(held)
        for task, turn in held:
            self.kernel.at(self.kernel.now, self.kernel.wake, task, turn)


class Task(greenlet.greenlet):
    """A thread of a process."""

    def __init__(self, process: Process, body: Callable[[], None], hub: greenlet.greenlet) -> None:
        super().__init__(body, hub)
        self.process = process
        #: Grows with every waking, so that a waking that is no longer wanted is known.
        self.turn = 0


class Kernel:
    """The clock and the queue. ``trouble`` hears of every task that ended with an exception, by process and error."""

    def __init__(self, seed: int, now: float = 1000.0) -> None:
        self.now = now
        self.random = Random(seed)
        self.trouble: Callable[[Process, Exception], None] | None = None
        #: Called after every event in which somebody called :meth:`touch`.
        self.check: Callable[[], None] | None = None
        self.dirty = False
        self.steps = 0
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0
        self._hub = greenlet.getcurrent()
        self._thread = threading.get_ident()
        self._installed = False

    # ---- the queue

    def at(self, when: float, effect: Callable[..., object], *arguments: Any) -> None:
        """Call ``effect`` at a time; it must not wait."""
        self._count += 1
        heappush(self._queue, (when, self._count, effect, arguments))

    def after(self, seconds: float, effect: Callable[..., object], *arguments: Any) -> None:
        """Call ``effect`` after some seconds; it must not wait."""
        self._count += 1
        heappush(self._queue, (self.now + seconds, self._count, effect, arguments))

    def touch(self) -> None:
        """Something changed that :attr:`check` looks at."""
        self.dirty = True

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let ``seconds`` pass, or less when ``until`` comes true."""
        with self.installed():
            self._run(self.now + seconds, until)

    def _run(self, end: float, until: Callable[[], bool] | None) -> None:
        queue = self._queue
        while queue and queue[0][0] <= end:
            if until is not None and until():
                return
            when, _count, effect, arguments = heappop(queue)
            if when > self.now:
                self.now = when
            self.steps += 1
            effect(*arguments)
            if self.dirty:
                self.dirty = False
                if self.check is not None:
                    self.check()
        if until is None or not until():
            self.now = max(self.now, end)

    # ---- tasks

    def spawn(self, process: Process, body: Callable[..., object], *arguments: Any) -> Task:
        """A new thread of ``process``; it begins when its turn comes."""

        def run() -> None:
            try:
                body(*arguments)
            except CrashError:
                pass
            except Exception as error:
                if self.trouble is None:
                    raise
                self.trouble(process, error)
            finally:
                process.tasks.pop(task, None)

        task = Task(process, run, self._hub)
        process.tasks[task] = None
        self.at(self.now, self.wake, task, task.turn)
        return task

    def wake(self, task: Task, turn: int) -> None:
        """Let a task go on, if it still waits for this."""
        if task.turn != turn or task.dead:
            return
        process = task.process
        if process.frozen and not process.dead:
            process.held.append((task, turn))
            return
        if process.dead:
            self.end_task(task)
        else:
            task.turn = turn + 1
            task.switch()

    def end_task(self, task: Task) -> None:
        """Let a task of a dead process end."""
        task.turn += 1
        if task:  # It has begun, and not ended yet.
            task.throw(CrashError)
        task.process.tasks.pop(task, None)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        task = greenlet.getcurrent()
        if task.__class__ is not Task:
            self.wait_outside(seconds)
            return
        self._count += 1
        heappush(self._queue, (self.now + seconds, self._count, self.wake, (task, task.turn)))
        self._hub.switch()

    def wait_outside(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Code that is no task waits: the others go on. In another thread time stands still."""
        if not self.foreign and greenlet.getcurrent() is self._hub:
            self.run(seconds, until)

    def switch_point(self) -> None:
        """Raise :class:`CrashError` in a task whose process is dead."""
        task = greenlet.getcurrent()
        if task.__class__ is Task and task.process.dead:
            raise CrashError

    @property
    def foreign(self) -> bool:
        """Whether another thread of the operating system asks, for whom time stands still."""
        return threading.get_ident() != self._thread

    @property
    def process(self) -> Process | None:
        """The process of the running task."""
        task = greenlet.getcurrent()
        return task.process if isinstance(task, Task) else None

    # ---- what the agent's modules see

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let the modules of the agent use this clock, these locks and these threads."""
        if self._installed:
            yield
            return
        self._installed = True
        facade = Facade(self)
        before = []
        for name, module in list(sys.modules.items()):
            if name.startswith("failover_agent") and name not in _UNTOUCHED:
                for word, value in facade.names.items():
                    if word in module.__dict__:
                        before.append((module, word, module.__dict__[word]))
                        setattr(module, word, value)
        try:
            yield
        finally:
            for module, word, value in before:
                setattr(module, word, value)
            self._installed = False


class Call:
    """A request on its way, and the task that waits for the answer. ``effect`` is what it does where it arrives."""

    __slots__ = (
        "_done",
        "_error",
        "_kernel",
        "_task",
        "_turn",
        "_value",
        "deadline",
        "effect",
        "origin",
        "timeout",
        "writes",
    )

    def __init__(self, kernel: Kernel, timeout: float, effect: Callable[[], Any], *, writes: bool = False) -> None:
        self._kernel = kernel
        self.timeout = timeout
        self.deadline = kernel.now + timeout
        self.effect = effect
        self.writes = writes
        self.origin = ""
        self._task: Task | None = None
        self._turn = 0
        self._done = False
        self._value: Any = None
        self._error: Exception | None = None

    def finish(self, value: Any, error: Exception | None = None) -> None:
        """The answer is there. Only the first one counts."""
        if not self._done:
            self._done, self._value, self._error = True, value, error
            if self._task is not None:
                self._kernel.wake(self._task, self._turn)

    def done(self) -> bool:
        """Whether there was an answer."""
        return self._done

    def wait(self) -> Any:
        """The answer.

        :raises TimeoutError: there was none in time. Errors of the answer are raised as they are.
        """
        if not self._done:
            task = greenlet.getcurrent()
            if isinstance(task, Task):
                self._task, self._turn = task, task.turn
                self._kernel.sleep(self.timeout)
            else:
                self._kernel.wait_outside(self.timeout, self.done)
        if not self._done:
            self._done = True
            raise TimeoutError("timed out")
        if self._error is not None:
            raise self._error
        return self._value


class Waiters:
    """Tasks that wait for something to change."""

    __slots__ = ("_kernel", "_tasks")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._tasks: list[tuple[Task, int]] = []

    def notify(self) -> None:
        """It has changed: all may look again."""
        if self._tasks:
            tasks, self._tasks = self._tasks, []
            for task, turn in tasks:
                self._kernel.at(self._kernel.now, self._kernel.wake, task, turn)

    def wait(self, seconds: float) -> None:
        """Until the next :meth:`notify`, but no longer than so many seconds."""
        kernel = self._kernel
        task = greenlet.getcurrent()
        if not isinstance(task, Task):
            kernel.wait_outside(min(seconds, 0.05))
            return
        self._tasks.append((task, task.turn))
        kernel.sleep(seconds)

    def wait_for(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Whether ``condition`` came true within so many seconds."""
        deadline = self._kernel.now + (1e9 if seconds is None else seconds)
        while not condition():
            left = deadline - self._kernel.now
            if left <= 0:
                return False
            self.wait(left)
            if self._kernel.foreign:
                return condition()
        return True


class Lock:
    """``threading.RLock``; ``threading.Lock`` where nobody takes it twice."""

    def __init__(self, kernel: Kernel) -> None:
        self._waiters = Waiters(kernel)
        self._owner: object = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it."""
        me = greenlet.getcurrent()
        if self._owner is not me:
            if self._owner is not None:
                limit = None if timeout < 0 else timeout
                if not blocking or not self._waiters.wait_for(lambda: self._owner is None, limit):
                    return False
            self._owner = me
        self._depth += 1
        return True

    def release(self) -> None:
        """Give it back."""
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            self._waiters.notify()

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_trouble: object) -> None:
        self.release()


class Event:
    """``threading.Event``."""

    def __init__(self, kernel: Kernel) -> None:
        self._waiters = Waiters(kernel)
        self._set = False

    def set(self) -> None:
        """Set it and wake all."""
        self._set = True
        self._waiters.notify()

    def clear(self) -> None:
        """Unset it."""
        self._set = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; whether it is."""
        return self._set or self._waiters.wait_for(self.is_set, timeout)


class Future(Generic[T]):
    """``concurrent.futures.Future``."""

    def __init__(self, kernel: Kernel) -> None:
        self._waiters = Waiters(kernel)
        self._done = False
        self._value: T | None = None
        self._error: Exception | None = None

    def done(self) -> bool:
        """Whether there is a result."""
        return self._done

    def settle(self, value: T | None, error: Exception | None) -> None:
        """It came to its end."""
        self._done, self._value, self._error = True, value, error
        self._waiters.notify()

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Wait for the end; the error, if it was one."""
        if not self._waiters.wait_for(self.done, timeout):
            raise TimeoutError
        return self._error

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result."""
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._value  # type: ignore[return-value]


class Executor:
    """``ThreadPoolExecutor``: each job is a task of the process that submits it."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._futures: list[Future[Any]] = []

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin a job."""
        future: Future[T] = Future(self._kernel)

        def job() -> None:
            try:
                value = work(*args, **kwargs)
            except Exception as error:
                future.settle(None, error)
            else:
                future.settle(value, None)

        process = self._kernel.process or Process(self._kernel, "outside")
        self._kernel.spawn(process, job)
        self._futures.append(future)
        return future

    def map(self, work: Callable[..., T], *iterables: Iterable[Any]) -> Iterator[T]:
        """Begin a job for each item; the results in the same order."""
        futures = [self.submit(work, *items) for items in zip(*iterables, strict=False)]
        return (future.result() for future in futures)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all jobs."""
        del cancel_futures
        if wait:
            for future in self._futures:
                future.exception()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, _kind: object, _error: object, _trace: TracebackType | None) -> None:
        self.shutdown()


class Thread:
    """``threading.Thread``, as far as a daemon uses it."""

    def __init__(self, kernel: Kernel, target: Callable[..., object], args: tuple[Any, ...] = (), **_more: Any) -> None:
        self._kernel, self._target, self._arguments = kernel, target, args
        self._ended = Event(kernel)

    def start(self) -> None:
        """Begin."""
        process = self._kernel.process or Process(self._kernel, "outside")
        self._task = self._kernel.spawn(process, self._run)

    def _run(self) -> None:
        self._target(*self._arguments)
        self._ended.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        self._ended.wait(timeout)


class SimTime:
    """The module ``time``."""

    strftime = staticmethod(time.strftime)
    strptime = staticmethod(time.strptime)
    gmtime = staticmethod(time.gmtime)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def monotonic(self) -> float:
        """Seconds."""
        return self._kernel.now

    perf_counter = monotonic

    def time(self) -> float:
        """The wall clock of the machine that asks."""
        process = self._kernel.process
        return EPOCH_SECONDS + self._kernel.now + (process.wall_offset if process else 0.0)

    def sleep(self, seconds: float) -> None:
        """Let everybody else go on."""
        self._kernel.sleep(seconds)


class Facade:
    """What the agent's modules get in the place of the standard library's names."""

    def __init__(self, kernel: Kernel) -> None:
        lock = functools.partial(Lock, kernel)
        threads = SimpleNamespace(**threading.__dict__)
        threads.Lock = threads.RLock = lock
        threads.Event = functools.partial(Event, kernel)
        threads.Thread = functools.partial(Thread, kernel)
        self.names: dict[str, object] = {
            "time": SimTime(kernel),
            "ThreadPoolExecutor": lambda *_arguments, **_more: Executor(kernel),
            "threading": threads,
        }
