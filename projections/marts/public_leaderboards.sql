create or replace view public_leaderboards as
-- Places are counted among those who are in it: nobody else's is told, nor how many there are.
with taking_part as (
    select a.member_id, cast(min(a.occurred_at) filter (a.name = 'leaderboard_joined' and (a.left_at is null or a.occurred_at > a.left_at))
        at time zone c.time_zone as date) as since_day
    from (
        select coalesce(w.member_id, s.member_id) as member_id, s.name, s.occurred_at,
            max(s.occurred_at) filter (s.name = 'leaderboard_left') over (partition by coalesce(w.member_id, s.member_id)) as left_at
        from activities as s
        left join staging.owners as w on w.alias = s.member_id
        where s.name in ('leaderboard_joined', 'leaderboard_left')
    ) as a
    cross join staging.clock as c
    group by a.member_id, c.time_zone
),

measured as (
    select 'money' as measure, sold_on as day, member_id, net_minor as amount
    from staging.sales_as_of((select c.as_of from staging.clock as c))
    where member_id is not null
    union all
    select 'points', moved_on, member_id, points
    from staging.entries_as_of((select c.as_of from staging.clock as c))
    where kind in ('earn', 'clawback', 'cancel')
    union all
    select 'visits', cast(v.occurred_at at time zone c.time_zone as date), v.member_id, 1
    from visits as v
    cross join staging.clock as c
    union all
    select 'challenges', cast(p.met_at at time zone c.time_zone as date), p.member_id, 1
    from challenge_progress as p
    cross join staging.clock as c
    where p.is_met
),

periods as (
    select t.period, cast(date_trunc(t.period, m.day) as date) as begins_on, m.measure, m.member_id, cast(sum(m.amount) as bigint) as amount
    from measured as m
    cross join (values ('week'), ('month'), ('year')) as t(period)
    inner join taking_part as o on o.member_id = m.member_id and m.day >= o.since_day
    group by all
)

select period, begins_on, measure, rank() over (partition by period, begins_on, measure order by amount desc) as place, member_id, amount
from periods
where amount > 0;
