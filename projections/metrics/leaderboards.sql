-- statement: leaderboards_as_of
-- The first hundred of each month until the end of `day`, by several measures; equals share a place.
create or replace macro leaderboards_as_of(day, known_at := null) as table (
    with measured as (
        select 'money' as measure, cast(date_trunc('month', sold_on) as date) as month, member_id, sum(net_minor) as amount
        from staging.sales_as_of(day, known_at := known_at)
        where member_id is not null
        group by all
        union all
        select 'points', cast(date_trunc('month', moved_on) as date) as month, member_id, sum(points)
        from staging.entries_as_of(day, known_at := known_at)
        where kind in ('earn', 'clawback', 'cancel')
        group by all
        union all
        select 'visits', cast(date_trunc('month', v.occurred_at at time zone c.time_zone) as date) as month, v.member_id, count(*)
        from main.visits as v
        cross join staging.clock as c
        where cast(v.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and (known_at is null or v.recorded_at <= cast(known_at as timestamptz))
        group by all
        union all
        select 'referrals', cast(date_trunc('month', r.occurred_at at time zone c.time_zone) as date) as month, r.referrer, count(*)
        from main.referrals as r
        cross join staging.clock as c
        where r.reason is null and cast(r.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
        group by all
    )

    select month, measure, rank() over (partition by month, measure order by amount desc) as place, member_id, cast(amount as bigint) as amount
    from measured
    where amount > 0
    qualify place <= 100
);

-- statement: leaderboards
create or replace view leaderboards as
from leaderboards_as_of((select c.as_of from staging.clock as c));
