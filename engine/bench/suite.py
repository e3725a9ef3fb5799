"""The measurements in their order, round by round: what is compared is measured right after one another."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from os import cpu_count
from pathlib import Path

from engine.bench import data, latency, logs, peers, recovery, scale
from engine.bench.brokers import Broker, broker
from engine.bench.children import OURS, Command, MeasurementFailed, child, measured
from engine.bench.figures import NAMES, ONLY_NAMED, Report, Run
from engine.bench.jobs import PARTITIONS, Job
from engine.bench.offline import FEW_FACTS, beyond, write_events
from engine.compiled import core
from engine.settings import KafkaSecurity
from engine.stream.clients import Cluster
from engine.stream.snapshots import CHECKPOINT_DECISIONS, NO_CHECKPOINTS
from engine.stream.topics import POINTS_LOG

ON_KAFKA = frozenset({"rewards", "intake", "latency", "cost", "recovery", "gateway", "peers", "scale"})
#: One-at-a-time Faust is given a tenth as long a log, or it would be most of the waiting.
IDIOMATIC_SHARE = 8
#: An order of the gift shop has ten times the lines: fewer of them take as long.
GIFT_SHOP_SHARE = 8
#: A replay and the projector take so many times the facts of the others.
OFFLINE_TIMES = 5
#: While cost is measured, a partition writes a checkpoint after so large a share of its facts: most members that a checkpoint
#: holds have changed once or twice since the one before it, which is the dearest case.
COST_CHECKPOINTS = 10
#: While recovery is measured: the worker dies, and a part of its log is behind its last checkpoint.
RECOVERY_CHECKPOINTS = 3
#: Facts per second; no measurement may be slower on a log that is longer than usual.
SLOWEST_RATE = 1_000
#: A request is a hundred times the work of a fact in a batch: so much fewer of them take as long.
REQUESTS_SHARE = 10

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        facts: two-line purchases per run.
        runs: of each measurement; the report shows medians.
        members: of whom memory is measured.
        rate, seconds: purchases per second while latency is measured, and for how long.
        limit_s: of one run of one measurement.
    """

    facts: int = 40_000
    runs: int = 5
    members: int = 100_000
    rate: int = 1_000
    seconds: float = 8.0
    limit_s: float = 180.0

    @property
    def idiomatic(self) -> int:
        """Facts that one-at-a-time Faust is given."""
        return max(1, self.facts // IDIOMATIC_SHARE)

    @property
    def offline(self) -> int:
        """Facts of a file that is replayed, and decisions that the projector loads: such a file is long, and of a short one most
        seconds go to starting processes."""
        return self.facts * OFFLINE_TIMES

    @property
    def gift_shop(self) -> int:
        """Orders of twenty lines."""
        return max(data.FACTS_PER_MEMBER, self.facts // GIFT_SHOP_SHARE)


async def run(
    bootstrap: str | None, security: KafkaSecurity, sizes: Sizes, only: Collection[str] = (), say: Say = print
) -> Report:
    """Measure what `only` names, or everything.

    Args:
        bootstrap: a Kafka to measure on; None starts a real one where that is possible, else the embedded broker.
        say: told what is going on, a line at a time.

    Errors: MeasurementFailed, Unreachable, BrokerUnavailable.
    """
    wanted = [name for name in NAMES if (name in only if only else name not in ONLY_NAMED)]
    if "peers" in wanted:
        peers.check()
    report = Report(_conditions(sizes))
    offline = [name for name in wanted if name not in ON_KAFKA]
    # Without a broker beside them, which would take its share of two cores.
    await _Suite(Cluster("nowhere:1"), False, sizes, report, say).measure(offline)
    if len(offline) < len(wanted):
        async with broker(bootstrap, security) as found:
            say(f"on {found.says}")
            report.conditions["broker"] = _broker(found)
            suite = _Suite(found.cluster, found.transactions, sizes, report, say)
            await suite.measure([name for name in wanted if name in ON_KAFKA])
    return report


def _conditions(sizes: Sizes) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "core": core(),
        "packages": {name: version(name) for name in ("faust-streaming", "aiokafka", "duckdb", "orjson")},
        "facts": sizes.facts,
        "facts_offline": sizes.offline,
        "runs": sizes.runs,
        "partitions": PARTITIONS,
        "seed": data.SEED,
        "programme": " and ".join(f"{one.name} {one.version}" for one in data.programmes()),
    }


def _broker(found: Broker) -> dict[str, object]:
    return {"kind": found.kind, "says": found.says, "transactions": found.transactions}


class _Suite:
    """The measurements of one `stammgast bench`."""

    def __init__(self, cluster: Cluster, transactions: bool, sizes: Sizes, report: Report, say: Say) -> None:
        self._cluster = cluster
        self._transactions = transactions
        self._sizes = sizes
        self._report = report
        self._say = say
        self._made: logs.Inputs | None = None

    async def measure(self, names: Collection[str]) -> None:
        """All runs of each of these."""
        rounds = {
            "core": self._core,
            "rewards": self._rewards,
            "intake": self._intake,
            "replay": self._replay,
            "projector": self._projector,
            "latency": self._latency,
            "memory": self._memory,
            "moments": self._moments,
            "cost": self._cost,
            "recovery": self._recovery,
            "gateway": self._gateway,
            "peers": self._peers,
            "scale": self._scale,
        }
        for name in names:
            for number in range(1, self._sizes.runs + 1):
                self._say(f"{name}, run {number} of {self._sizes.runs}")
                await rounds[name]()
        if "rewards" in names or "peers" in names:
            await self._profile()

    async def _add(self, name: str, job: Job, command: Command = OURS) -> Run:
        run = await measured(job, self._cluster, command)
        self._report.add(name, run)
        return run

    async def _add_both(self, name: str, job: Job) -> Run:
        """With the core as it is here, and where that is compiled, interpreted right after it."""
        run = await self._add(name, job)
        if core() == "compiled":
            await self._add(f"{name}, interpreted", replace(job, compiled=False))
        return run

    def _job(self, task: str, **more: object) -> Job:
        limit_s = max(self._sizes.limit_s, self._sizes.facts / SLOWEST_RATE)
        job = Job(task, expected=self._sizes.facts, transactions=self._transactions, limit_s=limit_s)
        return replace(job, **more)  # type: ignore[arg-type]  # checked by Job when it is made

    def _inputs(self) -> logs.Inputs:
        if self._made is None:
            self._made = logs.inputs(data.TWO_LINES, self._sizes.facts)
        return self._made

    # ------------------------------------------------------------------------------------------------ without Kafka

    async def _core(self) -> None:
        await self._add_both("core", self._job("core", shape=data.TWO_LINES.name))
        await self._add_both("core, every feature", self._job("core", programme="every-feature"))
        shop = self._job("core", shape=data.GIFT_SHOP.name, expected=self._sizes.gift_shop)
        await self._add_both("core, gift shop", shop)

    async def _replay(self) -> None:
        with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
            file = Path(folder, "events.jsonl")
            write_events(file, data.TWO_LINES, self._sizes.offline)
            run = await self._add_both("replay", self._job("replay", file=str(file)))
            write_events(file, data.TWO_LINES, min(FEW_FACTS, max(1, self._sizes.facts // 4)))
            run.figures |= beyond(run, await measured(self._job("replay", file=str(file)), self._cluster))

    async def _projector(self) -> None:
        await self._add("projector", self._job("projector", expected=self._sizes.offline))

    async def _memory(self) -> None:
        with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
            file = str(Path(folder, "states"))
            await measured(self._job("memory models", file=file), self._cluster)
            await self._add("memory", self._job("memory", file=file, expected=self._sizes.members))

    async def _moments(self) -> None:
        await self._add_both("moments", self._job("moments"))

    # --------------------------------------------------------------------------------------------------- over Kafka

    async def _rewards(self) -> None:
        """Product, bare loop and one-at-a-time Faust over the very same `facts` log."""
        outputs = ("bare-log", "idiomatic-log")
        async with logs.deployment(self._cluster, outputs) as layout:
            expected = await logs.fill_facts(self._cluster, layout, self._inputs().facts)
            place = {"prefix": layout.prefix, "expected": expected}
            product = await self._add("rewards product", self._job("rewards product", **place))
            bare = self._job("rewards bare", **place, output=layout.name("bare-log"))
            same = await self._add("rewards bare", bare)
            if product.figures["points"] != same.figures["points"]:
                raise MeasurementFailed(f"worker and bare loop disagree: {product.figures} and {same.figures}")
            faust = self._job("rewards idiomatic", prefix=layout.prefix, output=layout.name("idiomatic-log"))
            await self._add("rewards idiomatic", replace(faust, expected=self._sizes.idiomatic))
        if core() == "compiled":
            await self._rewards_interpreted()

    async def _rewards_interpreted(self) -> None:
        """On logs of its own: a worker goes on where the last one ended."""
        async with logs.deployment(self._cluster) as layout:
            expected = await logs.fill_facts(self._cluster, layout, self._inputs().facts)
            job = self._job("rewards product", prefix=layout.prefix, expected=expected, compiled=False)
            await self._add("rewards product, interpreted", job)

    async def _intake(self) -> None:
        """Product and bare loop over the very same `shop-events`."""
        async with logs.deployment(self._cluster, ["bare-facts"]) as layout:
            expected = await logs.fill_events(self._cluster, layout, self._inputs().events)
            place = {"prefix": layout.prefix, "expected": expected}
            await self._add("intake product", self._job("intake product", **place))
            await self._add("intake bare", self._job("intake bare", **place, output=layout.name("bare-facts")))

    async def _cost(self) -> None:
        """The worker without chain and snapshots, with the chain, with both: each on a deployment of its own, in turn."""
        every = max(1, self._sizes.facts // PARTITIONS // COST_CHECKPOINTS)
        variants = [
            ("cost none", self._job("rewards unchained", checkpoint=NO_CHECKPOINTS)),
            ("cost chain", self._job("rewards product", checkpoint=NO_CHECKPOINTS)),
            ("cost all", self._job("rewards product", checkpoint=every)),
        ]
        first = len(self._report.runs.get("cost none", ())) % len(variants)
        for name, job in variants[first:] + variants[:first]:
            async with logs.deployment(self._cluster) as layout:
                expected = await logs.fill_facts(self._cluster, layout, self._inputs().facts)
                await self._add(name, replace(job, prefix=layout.prefix, expected=expected))

    async def _recovery(self) -> None:
        """A worker after one that died at its last decision: from checkpoints, then with `member-snapshots` deleted."""
        every = min(CHECKPOINT_DECISIONS, max(1, self._sizes.facts // PARTITIONS // RECOVERY_CHECKPOINTS))
        async with logs.deployment(self._cluster) as layout:
            expected = await logs.fill_facts(self._cluster, layout, self._inputs().facts)
            place = {"prefix": layout.prefix, "expected": expected}
            await measured(self._job("rewards product", **place, checkpoint=every), self._cluster)
            await self._add("recovery", self._job("recovery", **place))
            await recovery.forget_snapshots(self._cluster, layout)
            await self._add("recovery from the start", self._job("recovery", **place))

    async def _latency(self) -> None:
        sizes = self._sizes
        run = await latency.measure(
            self._cluster, transactions=self._transactions, rate=sizes.rate, seconds=sizes.seconds
        )
        self._report.add("latency", run)

    async def _gateway(self) -> None:
        """Gateway and bare handler on the same topics; then members, whom the gateway knows from decided logs."""
        count = max(100, self._sizes.facts // REQUESTS_SHARE)
        async with logs.deployment(self._cluster) as layout:
            expected = await logs.fill_facts(self._cluster, layout, self._inputs().facts)
            await measured(self._job("rewards product", prefix=layout.prefix, expected=expected), self._cluster)
            place = {"prefix": layout.prefix}
            for name in ("gateway product", "gateway bare"):
                async with child(self._job(name, **place), self._cluster) as serving:
                    told = await serving.hear()
                    where = {"file": f"{told['port']} {told['key']}", "expected": count}
                    await self._add(name, self._job("gateway load", **where, shape="events"))
                    if name == "gateway product":
                        await self._add("gateway members", self._job("gateway load", **where, shape="members"))

    async def _scale(self) -> None:
        """One, two and four workers, each number on a deployment of its own."""
        if not self._transactions:
            raise MeasurementFailed("scale needs a real Kafka: on the embedded broker only one worker may run")
        for workers in scale.WORKERS:
            job = self._job("scale worker")
            self._report.add(f"scale {workers}", await scale.measure(self._cluster, job, workers, self._inputs().facts))

    async def _peers(self) -> None:
        """Worker, Quix Streams and Bytewax over the very same `facts` log; all write the same bytes.

        Every round begins with another one, so that none is always the first behind the filling.
        """
        self._report.conditions["peers"] = peers.versions()
        contenders = [("peers worker", "rewards product", POINTS_LOG, OURS)]
        contenders += [(peer.name, peer.name, peers.topic_of(peer), peer.command()) for peer in peers.PEERS]
        first = len(self._report.runs.get("peers worker", ())) % len(contenders)
        async with logs.deployment(self._cluster, [topic for _, _, topic, _ in contenders[1:]]) as layout:
            expected = await logs.fill_facts(self._cluster, layout, self._inputs().facts)
            found: dict[tuple[str, float], str] = {}
            for name, task, topic, command in contenders[first:] + contenders[:first]:
                job = self._job(task, prefix=layout.prefix, expected=expected, output=layout.name(topic))
                run = await self._add(name, job, command)
                found.setdefault((await peers.written(self._cluster, layout.name(topic)), run.figures["points"]), name)
        if len(found) > 1:
            raise MeasurementFailed(f"the contenders disagree: {found}")

    async def _profile(self) -> None:
        """Where the worker's time goes: one more run, sampled, of which only the shares are used.

        With the core interpreted: compiled functions have no frames that a sample could name.
        """
        self._say("rewards, once more for the profile")
        async with logs.deployment(self._cluster) as layout:
            expected = await logs.fill_facts(self._cluster, layout, self._inputs().facts)
            job = self._job("rewards product", prefix=layout.prefix, expected=expected, sampled=True)
            job = replace(job, compiled=False)
            run = await measured(job, self._cluster)
        self._report.conditions["profile"] = run.profile
