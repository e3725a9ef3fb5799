"""More partitions for members who wait for moments, are amid challenges, hold tickets and have profiles: all of it goes along."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from engine.commands.tick import append
from engine.stream.clients import Cluster
from engine.stream.topics import FACTS, INCENTIVES, PROFILE_EVENTS
from engine.vault.master import new_master
from schemas.decisions import Decision
from schemas.facts import PROGRAMME, TICK
from schemas.times import to_us
from tests.kafka.deployment import Deployment, Event, event, purchase, until
from tests.kafka.test_repartition import run
from tests.kafka.test_repartition import told as said

pytestmark = [pytest.mark.kafka, pytest.mark.full, pytest.mark.timeout(600)]

PLAYED = Path(__file__).parent / "programmes" / "played"
BEFORE, AFTER = 2, 5
MEMBERS = [f"m{number:03d}" for number in range(12)]
SETTLED, LATER = to_us("2026-03-02T00:00:00+01:00"), to_us("2026-04-20T00:00:00+01:00")


def profiles() -> list[Event]:
    """Everybody may be written to; half speak German, and birthdays come before and after the move."""
    return [
        event(f"profile-{key}", "profile", key, _person(number), "2026-01-10T09:00:00+01:00")
        for number, key in enumerate(MEMBERS)
    ]


def _person(number: int) -> Event:
    birthday = f"1990-0{2 + number % 3}-2{number % 8}"
    return {"language": "de" if number % 2 else "en", "birthday": birthday, "consents": {"mail": True}}


def lived() -> list[Event]:
    """Two or three orders of everybody, so that there is a habit; some take a challenge up, some leave a basket. For some it is
    the challenges that end behind the move, for others the silence after the last order."""
    events: list[Event] = []
    for number, key in enumerate(MEMBERS):
        accepted = {"name": "challenge_accepted", "attributes": {"challenge": "taken-up"}}
        if number % 3 == 0:
            events.append(event(f"yes-{key}", "activity", key, accepted, "2026-01-31T10:00:00+01:00"))
        events += [
            purchase(f"o{day}-{key}", key, f"{12 + number}.00", when=f"2026-02-{day:02d}T10:00:00+01:00")
            for day in ((1, 10) if number % 2 else (1, 10, 19))
        ]
        if number % 4 == 0:
            left = {"name": "cart_abandoned", "attributes": {}}
            events.append(event(f"left-{key}", "activity", key, left, "2026-02-27T10:00:00+01:00"))
    return sorted(events, key=lambda one: one["time"])


def afterwards() -> list[Event]:
    """One more order of half of them: challenges that were begun before the move are met behind it."""
    return [purchase(f"n-{key}", key, "40.00", when="2026-03-03T10:00:00+01:00") for key in MEMBERS[::2]]


def given(decisions: list[Decision]) -> Counter[str]:
    """How often every rule gave points, and every notice was told or not."""
    rules = Counter(entry.rule_id for one in decisions for entry in one.entries if entry.rule_id)
    return rules + Counter(f"{notice.rule_id} {notice.state}" for one in decisions for notice in one.notices)


async def settled(shop: Deployment, moment: int, ticks: int) -> None:
    """Everybody is settled to a moment, and all is decided."""
    await append(shop.cluster, shop.prefix, moment)

    async def decided() -> bool:
        facts, decisions = sum(map(len, await shop.records(FACTS))), await shop.decisions()
        return len(decisions) == facts and sum(one.type == TICK for one in decisions) >= ticks

    await until("everybody is settled", decided)


async def test_what_members_wait_for_and_play_goes_along(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given the same life in a deployment that is moved in the middle and in one that is not, then members are equal in both
    generations, verify proves the new one, no notice goes out twice, and everything given over the whole life is the same."""
    there, still = f"{prefix}g2-", f"{prefix}still-"
    new_master(tmp_path / "master.key")
    keys = ("--profile-key-file", str(tmp_path / "master.key"), "--profile-keys", str(tmp_path / "keys.db"))
    with Deployment(cluster, prefix, partitions=BEFORE, programme=PLAYED) as shop:
        worker = shop.start(*keys)
        await shop.ready(worker)
        await _lives(shop)
        worker.end()
        new = (
            "--topic-prefix",
            prefix,
            "--to-prefix",
            there,
            "--partitions",
            str(AFTER),
            "--cut-over",
            "--json",
            *keys,
        )
        done = said(await run(cluster, "repartition", *new))
        before = await shop.decisions()
        told_before = sum(map(len, await shop.records(INCENTIVES)))
    assert (done["state"], done["differing"], done["members"]) == ("ready", 0, len(MEMBERS))

    with Deployment(cluster, there, partitions=AFTER, programme=PLAYED) as moved:
        proven = said(await run(cluster, "verify", "--topic-prefix", there, "--against", prefix, "--json", *keys))
        assert proven["proven"], proven["findings"]
        copied = len(await moved.decisions())
        worker = moved.start(*keys)
        await moved.ready(worker)
        await Deployment(cluster, prefix).publish(afterwards())
        await moved.everything_decided(afterwards())
        await settled(moved, LATER, 2 * AFTER)
        worker.end()
        proven = said(await run(cluster, "verify", "--topic-prefix", there, "--json", *keys))
        assert proven["proven"], proven["findings"]
        after = await moved.decisions()
        told_after = sum(map(len, await moved.records(INCENTIVES)))
    assert len(after) > copied
    assert told_before > 0

    with Deployment(cluster, still, partitions=BEFORE, programme=PLAYED) as quiet:
        worker = quiet.start(*keys)
        await quiet.ready(worker)
        await _lives(quiet)
        assert given(await quiet.decisions()) == given(before)
        await quiet.publish(afterwards())
        await quiet.everything_decided(afterwards())
        await settled(quiet, LATER, 2 * BEFORE)
        worker.end()
        whole = await quiet.decisions()
        told_in_all = sum(map(len, await quiet.records(INCENTIVES)))
    assert given([one for one in after if one.type != PROGRAMME]) == given(whole)
    assert told_before + told_after == told_in_all
    seen = given(whole)
    for rule in ("challenge:fortnight", "birthday-soon", "german", "thank-you", "gone-quiet made", "basket-left made"):
        assert seen[rule] > 0, (rule, seen)
    assert given(whole)["gone-quiet made"] > given(before)["gone-quiet made"], (
        "some silence is noticed behind the move alone"
    )


async def _lives(shop: Deployment) -> None:
    await shop.publish(profiles(), PROFILE_EVENTS)
    await shop.everything_decided(profiles())
    await shop.publish(lived())
    await shop.everything_decided([*profiles(), *lived()])
    await settled(shop, SETTLED, shop.partitions)
