-- statement: retention_as_of
-- Per month until the end of `day`: of those who were active when it began, who still was when it ended.
-- Active at a day: bought within the `window_days` days up to it. retention = kept / start; churn = 1 - retention.
-- Who comes back after a silence is `returned` and counts for neither: (E - N) / S, the textbook form, would call him retained.
create or replace macro retention_as_of(day, window_days := 90, known_at := null) as table (
    with asked as (
        select cast(day as date) as as_of, cast(window_days as integer) as days
    ),

    months as (
        select cast(unnest(generate_series(date_trunc('month', min(q.day)), any_value(a.as_of), interval 1 month)) as date) as month
        from staging.sale_quarters as q
        inner join asked as a on q.day <= a.as_of
    ),

    span as (
        select min(month) as first_month, cast(count(*) as integer) as months
        from months
    ),

    -- A bit for each month: is who bought on this day active at its end? It is one run of ones, so whoever bought on several days is active
    -- where one of them says so, and all purchases are read once for all months.
    runs as (
        select q.quarter, q.day, date_diff('month', s.first_month, q.day) as begins,
            if(q.day + a.days > a.as_of, s.months, greatest(date_diff('month', s.first_month, q.day + a.days), begins)) as ends,
            cast(repeat('0', begins) || repeat('1', ends - begins) || repeat('0', s.months - ends) as bit) as active
        from staging.sale_quarters as q
        inner join asked as a on q.day <= a.as_of
        cross join span as s
    ),

    members as (
        select min(r.day) as first_on, bit_or(r.active) as active
        from staging.orders as o
        inner join runs as r on r.quarter = staging.quarter(o.occurred_at)
        where o.member_id is not null and (known_at is null or o.recorded_at <= cast(known_at as timestamptz))
        group by o.member_id
    ),

    alike as (
        select cast(date_trunc('month', first_on) as date) as first_month, active, count(*) as members
        from members
        group by all
    ),

    standing as (
        select m.month, m.month = l.first_month as is_new, l.members,
            get_bit(l.active, cast(date_diff('month', s.first_month, m.month) as integer)) = 1 as at_end,
            m.month > s.first_month and get_bit(l.active, cast(greatest(date_diff('month', s.first_month, m.month) - 1, 0) as integer)) = 1 as at_start
        from alike as l
        cross join months as m
        cross join span as s
        where m.month >= (select min(e.first_month) from alike as e)
    )

    select s.month, last_day(s.month) <= any_value(a.as_of) as complete, any_value(a.days) as window_days,
        cast(coalesce(sum(members) filter (where at_start), 0) as bigint) as members_start,
        cast(coalesce(sum(members) filter (where at_start and at_end), 0) as bigint) as kept,
        cast(coalesce(sum(members) filter (where at_start and not at_end), 0) as bigint) as lost,
        cast(coalesce(sum(members) filter (where at_end and is_new), 0) as bigint) as new_members,
        cast(coalesce(sum(members) filter (where at_end and not at_start and not is_new), 0) as bigint) as returned,
        cast(coalesce(sum(members) filter (where at_end), 0) as bigint) as members_end,
        kept / nullif(members_start, 0) as retention, lost / nullif(members_start, 0) as churn
    from standing as s
    cross join asked as a
    group by s.month
);

-- statement: retention
create or replace view retention as
from retention_as_of((select c.as_of from staging.clock as c), window_days := (select s.churn_horizon_days from staging.settings as s));
