-- statement: cohorts_as_of
-- Who bought first in one month, followed through the months. Classic retention asks who bought in a month, and can rise again; rolling
-- retention asks who bought in it or later, and falls: what has happened by the end of `day` is all it knows.
create or replace macro cohorts_as_of(day, known_at := null) as table (
    with dated as (
        select member_id, cast(date_trunc('month', sold_on) as date) as month, net_minor
        from staging.sales_as_of(day, known_at := known_at)
        where member_id is not null
    ),

    lives as (
        select member_id, min(month) as cohort_month, date_diff('month', min(month), max(month)) as last_month
        from dated
        group by member_id
    ),

    sizes as (
        select cohort_month, count(*) as cohort_size
        from lives
        group by cohort_month
    ),

    later as (
        select cohort_month, last_month, sum(count(*)) over (partition by cohort_month order by last_month desc) as members
        from lives
        group by cohort_month, last_month
    ),

    active as (
        select l.cohort_month, date_diff('month', l.cohort_month, d.month) as months_since, count(distinct d.member_id) as active_members,
            count(*) as orders, cast(sum(d.net_minor) as bigint) as net_minor
        from dated as d
        inner join lives as l using (member_id)
        group by all
    )

    select a.cohort_month, a.months_since, s.cohort_size, a.active_members, a.active_members / s.cohort_size as retention, a.orders, a.net_minor,
        cast(max(l.members) as bigint) as rolling_members, max(l.members) / any_value(s.cohort_size) as rolling_retention
    from active as a
    inner join sizes as s using (cohort_month)
    inner join later as l on l.cohort_month = a.cohort_month and l.last_month >= a.months_since
    group by all
);

-- statement: cohorts
create or replace view cohorts as
from cohorts_as_of((select c.as_of from staging.clock as c));
