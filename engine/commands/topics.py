"""`stammgast topics`: make the topics of a deployment before anything runs, as production wants it."""

import asyncio

import click

from engine.settings import KafkaSecurity, UsageError, kafka_security_options, option, sentence


@click.group()
def topics() -> None:
    """Create a deployment's topics, or check those that are there."""


@topics.command()
@option("bootstrap", required=True)
@option("topic_prefix")
@option("partitions")
@option("replication_factor")
@option("rejects_days")
@option("inbound")
@kafka_security_options
def create(
    bootstrap: str,
    topic_prefix: str,
    partitions: int,
    replication_factor: int,
    rejects_days: int,
    inbound: str,
    security: KafkaSecurity,
) -> None:
    """Create what is missing; refuse what does not fit (partition counts, logs that forget)."""
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.topics import Layout, ensure, parse_inbound

    try:
        layout = Layout(topic_prefix, partitions, replication_factor, rejects_days, tuple(parse_inbound(inbound)))
        identity = asyncio.run(ensure(Cluster(bootstrap, security), layout))
    except ValueError as error:
        raise UsageError(f"--inbound: {error}.") from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    click.echo(f"{'Topic':<24} {'Partitions':>10}  Holds")
    for topic in layout.topics():
        click.echo(f"{layout.name(topic.name):<24} {layout.count(topic):>10}  {topic.purpose}")
    click.echo(f"The id of these logs is {identity}.")
