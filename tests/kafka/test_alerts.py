"""Alerts and their causes, with a real Prometheus on a running deployment: everything that can go wrong within minutes.

Rules are those of deploy/prometheus with shorter times (`SHORTER`): an hour lasts ten seconds. What is not here fires in
tests/kafka/test_prometheus.py, or by `promtool test rules` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from engine.readers.book import add as add_reader
from engine.stream.clients import Cluster
from engine.stream.clock import append_ticks
from engine.stream.topics import Layout, ensure
from schemas.times import from_datetime
from tests.docs.test_prometheus_files import DASHBOARDS, OURS, every_rule, expressions
from tests.kafka.deployment import Deployment, Role, purchase, until
from tests.kafka.gateways import Gateway, make_key
from tests.kafka.test_deliver import configured, made, start, told
from tests.kafka.test_prometheus import Prometheus
from tests.kafka.troubles import DAMAGED, HELD, IDLE_TICKS, UNSEEN, UNTAKEN
from tests.projections.test_warehouse import small_disk
from tests.unit.deliver_world import notice, receiving

__all__ = ["small_disk"]
pytestmark = [pytest.mark.kafka, pytest.mark.full, pytest.mark.timeout(1500)]
PARTITIONS = 2
PATIENCE_S = 180.0
#: Spans of the rules, and bounds in seconds, in a world where an hour lasts ten seconds. 26 hours of a clock stay.
SHORTER = {
    "[5m]": "[10s]",
    "[30m]": "[5m]",
    "[1h]": "[10s]",
    "[6h]": "[60s]",
    "[26h]": "[5s]",
    "[1d] offset 1h": "[30s] offset 10s",
    "[7d] offset 1h": "[60s] offset 10s",
    "age_seconds:max > 60": "age_seconds:max > 3",
    "age_seconds:max > 900": "age_seconds:max > 6",
    "lag_seconds:max > 300": "lag_seconds:max > 5",
    "lag_seconds:max > 120": "lag_seconds:max > 5",
    "> 3600": "> 15",
    "overdue_seconds) > 1800": "overdue_seconds) > 5",
}
TRICKLE_S = 0.25


class Shop:
    """A deployment whose processes get into trouble, customers who buy all the time, and a Prometheus that watches."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment, self.folder = deployment, folder
        self.sold = 0
        self.price = "4.00"

    def patch(self, version: str | None = None) -> str:
        """What a process runs first."""
        return f"from pathlib import Path; from tests.kafka.troubles import plant; plant(Path({str(self.folder)!r}), {version!r})"

    @asynccontextmanager
    async def trouble(self, name: str) -> AsyncIterator[None]:
        """It lasts as long as this."""
        (self.folder / name).touch()
        try:
            yield
        finally:
            (self.folder / name).unlink()

    @asynccontextmanager
    async def customers(self) -> AsyncIterator[None]:
        """They buy four times a second."""

        async def buy() -> None:
            while True:
                today = datetime.now(UTC).isoformat(timespec="seconds")
                self.sold += 1
                event = purchase(f"t{self.sold}", f"m{self.sold % 400:03d}", self.price, when=today)
                await self.deployment.publish([event])
                await asyncio.sleep(TRICKLE_S)

        buying = asyncio.create_task(buy())
        try:
            yield
        finally:
            buying.cancel()
            await asyncio.wait([buying])


async def fires(prometheus: Prometheus, *alerts: str) -> None:
    """Wait until all of these fire."""
    for alert in alerts:

        async def now(alert: str = alert) -> bool:
            return alert in await prometheus.firing()

        await until(f"{alert} fires", now, PATIENCE_S)


async def over(prometheus: Prometheus, *alerts: str) -> None:
    """Wait until none of these fires any more."""

    async def now() -> bool:
        return not await prometheus.firing() & set(alerts)

    await until(f"{alerts} are over", now, PATIENCE_S)


async def quiet_hours(prometheus: Prometheus, seconds: int) -> None:
    """Wait until a usual hour is known; in so many seconds before that nothing was even pending."""

    async def known() -> bool:
        usual = f"count_over_time((stammgast:points_given_in_all:usual1h > 0)[{seconds}s:1s])"
        return (await prometheus.value(usual) or 0) >= seconds / 2

    await until("a usual hour is known", known, PATIENCE_S)
    assert await prometheus.ask(f"count_over_time(ALERTS[{seconds}s])") == []


