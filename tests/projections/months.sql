-- Questions of test_months.py: $1 is a day, $2 a moment or NULL.

-- statement: kept
select member_id, first_on, last_on, purchase_days
from staging.bought_as_of($1::date, known_at := $2::timestamptz)
where member_id is not null
order by member_id;

-- statement: kept_turned
select coalesce(sum(turned), 0)::bigint
from staging.bought_as_of($1::date, known_at := $2::timestamptz);

-- statement: plain
select member_id, min(sold_on), max(sold_on), count(*)
from staging.purchase_days_as_of($1::date, known_at := $2::timestamptz)
group by member_id
order by member_id;

-- statement: plain_turned
with days as (
    select member_id, sold_on, min(sold_on) over (partition by member_id) as first_on
    from staging.purchase_days_as_of($1::date, known_at := $2::timestamptz)
)

select count(*) filter (where sold_on > first_on and 2 * date_diff('day', first_on, sold_on) <= date_diff('day', first_on, $1::date))
from days;

-- statement: kept_spent
select member_id, last_on, orders, net_minor
from staging.spent_as_of($1::date, known_at := $2::timestamptz)
order by member_id;

-- statement: plain_spent
select member_id, max(sold_on), count(*) filter (where not fully_refunded), sum(net_minor)::bigint
from staging.sales_as_of($1::date, known_at := $2::timestamptz)
where member_id is not null
group by member_id
order by member_id;

-- statement: plain_histories
with days as (
    select member_id, sold_on, sum(net_minor) as net_minor, min(sold_on) over (partition by member_id) as first_on
    from staging.sales_as_of($1::date, known_at := $2::timestamptz)
    where member_id is not null
    group by member_id, sold_on
)

select member_id, count(*) - 1, max(sold_on) - any_value(first_on), $1::date - any_value(first_on),
    coalesce(avg(net_minor) filter (where sold_on > first_on), 0)
from days
group by member_id
order by member_id;

-- statement: balances
from balances_as_of($1::timestamptz, known_at := $2::timestamptz)
order by member_id;

-- statement: begins
with measured as (
    select unnest($1::integer[]) as measure
)

select staging.begins(d.measure, e.ends)
from measured as d
cross join (select quantile_disc(measure, [0.2, 0.4, 0.6, 0.8]) as ends from measured) as e;

-- statement: churn_now
from churn_as_of((select c.as_of from staging.clock as c), 90)
order by member_id;

-- statement: month_ends
from staging.month_ends
order by all;

-- statement: member_months
from staging.member_months
order by all;

-- statement: month_turns
select partition, month_end, turns_on, sum(purchase_days)
from staging.month_turns
group by all
having sum(purchase_days) <> 0
order by all;

-- statement: points_ends
from staging.points_ends
order by all;

-- statement: member_points
from staging.member_points
order by all;

-- statement: waiting_lots
from staging.waiting_lots
order by all;

-- statement: member_month_twice
select partition, month_end, member_id
from staging.member_months
group by all
having count(*) > 1;
