"""Time between the first record and the last answer: wall clock, processor time of this process, and a profile if wanted."""

from __future__ import annotations

import time

from engine.bench.figures import Run
from engine.bench.sampling import Sampler


class Stopwatch:
    """Started once, stopped once; both ignore a second call.

    The processor time tells what a loop costs where others use the machine as well; the rate tells what came of it.
    """

    def __init__(self, *, sampled: bool = False) -> None:
        self._sampler = Sampler() if sampled else None
        self._began: tuple[float, ...] | None = None
        self._took: tuple[float, ...] | None = None

    @property
    def stopped(self) -> bool:
        """Is the measurement over?"""
        return self._took is not None

    def start(self) -> None:
        """The first record is at hand."""
        if self._began is None:
            self._began = _clocks()
            if self._sampler:
                self._sampler.start()

    def stop(self) -> None:
        """The last answer is safe."""
        if self._began is not None and self._took is None:
            self._took = tuple(now - then for now, then in zip(_clocks(), self._began, strict=True))
            if self._sampler:
                self._sampler.stop()

    def run(self, records: int, **figures: float) -> Run:
        """What was measured; `cpu_us` is microseconds of processor time per record, all threads of this process.

        `thread_us` is the part of the thread that started and stopped this: what is beside it can run on another core.
        """
        seconds, cpu_seconds, thread_seconds = self._took or (0.0, 0.0, 0.0)
        figures["cpu_us"] = cpu_seconds / records * 1e6 if records else 0.0
        figures["thread_us"] = thread_seconds / records * 1e6 if records else 0.0
        return Run(records, seconds, figures, self._sampler.profile() if self._sampler else {})


def _clocks() -> tuple[float, ...]:
    """The wall's, this process's and this thread's."""
    return time.perf_counter(), time.process_time(), time.thread_time()
