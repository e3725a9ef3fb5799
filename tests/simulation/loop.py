"""An event loop without time and without sockets: time jumps to the next timer, and the seed may choose who runs next.

Every callback belongs to a process (or to the world: brokers, network, publishers). A process that was killed never runs
again, not even its `finally`; one that is frozen keeps its callbacks, timers that came due included, until it thaws. Both
can strike between any two callbacks, so at every await point.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar
from random import Random
from typing import Any

#: More callbacks than any healthy history needs: a loop that goes round in circles without time passing is stopped.
MOST_STEPS = 400_000


class Deadlock(Exception):
    """Nothing is ready and no timer is set: whoever waits will wait for ever."""


class TooLong(Exception):
    """The history goes on and on."""


class Process:
    """What can be killed and frozen as one: everything that runs in its context.

    Attributes:
        steps: callbacks run so far.
        trip: (steps, what to do): the fault that strikes at that callback, in its place.
        ended: set once it is dead.
    """

    def __init__(self, name: str, loop: SimLoop) -> None:
        self.name = name
        self.loop = loop
        self.alive = True
        self.frozen = False
        self.steps = 0
        self.trip: tuple[int, Callable[[], None]] | None = None
        self.ended = asyncio.Event()
        self.tasks: list[asyncio.Task[Any]] = []
        self._parked: list[asyncio.Handle] = []
        self.context = Context()
        self.context.run(OWNER.set, self)

    def admits(self, handle: asyncio.Handle) -> bool:
        """May this callback run now?"""
        if not self.alive:
            return False
        if self.frozen:
            self._parked.append(handle)
            return False
        self.steps += 1
        if self.trip is not None and self.steps >= self.trip[0]:
            strike, self.trip = self.trip[1], None
            strike()
            return self.admits(handle)
        return True

    def kill(self) -> None:
        """As SIGKILL: nothing of it runs any more."""
        self.alive = False
        self._parked.clear()
        self.ended.set()

    def thaw(self) -> None:
        """As SIGCONT: everything that became ready meanwhile runs now."""
        if self.frozen:
            self.frozen = False
            self.loop.put_back(self._parked)
            self._parked = []

    def __repr__(self) -> str:
        return f"<{self.name} {'alive' if self.alive else 'dead'}>"


OWNER: ContextVar[Process | None] = ContextVar("owner", default=None)


class SimLoop(asyncio.BaseEventLoop):
    """One history's loop.

    Args:
        rng: the history's randomness.
        reorder: how likely it is that another ready callback than the oldest goes first.
    """

    def __init__(self, rng: Random, reorder: float = 0.0) -> None:
        super().__init__()
        self._rng = rng
        self._reorder = reorder
        self._now = 0.0
        self._queue: deque[asyncio.Handle] = deque()
        self._ready = self._queue
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._set = 0
        self._every_task: list[tuple[asyncio.Task[Any], Process | None]] = []
        self.steps = 0
        self.loose_ends: list[str] = []
        self.set_exception_handler(self._note)
        self.set_task_factory(self._task)

    # ------------------------------------------------------------------------------------------------------ time, turns

    def time(self) -> float:
        """Seconds since the history began."""
        return self._now

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """There is one thread."""
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """A thread would bring its own time with it."""
        raise NotImplementedError(f"{func} in a thread")

    def put_back(self, handles: list[asyncio.Handle]) -> None:
        """Make callbacks ready again."""
        self._queue.extend(handles)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """In a heap of tuples: timers are half of what a history does, and those of one moment keep their order."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._set += 1
        heapq.heappush(self._timers, (when, self._set, timer))
        return timer

    def _run_once(self) -> None:
        ready, timers = self._queue, self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not timers:
                raise Deadlock(self.dump())
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        self._run_ready(ready)

    def _run_ready(self, ready: deque[asyncio.Handle]) -> None:
        reorder, rng = self._reorder, self._rng
        for _ in range(len(ready)):
            if reorder and len(ready) > 1 and rng.random() < reorder:
                ready.rotate(-rng.randrange(len(ready)))
            handle = ready.popleft()
            if handle._cancelled:
                continue
            owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
            if owner is not None and not owner.admits(handle):
                continue
            self.steps += 1
            handle._run()
        if self.steps > MOST_STEPS:
            raise TooLong(self.dump())

    def _process_events(self, event_list: Any) -> None:
        """No sockets, no events."""

    def _write_to_self(self) -> None:
        """No thread waits in a select."""

    # ------------------------------------------------------------------------------------------------------------ tasks

    def _task(self, loop: Any, coroutine: Any, context: Context | None = None) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=self, context=context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        self._every_task.append((task, owner))
        return task

    def _asyncgen_finalizer_hook(self, generator: Any) -> None:
        """A generator that a dead process left behind stays where it is."""

    def _note(self, _: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.loose_ends.append(f"{context.get('message')}: {error!r}")

    def dump(self) -> str:
        """Every unfinished task and where it stands."""
        lines = []
        for task, owner in self._every_task:
            if not task.done() and (owner is None or owner.alive):
                stack = task.get_stack(limit=3)
                where = " < ".join(f"{frame.f_code.co_name}:{frame.f_lineno}" for frame in reversed(stack))
                lines.append(f"  {'world' if owner is None else owner.name}: {task.get_name()} {where}")
        return f"at {self._now:.3f} s\n" + "\n".join(lines)

    def finish(self) -> None:
        """Close what is unfinished, without running any of it further than its own clean-up."""
        for task, _ in self._every_task:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if not task.done():
                coroutine: Any = task.get_coro()
                for _ in range(10):
                    # A coroutine that awaits in its `finally` refuses to be closed at first.
                    with contextlib.suppress(Exception):
                        coroutine.close()
                        break
            elif not task.cancelled():
                task.exception()
        self._every_task.clear()
        self._queue.clear()
        self._timers.clear()
        self.close()
