"""Challenges, badges and raffles of a checked programme file, compiled."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from rules import play
from rules.conditions import compile_lines
from rules.parts import Notice
from rules.plan import BadgePlan, ChallengePlan, GivenTierPlan, NoticePlan, RafflePlan, TicketPlan
from rules.values import Money


def tickets_plan(tickets: play.Tickets | None) -> TicketPlan | None:
    """Compile tickets that are given."""
    return None if tickets is None else TicketPlan(tickets.name, tickets.tickets)


def badge_plan(badge: play.Badge) -> BadgePlan:
    """Compile a badge."""
    return BadgePlan(badge.id, badge.label or badge.id, badge.when_returned == "keep")


def raffle_plan(raffle: play.Raffle, zone: ZoneInfo) -> RafflePlan:
    """Compile a raffle."""
    return RafflePlan(
        id=raffle.id,
        label=raffle.label or raffle.id,
        from_us=raffle.from_.begins_us(zone),
        until_us=raffle.until.ends_us(zone),
        commitment=raffle.commitment,
        winners=raffle.winners,
        wins_per_member=raffle.wins_per_member,
        public=raffle.public,
    )


def challenge_plan(challenge: play.Challenge, zone: ZoneInfo) -> ChallengePlan:
    """Compile a challenge."""
    window, then = challenge.window, challenge.then
    return ChallengePlan(
        id=challenge.id,
        label=challenge.label or challenge.id,
        on=challenge.on,
        lines=compile_lines(challenge, zone),
        need=challenge.need.minor if isinstance(challenge.need, Money) else challenge.need,
        money=isinstance(challenge.need, Money),
        every=window.every,
        from_us=None if window.from_ is None else window.from_.begins_us(zone),
        until_us=None if window.until is None else window.until.ends_us(zone),
        within_us=None if window.within is None else window.within.length_us,
        begins="" if window.within is None else window.begins or "first_match",
        segment=window.segment,
        opt_in=challenge.opt_in,
        times=challenge.times,
        keep=challenge.when_returned == "keep",
        points=then.points or 0,
        reward=then.reward,
        badge=then.badge,
        tier=None if then.tier is None else given_tier(then.tier),
        tickets=tickets_plan(then.raffle),
        notice=None if then.notice is None else notice_plan(then.notice),
    )


def given_tier(tier: play.GivenTier) -> GivenTierPlan:
    """Compile a tier that is given for some time."""
    days = tier.for_.number if tier.for_.unit == "day" else 0
    return GivenTierPlan(tier.level, days, tier.for_.months if tier.for_.unit == "month" else 0)


def begun_by(plan: ChallengePlan) -> tuple[str, ...]:
    """Which facts begin it, or make the member's facts count: those that count for it are another matter."""
    if plan.begins == "segment":
        return ("segment",)
    return ("activity",) if plan.begins == "accepted" or plan.opt_in else ()


def by_type(
    plans: list[ChallengePlan], types: Callable[[ChallengePlan], tuple[str, ...]]
) -> dict[str, tuple[ChallengePlan, ...]]:
    """Return challenges by the short names of the facts that ``types`` names, in the order of their ids."""
    found: dict[str, list[ChallengePlan]] = {}
    for plan in plans:
        for name in types(plan):
            found.setdefault(name, []).append(plan)
    return {name: tuple(sorted(some, key=lambda plan: plan.id)) for name, some in found.items()}


def notice_plan(notice: Notice) -> NoticePlan:
    """Compile what is to be said."""
    return NoticePlan(
        notice.template,
        notice.channels,
        None if notice.at is None else notice.at.day_us,
        None if notice.expires is None else notice.expires.length_us,
    )
