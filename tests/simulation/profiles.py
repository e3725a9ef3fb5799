"""Who the members of the simulated shop are: profiles that are sealed in name only, so that one seed is one history."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

from engine.ledger.member import Sealed
from engine.ledger.profiles import Opens, profile_of
from rules.book import Profile
from schemas import facts
from schemas.envelope import Fact

CHANNELS = ("mail", "push")


class PlainVault:
    """Keeps a profile as it is where the product's vault seals it; everything else about it is the same."""

    def seal(self, fact: Fact) -> Fact:
        """Return it in the form of one that is sealed."""
        data: facts.ProfileForm = {
            "member": fact.subject or "",
            "key": "plain",
            "sealed": orjson.dumps(fact.data).decode(),
        }
        return Fact(
            fact.id,
            fact.source,
            fact.type,
            fact.subject,
            fact.time,
            fact.recorded_at,
            fact.body_hash,
            data,
            fact.time_us,
        )

    def opens(self, gone: Profile | None = None) -> Opens:
        """Return what reads them."""
        return opens


def opens(sealed: Sealed) -> Profile | None:
    """Read one."""
    return profile_of(orjson.loads(sealed.text))


def said(rng: Random) -> dict[str, Any]:
    """A member's profile: a birthday soon or not at all, consent to some channels."""
    consents = {channel: rng.random() < 0.7 for channel in CHANNELS}
    birthday = f"1990-{rng.randint(2, 5):02d}-{rng.randint(1, 28):02d}"
    said: dict[str, Any] = {"consents": consents, "preferred_channel": rng.choice(CHANNELS)}
    return said | ({"birthday": birthday} if rng.random() < 0.8 else {})
