"""`stammgast simulate`: events of an invented chain of shops, to a file or to Kafka, and the truth behind them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, sentence

if TYPE_CHECKING:
    from engine.simulate.chain import Chain
    from engine.stream.clients import Cluster

#: So many events are on their way to Kafka before their acknowledgements are waited for.
WINDOW = 2_000


@click.command()
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="EVENTS.jsonl[.gz]", help="Write them to a file."
)
@option("bootstrap", help="Or send them to this Kafka.")
@option("topic_prefix")
@click.option("--topic", default="pos-events", show_default=True, help="Inbound topic, without --topic-prefix.")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Events a second to Kafka. Default: all it takes.",
)
@click.option(
    "--truth", type=click.Path(dir_okay=False, path_type=Path), metavar="TRUTH.jsonl", help="Write down what was drawn."
)
@click.option("--members", type=click.IntRange(1, 10_000_000), default=1_000, show_default=True, help="How many.")
@click.option("--stores", type=click.IntRange(1, 999), default=8, show_default=True, help="How many.")
@click.option("--days", type=click.IntRange(1, 3_650), default=90, show_default=True, help="How long.")
@click.option(
    "--from",
    "from_day",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2026-01-01",
    show_default=True,
    help="First day, UTC.",
)
@click.option(
    "--currency", type=click.Choice(["EUR", "GBP", "USD"]), default="EUR", show_default=True, help="Of all amounts."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same bytes.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@kafka_security_options
def simulate(
    *, out: Path | None, bootstrap: str | None, topic_prefix: str, topic: str, rate: float | None, truth: Path | None,
    members: int, stores: int, days: int, from_day: Any, currency: str, seed: int, as_json: bool, security: KafkaSecurity,
) -> None:  # fmt: skip
    """Make the events of a chain of shops that does not exist, in the order in which they arrive.

    Year, week and day have their rhythm; members join, come as often as is theirs, and stop for good; tills are cut off and send
    later; sales without a card are claimed, deliveries and orders come twice, goods come back, bots look around. --truth says
    who is who, so that points, segments and churn can be checked.
    """
    from datetime import UTC

    from aiokafka.errors import KafkaError

    from engine.imports.events import write_events
    from engine.simulate.chain import Chain, Plan
    from engine.stream.clients import Cluster, KafkaTrouble
    from schemas.times import DAY_US, from_datetime, to_text

    if (out is None) == (bootstrap is None):
        raise UsageError("say where the events go: --out FILE or --bootstrap HOST:PORT, one of them.")
    from_us = from_datetime(from_day.replace(tzinfo=UTC))
    chain = Chain(Plan(members, stores, from_us, from_us + days * DAY_US, currency, seed))
    if bootstrap is not None and chain.plan.until_us > time.time_ns() // 1_000:
        raise UsageError(
            f"the simulated time ends at {to_text(chain.plan.until_us)}, and intake refuses the future: begin earlier."
        )
    began = time.monotonic()
    try:
        if out is not None:
            write_events(out, chain.events())
        else:
            asyncio.run(_publish(Cluster(str(bootstrap), security), topic_prefix + topic, chain, rate))
        if truth is not None:
            write_events(truth, chain.truth())
    except OSError as error:
        raise UsageError(f"{error.filename or out}: cannot be written ({error.strerror or error}).") from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(
            f"Kafka at {bootstrap} stopped taking events ({error or type(error).__name__}); the same seed sends the same again."
        ) from error
    _tell(chain, str(out or topic), time.monotonic() - began, as_json)


async def _publish(cluster: Cluster, topic: str, chain: Chain, rate: float | None) -> None:
    """Send everything, keyed by member or order. Errors: KafkaTrouble, KafkaError."""
    import orjson

    from engine.stream.clients import acknowledged, capabilities
    from engine.stream.topics import partition_count
    from schemas.envelope import order_key

    await partition_count(cluster, topic)
    idempotent = (await capabilities(cluster)).transactions
    under_way: list[Any] = []
    began = time.monotonic()
    async with cluster.producer(idempotent=idempotent) as producer:
        for number, event in enumerate(chain.events()):
            if rate is not None and (early := began + number / rate - time.monotonic()) > 0:
                await asyncio.sleep(early)
            key = event.get("subject") or order_key(event["source"], event["data"]["order_id"])
            under_way.append(await producer.send(topic, orjson.dumps(event), key=key.encode()))
            if len(under_way) >= WINDOW:
                await acknowledged(under_way)
                under_way = []
        await acknowledged(under_way)


def _tell(chain: Chain, where: str, seconds: float, as_json: bool) -> None:
    counts = dict(sorted(chain.counts.items()))
    if as_json:
        click.echo(json.dumps({"to": where, "seed": chain.plan.seed, "counts": counts, "seconds": round(seconds, 3)}))
        return
    kinds = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if name != "events")
    click.echo(f"{counts.get('events', 0):,} events to {where} in {seconds:.1f} s, seed {chain.plan.seed}: {kinds}.")
