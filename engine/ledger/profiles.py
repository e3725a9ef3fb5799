"""Who a member is: kept as it was sealed, opened for the moment in which a fact is decided, forgotten when somebody says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.ledger.following import follow
from engine.ledger.member import CLOSED, Member, Sealed
from rules.book import Profile
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import FORGET_SOURCE, Fact
from schemas.ids import hash_id

#: Opens a sealed profile: None where its key was destroyed on purpose, `CLOSED` where it is not at hand.
Opens = Callable[[Sealed], Profile | None]


def closed(sealed: Sealed) -> Profile | None:  # noqa: ARG001 - it is the same for every profile
    """Open nothing: whoever asks for a profile gets `ProfileClosed`."""
    return CLOSED


def profile_of(data: Mapping[str, Any]) -> Profile:
    """Return what rules may know of a profile in normal form, opened."""
    birthday = data["birthday"]
    return Profile(
        language=data["language"],
        region=data["region"],
        preferred_channel=data["preferred_channel"],
        birthday=None if birthday is None else (int(birthday[5:7]), int(birthday[8:10])),
        consents=frozenset([channel for channel, given in data["consents"].items() if given]),
        attributes=data["attributes"],
    )


def decide_profile(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """A profile moves nothing; of two the one with the newer time counts, of two of one time the later told."""
    if member.sealed is not None and fact.time_us < member.sealed.at_us:
        decision.reason = "older_than_known"
    return []


def follow_forget(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Return what tells the keys that are this member's aliases, too, that the person is forgotten."""
    if fact.type != facts.FORGET:
        return []
    data: facts.AliasForgetForm = {"member": member.key}
    return [
        follow(
            decision,
            fact,
            alias,
            source=FORGET_SOURCE,
            fact_id=hash_id(fact.source, fact.id, member.key, "forget", alias),
            kind=facts.ALIAS_FORGET,
            data=data,
        )
        for alias in sorted(member.aliases)
    ]
