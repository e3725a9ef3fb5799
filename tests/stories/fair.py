"""A fair: stories thrown with dice over all that members are told, offered and play, with profiles, codes and transfers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from rules.book import Programme
from tests.stories.reading import parse_story
from tests.stories.test_thrown import MEMBERS, Thrower

FACTS = 40
#: Windows of qualifying, and how levels are lost over them.
OVER = (
    {"over": "lifetime", "downgrade": "none"},
    {"over": "{rolling: 1 month}", "downgrade": "{to: one_level, grace: 1 month}"},
    {"over": "calendar_year", "downgrade": "{to: earned_level}"},
)
FAIR = """
story: Thrown with dice, over everything that is played
given:
  programme:
    use: fair
    {also}
    refund_by_receipt: {receipt}
    points: {{name: Blüten, pay_back: pro_rata, negative_balance: {negative}, expire: {expire}}}
    tiers:
      qualify: {{by: {by}, over: {over}}}
      downgrade: {downgrade}
      levels:
        - {{id: guest}}
        - {{id: regular, from: {regular}, multiply: 1.5, welcome: 20}}
        - {{id: gold, from: {gold}, multiply: 2, expire: {{after: 3 months}}}}
steps: [{{when: {{at: 2026-01-01 10:00, visit: s1}}, then: {{outcome: decided}}}}]
"""


def fair_programme(dice: Random) -> Programme:
    """Everything that is played, with one way of joining, qualifying and owing."""
    by = dice.choice(["spend", "points", "visits", "orders"])
    regular, gold = {"spend": ("60.00 EUR", "150.00 EUR"), "points": ("40", "90")}.get(by, ("2", "4"))
    text = FAIR.format(
        also=dice.choice(["visit_gap: 30 minutes", "visit_gap: 30 minutes", "join: explicit"]),
        receipt=dice.choice(["true", "false"]),
        expire=dice.choice(["{after: 1 month}", "{inactivity: 1 month}", "{after: 2 months}"]),
        negative=dice.choice(["within_balance", "allow", "only_pending"]),
        by=by,
        **dice.choice(OVER),
        regular=regular,
        gold=gold,
    )
    return parse_story(text, "fair").programmes[0]


class FairThrower(Thrower):
    """Throws what members are told, offered and play, besides what they buy."""

    FACTS = FACTS

    def kinds(self) -> list[tuple[Callable[[str], dict[str, Any]], int]]:
        """What can be thrown, and how often."""
        return [
            (self.purchase, 24), (self.refund, 8), (self.visit, 12), (self.redemption, 6), (self.redemption_end, 4),
            (self.claim, 3), (self.alias, 2), (self.staff, 3), (self.joined, 5), (self.again, 2), (self.profile, 6),
            (self.segment, 4), (self.activity, 6), (self.review, 4), (self.transfer, 4), (self.accepted, 3),
            (self.with_code, 5),
        ]  # fmt: skip

    def redemption(self, who: str) -> dict[str, Any]:
        """A reward, or points."""
        name = f"r{len(self.requests)}"
        self.requests.append((name, who))
        return {"who": who, "id": name, "redemption": self.dice.choice(["cake", "coupon", "five", {"points": 7}])}

    def with_code(self, who: str) -> dict[str, Any]:
        """An order that is paid with codes, of which some are nobody's."""
        code = f"FREE-{self.dice.randrange(1, 7)}"
        return self.purchase(who) | {"payment": {"voucher": "1.00", "vouchers": ["NO-SUCH-CODE", code]}}

    def profile(self, who: str) -> dict[str, Any]:
        """A birthday soon, or a language; consents."""
        consents = {"mail": self.dice.random() < 0.8, "push": self.dice.random() < 0.5}
        told = {"language": self.dice.choice(["de", "fr"]), "consents": consents}
        if self.dice.random() < 0.5:
            told["birth_date"] = f"1980-0{self.dice.randrange(2, 5)}-{self.dice.randrange(10, 29)}"
        return {"who": who, "profile": told}

    def segment(self, who: str) -> dict[str, Any]:
        """Somebody sorts the members."""
        return {"who": who, "segment": self.dice.choice(["asleep", "champions"]), "entered": self.dice.random() < 0.7}

    def activity(self, who: str) -> dict[str, Any]:
        """Sport or a game."""
        return {"who": who, "activity": self.dice.choice(["sport", "game"])}

    def accepted(self, who: str) -> dict[str, Any]:
        """A challenge that was offered is accepted."""
        return {"who": who, "activity": "challenge_accepted", "attributes": {"challenge": "offered"}}

    def review(self, who: str) -> dict[str, Any]:
        """Of something."""
        return {"who": who, "review": self.dice.choice("ab")}

    def transfer(self, who: str) -> dict[str, Any]:
        """Some points for somebody else."""
        return {"who": who, "transfer": {"to": self.dice.choice(MEMBERS), "points": self.dice.randrange(3, 45)}}
