-- statement: goal_values_as_of
-- Every metric that a goal can be set in (schemas/metrics.py), as of the end of `day`. Those of a month: the newest that is over.
create or replace macro goal_values_as_of(day, known_at := null) as table (
    with asked as (
        select cast(day as date) as as_of, cast(date_trunc('month', cast(day as date) + 1) - interval 1 month as date) as month,
            (select s.churn_horizon_days from staging.settings as s) as horizon_days
    ),

    sales as (
        select s.dimension, s.value as place, unnest([
            {'metric': 'revenue', 'value': cast(s.net_minor as double)},
            {'metric': 'member_revenue', 'value': cast(s.member_net_minor as double)},
            {'metric': 'members_share', 'value': s.members_share},
            {'metric': 'order_value', 'value': s.order_value_minor},
            {'metric': 'orders_per_member', 'value': s.orders_per_member},
            {'metric': 'revenue_per_member', 'value': s.net_per_member_minor}
        ], recursive := true)
        from sales_months_as_of(day, known_at := known_at) as s
        inner join asked as a on a.month = s.month
    ),

    kept as (
        select r.retention, r.churn
        from retention_as_of(day, window_days := (select a.horizon_days from asked as a), known_at := known_at) as r
        inner join asked as a on a.month = r.month
    ),

    alone as (
        select 'active_members' as metric, cast((
            select count(distinct b.member_id)
            from staging.purchase_days_as_of(day, known_at := known_at) as b
            cross join asked as a
            where b.sold_on > a.as_of - a.horizon_days
        ) as double) as value
        union all
        select 'retention', (select k.retention from kept as k)
        union all
        select 'churn', (select k.churn from kept as k)
        union all
        select 'repeat_purchase_rate', (select r.rate from repeat_purchases_as_of(day, known_at := known_at) as r where r.within_days is null)
        union all
        select 'redeemed_share', (
            select sum(b.redeemed) / nullif(sum(b.redeemed) + sum(b.expired), 0)
            from breakage_as_of(day, known_at := known_at) as b
        )
        union all
        select 'programme_cost', (
            select cast(p.cost_minor as double)
            from programme_costs_as_of(day, known_at := known_at) as p
            inner join asked as a on a.month = p.month
        )
        union all
        select 'points_owed', (
            select cast(sum(p.net) as double)
            from points_months_as_of(day, known_at := known_at) as p
        ) * (select w.point_minor from staging.economics_at(day) as w)
    )

    select s.metric, nullif(s.dimension, 'all') as dimension, if(s.dimension = 'all', null, s.place) as place, s.value, a.as_of
    from sales as s
    cross join asked as a
    union all
    select o.metric, null, null, o.value, a.as_of
    from alone as o
    cross join asked as a
);

-- statement: goal_values
create or replace view goal_values as
from goal_values_as_of((select c.as_of from staging.clock as c));
