# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tasks, locks and events on simulated time."""

from __future__ import annotations

import pytest

from simulator.kernel import Call, CrashError, Event, Executor, Kernel, Lock, Process, Waiters


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(1, now=0.0)


def test_tasks_wait_side_by_side(kernel: Kernel) -> None:
    process, story = Process(kernel, "www1"), []

    def body(name: str, seconds: float) -> None:
        for _round in range(2):
            kernel.sleep(seconds)
            story.append((name, round(kernel.now, 1)))

    kernel.spawn(process, body, "slow", 3.0)
    kernel.spawn(process, body, "fast", 1.0)
    kernel.run(10.0)
    assert story == [("fast", 1.0), ("fast", 2.0), ("slow", 3.0), ("slow", 6.0)]
    assert kernel.now == 10.0


def test_a_lock_is_held_by_a_task_and_may_be_taken_twice(kernel: Kernel) -> None:
    process, lock, story = Process(kernel, "www1"), Lock(kernel), []

    def body(name: str) -> None:
        with lock, lock:
            story.append(f"{name} has it")
            kernel.sleep(1.0)
            story.append(f"{name} is done")

    def impatient() -> None:
        story.append(str(lock.acquire(timeout=0.5)))

    kernel.spawn(process, body, "first")
    kernel.spawn(process, body, "second")
    kernel.spawn(process, impatient)
    kernel.run(5.0)
    assert story == ["first has it", "False", "first is done", "second has it", "second is done"]
    assert not lock.locked()


def test_a_killed_process_cleans_up_and_does_no_more(kernel: Kernel) -> None:
    process, story = Process(kernel, "www1"), []

    def body() -> None:
        try:
            kernel.sleep(5.0)
            story.append("never")
        except CrashError:
            story.append("killed")
            raise

    kernel.spawn(process, body)
    kernel.run(1.0)
    process.kill()
    kernel.run(10.0)
    assert story == ["killed"]
    assert not process.tasks


def test_a_frozen_process_goes_on_when_it_is_thawed(kernel: Kernel) -> None:
    process, story = Process(kernel, "www1"), []

    def body() -> None:
        kernel.sleep(1.0)
        story.append(kernel.now)

    kernel.spawn(process, body)
    process.freeze()
    kernel.run(4.0)
    assert story == []
    process.thaw()
    kernel.run(4.0)
    assert story == [5.0]  # It had not even begun.


def test_events_and_futures_wake_who_waits(kernel: Kernel) -> None:
    process, event, story = Process(kernel, "www1"), Event(kernel), []

    def waits() -> None:
        story.append((event.wait(1.0), kernel.now))
        story.append((event.wait(10.0), kernel.now))

    def works() -> None:
        kernel.sleep(3.0)
        event.set()
        with Executor(kernel) as pool:
            story.append((list(pool.map(lambda number: number * 2, (1, 2))), kernel.now))
            failed = pool.submit(lambda: 1 // 0)
            assert isinstance(failed.exception(), ZeroDivisionError)

    kernel.spawn(process, waits)
    kernel.spawn(process, works)
    kernel.run(20.0)
    assert story[0] == (False, 1.0)
    assert ([2, 4], 3.0) in story
    assert (True, 3.0) in story


def test_a_call_without_an_answer_times_out(kernel: Kernel) -> None:
    call = Call(kernel, 2.0, lambda: None)
    with pytest.raises(TimeoutError):
        call.wait()
    assert kernel.now == 2.0
    other = Call(kernel, 2.0, lambda: None)
    kernel.after(0.5, other.finish, "well")
    assert other.wait() == "well"
    assert kernel.now == 2.5


def test_waiting_for_something_that_never_comes(kernel: Kernel) -> None:
    assert not Waiters(kernel).wait_for(lambda: False, 1.0)
    assert kernel.now == pytest.approx(1.0, abs=0.1)


def test_an_error_that_nobody_expected_is_told(kernel: Kernel) -> None:
    heard: list[str] = []
    kernel.trouble = lambda process, error: heard.append(f"{process.name}: {error}")

    def body() -> None:
        raise ValueError("broken")

    kernel.spawn(Process(kernel, "www1"), body)
    kernel.run(1.0)
    assert heard == ["www1: broken"]
