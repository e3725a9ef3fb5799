-- Who moved from where to where between two days.

-- statement: segments
with days as (
    select as_of - cast($days as integer) as before
    from meta
),

b as (
    select member_id, segment
    from rfm_as_of((select before from days))
)

select coalesce(b.segment, '(not yet a buyer)') as before, a.segment as after, count(*) as members, sum(a.monetary_minor)::bigint as money_minor
from rfm_segments as a
left join b using (member_id)
group by all
order by members desc, before, after;

-- statement: tiers
with b as (
    select member_id, tier
    from tiers_as_of((select settled_at - to_days(cast($days as integer)) from meta))
),

a as (
    select member_id, tier
    from tiers_as_of((select settled_at from meta))
)

select coalesce(b.tier, '(not yet a member)') as before, coalesce(a.tier, '(merged or gone)') as after, count(*) as members, 0::bigint as money_minor
from a
full join b using (member_id)
group by all
order by members desc, before, after;
