-- statement: programme_costs_as_of
-- What the programme cost in each month: what was told, and points when they are spent, at what a point was worth on that day. Points that
-- were given and not spent yet are owed, no cost (liability_in_money); counting them, too, would count them twice.
create or replace macro programme_costs_as_of(day, known_at := null) as table (
    with moved as (
        select cast(date_trunc('month', e.moved_on) as date) as month, e.kind, e.points, e.points * w.point_minor as worth_minor
        from staging.entries_as_of(day, known_at := known_at) as e
        asof left join staging.economics as w on w.from_on <= e.moved_on
        where e.kind in ('earn', 'redeem', 'restore')
    ),

    parts as (
        select cast(date_trunc('month', d.spent_on) as date) as month, sum(if(d.foreseen, d.amount_minor, 0)) as foreseen_minor,
            sum(if(d.foreseen, 0, d.amount_minor)) as unforeseen_minor, 0 as points_given, null as given_minor, 0 as points_spent,
            null as spent_minor, 0 as member_net_minor
        from cost_days_as_of(day, known_at := known_at) as d
        group by all
        union all
        select m.month, 0, 0, coalesce(sum(m.points) filter (where m.kind = 'earn'), 0), sum(m.worth_minor) filter (where m.kind = 'earn'),
            coalesce(-sum(m.points) filter (where m.kind <> 'earn'), 0), -sum(m.worth_minor) filter (where m.kind <> 'earn'), 0
        from moved as m
        group by all
        union all
        select s.month, 0, 0, 0, null, 0, null, s.member_net_minor
        from sales_months_as_of(day, known_at := known_at) as s
        where s.dimension = 'all'
    )

    select p.month, cast(sum(p.foreseen_minor) as bigint) as foreseen_minor, cast(sum(p.unforeseen_minor) as bigint) as unforeseen_minor,
        cast(sum(p.points_spent) as bigint) as points_spent, cast(sum(p.spent_minor) as bigint) as spent_minor,
        cast(sum(p.foreseen_minor) + sum(p.unforeseen_minor) + coalesce(sum(p.spent_minor), 0) as bigint) as cost_minor,
        cast(sum(p.points_given) as bigint) as points_given, cast(sum(p.given_minor) as bigint) as given_minor,
        cast(sum(p.member_net_minor) as bigint) as member_net_minor,
        (sum(p.foreseen_minor) + sum(p.unforeseen_minor) + coalesce(sum(p.spent_minor), 0)) / nullif(sum(p.member_net_minor), 0) as share_of_sales,
        last_day(p.month) <= cast(day as date) as complete
    from parts as p
    group by p.month
);

-- statement: programme_costs
create or replace view programme_costs as
from programme_costs_as_of((select c.as_of from staging.clock as c));
