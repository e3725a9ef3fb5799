"""`stammgast deliver`: notices to members by webhook and mail, and what became of them back as facts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from engine.settings import (
    KafkaSecurity,
    No,
    UsageError,
    kafka_security_options,
    option,
    options,
    sentence,
    telemetry_options,
)

CONFIG_FILE = "deliver.yaml"
_config = click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), default=CONFIG_FILE, show_default=True,
    envvar="STAMMGAST_DELIVER_CONFIG", show_envvar=True, help="Which sender serves which channel (docs/deliver.md).",
)  # fmt: skip
_outcomes = click.option(
    "--outcome-topic", default="app-events", show_default=True,
    help="Inbound topic for what became of notices, without --topic-prefix.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


@click.group(invoke_without_command=True)
@option("bootstrap")
@_config
@_outcomes
@click.option(
    "--group", metavar="NAME", help="Consumer group; processes of one group share the work. Default: APP-deliver."
)
@options("app", "topic_prefix", "shutdown_seconds")
@telemetry_options
@kafka_security_options
def deliver(*, bootstrap: str | None, security: KafkaSecurity, **chosen: Any) -> None:
    """Hand notices of the topic `incentives` to webhooks and mail servers. Until SIGTERM or Ctrl-C.

    Nothing is said before its time or after its end. What fails is tried again; what fails for good is a dead letter
    (`stammgast deliver dead list`). What became of each notice goes back as a fact. At-least-once: a webhook gets the notice's
    id as webhook-id, by which it tells one that comes again. Exit codes: 0 stopped when asked to, 1 Kafka stopped answering,
    2 wrong usage.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if bootstrap is None:
        raise UsageError("--bootstrap HOST:PORT is missing: which Kafka shall it read?")
    _serve(bootstrap=bootstrap, security=security, **chosen)


def _serve(
    *, bootstrap: str, config: Path, outcome_topic: str, group: str | None, app: str, topic_prefix: str,
    shutdown_seconds: float, log_format: Any, log_level: str, metrics_host: str, metrics_port: int,
    security: KafkaSecurity,
) -> None:  # fmt: skip
    import structlog
    from aiokafka.errors import KafkaError

    from engine.deliver.serving import DeliverSettings, serve
    from engine.stream.app import on_signals
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.telemetry import METRICS, Health, TelemetryServer, set_up_logging

    settings = DeliverSettings(
        Cluster(bootstrap, security), _read(config), group or f"{topic_prefix}{app}-deliver", topic_prefix, outcome_topic,
        shutdown_seconds,
    )  # fmt: skip
    set_up_logging(log_format, log_level)
    health = Health()

    async def run() -> None:
        stop = asyncio.Event()
        on_signals(stop.set)
        await serve(settings, METRICS, health, stop)

    with TelemetryServer(metrics_host, metrics_port, METRICS, health) as telemetry:
        structlog.get_logger(__name__).info("telling about itself", metrics=telemetry.url)
        try:
            asyncio.run(run())
        except KafkaTrouble as error:
            raise UsageError(sentence(error)) from error
        except KafkaError as error:
            raise No(f"Kafka stopped answering, start it again: {error or type(error).__name__}.") from error


def _read(path: Path) -> Any:
    from engine.deliver.config import read_config
    from engine.deliver.sending import ConfigBroken

    try:
        return read_config(path)
    except ConfigBroken as error:
        raise UsageError(sentence(error)) from error


@deliver.command()
@_config
@_json
def check(config: Path, as_json: bool) -> None:
    """Read the configuration, its secrets, templates and address books, and send nothing. Exit codes: 0 good, 2 not."""
    found = _read(config)
    if as_json:
        said = {name: channel.model_dump(mode="json", by_alias=True) for name, channel in found.channels.items()}
        click.echo(json.dumps(said, indent=2))
        return
    for name, channel in found.channels.items():
        rate = "no limit" if channel.rate_per_second is None else f"{channel.rate_per_second:g} a second"
        click.echo(f"{name}: {channel.sender}, {channel.concurrency} at once, {rate}, {channel.attempts} attempts")


@deliver.group()
def dead() -> None:
    """Notices that could not be delivered: list them, and try them again."""


@dead.command("list")
@option("bootstrap", required=True)
@option("topic_prefix")
@kafka_security_options
@_json
def dead_list(bootstrap: str, topic_prefix: str, security: KafkaSecurity, as_json: bool) -> None:
    """List the dead letters that nobody has dealt with, oldest first: no address, no member, only what failed and why."""
    letters = _letters(bootstrap, topic_prefix, security)
    if as_json:
        click.echo(json.dumps([letter.told() for letter in letters], indent=2))
        return
    if not letters:
        click.echo("No dead letters.")
    for letter in letters:
        at = letter.at[:19].replace("T", " ") or "-"
        click.echo(f"{letter.key}  {at}  {letter.channel or '-'}  {letter.reason}  ({letter.attempts} attempts)")


@dead.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@option("bootstrap", required=True)
@option("topic_prefix")
@_config
@_outcomes
@kafka_security_options
@_json
def retry(
    ids: tuple[str, ...], everything: bool, bootstrap: str, topic_prefix: str, config: Path, outcome_topic: str,
    security: KafkaSecurity, as_json: bool,
) -> None:  # fmt: skip
    """Try dead letters again, each once, now. What is sent, bounced or expired is no dead letter any longer.

    Exit codes: 0 all dealt with, 1 some failed again, 2 wrong usage.
    """
    from engine.deliver.redelivery import redeliver
    from engine.stream.clients import Cluster, KafkaTrouble

    if everything == bool(ids):
        raise UsageError("name the dead letters by their ids, or say --all.")
    letters = _letters(bootstrap, topic_prefix, security)
    unknown = set(ids) - {letter.key for letter in letters}
    if unknown:
        raise UsageError(f"no dead letter has the id {', '.join(sorted(unknown))}: `deliver dead list` shows them.")
    chosen = [letter for letter in letters if everything or letter.key in ids]
    try:
        told = asyncio.run(redeliver(Cluster(bootstrap, security), _read(config), topic_prefix, outcome_topic, chosen))
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    if as_json:
        click.echo(
            json.dumps([{"id": one.key, "outcome": one.outcome, "reason": one.reason} for one in told], indent=2)
        )
    else:
        for one in told:
            click.echo(f"{one.key}  {one.outcome}{f'  {one.reason}' if one.reason else ''}")
    failed = sum(one.outcome == "failed" for one in told)
    if failed:
        raise No(f"{failed} of {len(told)} failed again.")


def _letters(bootstrap: str, topic_prefix: str, security: KafkaSecurity) -> Any:
    from engine.deliver.telling import dead_letters
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.topics import DEAD_NOTICES, LogMissing, partition_count

    async def ask() -> Any:
        cluster, topic = Cluster(bootstrap, security), topic_prefix + DEAD_NOTICES
        return await dead_letters(cluster, topic, await partition_count(cluster, topic))

    try:
        return asyncio.run(ask())
    except LogMissing as error:
        raise UsageError(f"{error}: `stammgast topics create` makes it, or check --topic-prefix.") from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
