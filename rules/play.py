"""Challenges, badges and raffles, as a programme file says them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rules.parts import Condition, FactName, Notice, Part, Points, Threshold
from rules.values import FixedText, MomentText, Slug, SpanText, Word, mistake, refuse_reversed

WhenReturned = Literal["take_back", "keep"]


class Tickets(Part):
    """Tickets of a raffle."""

    name: Slug = Field(description="Id of the raffle.")
    tickets: Annotated[int, Field(strict=True, ge=1, le=1_000)] = Field(1, description="How many. Default: 1.")


class Badge(Part):
    """A name that a member can show: he has it once or not at all."""

    id: Slug = Field(description="Name of the badge; it stays the same from version to version.")
    label: Word | None = Field(None, description="What guests see. Default: the id.")
    when_returned: WhenReturned = Field(
        "take_back", description="When what earned it was returned: take_back, or keep. Default: take_back."
    )


class Raffle(Part):
    """A draw that anybody can check: its secret is fixed, by its hash, before the first ticket is given."""

    id: Slug = Field(description="Name of the raffle; tickets carry it.")
    label: Word | None = Field(None, description="What guests see. Default: the id.")
    from_: MomentText = Field(alias="from", description="Tickets are given for facts from then on.")
    until: MomentText = Field(description="Tickets are given for facts until the end of that day.")
    commitment: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of the secret, in hex: `stammgast raffle secret` makes both. It is never changed."
    )
    winners: Annotated[int, Field(strict=True, ge=1, le=10_000)] = Field(
        1, description="How many tickets win. Default: 1."
    )
    wins_per_member: Annotated[int, Field(strict=True, ge=1, le=10_000)] = Field(
        1, description="How many tickets of one member can win. Default: 1."
    )
    public: Word | None = Field(
        None,
        description="A number that nobody can know before the end of the sale and everybody can look up after it, such as those "
        "of a lottery of a named day: the draw depends on it, too. Default: the secret alone.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        refuse_reversed(self.from_, self.until)
        return self


class Window(Part):
    """How long a challenge lasts: fixed dates, each week, month ..., or so long from its own beginning."""

    from_: MomentText | None = Field(None, alias="from", description="With until: facts from this day, or moment, on.")
    until: MomentText | None = Field(None, description="With from: facts until the end of this day.")
    every: Literal["day", "week", "month", "quarter", "year"] | None = Field(
        None, description="Anew in each day, week (ISO), month, quarter or year of the programme's time zone."
    )
    within: FixedText | None = Field(None, description="So long, for example 14 days, from its own beginning.")
    begins: Literal["first_match", "accepted", "segment", "offered"] | None = Field(
        None,
        description="With within: it begins with the first fact that counts (first_match), when the member accepts it "
        "(accepted), when he enters a segment (segment), or by a rule that offers it (offered). Default: first_match.",
    )
    segment: Word | None = Field(None, description="With begins: segment: the segment's name.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.from_ is None) != (self.until is None):
            raise mistake("from and until belong together", "write {from: 2026-03-01, until: 2026-03-31}")
        if [self.from_, self.every, self.within].count(None) != 2:
            raise mistake("a window is said in one way", "write {from, until}, {every: week} or {within: 14 days}")
        if self.within is None and self.begins is not None:
            raise mistake("begins goes with within", "take begins out, or write {within: 14 days, begins: accepted}")
        if (self.begins == "segment") != (self.segment is not None):
            raise mistake(
                "begins: segment and the segment's name belong together", "write {begins: segment, segment: x}"
            )
        if self.from_ is not None and self.until is not None:
            refuse_reversed(self.from_, self.until)
        return self


class GivenTier(Part):
    """A tier for some time."""

    level: Slug = Field(description="Id of the level.")
    for_: SpanText = Field(alias="for", description="How long, for example 3 months: to the end of that day.")


class ChallengeEnd(Part):
    """What a challenge that was met gives: one thing or several."""

    points: Points | None = Field(None, description="Points. Default: none.")
    reward: Slug | None = Field(None, description="Id of a reward of the catalogue, free of cost. Default: none.")
    badge: Slug | None = Field(None, description="Id of a badge. Default: none.")
    tier: GivenTier | None = Field(
        None, description="A tier for some time: {level: gold, for: 3 months}. Default: none."
    )
    raffle: Tickets | None = Field(None, description="Tickets of a raffle: {name, tickets}. Default: none.")
    notice: Notice | None = Field(None, description="What is to be said: {template: well-done}. Default: nothing.")

    @model_validator(mode="after")
    def _gives_something(self) -> Self:
        if not self.model_fields_set:
            raise mistake("the challenge gives nothing", "add points, reward, badge, tier, raffle or notice")
        return self


class Challenge(Part):
    """So many matching facts, or so much money, within a window; then an effect."""

    id: Slug = Field(description="Name of the challenge; it stays the same from version to version.")
    label: Word | None = Field(None, description="What guests see. Default: the id.")
    on: FactName = Field(description="The fact that counts.")
    when: Condition | None = Field(None, description="Counts only where this holds. Default: always.")
    unless: Condition | None = Field(None, description="Does not count where this holds. Default: no exception.")
    need: Threshold = Field(description="How many facts; of purchases also how much money: 50.00 EUR.")
    window: Window = Field(description="{from, until}, {every: month} or {within: 14 days, begins: first_match}.")
    opt_in: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="Only facts count from when the member accepted it: activity challenge_accepted with the attribute "
        "challenge. Default: false.",
    )
    times: Points | None = Field(
        None, description="How often a member can meet it. Default: once in each of its windows."
    )
    when_returned: WhenReturned = Field(
        "take_back",
        description="When goods that counted come back and it is not met any more: take_back what it gave, or keep. "
        "Default: take_back.",
    )
    then: ChallengeEnd = Field(description="What it gives and says: points, reward, badge, tier, raffle, notice.")
