create or replace view redemptions as
-- A redemption goes on in another partition when its member is merged into another: its states only rise, positions do not compare.
with changed as (
    select id, arg_max(state, (rank, position, ordinal)) as state, arg_max(occurred_at, (rank, position, ordinal)) as state_since
    from (
        select *, case state when 'reserved' then 0 when 'granted' then 1 else 2 end as rank
        from staging.state_changes
        where what = 'redemption'
    )
    group by id
),

ends as (
    select id, max(try_cast(state as timestamptz)) as valid_until
    from staging.state_changes
    where what = 'redemption_until'
    group by id
),

gifts as (
    select change.member_id, change.id, split_part(change.state, '|', 1) as reward, split_part(change.state, '|', 2) as rule_id,
        change.source, change.fact_id, change.occurred_at, change.recorded_at, origin.state as origin, store.state as store
    from staging.state_changes as change
    left join staging.state_changes as origin
        on origin.member_id = change.member_id and origin.id = change.id and origin.what = 'redemption_from'
    left join staging.state_changes as store
        on store.member_id = change.member_id and store.id = change.id and store.what = 'redemption_store'
    where change.what = 'redemption_given'
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
    coalesce(c.state_since, r.occurred_at) as state_since, e.valid_until, r.store, r.order_source, r.order_id, null as rule_id, r.occurred_at, r.recorded_at
from staging.redemptions as r
inner join staging.decided as d using (partition, position)
left join changed as c on c.id = r.source || '|' || r.fact_id
left join ends as e on e.id = r.source || '|' || r.fact_id
left join paid as p on p.source = r.source and p.fact_id = r.fact_id
union all by name
select g.source, g.fact_id, g.id as redemption_id, g.member_id, g.reward, cast(0 as bigint) as points, c.state,
    case when c.state = 'refused' then 'out_of_stock' end as reason, c.state_since, e.valid_until, nullif(g.store, '') as store,
    nullif(split_part(g.origin, '|', 1), '') as order_source, nullif(split_part(g.origin, '|', 2), '') as order_id, g.rule_id,
    g.occurred_at, g.recorded_at
from gifts as g
inner join changed as c using (id)
left join ends as e using (id);
