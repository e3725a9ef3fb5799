"""One run: start everything, publish, do harm, watch recoveries, stop doing harm, judge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.stream.batches import SESSION_S
from engine.stream.clients import Cluster, partition_for
from tests.chaos.cluster import ROOT, ChaosCluster
from tests.chaos.crew import Crew
from tests.chaos.dealings import Dealings
from tests.chaos.faults import BY_NAME, FAULTS, Fault, World
from tests.chaos.follower import Disturbance, Follower
from tests.chaos.keys import make_in, told_of
from tests.chaos.plans import write_programme
from tests.chaos.publisher import Publisher, mark_of
from tests.chaos.report import Report
from tests.chaos.traffic import Traffic, probe
from tests.kafka.harness import KAFKA_VERSION
from tests.simulation import business

PREFIX = "chaos-"
#: Until the deployment works for the first time.
START_S = 120.0
LOOK_S = 0.2
AUDIT_S = 900.0
VERIFY_S = 900.0
#: Rounds of a single fault; in the others up to three happen within SPREAD_S.
ALONE = 0.6
SPREAD_S = 5.0
SEVERAL = "several at once"


@dataclass(frozen=True, slots=True)
class Options:
    """All that makes a run what it is.

    Attributes:
        minutes: of faults.
        rate: events a second.
        patience_s: a disturbance that lasts longer is a finding, and so is an end that takes longer to come to rest.
        session_s: the workers' session; None leaves what the product has.
        plant: name of a bug to plant, see tests/chaos/planted.
        only: kinds of faults to choose from; empty: all.
        checkpoint: decisions of a partition between two checkpoints; the product's own are further apart.
        shop: `bar`, the coffee bar, or `business`, where members deal with each other.
    """

    seed: int
    minutes: float
    brokers: int
    workers: int
    partitions: int
    rate: int
    patience_s: float = 120.0
    session_s: float | None = None
    plant: str = ""
    only: tuple[str, ...] = ()
    checkpoint: int = 500
    shop: str = "bar"


class Run:
    """One run of chaos; use it once."""

    def __init__(self, options: Options, folder: Path, say: Callable[[str], None], enough: threading.Event) -> None:
        self.options, self.folder, self._say, self._enough = options, folder, say, enough
        self.report = Report(asdict(options), version=KAFKA_VERSION)
        self._probes = 0
        self._faults: Counter[str] = Counter()
        self._not_done: Counter[str] = Counter()
        self._began = 0.0

    def wrong(self, sentence: str) -> None:
        """Something that must not be."""
        self._say(f"WRONG: {sentence}")
        self.report.wrong.append(sentence)

    async def all(self, kafka: ChaosCluster) -> Report:
        """Everything, on a Kafka that runs."""
        inside, outside = Cluster(kafka.bootstrap), Cluster(kafka.through_proxy)
        crew = Crew(self.folder, self.wrong, self._launcher())
        try:
            world = self._deploy(kafka, inside, crew)
            auditor = self._start_auditor(kafka.bootstrap)
            try:
                await self._chaos(world, outside, auditor)
            finally:
                auditor.kill()
                auditor.wait(10)
        finally:
            crew.close()
        self.report.faults, self.report.not_done = dict(self._faults), dict(self._not_done)
        self.report.endings = dict(crew.endings)
        return self.report

    def _launcher(self) -> Sequence[str]:
        """The product's own command, or the same with a bug or a shorter session in it."""
        options = self.options
        if not options.plant and options.session_s is None:
            return ()
        more = ["--plant", options.plant] if options.plant else []
        return [
            sys.executable,
            "-m",
            "tests.chaos.entry",
            "--session",
            str(options.session_s or SESSION_S),
            *more,
            "--",
        ]

    def _deploy(self, kafka: ChaosCluster, inside: Cluster, crew: Crew) -> World:
        options, db = self.options, self.folder / "live.duckdb"
        where = ["--bootstrap", kafka.through_proxy, "--topic-prefix", PREFIX]
        programme = business.FOLDER if options.shop == "business" else write_programme(self.folder / "programme")
        told = [*where, "--programme", str(programme), "--partitions", str(options.partitions), "--clock", "log"]
        make_in(self.folder)
        told += told_of(self.folder)
        told += ["--replication-factor", str(options.brokers), "--checkpoint-decisions", str(options.checkpoint)]
        workers = [crew.hire(f"worker-{number}", "worker", told) for number in range(1, options.workers + 1)]
        projector = crew.hire("projector", "projector", [*where, "--db", str(db)])
        session_s = options.session_s or SESSION_S
        group = PREFIX + "stammgast"
        return World(kafka, inside, crew, workers, projector, db, PREFIX, group, options.partitions, session_s)

    def _start_auditor(self, bootstrap: str) -> subprocess.Popen[bytes]:
        arguments = [bootstrap, PREFIX, str(self.options.partitions), str(self.folder), self.options.shop]
        with (self.folder / "auditor.log").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.auditor", *arguments], cwd=ROOT, stdout=said, stderr=said
            )

    # ------------------------------------------------------------------------------------------------------- phases

    async def _chaos(self, world: World, outside: Cluster, auditor: subprocess.Popen[bytes]) -> None:
        options = self.options
        shop = Dealings if options.shop == "business" else Traffic
        traffic = shop(options.seed, int(options.rate * options.minutes * 60))
        journal = self.folder / "journal.txt"
        publisher = Publisher(outside, PREFIX, options.partitions, traffic, options.rate, journal)
        follower = Follower(world.inside, PREFIX, options.partitions, publisher, lambda: world.projector.port)
        async with _background(world.crew.watch(), follower.run()) as running:
            await self._until("the first programme facts are decided", lambda: follower.decisions > 0, START_S)
            async with _background(publisher.run()) as publishing:
                self._tasks = [*running, *publishing]
                await self._disturb(world, publisher, follower, auditor)
                settled = await self._settle(world, publisher, follower)
            publisher.close()
            await self._verify(world)
            await self._stop_all(world)
        self.report.published, self.report.resent = publisher.published, publisher.resent
        for one in follower.disturbances:
            if one.decided is not None and one.shown is not None:
                self.report.recoveries[one.kind].append((one.decided - one.began, one.shown - one.began))
        await self._judge(world, journal, auditor)
        if not settled:
            self.wrong(f"the deployment did not come to rest within {options.patience_s:.0f} s of the last fault")

    async def _until(self, what: str, holds: Callable[[], bool], patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while not holds():
            for task in getattr(self, "_tasks", ()):
                if task.done():
                    task.result()
            if time.monotonic() > deadline:
                self.wrong(f"not within {patience_s:.0f} s: {what}")
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def _disturb(
        self, world: World, publisher: Publisher, follower: Follower, auditor: subprocess.Popen[bytes]
    ) -> None:
        """Round after round: one fault or several, then wait until they are over."""
        self._began = time.monotonic()
        end, number = self._began + self.options.minutes * 60, 0
        while time.monotonic() < end and not self._enough.is_set():
            number += 1
            dice = random.Random(f"round {self.options.seed} {number}")
            await asyncio.sleep(dice.uniform(0.3, 2.0))
            if not await self._round(number, dice, world, publisher, follower):
                break
            if self._audit_is_bad() or auditor.poll() is not None:
                break
        self.report.seconds = time.monotonic() - self._began

    async def _round(
        self, number: int, dice: random.Random, world: World, publisher: Publisher, follower: Follower
    ) -> bool:
        chosen = self._choose(dice)
        names = [fault.__name__ for fault in chosen]
        probes = [probe(number, one, subject) for one, subject in enumerate(_subjects(self.options.partitions))]
        marks = frozenset(mark_of(one) for one in probes)
        hit = follower.disturbed(names[0] if len(names) == 1 else SEVERAL, marks)
        acting = [
            asyncio.create_task(self._act(fault, name, place, dice.random(), world))
            for place, (fault, name) in enumerate(zip(chosen, names, strict=True))
        ]
        # The faults come first, then the probes.
        await asyncio.sleep(0.05 if len(names) == 1 else SPREAD_S)
        hit.mark = publisher.acknowledged
        for one in probes:
            publisher.put(one)
        await asyncio.gather(*acting)
        what = f"round {number} ({', '.join(names)}) is over"
        well = await self._until(what, lambda: hit.shown is not None, self.options.patience_s)
        self._tell_round(number, names, hit, follower)
        return well

    def _choose(self, dice: random.Random) -> list[Fault]:
        faults = {BY_NAME[name]: 1.0 for name in self.options.only} or FAULTS
        count = 1 if dice.random() < ALONE else dice.randrange(2, 4)
        return dice.choices(list(faults), list(faults.values()), k=count)

    async def _act(self, fault: Fault, name: str, place: int, luck: float, world: World) -> None:
        """Do one fault; the second and third of a round come a little later."""
        dice = random.Random(f"{name} {luck} {place}")
        if place:
            await asyncio.sleep(dice.uniform(0.0, SPREAD_S))
        try:
            await fault(world, dice)
            self._faults[name] += 1
        except Exception as error:  # noqa: BLE001  the brokers may be away because of another fault: then it is not done
            self._not_done[name] += 1
            self._say(f"  {name} could not be done: {type(error).__name__}: {error}")

    async def _settle(self, world: World, publisher: Publisher, follower: Follower) -> bool:
        """No faults any more: everything published is answered and shown within the patience."""
        began = time.monotonic()
        world.kafka.heal()
        for post in world.crew.posts:
            post.wanted = True
            post.thaw()
        publisher.stop()
        deadline = began + self.options.patience_s

        def left() -> float:
            return max(1.0, deadline - time.monotonic())

        well = await self._until("everything published is acknowledged", lambda: publisher.idle, left())
        well = well and await self._until("every event is answered", lambda: not publisher.waiting, left())
        well = well and await self._until("the tables show every answer", lambda: follower.lag == 0, left())
        self.report.settled_s = time.monotonic() - began
        return well

    async def _verify(self, world: World) -> None:
        """The product's own proof, while everything still runs."""
        where = ["--bootstrap", world.kafka.bootstrap, "--topic-prefix", PREFIX, "--db", str(world.db), "--json"]
        where += told_of(self.folder)
        result = self.folder / "verify.json"
        with result.open("wb") as said, (self.folder / "verify.log").open("wb") as told:
            command = [str(Path(sys.executable).with_name("stammgast")), "verify", *where]
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=said, stderr=told)
            try:
                self.report.verify = await asyncio.wait_for(process.wait(), VERIFY_S)
            except TimeoutError:
                process.kill()
                self.wrong(f"`stammgast verify` was not ready within {VERIFY_S:.0f} s")
        if self.report.verify:
            self.wrong(f"`stammgast verify` ended with {self.report.verify}: verify.json, verify.log")

    async def _stop_all(self, world: World) -> None:
        await asyncio.gather(*(world.crew.stop(post) for post in world.crew.posts))

    async def _judge(self, world: World, journal: Path, auditor: subprocess.Popen[bytes]) -> None:
        finish = self.folder / "finish.json"
        finish.with_suffix(".part").write_text(json.dumps({"journal": str(journal), "db": str(world.db)}))
        finish.with_suffix(".part").replace(finish)
        try:
            await asyncio.to_thread(auditor.wait, AUDIT_S)
        except subprocess.TimeoutExpired:
            self.wrong(f"the auditor was not ready within {AUDIT_S:.0f} s")
        result = self.folder / "audit.json"
        if result.exists():
            self.report.audit = json.loads(result.read_text(encoding="utf-8"))
        else:
            self.wrong(f"the auditor made no report (code {auditor.returncode}), see auditor.log")

    # ------------------------------------------------------------------------------------------------------ telling

    def _audit_is_bad(self) -> bool:
        status = self._status()
        return any(status.get("zeros", {}).values())

    def _status(self) -> dict[str, dict[str, int]]:
        path = self.folder / "audit-status.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _tell_round(self, number: int, names: list[str], hit: Disturbance, follower: Follower) -> None:
        status = self._status()
        decided = f"{hit.decided - hit.began:.1f}" if hit.decided is not None else "?"
        shown = f"{hit.shown - hit.began:.1f}" if hit.shown is not None else "?"
        self._say(
            f"{time.monotonic() - self._began:6.0f} s  round {number}: {', '.join(names)}: decided {decided} s, shown "
            f"{shown} s; decisions {follower.decisions:,}, audited {status.get('facts', 0):,}, "
            f"wrong {sum(status.get('zeros', {}).values())}"
        )


