create or replace view cohorts as
with returned as (
    select order_source, order_id, member_id, currency, sum(coalesce(paid_back_minor, refunded_minor)) as paid_back_minor
    from refunds
    where reason is null
    group by all
),

dated as (
    select o.member_id, cast(date_trunc('month', o.occurred_at at time zone c.time_zone) as date) as month,
        o.total_minor - least(coalesce(r.paid_back_minor, 0), o.total_minor) as net_minor,
        o.currency = coalesce(c.currency, o.currency) as in_currency
    from staging.orders as o
    cross join staging.clock as c
    left join returned as r
        on r.order_source = o.order_source and r.order_id = o.order_id and r.member_id = o.member_id and r.currency = o.currency
    where o.member_id is not null
),

firsts as (
    select member_id, min(month) as cohort_month
    from dated
    group by member_id
),

sizes as (
    select cohort_month, count(*) as cohort_size
    from firsts
    group by cohort_month
)

select f.cohort_month, date_diff('month', f.cohort_month, d.month) as months_since, any_value(s.cohort_size) as cohort_size,
    count(distinct d.member_id) as active_members, count(distinct d.member_id) / any_value(s.cohort_size) as retention,
    count(*) as orders, cast(coalesce(sum(d.net_minor) filter (where d.in_currency), 0) as bigint) as net_minor
from dated as d
inner join firsts as f using (member_id)
inner join sizes as s using (cohort_month)
group by f.cohort_month, months_since;
