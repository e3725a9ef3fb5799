"""What a till shows of a member: points, tier, rewards within reach, play, what ends next. It tells and moves nothing."""

from __future__ import annotations

from typing import Any

from engine.ledger.lots import available, open_lots
from engine.ledger.member import GRANTED, Member, Spent
from engine.ledger.outlook import outlook
from engine.ledger.partition import Partition
from engine.ledger.play_outlook import badges_seen, challenges_seen, tickets_seen
from engine.ledger.timers import settle
from rules.book import Book, Programme, RewardPlan
from rules.language import ProgrammeFile
from rules.plan import VoucherPlan
from schemas.times import to_text


def now_of(partition: Partition, wall_us: int, clock: str) -> int:
    """The moment that an answer is about: now, or where the deployment's clock stands that never passes the newest fact."""
    return wall_us if clock == "wall" else partition.newest_us or wall_us


def points_of(member: Member, now_us: int) -> dict[str, int]:
    """Points of a member who is settled to the moment; available + pending - debt is what his entries sum up to."""
    can_spend = available(member, now_us)
    return {"available": can_spend, "pending": member.balance + member.debt - can_spend, "debt": member.debt}


def card(member: Member, book: Book, now_us: int) -> dict[str, Any]:
    """A member at a moment.

    Args:
        member: as the log leaves him; time up to the moment is added here, on a copy.
    """
    settled = settle(member, book, now_us)[0]
    now_us = settled.now_us(now_us)
    programme = book.at(now_us)
    points = points_of(settled, now_us)
    told: dict[str, Any] = {
        "member": member.key,
        "as_of": to_text(now_us),
        "points": points,
        "points_name": None if programme is None else programme.points_name,
        "tier": None if programme is None else _tier(settled, programme, now_us),
        "next_expiry": _next_expiry(settled),
        "rewards": [] if programme is None else rewards_of(settled, programme, now_us, points["available"]),
        "vouchers": vouchers_of(settled, book),
        "challenges": [] if programme is None else challenges_of(settled, programme, now_us),
        "badges": [
            {"badge": one.badge, "label": one.label, "since": to_text(one.since_us)}
            for one in badges_seen(settled, programme)
        ],
        "tickets": [
            {"raffle": one.raffle, "label": one.label, "count": len(one.tickets), "tickets": list(one.tickets)}
            for one in tickets_seen(settled, programme)
        ],
        "joined_at": None if settled.joined_us is None else to_text(settled.joined_us),
        "left_at": None if settled.left_us is None else to_text(settled.left_us),
    }
    return told


def _tier(member: Member, programme: Programme, now_us: int) -> dict[str, Any] | None:
    seen = outlook(member, programme, now_us)
    if seen is None:
        return None
    plan = programme.tiers
    return {
        "id": seen.tier,
        "since": to_text(seen.since_us),
        "until": None if seen.until_us is None else to_text(seen.until_us),
        "projected": seen.projected,
        "counted_by": None if plan is None else plan.by,
        "progress": seen.progress,
        "next": seen.next_tier,
        "to_next": seen.to_next,
        "to_stay": seen.to_stay,
        "benefits": list(seen.benefits),
    }


def _next_expiry(member: Member) -> dict[str, Any] | None:
    """The next moment at which points end, and how many; lots without a date end together if nothing happens."""
    lots = open_lots(member)
    moments = [lot.expires_us for lot in lots if lot.expires_us is not None]
    if member.slides_us is not None and any(lot.expires_us is None for lot in lots):
        moments.append(member.slides_us)
    if not moments:
        return None
    first = min(moments)
    ending = sum(lot.left for lot in lots if (member.slides_us if lot.expires_us is None else lot.expires_us) == first)
    return {"at": to_text(first), "points": ending}


def vouchers_of(member: Member, book: Book, basket_minor: int | None = None) -> list[dict[str, Any]]:
    """The vouchers that the member, settled to the moment, can use; with a basket whether each is meant for one so large."""
    told = []
    for spent in member.spent.values():
        if spent.state != GRANTED or spent.code is None:
            continue
        reward, voucher = spent.rule_id.removeprefix("reward:"), voucher_of(spent, book)
        one: dict[str, Any] = {
            "code": spent.code,
            "reward": reward,
            "worth": None if voucher is None else voucher.worth,
            "at_least": None if voucher is None else voucher.at_least,
            "until": None if spent.until_us is None else to_text(spent.until_us),
        }
        if basket_minor is not None:
            one["applies"] = voucher is None or basket_minor >= voucher.at_least_minor
        told.append(one)
    return told


def challenges_of(member: Member, programme: Programme, now_us: int) -> list[dict[str, Any]]:
    """How far the member, settled to the moment, is in each challenge that is open to him."""
    return [
        {
            "challenge": seen.plan.id,
            "label": seen.plan.label,
            "on": seen.plan.on,
            "window": seen.window,
            "progress": seen.progress,
            "need": seen.plan.need,
            "counted_in": programme.currency if seen.plan.money else seen.plan.on,
            "left": max(0, seen.plan.need - seen.progress),
            "met": seen.met,
            "met_times": seen.met_times,
            "accepted": seen.accepted,
            "until": None if seen.ends_us is None else to_text(seen.ends_us),
        }
        for seen in challenges_seen(member, programme, now_us)
    ]


def voucher_of(spent: Spent, book: Book) -> VoucherPlan | None:
    """What a granted voucher was when it was granted."""
    programme = book.of_number(spent.rule_version)
    reward = None if programme is None else programme.rewards.get(spent.rule_id.removeprefix("reward:"))
    return None if reward is None else reward.voucher


def rewards_of(member: Member, programme: Programme, now_us: int, can_spend: int) -> list[dict[str, Any]]:
    """Every reward that is offered to the member at the moment, the cheapest first, and what is missing for it."""
    tier = member.tier or programme.base_tier
    offered = [one for one in programme.rewards.values() if _is_offered(one, tier, now_us)]
    return [
        {
            "reward": one.id,
            "label": _label(programme.document, one.id),
            "points": one.cost,
            "within_reach": one.cost <= can_spend,
            "missing": max(0, one.cost - can_spend),
            "limited": one.stock is not None,
        }
        for one in sorted(offered, key=lambda one: (one.cost, one.id))
    ]


def _is_offered(reward: RewardPlan, tier: str | None, now_us: int) -> bool:
    begun = reward.from_us is None or reward.from_us <= now_us
    over = reward.until_us is not None and reward.until_us <= now_us
    return begun and not over and (reward.tiers is None or tier in reward.tiers)


def _label(document: ProgrammeFile, reward: str) -> str | None:
    return next((one.label for one in document.rewards or () if one.id == reward), None)
