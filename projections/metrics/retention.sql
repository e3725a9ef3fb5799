-- statement: retention_as_of
-- Per month until the end of `day`: of those who were active when it began, who still was when it ended.
-- Active at a day: bought within the `window_days` days up to it. retention = kept / start; churn = 1 - retention.
-- Who comes back after a silence is `returned` and counts for neither: (E - N) / S, the textbook form, would call him retained.
create or replace macro retention_as_of(day, window_days := 90, known_at := null) as table (
    with bought as (
        select *, min(sold_on) over (partition by member_id) as first_on
        from staging.purchase_days_as_of(day, known_at := known_at)
    ),

    months as (
        select cast(unnest(generate_series(date_trunc('month', min(sold_on)), cast(day as date), interval 1 month)) as date) as month
        from bought
    ),

    spans as (
        select month, cast(month - 1 as date) as before_on, least(last_day(month), cast(day as date)) as end_on,
            last_day(month) <= cast(day as date) as complete
        from months
    ),

    standing as (
        select s.month, b.member_id, any_value(b.first_on) >= s.month as is_new,
            bool_or(b.sold_on <= s.before_on and b.sold_on > s.before_on - cast(window_days as integer)) as at_start,
            bool_or(b.sold_on > s.end_on - cast(window_days as integer)) as at_end
        from spans as s
        inner join bought as b on b.sold_on <= s.end_on and b.sold_on > s.before_on - cast(window_days as integer)
        group by s.month, b.member_id
    )

    select s.month, any_value(s.complete) as complete, cast(window_days as integer) as window_days,
        count(*) filter (where at_start) as members_start, count(*) filter (where at_start and at_end) as kept,
        count(*) filter (where at_start and not at_end) as lost, count(*) filter (where at_end and is_new) as new_members,
        count(*) filter (where at_end and not at_start and not is_new) as returned, count(*) filter (where at_end) as members_end,
        kept / nullif(members_start, 0) as retention, lost / nullif(members_start, 0) as churn
    from spans as s
    left join standing as t using (month)
    group by s.month
);

-- statement: retention
create or replace view retention as
from retention_as_of((select c.as_of from staging.clock as c), window_days := (select s.churn_horizon_days from staging.settings as s));
