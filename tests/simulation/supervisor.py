"""Starts workers, ends them in every way there is, and starts them again."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from engine.stream.batches import SESSION_S
from tests.simulation.loop import Process
from tests.simulation.network import WORLD
from tests.simulation.worker import SimWorker


class Supervisor:
    """What a container platform is to the workers, and what strikes them."""

    def __init__(self, history: Any) -> None:
        self._history = history
        self._options = history.options
        self._rng = history.rng
        self.faults: Counter[str] = Counter()
        self._calm = False
        self._lives = self._options.lives
        self._processes: list[Process] = []
        self._workers: dict[Process, SimWorker] = {}
        self._audited: set[int] = set()
        self._kept: list[Any] = []

    def start(self) -> None:
        """Start every worker, some a little later."""
        for number in range(self._options.workers):
            delay = self._rng.choice((0.0, 0.0, self._rng.random() * self._options.seconds))
            self._history.net.later(delay, self._employ, f"worker-{number}")

    def _employ(self, name: str) -> None:
        self._history.loop.create_task(self._keep_running(name), context=WORLD.copy())

    async def _keep_running(self, name: str) -> None:
        """One worker's place: a process after the other."""
        while True:
            process = Process(name, self._history.loop)
            self._processes.append(process)
            self._plan_end(process)
            task = self._history.loop.create_task(self._live(process), name=name, context=process.context)
            task.add_done_callback(lambda _, process=process: process.kill())
            await process.ended.wait()
            self._processes.remove(process)
            self._workers.pop(process, None)
            await asyncio.sleep(0.05 + self._rng.random() * (0.5 if self._calm else 3.0))

    async def _live(self, process: Process) -> None:
        worker = self._workers[process] = self._history.variant.worker(self._history, process.name)
        self._kept.append(worker)
        try:
            await worker.live()
        except Exception:  # noqa: BLE001  it died; that was counted
            return

    # ----------------------------------------------------------------------------------------------------------- faults

    def _plan_end(self, process: Process) -> None:
        if self._calm or self._lives <= 0:
            return
        self._lives -= 1
        kind = self._rng.choice(self._options.kinds)
        at = int(2 ** self._rng.uniform(3, 11))
        process.trip = (at, lambda: self._strike(process, kind))

    def _strike(self, process: Process, kind: str) -> None:
        if self._calm:
            return
        self.faults[kind] += 1
        if kind == "kill":
            process.kill()
        elif kind == "freeze":
            process.frozen = True
            seconds = self._rng.choice((0.5, 4.0, SESSION_S + 3.0, SESSION_S * 3, SESSION_S * 5)) * self._rng.random()
            self._history.net.later(seconds, process.thaw)
            self._plan_end(process)
        elif kind == "stop":
            self._workers[process].stop()
        else:
            self._history.group.rebalance()
            self._plan_end(process)

    def calm_down(self) -> None:
        """No more faults; who is frozen thaws."""
        self._calm = True
        for process in self._processes:
            process.trip = None
            process.thaw()

    # ------------------------------------------------------------------------------------------------------------ audit

    def keepers(self) -> list[Any]:
        """Every keeper of every worker alive."""
        return [keeper for worker in self._workers.values() if hasattr(worker, "keepers") for keeper in worker.keepers]

    def why_not(self) -> str:
        """What keeps the workers from being at rest."""
        keepers = self.keepers()
        opened = sorted(keeper.partition for keeper in keepers if keeper.state == "open")
        if opened != list(range(self._options.partitions)):
            return f"open keepers: {opened}"
        group = self._history.group
        standing = [worker.membership.generation for worker in self._workers.values()]
        if standing != [group.generation] * self._options.workers or len(group.members) != self._options.workers:
            return f"workers stand at generations {standing} of {group.generation}"
        return ""

    def audit(self) -> None:
        """At the end every keeper holds what the fold holds; but for one that was overtaken and has not written since."""
        for keeper in self.keepers():
            if keeper.state == "open" and not self.overtaken(keeper):
                books = self._history.auditor.books[keeper.partition]
                self._history.auditor.same(f"keeper {keeper.partition} at the end", keeper.ledger, books.fold)

    def overtaken(self, keeper: Any) -> bool:
        """Was it fenced, whether it noticed or not? It will write nothing any more, whatever it holds."""
        producer = keeper._writer.producer
        return producer.name is not None and producer.epoch != self._history.broker.transactions[producer.name].epoch

    def bury(self) -> None:
        """Everybody is dead now: what is closed at the end runs no further."""
        for process in self._processes:
            process.kill()
