-- What is fitted and scored, on days that lie a fixed number of days apart: :day is one of them, :known_at when the tables first knew that
-- it was over. What came later is left out, so that a rebuild gives the same rows.

-- statement: due
-- The newest day that is over and whose number since 1970 is a multiple of $1, if it was not scored yet; and when that was first known.
with days as (
    select cast(date '1970-01-01' + cast((date_diff('day', date '1970-01-01', as_of) - 1) // $1 * $1 as integer) as date) as scored_on, time_zone
    from staging.clock
    where as_of is not null
)

select d.scored_on, min(e.recorded_at)
from days as d
inner join staging.decisions as e
    on e.outcome = 'decided' and e.type <> 'stammgast.programme.v1' and e.occurred_at >= (cast(d.scored_on + 1 as timestamp) at time zone d.time_zone)
where d.scored_on > coalesce((select max(f.as_of) from staging.model_fits as f), date '1970-01-01')
group by d.scored_on;

-- statement: histories
-- One row per member who bought: purchase days after the first, days from the first to the last and to the scored day, mean spend of them. That
-- is what was left of all days' money, less the first day's: nobody's day is asked for but that one, or all of them would be in memory together.
with bought as materialized (
    select member_id, first_on, last_on, purchase_days,
        cast(first_on as timestamp) at time zone 'UTC' - interval 1 day as first_from,
        cast(first_on as timestamp) at time zone 'UTC' + interval 2 day as first_to
    from staging.bought_as_of($1, known_at := $2)
    where member_id is not null
),

-- First the few rows, then their days.
near as (
    select o.member_id, o.order_source, o.order_id, o.currency, o.total_minor, o.occurred_at, b.first_on
    from staging.orders as o
    inner join bought as b on b.member_id = o.member_id and o.occurred_at >= b.first_from and o.occurred_at < b.first_to
    where $2 is null or o.recorded_at <= $2
),

early as materialized (
    select n.member_id, n.order_source, n.order_id, n.currency, n.total_minor
    from near as n
    inner join staging.sale_quarters as q on q.quarter = staging.quarter(n.occurred_at) and q.day = n.first_on
),

returned as (
    select r.order_source, r.order_id, r.member_id, r.currency, sum(coalesce(r.paid_back_minor, r.refunded_minor)) as paid_back_minor
    from main.refunds as r
    cross join staging.clock as c
    where r.reason is null and cast(r.occurred_at at time zone c.time_zone as date) <= $1 and ($2 is null or r.recorded_at <= $2)
    group by all
),

firsts as (
    select e.member_id,
        sum(if(e.currency = coalesce(c.currency, e.currency), e.total_minor - least(coalesce(r.paid_back_minor, 0), e.total_minor), 0)) as net_minor
    from early as e
    cross join staging.clock as c
    left join returned as r
        on r.order_source = e.order_source and r.order_id = e.order_id and r.member_id = e.member_id and r.currency = e.currency
    group by e.member_id
)

select b.member_id, b.purchase_days - 1 as x, b.last_on - b.first_on as last_day, cast($1 as date) - b.first_on as end_day,
    coalesce((s.net_minor - f.net_minor) / nullif(b.purchase_days - 1, 0), 0) as spend
from bought as b
inner join staging.spent_as_of($1, known_at := $2) as s on s.member_id = b.member_id
inner join firsts as f on f.member_id = b.member_id
order by b.member_id;

-- statement: forget_fits
delete from staging.model_fits;

-- statement: forget_values
delete from staging.member_values;

-- statement: keep_fits
insert into staging.model_fits
select model, parameter, value, log_likelihood, members, cast($1 as date), $2, $3
from new_fits;

-- statement: keep_values
insert into staging.member_values
select member_id, cast($1 as date), $2, p_alive, p_no_purchase, expected_purchases, expected_spend_minor, value_minor
from new_values;
