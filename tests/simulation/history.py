"""One history: the world made from a seed, its faults, its end, and what the auditor says of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import importlib
import pkgutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaError

import engine.stream
from engine.stream.clients import KafkaTrouble
from engine.stream.topics import SHOP_EVENTS
from tests.simulation import stories
from tests.simulation.auditor import Auditor
from tests.simulation.clients import SimCluster
from tests.simulation.group import Group
from tests.simulation.logs import Broker
from tests.simulation.loop import Deadlock, SimLoop, TooLong
from tests.simulation.meddling import Meddler
from tests.simulation.network import WORLD, Network
from tests.simulation.options import Options, draw
from tests.simulation.planted import SOUND, Variant
from tests.simulation.publisher import Publisher
from tests.simulation.supervisor import Supervisor

#: Virtual seconds that a history has to converge once the faults are over.
CONVERGES_S = 600.0
TRANSACTION_S = 10.0
#: Waits of the product that decide nothing and would cost callbacks by the thousand.
PATIENCE = {"engine.stream.batches.POLL_WHILE_HELD_S": 0.5}


@dataclass(slots=True)
class Outcome:
    """What came of one seed."""

    options: Options
    violations: list[str]
    faults: Counter[str] = field(default_factory=Counter)
    facts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0
    callbacks: int = 0
    digest: str = ""
    deaths: Counter[str] = field(default_factory=Counter)
    recoveries: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


class History:
    """The world of one seed."""

    def __init__(self, options: Options, variant: Variant) -> None:
        self.options, self.variant = options, variant
        self.rng = Random(f"history {options.seed}")
        self.loop = SimLoop(Random(f"order {options.seed}"), options.reorder)
        self.net = Network(self.loop, Random(f"network {options.seed}"), options)
        topics = {"facts": options.partitions, "points-log": options.partitions, "rejects": options.partitions,
                  "incentives": options.partitions,
                  "member-snapshots": options.partitions, "programmes": 1, SHOP_EVENTS: 2}  # fmt: skip
        self.broker = Broker(self.net, topics, TRANSACTION_S)
        self.places = [(topic, p) for topic in ("facts", SHOP_EVENTS) for p in range(topics[topic])]
        self.group = Group(self.net, Random(f"group {options.seed}"), self.places)
        self.auditor = Auditor(self.broker, options)
        self.group.listeners.append(self.auditor.offsets)
        self.cluster = SimCluster(self.net, self.broker, options)
        self.shelf: dict[str, Any] = {}
        self.deaths: Counter[str] = Counter()
        self.recoveries: Counter[str] = Counter()
        self.last_death: BaseException | None = None
        self._seen: list[Any] = []
        self.publisher = Publisher(self)
        self.supervisor = Supervisor(self)
        self.auditor.interrupted = lambda: sum(self.supervisor.faults.values()) + sum(self.deaths.values())

    def now_us(self) -> int:
        """The wall clock that intake stamps facts with."""
        return stories.RECORDED_MS * 1000 + int(self.loop.time() * 1_000_000)

    def opened(self, keepers: Any) -> None:
        """Some keeper of a worker may have opened: look at its state, once."""
        for keeper in keepers:
            if keeper.state == "open" and keeper not in self._seen:
                self._seen.append(keeper)
                # One that was fenced while it recovered may have read half of its successor's first transaction.
                if not self.supervisor.overtaken(keeper):
                    self.auditor.opened(keeper.partition, keeper.next_offset, keeper.ledger)

    def note_death(self, name: str, error: BaseException) -> None:
        """A worker cannot go on: the network gives reason for that, and nothing else does."""
        if not isinstance(error, KafkaError | TimeoutError) and type(error) is not KafkaTrouble:
            self.auditor.report(f"{name} died: {''.join(traceback.format_exception(error)[-4:])}")
        self.deaths[type(error).__name__] += 1
        self.last_death = error

    async def run(self) -> None:
        """The safety phase, then the liveness phase, then the audit."""
        self.group.watch_sessions()
        self.publisher.plan()
        Meddler(self).plan()
        self.supervisor.start()
        await asyncio.sleep(self.options.seconds)
        self.net.calm = True
        self.net.outages.clear()
        self.supervisor.calm_down()
        if any(what.startswith("offsets") for what in self.options.meddling):
            self.publisher.last_words(200)  # only the next commit corrects group offsets that somebody moved
        # The second time one more record stands everywhere: who was overtaken and did not notice finds out by it.
        if await self._converges() and self.publisher.last_words(230) and await self._converges():
            self.auditor.close(self.publisher.told)
            if self.options.model and not self.options.business:
                self.auditor.ask_the_model()
            self.supervisor.audit()
            self.publisher.audit()

    async def _converges(self) -> bool:
        try:
            async with asyncio.timeout(CONVERGES_S):
                while not self.converged():  # noqa: ASYNC110  many things at once, all of them plain attributes
                    await asyncio.sleep(1.0)
        except TimeoutError:
            self.auditor.report(f"does not converge: {self.why_not()}\n{self.loop.dump()}\n{self._obituary()}")
            return False
        return True

    def converged(self) -> bool:
        """Is everything decided, committed and at rest?"""
        return not self.why_not()

    def why_not(self) -> str:
        """What is missing."""
        if not self.auditor.all_decided():
            return f"facts without a decision from {[books.cursor for books in self.auditor.books]} on"
        if self.broker.unresolved():
            return "a transaction is open"
        if not self.group.calm:
            return "the group rebalances"
        for place in self.places:
            log = self.broker.logs[place]
            if log.end and self.group.offsets.get(place, 0) != log.end:
                return f"{place}: the group stands at {self.group.offsets.get(place)}, the log ends at {log.end}"
        return self.supervisor.why_not()

    def _obituary(self) -> str:
        return "" if self.last_death is None else "".join(traceback.format_exception(self.last_death)[-6:])

    def digest(self) -> str:
        """Names the history: all logs, the time and the number of callbacks."""
        total = hashlib.blake2b(digest_size=12)
        for place, log in self.broker.logs.items():
            total.update(repr(place).encode())
            for record in log.records:
                total.update(repr((record.key, record.value, record.headers, record.state)).encode())
        total.update(f"{self.loop.time():.9f} {self.loop.steps}".encode())
        return total.hexdigest()


@contextlib.contextmanager
def set_to(values: dict[str, Any]) -> Iterator[None]:
    """Give module constants other values for a while; those that do not exist are left out."""
    before = []
    for name, value in values.items():
        *path, constant = name.split(".")
        holder = importlib.import_module(".".join(part for part in path if part.islower()))
        for part in path:
            holder = holder if part.islower() else getattr(holder, part)
        if hasattr(holder, constant):
            before.append((holder, constant, getattr(holder, constant)))
            setattr(holder, constant, value)
    try:
        yield
    finally:
        for holder, constant, value in before:
            setattr(holder, constant, value)


#: Modules that look at a clock or write a log.
MODULES = tuple(f"engine.stream.{module.name}" for module in pkgutil.iter_modules(engine.stream.__path__))


class _Mute:
    """A log that nobody reads; but how keepers were opened is counted."""

    def __init__(self, recoveries: Counter[str]) -> None:
        self._recoveries = recoveries

    def info(self, event: str, **named: Any) -> None:
        """Count recoveries by what they began with."""
        if event == "keeper open":
            self._recoveries[named["source"]] += 1

    def __getattr__(self, _: str) -> Any:
        return _nothing


def _nothing(*_: Any, **__: Any) -> None:
    return None


def virtual(loop: SimLoop, recoveries: Counter[str]) -> dict[str, Any]:
    """The modules' `time` and `log`, for `set_to`."""
    clock = SimpleNamespace(
        monotonic=loop.time,
        time=lambda: stories.RECORDED_MS / 1000 + loop.time(),
        time_ns=lambda: stories.RECORDED_MS * 1_000_000 + int(loop.time() * 1e9),
        perf_counter=time.perf_counter,
        process_time=time.process_time,
    )
    return {f"{name}.time": clock for name in MODULES} | {f"{name}.log": _Mute(recoveries) for name in MODULES}


