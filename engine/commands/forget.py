"""`stammgast forget`: destroy what is known of a person, and change no sum."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, sentence

if TYPE_CHECKING:
    from engine.stream.clients import Cluster
    from engine.stream.forgetting import Forgotten
    from engine.vault.store import KeyStore


@click.command()
@click.argument("member", required=False)
@option("bootstrap", required=True)
@option("profile_keys", required=True)
@options("app", "topic_prefix", "inbound")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the workers' answer.",
)
@click.option(
    "--again", is_flag=True, help="After the key store was restored from a backup: destroy again, for everybody."
)
@click.option("--yes", is_flag=True, help="Do not ask; without it, and without a terminal, nothing is destroyed.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@kafka_security_options
def forget(
    *,
    member: str | None,
    bootstrap: str,
    profile_keys: Path,
    app: str,
    topic_prefix: str,
    inbound: str,
    wait_seconds: float,
    again: bool,
    yes: bool,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Forget a person: destroy the key of MEMBER's profile, and those of every alias that is the same person.

    What is left of the profile anywhere (logs, snapshots, backups of them) cannot be read any more. Points, lots, tiers and
    every sum stay: they stand under the member's key, which is a pseudonym. A running worker is needed to find the aliases.
    This cannot be undone. Exit codes: 0 done, 1 not confirmed, no worker answered, or there never was a profile, 2 wrong usage.
    """
    from aiokafka.errors import KafkaError

    from engine.ledger.member import ProfileUnavailable
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.vault.store import KeyStore

    if again == (member is not None):
        raise UsageError("name one MEMBER, or say --again for everybody who was forgotten before.")
    topics = _topics(inbound)
    if member is not None:
        _check(member)
    store = KeyStore(profile_keys, None)
    if not again and not yes and not _confirmed(member or "", as_json):
        raise No("Nothing was destroyed: say --yes.")
    cluster = Cluster(bootstrap, security)
    try:
        if again:
            _again(cluster, topic_prefix, store, as_json)
        else:
            _one(cluster, topic_prefix, member or "", store, topics, app, wait_seconds, as_json)
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(
            f"Kafka at {bootstrap} stopped answering: {error or type(error).__name__}. Say it again: it is safe to repeat."
        ) from error
    except ProfileUnavailable as error:
        raise No(f"{error}. Say it again: it is safe to repeat.") from error
    finally:
        store.close()


def _check(member: str) -> None:
    from schemas.normalise import check_key
    from schemas.rejects import Rejected

    try:
        if not member:
            raise Rejected("invalid", "a member's key is not empty", "MEMBER")
        check_key(member, "MEMBER")
    except Rejected as rejected:
        raise UsageError(f"MEMBER {rejected.message}.") from rejected


def _topics(inbound: str) -> tuple[list[str], list[str]]:
    """Inbound topics for profiles alone, and those that carry profiles and other events."""
    from engine.stream.topics import parse_inbound
    from schemas.facts import PERSONAL_TYPES

    try:
        taken = parse_inbound(inbound)
    except ValueError as error:
        raise UsageError(f"--inbound: {error}.") from error
    alone = [name for name, one in taken.items() if one.types <= PERSONAL_TYPES]
    return alone, [name for name, one in taken.items() if one.types & PERSONAL_TYPES and name not in alone]


def _confirmed(member: str, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        return False
    return click.confirm(f"Destroy the profile of {member} and of all aliases of the same person, for good?")


def _again(cluster: Cluster, prefix: str, store: KeyStore, as_json: bool) -> None:
    from engine.stream.forgetting import forget_again

    back = asyncio.run(forget_again(cluster, prefix, store))
    if as_json:
        click.echo(json.dumps({"destroyed_again": list(back)}, indent=2))
    else:
        click.echo(f"{len(back):,} keys of people who were forgotten had come back and are destroyed again.")


def _one(
    cluster: Cluster,
    prefix: str,
    member: str,
    store: KeyStore,
    topics: tuple[list[str], list[str]],
    app: str,
    wait_seconds: float,
    as_json: bool,
) -> None:
    known = store.knows(member)

    async def run() -> Forgotten:
        from engine.stream.forgetting import empty
        from engine.stream.forgetting import forget as forget_person

        now_us = time.time_ns() // 1_000
        done = await forget_person(cluster, prefix, member, store, now_us=now_us, wait_seconds=wait_seconds)
        done.emptied, done.mixed = await empty(cluster, prefix, topics[0], f"{prefix}{app}"), topics[1]
        return done

    done = asyncio.run(run())
    click.echo(json.dumps(asdict(done), indent=2) if as_json else in_words(done))
    if not done.decided:
        raise No(
            f"no worker answered within {wait_seconds:g} s: the key of {member} is destroyed, its aliases are not known. Start "
            "a worker and say it again."
        )
    if not done.destroyed and not known:
        raise No(f"there never was a profile of {member} here: is it the right key?")


def in_words(done: Forgotten) -> str:
    """What was done, for people."""
    told: list[Any] = [
        f"{done.member} is forgotten: {done.destroyed} profile key{'' if done.destroyed == 1 else 's'} destroyed"
        + (f", of {', '.join(done.keys)}." if len(done.keys) > 1 else "."),
        f"{done.emptied:,} records that intake had read are deleted from inbound topics for profiles.",
    ]
    told += [
        f"{topic} carries profiles beside other events: it holds them in clear until its retention ends."
        for topic in done.mixed
    ]
    return "\n".join(told)
