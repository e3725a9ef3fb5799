"""The demo: two shops, one after the other, from their events to tables that answer.

Each shop is a deployment of its own on the embedded broker: its own topics (by prefix), worker, projector and DuckDB file.
Nothing is staged: events go through Kafka, are decided by the worker and loaded by the projector as in production, and
every wait is for positions in the logs, never for a time.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engine.broker import MEMORY_ONLY, BrokerUnavailable, EmbeddedBroker
from engine.demo.processes import Role, running
from engine.demo.shops import SHOPS, Shop
from engine.demo.show import COMMON, Result, show, statement
from engine.ledger.engine_facts import midnight_before
from engine.processes import command_name
from engine.settings import No
from engine.stream.clients import Cluster, stand_at
from engine.stream.clock import append_ticks
from engine.stream.topics import FACTS, Layout, ensure
from projections.files import set_aside
from projections.reading import ask_server
from projections.server import endpoint_path, read_endpoint
from rules.book import Programme, load_directory

PARTITIONS = 4
HORIZON_DAYS = 90
#: Nothing moved for so long: the demo gives up and says what its roles said.
STALLED_SECONDS = 90.0
_LOOK_SECONDS = 0.15


@dataclass(slots=True)
class Deployment:
    """One shop while it runs."""

    shop: Shop
    db: Path
    cluster: Cluster
    programmes: list[Programme]
    roles: list[Role] = field(default_factory=list)

    def start(self, folder: Path) -> None:
        """Start its worker and its projector, their logs in ``folder``."""
        shared = {"bootstrap": self.cluster.bootstrap, "topic_prefix": self.shop.prefix, "metrics_port": 0}
        worker = {"app": self.shop.name, "programme": self.shop.programme, "partitions": PARTITIONS, "clock": "off"}
        tables = {"db": self.db, "churn_horizon_days": HORIZON_DAYS}
        for verb, own in (("worker", worker), ("projector", tables)):
            self.roles.append(Role(verb, {**shared, **own}, folder / f"{self.shop.name}-{verb}.log"))

    def serving(self) -> bool:
        """Does its projector, and no forerunner of it, answer already?"""
        endpoint = read_endpoint(self.db)
        return endpoint is not None and endpoint.pid in {role.pid for role in self.roles}

    def ask(self, sql: str) -> Result:
        """Ask its tables, as any analyst would, through the server of its projector."""
        endpoint = read_endpoint(self.db)
        if endpoint is None:
            raise No(f"{self.db} is not served any more: was its projector stopped?")
        answer = ask_server(endpoint.uri, Path(endpoint.token_file), sql)
        return Result(answer.names(), answer.numeric(), list(answer.all_rows()))

    def number(self, file: str) -> tuple[Any, ...]:
        """The one row that a question answers."""
        return self.ask(statement(file)).rows[0]


def run(db: Path, *, keep_serving: bool, console: Console, bars: bool) -> None:
    """Run the demo.

    Args:
        db: DuckDB file of the gift shop; the coffee bar's name is made of it. Files of earlier demos are set aside.
        keep_serving: at the end, go on serving both files until Ctrl-C.
        console: for all that is shown.
        bars: show progress bars.

    Raises:
        No: the embedded broker cannot run here, a role ended, or nothing moved for STALLED_SECONDS.
    """
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stammgast-demo-")))
            broker = stack.enter_context(EmbeddedBroker())
            console.print(f"Embedded Kafka at {broker.bootstrap}: {MEMORY_ONLY}.\n")
            shops = [stack if keep_serving else ExitStack() for _ in SHOPS]
            for shop, living in zip(SHOPS, shops, strict=True):
                with living if not keep_serving else ExitStack():
                    one_shop(shop, shop.file(db), broker.bootstrap, folder, living, console, bars)
            console.print(what_next(db, broker.bootstrap if keep_serving else None, time.monotonic() - began))
            if keep_serving:
                _until_interrupted()
    except BrokerUnavailable as error:
        raise No(f"{error}.") from error


def one_shop(
    shop: Shop, db: Path, bootstrap: str, folder: Path, living: ExitStack, console: Console, bars: bool
) -> None:
    """From a shop's events to its answers; its roles live as long as ``living``."""
    console.rule(f"[bold]{escape(shop.title)}", align="left")
    console.print(escape(shop.about))
    _make_room(db, console)
    deployment = Deployment(shop, db, Cluster(bootstrap), load_directory(shop.programme))
    living.enter_context(running(deployment.roles))
    asyncio.run(ensure(deployment.cluster, Layout(shop.prefix, PARTITIONS)))
    deployment.start(folder)
    events = folder / f"{shop.name}.jsonl"
    count, told = shop.prepare(events)
    console.print(escape(told))
    began = time.monotonic()
    with _bar(console, count, bars) as bar:
        _publish(deployment, events, bar)
        _until_answered(deployment, count, bar)
    seconds = time.monotonic() - began
    moment = _settle(deployment, count)
    console.print(f"published, decided and loaded in {seconds:.1f} s; everybody settled to {moment}\n")
    points = deployment.programmes[-1].points_name
    words = {"points": points, "horizon_days": HORIZON_DAYS}
    show(console, deployment.ask, (*COMMON, shop.change), **words)


