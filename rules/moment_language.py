"""Moments: when somebody should be written to or given something, though he did nothing just now, or because he did.

A rule of `moments:` says when it comes, what it gives (points, a reward, a tier for some time) and what is to be said. What a
single field cannot know is in `rules.moment_checks`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rules.parts import BY_SHAPE, MAPPING, WORD, Cap, Condition, FactName, HoldOut, Notice, Part, Points, Slugs, Words
from rules.play import GivenTier
from rules.values import (
    FixedText,
    MomentText,
    MoneyText,
    NumberText,
    Slug,
    Word,
    mistake,
    refuse_reversed,
)
from schemas.times import DAY_US

#: A day is written to at its beginning, so less than a year ahead: or it would be the year before.
Days = Annotated[int, Field(strict=True, ge=0, le=180)]
#: Quiet limits look back no longer than this: notices of a member are remembered that long.
QUIET_DAYS = 366


class Birthday(Part):
    """A member's birthday, as his profile says; 29 Feb is the last day of a shorter February."""

    days_before: Days = Field(0, description="So many days before it. Default: on the day.")


class Anniversary(Part):
    """Every year after the account began."""

    days_before: Days = Field(0, description="So many days before it. Default: on the day.")


class Silence(Part):
    """No purchase for longer than this member's habit."""

    times_usual_gap: NumberText | None = Field(
        None,
        description="So many times the mean time between his purchases; comes to nobody with less than three purchases. "
        "Default: the same time for everybody.",
    )
    at_least: FixedText | None = Field(
        None, description="And at least this long, for example 21 days. Default: no floor."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.times_usual_gap is None and self.at_least is None:
            raise mistake("how long is silence?", "write {times_usual_gap: 3, at_least: 21 days}")
        if self.times_usual_gap is not None and not 1 <= self.times_usual_gap <= 100:
            raise mistake(f"{self.times_usual_gap} times the usual gap", "write a number from 1 to 100")
        return self


class Wanted(Part):
    """A kind of fact, and which of them."""

    on: FactName = Field(description="Its type.")
    when: Condition | None = Field(None, description="Only those for which this holds. Default: all.")


class NotFollowedBy(Part):
    """One thing happened, and another did not in time: a basket was left, a product searched and not bought."""

    after: Annotated[Annotated[Word, WORD] | Annotated[Wanted, MAPPING], BY_SHAPE] = Field(
        description="What happened: purchase, visit, review, the name of an activity, or {on, when}."
    )
    by: Annotated[Annotated[Word, WORD] | Annotated[Wanted, MAPPING], BY_SHAPE] = Field(
        description="What should have followed: purchase, visit, review, the name of an activity, or {on, when}."
    )
    within: FixedText = Field(description="In this time, for example 24 hours.")
    same: Word | None = Field(
        None,
        description="Both are about the same: sku or category of a line, order_id, an attribute of an activity. "
        "Default: whatever follows.",
    )


class PointsExpiring(Part):
    """Points are about to expire."""

    days_before: Annotated[int, Field(strict=True, ge=1, le=365)] = Field(description="So many days before they do.")
    at_least: Points = Field(1, description="Only if so many expire on that day. Default: 1.")


class TierChanged(Part):
    """The member's tier is another than before."""

    to: Slugs | None = Field(None, description="Only to these levels. One or a list of ids. Default: to any.")
    way: Literal["up", "down"] | None = Field(None, description="Only up, or only down. Default: both.")


class SegmentEntered(Part):
    """A fact says that the member is in a segment now, and he was not before."""

    segment: Words = Field(description="One or a list.")


class SpentMuch(Part):
    """A purchase with which so much was spent in a short time."""

    at_least: MoneyText = Field(description="Total of counted purchases, this one included.")
    within: FixedText = Field(description="Counted back from the purchase, for example 30 days.")


class When(Part):
    """One moment."""

    birthday: Birthday | None = Field(None, description="Days before the birthday that the profile says.")
    anniversary: Anniversary | None = Field(None, description="Days before the day on which the account began.")
    silence: Silence | None = Field(None, description="No purchase for longer than usual.")
    not_followed_by: NotFollowedBy | None = Field(None, description="What should have followed did not come in time.")
    points_expiring: PointsExpiring | None = Field(None, description="Points are about to expire.")
    tier_changed: TierChanged | None = Field(None, description="Another tier than before.")
    segment_entered: SegmentEntered | None = Field(None, description="In a segment now.")
    spent: SpentMuch | None = Field(None, description="Much spent in a short time.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise mistake("a rule has one moment", "make a rule for each")
        return self


MomentWord = Literal[
    "purchase", "visit", "review", "activity", "joined", "referral", "birthday", "anniversary", "tier_changed"
]
On = Annotated[Annotated[MomentWord, WORD] | Annotated[When, MAPPING], BY_SHAPE]


class GivenPoints(Part):
    """Points for a moment."""

    points: Points = Field(
        description="How many; tiers do not multiply them, and they count no progress towards tiers."
    )


class Quiet(Part):
    """A limit on notices per member."""

    at_most: Annotated[int, Field(strict=True, ge=1, le=1_000)] = Field(description="So many notices.")
    within: FixedText = Field(description="In any stretch of this length, for example 7 days.")
    channel: Words | None = Field(
        None, description="Of this channel, or of a list together. Default: of all channels together."
    )

    @model_validator(mode="after")
    def _is_remembered(self) -> Self:
        if self.within.length_us > QUIET_DAYS * DAY_US:
            raise mistake(f"{self.within} is longer than notices are remembered", f"at most {QUIET_DAYS} days")
        return self


class MomentRule(Part):
    """One rule: when it comes, for whom, and what it gives and says: award, reward, tier, challenge, notice, or several."""

    id: Slug = Field(description="Name of the rule; entries and notices carry it.")
    on: On = Field(
        description="The moment: birthday, anniversary, tier_changed, a fact such as purchase or activity, or a mapping: "
        "{silence: {times_usual_gap: 3, at_least: 21 days}}."
    )
    when: Condition | None = Field(None, description="Comes only where this holds. Default: always.")
    unless: Condition | None = Field(None, description="Does not come where this holds. Default: no exception.")
    award: GivenPoints | None = Field(None, description="Points: {points: 50}. Default: none.")
    reward: Slug | None = Field(None, description="Id of a reward of the catalogue, free of cost. Default: none.")
    tier: GivenTier | None = Field(
        None, description="A tier for some time: {level: gold, for: 3 months}. Default: none."
    )
    challenge: Slug | None = Field(
        None, description="Id of a challenge that is offered: its window begins. Default: none."
    )
    notice: Notice | None = Field(None, description="What is to be said: {template: we-miss-you}. Default: nothing.")
    cap: Cap | None = Field(None, description="How often it comes to a member. Default: as often as it does.")
    hold_out: HoldOut = None
    from_: MomentText | None = Field(None, alias="from", description="From then on. Default: as the version.")
    until: MomentText | None = Field(None, description="Until the end of that day. Default: as the version.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_ is not None and self.until is not None:
            refuse_reversed(self.from_, self.until)
        return self
