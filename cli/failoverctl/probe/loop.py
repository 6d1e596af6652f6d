"""The open loop: operations leave when a constant-rate plan says, whatever became of earlier ones.

Threads of one stream take turns as its leader: the leader waits for the next time of the plan,
hands the lead to the next idle thread and carries the operation out itself. So nothing is handed
over at the moment of sending, and a stuck operation keeps one thread busy and delays nobody. The
stream adds a thread whenever none is left to lead, up to what the rate and the time-out can keep
busy.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from failoverctl.probe.clients import Reply
from failoverctl.probe.model import Kind, Op

STACK_BYTES = 524_288
"""Stack of a prober's thread; the default of 8 MiB times hundreds of threads is a lot to map."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Constant rate: operation ``seq`` is due ``offset + seq / rate_hz`` seconds after the zero."""

    kind: Kind
    stream: int
    rate_hz: float
    offset: float = 0.0

    def intended(self, seq: int) -> float:
        """Return when operation ``seq`` is due, in seconds after the plan's zero."""
        return self.offset + seq / self.rate_hz


def stagger(writers: int, rate_hz: float, *, http: bool) -> tuple[Plan, ...]:
    """Return the plans of all streams, spread evenly over one interval."""
    streams = writers + (1 if http else 0)
    if streams == 0:
        return ()
    step = 1.0 / rate_hz / streams
    plans = [Plan("write", number, rate_hz, number * step) for number in range(writers)]
    if http:
        plans.append(Plan("http", 0, rate_hz, writers * step))
    return tuple(plans)


class Stream:
    """Runs one plan.

    ``attempt(seq, deadline)`` carries one operation out and returns before ``deadline``, which is
    in seconds of CLOCK_MONOTONIC; ``record`` takes what became of it.
    """

    def __init__(
        self,
        plan: Plan,
        attempt: Callable[[int, float], Reply],
        record: Callable[[Op], None],
        *,
        zero: float,
        timeout_seconds: float,
        stop: threading.Event,
    ) -> None:
        self._plan = plan
        self._attempt = attempt
        self._record = record
        self._zero = zero
        self._timeout = timeout_seconds
        self._stop = stop
        self._turn = threading.Lock()
        self._next = 0
        # Half a second of grace: an attempt that overruns its deadline a little must not cost a
        # slot.
        self._limit = math.ceil(plan.rate_hz * (timeout_seconds + 0.5)) + 2
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self.max_in_flight = 0

    def start(self) -> None:
        """Start with one thread to lead and one to follow."""
        for _ in range(2):
            self._add_thread()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the operations in flight; return whether all of them ended."""
        end = time.monotonic() + timeout_seconds
        for thread in list(self._threads):
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while True:
            with self._turn:
                if self._stop.is_set():
                    return
                seq = self._next
                intended = self._plan.intended(seq)
                wait = self._zero + intended - time.monotonic()
                if wait > 0 and self._stop.wait(wait):
                    return
                self._next = seq + 1
            self._run(seq, intended)

    def _run(self, seq: int, intended: float) -> None:
        sent = time.monotonic()
        if sent - self._zero - intended > self._timeout:
            # The prober was held up for longer than an operation may take. Sending the backlog now
            # would be a burst that no client makes; it is recorded as not sent.
            self._put(seq, intended, sent, Reply("skip", error="prober too late"))
            return
        with self._guard:
            self._busy += 1
            self.max_in_flight = max(self.max_in_flight, self._busy)
            if self._busy >= len(self._threads) and len(self._threads) < self._limit:
                # Where the system refuses a thread the next operation leaves late, and that is
                # recorded.
                with contextlib.suppress(RuntimeError):
                    self._add_thread()
        try:
            reply = self._attempt(seq, sent + self._timeout)
        except Exception as error:
            # A client that breaks is a fault of ours; the operation it left behind has no known
            # outcome.
            reply = Reply("info", error=f"{type(error).__name__}: {error}"[:120])
        with self._guard:
            self._busy -= 1
        self._put(seq, intended, sent, reply)

    def _put(self, seq: int, intended: float, sent: float, reply: Reply) -> None:
        self._record(
            Op(
                kind=self._plan.kind,
                stream=self._plan.stream,
                seq=seq,
                intended=intended,
                sent=sent - self._zero,
                done=time.monotonic() - self._zero,
                outcome=reply.outcome,
                server=reply.server,
                error=reply.error,
            )
        )
