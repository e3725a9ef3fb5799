-- What the first page says. Everything is as of the newest settled moment, never of today.

-- statement: numbers
with buyers as (
    select count(*) as buyers, count(*) filter (where silent_days <= horizon_days) as active, count(*) filter (where flagged) as at_risk,
        any_value(horizon_days) as horizon_days, any_value(threshold) as threshold
    from churn_flags
),

held as (
    select coalesce(sum(available), 0)::bigint as available, coalesce(sum(pending), 0)::bigint as pending, coalesce(sum(debt), 0)::bigint as debt,
        coalesce(sum(earned_ever), 0)::bigint as earned, coalesce(sum(spent_ever), 0)::bigint as spent,
        coalesce(sum(expired_ever), 0)::bigint as expired
    from balances
),

sold as (
    select coalesce(sum(p.total_minor) filter (where p.member_id is not null), 0)::bigint as members_minor,
        coalesce(sum(p.total_minor), 0)::bigint as all_minor, count(*) as orders
    from purchases as p
    cross join meta as m
    where p.currency = coalesce(m.currency, p.currency)
)

select (select count(*) from members where left_at is null) as members, buyers.*, held.*, sold.*,
    (select count(*) from rejects) as rejects
from buyers
cross join held
cross join sold;

-- statement: weeks
-- The last 26 weeks of the programme, one row each: what came in, what was issued and taken, what stood at their end.
with weeks as (
    select cast(unnest(generate_series(date_trunc('week', as_of) - interval 25 week, date_trunc('week', as_of), interval 1 week)) as date) as week
    from meta
    where as_of is not null
),

sales as (
    select cast(date_trunc('week', p.occurred_at at time zone m.time_zone) as date) as week, sum(p.total_minor)::bigint as sales_minor,
        count(distinct p.member_id) as buyers
    from purchases as p
    cross join meta as m
    where p.currency = coalesce(m.currency, p.currency)
    group by all
),

joins as (
    select cast(date_trunc('week', joined_at at time zone m.time_zone) as date) as week, count(*) as joined
    from members
    cross join meta as m
    group by all
),

moves as (
    select cast(date_trunc('week', occurred_at at time zone m.time_zone) as date) as week, sum(points) as moved,
        sum(points) filter (where points > 0) as given, -sum(points) filter (where points < 0) as taken
    from points_entries
    cross join meta as m
    group by all
)

select w.week, coalesce(s.sales_minor, 0)::bigint as sales_minor, coalesce(s.buyers, 0) as buyers,
    coalesce((select sum(j.joined) from joins as j where j.week <= w.week), 0)::bigint as members,
    coalesce(v.given, 0)::bigint as given, coalesce(v.taken, 0)::bigint as taken,
    coalesce((select sum(u.moved) from moves as u where u.week <= w.week), 0)::bigint as outstanding
from weeks as w
left join sales as s using (week)
left join moves as v using (week)
order by w.week;

-- statement: risk
-- Who was at risk at the end of each of the last six months, as the same model says it for that day.
select cast($day as date) as day, count(*) as buyers, count(*) filter (where flagged) as at_risk
from churn_as_of($day, $horizon_days);

-- statement: risk_days
select cast(unnest(generate_series(as_of - interval 140 day, as_of, interval 28 day)) as date) as day
from meta
where as_of is not null;

-- statement: tiers
select tier, count(*) as members
from tiers
group by tier
order by members desc, tier;
