-- The tables of a comparison, made of what both sides came to. `_now` is the present side, `_new` the shadow under the new programme;
-- everything counts from the moment of taking over on. Money is in minor units at each side's own point value, NULL without one.

-- statement: run
create table whatif_run as
select *
from given_run;

-- statement: movements
-- Grain: member, month, rule, kind of entry.
create table whatif_movements as
select member_id, cast(month as date) as month, rule_id, kind, points_now, times_now, points_new, times_new,
    points_new - points_now as points_more, times_new - times_now as times_more
from given_movements
order by member_id, month, rule_id, kind;

-- statement: tier_changes
-- Grain: member, month, tier before, tier.
create table whatif_tier_changes as
select member_id, cast(month as date) as month, nullif(tier_before, '') as tier_before, tier, times_now, times_new
from given_tier_changes
order by member_id, month, tier_before, tier;

-- statement: member_notices
-- Grain: member, month, rule, moment, channel, state, reason.
create table whatif_member_notices as
select member_id, cast(month as date) as month, rule_id, moment, nullif(channel, '') as channel, state, nullif(reason, '') as reason,
    notices_now, notices_new
from given_notices
order by member_id, month, rule_id, moment, channel, state, reason;

-- statement: members
-- Grain: member. The segment is that of recency and frequency (docs/metrics.md) at the settled day; it does not depend on rules.
-- reached: something moved differently: points, a tier or the moment of reaching it, a notice.
create table whatif_members as
with measured as (
    select m.*,
        date_diff('day', cast(m.last_purchase_at at time zone r.time_zone as date), cast(r.settled_at at time zone r.time_zone as date)) as recency_days
    from given_members as m
    cross join given_run as r
),

placed as (
    select member_id, 2 * count(*) over () as twice_all,
        rank() over (order by recency_days desc) - 1 + count(*) over (order by recency_days desc) as r_twice,
        rank() over (order by orders) - 1 + count(*) over (order by orders) as f_twice
    from measured
    where recency_days is not null
),

