"""`stammgast repartition`: more partitions, by copying the logs into a new generation of topics."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, sentence

if TYPE_CHECKING:
    from engine.stream.clients import Cluster
    from engine.stream.repartition import Repartition
    from engine.stream.topics import Layout
    from engine.vault.vault import Vault


@click.command()
@option("bootstrap", required=True)
@option("topic_prefix")
@click.option(
    "--to-prefix", required=True, metavar="PREFIX", help="Put before the names of the new topics, such as g2-."
)
@option("partitions", required=True, help="Partitions of the new topics.")
@click.option(
    "--cut-over", is_flag=True, help="With every worker stopped: copy the rest, prove it, let the new topics live."
)
@click.option("--dry-run", is_flag=True, help="Say what is there and what would be done; write nothing.")
@options("app", "inbound", "replication_factor", "rejects_days", "profile_key_file", "profile_keys")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@kafka_security_options
def repartition(
    *,
    bootstrap: str,
    topic_prefix: str,
    to_prefix: str,
    partitions: int,
    cut_over: bool,
    dry_run: bool,
    app: str,
    inbound: str,
    replication_factor: int,
    rejects_days: int,
    profile_key_file: Path | None,
    profile_keys: Path | None,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Copy the logs into topics with another number of partitions, and let those take over.

    Run it while workers run, as often as you like: it copies what is decided by now, and goes on where it stopped, also when it
    was killed. Then stop all workers and run it with --cut-over: it copies the rest, compares every member with the old topics,
    and only if all are equal lets the new ones live. Inbound topics stay where they are. docs/scaling.md has the steps.

    Exit codes: 0 done, 1 Kafka stopped answering, or members differ and nothing was cut over, 2 wrong usage: workers still run,
    a prefix that is taken, time moved unevenly.
    """
    from aiokafka.errors import KafkaError

    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.cut_over import generations
    from engine.stream.topics import Layout, parse_inbound
    from engine.vault.vault import vault_of

    cluster = Cluster(bootstrap, security)
    try:
        wanted = Layout(to_prefix, partitions, replication_factor, rejects_days, tuple(parse_inbound(inbound)))
        old, new = asyncio.run(generations(cluster, topic_prefix, wanted))
        if dry_run:
            said = asyncio.run(_plan(cluster, old, new, app))
        else:
            vault = vault_of(profile_key_file, profile_keys)
            with _progress() as progressed:
                said = asyncio.run(_run(cluster, old, new, vault, progressed, app if cut_over else None))
    except ValueError as error:
        raise UsageError(f"--inbound: {error}.") from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(
            f"Kafka at {bootstrap} stopped answering: {error or type(error).__name__}. Run it again, it goes on."
        ) from error
    click.echo(json.dumps(said) if as_json else _in_words(said))
    if said.get("differing"):
        raise SystemExit(1)


async def _run(
    cluster: Cluster,
    old: Layout,
    new: Layout,
    vault: Vault,
    progressed: Callable[[Mapping[str, int]], None],
    app: str | None,
) -> dict[str, Any]:
    """Copy; with the name of the deployment, cut over, too."""
    from engine.stream.cut_over import hand_over, require_nobody
    from engine.stream.repartition import Repartition

    if app is not None:
        await require_nobody(cluster, old, app)
    async with Repartition(cluster, old, new, vault, progressed).opened() as run:
        copied = await run.copy(ended=app is not None)
        said = {"state": "filling", "copied_now": copied, **run.summary()}
        if app is None:
            return said | {"left": await _left(run)}
        said |= await _compared(run)
        if said["differing"]:
            return said
        await hand_over(run, app)
        return said | {"state": "ready"}


async def _left(run: Repartition) -> int:
    """Offsets of the old points log that were not copied yet."""
    from engine.stream.clients import log_ends
    from engine.stream.topics import POINTS_LOG

    ends = await log_ends(run.cluster, run.old.name(POINTS_LOG), run.old.partitions)
    return sum(max(0, ends[number][1] - lane.decisions) for number, lane in enumerate(run.told.lanes))


async def _compared(run: Repartition) -> dict[str, Any]:
    """Every member held to the old topics."""
    from engine.verify.findings import Findings
    from engine.verify.generations import compare
    from engine.verify.scope import Scope

    findings = Findings()
    done = await compare(run.cluster, run.old.prefix, run.new.prefix, run.versions, Scope(), findings)
    return {
        "members": done.members,
        "points": done.points,
        "differing": sum(findings.counts.values()),
        "findings": [one.as_json() for one in findings.first],
    }


async def _plan(cluster: Cluster, old: Layout, new: Layout, app: str) -> dict[str, Any]:
    """What is there and what would be done."""
    from engine.stream.clients import log_ends
    from engine.stream.cut_over import working
    from engine.stream.generations import read_generation
    from engine.stream.topics import FACTS

    told = await read_generation(cluster, new.prefix)
    ends = await log_ends(cluster, old.name(FACTS), old.partitions)
    copied = sum(lane.facts for lane in told.lanes) if told else 0
    return {
        "state": "not begun" if told is None else told.state,
        "from": old.prefix,
        "to": new.prefix,
        "partitions": [old.partitions, new.partitions],
        "facts_offsets": sum(end for _, end in ends.values()),
        "copied_offsets": copied,
        "workers": await working(cluster, f"{old.prefix}{app}"),
        "topics": [new.name(topic.name) for topic in new.topics()],
    }


def _in_words(said: Mapping[str, Any]) -> str:
    was, will = said["partitions"]
    about = f"{said['from'] or '(no prefix)'} with {was} partitions to {said['to']} with {will}"
    if "topics" in said:
        return (
            f"{about}: {said['state']}. {said['facts_offsets']:,} offsets of facts, {said['copied_offsets']:,} of them copied; "
            f"{said['workers']} workers at work on the old topics. Topics: {', '.join(said['topics'])}."
        )
    text = (
        f"{about}: {said['copied_now']:,} facts now, {said['facts']:,} in all, {said['same']:,} decisions as they were but for "
        f"their place; {said['ticks_dropped']:,} ticks left out and {said['ticks_written']:,} written anew."
    )
    if "left" in said:
        return f"{text} {said['left']:,} offsets of decisions are left. Workers go on in the old topics; --cut-over ends it."
    if said["differing"]:
        named = "; ".join(f"{one['member']}: {one['expected']} -> {one['found']}" for one in said["findings"])
        return f"{text} NOT cut over: {said['differing']:,} members differ ({named})."
    text += f" {said['members']:,} members with {said['points']:,} points are equal in both."
    if said["undecided"]:
        text += f" Left to the workers: {said['undecided']:,} facts without a decision."
    return (
        f"{text} Start workers with --topic-prefix {said['to']} --partitions {will}, and a projector with a new file."
    )


@contextmanager
def _progress() -> Iterator[Callable[[Mapping[str, int]], None]]:
    """A counter on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _counts: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("repartition, {task.completed:,.0f} facts"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("repartition", total=None)
        yield lambda counts: bar.update(task, completed=counts["facts"])
