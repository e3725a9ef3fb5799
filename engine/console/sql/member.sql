-- One member: what is known, and every fact with what it was answered.

-- statement: who
-- The member, also when asked by a key that became theirs.
select m.*, b.available, b.pending, b.debt, b.earned_ever, b.spent_ever, b.expired_ever, b.clawed_back_ever, t.since as tier_since,
    t.until as tier_until, t.projected, t.progress, t.next_tier, t.to_next, t.to_stay, r.segment, r.recency_days, r.frequency, r.monetary_minor,
    r.r, r.f, r.m, c.p_no_purchase, c.flagged, c.reason as churn_reason,
    (select list(a.alias order by a.alias) from aliases as a where a.member_id = m.member_id) as keys
from members as m
left join balances as b using (member_id)
left join tiers as t using (member_id)
left join rfm_segments as r using (member_id)
left join churn_flags as c using (member_id)
where m.member_id = coalesce((select a.member_id from aliases as a where a.alias = $member), $member);

-- statement: find
select m.member_id, m.joined_at, m.orders, m.last_purchase_at, coalesce(b.available, 0)::bigint as points, m.tier
from members as m
left join balances as b using (member_id)
where starts_with(lower(m.member_id), lower($text))
    or m.member_id in (select a.member_id from aliases as a where starts_with(lower(a.alias), lower($text)))
order by m.member_id = $text desc, m.orders desc, m.member_id
limit $rows;

-- statement: facts
with keys as (
    select cast($member as varchar) as key
    union
    select alias from aliases where member_id = $member
)

select f.source, f.fact_id, f.type, f.member_id, f.occurred_at, f.payload, f.position, f.partition,
    d.outcome, d.reason, d.programme_hash, g.version
from facts as f
left join decisions as d on d.partition = f.partition and d.fact_position = f.position and d.part = 0
left join programmes as g on g.programme_hash = d.programme_hash
where f.member_id in (select key from keys)
order by f.occurred_at desc, f.position desc, f.partition
limit $rows offset $skip;

-- statement: entries
-- The keys come as a list: as a question of their own, DuckDB would hold all entries against all decisions first.
with own as materialized (
    from points_entries
    where list_contains($keys, member_id)
),

causes as (
    select entry_id, rule_id, occurred_at
    from points_entries
    where entry_id in (select caused_by from own)
)

select e.entry_id, e.kind, e.points, e.source, e.fact_id, e.rule_id, e.rule_version, e.occurred_at, e.caused_by, c.rule_id as caused_by_rule,
    c.occurred_at as caused_at, e.active_from, e.expires_at, e.order_id, e.waits_for, e.cancel_at,
    sum(e.points) over (order by e.occurred_at, e.position, e.entry_id)::bigint as balance_after
from own as e
left join causes as c on c.entry_id = e.caused_by
order by e.occurred_at desc, e.position desc, e.entry_id desc
limit $rows;

-- statement: lots
select lot_id, points, points_left, earned_at, active_from, expires_at, rule_id, order_id, waits_for, cancel_at
from lots
where member_id = $member and points_left > 0
order by expires_at nulls last, earned_at, lot_id
limit $rows;

-- statement: tier_history
select tier, from_at, to_at
from tier_history
where member_id = $member
order by from_at;

-- statement: redemptions
select reward, points, state, reason, state_since, valid_until, occurred_at
from redemptions
where member_id = $member
order by occurred_at desc
limit $rows;

-- statement: challenges
select coalesce(label, challenge) as label, coalesce(cast(begins_at as varchar)[:10] || ' to ' || cast(ends_at as varchar)[:10], "window") as span,
    progress, coalesce(needed, need) as need, is_money, is_met, met_at
from challenge_progress
where member_id = $member
order by coalesce(met_at, begins_at) desc nulls first, challenge, "window" desc
limit $rows;

-- statement: badges
select coalesce(label, badge) as label, earned_at, rule_id
from badges
where member_id = $member
order by earned_at desc, badge
limit $rows;