scored as (
    select member_id,
        rfm_segment(
            cast((5 * r_twice + twice_all - 1) // twice_all as integer), cast((5 * f_twice + twice_all - 1) // twice_all as integer)
        ) as segment
    from placed
),

moved as (
    select member_id, sum(points_now) as points_now, sum(points_new) as points_new,
        sum(points_now) filter (where kind in ('earn', 'clawback', 'cancel')) as kept_now,
        sum(points_new) filter (where kind in ('earn', 'clawback', 'cancel')) as kept_new,
        bool_or(points_now <> points_new or times_now <> times_new) as differs
    from whatif_movements
    group by member_id
),

told as (
    select member_id, sum(notices_now) filter (where state = 'made') as notices_now, sum(notices_new) filter (where state = 'made') as notices_new,
        bool_or(notices_now <> notices_new) as differs
    from whatif_member_notices
    group by member_id
),

changed as (
    select member_id, bool_or(times_now <> times_new) as differs
    from whatif_tier_changes
    group by member_id
)

select m.member_id, coalesce(s.segment, 'no purchase') as segment, m.named_segments, m.orders, m.last_purchase_at, m.tier_now, m.tier_new,
    m.tier_since_now, m.tier_since_new, m.balance_now, m.balance_new, m.balance_new - m.balance_now as balance_more, m.outstanding_now, m.outstanding_new, m.debt_now, m.debt_new,
    cast(coalesce(d.points_now, 0) as bigint) as points_now, cast(coalesce(d.points_new, 0) as bigint) as points_new,
    cast(coalesce(d.kept_now, 0) as bigint) as kept_now, cast(coalesce(d.kept_new, 0) as bigint) as kept_new,
    cast(coalesce(t.notices_now, 0) as bigint) as notices_now, cast(coalesce(t.notices_new, 0) as bigint) as notices_new,
    cast(coalesce(d.kept_new, 0) * r.point_value_new_minor - coalesce(d.kept_now, 0) * r.point_value_now_minor as bigint) as cost_minor,
    coalesce(d.differs, false) or coalesce(t.differs, false) or coalesce(c.differs, false) or m.tier_now is distinct from m.tier_new
        or m.tier_since_now is distinct from m.tier_since_new as reached
from given_members as m
cross join given_run as r
left join scored as s on s.member_id = m.member_id
left join moved as d on d.member_id = m.member_id
left join told as t on t.member_id = m.member_id
left join changed as c on c.member_id = m.member_id
order by m.member_id;

-- statement: rules
-- Grain: rule. granted: earned by it; kept: what goods that came back, and conditions that never came, left of it.
create table whatif_rules as
select v.rule_id,
    count(distinct v.member_id) filter (where v.kind = 'earn' and v.times_now > 0) as members_now,
    count(distinct v.member_id) filter (where v.kind = 'earn' and v.times_new > 0) as members_new,
    cast(coalesce(sum(v.times_now) filter (where v.kind = 'earn'), 0) as bigint) as times_now,
    cast(coalesce(sum(v.times_new) filter (where v.kind = 'earn'), 0) as bigint) as times_new,
    cast(coalesce(sum(v.points_now) filter (where v.kind = 'earn'), 0) as bigint) as granted_now,
    cast(coalesce(sum(v.points_new) filter (where v.kind = 'earn'), 0) as bigint) as granted_new,
    cast(sum(v.points_now) as bigint) as points_now, cast(sum(v.points_new) as bigint) as points_new,
    cast(sum(v.points_more) as bigint) as points_more,
    cast(sum(v.points_new) * any_value(r.point_value_new_minor) - sum(v.points_now) * any_value(r.point_value_now_minor) as bigint) as cost_minor
from whatif_movements as v
cross join given_run as r
group by v.rule_id
order by abs(sum(v.points_more)) desc, v.rule_id;

-- statement: months
-- Grain: month of the programme's time zone. given_minor: what points given and kept cost more or less; reached: members whose points differ.
create table whatif_months as
select v.month,
    count(distinct v.member_id) filter (where v.points_now <> v.points_new or v.times_now <> v.times_new) as reached,
    cast(coalesce(sum(v.points_now) filter (where v.kind = 'earn'), 0) as bigint) as earned_now,
    cast(coalesce(sum(v.points_new) filter (where v.kind = 'earn'), 0) as bigint) as earned_new,
    cast(coalesce(sum(v.points_now) filter (where v.kind in ('clawback', 'cancel')), 0) as bigint) as taken_back_now,
    cast(coalesce(sum(v.points_new) filter (where v.kind in ('clawback', 'cancel')), 0) as bigint) as taken_back_new,
    cast(coalesce(sum(v.points_now) filter (where v.kind in ('redeem', 'restore')), 0) as bigint) as spent_now,
    cast(coalesce(sum(v.points_new) filter (where v.kind in ('redeem', 'restore')), 0) as bigint) as spent_new,
    cast(coalesce(sum(v.points_now) filter (where v.kind in ('expire', 'reinstate')), 0) as bigint) as expired_now,
    cast(coalesce(sum(v.points_new) filter (where v.kind in ('expire', 'reinstate')), 0) as bigint) as expired_new,
    cast(sum(v.points_now) as bigint) as points_now, cast(sum(v.points_new) as bigint) as points_new,
    cast(sum(v.points_more) as bigint) as points_more,
    cast(coalesce(sum(v.points_new) filter (where v.kind in ('earn', 'clawback', 'cancel')), 0) * any_value(r.point_value_new_minor)
        - coalesce(sum(v.points_now) filter (where v.kind in ('earn', 'clawback', 'cancel')), 0) * any_value(r.point_value_now_minor) as bigint) as cost_minor
from whatif_movements as v
cross join given_run as r
group by v.month
order by v.month;

-- statement: tiers
-- Grain: tier at the settled moment.
create table whatif_tiers as
with sides as (
    select coalesce(tier_now, 'none') as tier, 1 as members_now, 0 as members_new, outstanding_now, 0 as outstanding_new
    from whatif_members
    union all
    select coalesce(tier_new, 'none'), 0, 1, 0, outstanding_new
    from whatif_members
)

select tier, cast(sum(members_now) as bigint) as members_now, cast(sum(members_new) as bigint) as members_new,
    cast(sum(members_new) - sum(members_now) as bigint) as members_more,
    cast(sum(outstanding_now) as bigint) as outstanding_now, cast(sum(outstanding_new) as bigint) as outstanding_new
from sides
group by tier
order by members_new desc, tier;

-- statement: tier_moves
-- Grain: tier on the present side, tier in the shadow, at the settled moment.
create table whatif_tier_moves as
select coalesce(tier_now, 'none') as tier_now, coalesce(tier_new, 'none') as tier_new, count(*) as members,
    cast(sum(kept_new - kept_now) as bigint) as points_more, cast(sum(cost_minor) as bigint) as cost_minor
from whatif_members
group by 1, 2
order by tier_now, tier_new;

-- statement: segments
-- Grain: kind of segment (rfm: recency and frequency; named: as segment facts said) and segment. A member is in several named ones.
create table whatif_segments as
with placed as (
    select 'rfm' as kind, segment, member_id
    from whatif_members
    union all
    select 'named', unnest(named_segments), member_id
    from whatif_members
)

select p.kind, p.segment, count(*) as members, count(*) filter (where m.reached) as reached, cast(sum(m.kept_now) as bigint) as kept_now,
    cast(sum(m.kept_new) as bigint) as kept_new, cast(sum(m.kept_new - m.kept_now) as bigint) as points_more,
    cast(sum(m.cost_minor) as bigint) as cost_minor
from placed as p
join whatif_members as m on m.member_id = p.member_id
group by p.kind, p.segment
order by p.kind desc, points_more desc, p.segment;

-- statement: notices
-- Grain: month, rule, moment, channel, state, reason.
create table whatif_notices as
select month, rule_id, moment, channel, state, reason,
    count(distinct member_id) filter (where notices_now > 0) as members_now,
    count(distinct member_id) filter (where notices_new > 0) as members_new,
    cast(sum(notices_now) as bigint) as notices_now, cast(sum(notices_new) as bigint) as notices_new
from whatif_member_notices
group by all
order by all;

-- statement: summary
-- One row: the comparison in numbers. liability: points outstanding (available and pending) at the settled moment.
create table whatif_summary as
select count(*) as members, count(*) filter (where m.reached) as reached,
    count(*) filter (where m.balance_more > 0) as gained, count(*) filter (where m.balance_more < 0) as lost,
    count(*) filter (where m.tier_now is distinct from m.tier_new) as other_tier,
    cast(sum(m.kept_now) as bigint) as kept_now, cast(sum(m.kept_new) as bigint) as kept_new,
    cast(sum(m.kept_new - m.kept_now) as bigint) as points_more, cast(sum(m.cost_minor) as bigint) as cost_minor,
    cast(sum(m.outstanding_now) as bigint) as outstanding_now, cast(sum(m.outstanding_new) as bigint) as outstanding_new,
    cast(sum(m.outstanding_now) * any_value(r.point_value_now_minor) as bigint) as liability_now_minor,
    cast(sum(m.outstanding_new) * any_value(r.point_value_new_minor) as bigint) as liability_new_minor,
    cast(sum(m.notices_now) as bigint) as notices_now, cast(sum(m.notices_new) as bigint) as notices_new
from whatif_members as m
cross join given_run as r;