@pytest.fixture
def shop(cluster: Cluster, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A deployment of two partitions; nothing runs yet."""
    with Deployment(cluster, prefix, partitions=PARTITIONS) as deployment:
        yield Shop(deployment, tmp_path_factory.mktemp("troubles"))


async def test_troubles_of_a_worker(shop: Shop, tmp_path: Path) -> None:
    """Silent while customers buy; then late decisions and intake, damaged memory, ticks that settle nobody, a clock that stands,
    a rule that gives too much, a second build, and a shop where nobody buys any more."""
    deployment = shop.deployment
    arguments = [*deployment.arguments(), "--clock", "wall"]
    worker = deployment.begin("worker", arguments, shop.patch())
    await deployment.ready(worker)
    other = deployment.begin("projector", _projector(deployment, tmp_path / "t.duckdb"), shop.patch())
    await until("the projector is ready", lambda: asyncio.to_thread(lambda: other.ask("/readyz")[0] == 200))
    with Prometheus(tmp_path, {"worker": worker.port, "projector": other.port}, SHORTER) as prometheus:
        async with shop.customers():
            await quiet_hours(prometheus, 20)

            async with shop.trouble(HELD):
                await fires(prometheus, "StammgastDecisionsLate", "StammgastDecisionsVeryLate")
            await over(prometheus, "StammgastDecisionsLate", "StammgastDecisionsVeryLate")
            async with shop.trouble(UNTAKEN):
                await fires(prometheus, "StammgastIntakeLate")
            await over(prometheus, "StammgastIntakeLate")

            shop.price = "900.00"
            await fires(prometheus, "StammgastRuleGivesTooMuch", "StammgastProgrammeGivesTooMuch")
            shop.price = "4.00"

            async with shop.trouble(DAMAGED):
                await fires(prometheus, "StammgastLedgerBroken")

            async with shop.trouble(IDLE_TICKS):
                await _tick(deployment, datetime.now(UTC) - timedelta(days=2))
                await fires(prometheus, "StammgastTimeStandsStill")
                await _tick(deployment, datetime.now(UTC) + timedelta(days=4_000))
                await fires(prometheus, "StammgastMembersOverdue")
        await fires(prometheus, "StammgastNothingComesIn")

        other.close()
        deployment.begin("projector", _projector(deployment, tmp_path / "t.duckdb"), shop.patch("99.0"), other.port)
        await fires(prometheus, "StammgastVersionsMixed")


async def test_troubles_of_a_projector(shop: Shop, small_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """On a small disk from the beginning; then a look that takes for ever, a full disk, rows that are gone, a damaged file, and a
    process that ends again and again."""
    deployment, folder = shop.deployment, tmp_path_factory.mktemp("prometheus")
    file, ballast = small_disk / "t.duckdb", small_disk / "ballast"
    worker = deployment.begin("worker", deployment.arguments(), shop.patch())
    await deployment.ready(worker)
    port = _free()

    def project() -> Role:
        return deployment.begin("projector", _projector(deployment, file), shop.patch(), port)

    projector = project()
    with Prometheus(folder, {"worker": worker.port, "projector": port}, SHORTER) as prometheus:
        async with shop.customers():
            await fires(prometheus, "StammgastDiskAlmostFull")
            async with shop.trouble(UNSEEN):
                await fires(prometheus, "StammgastTablesUnchecked")
            await over(prometheus, "StammgastTablesUnchecked")

            _fill(ballast)
            await fires(prometheus, "StammgastProjectorWaits", "StammgastTablesLate")
            ballast.unlink()
            await over(prometheus, "StammgastProjectorWaits", "StammgastTablesLate")

            projector.end(60)
            with duckdb.connect(str(file)) as tables:
                tables.execute(
                    "delete from staging.decisions where rowid in (select rowid from staging.decisions limit 3)"
                )
            projector = project()
            await fires(prometheus, "StammgastTablesBroken")

            projector.end(60)
            _damage(file)
            projector = project()
            await fires(prometheus, "StammgastTablesRebuilt")
            for _ in range(2):
                began = await prometheus.value('process_start_time_seconds{job="stammgast-projector"}')
                projector.signal(signal.SIGKILL)
                projector.process.wait(30)
                projector = project()
                await _began_anew(prometheus, began)
            await fires(prometheus, "StammgastProcessRestarts")


async def test_troubles_of_those_who_get_notices(shop: Shop, tmp_path: Path) -> None:
    """With gateway, console and readers watched beside it: silent while notices arrive; then a receiver that is away, and one
    that never takes a notice. What rules and dashboards ask of these roles is scraped."""
    deployment, world = shop.deployment, tmp_path
    await ensure(deployment.cluster, Layout(deployment.prefix, PARTITIONS))
    answer = {"status": 200}
    with receiving(lambda _one: (answer["status"], {})) as receiver:
        deliver = start(deployment, configured(world, receiver, attempts=1_000))
        roles = {"deliver": deliver.port, **await _others(shop, world)}
        with Prometheus(world, roles, SHORTER) as prometheus:
            await until("it delivers", lambda: _ready(deliver))
            await made(deployment, [notice(number, "anna") for number in range(5)])
            await told(deployment, 5)
            await until(f"{sorted(roles)} are scraped", lambda: _all_up(prometheus, len(roles)), PATIENCE_S)
            assert await prometheus.ask("count_over_time(ALERTS[10m])") == []

            answer["status"] = 503
            await made(deployment, [notice(number, "anna") for number in range(5, 8)])
            await fires(prometheus, "StammgastNoticesLate")
            answer["status"] = 200
            await told(deployment, 8)
            await over(prometheus, "StammgastNoticesLate")

            answer["status"] = 422
            await made(deployment, [notice(8, "anna")])
            await fires(prometheus, "StammgastDeadLetters")
            await _scraped(prometheus)


async def _others(shop: Shop, folder: Path) -> dict[str, int]:
    """Ports of a gateway, and of a console and a server of readers over a file."""
    deployment, file = shop.deployment, folder / "t.duckdb"
    secret = make_key(folder / "keys.yaml")
    add_reader(folder / "readers.yaml", "anna")
    worker = deployment.begin("worker", deployment.arguments())
    await deployment.ready(worker)
    projector = deployment.begin("projector", _projector(deployment, file))
    await until("the projector is ready", lambda: _ready(projector))
    gateway = Gateway(deployment, folder / "keys.yaml")
    await gateway.ready()
    async with gateway.client(secret) as client:
        assert (await client.get("/members/anna")).status_code == 404
    console = deployment.begin("console", ["--db", str(file), "--console-port", "0"])
    readers = deployment.begin(
        "readers", ["serve", "--db", str(file), "--readers", str(folder / "readers.yaml"), "--readers-port", "0"]
    )
    await until("the console is ready", lambda: _ready(console))
    await until("readers are answered", lambda: _ready(readers))
    ports = {"worker": worker, "projector": projector, "gateway": gateway.role, "console": console, "readers": readers}
    return {name: role.port for name, role in ports.items()}


async def _ready(role: Role) -> bool:
    status, _body = await asyncio.to_thread(role.ask, "/readyz")
    return status == 200


async def _all_up(prometheus: Prometheus, roles: int) -> bool:
    return await prometheus.value('sum(up{job=~"stammgast-.*"})') == roles


async def _scraped(prometheus: Prometheus) -> None:
    """Every metric of gateway and delivery that rules and dashboards ask for is there."""
    asked = [text for path in DASHBOARDS for text in expressions(path)] + [rule["expr"] for rule in every_rule()]
    theirs = ("stammgast_deliver_", "stammgast_gateway_")
    wanted = {name for text in asked for name in OURS.findall(text) if name.startswith(theirs)}
    missing = set(wanted)

    async def all_there() -> bool:
        missing.difference_update(await asyncio.to_thread(prometheus.get, "label/__name__/values"))
        return not missing

    try:
        await until("all are scraped", all_there, PATIENCE_S)
    except AssertionError as error:
        raise AssertionError(f"never scraped: {sorted(missing)} of {sorted(wanted)}") from error


async def _began_anew(prometheus: Prometheus, before: float | None) -> None:
    async def now() -> bool:
        return await prometheus.value('process_start_time_seconds{job="stammgast-projector"}') not in (None, before)

    await until("the new process is seen", now, PATIENCE_S)


def _fill(ballast: Path) -> None:
    """Write until there is no room left."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as held:
        while True:
            held.write(os.urandom(4096))


def _damage(file: Path) -> None:
    """Every other block of the file holds something else."""
    size = file.stat().st_size
    with file.open("r+b") as held:
        for place in range(3 * 4096, size, 64 * 1024):
            held.seek(place)
            held.write(os.urandom(4096))


def _free() -> int:
    from engine.broker import free_port

    return free_port()


def _projector(deployment: Deployment, db: Path) -> list[str]:
    where = ["--bootstrap", deployment.cluster.bootstrap, "--topic-prefix", deployment.prefix]
    return [*where, "--db", str(db)]


async def _tick(deployment: Deployment, when: datetime) -> None:
    """A tick in every partition, as `stammgast tick` appends it."""
    async with deployment.cluster.producer() as producer:
        now_ms = int(time.time() * 1000)
        await append_ticks(producer, deployment.topic("facts"), range(PARTITIONS), from_datetime(when), now_ms)
