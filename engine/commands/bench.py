"""`stammgast bench`: what this machine does, with a bare loop and idiomatic Faust beside it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Coroutine
from typing import Any

import click

from engine.bench.figures import NAMES, Report
from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, sentence

#: Where the report is no terminal's: as wide as its tables.
WIDTH = 110


@click.command()
@option(
    "bootstrap", help="Kafka to measure on; without it a real one is started where Java and Kafka's jars are found."
)
@click.option("--runs", type=click.IntRange(1, 99), default=5, show_default=True, help="Runs of each measurement.")
@click.option(
    "--facts", type=click.IntRange(100, 10_000_000), default=40_000, show_default=True, help="Purchases per run."
)
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Measure only this; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print every run, medians, ratios and goals as JSON.")
@kafka_security_options
def bench(
    bootstrap: str | None, runs: int, facts: int, only: tuple[str, ...], as_json: bool, security: KafkaSecurity
) -> None:
    """Measure this machine: core, rewards hop, intake, replay, projector, latency, gateway.

    Each measurement runs in a process of its own, several times, right after what it is compared with; medians are shown.
    Progress goes to standard error. A goal that is missed is shown, not an error. STAMMGAST_KAFKA_JARS names a folder with
    Kafka's jars; without real Kafka the embedded broker takes its place, without transactions, and the report says so. Topics
    have a prefix of their own and are removed. Measure on a quiet machine.
    """
    from rich.console import Console

    from engine.bench.children import MeasurementFailed
    from engine.bench.report import show
    from engine.bench.suite import Sizes, run
    from engine.broker import BrokerUnavailable
    from engine.stream.clients import Cluster, KafkaTrouble, reach

    def say(line: str) -> None:
        click.echo(line, err=True)

    try:
        if bootstrap is not None:
            asyncio.run(reach(Cluster(bootstrap, security)))
        report = _until_done(run(bootstrap, security, Sizes(facts=facts, runs=runs), only, say))
    except MeasurementFailed as error:
        raise No(str(error)) from error
    except (KafkaTrouble, BrokerUnavailable) as error:
        raise UsageError(sentence(error)) from error
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        console = Console()
        show(report, console if console.is_terminal else Console(width=WIDTH))


def _until_done(work: Coroutine[Any, Any, Report]) -> Report:
    """Run it; SIGTERM and Ctrl-C stop every process that it started, then end this one."""

    async def stoppable() -> Report:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        raise No("stopped before the end; every process that was started is ended.") from None
