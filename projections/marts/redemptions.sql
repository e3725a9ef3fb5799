create or replace view redemptions as
with changed as (
    select member_id, id, arg_max(state, (position, ordinal)) as state, arg_max(occurred_at, (position, ordinal)) as state_since
    from staging.state_changes
    where what = 'redemption'
    group by member_id, id
),

ends as (
    select member_id, id, max(try_cast(state as timestamptz)) as valid_until
    from staging.state_changes
    where what = 'redemption_until'
    group by member_id, id
),

paid as (
    select source, fact_id, -sum(points) as points
    from points_entries
    where kind = 'redeem'
    group by source, fact_id
)

select r.source, r.fact_id, r.source || '|' || r.fact_id as redemption_id, r.member_id, r.reward,
    cast(coalesce(p.points, r.points) as bigint) as points, coalesce(c.state, 'refused') as state,
    coalesce(d.reason, case when c.state = 'refused' then 'out_of_stock' end) as reason,
    coalesce(c.state_since, r.occurred_at) as state_since, e.valid_until, r.store, r.order_source, r.order_id, r.occurred_at, r.recorded_at
from staging.redemptions as r
inner join staging.decided as d using (partition, position)
left join changed as c on c.member_id = r.member_id and c.id = r.source || '|' || r.fact_id
left join ends as e on e.member_id = r.member_id and e.id = r.source || '|' || r.fact_id
left join paid as p on p.source = r.source and p.fact_id = r.fact_id;