def _make_room(db: Path, console: Console) -> None:
    """Set an earlier demo's file aside: the embedded broker forgot its logs, so nothing can be added to it."""
    endpoint = read_endpoint(db)
    if endpoint is not None and _is_alive(endpoint.pid):
        raise No(f"{db} is served by process {endpoint.pid}: end that demo first, or name another file with --db.")
    endpoint_path(db).unlink(missing_ok=True)
    old = set_aside(db)
    if old is not None:
        console.print(f"{db} of an earlier run was set aside as {old.name}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


Bar = Callable[[str, int], None]


@contextmanager
def _bar(console: Console, total: int, shown: bool) -> Iterator[Bar]:
    """One line per step, events of all; nothing where nobody looks."""
    if not shown:
        yield lambda _step, _done: None
        return
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks = {step: progress.add_task(step, total=total) for step in ("published", "answered")}
        yield lambda step, done: progress.update(tasks[step], completed=done)


def _publish(deployment: Deployment, events: Path, bar: Bar) -> None:
    from engine.commands.publish import publish_file  # noqa: PLC0415 - commands import this module to run it

    topic = f"{deployment.shop.prefix}shop-events"
    asyncio.run(publish_file(deployment.cluster, events, topic, lambda _bytes, count: bar("published", count)))


def _until_answered(deployment: Deployment, count: int, bar: Bar) -> None:
    """Wait until all events came in, every fact has its decision, and the tables hold both to the end of the logs."""
    seen, moved_at = (-1, -1), time.monotonic()
    while True:
        for role in deployment.roles:
            role.check()
        if deployment.serving():
            taken_in, undecided = (int(number) for number in deployment.number("unfinished"))
            bar("answered", max(0, min(count, taken_in - undecided)))
            if taken_in >= count and not undecided and asyncio.run(_holds_everything(deployment)):
                bar("answered", count)
                return
            if (taken_in, undecided) != seen:
                seen, moved_at = (taken_in, undecided), time.monotonic()
        if time.monotonic() > moved_at + STALLED_SECONDS:
            raise No(f"the {deployment.shop.name} stands still at {max(seen[0], 0)} of {count} events")
        time.sleep(_LOOK_SECONDS)


async def _holds_everything(deployment: Deployment) -> bool:
    """Do the tables hold every record of the logs? Asks the broker for what comes after the positions they stand at."""
    held = {(str(topic), int(part)): int(at) for topic, part, at in deployment.ask(statement("positions")).rows}
    places = {
        TopicPartition(deployment.shop.prefix + topic, part): held.get((topic, part), -1) + 1
        for topic in ("facts", "points-log", "rejects")
        for part in range(PARTITIONS)
    }
    async with deployment.cluster.consumer() as consumer:
        stand_at(consumer, places)
        unread = set(places)
        while unread:
            if await consumer.getmany(timeout_ms=100):
                return False
            unread = {place for place in unread if consumer.highwater(place) is None}
    return True


def _settle(deployment: Deployment, count: int) -> str:
    """Tick to the programme's midnight before the newest fact, wait for the answers, and return the moment in words."""
    (newest_us,) = deployment.number("newest")
    programme = deployment.programmes[-1]
    moment_us = midnight_before(int(newest_us), programme)
    asyncio.run(_tick(deployment, moment_us))
    _until_answered(deployment, count, lambda _step, _done: None)
    from schemas.times import to_datetime  # noqa: PLC0415

    return f"{to_datetime(moment_us).astimezone(programme.time_zone):%Y-%m-%d %H:%M} {programme.time_zone.key}"


async def _tick(deployment: Deployment, moment_us: int) -> None:
    topic = deployment.shop.prefix + FACTS
    async with deployment.cluster.producer() as producer:
        await append_ticks(producer, topic, range(PARTITIONS), moment_us, time.time_ns() // 1_000_000)


def what_next(db: Path, bootstrap: str | None, seconds: float) -> str:
    """Return what can be typed now."""
    coffee, call, programme = SHOPS[1].file(db), command_name(), SHOPS[1].programme
    if programme.is_relative_to(Path.cwd()):
        programme = programme.relative_to(Path.cwd())
    lines = [
        f"[bold]Done in {seconds:.0f} s.[/bold] Type next:",
        f'  {call} query --db {db} "from balances order by available desc limit 10"',
        f"  {call} query --db {db} \"from points_entries where member_id = '17850' order by occurred_at\"",
        f'  {call} query --db {coffee} "from tier_history order by from_at desc limit 10"',
        f'  {call} query --db {coffee} "show tables"',
        f"  {call} rules show {programme}",
    ]
    if bootstrap:
        prefix = SHOPS[0].prefix
        lines += [
            f"  {call} publish EVENTS.jsonl --bootstrap {bootstrap} --topic-prefix {prefix}",
            "Both shops go on until Ctrl-C; the tables follow what you publish.",
        ]
    return "\n".join(escape(line) if "[bold]" not in line else line for line in lines)


def _until_interrupted() -> None:
    import signal  # noqa: PLC0415

    signal.pause()
