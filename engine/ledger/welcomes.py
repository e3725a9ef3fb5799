"""A level reached is welcomed with points, once per member and level; a refund that undoes the reaching takes them back.

A fact that raises the level by what it adds to the progress welcomes on every level on the way, so it makes no difference
whether a member climbs in one purchase or in three. What staff gives, and what a new version's thresholds give, is no reaching.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.caps import Share
from engine.ledger.debt import Burns, Purse
from engine.ledger.earning import entry_ids, make_entry
from engine.ledger.levels import best_ever, held_on
from engine.ledger.member import WELCOME, Member, Welcomed, take_in
from engine.ledger.moved import Moved
from engine.ledger.returns import note
from engine.ledger.tiers import joined_after, windows_at
from rules.book import Programme, TierPlan
from rules.local_time import local_day
from schemas.decisions import Decision, Entry
from schemas.envelope import Fact
from schemas.ids import hash_id


def welcome(member: Member, fact: Fact, programme: Programme, plan: TierPlan, now_us: int, decision: Decision) -> None:
    """Add to ``decision`` what its progress is welcomed with, or what the welcome that it undoes gives back.

    Args:
        member: as he stood before the fact; not changed.
        fact: the one that is being decided.
        programme, plan: the version in force at ``now_us``, and its tiers.
        now_us: where the member's timeline stands.
        decision: on the fact, complete but for this.
    """
    zone, joined_us = programme.time_zone, joined_after(member, fact)
    today = local_day(now_us, zone)
    before = windows_at(plan, member, (), joined_us, zone)
    after = windows_at(plan, member, decision.progress, joined_us, zone)
    low, high = (held_on(plan, found, first_day, today).height for found, first_day in (before, after))
    entries = [_award(member, fact, programme, plan, height) for height in range(low + 1, high + 1)]
    low, high = best_ever(plan, after[0]), best_ever(plan, before[0])
    made = [entry for entry in entries if entry is not None]
    if high > low:
        made += _take_back(member, fact, programme, plan, range(low + 1, high + 1), decision)
    if made:
        decision.entries = [*decision.entries, *made]


def _award(member: Member, fact: Fact, programme: Programme, plan: TierPlan, height: int) -> Entry | None:
    level = plan.levels[height]
    if not level.welcome or (level.id in member.welcomed and not level.welcome_again):
        return None
    share = Share(WELCOME + level.id, None, level.welcome)
    return make_entry(member, fact, programme, share, None, entry_ids(member, fact))


def _take_back(
    member: Member, fact: Fact, programme: Programme, plan: TierPlan, heights: Sequence[int], decision: Decision
) -> list[Entry]:
    """Take back what the reaching of levels gave last, now that no window ever reached them."""
    claims = []
    for height in heights:
        rule_id = WELCOME + plan.levels[height].id
        given = member.welcomed.get(plan.levels[height].id)
        lot = None if given is None else member.lots_apart.get(given.entry_id)
        if given is not None and lot is not None and given.points > lot.gone:
            claims.append((rule_id, given, lot, given.points - lot.gone))
    if not claims:
        return []
    # What the decision takes already cannot be taken a second time.
    now = member.fork()
    take_in(now, Moved(entries=list(decision.entries)))
    own = [now.lots_apart[lot.id] for _, _, lot, _ in claims]
    taken = Purse(now, own, programme, member.now_us(fact.time_us)).take([(lot.id, most) for _, _, lot, most in claims])
    entries, short = [], 0
    for (rule_id, given, _, most), (burns, owed) in zip(claims, taken, strict=True):
        points = owed + sum([part for _, part in burns])
        short += most - points
        if points:
            entries.append(_clawback(member, fact, rule_id, given, points, burns))
    if short:
        note(decision, "not_taken", f"{short} points of a welcome were spent already: they are not taken back")
    return entries


def _clawback(member: Member, fact: Fact, rule_id: str, given: Welcomed, points: int, burns: Burns) -> Entry:
    return Entry(
        entry_id=hash_id(fact.source, fact.id, member.key, "clawback", rule_id, str(given.version), given.entry_id),
        member_id=member.key,
        kind="clawback",
        points=-points,
        rule_id=rule_id,
        rule_version=given.version,
        source=fact.source,
        fact_id=fact.id,
        occurred_at=fact.time,
        caused_by=given.entry_id,
        burns=burns,
    )
