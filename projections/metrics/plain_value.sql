-- statement: plain_value_as_of
-- The plain formula over the last twelve whole months, of money and not of margin. NULL where nobody left: without churn no end.
create or replace macro plain_value_as_of(day, window_days := 90, known_at := null) as table (
    with months as (
        select r.month, r.members_start, r.lost, s.member_orders, s.member_net_minor
        from retention_as_of(day, window_days := window_days, known_at := known_at) as r
        left join sales_months_as_of(day, known_at := known_at) as s on s.month = r.month and s.dimension = 'all'
        where r.complete
        qualify row_number() over (order by r.month desc) <= 12
    ),

    sums as (
        select count(*) as months, sum(member_net_minor) / nullif(sum(member_orders), 0) as order_value_minor,
            sum(member_orders) / nullif(sum(members_start), 0) as orders_per_month, sum(lost) / nullif(sum(members_start), 0) as monthly_churn
        from months
    )

    select months, order_value_minor, orders_per_month, monthly_churn, 1 / nullif(monthly_churn, 0) as lifetime_months,
        order_value_minor * orders_per_month / nullif(monthly_churn, 0) as value_minor, cast(day as date) as as_of
    from sums
);

-- statement: plain_value
create or replace view plain_value as
from plain_value_as_of((select c.as_of from staging.clock as c), window_days := (select s.churn_horizon_days from staging.settings as s));
