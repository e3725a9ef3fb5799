"""Stories that are thrown with dice, over everything that moves points at once: nobody expects anything of them but what holds
for every story. The books add up, the logs fold to the same state, and ticks, partitions and memory change nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from rules.book import Programme
from tests.seeds import chosen_seed
from tests.stories.playing import play
from tests.stories.reading import parse_story
from tests.stories.telling import TICK, Event, read_event
from tests.stories.test_stories import check_books, with_ticks

MEMBERS = ("anna", "ben", "card", "dora")
FACTS = 25
STORIES = 400 if os.environ.get("STAMMGAST_TEST_FULL") == "1" else 25
END = Event(TICK, "2027-06-01", None, None, "", {})
STORY = """
story: Thrown with dice, over everything at once
given:
  programme:
    use: everything
    points: {{expire: {{after: 2 months}}, pending: {{for: 3 days, channels: [web]}}, negative_balance: {negative}}}
    tiers:
      qualify: {{by: {by}, over: {over}}}
      downgrade: {downgrade}
      levels:
        - {{id: guest}}
        - {{id: regular, from: {regular}, multiply: 1.5, welcome: 20}}
        - {{id: gold, from: {gold}, multiply: 2, welcome: {{points: 10, again: true}}}}
steps: [{{when: {{at: 2026-01-01 10:00, visit: s1}}, then: {{outcome: decided}}}}]
"""
THRESHOLDS = {"spend": ("60.00 EUR", "150.00 EUR"), "points": ("60", "150"), "orders": ("3", "7")}


def thrown_programme(dice: Random) -> Programme:
    """Everything, with one way of qualifying, going down and owing."""
    by = dice.choice(list(THRESHOLDS))
    text = STORY.format(
        by=by,
        regular=THRESHOLDS[by][0],
        gold=THRESHOLDS[by][1],
        over=dice.choice(["calendar_year", "membership_year", "{rolling: 1 month}", "{rolling: 2 months}"]),
        downgrade=dice.choice(["none", "{to: earned_level}", "{to: one_level, grace: 1 month}"]),
        negative=dice.choice(["within_balance", "allow", "only_pending"]),
    )
    return parse_story(text, "thrown").programmes[0]


class Thrower:
    """Throws facts: some refer to earlier ones, some come late, some come twice."""

    FACTS = FACTS

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.now = datetime(2026, 2, 1, 8, tzinfo=UTC)
        self.told: list[dict[str, Any]] = []
        self.orders = [("o0", "anna")]
        self.requests = [("r0", "anna")]

    def kinds(self) -> list[tuple[Callable[[str], dict[str, Any]], int]]:
        """What can be thrown, and how often."""
        return [
            (self.purchase, 30), (self.refund, 16), (self.visit, 8), (self.redemption, 10), (self.redemption_end, 6),
            (self.delivered, 6), (self.referral, 3), (self.claim, 4), (self.alias, 2), (self.staff, 4), (self.joined, 2),
            (self.again, 2),
        ]  # fmt: skip

    def events(self) -> list[Event]:
        """Throw a story."""
        kinds = self.kinds()
        for number in range(1, self.FACTS + 1):
            self.now += timedelta(hours=self.dice.choice([0, 1, 5, 20, 40, 100, 300]), minutes=self.dice.randrange(60))
            if self.dice.random() < 0.05:
                self.told.append({TICK: f"{self.now:%Y-%m-%d %H:%M}"})
                continue
            late = self.now - timedelta(days=self.dice.choice([0, 0, 0, 0, 0, 1, 5, 40]))
            (kind,) = self.dice.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
            fact = kind(self.dice.choice(MEMBERS))
            self.told.append({"at": f"{late:%Y-%m-%d %H:%M}", "id": f"f{number}"} | fact)
        return [read_event(fact) for fact in self.told]

    def purchase(self, who: str) -> dict[str, Any]:
        """An order, one in ten without a member; its number may be an old one."""
        order = f"o{self.dice.randrange(FACTS)}"
        self.orders.append((order, who))
        lines = [
            f"{self.dice.randrange(1, 4)} x {self.dice.choice('ab')} {self.dice.choice(['1.99', '7.50', '20.00', '33.33'])}"
            for _ in range(self.dice.randrange(1, 4))
        ]
        who = "nobody" if self.dice.random() < 0.1 else who
        return {"who": who, "purchase": order, "channel": self.dice.choice(["pos", "web", "app"]), "lines": lines}

    def refund(self, who: str) -> dict[str, Any]:
        """Of an order that is known, or not yet, under some key or none."""
        order, owner = self.dice.choice(self.orders)
        if self.dice.random() < 0.15:
            order = f"o{self.dice.randrange(FACTS)}"
        how: dict[str, Any] = {"amount": self.dice.choice(["1.00", "10.00", "500.00"])}
        if self.dice.random() < 0.5:
            how = {"lines": [f"{self.dice.randrange(1, 3)} x {self.dice.choice('ab')}"]}
        return {"who": self.dice.choice([owner, owner, owner, "nobody", who]), "refund": order} | how

    def visit(self, who: str) -> dict[str, Any]:
        """At one of two stores."""
        return {"who": who, "visit": self.dice.choice(["s1", "s2"])}

    def redemption(self, who: str) -> dict[str, Any]:
        """A reward, or points."""
        name = f"r{len(self.requests)}"
        self.requests.append((name, who))
        wanted = self.dice.choice(["coffee", "cake", "tea", {"points": self.dice.randrange(1, 60)}])
        return {"who": who, "id": name, "redemption": wanted, "store": self.dice.choice(["s1", "s2"])}

    def redemption_end(self, who: str) -> dict[str, Any]:
        """Cancelled or collected, mostly by whom it was granted."""
        name, owner = self.dice.choice(self.requests)
        end = self.dice.choice(["redemption_cancelled", "redemption_cancelled", "redemption_fulfilled"])
        return {"who": self.dice.choice([owner, owner, who]), end: name}

    def delivered(self, who: str) -> dict[str, Any]:
        """An order arrived."""
        order, owner = self.dice.choice(self.orders)
        return {
            "who": self.dice.choice([owner, owner, who]),
            "activity": "delivered",
            "attributes": {"order_id": order},
        }

    def referral(self, who: str) -> dict[str, Any]:
        """By anybody, also oneself."""
        return {"who": who, "referral": self.dice.choice(MEMBERS)}

    def claim(self, who: str) -> dict[str, Any]:
        """Of any order."""
        return {"who": who, "claim": self.dice.choice(self.orders)[0]}

    def alias(self, who: str) -> dict[str, Any]:
        """Two keys become one, circles included."""
        how = self.dice.choice(["link", "merge"])
        return {"who": who, how: self.dice.choice(MEMBERS), "operator": "kim", "reason": "dice"}

    def staff(self, who: str) -> dict[str, Any]:
        """Points, or a tier until a day."""
        by = {"who": who, "operator": "kim", "reason": "dice"}
        if self.dice.random() < 0.5:
            return by | {"adjustment": self.dice.choice([-50, -10, 10, 30])}
        until = self.now + timedelta(days=self.dice.randrange(60))
        return by | {"tier_override": self.dice.choice(["guest", "regular", "gold"]), "until": f"{until:%Y-%m-%d}"}

    def joined(self, who: str) -> dict[str, Any]:
        """The account begins, or ends."""
        return {"who": who, self.dice.choice(["joined", "joined", "left"]): None}

    def again(self, who: str) -> dict[str, Any]:
        """An earlier fact comes a second time, its time and id included."""
        sent = [fact for fact in self.told if "id" in fact]
        return dict(self.dice.choice(sent)) if sent else self.visit(who)


@pytest.mark.timeout(900)
def test_what_holds_for_every_story_holds_for_thrown_ones() -> None:
    """Books, fold, ticks, partitions, memory; the number of a story that fails is in the message."""
    dice = Random(chosen_seed())
    for number in range(STORIES):
        check_thrown([thrown_programme(dice)], [*Thrower(dice).events(), END], f"story {number}")


def check_thrown(programmes: list[Programme], events: list[Event], name: str) -> None:
    """Hold a story against what holds for every one."""
    stage = play(programmes, events, 1, 5_000)
    check_books(stage)
    moved = stage.moved()
    ticked = list(with_ticks(events, stage.zone))
    for story, partitions, live_members in ((ticked, 1, 5_000), (events, 3, 5_000), (events, 1, 2)):
        assert play(programmes, story, partitions, live_members).moved() == moved, f"{name}, {partitions}"