def run(seed: int, facts: int = 100, variant: Variant = SOUND, **fixed: Any) -> Outcome:
    """Run the history of a seed.

    Args:
        facts: how many are published, on average over seeds.
        variant: the product as it is, or with a bug planted.
        fixed: options to set, whatever the seed says.
    """
    options = draw(seed, facts)
    for name, value in (variant.fixed | fixed).items():
        setattr(options, name, value)
    collecting, began = gc.isenabled(), time.process_time()
    gc.disable()  # collections come at other moments in every process, and close what they find
    history = History(options, variant)
    try:
        asyncio.set_event_loop(None)
        with set_to(options.knobs | PATIENCE | virtual(history.loop, history.recoveries) | variant.patches):
            _play(history)
            outcome = _told(history)
            _bury(history)
    finally:
        if collecting:
            gc.enable()
    outcome.cpu_s = time.process_time() - began
    return outcome


def _bury(history: History) -> None:
    """Nobody runs any further; what coroutines say when they are closed half-way is nobody's concern."""
    history.supervisor.bury()
    told, sys.unraisablehook = sys.unraisablehook, _nothing
    try:
        history.loop.finish()
    finally:
        sys.unraisablehook = told


def _play(history: History) -> None:
    try:
        main = history.loop.create_task(history.run(), context=WORLD.copy())
        history.loop.run_until_complete(main)
    except (Deadlock, TooLong) as error:
        history.auditor.report(f"{type(error).__name__} {error}")
    except RecursionError:
        raise
    except Exception as error:
        history.auditor.report(f"the simulation broke: {type(error).__name__}: {error}")
        raise
    for loose in history.loop.loose_ends:
        history.auditor.report(f"nobody heard: {loose}")


def _told(history: History) -> Outcome:
    faults = history.net.faults + history.supervisor.faults
    if history.broker.timed_out:
        faults["transaction timed out"] = history.broker.timed_out
    faults["rebalance"] = history.group.rebalances
    return Outcome(
        options=history.options,
        violations=list(history.auditor.violations),
        faults=faults,
        facts=sum(books.decided for books in history.auditor.books),
        outcomes=Counter(history.auditor.outcomes),
        virtual_s=history.loop.time(),
        callbacks=history.loop.steps,
        digest=history.digest(),
        deaths=Counter(history.deaths),
        recoveries=Counter(history.recoveries),
    )
