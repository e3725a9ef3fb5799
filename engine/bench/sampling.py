"""Where a process spends its time: a timer interrupts the main thread, and what it was at is counted.

Wall-clock time of the main thread, by the innermost frame that a table of places knows. It costs a per cent or two, so rates
of a sampled run are not used.
"""

from __future__ import annotations

import signal
from collections import Counter
from types import FrameType

INTERVAL_S = 0.001

#: (end of the file's name, function or "" for any) -> step. The innermost frame that is listed decides.
PLACES: dict[tuple[str, str], str] = {
    ("schemas/envelope.py", "parse_fact"): "parse",
    ("schemas/normalise.py", "normalise"): "normalise",
    ("schemas/envelope.py", "encode_fact"): "encode",
    ("schemas/decisions.py", "encode_decision"): "encode",
    ("ledger/fold.py", "evolve"): "evolve",
    ("ledger/partition.py", "recall"): "evolve",
    ("ledger/partition.py", "answer"): "decide",
    ("stream/outbox.py", "add"): "append to batches",
    ("engine/telemetry.py", ""): "telemetry",
    ("stream/keeper.py", ""): "keeper",
    ("stream/turn.py", ""): "keeper",
    ("stream/intake.py", ""): "intake",
    ("stream/batches.py", ""): "Faust and fetching",
}
#: Whole libraries, when none of the places above is on the stack.
ROOMS = {
    "aiokafka/producer": "send and commit",
    "aiokafka/consumer": "Faust and fetching",
    "aiokafka": "send and commit",
    "faust": "Faust and fetching",
    "mode": "Faust and fetching",
}


class Sampler:
    """Counts what the main thread is at, from `start` to `stop`."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def profile(self) -> dict[str, float]:
        """Share of the samples per step, largest first; sums to 1."""
        total = sum(self._counts.values())
        return {step: round(count / total, 4) for step, count in self._counts.most_common()} if total else {}

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        self._counts[step_of(frame)] += 1

    def start(self) -> None:
        """Begin to count; only the main thread may."""
        signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)

    def stop(self) -> None:
        """Count no longer."""
        signal.setitimer(signal.ITIMER_REAL, 0)


def step_of(frame: FrameType | None) -> str:
    """The step that a stack belongs to: its innermost place in PLACES, else its innermost library in ROOMS."""
    room = None
    while frame is not None:
        name, function = frame.f_code.co_filename, frame.f_code.co_name
        if function == "select" and name.endswith("selectors.py"):
            return "waiting"
        tail = "/".join(name.rsplit("/", 2)[-2:])
        step = PLACES.get((tail, function)) or PLACES.get((tail, ""))
        if step is not None:
            return step
        if room is None:
            room = next((what for part, what in ROOMS.items() if f"/{part}/" in name), None)
        frame = frame.f_back
    return room or "event loop"
