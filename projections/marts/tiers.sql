create or replace view tiers as
with held as (
    select h.*, p.over_what, p.months, p.levels, p.as_of,
        cast(h.until at time zone p.time_zone as date) as until_day,
        -- Years count from the day of joining, or are the calendar's: counted from any 1 January.
        case p.over_what when 'membership_year' then cast(a.joined_at at time zone p.time_zone as date) else date '1970-01-01' end as first_day
    from staging.tiers_held as h
    left join staging.tier_plan as p on true
    left join staging.accounts as a using (member_id)
),

-- Who began on 29 February has years from 28 February where there is no other: adding years clamps.
years as (
    select *,
        year(as_of) - year(first_day) - if(as_of < cast(first_day + to_years(year(as_of) - year(first_day)) as date), 1, 0) as year_now,
        year(until_day) - year(first_day)
            - if(until_day < cast(first_day + to_years(year(until_day) - year(first_day)) as date), 1, 0) as year_then
    from held
),

days as (
    select y.member_id, y.over_what, y.as_of, y.until_day, y.year_now, y.year_then, d.amount, d.day,
        cast(d.day + to_months(y.months) as date) as last_day,
        year(d.day) - year(y.first_day) - if(d.day < cast(y.first_day + to_years(year(d.day) - year(y.first_day)) as date), 1, 0) as year_of
    from years as y
    inner join staging.tier_days as d using (member_id)
),

sums as (
    select member_id,
        sum(amount) filter (case over_what when 'lifetime' then true when 'rolling' then last_day >= as_of and day <= as_of
            else year_of = year_now end) as progress,
        sum(amount) filter (case over_what when 'lifetime' then true when 'rolling' then last_day >= until_day else year_of = year_then end) as then_last,
        sum(amount) filter (over_what not in ('lifetime', 'rolling') and year_of = year_then - 1 and year_then > year_now) as then_first
    from days
    group by member_id
),

told as (
    select y.*, cast(coalesce(s.progress, 0) as bigint) as progress,
        cast(greatest(coalesce(s.then_last, 0), coalesce(s.then_first, 0)) as bigint) as carrying,
        list_position(list_transform(y.levels, lambda level: level.id), y.tier) as height
    from years as y
    left join sums as s using (member_id)
)

select member_id, tier, since, until, projected, if(levels is null, null, progress) as progress, levels[height + 1].id as next_tier,
    if(levels[height + 1] is null, null, greatest(levels[height + 1]."from" - progress, 0)) as to_next,
    if(until is null or levels[height] is null, null, greatest(levels[height]."from" - carrying, 0)) as to_stay,
    levels[height].benefits as benefits
from told;
