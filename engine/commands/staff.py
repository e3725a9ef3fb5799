"""`stammgast staff`: what staff do to members, with operator and reason; each waits for the decision and tells it."""

from __future__ import annotations

import asyncio
import functools
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, sentence

SOURCE = "urn:staff:command-line"


@click.group()
def staff() -> None:
    """Correct a member by hand: points, tier, cards, two accounts of one person.

    Each is an event on `staff-events` with an operator and a reason, decided and kept like any other. Exit codes: 0 done,
    1 refused (the answer says why) or not decided in time, 2 wrong usage.
    """


def _common(command: Callable[..., None]) -> Any:
    """The options that all of them have."""
    told = [
        option("bootstrap", required=True),
        option("topic_prefix"),
        click.option(
            "--operator", required=True, envvar="STAMMGAST_OPERATOR", show_envvar=True, metavar="KEY",
            help="Who does it: an opaque key, never a name or an e-mail address.",
        ),
        click.option(
            "--reason", required=True, metavar="WORD", help="Why: a word of your own list, such as goodwill or lost_card."
        ),
        click.option("--id", "event_id", metavar="ID", help="Id of the event; the same one again counts once. Default: new."),
        click.option("--source", default=SOURCE, show_default=True, help="Source of the event."),
        click.option(
            "--wait", "seconds", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds for the decision."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON."),
        kafka_security_options,
    ]  # fmt: skip

    @functools.wraps(command)
    def with_all(**given: Any) -> None:
        command(**given)

    wrapped: Any = with_all
    for add in reversed(told):
        wrapped = add(wrapped)
    return wrapped


@staff.command()
@click.argument("member")
@click.option("--points", type=int, metavar="N", help="Points given, or taken where negative.")
@click.option("--reinstate", metavar="ENTRY", help="Give back what expired: the entry_id of the expiry.")
@_common
def adjust(member: str, points: int | None, reinstate: str | None, **asked: Any) -> None:
    """Give MEMBER points, take them (--points -50), or give back what had expired (--reinstate)."""
    if (points is None) == (reinstate is None):
        raise UsageError("say --points N or --reinstate ENTRY, one of them.")
    _do("adjustment", member, {"points": points, "reinstate": reinstate}, **asked)


@staff.command()
@click.argument("member")
@click.argument("tier_id", metavar="TIER")
@click.option("--until", required=True, metavar="DAY", help="The last day on which it holds, such as 2026-06-30.")
@_common
def tier(member: str, tier_id: str, until: str, **asked: Any) -> None:
    """Give MEMBER at least TIER until the end of a day; the base tier ends that before."""
    _do("tier_override", member, {"tier": tier_id, "until": until}, **asked)


@staff.command()
@click.argument("key")
@click.argument("member")
@_common
def link(key: str, member: str, **asked: Any) -> None:
    """Let KEY, a card or an app account, be MEMBER's: whatever comes for it is theirs from now on."""
    _do("link", key, {"member": member}, **asked)


@staff.command()
@click.argument("member")
@click.argument("into")
@_common
def merge(member: str, into: str, **asked: Any) -> None:
    """Make MEMBER one with INTO: everything moves over, and whatever comes for MEMBER is INTO's."""
    _do("merge", member, {"into": into}, **asked)


def _do(
    kind: str,
    subject: str,
    data: dict[str, Any],
    *,
    bootstrap: str,
    topic_prefix: str,
    operator: str,
    reason: str,
    event_id: str | None,
    source: str,
    seconds: float,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Send the event, wait, tell. Errors: UsageError, No."""
    from aiokafka.errors import KafkaError

    from engine.stream.answers import Refused, Undecided, ask
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.topics import STAFF_EVENTS
    from schemas.times import to_text

    event = {
        "specversion": "1.0",
        "id": event_id or uuid.uuid4().hex,
        "source": source,
        "type": f"stammgast.{kind}.v1",
        "subject": subject,
        "time": to_text(time.time_ns() // 1_000),
        "data": {name: value for name, value in data.items() if value is not None}
        | {"operator": operator, "reason": reason},
    }
    raw = json.dumps(event).encode()
    fact = _checked(raw)
    try:
        answered = asyncio.run(ask(Cluster(bootstrap, security), topic_prefix, STAFF_EVENTS, fact, raw, seconds))
    except Refused as refused:
        raise No(f"refused by intake ({refused.reason} {refused.field}): {refused.message}") from refused
    except Undecided as error:
        raise No(str(error)) from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(
            f"Kafka at {bootstrap} stopped answering ({error or type(error).__name__}); try again with --id {fact.id}"
        ) from error
    _tell(kind, fact.id, answered, as_json)


def _checked(raw: bytes) -> Any:
    """The fact of an event, checked as intake will. Errors: UsageError."""
    from engine.stream.topics import STAFF_EVENTS, default_inbound
    from schemas.normalise import normalise
    from schemas.rejects import Rejected
    from schemas.times import to_text

    now_us = time.time_ns() // 1_000_000 * 1_000
    try:
        return normalise(raw, to_text(now_us), now_us, default_inbound()[STAFF_EVENTS].policy())
    except Rejected as rejected:
        field = rejected.field.removeprefix("data.") or "the event"
        raise UsageError(sentence(f"{field}: {rejected.message}")) from rejected


def _tell(kind: str, event_id: str, answered: Any, as_json: bool) -> None:
    from engine.explain.words import sentence_of

    decision = answered.last
    done = decision.outcome == "decided" and decision.reason is None
    notes = [note.text for note in decision.notes]
    if as_json:
        said = {"id": event_id, "done": done, "member": decision.member_id, "outcome": decision.outcome}
        said |= {
            "reason": decision.reason,
            "message": sentence_of(decision.reason or _not_decided(decision)),
            "notes": notes,
        }
        said |= {"entries": [asdict(one) for one in decision.entries], "tiers": [asdict(one) for one in decision.tiers]}
        click.echo(json.dumps(said | {"states": [asdict(one) for one in decision.states]}))
        if not done:
            click.get_current_context().exit(1)
        return
    if not done:
        why = sentence_of(decision.reason or _not_decided(decision))
        raise No(sentence("; ".join([f"{kind.replace('_', ' ')} {event_id} did nothing: {why}", *notes])))
    for line in [f"{kind.replace('_', ' ').capitalize()} {event_id} is decided.", *_moved(decision), *notes]:
        click.echo(line)


def _not_decided(decision: Any) -> str | None:
    return None if decision.outcome == "decided" else str(decision.outcome)


def _moved(decision: Any) -> list[str]:
    lines = [f"  {entry.points:+d} points ({entry.kind}) for {entry.member_id}" for entry in decision.entries]
    for change in decision.tiers:
        until = "" if change.until is None else f" until {change.until}"
        lines.append(f"  tier {change.previous or 'none'} -> {change.tier}{until} for {change.member_id}")
    lines += [f"  {one.type.split('.')[1]} sent to {one.subject}, decided there" for one in decision.derived]
    return lines
