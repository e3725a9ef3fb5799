-- statement: sales_months_as_of
-- What each month brought, in all and by channel and store, beside the month and the year before.
create or replace macro sales_months_as_of(day, known_at := null) as table (
    with sold as (
        select *, cast(date_trunc('month', sold_on) as date) as month
        from staging.sales_as_of(day, known_at := known_at)
        where in_currency
    ),

    grouped as (
        select 'all' as dimension, 'all' as value, * from sold
        union all
        select 'channel', coalesce(channel, 'none'), * from sold
        union all
        select 'store', coalesce(store, 'none'), * from sold
    ),

    months as (
        select dimension, value, month, count(*) as orders, count(member_id) as member_orders, count(distinct member_id) as members,
            cast(sum(net_minor) as bigint) as net_minor, cast(coalesce(sum(net_minor) filter (where member_id is not null), 0) as bigint) as member_net_minor
        from grouped
        group by all
    )

    select m.month, m.dimension, m.value, m.orders, m.member_orders, m.members, m.net_minor, m.member_net_minor,
        m.member_net_minor / nullif(m.net_minor, 0) as members_share, m.net_minor / m.orders as order_value_minor,
        m.member_orders / nullif(m.members, 0) as orders_per_member, m.member_net_minor / nullif(m.members, 0) as net_per_member_minor,
        b.net_minor as month_before_minor, m.net_minor / nullif(b.net_minor, 0) - 1 as change_on_month,
        y.net_minor as year_before_minor, m.net_minor / nullif(y.net_minor, 0) - 1 as change_on_year,
        last_day(m.month) <= cast(day as date) as complete
    from months as m
    left join months as b on b.dimension = m.dimension and b.value = m.value and b.month = m.month - interval 1 month
    left join months as y on y.dimension = m.dimension and y.value = m.value and y.month = m.month - interval 1 year
);

-- statement: sales_months
create or replace view sales_months as
from sales_months_as_of((select c.as_of from staging.clock as c));
