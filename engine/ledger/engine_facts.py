"""Facts that the engine writes itself: a programme version becomes known, a moment has come."""

from __future__ import annotations

from rules.book import ChallengePlan, Programme, RafflePlan, TierPlan
from rules.language import ProgrammeFile
from rules.local_time import local_day, midnight_us
from rules.money import Goal, Margin
from rules.values import factor_text, plain
from schemas import facts
from schemas.envelope import CLOCK_SOURCE, PROGRAMME_SOURCE, Fact, make_fact
from schemas.times import to_text


def programme_fact(programme: Programme, recorded_at: str) -> Fact:
    """Return the fact that makes ``programme`` known from its place in the log on; its time is when the version begins."""
    data: facts.ProgrammeForm = {
        "hash": programme.hash,
        "programme": programme.name,
        "version": programme.version,
        "valid_from": to_text(programme.valid_from_us),
        "time_zone": programme.time_zone.key,
        "currency": programme.currency,
        "base_tier": programme.base_tier,
    }
    if programme.tiers is not None:
        data["tiers"] = _tiers(programme.tiers)
    if programme.plays:
        plans = {plan.id: plan for some in programme.challenges.values() for plan in some}
        data["challenges"] = [_challenge(plans[name]) for name in sorted(plans)]
    if programme.badges:
        data["badges"] = [{"id": badge.id, "label": badge.label} for badge in programme.badges.values()]
    if programme.raffles:
        data["raffles"] = [_raffle(raffle) for raffle in programme.raffles.values()]
    _tell_money(programme.document, data)
    return make_fact(
        id=programme.hash,
        source=PROGRAMME_SOURCE,
        type=facts.PROGRAMME,
        subject=None,
        time_us=programme.valid_from_us,
        recorded_at=recorded_at,
        data=data,
    )


def _tell_money(document: ProgrammeFile, data: facts.ProgrammeForm) -> None:
    """Say what a point is worth, what is kept of a sale, and the goals: tables count with them, decisions never do."""
    if document.points.worth is not None:
        data["point_minor"] = document.points.worth.minor
    margin = document.margin
    if isinstance(margin, Margin):
        categories: list[facts.CategoryMarginForm] = [
            {"category": name, "share": factor_text(share)} for name, share in sorted(margin.categories.items())
        ]
        data["margin"] = {"share": factor_text(margin.share), "categories": categories}
    elif margin is not None:
        data["margin"] = {"share": factor_text(margin), "categories": []}
    if document.goals is not None:
        data["goals"] = [_goal(goal) for goal in document.goals]


def _goal(goal: Goal) -> facts.GoalForm:
    told: facts.GoalForm = {
        "id": goal.id,
        "metric": goal.metric,
        "baseline": plain(goal.baseline.value),
        "target": plain(goal.target.value),
        "by": goal.by.local.date().isoformat(),
    }
    if goal.store is not None:
        told["store"] = goal.store
    if goal.channel is not None:
        told["channel"] = goal.channel
    return told


def _challenge(plan: ChallengePlan) -> facts.ChallengeForm:
    told: facts.ChallengeForm = {"id": plan.id, "label": plan.label, "need": plan.need, "money": plan.money}
    if plan.from_us is not None and plan.until_us is not None:
        told["begins_at"], told["ends_at"] = to_text(plan.from_us), to_text(plan.until_us)
    return told


def _raffle(plan: RafflePlan) -> facts.RaffleForm:
    told: facts.RaffleForm = {
        "id": plan.id,
        "label": plan.label,
        "begins_at": to_text(plan.from_us),
        "ends_at": to_text(plan.until_us),
        "winners": plan.winners,
        "wins_per_member": plan.wins_per_member,
    }
    if plan.commitment is not None:
        told["commitment"] = plan.commitment
    if plan.public is not None:
        told["public"] = plan.public
    return told


def _tiers(plan: TierPlan) -> facts.TiersForm:
    levels: list[facts.LevelForm] = [
        {"id": level.id, "label": level.label, "from": level.from_amount, "benefits": list(level.benefits)}
        for level in plan.levels
    ]
    return {"by": plan.by, "over": plan.over, "months": plan.months, "levels": levels}


def tick_fact(partition: int, time_us: int, recorded_at: str) -> Fact:
    """Return the fact that settles every member of a partition to ``time_us``; its id is the same for the same moment."""
    return make_fact(
        id=f"{partition}:{to_text(time_us)}",
        source=CLOCK_SOURCE,
        type=facts.TICK,
        subject=None,
        time_us=time_us,
        recorded_at=recorded_at,
        data={},
    )


def midnight_before(time_us: int, programme: Programme) -> int:
    """Return the programme's local midnight at or before ``time_us``."""
    return midnight_us(local_day(time_us, programme.time_zone), programme.time_zone)