def _subjects(partitions: int) -> list[str]:
    """One member for each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < partitions:
        subject = f"probe{number}"
        found.setdefault(partition_for(subject.encode(), partitions), subject)
        number += 1
    return [found[partition] for partition in range(partitions)]


@contextlib.asynccontextmanager
async def _background(*works: object) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[call-overload]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def chaos(
    options: Options,
    say: Callable[[str], None] = print,
    keep: Path | None = None,
    enough: threading.Event | None = None,
) -> Report:
    """Run and return the report; the logs of all processes stay only if something is wrong (or `keep` names a folder).

    Args:
        enough: once set, no new round begins and what was done is judged.

    Errors: NoKafka when no Kafka can run on this machine.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says of every fault that it happened
    folder = keep or Path(tempfile.mkdtemp(prefix="stammgast-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"seed {options.seed}: {options}")
    report = Report(asdict(options))
    with ChaosCluster(options.brokers) as kafka:
        report = asyncio.run(Run(options, folder, say, enough or threading.Event()).all(kafka))
        if not report.good or keep is not None:
            report.logs = str(folder)
            for node in kafka.members:
                text = (node.folder / "kafka.log").read_bytes()
                (folder / f"kafka-{node.number}.log").write_bytes(text)
    if report.logs is None:
        shutil.rmtree(folder, ignore_errors=True)
    return report
