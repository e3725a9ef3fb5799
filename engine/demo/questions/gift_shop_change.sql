-- Two baskets of the same worth at the same time of day, ordered by guests: one under version 1, one under version 2.
with baskets as (
    select p.fact_id, any_value(p.occurred_at at time zone m.time_zone) as local_time, any_value(p.total_minor) as total_minor,
        any_value(e.rule_version) as version, sum(e.points) as points,
        sum(e.points) filter (where e.rule_id = 'spend') as spend_points, count(*) as entries,
        string_agg(e.rule_id || ' ' || e.points, ', ' order by e.points desc, e.rule_id) as rules
    from purchases as p
    cross join meta as m
    inner join points_entries as e on e.source = p.source and e.fact_id = p.fact_id
    where e.kind = 'earn'
    group by p.fact_id
    having count(*) filter (where e.rule_id like 'tier:%') = 0
),

pairs as (
    select earlier.fact_id as earlier_id, later.fact_id as later_id
    from baskets as earlier
    inner join baskets as later on later.spend_points = earlier.spend_points
    where earlier.version = 1 and later.version = 2 and hour(earlier.local_time) in (8, 9) and hour(later.local_time) in (8, 9)
    order by later.entries desc, abs(later.total_minor - earlier.total_minor), later_id, earlier_id
    limit 1
)

select o.fact_id as "order", strftime(o.local_time, '%Y-%m-%d %H:%M') as "when", format('{:,.2f}', o.total_minor / 100) as "paid",
    o.version as "rules", cast(o.points as bigint) as "points", o.rules as "why"
from baskets as o
inner join pairs as p on o.fact_id in (p.earlier_id, p.later_id)
order by o.local_time;
