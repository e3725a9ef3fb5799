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
-- One row per member who bought: purchase days after the first, days from the first to the last and to the scored day, mean spend of them.
with days as (
    select member_id, sold_on, sum(net_minor) as net_minor, min(sold_on) over (partition by member_id) as first_on
    from staging.sales_as_of($1, known_at := $2)
    where member_id is not null
    group by member_id, sold_on
)

select member_id, count(*) - 1 as x, max(sold_on) - any_value(first_on) as last_day, cast($1 as date) - any_value(first_on) as end_day,
    coalesce(avg(greatest(net_minor, 0)) filter (where sold_on > first_on), 0) as spend
from days
group by member_id
order by member_id;

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
